"""From datasets to tensors: rows keep their numbers, a noisy tenth is held out, groups stay whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelwright.data import Dataset
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.training import judge_labels, prepare


def dataset(n: int = 100, names=("a", "b"), **columns) -> Dataset:
    values = np.arange(n) % 2
    values[5] = -1
    rng = np.random.default_rng(0)
    return Dataset(inputs=rng.normal(size=(n, 3)), labels=ClassLabels(values=values, names=names), columns=columns)


def test_rows_keep_their_numbers_and_a_tenth_is_held_out():
    weight = np.ones(100)
    weight[7] = 0
    prepared = prepare(dataset(weight=weight), seed=0)
    train, val = set(prepared.train.index.tolist()), set(prepared.val.index.tolist())
    assert train | val == set(range(100)) - {5, 7}
    assert not train & val
    assert len(val) == 10
    assert prepared.val.labels.sum() == 5  # stratified
    assert torch.equal(prepared.train.inputs, prepared.inputs[prepared.train.index])
    assert torch.equal(prepared.train.labels, prepared.labels[prepared.train.index])
    assert prepared.labels[5] == -1
    assert (prepared.num_classes, prepared.input_shape, prepared.names) == (2, (3,), ("a", "b"))
    assert torch.equal(prepare(dataset(weight=weight), seed=0).val.index, prepared.val.index)
    assert not torch.equal(prepare(dataset(weight=weight), seed=1).val.index, prepared.val.index)
    assert prepare(dataset(), seed=0, hold_out=False).val is None


def test_groups_stay_on_one_side():
    group = np.arange(100) // 4
    prepared = prepare(dataset(group=group), seed=0)
    assert not set(group[prepared.train.index]) & set(group[prepared.val.index])


def test_another_datasets_classes_are_matched_by_name():
    val = Dataset(inputs=np.zeros((3, 3)), labels=ClassLabels(values=np.array([0, 1, -1]), names=("b", "a")))
    prepared = prepare(dataset(), val, seed=0)
    assert prepared.val.labels.tolist() == [1, 0, -1]
    assert len(prepared.train) == 99
    other = Dataset(inputs=np.zeros((1, 3)), labels=ClassLabels(values=np.array([0]), names=("c",)))
    with pytest.raises(InputError, match="'c'"):
        prepare(dataset(), other, seed=0)


def test_judgement_of_labels_is_the_softmax():
    prepared = prepare(dataset(), seed=0)
    net = torch.nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.zero_()
        net.bias.copy_(torch.tensor([0.0, np.log(3.0)]))  # probabilities 1/4, 3/4 everywhere
    own, wrong = judge_labels(net, prepared)
    assert own.unique().tolist() == [1]
    assert wrong[0].item() == pytest.approx(0.75)
    assert wrong[1].item() == pytest.approx(0.25)
    assert wrong[5].item() == 0.0
