"""Optimal one-to-one assignment, and what follows from it: clusters named by classes, confusion matrices aligned."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.intervals import Measure, wilson

__all__ = ["align_confusion", "assign", "cluster_accuracy", "clusters_to_classes"]


def assign(values: Any, *, maximise: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Hungarian assignment: rows and columns (both int64 (min(R, C),), rows ascending) of least (or largest) total value.

    Raises
    ------
    InputError
        If `values` is not two-dimensional or holds NaN or infinity.
    """
    matrix = np.asarray(values)
    if matrix.ndim != 2:
        raise InputError(f"values must have shape (R, C); got {matrix.shape}.")
    if matrix.size:
        check.finite("values", matrix)
    rows, columns = linear_sum_assignment(matrix, maximize=maximise)
    return rows.astype(np.int64), columns.astype(np.int64)


def _contingency(clusters: Any, classes: Any) -> np.ndarray:
    a, b = np.asarray(clusters), np.asarray(classes)
    check.same_shape(clusters=a, classes=b)
    if not a.size:
        raise InputError("clusters is empty: there is nothing to match.")
    k, c = int(a.max()) + 1, int(b.max()) + 1
    a, b = check.class_index("clusters", a, num_classes=k), check.class_index("classes", b, num_classes=c)
    return np.bincount(a * c + b, minlength=k * c).reshape(k, c)


def clusters_to_classes(clusters: Any, classes: Any) -> np.ndarray:
    """The class of each cluster, int64 (K,), one to one, so that most examples agree; -1 for clusters left over."""
    table = _contingency(clusters, classes)
    rows, columns = assign(table, maximise=True)
    mapping = np.full(len(table), -1, dtype=np.int64)
    mapping[rows] = columns
    return mapping


def cluster_accuracy(clusters: Any, classes: Any, *, level: float = 0.95) -> Measure:
    """Share of examples whose cluster, matched one to one with classes, names their class (Wilson's interval)."""
    table = _contingency(clusters, classes)
    rows, columns = assign(table, maximise=True)
    return wilson(int(table[rows, columns].sum()), int(table.sum()), level=level)


def align_confusion(table: Any) -> tuple[np.ndarray, np.ndarray]:
    """Reorder the columns of a square confusion matrix so that its trace is largest: (aligned (C, C), order (C,))."""
    matrix = np.asarray(table)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"table must be square; got {matrix.shape}.")
    order = assign(matrix, maximise=True)[1]
    return matrix[:, order], order
