"""Hypothesis tests against SciPy, enumeration and their own false-positive rate."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from labelwright.errors import InputError
from labelwright.stats.tests import benjamini_hochberg, mcnemar, paired_permutation, permutation, spearman


def test_permutation_against_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1, 20), rng.normal(0, 1, 15)
    for side in ("two-sided", "greater", "less"):
        expected = stats.permutation_test(
            (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), n_resamples=20_000, alternative=side, rng=1
        )
        got = permutation(a, b, seed=2, draws=20_000, side=side)
        assert got.statistic == pytest.approx(a.mean() - b.mean())
        assert got.p == pytest.approx(expected.pvalue, abs=0.012)


def test_p_is_never_zero_and_any_statistic_works():
    a, b = np.arange(100.0), np.arange(100.0) + 1000
    assert permutation(a, b, seed=0, draws=99).p == 1 / 100
    got = permutation(a, b, seed=0, draws=99, statistic=lambda x, y: float(np.median(x) - np.median(y)))
    assert got.statistic == -1000
    assert got.p == 1 / 100


def test_permutation_keeps_its_level():
    rng = np.random.default_rng(1)
    p = [permutation(rng.normal(size=8), rng.normal(size=8), seed=i, draws=199).p for i in range(300)]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.05)


def test_paired_sign_flips_by_enumeration():
    a, b = np.array([3.0, 5, 2, 8, 6]), np.array([1.0, 4, 3, 5, 2])
    d = a - b
    null = [np.dot(s, d) / 5 for s in product((-1, 1), repeat=5)]
    got = paired_permutation(a, b, seed=0)
    assert got.statistic == pytest.approx(d.mean())
    assert got.p == np.mean(np.abs(null) >= abs(d.mean()) - 1e-9)
    assert paired_permutation(a, b, seed=0, side="greater").p == np.mean(np.array(null) >= d.mean() - 1e-9)
    rng = np.random.default_rng(2)
    x = rng.normal(0.3, 1, 40)
    assert paired_permutation(x, np.zeros(40), seed=0).p == pytest.approx(stats.ttest_1samp(x, 0).pvalue, abs=0.03)


def test_mcnemar_is_binomial_on_the_discordant_pairs():
    a = np.array([True] * 60 + [True] * 9 + [False] * 2 + [False] * 5)
    b = np.array([True] * 60 + [False] * 9 + [True] * 2 + [False] * 5)
    got = mcnemar(a, b)
    assert got.statistic == 7
    assert got.p == pytest.approx(2 * sum(math.comb(11, k) for k in range(3)) / 2**11)
    assert mcnemar(a, a).p == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_against_scipy(p):
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), atol=1e-12)


def test_spearman_and_its_interval():
    rng = np.random.default_rng(3)
    x = rng.normal(size=60)
    y = x + rng.normal(size=60)
    got = spearman(x, y)
    r = stats.spearmanr(x, y).statistic
    assert got.value == pytest.approx(r)
    half = 1.959963984540054 * math.sqrt((1 + r * r / 2) / 57)
    assert (got.low, got.high) == pytest.approx((math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)))
    assert spearman(np.exp(x), y).value == pytest.approx(r)
    assert spearman([1, 2, 3, 4], [1, 4, 9, 16]).value == pytest.approx(1)
    assert math.isnan(spearman([1.0, 1, 1], [1, 2, 3]).value)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="non-empty"):
        permutation([], [1.0], seed=0)
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        benjamini_hochberg([0.2, 1.2])
    with pytest.raises(InputError, match="boolean"):
        mcnemar([1, 0], [0, 1])
    with pytest.raises(InputError, match="Shapes differ"):
        spearman([1.0, 2], [1.0])
    with pytest.raises(InputError, match="side"):
        paired_permutation([1.0], [2.0], seed=0, side="both")
