"""Correlation with a reference, representation and alerts."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from labelwright.audit.nutrition import Reference, Settings, make_label, shares_of
from labelwright.audit.nutrition.ground_truth import correlate, fisher_interval, ground_truth_module, q_values, total_variation
from labelwright.errors import InputError


def areas(seed=0, units=40):
    """Synthetic areas with known relations, and rows that fall into them."""
    rng = np.random.default_rng(seed)
    urban = rng.random(units).round(4)
    table = pl.DataFrame(
        {
            "zip": [f"{z:05d}" for z in range(units)],
            "people": rng.integers(500, 5000, units),
            "urban": urban,
            "rural": (1 - urban).round(4),
            "income": rng.normal(40_000, 5000, units),
        }
    )
    area = rng.choice(units - 4, 2000)
    rows = pl.DataFrame({"zip": [f"{a:05d}" for a in area] + ["99999"] * 100, "spend": np.append(urban[area] * 10, np.ones(100))})
    return table, rows


def test_complement_and_scale():
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=60), rng.random(60)
    r, n, p = correlate(x, u)
    assert (r, n) == (pytest.approx(stats.pearsonr(x, u)[0]), 60)
    assert p == pytest.approx(stats.pearsonr(x, u)[1])
    assert correlate(x, 1 - u)[0] == pytest.approx(-r)
    assert correlate(7 * x - 3, u)[0] == pytest.approx(r)
    assert correlate(x, x)[0] == 1
    assert math.isnan(correlate(x, np.ones(60))[0])


def test_fisher_interval_is_scipys():
    rng = np.random.default_rng(1)
    x = rng.normal(size=30)
    y = x + rng.normal(size=30)
    found = stats.pearsonr(x, y)
    assert fisher_interval(found.statistic, 30) == pytest.approx(tuple(found.confidence_interval()))
    assert fisher_interval(0.5, 3) == (-1.0, 1.0)


def test_q_values_are_scipys_and_skip_the_undefined():
    p = np.array([0.01, 0.04, math.nan, 0.03, 0.5])
    q = q_values(p)
    known = ~np.isnan(p)
    assert q[known] == pytest.approx(stats.false_discovery_control(p[known]))
    assert math.isnan(q[2])


def test_total_variation():
    assert total_variation([0.5, 0.5], [0.5, 0.5]) == 0
    assert total_variation([1, 0], [0, 1]) == 1
    assert total_variation([0.7, 0.3], [0.5, 0.5]) == pytest.approx(0.2)


def test_joined_areas():
    table, rows = areas()
    data = ground_truth_module(rows, Reference(table=table, key="zip", measures=("spend",), population="people"))
    join = data["join"]
    present = rows.get_column("zip").n_unique() - 1
    assert (join["units_joined"], join["units_unjoined"], join["reference_units_absent"]) == (present, 1, 40 - present)
    assert join["row_coverage"] == pytest.approx(2000 / 2100)
    found = {(r["measure"], r["variable"]): r for r in join["correlations"]}
    units = rows.group_by("zip").agg(pl.col("spend").sum(), pl.len()).join(table, on="zip", how="inner")
    assert found["total spend", "urban"]["r"] == pytest.approx(stats.pearsonr(units["spend"], units["urban"])[0])
    assert found["total spend", "rural"]["r"] == pytest.approx(-found["total spend", "urban"]["r"], abs=1e-9)
    rate = units["spend"].to_numpy() / units["people"].to_numpy()
    assert found["total spend per person", "income"]["r"] == pytest.approx(stats.pearsonr(rate, units["income"])[0])
    assert {r["variable"]: r["kind"] for r in join["correlations"]} == {
        "people": "count",
        "urban": "fraction",
        "rural": "fraction",
        "income": "count",
    }
    assert found["total spend", "urban"]["q"] < 0.05
    assert "ecological" in data["caveat"]


def test_key_faults_are_named():
    table, rows = areas()
    with pytest.raises(InputError, match="Did you mean 'zip'"):
        ground_truth_module(rows, Reference(table=table, key="zipp"))
    with pytest.raises(InputError, match="repeats"):
        ground_truth_module(rows, Reference(table=pl.concat([table, table]), key="zip"))
    with pytest.raises(InputError, match="non-negative"):
        Reference(shares={"sex": {"f": -1.0}})


def test_representation_gap():
    rows = pl.DataFrame({"sex": ["f"] * 30 + ["m"] * 70 + [None]})
    people = pl.DataFrame({"sex": ["f", "m", "x"], "n": [48, 48, 4]})
    shares = shares_of(people, "sex", weight="n")
    assert shares == {"f": 0.48, "m": 0.48, "x": 0.04}
    (entry,) = ground_truth_module(rows, Reference(shares={"sex": shares}))["representation"]
    gaps = {g["group"]: g["gap"] for g in entry["groups"]}
    assert gaps == {"f": pytest.approx(-0.18), "m": pytest.approx(0.22), "x": pytest.approx(-0.04)}
    assert entry["total_variation"] == pytest.approx(0.22)
    assert entry["missing"] == 1


# Alerts ----------------------------------------------------------------------------------------------------------------------------


def clean(seed, n=600):
    """Twelve documented columns with nothing wrong: a label that depends on some of them, no gaps, no copies."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    label = np.where(x[:, 0] + x[:, 1] + rng.normal(size=n) > 0, "yes", "no")
    frame = pl.DataFrame({f"x{j}": x[:, j] for j in range(6)} | {f"w{j}": rng.choice(list("abcd"), n) for j in range(4)})
    return frame.with_columns(group=pl.Series(rng.choice(["f", "m"], n)), label=pl.Series(label))


def codes_of(frame, **options):
    said = {"license": "CC0-1.0", "range_to": "2025"}
    options = {
        "metadata": said,
        "as_of": "2026-06-01",
        "label_column": "label",
        "sensitive": ("group",),
        "variables": dict.fromkeys(frame.columns, "said"),
    } | options
    label = make_label(frame, settings=Settings(back_end="none", plots=0), seed=0, **options)
    return {a.code: a for a in label.alerts}


SHARES = Reference(shares={"group": {"f": 0.5, "m": 0.5}})


def test_a_clean_table_raises_nothing():
    assert codes_of(clean(0), reference=SHARES) == {}


def test_missing_not_at_random():
    frame = clean(1)
    gone = (pl.col("x0") > pl.col("x0").quantile(0.8)).fill_null(False)
    found = codes_of(frame.with_columns(x0=pl.when(~gone).then(pl.col("x0"))))
    assert found["missing-not-at-random"].columns[0] == "x0"
    assert found["missing"].value == pytest.approx(20, abs=0.1)
    # the same share at random is called missing, not more
    rng = np.random.default_rng(0)
    random = codes_of(frame.with_columns(x0=pl.when(pl.Series(rng.random(600) > 0.2)).then(pl.col("x0"))))
    assert "missing" in random
    assert "missing-not-at-random" not in random


def test_missing_more_than_half_is_severe():
    frame = clean(2).with_columns(x5=pl.when(pl.int_range(600) < 250).then(pl.col("x5")))
    assert codes_of(frame)["missing"].severity == "high"


def test_duplicates_leaks_constants_and_identifiers():
    frame = clean(3)
    assert codes_of(pl.concat([frame, frame.head(30)]))["duplicate-rows"].value == pytest.approx(100 * 30 / 630)
    leak = codes_of(frame.with_columns(copy=pl.when(pl.col("label") == "yes").then(pl.lit("p")).otherwise(pl.lit("q"))))["leakage"]
    assert leak.columns == ("copy", "label")
    assert leak.value == pytest.approx(1, abs=1e-6)
    number = codes_of(frame.with_columns(copy=(pl.col("label") == "yes").cast(pl.Float64) + 1e-3 * pl.col("x5")))["leakage"]
    assert number.columns == ("copy", "label")
    assert codes_of(frame.with_columns(k=pl.lit(7)))["constant"].columns == ("k",)
    assert codes_of(frame.with_columns(key=pl.int_range(600)))["identifier"].columns == ("key",)


def test_a_copy_of_a_numeric_label_leaks():
    frame = clean(4).with_columns(label=pl.col("x0") * 2 + pl.col("x1"), copy=(pl.col("x0") * 2 + pl.col("x1")).exp())
    assert codes_of(frame)["leakage"].columns == ("copy", "label")


def test_imbalance():
    frame = clean(5).with_columns(label=pl.when(pl.int_range(600) < 40).then(pl.lit("yes")).otherwise(pl.lit("no")))
    p = 40 / 600
    relative = -(p * math.log(p) + (1 - p) * math.log(1 - p)) / math.log(2)
    assert codes_of(frame)["imbalance"].value == pytest.approx(relative)


def test_representation_licence_age_and_documentation():
    frame = clean(6)
    half = pl.concat([frame.filter(pl.col("group") == "m"), frame.filter(pl.col("group") == "f").head(150)])
    assert codes_of(half, reference=SHARES)["representation"].severity == "high"
    assert "no-license" in codes_of(frame, metadata={})
    assert "stale" in codes_of(frame, metadata={"license": "CC0", "range_to": "2021-05"})
    assert "stale" not in codes_of(frame, metadata={"license": "CC0", "range_to": "2021-06"})
    assert "stale" not in codes_of(frame, metadata={"license": "CC0", "range_to": "1912"}, as_of="")
    assert codes_of(frame, variables={"x0": "said"})["undocumented"].value == 11
