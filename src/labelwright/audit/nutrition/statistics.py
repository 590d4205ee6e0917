"""Statistics of columns in one pass over chunks, mergeable: any chunking gives the whole table's result.

Counts are exact. Mean and squared deviations follow Chan, Golub and LeVeque (1983):

    mean = mean_a + d n_b / n,   M2 = M2_a + M2_b + d^2 n_a n_b / n,   d = mean_b - mean_a

The median is exact while a column's numbers fit (`EXACT_VALUES`), from a t-digest beyond; frequencies are exact up to
`EXACT_DISTINCT` distinct values, from SpaceSaving and HyperLogLog beyond. What was estimated says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from labelwright.audit.nutrition.sketches import HyperLogLog, SpaceSaving, TDigest

__all__ = ["MISSING", "ColumnStatistics", "Frequencies", "Median", "Moments", "frequency_row", "number_row"]

EXACT_VALUES = 2_000_000  # 16 MB a column
EXACT_DISTINCT = 1_000_000
HEAVY = 10_000  # values SpaceSaving keeps
FEW = 50  # an integer column with no more values is discrete; a float column is not counted beyond
EXACT_INTEGERS = 2**53  # floats beyond have no fraction; their digits are not all meant
MISSING = "missing value"
MULTIPLE = "multiple detected"
NOTHING = "--"


@dataclass
class Moments:
    """Count, zeros, extremes, mean and sum of squared deviations of finite numbers."""

    n: int = 0
    zeros: int = 0
    infinite: int = 0
    low: float = math.inf
    high: float = -math.inf
    mean: float = 0.0
    m2: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Of float64 values without NaN; infinities are counted and left out."""
        finite = np.isfinite(values)
        infinite = int(len(values) - finite.sum())
        if infinite:
            values = values[finite]
        if not len(values):
            return cls(infinite=infinite)
        mean = float(values.mean())
        deviation = values - mean
        # the second term takes out what rounding of the mean left behind (Chan, Golub, LeVeque, eq. 1.7)
        m2 = float(deviation @ deviation) - float(deviation.sum()) ** 2 / len(values)
        return cls(len(values), int((values == 0).sum()), infinite, float(values.min()), float(values.max()), mean, max(m2, 0.0))

    def merge(self, other: Moments) -> Moments:
        """The moments of both together."""
        n = self.n + other.n
        infinite = self.infinite + other.infinite
        if not n:
            return Moments(infinite=infinite)
        d = other.mean - self.mean
        return Moments(
            n,
            self.zeros + other.zeros,
            infinite,
            min(self.low, other.low),
            max(self.high, other.high),
            self.mean + d * other.n / n,
            self.m2 + other.m2 + d * d * self.n * other.n / n,
        )

    def deviation(self, ddof: int) -> float:
        """Standard deviation; NaN without enough values."""
        return math.sqrt(self.m2 / (self.n - ddof)) if self.n > ddof else math.nan


class Median:
    """The median of a stream of floats: exact up to `limit` values, from a t-digest beyond."""

    def __init__(self, limit: int = EXACT_VALUES) -> None:
        self.limit = limit
        self.parts: list[np.ndarray] = []
        self.held = 0
        self.digest: TDigest | None = None
        self.result: float | None = None

    def add(self, values: np.ndarray) -> None:
        """Add finite float64 values."""
        if self.digest is None and self.held + len(values) <= self.limit:
            self.parts.append(values)
            self.held += len(values)
            return
        self._overflow().add(values)

    def merge(self, other: Median) -> None:
        """Add another stream."""
        for part in other.parts:
            self.add(part)
        if other.digest is not None:
            self._overflow().merge(other.digest)

    def _overflow(self) -> TDigest:
        if self.digest is None:
            self.digest = TDigest()
            for part in self.parts:
                self.digest.add(part)
            self.parts = []
        return self.digest

    @property
    def exact(self) -> bool:
        return self.digest is None

    def freeze(self) -> None:
        """Keep the result and drop the values; nothing can be added afterwards."""
        self.result, self.parts, self.held = self.value(), [], 0

    def value(self) -> float:
        """The median; NaN when empty."""
        if self.result is not None:
            return self.result
        if self.digest is not None:
            return self.digest.quantile(0.5)
        return float(np.median(np.concatenate(self.parts))) if self.held else math.nan


class Frequencies:
    """Value → count of a column without its missing cells: exact up to `limit` distinct values, sketched beyond."""

    def __init__(self, limit: int = EXACT_DISTINCT) -> None:
        self.limit = limit
        self.parts: list[pl.DataFrame] = []
        self.pending = 0
        self.compact_at = 1 << 16
        self.heavy: SpaceSaving | None = None
        self.distinct: HyperLogLog | None = None

    def add(self, values: pl.Series) -> None:
        """Add a series without nulls."""
        if len(values):
            self._take(values.alias("value").value_counts(name="count").with_columns(pl.col("count").cast(pl.Int64)))

    def merge(self, other: Frequencies) -> None:
        """Add another column's frequencies."""
        for part in other.parts:
            self._take(part)
        if other.heavy is not None and other.distinct is not None:
            heavy, distinct = self._overflow()
            heavy.merge(other.heavy)
            distinct.merge(other.distinct)

    def _take(self, part: pl.DataFrame) -> None:
        if self.heavy is None:
            self.parts.append(part)
            self.pending += part.height
            if self.pending > self.compact_at:
                self._compact()
        else:
            self._sketch(part)

    def _compact(self) -> None:
        if len(self.parts) > 1:
            merged = pl.concat(self.parts, how="vertical_relaxed").group_by("value").agg(pl.col("count").sum())
            self.parts = [merged]
        self.pending = sum(p.height for p in self.parts)
        self.compact_at = max(1 << 16, 2 * self.pending)
        if self.pending > self.limit:
            self._overflow()

    def _overflow(self) -> tuple[SpaceSaving, HyperLogLog]:
        if self.heavy is None or self.distinct is None:
            self.heavy, self.distinct = SpaceSaving(HEAVY), HyperLogLog()
            for part in self.parts:
                self._sketch(part)
            self.parts, self.pending = [], 0
        return self.heavy, self.distinct

    def _sketch(self, part: pl.DataFrame) -> None:
        heavy, distinct = self._overflow()
        words = part.select(pl.col("value").cast(pl.String), "count")
        distinct.add(words.get_column("value").hash(seed=0).to_numpy())
        most = words.sort(["count", "value"], descending=[True, False]).head(HEAVY)
        left_out = words.height - most.height
        chunk = SpaceSaving(HEAVY)
        chunk.add(most.get_column("value").to_list(), most.get_column("count").to_list())
        chunk.floor = int(most.get_column("count").min()) if left_out else 0  # type: ignore[arg-type]
        heavy.merge(chunk)

    @property
    def exact(self) -> bool:
        return self.heavy is None

    def table(self) -> pl.DataFrame:
        """value, count: most frequent first, ties by value; of the kept values only when not exact."""
        if self.heavy is not None:
            rows = {v: c for v, (c, _) in self.heavy.counts.items()}
            return pl.DataFrame({"value": list(rows), "count": list(rows.values())}, schema={"value": pl.String, "count": pl.Int64})
        self._compact()
        if self.heavy is not None:
            return self.table()
        if not self.parts:
            return pl.DataFrame(schema={"value": pl.String, "count": pl.Int64})
        return self.parts[0].sort(["count", "value"], descending=[True, False])

    def unique(self) -> int:
        """Distinct values, estimated when not exact."""
        if self.exact:
            self._compact()
        return self.distinct.count() if self.distinct is not None else self.pending


@dataclass
class ColumnStatistics:
    """Everything one pass learns of a column, before its scale is known. Numbers fill all three parts, words only the last."""

    rows: int = 0
    missing: int = 0
    moments: Moments = field(default_factory=Moments)
    median: Median = field(default_factory=Median)
    frequencies: Frequencies = field(default_factory=Frequencies)
    counted: bool = True  # False once a float column has shown more than FEW values

    def add(self, values: pl.Series, *, numeric: bool, count_all: bool) -> None:
        """Add a chunk whose missing cells are null; `count_all` False stops counting values of floats beyond FEW."""
        self.rows += len(values)
        self.missing += values.null_count()
        present = values.drop_nulls()
        if numeric:
            numbers = present.cast(pl.Float64).to_numpy()
            moments = Moments.of(numbers)
            self.moments = self.moments.merge(moments)
            self.median.add(numbers[np.isfinite(numbers)] if moments.infinite else numbers)
            if self.counted and not count_all:
                self._count_few(present)
                return
        if self.counted:
            self.frequencies.add(present)

    def _count_few(self, present: pl.Series) -> None:
        if present.head(1000).n_unique() <= FEW:  # the head decides cheaply for nearly every float column
            self.frequencies.add(present)
            if self.frequencies.unique() <= FEW:
                return
        self.counted, self.frequencies = False, Frequencies()

    def merge(self, other: ColumnStatistics) -> None:
        """Add another part of the same column."""
        self.rows += other.rows
        self.missing += other.missing
        self.moments = self.moments.merge(other.moments)
        self.median.merge(other.median)
        self.counted = self.counted and other.counted
        if self.counted:
            self.frequencies.merge(other.frequencies)
        else:
            self.frequencies = Frequencies()

    @property
    def present(self) -> int:
        return self.rows - self.missing


def percent(part: int, whole: int) -> float:
    """100 part / whole, 0 of nothing."""
    return 100 * part / whole if whole else 0.0


def _shown(value: Any) -> str:
    """A value in words: whole floats as integers, other floats with every digit that tells them apart."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT_INTEGERS else repr(value)
    return str(value)


def frequency_row(stats: ColumnStatistics, *, floor: int = 0) -> dict[str, Any]:
    """Row of the nominal or ordinal table: count, unique, most and least frequent value, missing share.

    A missing cell counts as one more value. Counts below `floor` (sensitive columns) hide the value.
    """
    n, missing = stats.rows, stats.missing
    table, unique = stats.frequencies.table(), stats.frequencies.unique() + (missing > 0)
    counts = table.get_column("count").to_numpy()
    row: dict[str, Any] = {
        "count": n,
        "unique": unique,
        "unique_includes_missing": missing > 0,
        "exact": stats.frequencies.exact,
        "missing": missing,
        "missing_percent": percent(missing, n),
    }
    ends: dict[str, Any] = {}
    for name, pick in (("most_frequent", max), ("least_frequent", min)):
        extreme = pick([*([int(counts[0]), int(counts[-1])] if len(counts) else []), *([missing] if missing else [])], default=0)
        holders = int((counts == extreme).sum()) + (missing == extreme and missing > 0)
        if unique == 0 or unique == n or (name == "least_frequent" and unique == 1):
            ends[name] = NOTHING
        elif holders > 1:
            ends[name] = MULTIPLE
        else:
            held = MISSING if missing == extreme else _shown(table.get_column("value")[int((counts == extreme).argmax())])
            ends[name] = f"fewer than {floor} rows" if extreme < floor else {"value": held, "count": extreme}
    if not stats.frequencies.exact:
        ends["least_frequent"] = NOTHING  # a sketch keeps frequent values only
    return row | ends


def number_row(stats: ColumnStatistics, *, ddof: int) -> dict[str, Any]:
    """Row of the continuous or discrete table: count = rows, the rest over the numbers that are present."""
    m = stats.moments
    has = m.n > 0
    return {
        "count": stats.rows,
        "min": m.low if has else None,
        "median": stats.median.value() if has else None,
        "median_exact": stats.median.exact,
        "max": m.high if has else None,
        "mean": m.mean if has else None,
        "sd": m.deviation(ddof) if m.n > ddof else None,
        "missing": stats.missing,
        "missing_percent": percent(stats.missing, stats.rows),
        "zeros": m.zeros,
        "zeros_percent": percent(m.zeros, stats.rows),
        "infinite": m.infinite,
    }
