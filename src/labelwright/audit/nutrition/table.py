"""One pass over a table, whole or in chunks: column statistics, scales, a uniform sample of rows, duplicated rows."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from labelwright import check
from labelwright.audit.nutrition.settings import SCALES, Scale, Settings
from labelwright.audit.nutrition.statistics import FEW, ColumnStatistics
from labelwright.errors import InputError

__all__ = ["Column", "Table", "infer_scale", "read_table"]

CHUNK_ROWS = 1 << 17
IDENTIFIER_SHARE = 0.9  # share of distinct values from which an integer column is taken for an identifier
IDENTIFIER_ROWS = 20  # fewer rows say nothing about that
HASHED_ROWS = 10_000_000  # row hashes held to find duplicates in a stream: 80 MB
CACHE_COLUMNS = 512
CACHE_DISTINCT = 10_000  # a column with more values is not remembered: its table of counts would be

_cache: OrderedDict[tuple[str, tuple[Any, ...]], ColumnStatistics] = OrderedDict()


@dataclass(frozen=True)
class Column:
    """A column: its name, dtype word, scale of measurement, whether it identifies rows, and what the pass learned."""

    name: str
    dtype: str
    scale: Scale
    identifier: bool
    statistics: ColumnStatistics = field(repr=False, compare=False)

    @property
    def numeric(self) -> bool:
        """Measured on a continuous or discrete scale."""
        return self.scale in ("continuous", "discrete")


def infer_scale(stats: ColumnStatistics, dtype: pl.DataType) -> tuple[Scale, bool]:
    """Scale of measurement and whether the column looks like an identifier.

    bool or at most 2 values → nominal; words → nominal (ordered categories, dates → ordinal); integers: distinct share above 0.9 →
    ordinal identifier, at most 50 values → discrete, otherwise continuous; floats → continuous.
    """
    distinct = stats.frequencies.unique() if stats.counted else FEW + 1
    many = stats.present >= IDENTIFIER_ROWS and distinct > IDENTIFIER_SHARE * stats.present
    if dtype.is_temporal() or isinstance(dtype, pl.Enum):
        return "ordinal", False
    if not dtype.is_numeric():
        return "nominal", many
    if distinct <= 2:
        return "nominal", False
    if dtype.is_integer():
        if many:
            return "ordinal", True
        return ("discrete" if distinct <= FEW else "continuous"), False
    return "continuous", False


def _plain_columns(frame: pl.DataFrame, missing_values: Sequence[str]) -> pl.DataFrame:
    """Missing words as null; columns that have no words of their own (lists, bytes, structs) as fingerprints.

    NaN stays: a table of floats would be copied whole otherwise. `_cells` gives a column without it.
    """
    changes: list[Any] = []
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if dtype == pl.String:
            if missing_values and frame.get_column(name).is_in(list(missing_values)).any():
                changes.append(pl.when(column.is_in(list(missing_values))).then(None).otherwise(column).alias(name))
        elif dtype == pl.Null:
            changes.append(column.cast(pl.String))
        elif dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            cells = frame.get_column(name)
            marks = [str(v) for v in cells] if dtype == pl.Object else [format(h, "016x") for h in cells.hash(seed=0)]
            words = [None if gone else mark for mark, gone in zip(marks, cells.is_null(), strict=True)]
            changes.append(pl.Series(name, words, dtype=pl.String))
        elif isinstance(dtype, pl.Categorical):
            changes.append(column.cast(pl.String))
    return frame.with_columns(changes) if changes else frame


def _cells(values: pl.Series) -> pl.Series:
    """A column with NaN as null."""
    return values.fill_nan(None) if values.dtype.is_float() and values.is_nan().any() else values


@dataclass
class Table:
    """What one pass over a table gives; `sample` holds at most ``settings.pair_rows`` rows, `frame` the whole table unless streamed."""

    columns: tuple[Column, ...]
    rows: int
    sample: pl.DataFrame
    frame: pl.DataFrame | None
    duplicate_rows: int | None
    sampled: bool

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {c.name: c for c in self.columns}

    @cached_property
    def missing_cells(self) -> int:
        return sum(c.statistics.missing for c in self.columns)

    def duplicates(self) -> np.ndarray:
        """Positions of rows that repeat an earlier row, ascending; empty for a stream."""
        return np.empty(0, dtype=np.int64) if self.frame is None else _repeated(self.frame)


def _repeated(frame: pl.DataFrame) -> np.ndarray:
    """Positions of rows equal to an earlier one: rows whose hashes repeat are compared in full."""
    hashes = frame.hash_rows(seed=0).to_numpy()
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(counts[inverse] > 1)
    if not len(suspects):
        return suspects
    first = frame[suspects].select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    return suspects[~first]


def _words_of(values: pl.Series) -> pl.Series:
    return values.cast(pl.String) if isinstance(values.dtype, pl.Enum) or values.dtype.is_temporal() else values


def _column_statistics(values: pl.Series, *, count_floats: bool) -> ColumnStatistics:
    """Statistics of one column held whole, remembered by content."""
    values = _cells(values)
    hasher = hashlib.blake2b(digest_size=16)
    hasher.update(f"{values.dtype}{len(values)}".encode())
    hasher.update(values.hash(seed=0).to_numpy().tobytes())
    key = (hasher.hexdigest(), (count_floats,))
    if key not in _cache:
        stats = ColumnStatistics()
        numeric = values.dtype.is_numeric()
        for start in range(0, max(len(values), 1), CHUNK_ROWS):
            part = values[start : start + CHUNK_ROWS]
            stats.add(part if numeric else _words_of(part), numeric=numeric, count_all=count_floats or not values.dtype.is_float())
        stats.median.freeze()
        if stats.frequencies.unique() > CACHE_DISTINCT:
            return stats
        _cache[key] = stats
        while len(_cache) > CACHE_COLUMNS:
            _cache.popitem(last=False)
    _cache.move_to_end(key)
    return _cache[key]


def read_table(data: pl.DataFrame | Iterable[pl.DataFrame], *, scales: Mapping[str, str], settings: Settings, seed: int) -> Table:
    """Make the one pass.

    Parameters
    ----------
    data
        A frame, or an iterable of frames with equal columns (read once, never held together).
    scales
        Column → nominal, ordinal, discrete or continuous, where the inference is to be overruled.

    Raises
    ------
    InputError
        If there is no column, names repeat between chunks in another order, or `scales` names an unknown column or scale, or
        asks numbers of a column of words.
    """
    if isinstance(data, pl.DataFrame):
        table = _read_frame(_plain_columns(data, settings.missing_values), scales, settings, seed)
    else:
        table = _read_chunks(iter(data), scales, settings, seed)
    return table


def _check_scales(scales: Mapping[str, str], schema: Mapping[str, pl.DataType]) -> None:
    for name, scale in scales.items():
        check.known_word("scale of column", name, schema, place="the table")
        check.one_of(f"scale of {name!r}", scale, SCALES)
        if scale in ("continuous", "discrete") and not schema[name].is_numeric():
            raise InputError(
                f"column {name!r} holds {schema[name]}, which has no numbers.", hint="Cast it to a number first, or call it nominal."
            )


def _count_floats(name: str, scales: Mapping[str, str]) -> bool:
    return scales.get(name) in ("nominal", "ordinal")


def _columns(schema: Mapping[str, pl.DataType], stats: Mapping[str, ColumnStatistics], scales: Mapping[str, str]) -> tuple[Column, ...]:
    made = []
    for name, dtype in schema.items():
        scale, identifier = infer_scale(stats[name], dtype)
        if name in scales:
            # a named scale overrules the guess; a nominal or ordinal column may still identify rows
            identifier = identifier and scales[name] in ("nominal", "ordinal")
            scale = scales[name]  # type: ignore[assignment]
        made.append(Column(name, str(dtype), scale, identifier, stats[name]))
    return tuple(made)


def _read_frame(frame: pl.DataFrame, scales: Mapping[str, str], settings: Settings, seed: int) -> Table:
    if not frame.width:
        raise InputError("The table has no columns.")
    _check_scales(scales, frame.schema)
    stats = {n: _column_statistics(frame.get_column(n), count_floats=_count_floats(n, scales)) for n in frame.columns}
    sample, sampled = frame, frame.height > settings.pair_rows
    if sampled:
        keys = np.random.default_rng(seed).random(frame.height)
        sample = frame[np.sort(np.argpartition(keys, settings.pair_rows)[: settings.pair_rows])]
    duplicates = len(_repeated(frame)) if frame.height else 0
    return Table(_columns(frame.schema, stats, scales), frame.height, sample, frame, duplicates, sampled)


def _read_chunks(chunks: Iterator[pl.DataFrame], scales: Mapping[str, str], settings: Settings, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    stats: dict[str, ColumnStatistics] = {}
    schema: dict[str, pl.DataType] = {}
    kept, kept_keys, hashes, rows = None, np.empty(0), [], 0
    for number, raw in enumerate(chunks):
        chunk = _plain_columns(raw, settings.missing_values)
        if not schema:
            schema = dict(chunk.schema)
            _check_scales(scales, schema)
            stats = {n: ColumnStatistics() for n in schema}
        elif list(chunk.schema.items()) != list(schema.items()):
            raise InputError(
                f"chunk {number} has columns {dict(chunk.schema)}, the first chunk {schema}.", hint="Give every chunk one schema."
            )
        for name, dtype in schema.items():
            values, numeric = _cells(chunk.get_column(name)), dtype.is_numeric()
            count_all = _count_floats(name, scales) or not dtype.is_float()
            stats[name].add(values if numeric else _words_of(values), numeric=numeric, count_all=count_all)
        rows += chunk.height
        if rows <= HASHED_ROWS:
            hashes.append(chunk.hash_rows(seed=0).to_numpy())
        # bottom-k sampling: the keys depend on (seed, row) alone, so chunking does not change the sample
        keys = rng.random(chunk.height)
        kept = chunk if kept is None else pl.concat([kept, chunk])
        kept_keys = np.concatenate([kept_keys, keys])
        if len(kept_keys) > settings.pair_rows:
            best = np.sort(np.argpartition(kept_keys, settings.pair_rows)[: settings.pair_rows])
            kept, kept_keys = kept[best], kept_keys[best]
    if kept is None or not schema:
        raise InputError("The table has no chunks.", hint="An empty table needs at least one frame with its columns.")
    duplicates = rows - len(np.unique(np.concatenate(hashes))) if rows <= HASHED_ROWS else None
    return Table(_columns(schema, stats, scales), rows, kept, None, duplicates, rows > settings.pair_rows)
