"""Clustering against planted groups, brute force and scikit-learn's own objective."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.cluster import KMeans

from labelwright.errors import InputError
from labelwright.stats import cluster
from labelwright.stats.cluster import UnionFind, components, herding, k_centre, kmeans
from labelwright.stats.matching import cluster_accuracy


def groups(n=300, k=4, d=5, far=8.0, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % k
    return rng.normal(size=(n, d)) + far * rng.normal(size=(k, d))[truth], truth


def test_planted_groups_are_found():
    x, truth = groups()
    found = kmeans(x, 4, seed=0)
    assert cluster_accuracy(found.labels, truth).value == 1.0
    assert found.converged
    means = np.stack([x[found.labels == j].mean(0) for j in range(4)])
    np.testing.assert_allclose(found.centres, means, atol=1e-4)
    assert found.inertia == pytest.approx(sum(((x[found.labels == j] - means[j]) ** 2).sum() for j in range(4)), rel=1e-5)


def test_inertia_is_no_worse_than_sklearn():
    x = np.random.default_rng(1).random((500, 3))
    ours = min(kmeans(x, 12, seed=s, restarts=5).inertia for s in range(2))
    theirs = KMeans(12, n_init=10, random_state=0).fit(x).inertia_
    assert ours <= theirs * 1.02


def test_same_seed_same_result_and_far_from_origin(monkeypatch):
    x, truth = groups(far=3.0)
    first, again = kmeans(x, 4, seed=3), kmeans(x, 4, seed=3)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert cluster_accuracy(kmeans(x + 10_000, 4, seed=3).labels, truth).value > 0.97
    monkeypatch.setattr(cluster, "BLOCK_ELEMENTS", 37)
    np.testing.assert_array_equal(kmeans(x, 4, seed=3).labels, first.labels)


def test_fewer_distinct_points_than_centres():
    found = kmeans([[0.0], [0.0], [5.0], [5.0]], 3, seed=0)
    assert found.inertia == 0
    assert found.labels[0] == found.labels[1] != found.labels[2]
    assert kmeans([[1.0], [2.0], [4.0]], 3, seed=0).inertia == 0
    with pytest.raises(InputError, match="k must be between 1 and 2"):
        kmeans([[1.0], [2.0]], 3, seed=0)


def test_k_centre_is_within_twice_the_optimum():
    x = np.random.default_rng(2).random((14, 2))
    chosen, radius = k_centre(x, 3, seed=0)
    d = np.linalg.norm(x[:, None] - x, axis=2)
    best = min(d[:, list(c)].min(1).max() for c in combinations(range(14), 3))
    assert radius[-1] == pytest.approx(d[:, chosen].min(1).max(), abs=1e-6)
    assert best - 1e-6 <= radius[-1] <= 2 * best
    assert (np.diff(radius) <= 1e-6).all()


def test_k_centre_on_a_line_starts_from_what_is_there():
    x = np.array([[0.0], [1.0], [5.0], [9.0]])
    chosen, radius = k_centre(x, 3, start=[0])
    assert chosen.tolist() == [3, 2, 1]
    np.testing.assert_allclose(radius, [4, 1, 0])
    repeated, _ = k_centre(np.zeros((4, 2)), 4, seed=0)
    assert sorted(repeated.tolist()) == [0, 1, 2, 3]


def test_herding_follows_the_mean():
    x = np.random.default_rng(3).normal(size=(40, 3))
    chosen, total = [], np.zeros(3)
    for step in range(1, 11):  # the definition, one point at a time
        gaps = [np.inf if i in chosen else np.linalg.norm((total + x[i]) / step - x.mean(0)) for i in range(40)]
        chosen.append(int(np.argmin(gaps)))
        total += x[chosen[-1]]
    assert herding(x, 10).tolist() == chosen
    assert sorted(herding(x, 40).tolist()) == list(range(40))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
def test_components_and_union_find_agree_with_flooding(n, edges):
    edges = [(a % n, b % n) for a, b in edges]
    labels = list(range(n))
    for _ in range(n):
        for a, b in edges:
            labels[a] = labels[b] = min(labels[a], labels[b])
    names = {v: i for i, v in enumerate(dict.fromkeys(labels))}
    expected = [names[v] for v in labels]
    count, got = components(n, [a for a, _ in edges] or np.empty(0, int), [b for _, b in edges] or np.empty(0, int))
    assert (count, got.tolist()) == (len(names), expected)
    sets = UnionFind(n)
    joined = sum(sets.union(a, b) for a, b in edges)
    assert joined == n - len(names)
    assert sets.labels().tolist() == expected
