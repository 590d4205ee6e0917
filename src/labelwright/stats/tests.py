"""Hypothesis tests used by the audits and the benchmarks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.intervals import Measure, normal_quantile

__all__ = ["Test", "benjamini_hochberg", "mcnemar", "paired_permutation", "permutation", "spearman"]

PERMUTATION_BLOCK = 4_000_000  # values shuffled at a time: 32 MB
EXACT_PAIRS = 14  # 2^14 sign patterns are fewer than the draws anyone asks for

Side = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True)
class Test:
    """The observed statistic and its p-value."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    statistic: float
    p: float


def _p_value(observed: float, null: np.ndarray, side: Side, *, exact: bool) -> float:
    """Share of the null at least as extreme. Drawn nulls count the observation itself, so that p is never 0 (Phipson and Smyth 2010)."""
    slack = 1e-12 * max(1.0, abs(observed))  # the same sum in another order
    counts = {"greater": int((null >= observed - slack).sum()), "less": int((null <= observed + slack).sum())}
    counts["two-sided"] = int((np.abs(null) >= abs(observed) - slack).sum())
    return counts[side] / len(null) if exact else (counts[side] + 1) / (len(null) + 1)


def permutation(
    a: Any,
    b: Any,
    *,
    seed: int,
    statistic: Callable[[np.ndarray, np.ndarray], float] | None = None,
    draws: int = 9999,
    side: Side = "two-sided",
) -> Test:
    """Two-sample permutation test: do `a` (M,) and `b` (N,) come from one distribution?

    `statistic` (default: difference of means, a - b) should be centred at 0 for a two-sided test. p counts the observation.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    check.one_of("side", side, ("two-sided", "greater", "less"))
    check.integer("draws", draws, low=1)
    if x.ndim != 1 or y.ndim != 1 or not len(x) or not len(y):
        raise InputError(f"a and b must be non-empty and one-dimensional; got {x.shape} and {y.shape}.")
    both, rng = np.concatenate([x, y]), np.random.default_rng(seed)
    check.finite("values", both)
    null = []
    block = max(1, PERMUTATION_BLOCK // len(both))
    for start in range(0, draws, block):
        shuffled = rng.permuted(np.broadcast_to(both, (min(block, draws - start), len(both))), axis=1)
        if statistic is None:
            null.append(shuffled[:, : len(x)].mean(1) - shuffled[:, len(x) :].mean(1))
        else:
            null.append(np.array([statistic(row[: len(x)], row[len(x) :]) for row in shuffled]))
    observed = float(x.mean() - y.mean()) if statistic is None else float(statistic(x, y))
    return Test(observed, _p_value(observed, np.concatenate(null), side, exact=False))


def paired_permutation(a: Any, b: Any, *, seed: int, draws: int = 9999, side: Side = "two-sided") -> Test:
    """Sign-flip test of the mean of paired differences ``a - b``: exact over all sign patterns up to 14 pairs, drawn beyond."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    check.same_shape(a=x, b=y)
    check.one_of("side", side, ("two-sided", "greater", "less"))
    check.integer("draws", draws, low=1)
    d = x - y
    if d.ndim != 1 or not len(d):
        raise InputError(f"a and b must be non-empty and one-dimensional; got {d.shape}.")
    check.finite("differences", d)
    n, observed = len(d), float(d.mean())
    if n <= EXACT_PAIRS:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return Test(observed, _p_value(observed, signs @ d / n, side, exact=True))
    rng, block = np.random.default_rng(seed), max(1, PERMUTATION_BLOCK // n)
    null = [(1.0 - 2.0 * rng.integers(0, 2, size=(min(block, draws - start), n))) @ d / n for start in range(0, draws, block)]
    return Test(observed, _p_value(observed, np.concatenate(null), side, exact=False))


def mcnemar(first_right: Any, second_right: Any) -> Test:
    """McNemar's exact test: are two classifiers wrong equally often on the same examples?

    Arguments bool (N,). The statistic is the difference of the discordant counts (first alone right minus second alone right);
    p is two-sided, binomial.
    """
    a, b = np.asarray(first_right), np.asarray(second_right)
    check.same_shape(first_right=a, second_right=b)
    if a.dtype != bool or b.dtype != bool:
        raise InputError(f"first_right and second_right must be boolean; got {a.dtype} and {b.dtype}.")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = 1.0 if only_a + only_b == 0 else float(stats.binomtest(only_a, only_a + only_b).pvalue)
    return Test(float(only_a - only_b), p)


def benjamini_hochberg(p_values: Any) -> np.ndarray:
    """Adjusted p-values float64 (M,): rejecting those <= q keeps the false discovery rate at q (Benjamini and Hochberg 1995).

    Raises
    ------
    InputError
        If a value lies outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError("p_values must be one-dimensional, each in [0, 1].")
    order = np.argsort(p, kind="stable")
    raised = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1)
    return adjusted


def spearman(x: Any, y: Any, *, level: float = 0.95) -> Measure:
    """Spearman's rank correlation; interval by Fisher's transformation with the variance of Bonett and Wright (2000).

    ``atanh(r) ± z sqrt((1 + r^2 / 2) / (n - 3))``. NaN where a variable is constant; no interval below four pairs or at ±1.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    check.same_shape(x=a, y=b)
    if a.ndim != 1:
        raise InputError(f"x and y must have shape (N,); got {a.shape}.")
    check.finite("values", np.stack([a, b], axis=1))
    n = len(a)
    if n < 2 or (a == a[0]).all() or (b == b[0]).all():
        return Measure(math.nan, math.nan, math.nan, n)
    ranks = np.stack([stats.rankdata(a), stats.rankdata(b)])
    r = float(np.clip(np.corrcoef(ranks)[0, 1], -1, 1))
    if n < 4 or abs(r) >= 1 - 1e-12:
        return Measure(r, math.nan, math.nan, n)
    half = normal_quantile(level) * math.sqrt((1 + r * r / 2) / (n - 3))
    return Measure(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), n)
