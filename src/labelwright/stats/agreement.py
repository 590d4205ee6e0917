"""How far annotators agree: Fleiss' kappa, Krippendorff's alpha, pairwise agreement, the weighted-F1 matrix.

References: Fleiss, Psychological Bulletin 76 (1971); Krippendorff, Computing Krippendorff's alpha-reliability (2011).

    kappa = (P - P_e) / (1 - P_e)      P: mean share of agreeing pairs of raters of an item; P_e = sum_c p_c^2
    alpha = 1 - D_o / D_e              D_o: mean distance within items; D_e: mean distance of all values to each other
    nominal distance [c != k]          ordinal ( sum_{g=c..k} n_g - (n_c + n_k) / 2 )^2

Votes are int (N, R): the class each of R annotators gave each of N items, -1 where there is none. Everything follows from counts,
so the cost is that of one pass over the votes. Values on different subsets do not compare: on the items a judge disputes,
every group agrees far less.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from labelwright import check
from labelwright.errors import InputError

__all__ = ["Level", "fleiss_kappa", "krippendorff_alpha", "pairwise_agreement", "pairwise_tables", "vote_counts", "weighted_f1_matrix"]

Level = Literal["nominal", "ordinal"]
BLOCK = 4_000_000
"""Cells of one-hot votes held at a time: 16 MB."""


def as_votes(votes: Any, num_classes: int | None = None) -> tuple[np.ndarray, int]:
    """Votes as int64 (N, R) and the number of classes C.

    Raises
    ------
    InputError
        If the shape is another or a vote is no class.
    """
    values = np.asarray(votes)
    if values.ndim != 2 or not values.shape[1]:
        raise InputError(f"votes must have shape (N, R), R >= 1; got {values.shape}.")
    size = num_classes if num_classes is not None else int(values.max(initial=0)) + 1
    flat = check.class_index("votes", values.reshape(-1), num_classes=size, unknown=-1)
    return flat.reshape(values.shape), size


def vote_counts(votes: Any, num_classes: int | None = None) -> np.ndarray:
    """How many annotators gave each item each class, int64 (N, C)."""
    values, size = as_votes(votes, num_classes)
    rows, given = np.nonzero(values >= 0)
    return np.bincount(rows * size + values[rows, given], minlength=len(values) * size).reshape(len(values), size)


def fleiss_kappa(votes: Any, num_classes: int | None = None) -> float:
    """Fleiss' kappa of votes (N, R): 1 full agreement, 0 that of chance.

    Items nobody rated are left out. NaN where every vote is the same class (chance agrees fully too).

    Raises
    ------
    InputError
        If items have different numbers of votes (Krippendorff's alpha allows that), fewer than two, or there is no item.
    """
    counts = vote_counts(votes, num_classes)
    raters = counts.sum(1)
    counts, raters = counts[raters > 0], raters[raters > 0]
    if not len(counts):
        raise InputError("There is no vote.")
    if raters.min() != raters.max():
        raise InputError(
            f"Fleiss' kappa needs equally many votes for every item; they are {raters.min()} to {raters.max()}.",
            hint="Use krippendorff_alpha, or the items that everybody rated.",
        )
    r = int(raters[0])
    if r < 2:
        raise InputError("Fleiss' kappa needs at least two votes for every item.")
    observed = float((np.square(counts).sum(1) - r).mean() / (r * (r - 1)))
    expected = float(np.square(counts.sum(0) / counts.sum()).sum())
    return math.nan if expected >= 1 else (observed - expected) / (1 - expected)


def krippendorff_alpha(votes: Any, num_classes: int | None = None, *, level: Level = "nominal") -> float:
    """Krippendorff's alpha of votes (N, R), any of them missing: 1 full agreement, 0 that of chance, below 0 less than that.

    `level` is the distance between classes; for ``ordinal``, classes are numbered in their order. Items with fewer than two votes
    say nothing about agreement and are left out. NaN where no item has two votes, or all values are the same class.
    """
    check.one_of("level", level, ("nominal", "ordinal"))
    counts = vote_counts(votes, num_classes).astype(np.float64)
    counts = counts[counts.sum(1) >= 2]
    if not len(counts):
        return math.nan
    weighted = counts / (counts.sum(1, keepdims=True) - 1)
    pairs = counts.T @ weighted  # coincidences of classes within items; a value is not paired with itself
    pairs[np.diag_indices_from(pairs)] -= weighted.sum(0)
    totals = counts.sum(0)
    distance = class_distance(totals, level)
    n = totals.sum()
    expected = float((np.outer(totals, totals) * distance).sum() / (n - 1))
    return math.nan if expected == 0 else 1 - float((pairs * distance).sum()) / expected


def class_distance(totals: np.ndarray, level: Level) -> np.ndarray:
    """Squared distance between classes that occur `totals` (C,) times: float64 (C, C), zero on the diagonal."""
    if level == "nominal":
        return 1 - np.eye(len(totals))
    below = np.cumsum(totals) - totals / 2  # midrank of a class: the ordinal distance is the difference of midranks
    return np.square(below[:, None] - below[None, :])


def pairwise_tables(votes: Any, num_classes: int | None = None) -> np.ndarray:
    """Confusion of every pair of annotators on the items both rated: float64 (R, R, C, C), ``[a, b, c, k]`` items to which a gave c and b gave k."""
    values, size = as_votes(votes, num_classes)
    n, r = values.shape
    total = np.zeros((r * size, r * size))
    block = max(1, BLOCK // (r * size))
    place = np.arange(r) * size
    for start in range(0, n, block):
        part = values[start : start + block]
        hot = np.zeros((len(part), r * size), dtype=np.float32)
        rows, given = np.nonzero(part >= 0)
        hot[rows, place[given] + part[rows, given]] = 1
        total += hot.T @ hot  # counts below 2^24 are exact in float32
    return total.reshape(r, size, r, size).transpose(0, 2, 1, 3)


def pairwise_agreement(votes: Any, num_classes: int | None = None) -> np.ndarray:
    """Share of the items both rated to which two annotators gave the same class: float64 (R, R), NaN where they share none."""
    tables = pairwise_tables(votes, num_classes)
    shared = tables.sum((2, 3))
    return np.where(shared > 0, np.trace(tables, axis1=2, axis2=3) / np.maximum(shared, 1), np.nan)


def weighted_f1_matrix(votes: Any, num_classes: int | None = None) -> np.ndarray:
    """F1 of each annotator (column) against each other one taken as truth (row), classes weighted by their share of the truth.

    float64 (R, R), on the items both rated; not symmetric; NaN where they share none.
    """
    return weighted_f1(pairwise_tables(votes, num_classes))


def weighted_f1(tables: Any) -> np.ndarray:
    """Weighted F1 of confusion tables (..., C, C), rows the truth: ``sum_c (n_c / n) F1_c``; NaN where a table is empty."""
    t = np.asarray(tables, dtype=np.float64)
    support, named = t.sum(-1), t.sum(-2)
    hits = np.diagonal(t, axis1=-2, axis2=-1)
    f = 2 * hits / np.maximum(support + named, 1)
    n = support.sum(-1)
    return np.where(n > 0, (support * f).sum(-1) / np.maximum(n, 1), np.nan)
