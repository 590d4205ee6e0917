"""Graph helpers against dense algebra, networkx and closed forms."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import sparse

from labelwright.errors import InputError
from labelwright.stats import graphs, propagation


def random_graph(n: int = 12, p: float = 0.3, *, seed: int = 0, weighted: bool = False) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < p, 1) * (rng.random((n, n)) if weighted else 1.0)
    return graphs.undirected(upper)


def test_cleaning_symmetrises_drops_loops_and_keeps_the_largest_of_repeated_edges():
    made = graphs.adjacency([[0, 1], [1, 0], [0, 1], [2, 2], [3, 1]], 5, weights=[1, 2, 3, 9, 4])
    want = np.zeros((5, 5), dtype=np.float32)
    want[0, 1] = want[1, 0] = 3
    want[1, 3] = want[3, 1] = 4
    assert np.array_equal(made.toarray(), want)
    assert made.dtype == np.float32
    assert graphs.degrees(made).tolist() == [3, 7, 0, 4, 0]
    assert graphs.adjacency(np.zeros((0, 2), int), 3).nnz == 0


def test_bad_edges_are_named():
    with pytest.raises(InputError, match="edge 1 joins 0 and 7"):
        graphs.adjacency([[0, 1], [0, 7]], 3)
    with pytest.raises(InputError, match="not negative"):
        graphs.adjacency([[0, 1]], 3, weights=[-1.0])
    with pytest.raises(InputError, match="square"):
        graphs.undirected(np.ones((2, 3)))


@pytest.mark.parametrize("loops", [0.0, 1.0])
def test_normalisations_equal_dense_algebra(loops):
    adj = random_graph(weighted=True)
    adj = graphs.undirected(sparse.block_diag([adj, np.zeros((1, 1))]))  # an isolated node
    dense = adj.toarray().astype(float) + loops * np.eye(13)
    d = dense.sum(1)
    inverse = np.diag([1 / x if x else 0 for x in d])
    root = np.sqrt(inverse)
    for how, want in (("symmetric", root @ dense @ root), ("row", inverse @ dense), ("column", dense @ inverse)):
        assert np.allclose(graphs.normalised(adj, how, loops=loops).toarray(), want, atol=1e-6)
    column = graphs.normalised(adj, "column").toarray()
    assert np.allclose(column.sum(0), [1.0] * 12 + [0.0], atol=1e-6)


def test_laplacians_and_dirichlet_energy():
    adj = random_graph(weighted=True)
    lap = graphs.laplacian(adj).toarray().astype(float)
    assert np.allclose(lap.sum(1), 0, atol=1e-6)
    r = np.random.default_rng(1).normal(size=(12, 3))
    assert graphs.edge_sum(adj, r) == pytest.approx(np.trace(r.T @ lap @ r), rel=1e-6)
    values = np.linalg.eigvalsh(graphs.laplacian(adj, "symmetric").toarray())
    assert values.min() > -1e-6
    assert values.max() < 2 + 1e-6
    alone = graphs.adjacency([[0, 1]], 3)
    assert graphs.laplacian(alone, "row").toarray()[2].tolist() == [0, 0, 0]


def test_edges_components_and_subgraphs():
    adj = graphs.adjacency([[4, 5], [0, 1], [1, 2], [0, 2]], 6)
    ends, weights = graphs.edge_list(adj)
    assert ends.tolist() == [[0, 1], [0, 2], [1, 2], [4, 5]]
    assert weights.tolist() == [1, 1, 1, 1]
    assert graphs.components(adj).tolist() == [0, 0, 0, 2, 1, 1]
    assert graphs.subgraph(adj, np.array([2, 0, 5])).toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    kept = graphs.within(adj, np.array([True, True, False, True, True, True]))
    assert graphs.edge_list(kept)[0].tolist() == [[0, 1], [4, 5]]


def brute(dense, y, steps, keep):
    for _ in range(steps):
        y = np.array(
            [
                [(1 - keep) * sum(dense[i, j] * y[j, c] for j in range(len(y))) + keep * y[i, c] for c in range(y.shape[1])]
                for i in range(len(y))
            ]
        )
    return y


def test_lazy_propagation_is_the_loop_and_keeps_the_mass():
    adj = random_graph()
    assert (graphs.degrees(adj) > 0).all()
    p = graphs.normalised(adj.astype(np.float64), "column")
    y = np.random.default_rng(2).random((12, 3))
    before = y.copy()
    made = propagation.lazy(p, y, steps=4, keep=0.6)
    assert np.allclose(made, brute(p.toarray(), y, 4, 0.6))
    assert np.allclose(made.sum(0), y.sum(0))
    assert np.array_equal(propagation.lazy(p, y, steps=4, keep=1), y)
    assert np.array_equal(propagation.lazy(p, y, steps=0, keep=0.6), y)
    assert np.array_equal(y, before)
    on_torch = propagation.lazy(graphs.to_torch(p), torch.from_numpy(y), steps=4, keep=0.6)
    assert np.allclose(on_torch.numpy(), made)


def test_restart_reaches_its_fixed_point_and_clamped_the_harmonic_function():
    adj = random_graph()
    p = graphs.normalised(adj.astype(np.float64), "symmetric")
    y = np.eye(12)[:, :2]
    assert np.allclose(propagation.restart(p, y, steps=400, back=0.2), np.linalg.solve(np.eye(12) - 0.8 * p.toarray(), 0.2 * y))
    assert propagation.restart(p, 9 * y, steps=3, back=0.2, clip=True).max() <= 1
    path = graphs.normalised(graphs.adjacency([[0, 1], [1, 2], [2, 3]], 4).astype(np.float64), "row")
    known = np.array([True, False, False, True])
    start = np.array([[0.0], [5.0], [5.0], [1.0]])
    assert np.allclose(propagation.clamped(path, start, known=known, steps=200), [[0], [1 / 3], [2 / 3], [1]])
    again = propagation.clamped(graphs.to_torch(path), torch.from_numpy(start), known=torch.from_numpy(known), steps=200)
    assert np.allclose(again.numpy(), [[0], [1 / 3], [2 / 3], [1]])


def test_pagerank_equals_networkx_and_sums_to_one():
    adj = random_graph(weighted=True, seed=3)
    graph = nx.from_scipy_sparse_array(adj)
    start = np.zeros(12)
    start[4] = 1
    want = nx.pagerank(graph, alpha=0.85, personalization={4: 1}, tol=1e-14, max_iter=1000)
    made = propagation.pagerank(adj, start)
    assert np.allclose(made, [want[i] for i in range(12)], atol=1e-8)
    lonely = graphs.undirected(sparse.block_diag([adj, np.zeros((1, 1))]))
    block = propagation.pagerank(lonely, np.eye(13)[:, [4, 12]])
    assert np.allclose(block.sum(0), 1)
    assert np.allclose(block[:, 1], np.eye(13)[12])  # an isolated start keeps everything
    with pytest.raises(InputError, match="positive sum"):
        propagation.pagerank(adj, np.zeros(12))
