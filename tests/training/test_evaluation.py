"""Figures by hand and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import nn

from labelwright.errors import InputError
from labelwright.training import accuracy, evaluate, evaluating, predict_logits, predict_proba


def test_by_hand():
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.5, 0.5]])
    result = evaluate(probs, [0, 0, 1, 1, -1], names=["no", "yes"])
    assert result.n == 4
    assert result.accuracy == 0.75
    z, n, p = 1.959964, 4, 0.75  # Wilson
    centre, half = (p + z * z / (2 * n)) / (1 + z * z / n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert result.ci95 == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert result.balanced_accuracy == 0.75
    assert result.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert [(s.name, s.n, s.precision, s.recall) for s in result.per_class] == [("no", 2, pytest.approx(2 / 3), 1.0), ("yes", 2, 1.0, 0.5)]
    assert list(result.to_dict()) == ["n", "accuracy", "ci95", "balanced_accuracy", "macro_f1"]
    assert result.to_dict()["ci95"] == list(result.ci95)
    assert result.auroc == 1.0
    # four bins hold one example each: |0.9 - 1|, |0.8 - 1|, |0.7 - 1|, |0.6 - 0|
    assert result.ece == pytest.approx((0.1 + 0.2 + 0.3 + 0.6) / 4)


def test_against_scikit_learn_with_a_class_that_never_occurs():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(5), size=300)
    labels = rng.integers(0, 4, size=300)
    result = evaluate(torch.from_numpy(probs), torch.from_numpy(labels))
    predicted = probs.argmax(1)
    assert result.accuracy == pytest.approx(sk.accuracy_score(labels, predicted))
    assert result.balanced_accuracy == pytest.approx(np.mean([(predicted[labels == c] == c).mean() for c in range(4)]))
    assert result.macro_f1 == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    assert result.auroc == pytest.approx(np.mean([sk.roc_auc_score(labels == c, probs[:, c]) for c in range(4)]))
    assert math.isnan(result.per_class[4].recall)


def test_a_network_equals_its_probabilities():
    torch.manual_seed(0)
    net, inputs, labels = nn.Linear(4, 3), torch.randn(50, 4), torch.arange(50) % 3
    probs = net(inputs).detach().softmax(1)
    assert evaluate(net, labels, inputs=inputs) == evaluate(probs, labels)
    assert accuracy(predict_logits(net, inputs, batch_size=7), labels) == pytest.approx(evaluate(probs, labels).accuracy)
    np.testing.assert_allclose(predict_proba(net, inputs, batch_size=11), probs.numpy(), rtol=1e-5)
    assert predict_proba(net, inputs[:0]).shape == (0, 3)


def test_modes_are_restored_one_by_one():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2))
    net.train()
    net[2].eval()
    with evaluating(net):
        assert not net[1].training
    assert [m.training for m in net] == [True, True, False]
    assert predict_logits(net, torch.zeros(3, 2)).requires_grad is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probs": np.array([[3.0, -1.0]]), "labels": [0]}, "softmax"),
        ({"probs": np.array([[0.5, 0.5]]), "labels": [2]}, "0..1"),
        ({"probs": np.array([[0.5, 0.5]]), "labels": [-1]}, "No label is known"),
        ({"probs": np.array([[0.5, 0.5]]), "labels": [0, 1]}, "Lengths differ"),
        ({"probs": np.array([[0.5, 0.5]]), "labels": [0], "inputs": torch.zeros(1, 2)}, "no effect"),
        ({"probs": nn.Linear(2, 2), "labels": [0]}, "inputs are needed"),
        ({"probs": np.array([[0.5, 0.5]]), "labels": [0], "names": ["a"]}, "names has 1"),
    ],
)
def test_wrong_input(arguments, message):
    with pytest.raises(InputError, match=message):
        evaluate(**arguments)
