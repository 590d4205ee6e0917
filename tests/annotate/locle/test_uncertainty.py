"""Entropy, disharmonicity, stage weights, the filter and the two sets, against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose
from scipy import sparse

from labelwright.annotate.locle.uncertainty import (
    dropped_first,
    ensemble,
    extremes,
    label_disharmonicity,
    label_entropy,
    lowest_both,
    stage_weights,
)


def random_graph(n: int, seed: int, density: float = 0.2) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < density, 1)
    return sparse.csr_matrix((upper | upper.T).astype(np.float64))


def ring(n: int) -> sparse.csr_matrix:
    eye = np.eye(n)
    return sparse.csr_matrix(np.roll(eye, 1, 1) + np.roll(eye, -1, 1))


def test_entropy_has_its_extremes_at_certainty_and_at_uniform():
    probs = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    assert_allclose(label_entropy(probs), [0, np.log(4), np.log(2)])


@given(st.integers(2, 6), st.integers(0, 99))
def test_entropy_stays_between_them(classes, seed):
    values = label_entropy(np.random.default_rng(seed).dirichlet(np.ones(classes), 20))
    assert (values >= 0).all()
    assert (values <= np.log(classes) + 1e-12).all()


def test_equal_neighbours_are_in_harmony():
    assert_allclose(label_disharmonicity(ring(7), np.tile([0.2, 0.3, 0.5], (7, 1))), 0, atol=1e-15)


@given(st.integers(0, 99))
@settings(max_examples=25)
def test_disharmonicity_is_the_dense_random_walk_laplacian(seed):
    graph = random_graph(15, seed)
    probs = np.random.default_rng(seed).dirichlet(np.ones(4) * 0.2, 15)
    dense, degree = graph.toarray(), np.asarray(graph.sum(1)).ravel()
    linked = degree > 0
    walk = np.where(linked, 1 / np.maximum(degree, 1), 0)[:, None] * dense
    expected = np.abs((np.eye(15) - walk) @ probs).sum(1)
    found = label_disharmonicity(graph, probs, isolated=0.75)
    assert_allclose(found[linked], expected[linked], atol=1e-12)
    assert (found[~linked] == 0.75).all()
    assert (found <= 2 + 1e-12).all()


def test_opposite_neighbours_reach_two():
    assert_allclose(label_disharmonicity(ring(4), np.eye(2)[[0, 1, 0, 1]]), 2.0)


def test_stage_weights_grow_and_sum_to_one():
    assert stage_weights(1).tolist() == [1.0]
    assert_allclose(stage_weights(3), [1 / 7, 2 / 7, 4 / 7])  # (1 - 1/2) (1/2)^(3-i) / (1 - 1/8)
    assert_allclose(stage_weights(5, decay=0.8).sum(), 1)


def test_the_ensemble_of_one_stage_is_that_stage():
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    assert_allclose(ensemble([probs]), probs)
    assert_allclose(ensemble([np.eye(2), 1 - np.eye(2)]), [[1 / 3, 2 / 3], [2 / 3, 1 / 3]])


@given(st.integers(1, 40), st.integers(1, 5), st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.9]), st.integers(0, 99))
@settings(max_examples=60)
def test_the_filter_keeps_its_share_and_every_class(total, classes, share, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, total)
    gone = dropped_first(rng.random(total), labels, share=share)
    kept = -(-round((1 - share) * 10 * total) // 10)  # ceil((1 - share) M) in whole numbers
    assert (~gone).sum() == max(kept, len(np.unique(labels)))
    assert set(labels[~gone]) == set(labels)


def test_the_doubtful_of_the_crowded_class_go_first():
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    confidence = np.array([0.9, 0.8, 0.2, 0.7, 0.3, 0.6, 0.1, 0.95])
    gone = dropped_first(confidence, labels, share=0.25)  # two go: 2 and 4, not the most doubtful of all (6, of a rare class)
    assert np.flatnonzero(gone).tolist() == [2, 4]


@given(st.integers(1, 60), st.integers(0, 70), st.integers(0, 70), st.integers(0, 99), st.booleans())
@settings(max_examples=80)
def test_sets_have_exactly_their_size_and_are_disjoint(n, critical, confident, seed, by_margin):
    rng = np.random.default_rng(seed)
    probs, allowed = rng.dirichlet(np.ones(3), n), rng.random(n) < 0.7
    ask, trust = extremes(probs, random_graph(n, seed), allowed, critical=critical, confident=confident, by_margin=by_margin)
    free = int(allowed.sum())
    assert len(ask) == len(set(ask.tolist())) == min(critical, free)
    assert len(trust) == len(set(trust.tolist())) == min(confident, free - len(ask))
    assert allowed[ask].all()
    assert allowed[trust].all()
    assert not set(ask.tolist()) & set(trust.tolist())


def test_nodes_low_in_both_come_first_and_then_both_lists_in_turn():
    first = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9.0])
    second = np.array([9, 8, 0, 1, 2, 3, 4, 5, 6, 7.0])
    every = np.ones(10, dtype=bool)
    # top 30 % of first: 0 1 2; three lowest of second: 2 3 4; both: 2; then 0 (first), 3 (second)
    assert lowest_both(first, second, every, 3, share=0.3).tolist() == [2, 0, 3]
    # an empty intersection: 10 % of first is node 0, which is last in second
    assert lowest_both(first, second, every, 4).tolist() == [0, 2, 1, 3]


def test_critical_nodes_stand_between_two_camps():
    graph = sparse.csr_matrix(np.kron(np.eye(2), np.ones((6, 6)) - np.eye(6)))
    probs = np.eye(2)[np.repeat([0, 1], 6)] * 0.98 + 0.01
    probs[3] = [0.4, 0.6]  # unsure, and at odds with its clique
    ask, trust = extremes(probs, graph, np.ones(12, dtype=bool), critical=1, confident=4)
    assert ask.tolist() == [3]
    assert set(trust.tolist()) <= set(range(6, 12))  # the first clique hears node 3


@pytest.mark.parametrize("by_margin", [False, True])
def test_a_graph_without_edges_still_gives_sets(by_margin):
    probs = np.array([[0.5, 0.5], [0.9, 0.1], [0.99, 0.01]])
    ask, trust = extremes(probs, sparse.csr_matrix((3, 3)), np.ones(3, dtype=bool), critical=1, confident=1, by_margin=by_margin)
    assert (ask.tolist(), trust.tolist()) == ([0], [2])
