"""Mergeable summaries of columns too large to hold: a merging t-digest, SpaceSaving and HyperLogLog.

References: Dunning, Ertl. Computing extremely accurate quantiles using t-digests. arXiv:1902.04023 (scale
function k1). Metwally, Agrawal, El Abbadi. Efficient computation of frequent and top-k elements in data streams.
ICDT 2005 (merged as in Agarwal et al., Mergeable summaries, PODS 2012). Flajolet et al. HyperLogLog. AofA 2007.
All updates take whole arrays; nothing loops over values.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["HyperLogLog", "SpaceSaving", "TDigest"]

COMPRESSION = 1000  # at most this many centroids; one near the median then holds about pi / 1000 of the weight
REGISTER_BITS = 14  # 16,384 registers: standard error 1.04 / 128 = 0.81 %


class TDigest:
    """Quantiles of a stream in O(`compression`) memory; error smallest in the tails."""

    def __init__(self, compression: int = COMPRESSION) -> None:
        self.compression = compression
        self.means = np.empty(0)
        self.weights = np.empty(0)

    def add(self, values: np.ndarray) -> None:
        """Add float64 values, none of them NaN."""
        self._absorb(np.asarray(values, dtype=np.float64), np.ones(len(values)))

    def merge(self, other: TDigest) -> None:
        """Add all of another digest."""
        self._absorb(other.means, other.weights)

    def _absorb(self, means: np.ndarray, weights: np.ndarray) -> None:
        means, weights = np.concatenate([self.means, means]), np.concatenate([self.weights, weights])
        if not len(means):
            return
        order = np.argsort(means, kind="stable")
        means, weights = means[order], weights[order]
        if len(means) > self.compression:
            q = (np.cumsum(weights) - weights / 2) / weights.sum()
            cell = np.floor(self.compression / math.pi * (np.arcsin(2 * q - 1) + math.pi / 2)).astype(np.int64)
            start = np.flatnonzero(np.diff(cell, prepend=-1))
            total = np.add.reduceat(weights, start)
            means, weights = np.add.reduceat(means * weights, start) / total, total
        self.means, self.weights = means, weights

    def quantile(self, q: float) -> float:
        """The `q`-quantile, q in [0, 1]; exact while nothing has been merged together. NaN when empty."""
        if not len(self.means):
            return math.nan
        total = self.weights.sum()
        # a centroid of weight w stands for w ranks around its middle; ranks run 0..n-1 as in numpy's linear rule
        middle = np.cumsum(self.weights) - (self.weights + 1) / 2
        return float(np.interp(q * (total - 1), middle, self.means))


class HyperLogLog:
    """Number of distinct 64-bit hashes, within about 1 %."""

    def __init__(self, bits: int = REGISTER_BITS) -> None:
        self.bits = bits
        self.registers = np.zeros(1 << bits, dtype=np.uint8)

    def add(self, hashes: np.ndarray) -> None:
        """Add uint64 hashes (repetitions do no harm)."""
        hashes = np.asarray(hashes, dtype=np.uint64)
        register = (hashes >> np.uint64(64 - self.bits)).astype(np.int64)
        rest = hashes & np.uint64((1 << (64 - self.bits)) - 1)
        width = 64 - self.bits
        # position of the first 1 among `width` bits, counted from 1; frexp is exact because width < 53
        rank = width + 1 - np.frexp(rest.astype(np.float64))[1]
        np.maximum.at(self.registers, register, rank.astype(np.uint8))

    def merge(self, other: HyperLogLog) -> None:
        """Take the union with another sketch."""
        np.maximum(self.registers, other.registers, out=self.registers)

    def count(self) -> int:
        """The estimate, with linear counting while registers are empty."""
        m = len(self.registers)
        empty = int((self.registers == 0).sum())
        estimate = 0.7213 / (1 + 1.079 / m) * m * m / np.exp2(-self.registers.astype(np.float64)).sum()
        if estimate <= 2.5 * m and empty:
            estimate = m * math.log(m / empty)
        return round(float(estimate))


class SpaceSaving:
    """Frequent values of a stream: counts that never underestimate, each with a bound on its excess.

    `floor` bounds the true count of every value that is not kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.counts: dict[str, tuple[int, int]] = {}  # value → (upper bound, largest possible excess)
        self.floor = 0

    def add(self, values: list[str], counts: list[int]) -> None:
        """Add exact counts of distinct values."""
        other = SpaceSaving(max(self.capacity, len(values)))
        other.counts = {v: (c, 0) for v, c in zip(values, counts, strict=True)}
        self.merge(other)

    def merge(self, other: SpaceSaving) -> None:
        """Add another summary: an absent value may have had up to the other's floor."""
        mine, theirs = self.counts, other.counts
        both: dict[str, tuple[int, int]] = {}
        for value in mine.keys() | theirs.keys():
            a, ea = mine.get(value, (self.floor, self.floor))
            b, eb = theirs.get(value, (other.floor, other.floor))
            both[value] = (a + b, ea + eb)
        floor = self.floor + other.floor
        ordered = sorted(both.items(), key=lambda kv: (-kv[1][0], kv[0]))
        if len(ordered) > self.capacity:
            floor = max(floor, ordered[self.capacity][1][0])
        self.counts, self.floor = dict(ordered[: self.capacity]), floor

    def top(self) -> tuple[str, int, int]:
        """Value, upper bound and possible excess of the most frequent value.

        Raises
        ------
        ValueError
            If nothing has been added.
        """
        if not self.counts:
            raise ValueError("nothing was counted")
        value, (count, excess) = min(self.counts.items(), key=lambda kv: (-kv[1][0], kv[0]))
        return value, count, excess
