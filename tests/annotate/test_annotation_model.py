"""An annotation may carry the network that was trained on the way; it travels with the result."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal
from torch import nn

from labelwright.data import from_arrays
from labelwright.labels import ClassLabels
from labelwright.learn import CrossEntropy
from labelwright.nn import MLP
from labelwright.results import Annotation, Learned
from labelwright.training import Fit

FIT = Fit(epochs=1, batch_size=8)


def annotated(net) -> tuple[Annotation, np.ndarray]:
    points = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    data = from_arrays(points, (points[:, 0] > 0).astype(int))
    model = None if net is None else CrossEntropy().learn(data, net, fit=FIT, seed=0)
    return Annotation(
        provenance=CrossEntropy().learn(data, MLP(hidden=(2,)), fit=FIT, seed=0).provenance, ids=data.ids, labels=data.require_labels(ClassLabels),
        confidence=np.ones(40), abstained=np.zeros(40, dtype=bool), reasons=np.full(40, "predicted"), model=model,
    ), points  # fmt: skip


def test_the_model_is_saved_and_read_with_the_annotation(tmp_path):
    first, points = annotated(MLP(hidden=(4,)))
    first.save(tmp_path / "out")
    again = Annotation.load(tmp_path / "out")
    assert again.to_frame().equals(first.to_frame())
    assert_array_equal(again.model.predict_proba(points), first.model.predict_proba(points))
    assert_array_equal(Learned.load(tmp_path / "out" / "model").predict_proba(points), first.model.predict_proba(points))


def test_annotations_without_a_model_stay_without(tmp_path):
    annotated(None)[0].save(tmp_path / "out")
    assert Annotation.load(tmp_path / "out").model is None


def test_a_network_of_the_callers_own_is_read_on_its_own(tmp_path):
    def own(classes, shape):
        return nn.Linear(shape[0], classes)

    first, points = annotated(own)
    first.save(tmp_path / "out")
    assert Annotation.load(tmp_path / "out").model is None
    assert_array_equal(Learned.load(tmp_path / "out" / "model", net=own).predict_proba(points), first.model.predict_proba(points))
