"""Columns as small integer codes, computed once: what pair plots, dependence and the tree model work on.

A numeric column is cut by the Freedman-Diaconis rule into at most `bins` bins (its own values where there are no more); a nominal
one keeps its most frequent `categories`, the rest become "other". Missing cells have the last code of their own.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from labelwright.audit.nutrition.table import Column

__all__ = ["Coded", "code_column", "encode", "freedman_diaconis", "quantile_edges"]

OTHER = "other"


@dataclass(frozen=True)
class Coded:
    """A coded column: `codes` int16 (N,) in [0, size], where `size` (the last state) is missing; `labels` of the `size` states.

    `edges` float (size + 1,) bound the bins of a numeric column; None for categories and for numbers that are their own bins.
    `points` are the bins that are values of their own. `series` are a numeric column's cells as they came; None for categories.
    """

    name: str
    codes: np.ndarray
    labels: tuple[str, ...]
    edges: np.ndarray | None = None
    points: np.ndarray | None = None
    series: pl.Series | None = None
    has_other: bool = False

    @property
    def is_numeric(self) -> bool:
        return self.series is not None

    @property
    def values(self) -> np.ndarray | None:
        """The numbers as float64 (N,), NaN where missing; None for categories. Not kept: a float column is a view of its cells."""
        return None if self.series is None else _numbers(self.series)

    @property
    def size(self) -> int:
        return len(self.labels)

    @property
    def missing(self) -> np.ndarray:
        return self.codes == self.size


def freedman_diaconis(values: np.ndarray, *, most: int) -> np.ndarray:
    """Equal-width edges by the rule h = 2 IQR / n^(1/3), at least 1 and at most `most` bins; (bins + 1,)."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.array([low, np.nextafter(high, math.inf)])
    quarter, three = np.quantile(values, [0.25, 0.75])
    width = 2 * (three - quarter) / len(values) ** (1 / 3)
    bins = most if width <= 0 else int(min(most, max(1, math.ceil((high - low) / width))))
    return np.linspace(low, high, bins + 1)


def quantile_edges(values: np.ndarray, *, most: int) -> np.ndarray:
    """Edges of at most `most` bins with about equal counts; repeated quantiles merge."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, most + 1)))
    return edges if len(edges) > 1 else np.array([edges[0], np.nextafter(edges[0], math.inf)])


def _numbers(values: pl.Series) -> np.ndarray:
    """float64 with NaN for missing; a view where the series is that already."""
    return values.cast(pl.Float64).to_numpy()


def _number(x: float) -> str:
    return f"{x:.6g}"


def code_column(column: Column, values: pl.Series, *, bins: int, categories: int, quantiles: bool = False, spare: bool = False) -> Coded:
    """Code one column of a sample.

    `quantiles` cuts numbers at quantiles instead of equal widths; `spare` gives words the state "other" even when none falls in it.
    """
    if not column.numeric:
        return _code_words(column.name, values, categories, spare)
    numbers = _numbers(values)
    shown = numbers[np.isfinite(numbers)]
    empty = np.zeros(0, dtype=np.int16)
    if not len(shown):
        return Coded(column.name, np.zeros(len(numbers), dtype=np.int16), (), series=values)
    own = np.unique(shown[:5000])  # a cheap look first: most columns have more values than bins among these
    own = np.unique(shown) if len(own) <= bins else own
    if len(own) <= bins:
        coded = Coded(column.name, empty, tuple(_number(x) for x in own), points=own, series=values)
    else:
        edges = quantile_edges(shown, most=bins) if quantiles else freedman_diaconis(shown, most=bins)
        labels = tuple(f"{_number(a)} to {_number(b)}" for a, b in itertools.pairwise(edges))
        coded = Coded(column.name, empty, labels, edges=edges, series=values)
    return replace(coded, codes=encode(coded, values))


def _code_words(name: str, values: pl.Series, categories: int, spare: bool) -> Coded:
    words = values.cast(pl.String).alias("value")
    table = words.drop_nulls().value_counts(name="count").sort(["count", "value"], descending=[True, False])
    labels = table.get_column("value").head(categories).to_list()
    if table.height > categories or spare:
        labels.append(OTHER if OTHER not in labels else "(other values)")
    coded = Coded(name, np.zeros(0, dtype=np.int16), tuple(labels), has_other=table.height > categories or spare)
    return replace(coded, codes=encode(coded, values))


def encode(coded: Coded, values: pl.Series) -> np.ndarray:
    """Codes of further `values` of the same column, int16 (N,); values never seen become "other", or missing where there is none."""
    if not coded.is_numeric:
        return _encode_words(coded, values)
    numbers = _numbers(values)
    present = np.isfinite(numbers) & (coded.size > 0)
    codes = np.full(len(numbers), coded.size, dtype=np.int16)
    shown = numbers[present]
    if coded.points is not None:
        right = np.clip(np.searchsorted(coded.points, shown), 1, max(1, coded.size - 1))
        left = coded.points[right - 1]
        nearest = right - (np.abs(shown - left) <= np.abs(coded.points[np.minimum(right, coded.size - 1)] - shown))
        codes[present] = nearest
    elif coded.edges is not None:
        codes[present] = np.clip(np.searchsorted(coded.edges, shown, side="right") - 1, 0, coded.size - 1)
    return codes


def _encode_words(coded: Coded, values: pl.Series) -> np.ndarray:
    known = list(coded.labels[:-1] if coded.has_other else coded.labels)
    unseen = len(known)  # the state "other" if there is one, else missing
    words = values.cast(pl.String)
    found = np.full(len(words), unseen, dtype=np.int16)
    if known:
        codes = words.replace_strict(known, list(range(len(known))), default=unseen, return_dtype=pl.Int64)
        found = codes.fill_null(0).to_numpy().astype(np.int16)
    found[words.is_null().to_numpy()] = coded.size
    return found
