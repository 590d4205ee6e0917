"""Shares by bin of a score, with bootstrap intervals: how often a claim made with so much confidence is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.intervals import BOOTSTRAP_BLOCK, Measure

__all__ = ["Bin", "bin_of", "binned_share"]


@dataclass(frozen=True)
class Bin:
    """Examples with a score in [`low`, `high`) (the last bin holds `high` too): how many, and the share that is true."""

    low: float
    high: float
    share: Measure

    @property
    def n(self) -> int:
        return self.share.n


def bin_of(scores: Any, edges: Any) -> np.ndarray:
    """Number of the bin of each score, int64 (N,): bins are closed below, the last one above too; -1 outside and for NaN."""
    x, e = np.asarray(scores, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    if e.ndim != 1 or len(e) < 2 or not (np.diff(e) > 0).all():
        raise InputError(f"edges must be increasing numbers, two at least; got {np.asarray(edges).tolist()}.")
    place = np.searchsorted(e, x, side="right") - 1
    place = np.where(x == e[-1], len(e) - 2, place)
    return np.where((place >= 0) & (place < len(e) - 1), place, -1)


def binned_share(true: Any, scores: Any, edges: Any, *, draws: int = 100, level: float = 0.95, seed: int) -> list[Bin]:
    """Share of `true` bool (N,) in each bin of `scores` (N,), with a percentile bootstrap interval of `draws` resamples of the bin.

    The resamples of a bin are one index matrix (draws, size). An empty bin has a share of NaN; scores outside are left out.
    """
    t, x = np.asarray(true, dtype=bool), np.asarray(scores, dtype=np.float64)
    check.same_shape(true=t, scores=x)
    check.integer("draws", draws, low=2)
    tail = (1 - check.in_range("level", level, low=0, high=1, closed="neither")) / 2
    place, e = bin_of(x, edges), np.asarray(edges, dtype=np.float64)
    rng = np.random.default_rng(seed)
    made = []
    for b in range(len(e) - 1):
        part = t[place == b]
        value = low = high = np.nan
        if len(part):
            value = part.mean()
            low, high = np.quantile(resampled_means(part, draws, rng), [tail, 1 - tail])
        made.append(Bin(float(e[b]), float(e[b + 1]), Measure(float(value), float(low), float(high), len(part))))
    return made


def resampled_means(part: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Means of `draws` resamples of `part`, float64 (draws,), a block of the index matrix at a time."""
    block = max(1, BOOTSTRAP_BLOCK // len(part))
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    return np.concatenate([part[rng.integers(0, len(part), size=(size, len(part)))].mean(1) for size in sizes])
