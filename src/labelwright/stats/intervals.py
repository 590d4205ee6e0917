"""Intervals: how sure a reported number is.

Every function returns a :class:`Measure`, a number with its bounds and the count it rests on. Where
no interval exists (one seed, an empty sample) the bounds are NaN: unknown, never zero width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import special

from labelwright import check
from labelwright.errors import InputError

__all__ = ["Measure", "bootstrap", "clopper_pearson", "finite_population", "mean_interval", "paired_difference", "stratified", "wilson"]

BOOTSTRAP_BLOCK = 4_000_000  # resampled values held at a time: 32 MB


@dataclass(frozen=True)
class Measure:
    """A number, its interval, and how many observations (examples, seeds, classes) it rests on.

    `low` and `high` are NaN where no interval is known.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval: the ± of a symmetric one."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        known = math.isfinite(self.low) and math.isfinite(self.high)
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] (n={self.n:,})" if known else f"{self.value:.4g} (n={self.n:,})"

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON; NaN becomes None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {**{k: v if math.isfinite(v) else None for k, v in numbers.items()}, "n": self.n}


def _level(level: float) -> float:
    return check.in_range("level", level, low=0, high=1, closed="neither")


def normal_quantile(level: float) -> float:
    """Two-sided quantile z of the standard normal: 1.96 for `level` 0.95."""
    return float(special.ndtri(0.5 + _level(level) / 2))


def mean_interval(values: Sequence[float] | np.ndarray, *, level: float = 0.95) -> Measure:
    """Student t interval of a mean, over seeds say: ``mean ± t_{n-1} s / sqrt(n)``.

    Raises
    ------
    InputError
        If `values` is empty, not one-dimensional or not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise InputError(f"values must be a non-empty list of numbers; got shape {x.shape}.")
    check.finite("values", x)
    mean, n = float(x.mean()), len(x)
    if n == 1:
        return Measure(mean, math.nan, math.nan, 1)
    half = float(special.stdtrit(n - 1, 0.5 + _level(level) / 2)) * float(x.std(ddof=1)) / math.sqrt(n)
    return Measure(mean, mean - half, mean + half, n)


def paired_difference(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, *, level: float = 0.95) -> Measure:
    """Student t interval of the mean of ``a - b`` over pairs (the same seeds, folds or examples)."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    check.same_shape(a=x, b=y)
    return mean_interval(x - y, level=level)


def _counts(successes: int, n: int) -> tuple[int, int]:
    n = check.integer("n", n, low=0)
    return check.integer("successes", successes, low=0, high=n), n


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Bounds for a share `p` of `n` trials (not necessarily whole numbers)."""
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # the bounds at 0 and 1 are exact; rounding would leave 1e-17
    return (0.0 if p == 0 else max(0.0, centre - half), 1.0 if p == 1 else min(1.0, centre + half))


def wilson(successes: int, n: int, *, level: float = 0.95) -> Measure:
    """Wilson score interval of a proportion (Wilson 1927): close to its level on average, good for small n."""
    successes, n = _counts(successes, n)
    if n == 0:
        return Measure(math.nan, math.nan, math.nan, 0)
    p = successes / n
    return Measure(p, *_wilson(p, n, normal_quantile(level)), n)


def clopper_pearson(successes: int, n: int, *, level: float = 0.95) -> Measure:
    """Exact interval of a proportion (Clopper and Pearson 1934): covers at least `level`, for every p."""
    successes, n = _counts(successes, n)
    if n == 0:
        return Measure(math.nan, math.nan, math.nan, 0)
    tail = (1 - _level(level)) / 2
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(special.betaincinv(successes + 1, n - successes, 1 - tail))
    return Measure(successes / n, low, high, n)


def finite_population(
    successes: int, n: int, population: int, *, level: float = 0.95, method: Literal["wilson", "clopper_pearson"] = "wilson"
) -> Measure:
    """Interval of a proportion of a finite `population`, from `n` drawn without replacement.

    With ``wilson``, Wilson's interval with the effective size ``n (M - 1) / (M - n)``, which carries the usual correction
    ``(M - n) / (M - 1)`` of the variance; with ``clopper_pearson``, that interval with the distances of its bounds from the
    share multiplied by ``sqrt((M - n) / (M - 1))``. A complete count (``n == population``) has no uncertainty.
    """
    check.one_of("method", method, ("wilson", "clopper_pearson"))
    successes, n = _counts(successes, n)
    population = check.integer("population", population, low=max(n, 1))
    if n == 0:
        return Measure(math.nan, math.nan, math.nan, 0)
    p = successes / n
    if n == population:
        return Measure(p, p, p, n)
    if method == "clopper_pearson":
        exact, shrink = clopper_pearson(successes, n, level=level), math.sqrt((population - n) / (population - 1))
        return Measure(p, p - shrink * (p - exact.low), p + shrink * (exact.high - p), n)
    return Measure(p, *_wilson(p, n * (population - 1) / (population - n), normal_quantile(level)), n)


def stratified(successes: Sequence[int], n: Sequence[int], population: Sequence[int], *, level: float = 0.95) -> Measure:
    """Share of a population in strata of which `n` of `population` were drawn at random: ``sum_h (M_h / M) k_h / n_h``.

    This weights each drawn example by the inverse of its chance of being drawn (Horvitz and Thompson 1952), so it is unbiased
    whatever share of each stratum was looked at. The interval combines those of the strata (:func:`finite_population`) by the
    method of variance estimates recovery (Zou and Donner 2008). A stratum nobody looked at could hold anything: it adds nothing
    to the value and the lower bound, which are then lower bounds themselves, and all of itself to the upper bound.

    Parameters
    ----------
    successes, n, population
        For each stratum the hits, the examples looked at and all there are; empty strata are allowed.
    """
    check.same_length(successes=successes, n=n, population=population)
    rows = [(k, s, m) for k, s, m in zip(successes, n, population, strict=True) if m > 0]
    total = sum(m for _, _, m in rows)
    if not total:
        return Measure(math.nan, math.nan, math.nan, 0)
    value = below = above = unseen = 0.0
    for k, s, m in rows:
        if s == 0:
            unseen += m / total
            continue
        part = finite_population(k, s, m, level=level)
        value += m / total * part.value
        below += (m / total * (part.value - part.low)) ** 2
        above += (m / total * (part.high - part.value)) ** 2
    high = value + math.sqrt(above) + unseen
    return Measure(value, max(0.0, value - math.sqrt(below)), min(1.0, high), sum(s for _, s, _ in rows))


def bootstrap(
    statistic: Callable[..., float], *arrays: Any, seed: int, draws: int = 1000, level: float = 0.95, by: np.ndarray | None = None
) -> Measure:
    """Percentile bootstrap interval of ``statistic(*arrays)``; rows of all arrays are resampled together.

    Parameters
    ----------
    statistic
        Takes the resampled arrays, returns a number. Draws for which it is NaN (a resample without a positive,
        say) are left out of the percentiles.
    arrays
        Arrays of one length N.
    seed, draws, level
        Of the resampling; its number; of the interval.
    by
        (N,) strata; each keeps its size in every resample. None: plain resampling.
    """
    data = [np.asarray(a) for a in arrays]
    n = check.same_length(**{f"array {i}": a for i, a in enumerate(data)})
    if not data or n == 0:
        raise InputError("bootstrap needs at least one array with at least one row.")
    check.integer("draws", draws, low=2)
    rng = np.random.default_rng(seed)
    strata = [np.arange(n)] if by is None else [np.flatnonzero(np.asarray(by) == v) for v in np.unique(by)]
    block = max(1, BOOTSTRAP_BLOCK // n)
    found: list[float] = []
    while len(found) < draws:
        size = min(block, draws - len(found))
        picks = np.concatenate([s[rng.integers(0, len(s), size=(size, len(s)))] for s in strata], axis=1)
        found += [float(statistic(*(a[rows] for a in data))) for rows in picks]
    values = np.array(found)
    values = values[np.isfinite(values)]
    tail = (1 - _level(level)) / 2
    low, high = np.quantile(values, [tail, 1 - tail]) if len(values) else (math.nan, math.nan)
    return Measure(float(statistic(*data)), float(low), float(high), n)
