"""Outliers: closed forms of the fence, invariances, planted ones found."""

from __future__ import annotations

import numpy as np
from scipy import stats

from labelwright.audit.outliers import find_outliers, outlier_scores
from labelwright.stats.neighbours import top_k


def test_the_fence_by_hand():
    """log spacings 0..8 have quartiles 2, 4, 6: the fence lies at 6 + 2 * 4 = 14, reach 10 above the median."""
    scores, ratio = outlier_scores(np.exp(np.arange(9.0))[:, None])
    assert np.allclose(scores, 1 - 2 ** (-np.maximum(np.arange(9.0) - 4, 0) / 10))
    assert np.isclose(ratio[8], np.exp(4))


def test_half_is_the_fence():
    spacings = np.exp(np.append(np.arange(9.0), [0, 8, 0, 8]))
    logs = np.log(spacings)
    q1, q2, q3 = np.quantile(logs, [0.25, 0.5, 0.75])
    at_fence = np.exp(q3 + 2 * (q3 - q1))
    reach = q3 + 2 * (q3 - q1) - q2
    scores, _ = outlier_scores(spacings[:, None])
    assert np.isclose(1 - 2 ** (-(np.log(at_fence) - q2) / reach), 0.5)
    assert (scores < 0.5).all()


def test_scaling_distances_changes_nothing():
    distances = np.random.default_rng(0).gamma(3.0, size=(200, 5))
    assert np.allclose(outlier_scores(distances)[0], outlier_scores(distances * 1e3)[0])


def test_clean_lognormal_spacings_pass_as_often_as_the_normal_tail_says():
    share = stats.norm.sf(stats.norm.ppf(0.75) * 5)  # Q3 + 2 IQR of a standard normal: 0.6745 * 5
    logs = np.random.default_rng(1).normal(size=400_000)
    flagged = find_outliers(np.exp(logs)[:, None]).flagged.sum()
    assert abs(flagged - 400_000 * share) < 5 * np.sqrt(400_000 * share)


def test_planted_outliers_are_found():
    rng = np.random.default_rng(0)
    points = np.vstack([rng.normal(size=(400, 6)), 12 * np.eye(6)])
    found = find_outliers(top_k(points, points, 10, same=True)[1])
    flagged = set(found.index[found.flagged].tolist())
    assert set(range(400, 406)) <= flagged
    assert len(flagged) <= 9
    assert "times as far as usual" in found.reason[-1]


def test_equal_points_have_no_outliers():
    assert not find_outliers(np.zeros((30, 3))).flagged.any()
    assert not find_outliers(np.ones((30, 3))).flagged.any()
