"""What every label kind has: length, `known`, `names`, ``take``, ``summary``, ``save`` and ``load``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.files import writing

__all__ = ["KINDS", "UNKNOWN", "Labels", "load"]

UNKNOWN = -1
"""The unknown class index on integer arrays."""

KINDS: dict[str, type[Labels]] = {}
"""Every label kind by its word (``class-labels``, …), in order of definition."""


def frozen(values: Any, dtype: Any = None) -> np.ndarray:
    array = np.asarray(values, dtype=dtype).view()
    array.flags.writeable = False
    return array


def positions(index: Any, size: int) -> np.ndarray:
    """Integer positions, int64 (M,), from positions or a boolean mask of `size`.

    Raises
    ------
    InputError
        If a mask has another length or a position is out of range.
    """
    index = np.asarray(index)
    if index.dtype == bool:
        if index.shape != (size,):
            raise InputError(f"A mask over {size:,} examples must have shape ({size},); got {index.shape}.")
        return np.flatnonzero(index)
    if not index.size:  # an empty list would be an array of floats
        return np.zeros(0, dtype=np.int64)
    if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
        raise InputError(f"Positions must be integers of shape (M,) or a boolean mask; got {index.dtype} {index.shape}.")
    if index.max() >= size or index.min() < -size:
        raise InputError(f"Position {int(index[(index >= size) | (index < -size)][0])} is outside the {size:,} examples.")
    return np.where(index < 0, index + size, index).astype(np.int64)


def default_names(names: Sequence[str], size: int, *, what: str) -> tuple[str, ...]:
    names = tuple(str(n) for n in names) if len(names) else tuple(str(j) for j in range(size))
    if len(names) != size:
        raise InputError(f"{what} has {size} columns, but {len(names)} names were given.")
    if len(set(names)) != len(names):
        raise InputError(f"names must be unique; got {list(names)}.")
    return names


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Labels:
    """Base of the label kinds. Not instantiated itself."""

    kind: ClassVar[str]
    names: Sequence[str] = ()

    def __init_subclass__(cls, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if kind:
            cls.kind = kind
            KINDS[kind] = cls

    @property
    def known(self) -> np.ndarray:
        """What is observed: bool, (N,), or one value a cell for the kinds that hold a matrix."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} is abstract")

    def take(self, index: Any) -> Self:
        """The rows at `index` (integer positions or a boolean mask), in that order."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def summary(self) -> dict[str, Any]:
        """Plain facts: kind, number of examples, share of what is unknown, counts where they make sense."""
        known = self.known
        return {"kind": self.kind, "n": len(self), "unknown": float(1 - known.mean()) if known.size else 0.0, **self._facts()}

    def _facts(self) -> dict[str, Any]:
        return {}

    def _columns(self) -> dict[str, Any]:
        """Per-example Arrow-ready columns; the inverse of `_from_columns`."""
        raise TypeError(f"{type(self).__name__} is abstract")

    @classmethod
    def _from_columns(cls, columns: dict[str, Any], meta: dict[str, Any]) -> Self:
        raise TypeError(f"{cls.__name__} is abstract")

    def _meta(self) -> dict[str, Any]:
        return {}

    def save(self, path: str | Path) -> None:
        """Write one Parquet file that :func:`load` (or ``type(self).load``) reads back exactly.

        Raises
        ------
        OutputError
            If the disk does not take it; no part of it is left then.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        meta = {"kind": self.kind, "names": list(self.names), **self._meta()}
        table = pa.table(self._columns()).replace_schema_metadata({"labelwright.labels": json.dumps(meta)})
        with writing(Path(path)):
            pq.write_table(table, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read labels of this kind from `path`.

        Raises
        ------
        InputError
            If the file is absent, not a label file, or of another kind.
        """
        labels = load(path)
        if not isinstance(labels, cls):
            raise InputError(f"{path} holds {labels.kind}, not {cls.kind}.")
        return labels

    def __repr__(self) -> str:
        shown = ", ".join(self.names[:5]) + (", …" if len(self.names) > 5 else "")
        return f"{type(self).__name__}({len(self):,} examples, {len(self.names)} names: {shown})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return False
        return all(_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]  # arrays inside


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
            return False
        return a.shape == b.shape and np.array_equal(a, b, equal_nan=np.issubdtype(a.dtype, np.floating))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def load(path: str | Path) -> Labels:
    """Read a label file written by ``save``, of whatever kind it says it is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = check.path_exists("label file", path)
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as err:
        raise InputError(f"{path} is not a readable Parquet file: {err}.", hint="It may be truncated; write it again.") from err
    raw = (table.schema.metadata or {}).get(b"labelwright.labels")
    if raw is None:
        raise InputError(f"{path} was not written by Labels.save.", hint="Read a table of your own with labelwright.data.load.")
    meta = json.loads(raw)
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    kind = KINDS[check.one_of("label kind", meta["kind"], list(KINDS))]
    try:
        return kind._from_columns(columns, meta)
    except KeyError as err:
        raise InputError(f"{path} lacks {err}, which {kind.kind} need.", hint="The file may have been edited; write it again.") from err
