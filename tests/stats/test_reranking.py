"""k-reciprocal re-ranking against a set implementation by loops, and its invariances."""

import math

import numpy as np
import pytest

from labelwright.errors import InputError
from labelwright.stats.neighbours import top_k
from labelwright.stats.reranking import k_reciprocal, rerank_lists


def by_sets(x, *, k1, k2, lam):
    """d* (N, N) of all pairs, as the paper states it: Python sets and sums."""
    n = len(x)
    square = [[float(((x[i] - x[j]) ** 2).sum()) for j in range(n)] for i in range(n)]
    d = [[v / max(row) for v in row] for row in square]
    rank = [sorted(range(n), key=lambda j, i=i: (j != i, square[i][j], j)) for i in range(n)]
    near = lambda i, k: set(rank[i][: k + 1])  # noqa: E731
    mutual = lambda i, k: {j for j in near(i, k) if i in near(j, k)}  # noqa: E731
    code = np.zeros((n, n))
    for i in range(n):
        own = mutual(i, k1)
        joined = set(own)
        for j in own:
            other = mutual(j, round(k1 / 2))
            if len(other & own) > 2 / 3 * len(other):
                joined |= other
        total = sum(math.exp(-d[i][j]) for j in joined)
        for j in joined:
            code[i, j] = math.exp(-d[i][j]) / total
    code = np.stack([sum(code[j] for j in rank[i][:k2]) / k2 for i in range(n)])
    out = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            shared = sum(min(a, b) for a, b in zip(code[i], code[j], strict=True))
            out[i, j] = (1 - lam) * (1 - shared / (2 - shared)) + lam * d[i][j]
    return out


@pytest.fixture
def thirty():
    rng = np.random.default_rng(0)
    return (3 * np.eye(3, 5)[rng.integers(0, 3, 30)] + rng.normal(size=(30, 5))).astype(np.float32)


@pytest.mark.parametrize(("k1", "k2", "lam"), [(20, 6, 0.3), (5, 2, 0.3), (7, 1, 0.0), (4, 3, 0.5)])
def test_all_pairs_of_thirty_points_equal_the_sets(thirty, k1, k2, lam):
    i, j = (a.ravel() for a in np.indices((30, 30)))
    got = k_reciprocal(thirty, i, j, k1=k1, k2=k2, lam=lam).reshape(30, 30)
    assert np.allclose(got, by_sets(thirty.astype(np.float64), k1=k1, k2=k2, lam=lam), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("m", "k1"), [(20, 20), (12, 4)])
def test_lists_are_re_ranked_within_themselves(thirty, m, k1):
    candidates, _ = top_k(thirty, thirty, m, same=True)
    got = rerank_lists(thirty, candidates, k1=k1, k2=3)
    for q in (0, 7, 29):
        members = np.concatenate([[q], candidates[q]])
        want = by_sets(thirty[members].astype(np.float64), k1=min(k1, m), k2=3, lam=0.3)[0, 1:]
        assert np.allclose(got[q], want, rtol=0, atol=2e-6)


def test_a_point_is_at_distance_zero_of_itself_and_values_lie_in_the_unit_interval(thirty):
    rows = np.arange(30)
    assert np.allclose(k_reciprocal(thirty, rows, rows), 0, atol=1e-6)
    i, j = (a.ravel() for a in np.indices((30, 30)))
    got = k_reciprocal(thirty, i, j, lam=0.0)
    assert got.min() >= 0
    assert got.max() <= 1


def test_lambda_one_returns_the_original_order(thirty):
    candidates, _ = top_k(thirty, thirty, 10, same=True)
    for got in (
        rerank_lists(thirty, candidates, lam=1.0),
        k_reciprocal(thirty, np.repeat(np.arange(30), 10), candidates.ravel(), lam=1.0).reshape(30, 10),
    ):
        assert (np.diff(got, axis=1) >= 0).all()


def test_order_scale_and_place_of_the_points_do_not_matter(thirty):
    order = np.random.default_rng(1).permutation(30)
    place = np.argsort(order)
    i, j = (a.ravel() for a in np.indices((30, 30)))
    want = k_reciprocal(thirty, i, j, k1=6)
    assert np.allclose(k_reciprocal(7 * thirty[order] - 2, place[i], place[j], k1=6), want, atol=1e-5)


def test_points_that_are_all_the_same_have_no_distance():
    same = np.ones((8, 3), dtype=np.float32)
    assert np.allclose(k_reciprocal(same, [0, 1], [5, 7], lam=1.0), 0)
    candidates, _ = top_k(same, same, 4, same=True)
    assert np.isfinite(rerank_lists(same, candidates)).all()


@pytest.mark.parametrize("bad", [{"k1": 0}, {"k2": 0}, {"lam": 1.5}])
def test_bad_settings(thirty, bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        k_reciprocal(thirty, [0], [1], **bad)
    with pytest.raises(InputError, match=next(iter(bad))):
        rerank_lists(thirty, np.zeros((30, 2), dtype=int), **bad)
