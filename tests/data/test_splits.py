"""Splits and folds: disjoint, complete, in proportion, groups whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelwright.data import Dataset, folds, split
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels, MultiLabels


def dataset(values, **columns) -> Dataset:
    values = np.asarray(values)
    labels = ClassLabels(values=values, names=[str(c) for c in range(max(values.max(initial=0) + 1, 1))])
    return Dataset(inputs=np.arange(len(values))[:, None], labels=labels, columns=columns)


VALUES = st.lists(st.integers(UNKNOWN, 3), min_size=4, max_size=60)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.floats(0.05, 0.95), st.integers(0, 5), st.booleans())
def test_two_parts(values, fraction, seed, stratify):
    data = dataset(values)
    first, second = split(data, fraction, seed=seed, stratify=stratify)
    ids = np.concatenate([first.ids, second.ids])
    assert sorted(ids.tolist()) == list(range(len(values)))
    assert (np.diff(first.ids) > 0).all()
    assert (np.diff(second.ids) > 0).all()
    if not stratify:
        assert abs(len(second) - fraction * len(values)) <= 1
        return
    large = first if fraction <= 0.5 else second
    for c in set(values) - {UNKNOWN}:
        n = values.count(c)
        got = int((second.labels.values == c).sum())
        # within one of the exact share, except where the larger part needs its one example
        assert abs(got - fraction * n) < 1 + 1e-9 or n <= 2
        assert (large.labels.values == c).sum() >= 1 or len(set(values)) == len(values)
    again = split(data, fraction, seed=seed, stratify=stratify)[1]
    assert again.ids.tolist() == second.ids.tolist()


def test_shares_are_exact_where_they_can_be():
    data = dataset(np.repeat([0, 1, 2], [100, 50, 10]))
    first, second = split(data, 0.1, seed=0)
    assert second.labels.counts().tolist() == [10, 5, 1]
    assert first.labels.counts().tolist() == [90, 45, 9]
    assert split(data, 0.1, seed=1)[1].ids.tolist() != second.ids.tolist()
    # a class of one example stays on the large side
    rare = dataset([0] * 20 + [1])
    for seed in range(20):
        assert split(rare, 0.3, seed=seed)[1].labels.counts().tolist() == [6, 0]


def test_parts_must_not_be_empty():
    with pytest.raises(InputError, match="leaves one part empty"):
        split(dataset([0]), 0.5, seed=0)
    for fraction in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="fraction must"):
            split(dataset([0, 1]), fraction, seed=0)
    with pytest.raises(InputError, match="groups by 'group'"):
        split(dataset([0, 1, 0], group=np.array(["a", "a", "a"])), 0.3, seed=0)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=20, max_size=80), st.integers(0, 3))
def test_groups_stay_whole(rows, seed):
    values, groups = zip(*rows, strict=True)
    data = dataset(values, group=np.array([f"g{g}" for g in groups]))
    if len(set(groups)) < 2:
        return
    first, second = split(data, 0.3, seed=seed)
    assert not set(first.columns["group"]) & set(second.columns["group"])
    assert len(first) + len(second) == len(data)
    k = min(3, len(set(groups)))
    for rest, held in folds(data, k, seed=seed):
        assert not set(data.columns["group"][rest]) & set(data.columns["group"][held])
        assert len(held) > 0


def test_groups_come_near_the_fraction():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 100, 2000)
    data = dataset(rng.integers(0, 4, 2000), group=groups)
    second = split(data, 0.25, seed=0)[1]
    assert abs(len(second) - 500) < 25
    assert np.abs(second.labels.counts() - 0.25 * data.labels.counts()).max() < 25
    # groups=None treats rows as independent
    free = split(data, 0.25, seed=0, groups=None)[1]
    assert len(free) == 500
    assert len(set(free.columns["group"].tolist())) > 90


@settings(max_examples=150, deadline=None)
@given(VALUES, st.integers(2, 4), st.integers(0, 5))
def test_folds(values, k, seed):
    labels = dataset(values).labels
    parts = list(folds(labels, k, seed=seed))
    assert len(parts) == k
    assert sorted(np.concatenate([held for _, held in parts]).tolist()) == list(range(len(values)))
    sizes = [len(held) for _, held in parts]
    assert max(sizes) - min(sizes) <= 1
    for rest, held in parts:
        assert sorted(np.concatenate([rest, held]).tolist()) == list(range(len(values)))
    for c in set(values):
        counts = [int((labels.values[held] == c).sum()) for _, held in parts]
        assert max(counts) - min(counts) <= 1
    assert [h.tolist() for _, h in folds(labels, k, seed=seed)] == [h.tolist() for _, h in parts]


def test_folds_of_a_number_and_of_other_labels():
    assert sorted(np.concatenate([h for _, h in folds(10, 3, seed=0)]).tolist()) == list(range(10))
    multi = MultiLabels(values=np.eye(6, dtype=int))
    assert [len(h) for _, h in folds(multi, 3, seed=0)] == [2, 2, 2]
    for k, match in [(1, "k must be >= 2"), (11, "10 examples cannot make 11 folds")]:
        with pytest.raises(InputError, match=match):
            list(folds(10, k, seed=0))
    with pytest.raises(InputError, match=r"2 groups .* cannot make 3 folds"):
        list(folds(dataset([0, 1, 0, 1], group=np.array([0, 0, 1, 1])), 3, seed=0))


@pytest.mark.parametrize("seed", range(4))
def test_one_seed_for_corrupting_and_splitting_holds_out_no_more_wrong_labels_than_it_keeps(seed):
    from labelwright.data.corrupt import symmetric

    data = Dataset(inputs=np.zeros((4000, 1)), labels=ClassLabels(values=np.arange(4000) % 4))
    noisy, truth = symmetric(data, 0.5, seed=seed)
    _, held = noisy.split(0.1, seed=seed)
    share = truth.changed[held.ids].mean()
    assert abs(share - 0.5) < 4 * (0.25 / 400) ** 0.5  # four standard errors of 400 fair coins
