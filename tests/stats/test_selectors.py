"""Selectors against brute force, by hand, and by invariance."""

from __future__ import annotations

import numpy as np
import pytest

from labelwright.errors import InputError
from labelwright.stats import selectors
from labelwright.stats.selectors import by_score, facility_location, in_window, per_class, random, ranked, spread, stratified


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_easy_and_hard_with_ties_by_position():
    scores = np.array([3.0, 1.0, 2.0, 1.0, 3.0])
    assert ranked(scores, order="easy").tolist() == [1, 3, 2, 0, 4]
    assert ranked(scores, order="hard").tolist() == [0, 4, 2, 1, 3]
    distinct = rng().permutation(50)
    assert ranked(distinct, order="easy").tolist() == ranked(distinct, order="hard").tolist()[::-1]
    assert by_score(scores, 2, order="hard").tolist() == [0, 4]
    assert by_score(scores, 0, order="easy").tolist() == []
    monotone = np.exp(scores) * 7 - 2
    assert np.array_equal(ranked(monotone, order="hard"), ranked(scores, order="hard"))
    with pytest.raises(InputError, match="order"):
        by_score(scores, 2, order="up")
    with pytest.raises(InputError, match="finite"):
        by_score([1.0, float("nan")], 1, order="easy")


def test_a_window_of_the_ranking():
    scores = rng().permutation(10).astype(float)
    ordered = np.argsort(scores)
    assert in_window(scores, 3, start=0.4).tolist() == ordered[4:7].tolist()
    assert in_window(scores, 3, start=1.0).tolist() == ordered[7:].tolist()
    assert in_window(scores, 10, start=0.5).tolist() == ordered.tolist()
    assert in_window(scores, 4, start=0.0).tolist() == by_score(scores, 4, order="easy").tolist()


def test_random_is_a_draw_without_replacement():
    counts = np.zeros(10)
    for seed in range(2000):
        chosen = random(10, 3, seed=seed)
        assert len(set(chosen.tolist())) == 3
        counts[chosen] += 1
    assert abs(counts - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)
    assert np.array_equal(random(10, 3, seed=1), random(10, 3, seed=1))


def test_quotas_by_hand():
    assert spread(np.array([5, 100, 1, 0, 20]), 30).tolist() == [5, 12, 1, 0, 12]
    assert spread(np.array([10, 10, 10]), 11).tolist() == [3, 4, 4]
    assert spread(np.array([2, 2]), 4).tolist() == [2, 2]
    for seed in range(50):
        sizes = rng(seed).integers(0, 20, 7)
        k = int(rng(seed + 100).integers(0, sizes.sum() + 1))
        quota = spread(sizes, k)
        assert quota.sum() == k
        assert (quota <= sizes).all()


def brute_strata(scores, k, bins, cut):
    """Bins and quotas by loops, after the published code: bins by size, each an equal share of what is left."""
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    left = order[: len(order) - int(cut * len(order))]
    low, high = scores[left[0]], scores[left[-1]]
    members = [[] for _ in range(bins)]
    for i in left:
        members[min(int((scores[i] - low) / ((high - low) / bins)), bins - 1)].append(i)
    return members, spread(np.array([len(m) for m in members]), k)


@pytest.mark.parametrize("cut", [0.0, 0.3])
def test_stratified_takes_the_quota_of_every_bin(cut):
    scores = np.round(rng().gamma(2.0, size=300), 3)
    members, quota = brute_strata(scores, 60, 10, cut)
    chosen = stratified(scores, 60, bins=10, cut=cut, seed=3)
    assert len(set(chosen.tolist())) == 60
    assert [len(set(m) & set(chosen.tolist())) for m in members] == quota.tolist()
    assert not np.array_equal(chosen, stratified(scores, 60, bins=10, cut=cut, seed=4))
    if cut:
        assert scores[chosen].max() <= np.sort(scores)[: 300 - 90].max()
    assert stratified(np.ones(8), 3, seed=0).shape == (3,)
    assert stratified(scores, 0, seed=0).tolist() == []
    with pytest.raises(InputError, match="cut"):
        stratified(scores, 250, cut=0.5, seed=0)


def test_every_member_of_a_bin_is_as_likely():
    scores = np.repeat([0.0, 1.0], [4, 12])
    counts = np.zeros(16)
    for seed in range(3000):
        counts[stratified(scores, 4, bins=2, seed=seed)] += 1
    assert abs(counts[:4] - 1500).max() < 5 * np.sqrt(3000 * 0.25)
    assert abs(counts[4:] - 500).max() < 5 * np.sqrt(3000 / 6 * 5 / 6)


def test_per_class_keeps_counts_equal():
    labels = rng().integers(0, 4, 200)
    labels[:7] = -1
    scores = rng(1).random(200)
    chosen = per_class(labels, 5, lambda members, k, c: by_score(scores[members], k, order="easy"))
    assert np.array_equal(np.repeat(np.arange(4), 5), labels[chosen])
    for c in range(4):
        members = [i for i in range(200) if labels[i] == c]
        assert chosen[5 * c : 5 * c + 5].tolist() == sorted(members, key=lambda i: scores[i])[:5]


def test_a_class_with_too_few_examples():
    labels = np.array([0, 0, 0, 1, 3, 3])
    with pytest.raises(InputError, match=r"Class 1 has 1 examples, fewer than the 2"):
        per_class(labels, 2, lambda members, k, c: np.arange(k))
    repeated = per_class(labels, 3, lambda members, k, c: np.arange(k), fill="repeat")
    assert repeated.tolist() == [0, 1, 2, 3, 3, 3, 4, 5, 4]  # class 2 does not occur


def brute_facility(points, k, metric):
    points = points / np.linalg.norm(points, axis=1, keepdims=True) if metric == "cosine" else points - points.mean(0)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    distance = distance**2 / 2 if metric == "cosine" else distance
    similarity = 2 * np.linalg.norm(points, axis=1).max() - distance
    chosen, gains, best = [], [], np.zeros(len(points))
    for _ in range(k):
        totals = [np.maximum(similarity[i] - best, 0).sum() if i not in chosen else -1 for i in range(len(points))]
        i = int(np.argmax(totals))
        chosen.append(i)
        gains.append(totals[i])
        best = np.maximum(best, similarity[i])
    return chosen, gains


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_lazy_facility_location_equals_the_greedy_choice(metric):
    for seed in range(3):
        points = rng(seed).normal(size=(40, 3)).astype(np.float32)
        chosen, gains = facility_location(points, 12, metric=metric)
        expected, totals = brute_facility(points.astype(np.float64), 12, metric)
        assert chosen.tolist() == expected
        assert np.allclose(gains, totals, rtol=1e-4, atol=1e-4)
        assert (np.diff(gains) <= 1e-9).all()


def test_facility_location_finds_planted_centres():
    centres = np.array([[0.0, 0], [10, 0], [0, 10]])
    points = np.concatenate([centres + 0.3 * rng(s).normal(size=(3, 2)) for s in range(20)] + [centres])
    chosen, _ = facility_location(points, 3)
    assert sorted(np.linalg.norm(points[chosen][:, None] - centres[None], axis=2).argmin(1).tolist()) == [0, 1, 2]
    same = np.ones((5, 2))
    assert sorted(facility_location(same, 5)[0].tolist()) == [0, 1, 2, 3, 4]


def test_the_module_offers_the_geometric_selectors_too():
    points = rng().normal(size=(30, 2))
    assert len(selectors.herding(points, 4)) == 4
    assert len(selectors.k_centre(points, 4)[0]) == 4
