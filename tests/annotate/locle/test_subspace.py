"""Choice of the first nodes: the power series, the subspace, and a node from every block."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from labelwright.annotate.locle.subspace import choose, closeness, leading_subspace, smoothed, smoothing
from labelwright.errors import InputError
from labelwright.stats.graphs import normalised


def path_operator() -> sparse.csr_matrix:
    """Normalised adjacency of the path 0-1-2 and the isolated node 3: 1/sqrt(deg deg)."""
    half = 1 / np.sqrt(2)
    return sparse.csr_matrix(np.array([[0, half, 0, 0], [half, 0, half, 0], [0, half, 0, 0], [0, 0, 0, 0]]))


def test_smoothing_is_a_power_series():
    features = np.array([[1.0], [0.0], [0.0], [5.0]])
    # by hand: A x = (0, 1/sqrt 2, 0, 0); A A x = (1/2, 0, 1/2, 0)
    assert_allclose(smoothed(path_operator(), features, hops=2, alpha=1.0)[:, 0], [1.5, 1 / np.sqrt(2), 0.5, 5.0])
    assert_allclose(smoothed(path_operator(), features, hops=2, alpha=0.5)[:, 0], [1.125, 0.5 / np.sqrt(2), 0.125, 5.0])
    assert_allclose(smoothed(path_operator(), features, hops=0), features)


@pytest.mark.parametrize("density", [0.05, 1.0])
def test_products_without_the_matrix_are_products_with_it(density):
    rng = np.random.default_rng(0)
    upper = np.triu(rng.random((60, 60)) < 0.1, 1)
    operator = normalised(sparse.csr_matrix((upper | upper.T).astype(np.float64)))
    features = rng.random((60, 40)) * (rng.random((60, 40)) < density)
    matrix, implicit = smoothed(operator, features, hops=3, alpha=0.8), smoothing(operator, features, hops=3, alpha=0.8)
    right, left = rng.normal(size=(40, 3)), rng.normal(size=(60, 2))
    assert_allclose(implicit.matmat(right), matrix @ right, atol=1e-10)
    assert_allclose(implicit.rmatmat(left), matrix.T @ left, atol=1e-10)
    for rank in (4, 35):  # randomised, and exact
        a, b = (leading_subspace(m, rank, seed=1) for m in (matrix, implicit))
        assert_allclose(a @ a.T, b @ b.T, atol=1e-8)


def test_features_of_other_nodes_are_refused():
    with pytest.raises(InputError, match="Lengths differ"):
        smoothed(path_operator(), np.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(40, 12), (300, 80)])
def test_leading_subspace_spans_what_the_full_decomposition_spans(shape):
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape) @ np.diag(0.8 ** np.arange(shape[1]))
    exact = np.linalg.svd(values, full_matrices=False)[0][:, :4]
    found = leading_subspace(values, 4, seed=0, rows="raw")
    assert_allclose(found.T @ found, np.eye(4), atol=1e-8)
    assert_allclose(found @ found.T, exact @ exact.T, atol=1e-4)  # projections: signs and rotations do not count
    assert leading_subspace(values, 1_000, seed=0).shape[1] == min(shape)


def test_unit_rows_are_directions_in_the_subspace():
    values = np.vstack([np.diag([3.0, 2.0, 1.0]), [[6.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    found = leading_subspace(values, 2, seed=0)
    # of (x, y, z) only (x, y) is left, brought to length 1; signs are free
    assert_allclose(np.abs(found), [[1, 0], [0, 1], [0, 0], [1, 0], [0, 0]], atol=1e-12)
    assert_allclose(leading_subspace(5 * values, 2, seed=0) @ found.T, found @ found.T, atol=1e-12)


def test_closeness_of_points_on_their_centre_is_one():
    points = np.repeat(np.eye(3), 4, axis=0)
    scores, groups = closeness(points, 3, seed=0)
    assert_allclose(scores, 1.0)
    assert len(np.unique(groups)) == 3


def test_closeness_by_hand():
    scores, _ = closeness(np.array([[0.0], [2.0], [100.0], [106.0]]), 2, seed=0)
    assert_allclose(scores, [1 / 2, 1 / 2, 1 / 4, 1 / 4])


def test_highest_scores_win_and_ties_go_by_position():
    scores = np.array([0.5, 0.9, 0.9, 0.1])
    assert choose(scores, np.zeros(4, dtype=int), 3).tolist() == [1, 2, 0]
    assert choose(scores, np.array([0, 1, 1, 2]), 3, per_cluster=True).tolist() == [1, 0, 3]
    assert choose(scores, np.array([0, 1, 1, 2]), 4, per_cluster=True).tolist() == [1, 0, 3, 2]
    assert choose(scores, np.zeros(4, dtype=int), 0).tolist() == []


@pytest.mark.parametrize("rows", ["unit", "raw"])
def test_every_clique_gives_a_node_per_cluster(rows):
    sizes = [20, 5, 3]
    blocks = np.repeat(np.arange(3), sizes)
    alike = sparse.csr_matrix((blocks[:, None] == blocks[None]) & ~np.eye(len(blocks), dtype=bool), dtype=np.float64)
    degree = np.maximum(np.asarray(alike.sum(1)).ravel(), 1)
    operator = sparse.diags(degree**-0.5) @ alike @ sparse.diags(degree**-0.5)
    vectors = leading_subspace(smoothed(operator.tocsr(), np.eye(3)[blocks]), 3, seed=0, rows=rows)
    scores, groups = closeness(vectors, 3, seed=0)
    assert set(blocks[choose(scores, groups, 3, per_cluster=True)]) == {0, 1, 2}
