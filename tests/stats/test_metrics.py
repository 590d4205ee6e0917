"""Metrics against scikit-learn, hand counts and invariances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics as sk

from labelwright.errors import InputError
from labelwright.stats import metrics as m


@pytest.fixture(scope="module")
def labels():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 300)
    predicted = np.where(rng.random(300) < 0.6, truth, rng.integers(0, 5, 300))
    return truth, predicted


def test_single_label_metrics_against_sklearn(labels):
    truth, predicted = labels
    assert m.accuracy(truth, predicted).value == pytest.approx(sk.accuracy_score(truth, predicted))
    assert m.balanced_accuracy(truth, predicted).value == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    assert m.f1(truth, predicted).value == pytest.approx(sk.f1_score(truth, predicted, average="macro"))
    assert m.f1(truth, predicted, average="micro").value == pytest.approx(sk.f1_score(truth, predicted, average="micro"))
    np.testing.assert_array_equal(m.confusion(truth, predicted, 5), sk.confusion_matrix(truth, predicted))


def test_intervals_contain_the_value_and_shrink(labels):
    truth, predicted = labels
    for metric in (m.accuracy, m.balanced_accuracy, m.f1):
        one, four = metric(truth, predicted), metric(np.tile(truth, 4), np.tile(predicted, 4))
        assert one.low < one.value < one.high
        assert four.half_width == pytest.approx(one.half_width / 2, rel=0.15)
        assert (one.n, four.n) == (300, 1200)


def test_balanced_accuracy_ignores_class_sizes_and_absent_classes():
    truth = np.array([0] * 90 + [1] * 10)
    assert m.balanced_accuracy(truth, np.zeros(100, dtype=int), num_classes=7).value == 0.5


def test_f1_by_hand():  # class 0: tp 1 fp 1 fn 1 -> 1/2; class 1: tp 2 fp 1 fn 1 -> 2/3
    assert m.f1([0, 0, 1, 1, 1], [0, 1, 0, 1, 1]).value == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_multilabel_f1_against_sklearn_and_unknown_cells():
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 2, (80, 4)), rng.integers(0, 2, (80, 4))
    for average in ("macro", "micro"):
        got = m.multilabel_f1(truth, predicted, average=average, draws=200)
        assert got.value == pytest.approx(sk.f1_score(truth, predicted, average=average))
        assert got.low < got.value < got.high
    hidden = truth.copy()
    hidden[:, 0] = -1
    assert m.multilabel_f1(hidden, predicted).value == pytest.approx(sk.f1_score(truth[:, 1:], predicted[:, 1:], average="macro"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=4, max_size=40))
def test_ranking_metrics_by_brute_force(rows):
    truth, scores = np.array([t for t, _ in rows]), np.array([s for _, s in rows], dtype=float)
    pos, neg = scores[truth], scores[~truth]
    got = m.auroc(truth, scores)
    if len(pos) and len(neg):
        wins = (pos[:, None] > neg).mean() + (pos[:, None] == neg).mean() / 2
        assert got.value == pytest.approx(wins)
        assert got.low <= got.value + 1e-12
        assert got.high >= got.value - 1e-12
        assert m.auroc(truth, np.exp(scores)).value == pytest.approx(wins)  # a monotone map changes nothing
    else:
        assert math.isnan(got.value)
    if len(pos):
        assert m.average_precision(truth, scores).value == pytest.approx(sk.average_precision_score(truth, scores))


def test_delong_variance_against_all_pairs():
    rng = np.random.default_rng(2)
    truth = np.arange(60) < 25
    scores = rng.normal(0, 1, 60) + truth
    wins = (scores[truth][:, None] > scores[~truth]).astype(float)
    a = wins.mean()
    deviation = math.sqrt(wins.mean(1).var(ddof=1) / 25 + wins.mean(0).var(ddof=1) / 35)
    half = 1.959963984540054 * deviation / (a * (1 - a))
    expected = [1 / (1 + math.exp(-(math.log(a / (1 - a)) + s * half))) for s in (-1, 1)]
    got = m.auroc(truth, scores)
    assert (got.low, got.high) == pytest.approx(tuple(expected))


def test_perfect_ranking_is_not_certain():
    got = m.auroc([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6])
    assert (got.value, got.high) == (1.0, 1.0)
    assert got.low == pytest.approx(0.025 ** (1 / 3))  # Clopper-Pearson, 3 of 3


def test_precision_at_k_shares_ties():
    assert m.precision_at_k([1, 1, 0, 0], [4.0, 3.0, 2.0, 1.0], 2).value == 1.0
    assert m.precision_at_k([1, 0, 1, 0], [9.0, 5.0, 5.0, 5.0], 2).value == pytest.approx((1 + 1 / 3) / 2)
    with pytest.raises(InputError, match="k must be"):
        m.precision_at_k([1, 0], [1.0, 2.0], 3)


def test_mean_average_precision_against_sklearn():
    rng = np.random.default_rng(3)
    truth, scores = rng.integers(0, 2, (50, 3)), rng.random((50, 3))
    got = m.mean_average_precision(truth, scores, draws=100)
    assert got.value == pytest.approx(sk.average_precision_score(truth, scores))
    assert got.low < got.value < got.high
    unknown = truth.copy()
    unknown[:20, 1] = -1
    rest = [
        sk.average_precision_score(truth[rows, j], scores[rows, j]) for j, rows in enumerate((slice(0, 50), slice(20, 50), slice(0, 50)))
    ]
    assert m.mean_average_precision(unknown, scores).value == pytest.approx(np.mean(rest))


def test_bad_input_is_named():
    with pytest.raises(InputError, match="empty"):
        m.f1([], [])
    with pytest.raises(InputError, match="0 or 1"):
        m.auroc([0, 2], [0.1, 0.2])
    with pytest.raises(InputError, match="finite"):
        m.average_precision([0, 1], [0.1, math.nan])
