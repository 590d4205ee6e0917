"""Out-of-sample probabilities by cross-validation: every row is predicted by models that never saw it."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright import check
from labelwright.data import Dataset
from labelwright.data.splits import folds as split_folds
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels, MultiLabels, SoftLabels
from labelwright.progress import track
from labelwright.signals.models import Predictor, predictor_for
from labelwright.training import Fit

__all__ = ["cross_validated", "fold_of", "out_of_fold"]

GROUPS_A_FOLD = 4


def cross_validated(data: Dataset, *, folds: int, seed: int, model: Any = None, fit: Fit | None = None) -> tuple[np.ndarray, str]:
    """Probabilities float32 (N, C) of every row, and in words where they come from.

    Labelled rows are predicted by the one model that did not train on their fold; unlabelled rows by the mean of all.
    Column ``group``, where it tells at least four groups a fold apart (patients, pages), keeps each group in one fold; a few
    large groups (sites, sources) do not. With multi-labels each class is a yes/no question of its own and rows do not sum to 1.

    Raises
    ------
    InputError
        If there are no class labels or fewer than two classes occur.
    """
    check.integer("folds", folds, low=2)
    predict = predictor_for(data, model=model, fit=fit, seed=seed)
    if isinstance(data.labels, MultiLabels):
        return _one_by_one(
            data, data.labels, predict, folds=folds, seed=seed
        ), f"cross-validated {predict.name}, {folds} folds, one model a class"
    labels = _class_labels(data)
    fold = fold_of(data.with_labels(labels), folds, seed=seed)
    probs = out_of_fold(labels.values, fold, labels.num_classes, predict, seed=seed)
    return probs, f"cross-validated {predict.name}, {fold.max() + 1} folds"


def fold_of(data: Dataset, folds: int, *, seed: int) -> np.ndarray:
    """The fold of each row, int64 (N,), classes spread evenly; -1 where the label is unknown. At most one fold a labelled row."""
    known = np.flatnonzero(data.known)
    group = data.columns.get("group")
    whole = group is not None and len(set(group[known].tolist())) >= GROUPS_A_FOLD * folds
    stub = Dataset(
        inputs=np.zeros((len(known), 1)),
        labels=None if data.labels is None else data.labels.take(known),
        columns={"group": group[known]} if group is not None and whole else {},
    )
    fold = np.full(len(data), -1, dtype=np.int64)
    for k, (_, held) in enumerate(split_folds(stub, min(folds, len(known)), seed=seed)):
        fold[known[held]] = k
    return fold


def _class_labels(data: Dataset) -> ClassLabels:
    if isinstance(data.labels, SoftLabels):
        data = data.with_labels(data.labels.harden())
    return data.class_labels()


def out_of_fold(
    labels: np.ndarray, fold: np.ndarray, num_classes: int, predict: Predictor, *, seed: int, quiet: bool = False
) -> np.ndarray:
    """float32 (N, C), rows summing to 1; `labels` int64 (N,), `fold` int64 (N,) as :func:`fold_of` gives it."""
    folds = int(fold.max()) + 1
    unknown = np.flatnonzero(fold < 0)
    out = np.zeros((len(labels), num_classes))
    for k in range(folds) if quiet else track(range(folds), f"cross-validating ({predict.name})", total=folds):
        train, held = np.flatnonzero((fold != k) & (fold >= 0)), np.flatnonzero(fold == k)
        probs = predict(train, labels[train], np.concatenate([held, unknown]), num_classes=num_classes, seed=seed * folds + k)
        out[held] = probs[: len(held)]
        out[unknown] += probs[len(held) :] / folds
    return (out / out.sum(1, keepdims=True)).astype(np.float32)


def _one_by_one(data: Dataset, labels: MultiLabels, predict: Predictor, *, folds: int, seed: int) -> np.ndarray:
    """float32 (N, C) in [0, 1]: each class against the rest; a class seen in one state only gets Laplace's estimate of its share."""
    out = np.zeros(labels.values.shape, dtype=np.float32)
    for c in track(range(labels.num_classes), f"cross-validating ({predict.name})", total=labels.num_classes):
        column = ClassLabels(values=np.where(labels.known[:, c], labels.values[:, c], UNKNOWN), names=("absent", "present"))
        counts = column.counts()
        if counts.sum() < 2:
            raise InputError(f"Class {labels.names[c]!r} has {counts.sum()} known labels; at least two are needed.")
        if counts.min() == 0:
            out[:, c] = (counts[1] + 1) / (counts.sum() + 2)
            continue
        fold = fold_of(data.with_labels(column), folds, seed=seed + c)
        out[:, c] = out_of_fold(column.values, fold, 2, predict, seed=seed + c, quiet=True)[:, 1]
    return out
