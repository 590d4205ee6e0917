"""Parts of CrossCat: partitions from the Chinese restaurant process, and the conjugate columns over all chains at once."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

__all__ = ["Numbers", "Words", "crp_partitions"]

BETA = 0.5  # Dirichlet weight of each category
KAPPA, SHAPE, SCALE = 0.1, 1.0, 0.5  # Normal-Inverse-Gamma: weight of the mean 0, a and b of the variance


def crp_partitions(draws: int, n: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """`draws` partitions of n rows from the Chinese restaurant process: int (draws, n), clusters numbered in order of appearance."""
    z = np.zeros((draws, n), dtype=np.int64)
    counts = np.zeros((draws, 8))
    used = np.zeros(draws, dtype=np.int64)
    every = np.arange(draws)
    for i in range(n):
        if used.max(initial=0) + 1 >= counts.shape[1]:
            counts = np.pad(counts, ((0, 0), (0, counts.shape[1])))
        weights = counts.copy()
        weights[every, used] = alpha
        edges = np.cumsum(weights, axis=1)
        pick = (rng.random((draws, 1)) * edges[:, -1:] >= edges).sum(1)
        z[:, i] = pick
        counts[every, pick] += 1
        used = np.maximum(used, pick + 1)
    return z


class Words:
    """Dirichlet-categorical columns: `x` codes (n, c), -1 missing; counts (S, c, K, C)."""

    def __init__(self, where: np.ndarray, x: np.ndarray, sizes: np.ndarray, chains: int) -> None:
        self.where, self.x, self.sizes = where, x, sizes
        self.present = x >= 0
        self.counts = np.zeros((chains, len(where), 1, int(sizes.max(initial=1))))
        table = np.arange(len(x) + 1)
        self.log_gamma = gammaln(BETA + table) - gammaln(BETA)
        self.log_total = gammaln(BETA * sizes)[:, None] - gammaln(BETA * sizes[:, None] + table)

    def grow(self, clusters: int) -> None:
        self.counts = np.pad(self.counts, ((0, 0), (0, 0), (0, clusters - self.counts.shape[2]), (0, 0)))

    def remove_or_add(self, i: int, chains: np.ndarray, cluster_Sc: np.ndarray, sign: int) -> None:
        on = self.present[i]
        self.counts[chains, np.flatnonzero(on), cluster_Sc[:, on], self.x[i, on]] += sign

    def predictive(self, x: np.ndarray) -> np.ndarray:
        """log p(x_c | cluster k) for one row (c,), (S, c, K); 0 where missing."""
        on = x >= 0
        out = np.zeros(self.counts.shape[:3])
        index = np.flatnonzero(on)
        hits = self.counts[:, index, :, x[on]].transpose(1, 0, 2)  # advanced indices around a slice move their axis to the front
        out[:, on] = np.log((hits + BETA) / (self.counts[:, on].sum(3) + BETA * self.sizes[on][:, None]))
        return out

    def of_partitions(self, c: int, z_SVn: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
        """Log marginal of column `c` under each partition (S, V), and the statistics (S, V, K, C)."""
        on = self.present[:, c]
        s, v, _ = z_SVn.shape
        wide = self.counts.shape[3]
        flat = (np.arange(s * v)[:, None] * clusters + z_SVn[:, :, on].reshape(s * v, -1)) * wide + self.x[on, c]
        counts = np.bincount(flat.ravel(), minlength=s * v * clusters * wide).reshape(s, v, clusters, wide)
        total = self.log_gamma[counts].sum(3) + self.log_total[c][counts.sum(3)]
        return total.sum(2), counts.astype(float)

    def put(self, c: int, statistics: np.ndarray) -> None:
        self.counts[:, c] = statistics


class Numbers:
    """Normal-Inverse-Gamma columns: `x` floats (n, c), NaN missing; statistics (S, c, K, 3) hold n, sum, sum of squares."""

    def __init__(self, where: np.ndarray, x: np.ndarray, chains: int) -> None:
        self.where = where
        self.present = np.isfinite(x)
        self.x = np.where(self.present, x, 0.0)
        self.parts = np.stack([self.present.astype(float), self.x, self.x**2], axis=2)
        self.counts = np.zeros((chains, len(where), 1, 3))
        self.step = gammaln(SHAPE + np.arange(len(x) + 2) / 2 + 0.5) - gammaln(SHAPE + np.arange(len(x) + 2) / 2)

    def grow(self, clusters: int) -> None:
        self.counts = np.pad(self.counts, ((0, 0), (0, 0), (0, clusters - self.counts.shape[2]), (0, 0)))

    def remove_or_add(self, i: int, chains: np.ndarray, cluster_Sc: np.ndarray, sign: int) -> None:
        self.counts[chains, np.arange(len(self.where)), cluster_Sc] += sign * self.parts[i]

    @staticmethod
    def posterior(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """kappa, mean, a, b of the posterior for statistics (…, 3)."""
        n, total, squares = statistics[..., 0], statistics[..., 1], statistics[..., 2]
        kappa = KAPPA + n
        mean = total / kappa
        return kappa, mean, SHAPE + n / 2, SCALE + 0.5 * np.maximum(squares - kappa * mean**2, 0.0)

    def predictive(self, x: np.ndarray) -> np.ndarray:
        """log p(x_c | cluster k), Student's t, for one row (c,), (S, c, K); 0 where missing."""
        kappa, mean, a, b = self.posterior(self.counts)
        spread = 2 * b * (kappa + 1) / kappa
        on = np.isfinite(x)
        gap = (np.where(on, x, 0.0)[:, None] - mean) ** 2
        n = np.rint(self.counts[..., 0]).astype(np.int64)
        return (self.step[n] - 0.5 * np.log(math.pi * spread) - (a + 0.5) * np.log1p(gap / spread)) * on[:, None]

    def of_partitions(self, c: int, z_SVn: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
        """Log marginal of column `c` under each partition (S, V), and the statistics (S, V, K, 3)."""
        s, v, n = z_SVn.shape
        flat = (np.arange(s * v)[:, None] * clusters + z_SVn.reshape(s * v, n)).ravel()
        sums = [np.bincount(flat, weights=np.tile(self.parts[:, c, p], s * v), minlength=s * v * clusters) for p in range(3)]
        statistics = np.stack(sums, axis=1).reshape(s, v, clusters, 3)
        kappa, _, a, b = self.posterior(statistics)
        size = statistics[..., 0]
        total = (
            gammaln(a)
            - gammaln(SHAPE)
            + SHAPE * math.log(SCALE)
            - a * np.log(b)
            + 0.5 * np.log(KAPPA / kappa)
            - size / 2 * math.log(2 * math.pi)
        )
        return total.sum(2), statistics

    def put(self, c: int, statistics: np.ndarray) -> None:
        self.counts[:, c] = statistics
