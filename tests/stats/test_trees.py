"""Spanning trees against closed forms, SciPy's single linkage and brute force."""

import itertools

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from labelwright.errors import InputError
from labelwright.stats.trees import boruvka, components, cut, merge_heights, prim, spanning_tree

EXACT = [prim, boruvka]


def heights(points: np.ndarray) -> np.ndarray:
    return np.sort(linkage(points, "single")[:, 2])


def blobs(seed: int, n: int = 400, d: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(int(rng.integers(1, 6)), d)) * rng.choice([1, 5, 30])
    return centres[rng.integers(0, len(centres), n)] + rng.normal(size=(n, d)) * rng.choice([0.1, 1.0], size=(n, 1))


@pytest.mark.parametrize("tree", EXACT)
def test_points_on_a_line(tree):
    found = tree(np.array([[0.0], [1], [3], [7]]))
    assert found.lengths.tolist() == [1, 2, 4]
    assert [sorted(e) for e in found.edges.tolist()] == [[0, 1], [1, 2], [2, 3]]


@pytest.mark.parametrize("tree", EXACT)
def test_simplex_has_equal_edges(tree):
    np.testing.assert_allclose(tree(np.eye(6)).lengths, np.full(5, np.sqrt(2)), rtol=1e-12)


@pytest.mark.parametrize("tree", EXACT)
@pytest.mark.parametrize("d", [1, 2, 10, 50])
def test_lengths_are_the_merge_heights_of_single_linkage(tree, d):
    points = np.random.default_rng(d).normal(size=(300, d))
    np.testing.assert_allclose(tree(points).lengths, heights(points), rtol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 8])
def test_boruvka_is_exact_whatever_the_list_length_and_tile(k):
    for seed in range(8):
        points = blobs(seed)
        np.testing.assert_allclose(boruvka(points, neighbours=k, block_bytes=50_000).lengths, heights(points), atol=1e-9)


def test_total_is_the_least_over_all_trees():
    points = np.random.default_rng(3).normal(size=(5, 3))
    distance = cdist(points, points)
    pairs = list(itertools.combinations(range(5), 2))
    best = np.inf
    for edges in itertools.combinations(pairs, 4):
        adjacency = np.zeros((5, 5))
        adjacency[tuple(np.array(edges).T)] = 1
        if connected_components(adjacency, directed=False)[0] == 1:
            best = min(best, sum(distance[e] for e in edges))
    for tree in EXACT:
        assert tree(points).lengths.sum() == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("tree", EXACT)
def test_equal_points_are_at_distance_zero_and_ties_close_no_cycle(tree):
    grid = np.random.default_rng(0).integers(0, 4, size=(300, 2)).astype(np.float32)  # 16 places, many ties
    found = tree(grid)
    distinct = len(np.unique(grid, axis=0))
    assert (found.lengths == 0).sum() == 300 - distinct
    assert found.lengths.sum() == distinct - 1  # all 16 grid points occur, neighbours are 1 apart
    assert (cut(found, groups=1) == 0).all()
    same = tree(np.full((50, 3), 7.25))
    assert same.lengths.tolist() == [0.0] * 49


@pytest.mark.parametrize("tree", EXACT)
def test_a_far_origin_or_a_tiny_scale_costs_no_digits(tree):
    points = np.random.default_rng(5).normal(size=(200, 4))
    want = heights(points)
    np.testing.assert_allclose(tree(points * 2.0**-60).lengths, want * 2.0**-60, rtol=1e-9)
    np.testing.assert_allclose(tree((points + 1024).astype(np.float64)).lengths, want, rtol=1e-6)
    np.testing.assert_allclose(tree((points * 1e30).astype(np.float32)).lengths, want * 1e30, rtol=1e-5)


@pytest.mark.parametrize("tree", EXACT)
@pytest.mark.parametrize("n", [1, 2])
def test_tiny_clouds(tree, n):
    assert tree(np.array([[0.0, 0], [3, 4]])[:n]).lengths.tolist() == [5.0][: n - 1]


def test_stability_moving_points_by_e_moves_sorted_lengths_by_2e():
    rng = np.random.default_rng(7)
    points = rng.normal(size=(150, 3))
    shift = rng.normal(size=points.shape)
    e = 0.05
    moved = points + e * shift / np.linalg.norm(shift, axis=1, keepdims=True)
    assert np.abs(merge_heights(points) - merge_heights(moved)).max() <= 2 * e


def test_bars_longer_than_r_count_the_components_of_the_neighbourhood_graph():
    points = blobs(11, n=120)
    tree = spanning_tree(points)
    distance = cdist(points, points)
    for r in np.quantile(tree.lengths, np.linspace(0, 1, 20)) + 1e-9:
        count, label = connected_components(distance <= r, directed=False)
        assert (tree.lengths > r).sum() == count - 1
        ours = components(tree, radius=r)
        assert len({(a, b) for a, b in zip(ours, label, strict=True)}) == count == ours.max() + 1


def test_cut_gives_single_linkage_clusters():
    points = blobs(4, n=200)
    for groups in (1, 2, 5, 200):
        want = fcluster(linkage(points, "single"), groups, "maxclust")
        assert len({(a, b) for a, b in zip(cut(spanning_tree(points), groups=groups), want, strict=True)}) == len(set(want)) == groups


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_neighbour_graph_never_shortens_and_is_exact_with_all_neighbours(backend):
    if backend == "faiss":
        pytest.importorskip("faiss")
    points = np.concatenate([blobs(s, n=150) + 100 * s for s in range(3)])  # the graph falls apart: bridges are needed
    want = heights(points)
    few = spanning_tree(points, method="neighbour-graph", neighbours=5, backend=backend).lengths
    assert (few >= want - 1e-3).all()
    np.testing.assert_allclose(few[-2:], want[-2:], rtol=1e-6)  # the bridges themselves are exact
    whole = spanning_tree(points[:60], method="neighbour-graph", neighbours=59, backend=backend).lengths
    np.testing.assert_allclose(whole, heights(points[:60]), rtol=1e-5)


def test_tensors_and_arrays_agree_and_are_left_alone():
    points = np.random.default_rng(1).normal(size=(80, 6)).astype(np.float32)
    before = points.copy()
    tensor = torch.from_numpy(points).requires_grad_()
    np.testing.assert_allclose(spanning_tree(tensor).lengths, heights(points), rtol=1e-5)
    np.testing.assert_allclose(boruvka(tensor).lengths, heights(points), rtol=1e-5)
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("tree", [*EXACT, spanning_tree])
def test_bad_points_are_refused(tree):
    with pytest.raises(InputError, match=r"must be finite.*first row 1"):
        tree(np.array([[0.0], [np.nan]]))
    with pytest.raises(InputError, match="n >= 1"):
        tree(np.empty((0, 3)))
    with pytest.raises(InputError, match=r"shape \(n, d\)"):
        tree(np.zeros(4))
