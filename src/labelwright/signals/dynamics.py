"""Training dynamics of a dataset: what one network says about every example after each epoch of training on the given labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from labelwright.data import Dataset
from labelwright.data.batch import Batch, TensorData
from labelwright.data.featurise import fit_featuriser
from labelwright.nn import seeded
from labelwright.signals.models import _Net, signal_fit
from labelwright.training import Fit, Step, train
from labelwright.training.dynamics import Dynamics, Recorder

__all__ = ["record"]


def record(data: Dataset, *, model: Any = None, fit: Fit | None = None, seed: int) -> Dynamics:
    """The log of one network (`model`: a network factory; default by the kind of inputs) trained with plain cross-entropy on all labelled rows.

    Each epoch ends with a pass in evaluation mode over every row, unlabelled ones included; their scores that need a label are NaN.
    The network has seen the labels: its dynamics rank examples, its probabilities are not out-of-sample.

    Raises
    ------
    InputError
        If fewer than two classes occur.
    """
    labels = data.class_labels()
    maker = _Net(data, None if hasattr(model, "fit") else model, fit=fit, seed=seed)
    rows = torch.from_numpy(np.flatnonzero(labels.known))
    inputs = fit_featuriser(maker.data, seed=seed).transform(maker.data)
    values = torch.from_numpy(np.array(labels.values))
    every = TensorData.of(inputs, values)
    with seeded(seed):
        net = maker.factory(labels.num_classes, tuple(inputs.shape[1:]))
    recipe = fit or signal_fit(len(rows), side=maker.side(inputs))
    recorder = Recorder(len(data), epochs=recipe.epochs, classes=labels.num_classes)

    def step(net: torch.nn.Module, batch: Batch) -> Step:
        return Step(torch.nn.functional.cross_entropy(net(batch.inputs), batch.labels))

    train(
        net,
        step,
        every.take(rows),
        fit=recipe,
        seed=seed,
        memory=recorder,
        on_epoch=[recorder.after(every)],
        label="training dynamics",
        key="dynamics",
    )
    return recorder.read(values)
