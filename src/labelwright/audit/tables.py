"""Columns: missing values and constants, of tables and of vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.audit.found import Found
from labelwright.data import Dataset

__all__ = ["Columns", "columns_of", "constant_columns", "missing_values"]

MOST_MISSING = 0.5
SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class Columns:
    """`names` of D columns, `missing` int64 (D,) rows without a value, `row_missing` int64 (N,) columns without one, `constant` bool (D,)."""

    names: tuple[str, ...]
    missing: np.ndarray
    row_missing: np.ndarray
    constant: np.ndarray


def columns_of(data: Dataset) -> Columns:
    """Count gaps (null, NaN, infinity; blank words) and constant columns of a table or of vectors (N, D)."""
    if data.kind == "table":
        return _of_table(data)
    array = np.asarray(data.inputs.detach().cpu() if hasattr(data.inputs, "detach") else data.inputs)
    gaps = ~np.isfinite(array) if np.issubdtype(array.dtype, np.inexact) else np.zeros(array.shape, dtype=bool)
    names = data.info.feature_names if len(data.info.feature_names) == array.shape[1] else tuple(map(str, range(array.shape[1])))
    low = np.where(gaps, np.inf, array).min(0, initial=np.inf)
    high = np.where(gaps, -np.inf, array).max(0, initial=-np.inf)
    return Columns(names=tuple(names), missing=gaps.sum(0), row_missing=gaps.sum(1), constant=low >= high)


def _of_table(data: Dataset) -> Columns:
    import polars as pl

    frame: pl.DataFrame = data.inputs.frame
    row_missing = np.zeros(frame.height, dtype=np.int64)
    missing, constant = [], []
    for column in frame.get_columns():
        gap = column.is_null()
        if column.dtype.is_float():
            gap = gap | ~column.is_finite().fill_null(False)
        elif column.dtype == pl.String:
            gap = gap | (column.str.strip_chars().str.len_bytes() == 0).fill_null(False)
        row_missing += gap.to_numpy()
        missing.append(int(gap.sum()))
        constant.append(column.filter(~gap).n_unique() <= 1)
    return Columns(
        names=tuple(frame.columns),
        missing=np.array(missing, dtype=np.int64),
        row_missing=row_missing,
        constant=np.array(constant, dtype=bool),
    )


def missing_values(columns: Columns, *, most: float = MOST_MISSING) -> Found:
    """Rows that lack more than the share `most` of their columns. Facts: gaps by column (up to 50, most first), rows with any."""
    n, width = len(columns.row_missing), max(1, len(columns.names))
    share = columns.row_missing / width
    index = np.flatnonzero(share > most)
    order = np.argsort(-columns.missing, kind="stable")[:SHOWN]
    by_column = {
        columns.names[j]: {"rows": int(columns.missing[j]), "share": float(columns.missing[j] / max(1, n))}
        for j in order
        if columns.missing[j]
    }
    facts: dict[str, Any] = {
        "cells": int(columns.missing.sum()),
        "share": float(columns.missing.sum() / max(1, n * width)),
        "rows_with_gaps": int((columns.row_missing > 0).sum()),
        "by_column": by_column,
    }
    return Found(
        issue="missing_values",
        index=index,
        score=np.clip(0.5 + (share[index] - most) / (2 * max(1 - most, 1e-9)), 0, 1),
        flagged=np.ones(len(index), dtype=bool),
        reason=[f"{columns.row_missing[i]} of {len(columns.names)} columns are missing" for i in index],
        facts=facts,
    )


def constant_columns(columns: Columns) -> list[str]:
    """Columns with one value at most (gaps aside): they tell no two examples apart."""
    return [columns.names[j] for j in np.flatnonzero(columns.constant)]
