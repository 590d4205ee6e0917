"""Scores on clouds whose death times are known, invariances, references against scikit-learn, and the auditor."""

import numpy as np
import pytest
from sklearn.metrics import calinski_harabasz_score

from labelwright.audit.class_separability import ClassSeparability
from labelwright.audit.separability import Preparation, death_times, measure, normalised, reduced, separability, subsamples, trimmed
from labelwright.audit.separability_references import (
    calinski_harabasz,
    fisher_ratio,
    fisher_ratio_1d,
    logistic_regression,
    reference_metrics,
    thornton,
)
from labelwright.data import Dataset
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.results import Audit
from labelwright.signals import Signals

RAW = Preparation(normalise="none")


def two_blobs(distance: float, n: int = 40, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(n, 2))
    points[n // 2 :, 0] += distance
    return points


def test_points_on_a_line():
    times = death_times(np.array([[0.0], [1], [3], [7]]))
    assert times.tolist() == [1, 2, 4]
    q = normalised(times)
    assert q.tolist() == [0.25, 0.5, 1]
    scores, groups = separability(q, num_classes=2)
    assert scores["mean"] == pytest.approx(1 - 1.75 / 3)
    assert scores["median"] == 0.5
    assert scores["gap"] == 0.5
    assert groups == 2  # {0, 1, 3} and {7}
    assert scores["classes"] == 0.5  # 1 - q_(2) / q_(1)
    r = np.array([1, 2, 4]) / 7
    assert scores["entropy"] == pytest.approx(1 + (r * np.log(r)).sum() / np.log(3))


def test_simplex_is_one_blob():
    found = measure(np.eye(7), RAW)
    assert found.scores["mean"] == pytest.approx(0, abs=1e-12)
    assert found.scores["entropy"] == pytest.approx(0, abs=1e-12)


def test_two_far_blobs_reach_the_limit():
    n = 40
    found = measure(two_blobs(1e7, n=n), RAW)
    assert found.scores["mean"] == pytest.approx(1 - 1 / (n - 1), abs=1e-6)
    assert found.scores["gap"] == pytest.approx(1, abs=1e-6)
    assert found.groups == 2


def test_groups_are_counted():
    centres = 1e4 * np.array([[0, 0], [0, 1], [1, 0], [1, 1.1]])
    points = np.repeat(centres, 25, axis=0) + np.random.default_rng(1).normal(size=(100, 2))
    assert measure(points, RAW).groups == 4


@pytest.mark.parametrize("name", ["mean", "median", "entropy", "gap"])
def test_rotation_translation_scale_and_order_change_nothing(name):
    rng = np.random.default_rng(2)
    points = rng.normal(size=(120, 5)) * [5, 1, 1, 1, 1]
    base = measure(points, RAW).scores[name]
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    for other in (points @ turn, points + 100, points * 1e-3, points[rng.permutation(120)]):
        assert measure(other, RAW).scores[name] == pytest.approx(base, abs=1e-5)


def test_a_duplicate_adds_one_zero_and_deduplication_takes_it_out():
    points = np.random.default_rng(3).normal(size=(30, 3))
    doubled = np.concatenate([points, points[:1]])
    times = death_times(doubled)
    assert times[0] == 0
    np.testing.assert_allclose(times[1:], death_times(points), rtol=1e-12)
    found = measure(doubled, Preparation(normalise="none", deduplicate=True))
    assert found.duplicates == 1
    assert found.scores == pytest.approx(measure(points, RAW).scores)
    assert "repeat" in measure(np.repeat(points, 2, axis=0), RAW).warnings[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_collapse_scores_zero_and_warns(dtype):
    row = np.random.default_rng(4).normal(size=8).astype(dtype)
    cloud = np.tile(row, (20, 1))
    cloud[::2] = np.nextafter(cloud[::2], np.inf, dtype=dtype)  # rounding alone
    for points in (np.tile(row, (20, 1)), cloud):
        for normalise in ("none", "layernorm", "l2"):
            found = measure(points, Preparation(normalise=normalise))
            assert found.collapsed
            assert set(found.scores.values()) == {0.0}
            assert found.groups == 1
            assert "collapsed" in found.warnings[-1]
    assert separability(np.empty(0)) == ({"mean": 0.0, "median": 0.0, "entropy": 0.0, "gap": 0.0}, 1)


def test_row_normalisations():
    points = np.array([[1.0, 2, 3], [2, 4, 6], [-5, 0, 5], [9, 0, 0]])  # LayerNorm makes the first three equal, L2 the first two
    assert (death_times_of(points, "layernorm") < 1e-12).sum() == 2
    assert (death_times_of(points, "l2") < 1e-12).sum() == 1
    flat = measure(np.random.default_rng(0).normal(size=(10, 2)), Preparation(normalise="layernorm"))
    assert "LayerNorm needs at least 3 features" in flat.warnings[0]


def death_times_of(points: np.ndarray, normalise: str) -> np.ndarray:
    return measure(points, Preparation(normalise=normalise)).times


def test_reduction_keeps_the_variance_asked_for():
    rng = np.random.default_rng(5)
    points = rng.normal(size=(500, 40)) * np.r_[[10, 10], np.full(38, 0.1)]
    kept = reduced(points, max_dims=32, variance=0.95)
    assert kept.shape == (500, 2)  # two axes hold 99.8 % of the variance, one holds half
    np.testing.assert_allclose(kept.var(0).sum(), points[:, :2].var(0).sum(), rtol=0.01)
    assert reduced(points, max_dims=32, variance=1.0).shape[1] == 32
    assert reduced(points[:, :5], max_dims=32, variance=0.5) is not points  # narrow: returned whole
    assert reduced(points[:, :5], max_dims=32, variance=0.5).shape[1] == 5


def test_one_far_point_ruins_the_score_unless_trimmed():
    points = np.random.default_rng(6).normal(size=(400, 3))
    ruined = np.concatenate([points, [[1e6, 0, 0]]])
    clean = measure(points, RAW).scores["mean"]
    assert clean < 0.9
    assert measure(ruined, RAW).scores["mean"] > 0.99
    found = measure(ruined, Preparation(normalise="none", trim=True))
    assert found.outliers >= 1
    assert abs(found.scores["mean"] - clean) < 0.1
    assert abs(measure(ruined, Preparation(normalise="none", divide_by="p99")).scores["mean"] - clean) < 0.2
    assert len(trimmed(ruined)) == len(ruined) - found.outliers


def test_fisher_ratio_by_hand():
    x, y = np.array([[0.0], [2], [10], [12]]), np.array([0, 0, 1, 1])
    assert fisher_ratio(x, y) == 25  # means 1, 11, grand mean 6: S_B = 4 * 25 = 100; S_W = 4
    assert fisher_ratio_1d(x[:, 0], y) == 50  # 10^2 / (1 + 1)
    twice = np.concatenate([x, x])
    assert fisher_ratio(twice, np.repeat([0, 1], 4)) == 0
    with pytest.raises(InputError, match="two classes"):
        fisher_ratio_1d(x[:, 0], np.arange(4))


def test_thornton_by_hand():
    x = np.array([[0.0], [1], [2.5], [10], [11], [12.5]])
    assert thornton(x, np.array([0, 0, 0, 1, 1, 1])) == 1
    assert thornton(x, np.array([0, 1, 0, 1, 0, 1])) == pytest.approx(0)  # 0-1, 1-0, 2.5-1, 10-11, 11-10, 12.5-11


def test_calinski_harabasz_equals_scikit_learn():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(90, 4)), rng.integers(0, 3, 90)
    assert calinski_harabasz(x, y) == pytest.approx(calinski_harabasz_score(x, y), rel=1e-12)


def test_references_of_separated_and_of_identical_classes():
    y = np.repeat([0, 1, 2], 30)
    noise = np.random.default_rng(9).normal(size=(90, 5))
    apart = reference_metrics(noise + 50 * np.eye(5)[y], y, seed=0)
    assert apart["thornton"] == apart["logistic_accuracy"] == apart["logistic_auc"] == 1
    assert apart["silhouette_kmeans"] > 0.9
    same = np.tile(noise[:30], (3, 1))
    assert fisher_ratio(same, y) == pytest.approx(0, abs=1e-12)
    assert logistic_regression(same, y, seed=0)["accuracy"] < 0.5
    assert reference_metrics(noise, np.zeros(90, dtype=int), seed=0) is None


def test_subsamples_are_fixed_and_differ():
    first, again = (subsamples(100, size=1000, repeats=3, seed=4) for _ in range(2))
    assert [len(s) for s in first] == [80, 80, 80]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((first[0] != s).any() for s in first[1:])
    assert subsamples(100, size=1000, repeats=1, seed=4)[0].tolist() == list(range(100))


def clusters(n: int = 300, gap: float = 30.0) -> Dataset:
    rng = np.random.default_rng(10)
    y = rng.integers(0, 3, n)
    return Dataset(inputs=rng.normal(size=(n, 3)) + gap * np.eye(3)[y], labels=ClassLabels(values=y, names=("a", "b", "c")))


def test_auditor_on_planted_clusters(tmp_path):
    data = clusters()
    method = ClassSeparability(normalise="none")
    audit = method.audit(data, seed=0)
    facts = audit.facts
    assert facts["groups"] == 3
    assert facts["score"] > 0.9
    assert facts["reference"]["thornton"] == 1
    assert facts["sample_size"] == 240
    assert audit.findings.height == 0
    assert facts["score"] > method.audit(clusters(gap=0.0), seed=0).facts["score"]
    audit.save(tmp_path / "out")
    back = Audit.load(tmp_path / "out")
    assert back.facts == facts
    assert back.findings.equals(audit.findings)
    again = method.audit(data, seed=0)
    assert again.facts == facts


def test_auditor_prefers_given_embeddings_and_needs_no_labels():
    data = clusters().with_labels(None)
    far = 1e6 * np.eye(6)[np.arange(300) % 2] + np.random.default_rng(0).normal(size=(300, 6))
    facts = ClassSeparability(normalise="none").audit(data, signals=Signals(embeddings=far, embeddings_source="planted"), seed=0).facts
    assert facts["embeddings"] == "planted"
    assert facts["groups"] == 2
    assert facts["reference"] is None
    with pytest.raises(InputError, match="Lengths differ"):
        ClassSeparability().audit(data, signals=Signals(embeddings=far[:10]), seed=0)
    with pytest.raises(InputError, match="at least 2 examples"):
        ClassSeparability().audit(data.take(np.arange(1)), seed=0)


@pytest.mark.parametrize(
    ("field", "value"), [("score", "mode"), ("normalise", "batch"), ("repeats", 0), ("variance", 0.0), ("max_dims", -1)]
)
def test_fields_are_checked(field, value):
    with pytest.raises(InputError, match=field):
        ClassSeparability(**{field: value})
