"""Neighbours against all pairs, invariances and the optional faiss backend."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from labelwright.errors import InputError
from labelwright.stats import neighbours
from labelwright.stats.neighbours import knn_graph, radius_pairs, symmetric, top_k


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).normal(3, 1, (211, 7)).astype(np.float32)


def brute(queries, keys, k, metric, same=False):
    d = cdist(queries.astype(np.float64), keys.astype(np.float64), metric)
    if same:
        np.fill_diagonal(d, np.inf)
    order = np.argsort(d, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(d, order, 1)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("block", [50, 5000, 8_000_000])
def test_top_k_is_exact_for_every_block_size(points, metric, block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK_ELEMENTS", block)
    queries = points[:23] + 0.5
    index, distance = top_k(queries, points, 6, metric=metric)
    expected, lengths = brute(queries, points, 6, metric)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(distance, lengths, rtol=1e-4, atol=1e-6)


def test_same_leaves_out_the_point_itself_even_among_duplicates(points):
    doubled = np.concatenate([points, points])
    index, distance = top_k(doubled, doubled, 1, same=True)
    np.testing.assert_array_equal(index[:, 0], np.roll(np.arange(422), 211))
    assert not distance.any()


def test_near_duplicates_far_from_the_origin_keep_their_distance():
    base = np.full((1, 16), 1000, dtype=np.float32)
    keys = np.concatenate([base + 0.01, base + 0.02, base - 5])
    _, distance = top_k(base, keys, 2)
    np.testing.assert_allclose(distance[0], [0.04, 0.08], rtol=5e-3)  # float32 holds 1000.01 to 6e-5


def test_faiss_gives_the_same_neighbours(points):
    pytest.importorskip("faiss")
    for metric in ("euclidean", "cosine"):
        ours, theirs = (top_k(points, points, 5, metric=metric, backend=b, same=True) for b in ("torch", "faiss"))
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_cosine_ignores_length_and_a_zero_row_has_no_direction():
    keys = np.array([[1.0, 0], [0, 2], [-3, 0], [0, 0]])
    index, distance = top_k(np.array([[5.0, 0], [0, 0]]), keys, 4, metric="cosine")
    np.testing.assert_array_equal(index, [[0, 1, 3, 2], [0, 1, 2, 3]])
    np.testing.assert_allclose(distance, [[0, 1, 1, 2], [1, 1, 1, 1]], atol=1e-6)


def test_graph_and_its_symmetric_versions():
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    graph = knn_graph(line, 1)
    assert graph.nnz == 4
    assert [(int(i), int(j)) for i, j in zip(*graph.nonzero(), strict=True)] == [(0, 1), (1, 0), (2, 1), (3, 2)]
    np.testing.assert_allclose(graph.data, [1, 1, 2, 4])
    assert symmetric(graph).nnz == 6
    mutual = symmetric(graph, "mutual")
    assert mutual.nnz == 2
    assert mutual[0, 1] == mutual[1, 0] == 1
    twins = knn_graph(np.array([[0.0], [0.0], [9.0]]), 1)
    assert twins.nnz == symmetric(twins).nnz - 1 == 3  # zero distances are edges too


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("block", [300, 8_000_000])
def test_radius_pairs_are_all_pairs_within(points, metric, block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK_ELEMENTS", block)
    d = cdist(points.astype(np.float64), points.astype(np.float64), metric)
    radius = float(np.quantile(d[np.triu_indices(211, 1)], 0.05))
    i, j, distance = radius_pairs(points, radius, metric=metric)
    np.testing.assert_array_equal(np.stack([i, j]), np.nonzero(np.triu(d <= radius, 1)))
    np.testing.assert_allclose(distance, d[i, j], rtol=1e-4, atol=1e-6)


def test_radius_zero_finds_exact_duplicates_only():
    x = np.array([[1.0, 2], [3, 4], [1, 2], [1, 2.001]])
    i, j, _ = radius_pairs(x, 0.0)
    assert (i.tolist(), j.tolist()) == ([0], [2])
    assert len(radius_pairs(np.empty((0, 3)), 1.0)[0]) == 0


def test_tensors_and_rotation(points):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(7, 7)))[0]
    plain, turned = (
        top_k(torch.from_numpy(x.copy()), torch.from_numpy(x.copy()), 3, same=True)
        for x in (points, (points @ rotation).astype(np.float32))
    )
    np.testing.assert_array_equal(plain[0], turned[0])


def test_bad_input_is_named(points):
    with pytest.raises(InputError, match="k must be between 1 and 210"):
        top_k(points, points, 211, same=True)
    with pytest.raises(InputError, match="same width"):
        top_k(points[:, :3], points, 1)
    bad = points.copy()
    bad[4, 2] = np.nan
    with pytest.raises(InputError, match="row 4"):
        top_k(points, bad, 1)
    with pytest.raises(InputError, match="metric"):
        top_k(points, points, 1, metric="manhattan")
