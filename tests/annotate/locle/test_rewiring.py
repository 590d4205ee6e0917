"""Dirichlet energy, candidate edges, the rewired graph and the choice between judge and network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose
from scipy import sparse

from labelwright.annotate.locle.rewiring import (
    candidates,
    dirichlet,
    edge_energy,
    laplacian_norm,
    overruled,
    rewire,
)
from labelwright.stats.graphs import adjacency, edge_list


def random_edges(n: int, seed: int, density: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.argwhere(np.triu(rng.random((n, n)) < density, 1))


def dense_laplacian(edges: np.ndarray, weights: np.ndarray, n: int) -> np.ndarray:
    dense = np.zeros((n, n))
    dense[edges[:, 0], edges[:, 1]] = dense[edges[:, 1], edges[:, 0]] = weights
    return np.diag(dense.sum(1)) - dense


@given(st.integers(0, 99))
@settings(max_examples=25)
def test_energy_by_edges_is_the_trace_and_the_norm_is_frobenius(seed):
    rng = np.random.default_rng(seed)
    edges, vectors = random_edges(12, seed), rng.normal(size=(12, 4))
    weights = rng.random(len(edges)) if seed % 2 else np.ones(len(edges))
    laplacian = dense_laplacian(edges, weights, 12)
    trace, norm = np.trace(vectors.T @ laplacian @ vectors), (laplacian**2).sum()
    assert_allclose((weights * edge_energy(vectors, edges)).sum(), trace, atol=1e-10)
    assert_allclose(laplacian_norm(edges, weights, 12), norm)
    if len(edges):
        assert_allclose(dirichlet(vectors, edges, weights, a1=0.3, a2=0.02), (0.3 * trace + 0.02 * norm) * 12 / len(edges))


def test_an_edge_between_equal_nodes_adds_no_energy():
    vectors = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    before = edge_energy(vectors, np.array([[0, 1]])).sum()
    assert edge_energy(vectors, np.array([[0, 1], [1, 2]])).sum() == before == 2.0


@given(st.integers(0, 99), st.integers(1, 4))
@settings(max_examples=25)
def test_candidates_are_the_most_similar_labelled_nodes(seed, per_node):
    rng = np.random.default_rng(seed)
    n, edges, vectors = 14, random_edges(14, seed), rng.normal(size=(14, 3))
    labelled = np.sort(rng.permutation(n)[:5])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    wanted = set()
    for u in range(n):
        others = [v for v in labelled.tolist() if v != u]
        for v in sorted(others, key=lambda v: -float(unit[u] @ unit[v]))[:per_node]:
            wanted.add((min(u, v), max(u, v)))
    wanted -= {tuple(e) for e in edges.tolist()}
    assert {tuple(e) for e in candidates(vectors, edges, labelled, per_node=per_node).tolist()} == wanted


def test_rewiring_takes_the_edge_across_and_adds_the_alike():
    # two triangles joined by 2-3, and node 6 alone, which looks like the second triangle
    edges = np.array([[0, 1], [0, 2], [1, 2], [3, 4], [3, 5], [4, 5], [2, 3]])
    vectors = np.eye(2)[[0, 0, 0, 1, 1, 1, 1]]
    for scorer in ("inner", "distance"):
        found = rewire(adjacency(edges, 7), vectors, np.array([0, 4]), per_node=1, remove=0.15, add=1.0, scorer=scorer)
        after = {tuple(e) for e in edge_list(found.adjacency)[0].tolist()}
        assert (2, 3) not in after
        assert (4, 6) in after
        assert found.removed == 1
        assert found.after < found.before


def test_shares_and_cap_fix_how_many_edges_change():
    edges, vectors = random_edges(30, 0), np.random.default_rng(1).normal(size=(30, 4))
    graph, labelled = adjacency(edges, 30), np.arange(0, 30, 3)
    maybe = candidates(vectors, edges, labelled, per_node=3)
    found = rewire(graph, vectors, labelled, per_node=3, remove=0.1, add=0.5, max_edges=100)
    assert (found.removed, found.added) == (int(0.1 * len(edges)), len(maybe) // 2)
    assert found.adjacency.nnz == 2 * (len(edges) - found.removed + found.added)
    capped = rewire(graph, vectors, labelled, remove=0.0, add=1.0, max_edges=len(edges) / 30)
    assert (capped.added, capped.adjacency.nnz) == (0, 2 * len(edges))
    unchanged = rewire(graph, vectors, labelled, remove=0.0, add=0.0)
    assert_allclose(unchanged.adjacency.toarray(), graph.toarray())


def test_the_random_scorer_keeps_the_lowest_energy_and_follows_its_seed():
    edges, vectors = random_edges(20, 3), np.random.default_rng(3).normal(size=(20, 4))
    a, b = (rewire(adjacency(edges, 20), vectors, np.arange(8), remove=0.3, add=0.3, scorer="random-mlp", seed=5) for _ in range(2))
    assert_allclose(a.adjacency.toarray(), b.adjacency.toarray())
    assert a.after == b.after


def test_a_graph_without_edges_or_labels_is_left_alone():
    found = rewire(sparse.csr_matrix((4, 4)), np.eye(4), np.empty(0, dtype=np.int64))
    assert (found.removed, found.added, found.before, found.after) == (0, 0, 0.0, 0.0)


def test_a_floor_above_one_overrules_all_and_equal_ranks_none():
    judge, network = np.array([0.7, 0.9, 0.8]), np.array([0.31, 0.99, 0.52])
    assert overruled(judge, network, floor=1.01).all()
    assert not overruled(judge, network, floor=0.0).any()
    assert overruled(judge, network, floor=0.75).tolist() == [True, False, False]


@pytest.mark.parametrize(("judge", "network", "expected"), [
    ([0.9, 0.6, 0.8], [0.5, 0.9, 0.6], [False, True, False]),  # ranks 1 3 2 against 3 1 2
    ([0.9, 0.9], [0.8, 0.4], [True, False]),  # the judge's tie is rank 1.5 for both
])  # fmt: skip
def test_who_ranks_a_node_higher_wins(judge, network, expected):
    assert overruled(np.array(judge), np.array(network), floor=0.0).tolist() == expected
