"""Intervals against closed forms, SciPy and their own coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from labelwright.errors import InputError
from labelwright.stats.intervals import bootstrap, clopper_pearson, finite_population, mean_interval, paired_difference, stratified, wilson


def test_mean_of_one_two_three():
    m = mean_interval([1.0, 2.0, 3.0])  # t_{2, 0.975} = 4.302652..., s = 1
    assert (m.value, m.n) == (2.0, 3)
    assert m.half_width == pytest.approx(4.302652729749464 / math.sqrt(3))


def test_one_value_has_no_interval():
    m = mean_interval([0.7])
    assert m.value == 0.7
    assert math.isnan(m.low)
    assert m.to_dict() == {"value": 0.7, "low": None, "high": None, "n": 1}


def test_empty_and_infinite_values_are_refused():
    with pytest.raises(InputError, match="non-empty"):
        mean_interval([])
    with pytest.raises(InputError, match="finite"):
        mean_interval([1.0, math.inf])
    with pytest.raises(InputError, match="level"):
        mean_interval([1.0, 2.0], level=1.0)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (81, 263), (1, 1)])
def test_proportions_against_scipy(k, n):
    ours, theirs = wilson(k, n), stats.binomtest(k, n).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    ours, theirs = clopper_pearson(k, n), stats.binomtest(k, n).proportion_ci(method="exact")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_wilson_published_example():  # Newcombe 1998, table I: 81 of 263
    m = wilson(81, 263)
    assert (round(m.low, 4), round(m.high, 4)) == (0.2553, 0.3662)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 400), share=st.floats(0, 1))
def test_proportion_intervals_are_ordered_and_mirror(n, share):
    k = round(share * n)
    for interval in (wilson, clopper_pearson):
        m, mirrored = interval(k, n), interval(n - k, n)
        assert 0 <= m.low <= m.value <= m.high <= 1
        assert m.low == pytest.approx(1 - mirrored.high, abs=1e-9)
    assert clopper_pearson(k, n).low <= wilson(k, n, level=0.8).low + 1e-12


def test_clopper_pearson_covers():
    p, n = 0.1, 20
    covered = sum(stats.binom.pmf(k, n, p) for k in range(n + 1) if clopper_pearson(k, n).low <= p <= clopper_pearson(k, n).high)
    assert covered >= 0.95


def test_finite_population_limits():
    assert finite_population(5, 10, 10).half_width == 0  # a complete count
    large, free = finite_population(5, 10, 10**9), wilson(5, 10)
    assert (large.low, large.high) == pytest.approx((free.low, free.high), abs=1e-7)
    # half the population seen: variance times (M - n) / (M - 1) = 10 / 19, so Wilson with n = 19
    half, same = finite_population(5, 10, 20), wilson(5, 10)
    z2 = stats.norm.ppf(0.975) ** 2
    assert half.half_width == pytest.approx(math.sqrt(z2) / (1 + z2 / 19) * math.sqrt(0.25 / 19 + z2 / (4 * 19**2)))
    assert half.half_width < same.half_width


@pytest.mark.parametrize(("k", "n", "population", "low"), [(27, 160, 2500, 11.6), (34, 160, 836, 15.8), (13, 160, 63504, 4.4)])
def test_clopper_pearson_in_a_finite_population_gives_published_lower_bounds(k, n, population, low):
    """Nahum et al. (arXiv:2410.18889), table 2: share of wrong labels of three data sets."""
    m = finite_population(k, n, population, method="clopper_pearson")
    assert 100 * m.low == pytest.approx(low, abs=0.05)
    assert clopper_pearson(k, n).low < m.low < k / n


def test_clopper_pearson_at_the_ends():
    n = 25
    none, every = clopper_pearson(0, n), clopper_pearson(n, n)
    assert (none.low, none.high) == pytest.approx((0, 1 - 0.025 ** (1 / n)))
    assert (every.low, every.high) == pytest.approx((0.025 ** (1 / n), 1))
    whole = finite_population(5, 40, 40, method="clopper_pearson")
    assert (whole.low, whole.value, whole.high) == (0.125, 0.125, 0.125)


def test_stratified_weights_by_the_size_of_the_strata():
    m = stratified([5, 1], [10, 20], [100, 900])  # 0.1 * 0.5 + 0.9 * 0.05
    assert m.value == pytest.approx(0.095)
    assert m.n == 30
    a, b = finite_population(5, 10, 100), finite_population(1, 20, 900)
    assert m.low == pytest.approx(0.095 - math.hypot(0.1 * (a.value - a.low), 0.9 * (b.value - b.low)))
    one, same = stratified([5], [10], [100]), finite_population(5, 10, 100)
    assert (one.value, one.low, one.high) == pytest.approx((same.value, same.low, same.high))
    full = stratified([3, 4, 0], [10, 10, 0], [10, 10, 0])
    assert (full.value, full.low, full.high) == (0.35, 0.35, 0.35)


def test_an_unseen_stratum_opens_the_interval_upwards():
    m = stratified([10, 0], [10, 0], [10, 30])
    assert (m.value, m.low, m.high) == (0.25, 0.25, 1.0)


def test_stratified_is_unbiased_and_covers():
    rng = np.random.default_rng(5)
    strata = [np.arange(200) < 90, np.arange(1800) < 60]  # 45 % and 3.3 % wrong: 7.5 % of all
    found = []
    for _ in range(1500):
        picks = [rng.permutation(s)[:n] for s, n in zip(strata, (80, 120), strict=True)]
        found.append(stratified([int(p.sum()) for p in picks], [80, 120], [200, 1800]))
    assert np.mean([m.value for m in found]) == pytest.approx(0.075, abs=0.0012)
    assert np.mean([m.low <= 0.075 <= m.high for m in found]) >= 0.94


def test_paired_difference_removes_what_pairs_share():
    rng = np.random.default_rng(0)
    common = rng.normal(0, 100, 6)
    a, b = common + 1 + rng.normal(0, 0.1, 6), common
    m = paired_difference(a, b)
    expected = stats.ttest_rel(a, b).confidence_interval()
    assert (m.low, m.high) == pytest.approx((expected.low, expected.high))
    assert m.low > 0.5


def test_bootstrap_of_a_mean_is_close_to_the_normal_interval():
    x = np.random.default_rng(1).normal(3, 2, 400)
    m = bootstrap(np.mean, x, seed=0, draws=2000)
    assert m.value == pytest.approx(x.mean())
    assert m.half_width == pytest.approx(1.96 * x.std(ddof=1) / 20, rel=0.08)
    assert bootstrap(np.mean, x, seed=0, draws=50) == bootstrap(np.mean, x, seed=0, draws=50)


def test_stratified_bootstrap_keeps_sizes():
    y = np.array([0] * 5 + [1] * 20)
    m = bootstrap(lambda v: float((v == 0).sum()), y, seed=0, draws=100, by=y)
    assert (m.low, m.high) == (5.0, 5.0)
