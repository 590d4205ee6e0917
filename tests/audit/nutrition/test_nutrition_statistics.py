"""Statistics of columns: the prototype's rules, mergeability, sketches."""

from __future__ import annotations

import csv
import io
import math
import statistics as reference

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from labelwright.audit.nutrition.settings import Settings
from labelwright.audit.nutrition.sketches import HyperLogLog, SpaceSaving, TDigest
from labelwright.audit.nutrition.statistics import ColumnStatistics, Frequencies, Median, Moments, frequency_row, number_row
from labelwright.audit.nutrition.table import read_table
from labelwright.errors import InputError


def table_of(frame, **options):
    return read_table(frame, scales=options.pop("scales", {}), settings=Settings(**options), seed=0)


def words(values, floor=0):
    stats = ColumnStatistics()
    stats.add(pl.Series(values, dtype=pl.String), numeric=False, count_all=True)
    return frequency_row(stats, floor=floor)


def numbers(values):
    stats = ColumnStatistics()
    stats.add(pl.Series(values, dtype=pl.Float64), numeric=True, count_all=False)
    return stats


# The prototype's table, on rows made so that its published figures must come out ------------------------------------------------


@pytest.fixture(scope="module")
def payments():
    """500 rows with the gaps and counts that the prototype publishes for its sample of Dollars for Docs."""
    products = ["Xarelto"] * 200 + ["Aciphex"] + [f"drug {j}" for j in range(13) for _ in range(21)]
    products += ["drug 12"] * (484 - len(products)) + [None] * 16
    return pl.DataFrame(
        {
            "id": [10_000_000 + i for i in range(487)] + [None] * 13,
            "product_name": products,
            "program_year": [2014] * 495 + [None] * 5,
            "total_amount": [0.14] + [14.0] * 451 + [5000.0] + [None] * 47,
            "number_of_payments": [1] * 476 + [None] * 24,
        }
    )


def test_the_published_rows_come_out(payments):
    table = table_of(payments, scales={"number_of_payments": "discrete"})
    rows = {c.name: number_row(c.statistics, ddof=0) if c.numeric else frequency_row(c.statistics) for c in table.columns}
    assert {c.name: c.scale for c in table.columns} == {
        "id": "ordinal",
        "product_name": "nominal",
        "program_year": "nominal",
        "total_amount": "continuous",
        "number_of_payments": "discrete",
    }
    assert (rows["id"]["unique"], rows["id"]["unique_includes_missing"]) == (488, True)
    assert rows["id"]["most_frequent"] == {"value": "missing value", "count": 13}
    assert f"{rows['id']['missing_percent']:.2f}" == "2.60"
    assert rows["product_name"]["unique"] == 16
    assert rows["product_name"]["most_frequent"] == {"value": "Xarelto", "count": 200}
    assert rows["product_name"]["least_frequent"] == {"value": "Aciphex", "count": 1}
    assert f"{rows['product_name']['missing_percent']:.2f}" == "3.20"
    assert rows["program_year"]["most_frequent"] == {"value": "2014", "count": 495}
    assert rows["program_year"]["least_frequent"] == {"value": "missing value", "count": 5}
    amount = rows["total_amount"]
    assert (amount["count"], amount["min"], amount["median"], amount["max"]) == (500, 0.14, 14.0, 5000.0)
    assert f"{amount['missing_percent']:.2f}" == "9.40"
    assert amount["zeros_percent"] == 0
    ones = rows["number_of_payments"]
    assert (ones["sd"], ones["mean"]) == (0, 1)
    assert f"{ones['missing_percent']:.2f}" == "4.80"


def test_deviation_is_population_by_default_and_sample_on_request():
    stats = numbers([1.0, 2.0, 4.0, None])
    assert number_row(stats, ddof=0)["sd"] == pytest.approx(reference.pstdev([1, 2, 4]))
    assert number_row(stats, ddof=1)["sd"] == pytest.approx(reference.stdev([1, 2, 4]))


def test_zeros_are_numeric_zeros_of_any_spelling():
    column = pl.read_csv(io.StringIO("x\n0\n0.0\n-0.0\n1\n")).get_column("x").to_list()
    assert number_row(numbers(column), ddof=0)["zeros"] == 3


def test_all_unique_shows_nothing():
    row = words(["a", "b", "c"])
    assert (row["most_frequent"], row["least_frequent"]) == ("--", "--")


def test_constant_column_has_no_least():
    row = words(["a", "a"])
    assert row["most_frequent"] == {"value": "a", "count": 2}
    assert row["least_frequent"] == "--"


def test_ties_are_called_multiple():
    row = words(["a", "a", "b", "b", "c"])
    assert row["most_frequent"] == "multiple detected"
    assert row["least_frequent"] == {"value": "c", "count": 1}
    assert words(["a", "a", "b", "c", "c"])["least_frequent"] == {"value": "b", "count": 1}
    assert words(["a", "a", None, None])["most_frequent"] == "multiple detected"


def test_rare_values_of_sensitive_columns_are_not_named():
    row = words(["a"] * 9 + ["b"] * 2, floor=5)
    assert row["most_frequent"] == {"value": "a", "count": 9}
    assert row["least_frequent"] == "fewer than 5 rows"


@given(st.lists(st.one_of(st.none(), st.sampled_from("abcd")), max_size=40))
@settings(max_examples=40, deadline=None)
def test_counts_and_missing_add_up(values):
    stats = ColumnStatistics()
    stats.add(pl.Series(values, dtype=pl.String), numeric=False, count_all=True)
    assert stats.frequencies.table().get_column("count").sum() + stats.missing == len(values)
    assert stats.frequencies.unique() == len({v for v in values if v is not None})


@given(st.lists(st.one_of(st.none(), st.floats(-5, 5), st.just(0.0)), max_size=40))
@settings(max_examples=40, deadline=None)
def test_zeros_and_missing_never_exceed_the_rows(values):
    row = number_row(numbers(values), ddof=0)
    assert row["zeros"] + row["missing"] <= len(values)


# Chunks --------------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_chunking_gives_the_whole(values, cuts):
    array = np.array(values)
    parts = np.split(array, sorted(min(c, len(array)) for c in cuts))
    merged = Moments()
    for part in parts:
        merged = merged.merge(Moments.of(part))
    assert merged.n == len(values)
    assert merged.mean == pytest.approx(math.fsum(values) / len(values), rel=1e-12, abs=1e-12)
    exact = math.fsum((v - math.fsum(values) / len(values)) ** 2 for v in values)
    assert merged.m2 == pytest.approx(exact, rel=1e-11, abs=1e-9)
    assert (merged.low, merged.high) == (min(values), max(values))


def test_variance_survives_a_large_offset():
    # the textbook formula E[x^2] - E[x]^2 loses every digit here
    values = np.array([4.0, 7.0, 13.0, 16.0]) + 1e9
    merged = Moments.of(values[:1]).merge(Moments.of(values[1:]))
    assert merged.m2 / 4 == pytest.approx(22.5, rel=1e-12)


def test_streamed_table_equals_the_frame():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "x": rng.normal(size=500),
            "k": rng.integers(0, 7, 500),
            "w": rng.choice(["a", "b", None], 500).tolist(),
            "id": np.arange(500),
        }
    )
    whole = table_of(frame, pair_rows=100)
    for step in (7, 100, 499):
        chunks = table_of((frame[i : i + step] for i in range(0, 500, step)), pair_rows=100)
        for a, b in zip(whole.columns, chunks.columns, strict=True):
            assert (a.name, a.scale, a.identifier) == (b.name, b.scale, b.identifier)
            if a.numeric:
                x, y = number_row(a.statistics, ddof=0), number_row(b.statistics, ddof=0)
                assert x == pytest.approx(y, rel=1e-12)
            else:
                assert frequency_row(a.statistics) == frequency_row(b.statistics)
        assert chunks.sample.sort("id").equals(whole.sample.sort("id"))


def test_duplicates_in_frames_and_streams():
    frame = pl.DataFrame({"a": [1, 2, 1, None, None], "b": ["x", "y", "x", "z", "z"]})
    whole = table_of(frame)
    assert whole.duplicate_rows == 2
    assert whole.duplicates().tolist() == [2, 4]
    assert table_of(frame[i : i + 2] for i in range(0, 5, 2)).duplicate_rows == 2


def test_chunks_must_share_a_schema():
    with pytest.raises(InputError, match="chunk 1"):
        table_of(iter([pl.DataFrame({"a": [1]}), pl.DataFrame({"b": [1]})]))


# Scales ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "scale", "identifier"),
    [
        ([True, False] * 50, "nominal", False),
        ([1.5, 2.5] * 50, "nominal", False),
        (["a", "b", "c"] * 30, "nominal", False),
        (list(range(100)), "ordinal", True),
        ([1, 2, 3, 4] * 25, "discrete", False),
        ([i // 3 for i in range(300)], "continuous", False),
        ([i / 7 for i in range(100)], "continuous", False),
        ([f"name {i}" for i in range(100)], "nominal", True),
    ],
)
def test_scale_inference(values, scale, identifier):
    (column,) = table_of(pl.DataFrame({"x": values})).columns
    assert (column.scale, column.identifier) == (scale, identifier)


def test_ordered_categories_and_dates_are_ordinal():
    frame = pl.DataFrame(
        {"size": pl.Series(["S", "L"], dtype=pl.Enum(["S", "M", "L"])), "day": pl.Series(["2020-01-01", "2020-01-02"]).str.to_date()}
    )
    assert [c.scale for c in table_of(frame).columns] == ["ordinal", "ordinal"]


def test_scales_are_overruled_by_name_and_refused_by_sense():
    frame = pl.DataFrame({"zip": [12345, 12345, 99999] * 10, "w": ["a"] * 30})
    assert table_of(frame, scales={"zip": "ordinal"}).by_name["zip"].scale == "ordinal"
    with pytest.raises(InputError, match="no numbers"):
        table_of(frame, scales={"w": "continuous"})
    with pytest.raises(InputError, match="Did you mean 'zip'"):
        table_of(frame, scales={"zipp": "ordinal"})


# Sketches --------------------------------------------------------------------------------------------------------------------------


def test_median_is_exact_until_it_does_not_fit():
    values = np.random.default_rng(0).lognormal(size=20_000)
    exact, sketched = Median(), Median(limit=1000)
    for part in np.split(values, 10):
        exact.add(part)
        sketched.add(part)
    assert exact.value() == np.median(values)
    assert not sketched.exact
    rank = (values < sketched.value()).mean()
    assert abs(rank - 0.5) < 0.002


def test_digest_is_exact_while_small_and_close_after_merging():
    values = np.random.default_rng(1).normal(size=50_000)
    small = TDigest()
    small.add(values[:100])
    assert small.quantile(0.3) == pytest.approx(np.quantile(values[:100], 0.3))
    parts = [TDigest() for _ in range(5)]
    for digest, part in zip(parts, np.split(values, 5), strict=True):
        digest.add(part)
    for digest in parts[1:]:
        parts[0].merge(digest)
    for q in (0.001, 0.25, 0.5, 0.99):
        assert abs((values < parts[0].quantile(q)).mean() - q) < 0.002
    assert parts[0].weights.sum() == 50_000


def test_distinct_count_is_within_three_standard_errors():
    hashes = pl.Series(np.arange(300_000)).hash(seed=0).to_numpy()
    whole, left, right = HyperLogLog(), HyperLogLog(), HyperLogLog()
    whole.add(hashes)
    left.add(hashes[:200_000])
    right.add(hashes[100_000:])
    left.merge(right)
    assert abs(whole.count() / 300_000 - 1) < 3 * 1.04 / 128
    assert (left.registers == whole.registers).all()
    few = HyperLogLog()
    few.add(hashes[:1000])
    assert abs(few.count() - 1000) < 25


def test_heavy_values_are_kept_with_bounds():
    rng = np.random.default_rng(0)
    values = rng.zipf(1.5, 20_000).astype(str)
    sketch = SpaceSaving(50)
    for part in np.split(values, 20):
        keys, counts = np.unique(part, return_counts=True)
        sketch.add(keys.tolist(), counts.tolist())
    truth = dict(zip(*np.unique(values, return_counts=True), strict=True))
    for value, (count, excess) in sketch.counts.items():
        assert count - excess <= truth[value] <= count
    assert sketch.top()[0] == max(truth, key=truth.get)
    assert all(n <= sketch.floor for v, n in truth.items() if v not in sketch.counts)


def test_frequencies_go_over_to_sketches_past_the_limit():
    names = [f"v{i}" for i in range(5000)] + ["often"] * 700
    exact, sketched = Frequencies(), Frequencies(limit=1000)
    for start in range(0, len(names), 500):
        for f in (exact, sketched):
            f.add(pl.Series(names[start : start + 500]))
    assert exact.unique() == 5001
    assert abs(sketched.unique() / 5001 - 1) < 0.03
    assert not sketched.exact
    assert sketched.table().row(0)[0] == "often"


def test_numbers_read_from_a_csv_agree_with_the_standard_library():
    text = "a,b\n" + "\n".join(f"{i * 1.5 - 20},{'' if i % 4 == 0 else i * i}" for i in range(60))
    rows = list(csv.DictReader(io.StringIO(text)))
    table = table_of(pl.read_csv(io.StringIO(text)))
    for name in ("a", "b"):
        values = [float(r[name]) for r in rows if r[name] != ""]
        row = number_row(table.by_name[name].statistics, ddof=0)
        assert row["mean"] == pytest.approx(reference.fmean(values), rel=1e-12)
        assert row["sd"] == pytest.approx(reference.pstdev(values), rel=1e-12)
        assert row["median"] == reference.median(values)
        assert row["missing"] == 60 - len(values)


def test_infinities_are_counted_apart():
    row = number_row(numbers([1.0, math.inf, 3.0]), ddof=0)
    assert (row["mean"], row["max"], row["infinite"]) == (2.0, 3.0, 1)
