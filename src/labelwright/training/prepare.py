"""From datasets to tensors: what every learner does first, in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from labelwright.data import Dataset
from labelwright.data.batch import TensorData
from labelwright.data.featurise import Featuriser, fit_featuriser
from labelwright.data.graphs import training_view
from labelwright.data.inputs import Preprocessed
from labelwright.data.node_batches import NodeTensor
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels, MultiLabels
from labelwright.training.evaluation import predict_logits

__all__ = ["VAL_FRACTION", "Prepared", "judge_labels", "prepare"]

VAL_FRACTION = 0.1
"""Share of the training set held out for validation when none is given; its labels are as noisy as the rest."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Tensors for training: `train` (labelled rows of positive weight, weights scaled to mean 1), `val` (given, or held out of `data`), `inputs` of every row of `data`,
    `labels` int64 (N,) of every row (-1 unknown; multi-labels: float32 (N, C), NaN unknown), the fitted `featuriser`, class `names`."""

    train: TensorData
    val: TensorData | None
    inputs: Tensor
    labels: Tensor
    featuriser: Featuriser
    names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.inputs.input_shape if isinstance(self.inputs, NodeTensor) else tuple(self.inputs.shape[1:])


def prepare(data: Dataset, val: Dataset | None = None, *, seed: int, hold_out: bool = True, multi: bool = False) -> Prepared:
    """Featurise and split. The featuriser is fitted on `data` (inputs only, no labels).

    Without `val`, a stratified tenth of the labelled rows is held out, unless `hold_out` is False; rows of one ``group`` stay
    on one side. Of condensed examples, few as they are, none is held out. With `multi`, multi-labels are taken beside class
    labels; rows without any known cell then count as unlabelled.

    Of a node-level dataset the column ``split`` decides which labels are seen at all: :mod:`labelwright.data.graphs`.

    Raises
    ------
    InputError
        If fewer than two classes occur (multi-labels: no cell is known), or `val` has other classes.
    """
    data, held_rows = training_view(data)
    val = held_rows if val is None else val
    given: ClassLabels | MultiLabels = _multi_labels(data) if multi and isinstance(data.labels, MultiLabels) else data.class_labels()
    featuriser = fit_featuriser(data, seed=seed)
    inputs = featuriser.transform(data)
    labels = _targets(given)
    weights = torch.from_numpy(np.array(data.weights)).float()
    every = TensorData(inputs=inputs, labels=labels, index=torch.arange(len(data)), weights=weights, size=len(data))
    rows = np.flatnonzero(data.known & (data.weights > 0))
    held: TensorData | None = None
    if val is not None:
        held = TensorData.of(featuriser.transform(val), _targets(_like(val, given)))
    elif hold_out and not isinstance(data.inputs, Preprocessed):
        groups = {"group": data.columns["group"][rows]} if "group" in data.columns else {}
        stub = Dataset(inputs=np.zeros((len(rows), 1)), labels=given.take(rows), ids=rows, columns=groups)
        fit_part, held_part = stub.split(VAL_FRACTION, seed=seed)
        rows = np.sort(fit_part.ids)
        held = every.take(torch.from_numpy(np.sort(held_part.ids)))
    train = every.take(torch.from_numpy(rows))
    # mean 1: the loss, and with it the learning rate, keeps its size whatever the unit of the weights
    train = replace(train, weights=train.weights / train.weights.mean())
    return Prepared(
        train=train,
        val=held,
        inputs=inputs,
        labels=labels,
        featuriser=featuriser,
        names=tuple(given.names),
    )


def _multi_labels(data: Dataset) -> MultiLabels:
    labels = data.require_labels(MultiLabels)
    if not len(labels) or not labels.known.any():
        raise InputError(f"None of the {labels.values.size:,} labels is known.", hint="Is this the right label column?")
    return labels


def _targets(labels: ClassLabels | MultiLabels) -> Tensor:
    """Class indices int64 (N,), or cells float32 (N, C) with NaN where unknown."""
    if isinstance(labels, ClassLabels):
        return torch.from_numpy(np.array(labels.values))
    return torch.from_numpy(np.where(labels.known, labels.values, np.nan).astype(np.float32))


def _like(val: Dataset, given: ClassLabels | MultiLabels) -> ClassLabels | MultiLabels:
    """The labels of `val` in the numbering of `given`; classes that `val` does not name are unknown there."""
    labels = val.require_labels(type(given))
    place = {name: j for j, name in enumerate(given.names)}
    occurs = labels.counts() if isinstance(labels, ClassLabels) else (labels.values == 1).sum(0)
    missing = [n for n, count in zip(labels.names, occurs, strict=True) if n not in place and count]
    if missing:
        raise InputError(
            f"The second dataset has classes the training set lacks: {missing[:5]}.", hint=f"Training classes: {list(place)[:12]}."
        )
    if isinstance(labels, ClassLabels):
        table = np.array([*(place.get(n, UNKNOWN) for n in labels.names), UNKNOWN], dtype=np.int64)
        return ClassLabels(values=table[labels.values], names=given.names)
    values = np.full((len(labels), len(place)), UNKNOWN, dtype=np.int8)
    for j, name in enumerate(labels.names):
        if name in place:
            values[:, place[name]] = labels.values[:, j]
    return MultiLabels(values=values, names=given.names)


def judge_labels(net: nn.Module, prepared: Prepared) -> tuple[Tensor, Tensor]:
    """What a trained network thinks of all N given labels: its own class int64 (N,), and ``1 - p(given)`` float32 (N,) (0 where unknown).

    In-sample for the rows it was trained on: a ranking of suspects, not a probability to audit by.
    """
    probs = predict_logits(net, prepared.inputs).softmax(1)
    known = prepared.labels >= 0
    given = probs.gather(1, prepared.labels.clamp_min(0)[:, None])[:, 0]
    return probs.argmax(1), torch.where(known, 1 - given, torch.zeros(()))
