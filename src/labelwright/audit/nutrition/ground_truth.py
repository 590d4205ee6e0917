"""Ground-truth module: how the data agree with a reference population.

Units (areas, say) are joined by a key; each measure of the data, as a total and per person, is correlated with each reference
variable over the joined units:

    r = cov / (sd sd),   interval tanh(atanh r ± 1.96 / sqrt(n - 3))  (Fisher),   q by Benjamini and Hochberg over all pairs

Group shares are compared as ``share in the data - share in the reference`` with the total variation distance 0.5 sum |p - q|.
A correlation over areas says nothing about persons, and the reference is not the truth either: the module says both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t as student

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.intervals import normal_quantile
from labelwright.stats.tests import benjamini_hochberg

__all__ = ["Reference", "correlate", "fisher_interval", "ground_truth_module", "q_values", "shares_of", "total_variation"]

CAVEAT = (
    "Correlations over areas or other groups say nothing about single persons (ecological fallacy), and the reference data "
    "have errors of their own: agreement is no proof, disagreement is a question."
)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What to compare with.

    `table` has one row a unit with the column `key` (same name in the data unless `data_key` says otherwise). `measures` are numeric
    columns of the data that are summed over a unit's rows; the number of rows is always a measure. `population` is the column of
    `table` that turns totals into rates. `shares` gives reference shares by group: column → {value: share}; they are normalised.
    """

    table: Any = None
    key: str = ""
    data_key: str = ""
    measures: tuple[str, ...] = ()
    population: str = ""
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    name: str = "reference"

    def __post_init__(self) -> None:
        if self.table is not None and not self.key:
            raise InputError("A reference table needs the name of its key column.", hint="Pass key=.")
        for column, groups in self.shares.items():
            values = np.array([float(v) for v in groups.values()])
            if not len(values) or (values < 0).any() or not np.isfinite(values).all() or values.sum() <= 0:
                raise InputError(f"reference shares of {column!r} must be non-negative numbers with a positive sum; got {dict(groups)}.")


def fisher_interval(r: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of a correlation over `n` units; the whole of [-1, 1] for n <= 3."""
    if n <= 3 or not math.isfinite(r):
        return -1.0, 1.0
    if abs(r) >= 1:
        return r, r
    half = normal_quantile(level) / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def q_values(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg q-values (K,) of the p-values that are defined; NaN stays NaN."""
    q = np.full(len(p), np.nan)
    known = np.isfinite(p)
    q[known] = benjamini_hochberg(p[known])
    return q


def total_variation(p: Sequence[float] | np.ndarray, q: Sequence[float] | np.ndarray) -> float:
    """0.5 sum |p - q| of two distributions over the same groups, in [0, 1]."""
    a, b = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    check.same_shape(p=a, q=b)
    return float(0.5 * np.abs(a - b).sum())


def correlate(x: np.ndarray, y: np.ndarray) -> tuple[float, int, float]:
    """Pearson's r over the pairs where both are finite, their number, and the two-sided p-value; NaN where undefined."""
    both = np.isfinite(x) & np.isfinite(y)
    n = int(both.sum())
    a, b = x[both], y[both]
    if n < 3:
        return math.nan, n, math.nan
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    if scale == 0:
        return math.nan, n, math.nan
    r = min(1.0, max(-1.0, float(a @ b) / scale))
    if abs(r) == 1:
        return r, n, 0.0
    return r, n, float(2 * student.sf(abs(r) * math.sqrt((n - 2) / (1 - r * r)), n - 2))


def shares_of(table: pl.DataFrame, column: str, *, weight: str | None = None) -> dict[str, float]:
    """Shares of the values of `column` in a person-level reference table, weighted by `weight`; to be given as ``Reference.shares``."""
    check.known_word("column", column, table.columns, place="the reference table")
    amount = pl.len().cast(pl.Float64) if weight is None else pl.col(weight).sum().cast(pl.Float64)
    rows = (
        table.drop_nulls(column)
        .group_by(pl.col(column).cast(pl.String).alias("value"), maintain_order=True)
        .agg(amount.alias("amount"))
        .sort("value")
    )
    total = rows.get_column("amount").sum()
    return {v: a / total for v, a in rows.iter_rows()}


def _correlations(frame: pl.DataFrame, reference: Reference) -> dict[str, Any]:
    table = reference.table if isinstance(reference.table, pl.DataFrame) else pl.DataFrame(reference.table)
    data_key = reference.data_key or reference.key
    check.known_word("key", reference.key, table.columns, place="the reference table")
    check.known_word("key", data_key, frame.columns, place="the data")
    for measure in reference.measures:
        check.known_word("measure", measure, frame.columns, place="the data")
    keys = table.get_column(reference.key).cast(pl.String)
    if keys.n_unique() < len(keys):
        raise InputError(f"key {reference.key!r} of the reference table repeats; it must name each unit once.")
    totals = [pl.col(m).cast(pl.Float64).sum().alias(f"total {m}") for m in reference.measures]
    units = (
        frame.drop_nulls(data_key)
        .group_by(pl.col(data_key).cast(pl.String).alias("__key"), maintain_order=True)
        .agg(pl.len().cast(pl.Float64).alias("rows"), *totals)
        .sort("__key")
    )
    joined = units.join(table.with_columns(keys.alias("__key")), on="__key", how="inner", suffix=" (reference)", maintain_order="left")
    measures = ["rows", *(f"total {m}" for m in reference.measures)]
    values = {m: joined.get_column(m).to_numpy() for m in measures}
    if reference.population:
        check.known_word("population", reference.population, table.columns, place="the reference table")
        people = joined.get_column(reference.population).cast(pl.Float64).fill_null(math.nan).to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            values |= {f"{m} per person": np.where(people > 0, v / people, np.nan) for m, v in values.items()}
    rows = []
    for variable in table.columns:
        dtype = table.schema[variable]
        if variable == reference.key or not dtype.is_numeric():
            continue
        name = variable if variable in joined.columns and variable not in units.columns else f"{variable} (reference)"
        y = joined.get_column(name).cast(pl.Float64).fill_null(math.nan).to_numpy()
        inside = y[np.isfinite(y)]
        # counts and fractions differ in sign and meaning: they are kept apart in every table and plot
        kind = "fraction" if len(inside) and inside.min() >= 0 and inside.max() <= 1 and dtype.is_float() else "count"
        for measure, x in values.items():
            r, n, p = correlate(x, y)
            low, high = fisher_interval(r, n)
            rows.append({"measure": measure, "variable": variable, "kind": kind, "r": r, "n": n, "low": low, "high": high, "p": p})
    for row, q in zip(rows, q_values(np.array([row["p"] for row in rows])), strict=True):
        row["q"] = q
    covered = frame.get_column(data_key).cast(pl.String).is_in(keys.to_list()).sum()
    return {
        "key": data_key,
        "units": units.height,
        "units_joined": joined.height,
        "units_unjoined": units.height - joined.height,
        "reference_units_absent": table.height - joined.height,
        "rows_joined": int(covered or 0),
        "row_coverage": float(covered or 0) / frame.height if frame.height else 0.0,
        "correlations": rows,
    }


def _representation(frame: pl.DataFrame, reference: Reference) -> list[dict[str, Any]]:
    out = []
    for column, given in reference.shares.items():
        check.known_word("group column", column, frame.columns, place="the data")
        counts = dict(frame.get_column(column).drop_nulls().cast(pl.String).alias("value").value_counts(name="count").iter_rows())
        total, norm = sum(counts.values()), sum(float(v) for v in given.values())
        groups = sorted({*counts, *map(str, given)})
        shares = {g: counts.get(g, 0) / total if total else 0.0 for g in groups}
        expected = {str(g): float(v) / norm for g, v in given.items()}
        rows = [
            {
                "group": g,
                "share": shares[g],
                "reference": expected.get(g, 0.0),
                "gap": shares[g] - expected.get(g, 0.0),
                "count": counts.get(g, 0),
            }
            for g in groups
        ]
        distance = total_variation([row["share"] for row in rows], [row["reference"] for row in rows])
        out.append({"column": column, "n": total, "missing": frame.height - total, "total_variation": distance, "groups": rows})
    return out


def ground_truth_module(frame: pl.DataFrame, reference: Reference) -> dict[str, Any]:
    """Data of the module: coverage of the join, correlations with intervals and q-values, representation gaps.

    Raises
    ------
    InputError
        If a column is absent, or the key of the reference table repeats.
    """
    made: dict[str, Any] = {
        "reference": reference.name,
        "caveat": CAVEAT,
        "join": None,
        "representation": _representation(frame, reference),
    }
    if reference.table is not None:
        made["join"] = _correlations(frame, reference)
    return made
