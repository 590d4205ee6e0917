"""How good predictions are: each metric as a :class:`~labelwright.stats.intervals.Measure`, with n and a 95 % interval.

Intervals follow the metric: Wilson for shares of examples, MOVER for a mean of class-wise shares, the multinomial
bootstrap of the confusion matrix for F1, DeLong for the ROC curve, the logit interval for average precision.
Truth and predictions are integer class indices (N,); scores are real, higher = more positive.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from scipy import special, stats

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.intervals import Measure, clopper_pearson, normal_quantile, wilson

__all__ = [
    "Measure",
    "accuracy",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "confusion",
    "f1",
    "mean_average_precision",
    "multilabel_f1",
    "precision_at_k",
]

BOOTSTRAP_CELLS = 4_000_000  # cells of resampled tables held at a time: 32 MB


def confusion(truth: Any, predicted: Any, num_classes: int) -> np.ndarray:
    """Counts, int64 (C, C): row the true class, column the predicted one."""
    t = check.class_index("truth", truth, num_classes=num_classes)
    p = check.class_index("predicted", predicted, num_classes=num_classes)
    check.same_length(truth=t, predicted=p)
    return np.bincount(t * num_classes + p, minlength=num_classes**2).reshape(num_classes, num_classes)


def _table(truth: Any, predicted: Any, num_classes: int | None) -> np.ndarray:
    t, p = np.asarray(truth), np.asarray(predicted)
    if len(t) == 0:
        raise InputError("truth is empty: there is nothing to measure.")
    return confusion(t, p, num_classes if num_classes is not None else int(max(t.max(), p.max(initial=0))) + 1)


def accuracy(truth: Any, predicted: Any, *, level: float = 0.95) -> Measure:
    """Share of examples predicted right, with Wilson's interval."""
    t, p = np.asarray(truth), np.asarray(predicted)
    check.same_shape(truth=t, predicted=p)
    return wilson(int((t == p).sum()), t.size, level=level)


def balanced_accuracy(truth: Any, predicted: Any, *, num_classes: int | None = None, level: float = 0.95) -> Measure:
    """Mean recall over the classes that occur in `truth`.

    The interval combines Wilson's bounds of the recalls by the method of variance estimates recovery (MOVER,
    Zou and Donner 2008): it stays inside [0, 1] and is not degenerate when every recall is 0 or 1.
    """
    table = _table(truth, predicted, num_classes)
    sizes = table.sum(1)
    parts = [wilson(int(table[c, c]), int(sizes[c]), level=level) for c in np.flatnonzero(sizes)]
    value = float(np.mean([m.value for m in parts]))
    below = math.sqrt(sum((m.value - m.low) ** 2 for m in parts)) / len(parts)
    above = math.sqrt(sum((m.high - m.value) ** 2 for m in parts)) / len(parts)
    return Measure(value, max(0.0, value - below), min(1.0, value + above), int(sizes.sum()))


def _f1_of_counts(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, average: str) -> np.ndarray:
    """F1 along the last axis (classes); a class that is neither true nor predicted is left out of the macro mean."""
    if average == "micro":
        tp, fp, fn = (x.sum(-1, keepdims=True) for x in (tp, fp, fn))
    total = 2 * tp + fp + fn
    occurs = total > 0
    f = np.where(occurs, 2 * tp / np.where(occurs, total, 1), 0.0)
    count = occurs.sum(-1)
    return np.where(count > 0, f.sum(-1) / np.maximum(count, 1), np.nan)


def f1(
    truth: Any,
    predicted: Any,
    *,
    average: Literal["macro", "micro"] = "macro",
    num_classes: int | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Measure:
    """F1 of a single-label prediction. Micro F1 equals accuracy there and gets Wilson's interval.

    Macro: mean over the classes that occur in `truth` or `predicted`. The examples' bootstrap acts on the confusion
    matrix alone, so it is drawn from the multinomial of its cells: exact, and independent of N in cost.
    """
    check.one_of("average", average, ("macro", "micro"))
    table = _table(truth, predicted, num_classes)
    if average == "micro":
        return wilson(int(np.trace(table)), int(table.sum()), level=level)
    n, cells = int(table.sum()), np.flatnonzero(table)
    row, col = np.unravel_index(cells, table.shape)
    c = len(table)
    to_row, to_col, to_hit = np.eye(c)[row], np.eye(c)[col], np.eye(c)[row] * (row == col)[:, None]

    def score(counts: np.ndarray) -> np.ndarray:
        tp = counts @ to_hit
        return _f1_of_counts(tp, counts @ to_col - tp, counts @ to_row - tp, average)

    rng = np.random.default_rng(seed)
    block = max(1, BOOTSTRAP_CELLS // max(len(cells), c))
    found = [score(rng.multinomial(n, table.flat[cells] / n, size=min(block, draws - start))) for start in range(0, draws, block)]
    low, high = _percentiles(np.concatenate(found), level)
    return Measure(float(score(table.flat[cells][None])[0]), low, high, n)


def multilabel_f1(
    truth: Any, predicted: Any, *, average: Literal["macro", "micro"] = "macro", level: float = 0.95, draws: int = 1000, seed: int = 0
) -> Measure:
    """F1 of a multi-label prediction: `truth` (N, C) in {0, 1, -1 unknown}, `predicted` bool (N, C); unknown cells do not count.

    Bootstrap interval over examples.
    """
    check.one_of("average", average, ("macro", "micro"))
    t, p = np.asarray(truth), np.asarray(predicted).astype(bool)
    n, _ = check.same_shape(truth=t, predicted=p)
    if n == 0:
        raise InputError("truth is empty: there is nothing to measure.")
    tp, fp, fn = (x.astype(np.float64) for x in ((t == 1) & p, (t == 0) & p, (t == 1) & ~p))

    def score(weights: np.ndarray) -> np.ndarray:
        return _f1_of_counts(weights @ tp, weights @ fp, weights @ fn, average)

    rng = np.random.default_rng(seed)
    block, even = max(1, BOOTSTRAP_CELLS // n), np.full(n, 1 / n)
    found = [score(rng.multinomial(n, even, size=min(block, draws - start)).astype(np.float64)) for start in range(0, draws, block)]
    low, high = _percentiles(np.concatenate(found), level)
    return Measure(float(score(np.ones((1, n)))[0]), low, high, n)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    tail = (1 - check.in_range("level", level, low=0, high=1, closed="neither")) / 2
    values = values[np.isfinite(values)]
    return (math.nan, math.nan) if not len(values) else (float(np.quantile(values, tail)), float(np.quantile(values, 1 - tail)))


def _binary(truth: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    t, s = np.asarray(truth), np.asarray(scores, dtype=np.float64)
    check.same_shape(truth=t, scores=s)
    if t.ndim != 1:
        raise InputError(f"truth must have shape (N,); got {t.shape}.")
    if not np.isin(t, (0, 1)).all():
        raise InputError("truth must be 0 or 1 (or boolean).")
    check.finite("scores", s)
    return t.astype(bool), s


def auroc(truth: Any, scores: Any, *, level: float = 0.95) -> Measure:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    DeLong's variance (DeLong, DeLong and Clarke-Pearson 1988) by midranks (Sun and Xu 2014), on the logit scale.
    At 0 or 1, where that variance vanishes, the bound is Clopper and Pearson's for min(positives, negatives) trials.
    NaN without both classes.
    """
    t, s = _binary(truth, scores)
    m, n = int(t.sum()), int((~t).sum())
    if not m or not n:
        return Measure(math.nan, math.nan, math.nan, len(t))
    ranks = stats.rankdata(s)
    above = (ranks[t] - stats.rankdata(s[t])) / n  # for each positive, the share of negatives below it
    below = 1 - (ranks[~t] - stats.rankdata(s[~t])) / m
    value = float(above.mean())
    if value in (0.0, 1.0) or min(m, n) < 2:
        edge = clopper_pearson(round(value * min(m, n)), min(m, n), level=level)
        return Measure(value, min(edge.low, value), max(edge.high, value), len(t))
    deviation = math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    return Measure(value, *_logit_bounds(value, deviation, level), len(t))


def _logit_bounds(value: float, deviation: float, level: float) -> tuple[float, float]:
    centre, half = float(special.logit(value)), normal_quantile(level) * deviation / (value * (1 - value))
    return float(special.expit(centre - half)), float(special.expit(centre + half))


def _average_precision(t: np.ndarray, s: np.ndarray) -> float:
    """Sum over distinct scores of precision times the step of recall: ties share one point, no interpolation."""
    order = np.argsort(-s, kind="stable")
    hits = np.cumsum(t[order])
    last = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)  # the last of each run of equal scores
    found = hits[last]
    return float((np.diff(found, prepend=0) * found / (last + 1)).sum() / found[-1])


def average_precision(truth: Any, scores: Any, *, level: float = 0.95) -> Measure:
    """Area under the precision-recall curve as average precision (the AUPRC without interpolation).

    Interval: logit, variance ``AP (1 - AP) / positives`` (Boyd, Eng and Page 2013). NaN without a positive.
    """
    t, s = _binary(truth, scores)
    positives = int(t.sum())
    if not positives:
        return Measure(math.nan, math.nan, math.nan, len(t))
    value = min(1.0, _average_precision(t, s))
    if value == 1.0:
        return Measure(value, clopper_pearson(positives, positives, level=level).low, 1.0, len(t))
    return Measure(value, *_logit_bounds(value, math.sqrt(value * (1 - value) / positives), level), len(t))


def precision_at_k(truth: Any, scores: Any, k: int, *, level: float = 0.95) -> Measure:
    """Share of positives among the `k` highest scores, with Wilson's interval for k trials.

    Equal scores at the border count by their expected share, so the order of the rows does not matter.
    """
    t, s = _binary(truth, scores)
    k = check.integer("k", k, low=1, high=len(t))
    border = -np.partition(-s, k - 1)[k - 1]
    sure, tied = s > border, s == border
    hits = t[sure].sum() + (k - sure.sum()) * t[tied].mean()
    rounded = wilson(round(float(hits)), k, level=level)
    value = float(hits / k)
    return Measure(value, min(rounded.low, value), max(rounded.high, value), k)


def mean_average_precision(truth: Any, scores: Any, *, level: float = 0.95, draws: int = 0, seed: int = 0) -> Measure:
    """Mean over classes of average precision, multi-label: `truth` (N, C) in {0, 1, -1 unknown}, `scores` (N, C).

    Unknown cells do not count; classes without a positive are left out. With `draws` > 0, a percentile bootstrap over
    examples gives the interval (its cost is `draws` evaluations); otherwise the bounds are NaN. n counts examples.
    """
    t, s = np.asarray(truth), np.asarray(scores, dtype=np.float64)
    check.same_shape(truth=t, scores=s)
    check.finite("scores", s)

    def once(rows: np.ndarray | slice) -> float:
        found = []
        for j in range(t.shape[1]):
            seen = t[rows, j] >= 0
            positive = t[rows, j][seen] == 1
            if positive.any():
                found.append(_average_precision(positive, s[rows, j][seen]))
        return float(np.mean(found)) if found else math.nan

    low = high = math.nan
    if draws:
        rng = np.random.default_rng(seed)
        low, high = _percentiles(np.array([once(rng.integers(0, len(t), len(t))) for _ in range(draws)]), level)
    return Measure(once(slice(None)), low, high, len(t))
