"""Dependence of pairs against closed forms, scipy and brute force."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from labelwright.audit.nutrition.codes import code_column, encode, freedman_diaconis
from labelwright.audit.nutrition.pairs import (
    correlation_ratio,
    entropy,
    histogram,
    information_and_v,
    joint_counts,
    joint_strip,
    mutual_information,
    spearman,
    suppress,
)
from labelwright.audit.nutrition.settings import Settings
from labelwright.audit.nutrition.table import read_table


def column_of(values, **options):
    frame = pl.DataFrame({"x": values})
    (column,) = read_table(frame, scales={}, settings=Settings(), seed=0).columns
    return code_column(column, frame.get_column("x"), **{"bins": 50, "categories": 30} | options)


@pytest.fixture(scope="module")
def codes():
    """Three coded columns with sizes 3, 4, 2; code == size is missing."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, 400)
    b = np.where(rng.random(400) < 0.5, np.minimum(a, 3), rng.integers(0, 5, 400))
    return np.stack([np.minimum(a, 3), b, rng.integers(0, 3, 400)], axis=1), [3, 4, 2]


def test_joint_counts_equal_a_loop(codes):
    table, sizes = codes
    joint = joint_counts(table, sizes)
    for a in range(3):
        for b in range(3):
            slow = np.zeros((sizes[a], sizes[b]))
            for row in table:
                if row[a] < sizes[a] and row[b] < sizes[b]:
                    slow[row[a], row[b]] += 1
            assert (joint.block(a, b) == slow).all()


def test_information_equals_sklearn_on_the_common_rows(codes):
    table, sizes = codes
    found, _ = information_and_v(table, sizes)
    for a in range(3):
        for b in range(3):
            both = (table[:, a] < sizes[a]) & (table[:, b] < sizes[b])
            assert found[a, b] == pytest.approx(mutual_info_score(table[both, a], table[both, b]), abs=1e-12)


def test_information_of_a_column_with_itself_is_its_entropy():
    codes = np.array([[0], [0], [1], [2]])
    assert mutual_information(codes, [3])[0, 0] == pytest.approx(1.5 * math.log(2))
    assert entropy(np.array([2, 1, 1, 0])) == pytest.approx(1.5 * math.log(2))


def test_cramers_v_of_copies_is_one_and_of_independence_zero():
    a = np.repeat([0, 1, 2], 40)
    b = np.tile([0, 1], 60)
    _, v = information_and_v(np.stack([a, a, b], axis=1), [3, 3, 2])
    assert v[0, 1] == pytest.approx(1)
    assert v[0, 2] == 0


def test_cramers_v_equals_bergsma_by_hand():
    table = np.array([[30, 10], [20, 40]])
    rows = [(i, j) for i in range(2) for j in range(2) for _ in range(table[i, j])]
    _, v = information_and_v(np.array(rows), [2, 2])
    phi2 = stats.chi2_contingency(table, correction=False)[0] / 100
    side = 2 - 1 / 99
    assert v[0, 1] == pytest.approx(math.sqrt((phi2 - 1 / 99) / (side - 1)))


def test_cramers_v_is_undefined_for_a_constant():
    _, v = information_and_v(np.array([[0, 0], [0, 1]] * 10), [1, 2])
    assert np.isnan(v[0, 1])


def test_correlation_ratio_is_the_anova_share():
    rng = np.random.default_rng(0)
    groups, y = rng.integers(0, 3, 200), rng.normal(size=200)
    y += groups
    f = stats.f_oneway(*(y[groups == g] for g in range(3)))[0]
    eta2 = 2 * f / (2 * f + 197)
    assert correlation_ratio(groups, y, 3) == pytest.approx(math.sqrt(eta2))
    assert correlation_ratio(groups, groups.astype(float), 3) == pytest.approx(1)
    assert math.isnan(correlation_ratio(groups, np.ones(200), 3))


def test_spearman_equals_scipy_with_ties_and_gaps():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(120, 4)).round(1)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, :2] = rng.integers(0, 5, (120, 2))
    found = spearman(list(values.T))
    for a in range(4):
        for b in range(4):
            assert found[a, b] == pytest.approx(stats.spearmanr(values[:, a], values[:, b], nan_policy="omit")[0], abs=1e-12)


def test_spearman_ignores_monotone_scales():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=50), rng.normal(size=50)
    a = spearman([x, y])[0, 1]
    assert spearman([np.exp(x), y**3])[0, 1] == pytest.approx(a)
    assert spearman([x, -y])[0, 1] == pytest.approx(-a)


def test_freedman_diaconis_is_numpys_rule_up_to_the_cap():
    values = np.random.default_rng(0).normal(size=300)
    assert len(freedman_diaconis(values, most=50)) == len(np.histogram_bin_edges(values, "fd"))
    assert len(freedman_diaconis(np.append(values, 1e6), most=50)) == 51
    assert len(freedman_diaconis(np.full(5, 2.0), most=50)) == 2


def test_histogram_counts_equal_numpys():
    values = np.random.default_rng(0).normal(size=500)
    hist = histogram(column_of(values), floor=0)
    assert hist["counts"] == np.histogram(values, hist["edges"])[0].tolist()


def test_small_categories_become_other():
    coded = column_of(["a"] * 5 + ["b"] * 4 + ["c"] * 3 + ["d"] * 2 + ["other"] * 9 + [None], categories=2)
    assert coded.labels == ("other", "a", "(other values)")
    assert np.bincount(coded.codes).tolist() == [9, 5, 9, 1]
    assert encode(coded, pl.Series(["a", "zzz", None])).tolist() == [1, 2, 3]


def test_cells_under_the_floor_are_hidden():
    assert suppress(np.array([[0, 4], [5, 1]]), 5) == [[0, None], [5, None]]
    assert suppress(np.array([1]), 0) == [1]


def test_a_strip_is_the_right_part_of_the_table(codes):
    table, sizes = codes
    strip = joint_strip(table, sizes, 1)
    joint = joint_counts(table, sizes)
    assert (strip.block(0) == joint.block(1, 1)).all()
    assert (strip.block(1) == joint.block(1, 2)).all()
