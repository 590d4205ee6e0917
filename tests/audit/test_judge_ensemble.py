"""The ensemble's mathematics: invariances, planted errors, rules on cases done by hand."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelwright.audit.judge_ensemble.ensemble import (
    combine,
    default_edges,
    disagreements,
    error_scores,
    flags,
    review_order,
    temper,
    temperatures,
)
from labelwright.errors import InputError


def drawn(judges=4, n=60, classes=3, *, seed=0, unknown=0.2):
    """Random verdicts (J, N, C), a share of them unknown, and random labels."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(classes), size=(judges, n))
    probs[rng.random((judges, n)) < unknown] = np.nan
    return probs, rng.integers(0, classes, n)


def test_the_mean_is_over_those_that_answered():
    nan = [np.nan, np.nan]
    made = combine([[[0.9, 0.1], nan, nan], [[0.5, 0.5], [0.2, 0.8], nan]])
    assert np.allclose(made.probs[:2], [[0.7, 0.3], [0.2, 0.8]])
    assert made.prediction.tolist() == [0, 1, -1]
    assert made.confidence.tolist() == pytest.approx([0.7, 0.8, 0.0])
    assert made.answered.tolist() == [2, 1, 0]
    assert made.abstained.tolist() == [False, False, True]
    assert np.isnan(made.probs[2]).all()


def test_identical_judges_are_the_judge():
    probs, _ = drawn(1)
    one, many = combine(probs), combine(np.repeat(probs, 5, axis=0))
    assert np.allclose(one.probs, probs[0] / probs[0].sum(1, keepdims=True), equal_nan=True)
    assert np.allclose(many.probs, one.probs, equal_nan=True)
    assert np.array_equal(many.prediction, one.prediction)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), judges=st.integers(1, 6), classes=st.integers(2, 5))
def test_order_of_judges_rows_on_the_simplex_and_least_confidence(seed, judges, classes):
    probs, y = drawn(judges, 20, classes, seed=seed)
    made, mixed = combine(probs), combine(probs[np.random.default_rng(seed).permutation(judges)])
    seen = ~made.abstained
    assert np.allclose(made.probs, mixed.probs, equal_nan=True)
    assert np.array_equal(made.prediction, mixed.prediction)
    assert np.allclose(made.probs[seen].sum(1), 1)
    assert (made.confidence[seen] >= 1 / classes).all()
    assert np.array_equal(flags(made.probs, y, theta=0.7), flags(mixed.probs, y, theta=0.7))


def test_votes_that_tie_do_not_dispute_the_label():
    tied = combine([[[1.0, 0, 0], [0, 1.0, 0]], [[0, 1.0, 0], [0, 1.0, 0]]])
    assert disagreements(tied.probs, [1, 0]).tolist() == [False, True]
    assert disagreements(tied.probs, [0, 2]).tolist() == [False, True]
    assert disagreements(tied.probs, [2, 1]).tolist() == [True, False]


def test_no_flag_above_one_and_every_disagreement_at_zero():
    probs, y = drawn(3, 200, 4)
    made = combine(probs)
    assert not flags(made.probs, y, theta=1.01).any()
    expected = (made.prediction != y) & ~made.abstained
    assert np.array_equal(flags(made.probs, y, theta=0), expected)
    for theta in (0.3, 0.5, 0.7):
        assert np.array_equal(flags(made.probs, y, theta=theta), expected & (made.confidence >= theta))


def test_the_score_of_a_disputed_label_is_the_confidence_and_never_more_elsewhere():
    probs, y = drawn(3, 300, 4)
    made = combine(probs)
    score, disputed = error_scores(made.probs, y), disagreements(made.probs, y)
    assert score[disputed] == pytest.approx(made.confidence[disputed])
    assert (score[~disputed] <= made.confidence[~disputed]).all()
    order = review_order(disputed, score)
    assert set(order) == set(np.flatnonzero(disputed))
    assert (np.diff(score[order]) <= 0).all()


def test_perfect_judges_flag_exactly_the_errors_and_flipping_restores_the_truth():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 500)
    wrong = rng.random(500) < 0.12
    y = np.where(wrong, (truth + 1) % 3, truth)
    made = combine(np.stack([0.97 * np.eye(3)[truth] + 0.01] * 4))
    flagged = flags(made.probs, y, theta=0.95)
    assert np.array_equal(flagged, wrong)
    flipped = np.where(flagged, made.prediction, y)
    assert np.array_equal(flipped, truth)
    assert not flags(made.probs, flipped, theta=0).any()  # flipping twice changes nothing more


def test_adjacent_grades_are_no_error():
    made = combine([np.eye(5)[[4, 4, 0, 2]]])
    assert disagreements(made.probs, [3, 2, 0, 4], gap=1).tolist() == [False, True, False, True]  # 4-5, 3-5, same, 5-3
    assert disagreements(made.probs, [3, 2, 0, 4], gap=0).tolist() == [True, True, False, True]
    assert disagreements(made.probs, [3, 2, 0, 4], gap=2).tolist() == [False, False, False, False]
    assert error_scores([[0.1, 0.2, 0.1, 0.25, 0.35]], [3], gap=1).tolist() == [0.2]  # classes 2 to 4 are near


def test_unknown_labels_and_silent_judges_are_never_flagged():
    made = combine([[[0.9, 0.1], [np.nan, np.nan]]])
    assert not flags(made.probs, [-1, 0], theta=0).any()
    assert error_scores(made.probs, [-1, 0]).tolist() == [0, 0]


def test_bins_begin_at_one_over_the_number_of_classes():
    assert default_edges(2) == (0.5, 0.65, 0.8, 0.95, 0.99, 1.0)
    assert default_edges(5, ordinal=True) == (0.2, 0.55, 0.7, 0.8, 0.9, 1.0)
    assert default_edges(4)[:2] == (0.25, 0.5)
    assert default_edges(3, ordinal=True)[:2] == (1 / 3, 0.55)
    assert default_edges(10, ordinal=True)[:2] == (0.1, 0.2)


def test_temperature_undoes_overconfidence():
    """Labels drawn from q, a judge that states q^3: its temperature is 3, up to the noise of 4,000 draws."""
    rng = np.random.default_rng(0)
    q = rng.dirichlet(np.full(3, 2.0), 4000)
    y = (rng.random((4000, 1)) > q.cumsum(1)).sum(1)
    sharp = q**3 / (q**3).sum(1, keepdims=True)
    t = temperatures(np.stack([q, sharp]), y)
    assert t == pytest.approx([1, 3], rel=0.08)
    assert np.allclose(temper(sharp[None], [3.0])[0], q, atol=1e-4)  # logarithms are cut at 1e-12
    assert np.array_equal(temper(q[None], [1.0])[0], q)
    few = np.where(np.arange(4000) < 19, y, -1)
    assert temperatures(sharp[None], few).tolist() == [1.0]


def test_what_is_no_panel_of_distributions_is_refused():
    with pytest.raises(InputError, match="shape"):
        combine(np.ones((3, 2)))
    with pytest.raises(InputError, match="probabilities of judge 1"):
        combine([[[0.5, 0.5]], [[0.5, 0.9]]])
    with pytest.raises(InputError, match="probabilities of judge 0"):
        combine([[[0.5, np.nan]]])
    with pytest.raises(InputError, match="temperature"):
        temper(np.full((2, 1, 2), 0.5), [1.0])
