"""Cross-validation folds that every class is spread over, rare classes and unlabelled rows included."""

from __future__ import annotations

import numpy as np

from labelwright import check

__all__ = ["stratified_folds"]


def stratified_folds(labels: np.ndarray, folds: int, *, seed: int) -> np.ndarray:
    """The fold of each row, int64 (N,); -1 where the label is unknown (such rows are predicted by all models).

    Rows are shuffled within their class and dealt out in turn, the next class going on where the last one stopped:
    fold sizes differ by at most one, and so do the counts of each class over the folds. A class with fewer examples
    than folds sits in as many folds as it has examples.

    Parameters
    ----------
    labels
        int64 (N,), -1 where unknown.
    folds
        2..(labelled rows).
    """
    known = np.flatnonzero(labels >= 0)
    check.integer("folds", folds, low=2, high=max(2, len(known)))
    order = known[np.random.default_rng(seed).permutation(len(known))]
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.full(len(labels), -1, dtype=np.int64)
    fold[order] = np.arange(len(order)) % folds
    return fold
