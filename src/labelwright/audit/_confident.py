"""Confident learning: the pure functions behind :mod:`labelwright.audit.label_errors`.

Letters: N examples, C classes, i the given class, j the true one, p[n, j] the predicted probability.

    t_j    = mean of p[n, j] over the examples given j                                       (eq. 2 of the paper)
    g_n    = the class of largest p[n, j] among those with p[n, j] >= t_j; -1 if there is none (eq. 1)
    J[i,j] = number of examples given i with g_n = j, its rows scaled to the counts of the given labels (eq. 3)

Nothing here holds a second (N, C) array: rows are read in blocks that fit the processor's cache, and only the N-vectors
of :class:`Rows` are kept. Where the most probable class passes its threshold it is g_n, so only the other rows are
looked at twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from labelwright import check
from labelwright.errors import InputError

BLOCK_BYTES = 1 << 20
"""Of one block of rows: half a second-level cache."""
GATHER_ELEMENTS = 1 << 22
"""Probabilities gathered at a time while pruning: 16 MB in float32."""
SLACK = 1e-6
"""A probability counts as reaching a threshold, or another probability, within this: averages of equal numbers are not exactly equal."""
LOWEST_THRESHOLD = 2 * SLACK  # else a class whose average is 0 would be reached by every example


@dataclass(frozen=True)
class Rows:
    """What is kept of the probabilities: most probable class int32 (N,), its probability, and that of the given label."""

    top: np.ndarray
    top_prob: np.ndarray
    given_prob: np.ndarray


def blocks(n: int, row_bytes: int) -> Iterator[slice]:
    """Slices of 0..n-1 of about `BLOCK_BYTES` each."""
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def read_rows(labels: np.ndarray, probs: np.ndarray, *, name: str = "probs", first: int = 0) -> Rows:
    """One pass over `probs` (N, C): checks it and keeps the :class:`Rows`. `first`: row number of row 0, for messages.

    Raises
    ------
    InputError
        If a row is not a distribution.
    """
    n, c = probs.shape
    rows = Rows(np.empty(n, dtype=np.int32), np.empty(n, dtype=probs.dtype), np.empty(n, dtype=probs.dtype))
    ones, tolerance = np.ones(c, dtype=probs.dtype), check.ROW_SUM_TOLERANCE
    fine = True
    for part in blocks(n, c * probs.itemsize):
        block = np.ascontiguousarray(probs[part])
        place = np.arange(len(block))
        top = block.argmax(1)
        rows.top[part], rows.top_prob[part], rows.given_prob[part] = top, block[place, top], block[place, labels[part]]
        with np.errstate(invalid="ignore", over="ignore"):  # infinities are found, not warned of
            total = block @ ones
        # stated positively: NaN fails every comparison
        fine &= bool(block.min() >= -tolerance) and bool((rows.top_prob[part] <= 1 + tolerance).all())
        fine &= bool(((total >= 1 - tolerance) & (total <= 1 + tolerance)).all())
    if not fine:
        check.probabilities(name if not first else f"{name} (rows counted from {first:,})", probs)
        raise InputError(f"{name} must be probabilities, with rows that sum to 1.")  # a row exactly at the tolerance
    return rows


def class_thresholds(totals: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """t (C,) from the sums of given probabilities and the counts by class; infinite for a class without examples."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.maximum(totals / counts, LOWEST_THRESHOLD)
    return np.where(counts > 0, means, np.inf)


def limits_of(thresholds: np.ndarray, dtype: Any) -> np.ndarray:
    """What a probability must reach, in the precision of the probabilities."""
    return thresholds.astype(dtype) - np.dtype(dtype).type(SLACK)


def confident_class(rows: Rows, probs: np.ndarray, limits: np.ndarray, *, overall: bool = False) -> np.ndarray:
    """g (N,) int32. `overall`: where several classes are reached, take the most probable of *all* classes, as cleanlab does."""
    sure = rows.top_prob >= limits[rows.top]
    guess = np.where(sure, rows.top, np.int32(-1))
    if not len(limits):
        return guess
    rest = np.flatnonzero(~sure & (rows.top_prob >= limits.min()))
    for part in blocks(len(rest), probs.shape[1] * probs.itemsize):
        index = rest[part]
        block = probs[index]
        reached = block >= limits
        number = reached.sum(1)
        best = np.where(reached, block, -1).argmax(1).astype(np.int32)
        if overall:
            best = np.where(number > 1, rows.top[index], best)
        guess[index] = np.where(number > 0, best, np.int32(-1))
    return guess


def count_pairs(given: np.ndarray, guess: np.ndarray, num_classes: int) -> np.ndarray:
    """Examples for each (given, confident) pair, int64 (C, C); those without a confident class are not counted."""
    known = guess >= 0
    cells = given[known] * num_classes + guess[known]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def round_keeping_sum(values: np.ndarray) -> np.ndarray:
    """Integers next to `values` (C,) with the rounded sum: what is missing goes to the largest remainders, the excess to the smallest.

    Equal remainders are taken in NumPy's own (unstable) sorting order, from its end when adding: with many equal small
    counts any fixed rule is as good, and this one gives cleanlab's numbers.
    """
    whole = values.round()
    missing = round(float(values.sum().round() - whole.sum()))
    while missing:
        order = np.argsort(values - whole)
        chosen = order[::-1][:missing] if missing > 0 else order[:-missing]
        whole[chosen] += 1 if missing > 0 else -1
        missing = round(float(values.sum().round() - whole.sum()))
    return whole.astype(np.int64)


def calibrate(pairs: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Confident joint in examples, int64 (C, C), from the counted `pairs` and the `counts` of given labels: row i sums to counts[i].

    Every class is credited with at least one rightly labelled example first, as in the authors' code.
    """
    joint = pairs.copy()
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    scaled = (joint.T / joint.sum(1) * counts).T
    scaled = scaled / scaled.sum() * counts.sum()
    return np.stack([round_keeping_sum(row) for row in scaled])


def prune_counts(joint: np.ndarray, min_examples: int) -> np.ndarray:
    """How many to prune of each pair (given, true), int64 (C, C); on the diagonal, how many to keep: at least `min_examples`.

    What a class lacks is taken evenly from its nonzero off-diagonal counts.
    """
    keep = np.maximum(joint.diagonal(), min_examples)
    lack = keep - joint.diagonal()
    off = joint.astype(np.float64)
    np.fill_diagonal(off, 0)
    off = np.floor(np.maximum(off - (lack / np.maximum((off > 0).sum(1), 1))[:, None], 0)).astype(np.int64)
    np.fill_diagonal(off, keep)
    return off


def disagrees(labels: np.ndarray, rows: Rows) -> np.ndarray:
    """(N,) bool: another class is more probable than the given one by more than `SLACK`. Only such examples are ever flagged."""
    raised = rows.given_prob + rows.given_prob.dtype.type(SLACK)
    agrees = (rows.top == labels) | (raised > rows.top_prob) | ((raised == rows.top_prob) & (labels < rows.top))
    return ~agrees


def by_class(labels: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Row positions of each class, in ascending order."""
    small = labels.astype(np.uint16) if len(counts) <= 1 << 16 else labels  # a radix sort, linear in N
    return np.split(np.argsort(small, kind="stable"), np.cumsum(counts)[:-1])


def largest(values: np.ndarray, n: int) -> np.ndarray:
    """Positions of the `n` largest values; of equal ones at the border, the first."""
    if n >= len(values):
        return np.arange(len(values))
    border = np.partition(values, len(values) - n)[len(values) - n]
    above = values > border
    missing = n - int(above.sum())
    return np.concatenate([np.flatnonzero(above), np.flatnonzero(values == border)[:missing]])


def prune_by_class(labels: np.ndarray, rows: Rows, counts: np.ndarray, prune: np.ndarray, min_examples: int) -> np.ndarray:
    """(N,) bool: in class i, the ``counts[i] - prune[i, i]`` examples of smallest probability of their label."""
    flagged = np.zeros(len(labels), dtype=bool)
    for i, members in enumerate(by_class(labels, counts)):
        n = int(counts[i] - prune[i, i])
        if counts[i] > min_examples and n > 0:
            flagged[members[largest(-rows.given_prob[members], n)]] = True
    return flagged


def prune_by_noise_rate(
    labels: np.ndarray, probs: np.ndarray, rows: Rows, counts: np.ndarray, prune: np.ndarray, min_examples: int
) -> np.ndarray:
    """(N,) bool: for each pair i != j, the ``prune[i, j]`` examples given i of largest margin ``p[n, j] - p[n, i]``, if they disagree.

    An example that agrees with its label has a margin of at most `SLACK`, so as long as enough disagreeing ones lie
    above that, only they are looked at; otherwise the pair's whole class is.
    """
    flagged, open_ = np.zeros(len(labels), dtype=bool), disagrees(labels, rows)
    for i, members in enumerate(by_class(labels, counts)):
        wanted = prune[i].copy()
        wanted[i] = 0
        if counts[i] <= min_examples or not wanted.any():
            continue
        candidates = members[open_[members]]
        short: list[int] = []
        for columns, margin in _margins(probs, rows, candidates, np.flatnonzero(wanted)):
            enough = (margin > 2 * SLACK).sum(1) >= wanted[columns]
            short += columns[~enough].tolist()
            for j, values in zip(columns[enough], margin[enough], strict=True):
                flagged[candidates[largest(values, int(wanted[j]))]] = True
        for columns, margin in _margins(probs, rows, members, np.array(short, dtype=np.int64)):
            for j, values in zip(columns, margin, strict=True):
                flagged[members[largest(values, int(wanted[j]))]] = True
    return flagged & open_


def _margins(probs: np.ndarray, rows: Rows, index: np.ndarray, columns: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``p[n, j] - p[n, given]`` of the rows `index`, as (J, M) for some `columns` at a time."""
    if not len(index) or not len(columns):
        if len(columns):
            yield columns, np.empty((len(columns), 0), dtype=probs.dtype)
        return
    step = max(1, GATHER_ELEMENTS // len(index))
    for start in range(0, len(columns), step):
        chosen = columns[start : start + step]
        if step >= probs.shape[1]:  # whole rows fit: one gather of contiguous memory
            margin = np.ascontiguousarray(probs[index].T[chosen])
        else:
            margin = np.ascontiguousarray(probs[index[:, None], chosen].T)
        margin -= rows.given_prob[index]
        yield chosen, margin


def error_scores(labels: np.ndarray, probs: np.ndarray, rows: Rows, how: str) -> np.ndarray:
    """float64 (N,) in [0, 1], higher = more likely wrong: one minus the label's quality."""
    given = rows.given_prob.astype(np.float64)
    if how == "self_confidence":
        return np.clip(1 - given, 0, 1)
    other, c = rows.top_prob.astype(np.float64), probs.shape[1]
    entropy = np.zeros(len(labels))
    for part in blocks(len(labels), c * probs.itemsize):
        if how == "normalized_margin":
            right = np.flatnonzero(rows.top[part] == labels[part])
            if len(right):  # the best other class is the second most probable one
                block = probs[part][right]
                block[np.arange(len(right)), labels[part][right]] = -1
                other[part.start + right] = block.max(1)
        else:
            block = np.maximum(probs[part], np.finfo(probs.dtype).tiny)
            entropy[part] = -np.einsum("nc,nc->n", block, np.log(block))
    if how == "normalized_margin":
        return np.clip((1 - (given - other)) / 2, 0, 1)
    # below SLACK the given probability is raised to it, and the entropy to what it must then be at least; elsewhere the
    # entropy of all classes is never below that of "given or not", so nothing changes
    raised = np.clip(given, SLACK, 1)
    least = -special.xlogy(raised, raised) - special.xlog1py(1 - raised, -raised)
    ratio = np.maximum(entropy, least) / (np.log(c) * raised)
    return np.clip(1 - np.log1p(ratio) / np.where(ratio > 0, ratio, 1), 0, 1) * (ratio > 0)
