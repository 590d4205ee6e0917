"""Out-of-sample probabilities by cross-validation: every row is predicted by models that never saw it."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright import check
from labelwright.data import Dataset
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels, SoftLabels
from labelwright.progress import track
from labelwright.signals.folds import stratified_folds
from labelwright.signals.models import Predictor, predictor_for
from labelwright.training import Fit

__all__ = ["cross_validated"]


def cross_validated(data: Dataset, *, folds: int, seed: int, model: Any = None, fit: Fit | None = None) -> tuple[np.ndarray, str]:
    """Probabilities float32 (N, C) of every row, and in words where they come from.

    Labelled rows are predicted by the one model that did not train on their fold; unlabelled rows by the mean of all.
    With multi-labels each class is a yes/no question of its own and rows do not sum to 1.

    Raises
    ------
    InputError
        If there are no class labels or fewer than two classes occur.
    """
    check.integer("folds", folds, low=2)
    predict = predictor_for(data, model=model, fit=fit, seed=seed)
    if isinstance(data.labels, MultiLabels):
        probs = _one_by_one(data.labels, predict, folds=folds, seed=seed)
        return probs, f"cross-validated {predict.name}, {folds} folds, one model a class"
    labels = _class_labels(data)
    folds = min(folds, int(labels.known.sum()))
    probs = out_of_fold(labels.values, labels.num_classes, predict, folds=folds, seed=seed)
    return probs, f"cross-validated {predict.name}, {folds} folds"


def _class_labels(data: Dataset) -> ClassLabels:
    if isinstance(data.labels, SoftLabels):
        data = data.with_labels(data.labels.harden())
    return data.class_labels()


def out_of_fold(labels: np.ndarray, num_classes: int, predict: Predictor, *, folds: int, seed: int, quiet: bool = False) -> np.ndarray:
    """float32 (N, C); `labels` int64 (N,), -1 unknown. Rows sum to 1 within float32."""
    fold = stratified_folds(labels, folds, seed=seed)
    unknown = np.flatnonzero(fold < 0)
    out = np.zeros((len(labels), num_classes))
    for k in range(folds) if quiet else track(range(folds), f"cross-validating ({predict.name})", total=folds):
        train, held = np.flatnonzero((fold != k) & (fold >= 0)), np.flatnonzero(fold == k)
        probs = predict(train, labels[train], np.concatenate([held, unknown]), num_classes=num_classes, seed=seed * folds + k)
        out[held] = probs[: len(held)]
        out[unknown] += probs[len(held) :] / folds
    return (out / out.sum(1, keepdims=True)).astype(np.float32)


def _one_by_one(labels: MultiLabels, predict: Predictor, *, folds: int, seed: int) -> np.ndarray:
    """float32 (N, C) in [0, 1]: each class against the rest; a class seen in one state only gets that state's share."""
    out = np.zeros(labels.values.shape, dtype=np.float32)
    for c in track(range(labels.num_classes), f"cross-validating ({predict.name})"):
        column = labels.values[:, c].astype(np.int64)
        counts = np.bincount(column[column >= 0], minlength=2)
        if counts.sum() < 2:
            raise InputError(f"Class {labels.names[c]!r} has {counts.sum()} known labels; at least two are needed.")
        if counts.min() == 0:
            out[:, c] = (counts[1] + 1) / (counts.sum() + 2)
            continue
        out[:, c] = out_of_fold(column, 2, predict, folds=min(folds, int(counts.sum())), seed=seed + c, quiet=True)[:, 1]
    return out
