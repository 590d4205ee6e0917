"""Calibration against hand counts, scikit-learn and planted temperatures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import special
from sklearn.metrics import log_loss

from labelwright.errors import InputError
from labelwright.stats import calibration as cal


def test_calibration_error_by_hand():
    # bins of 0.1: 0.9 (closed above) and 0.85 share (0.8, 0.9]: confidence 0.875, accuracy 0.5; 0.65 alone, wrong
    probs = np.array([[0.9, 0.1], [0.15, 0.85], [0.65, 0.35]])
    assert cal.calibration_error(probs, [0, 0, 1], bins=10) == pytest.approx((2 * abs(0.5 - 0.875) + 0.65) / 3)
    assert cal.calibration_error(probs, [0, 0, 1], bins=1) == pytest.approx(abs(1 / 3 - 0.8))
    assert cal.calibration_error(np.eye(3), [0, 1, 2]) == 0
    assert cal.calibration_error(np.eye(3), [1, 2, 0]) == 1


def test_adaptive_bins_hold_equal_counts():
    rng = np.random.default_rng(0)
    top = 0.5 + rng.random(100) ** 3 / 2
    probs = np.stack([top, 1 - top], 1)
    _, _, count = cal.reliability(probs, np.zeros(100, int), bins=5, adaptive=True)
    assert count.tolist() == [20] * 5
    same = np.full((10, 2), 0.5)
    assert cal.calibration_error(same, [0] * 5 + [1] * 5, adaptive=True) == 0


def test_calibrated_predictions_have_a_small_error():
    rng = np.random.default_rng(1)
    probs = special.softmax(rng.normal(size=(40_000, 3)) * 2, axis=1)
    labels = (rng.random((40_000, 1)) > probs.cumsum(1)).sum(1).clip(max=2)
    assert cal.calibration_error(probs, labels) < 0.012
    assert cal.calibration_error(probs, labels, adaptive=True) < 0.012


def test_brier_and_likelihood():
    assert cal.brier([[1.0, 0.0], [0.5, 0.5]], [1, 0]) == pytest.approx((2 + 0.5) / 2)
    rng = np.random.default_rng(2)
    probs, labels = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    assert cal.negative_log_likelihood(probs, labels) == pytest.approx(log_loss(labels, probs, labels=range(4)))
    assert cal.brier(probs, labels) == pytest.approx(np.square(probs - np.eye(4)[labels]).sum(1).mean())
    assert math.isinf(cal.negative_log_likelihood([[1.0, 0.0]], [1]))


@pytest.mark.parametrize("truth", [0.4, 1.0, 3.5])
def test_planted_temperature_is_recovered(truth):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(30_000, 4)) * 3
    labels = (rng.random((30_000, 1)) > special.softmax(logits / truth, axis=1).cumsum(1)).sum(1).clip(max=3)
    assert cal.fit_temperature(logits, labels) == pytest.approx(truth, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_temperature_is_the_minimum_and_scales_with_the_logits(seed, scale):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
    t = cal.fit_temperature(logits, labels)
    if not 0.01 < t < 100:
        return

    def loss(temperature):
        return cal.negative_log_likelihood(cal.soften(logits, temperature), labels)

    assert loss(t) <= min(loss(t * 1.01), loss(t / 1.01)) + 1e-12
    assert cal.fit_temperature(logits * scale + rng.normal(size=(30, 1)), labels) == pytest.approx(t * scale, rel=1e-5)


def test_bounds_and_bad_input():
    assert cal.fit_temperature([[2.0, 0.0], [0.0, 2.0]], [0, 1]) == 1e-3  # always right: colder is always better
    assert cal.fit_temperature([[2.0, 0.0], [0.0, 2.0]], [1, 0]) == 1e3
    with pytest.raises(InputError, match="finite"):
        cal.fit_temperature([[np.nan, 0.0]], [0])
    with pytest.raises(InputError, match="sum"):
        cal.brier([[2.0, 1.0]], [0])
    with pytest.raises(InputError, match="empty"):
        cal.brier(np.empty((0, 3)), np.empty(0, int))
