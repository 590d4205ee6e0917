"""The label kinds: the vocabulary of the whole package.

A closed family of frozen dataclasses, validated on construction. Each has a length (examples),
`known` (boolean mask of what is observed), `names` (of classes, annotators or tasks), ``take``,
``summary`` and ``save``/``load`` (Parquet). On arrays the unknown is :data:`UNKNOWN` (-1), NaN
for real values; code outside this module asks `known` instead of comparing with either.

Arrays are stored as read-only views: labels are values, a change makes a new object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from labelwright import check
from labelwright.errors import InputError

__all__ = [
    "KINDS",
    "UNKNOWN",
    "BagProportions",
    "Boxes",
    "Captions",
    "ClassLabels",
    "Labels",
    "Masks",
    "MultiLabels",
    "Points",
    "SoftLabels",
    "Spans",
    "Targets",
    "Votes",
    "load",
]

UNKNOWN = -1
"""The unknown class index on integer arrays."""

KINDS: dict[str, type[Labels]] = {}
"""Every label kind by its word (``class-labels``, …), in order of definition."""


def _frozen(values: Any, dtype: Any = None) -> np.ndarray:
    array = np.asarray(values, dtype=dtype).view()
    array.flags.writeable = False
    return array


def _default_names(names: Sequence[str], size: int, *, what: str) -> tuple[str, ...]:
    names = tuple(str(n) for n in names) if len(names) else tuple(str(j) for j in range(size))
    if len(names) != size:
        raise InputError(f"{what} has {size} columns, but {len(names)} names were given.")
    if len(set(names)) != len(names):
        raise InputError(f"names must be unique; got {list(names)}.")
    return names


@dataclass(frozen=True, kw_only=True, eq=False)
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
        """Write one Parquet file that :func:`load` (or ``type(self).load``) reads back exactly."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        meta = {"kind": self.kind, "names": list(self.names), **self._meta()}
        table = pa.table(self._columns()).replace_schema_metadata({"labelwright.labels": json.dumps(meta)})
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

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return False
        return all(_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]  # arrays inside


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
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
    except pa.ArrowException as err:
        raise InputError(f"{path} is not a readable Parquet file: {err}.", hint="It may be truncated; write it again.") from err
    raw = (table.schema.metadata or {}).get(b"labelwright.labels")
    if raw is None:
        raise InputError(f"{path} was not written by Labels.save.", hint="Read a table of your own with labelwright.data.load.")
    meta = json.loads(raw)
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    kind = KINDS[check.one_of("label kind", meta["kind"], list(KINDS))]
    return kind._from_columns(columns, meta)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Array(Labels):
    """Labels that are one array with a row an example."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: Any) -> Self:
        return self._replace(values=self.values[np.asarray(index)])

    def _replace(self, **changes: Any) -> Self:
        return type(self)(**({f.name: getattr(self, f.name) for f in fields(self)} | changes))

    def _columns(self) -> dict[str, Any]:
        if self.values.ndim == 1:
            return {"label": self.values}
        return {f"{j}": self.values[:, j] for j in range(self.values.shape[1])}

    @classmethod
    def _from_columns(cls, columns: dict[str, Any], meta: dict[str, Any]) -> Self:
        if set(columns) == {"label"}:
            values = columns["label"].to_numpy(zero_copy_only=False)
        else:
            values = np.stack([columns[f"{j}"].to_numpy(zero_copy_only=False) for j in range(len(columns))], axis=1)
        return cls(values=values, names=meta["names"])


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassLabels(_Array, kind="class-labels"):
    """One class an example: clean, noisy, scarce or long-tailed.

    `values`: int64 (N,), in 0..C-1, or :data:`UNKNOWN`. `names`: C class names; without them,
    "0", "1", … up to the largest value.
    """

    def __post_init__(self) -> None:
        raw = np.asarray(self.values)
        if not len(self.names) and np.issubdtype(raw.dtype, np.number) and raw.ndim == 1:
            size = int(raw.max(initial=UNKNOWN)) + 1
        else:
            size = len(self.names)
        object.__setattr__(self, "names", _default_names(self.names, size, what="ClassLabels"))
        object.__setattr__(self, "values", _frozen(check.class_index("labels", raw, num_classes=size, unknown=UNKNOWN)))

    @classmethod
    def encode(cls, values: Iterable[Any], names: Sequence[str] = ()) -> ClassLabels:
        """From class *words*: None, NaN and "" are unknown. Without `names`, sorted order numbers the classes.

        Integer words sort by number, all others by string.

        Raises
        ------
        InputError
            If a word is not among the `names` given.
        """
        raw = values.tolist() if isinstance(values, np.ndarray) else list(values)
        words = [None if v is None or v == "" or v != v else str(v) for v in raw]
        found = {w for w in words if w is not None}
        if not len(names):
            integral = all(w.lstrip("-").isdecimal() for w in found)
            names = sorted(found, key=int) if integral else sorted(found)
        place = {str(n): j for j, n in enumerate(names)}
        for row, w in enumerate(words):
            if w is not None and w not in place:
                raise InputError(f"label {w!r} (row {row}) is not one of the {len(names)} classes.{check.nearest(w, place)}")
        codes = np.fromiter((UNKNOWN if w is None else place[w] for w in words), dtype=np.int64, count=len(words))
        return cls(values=codes, names=names)

    @property
    def known(self) -> np.ndarray:
        return self.values != UNKNOWN

    @property
    def num_classes(self) -> int:
        """C, classes without examples included."""
        return len(self.names)

    def counts(self) -> np.ndarray:
        """Examples of each class, (C,)."""
        return np.bincount(self.values[self.known], minlength=self.num_classes)

    def words(self) -> np.ndarray:
        """Class names (N,), object dtype; None where unknown."""
        table = np.array([*self.names, None], dtype=object)
        return table[self.values]

    def _facts(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "counts": dict(zip(self.names, self.counts().tolist(), strict=True))}


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiLabels(_Array, kind="multi-labels"):
    """Any number of classes an example. `values`: int8 (N, C): 1 present, 0 absent, UNKNOWN not annotated."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2:
            raise InputError(f"MultiLabels values must have shape (N, C); got {values.shape}.")
        bad = ~np.isin(values, (0, 1, UNKNOWN))
        if bad.any():
            row, col = (int(i[0]) for i in np.nonzero(bad))
            raise InputError(f"MultiLabels values must be 1, 0 or {UNKNOWN} (unknown); row {row}, column {col} is {values[row, col]!r}.")
        object.__setattr__(self, "values", _frozen(values, np.int8))
        object.__setattr__(self, "names", _default_names(self.names, values.shape[1], what="MultiLabels"))

    @property
    def known(self) -> np.ndarray:
        return self.values != UNKNOWN

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def _facts(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "positives": dict(zip(self.names, (self.values == 1).sum(0).tolist(), strict=True))}


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftLabels(_Array, kind="soft-labels"):
    """A distribution over classes for each example. `values`: float (N, C), rows on the simplex; a row of NaN is unknown."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
            raise InputError(f"SoftLabels values must be floats of shape (N, C); got {values.dtype} {values.shape}.")
        known = ~np.isnan(values).all(1)
        check.probabilities("soft labels", values[known])
        object.__setattr__(self, "values", _frozen(values))
        object.__setattr__(self, "names", _default_names(self.names, values.shape[1], what="SoftLabels"))

    @property
    def known(self) -> np.ndarray:
        return ~np.isnan(self.values).all(1)

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def harden(self) -> ClassLabels:
        """The most probable class of each row; unknown rows stay unknown."""
        values = np.where(self.known, np.nan_to_num(self.values).argmax(1), UNKNOWN)
        return ClassLabels(values=values, names=self.names)

    def _facts(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes}


@dataclass(frozen=True, kw_only=True, eq=False)
class BagProportions(_Array, kind="proportions"):
    """Class shares of bags of examples.

    `values`: int64 (N,), the bag of each example, or UNKNOWN; `proportions`: float (B, C), rows on the simplex.
    """

    proportions: np.ndarray

    def __post_init__(self) -> None:
        proportions = np.asarray(self.proportions, dtype=np.float64)
        check.probabilities("proportions", proportions)
        object.__setattr__(self, "proportions", _frozen(proportions))
        bags = check.class_index("bags", self.values, num_classes=len(proportions), unknown=UNKNOWN)
        object.__setattr__(self, "values", _frozen(bags))
        object.__setattr__(self, "names", _default_names(self.names, proportions.shape[1], what="BagProportions"))

    @property
    def known(self) -> np.ndarray:
        return self.values != UNKNOWN

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def _meta(self) -> dict[str, Any]:
        return {"proportions": self.proportions.tolist()}

    @classmethod
    def _from_columns(cls, columns: dict[str, Any], meta: dict[str, Any]) -> Self:
        values = columns["label"].to_numpy(zero_copy_only=False)
        proportions = np.asarray(meta["proportions"], dtype=np.float64).reshape(-1, len(meta["names"]))
        return cls(values=values, names=meta["names"], proportions=proportions)

    def _facts(self) -> dict[str, Any]:
        return {"bags": len(self.proportions), "num_classes": self.num_classes}


@dataclass(frozen=True, kw_only=True, eq=False)
class Votes(_Array, kind="votes"):
    """Labels by several annotators. `values`: int64 (N, R), a class index or UNKNOWN; `names`: C classes; `annotators`: R names."""

    annotators: Sequence[str] = ()

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2:
            raise InputError(f"Votes values must have shape (N, R); got {values.shape}.")
        size = len(self.names) or int(values.max(initial=UNKNOWN)) + 1
        object.__setattr__(self, "names", _default_names(self.names, size, what="Votes"))
        flat = check.class_index("votes", values.reshape(-1), num_classes=size, unknown=UNKNOWN)
        object.__setattr__(self, "values", _frozen(flat.reshape(values.shape)))
        object.__setattr__(self, "annotators", _default_names(self.annotators, values.shape[1], what="Votes"))

    @property
    def known(self) -> np.ndarray:
        return self.values != UNKNOWN

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def counts(self) -> np.ndarray:
        """Votes for each class, int64 (N, C)."""
        n, c = len(self), self.num_classes
        flat = (np.arange(n)[:, None] * c + self.values)[self.known]
        return np.bincount(flat, minlength=n * c).reshape(n, c)

    def _meta(self) -> dict[str, Any]:
        return {"annotators": list(self.annotators)}

    @classmethod
    def _from_columns(cls, columns: dict[str, Any], meta: dict[str, Any]) -> Self:
        values = np.stack([columns[f"{j}"].to_numpy(zero_copy_only=False) for j in range(len(columns))], axis=1)
        return cls(values=values, names=meta["names"], annotators=meta["annotators"])

    def _facts(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "annotators": len(self.annotators)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets(_Array, kind="targets"):
    """Real values for several tasks. `values`: float (N, T), NaN where unmeasured; `names`: T task names."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != 2:
            raise InputError(f"Targets values must have shape (N, T); got {values.shape}.")
        if np.isinf(values).any():
            raise InputError(f"Targets must be finite or NaN; row {int(np.isinf(values).any(1).argmax())} is infinite.")
        object.__setattr__(self, "values", _frozen(values))
        object.__setattr__(self, "names", _default_names(self.names, values.shape[1], what="Targets"))

    @property
    def known(self) -> np.ndarray:
        return ~np.isnan(self.values)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ragged(Labels):
    """Any number of marks an example, stored flat: marks of example i are rows offsets[i]..offsets[i+1].

    An example without marks is *known to be empty* unless `seen` is False there.
    """

    offsets: np.ndarray
    seen: np.ndarray | None = None
    flat: ClassVar[tuple[str, ...]]  # fields with one row a mark

    def _freeze(self, **arrays: tuple[Any, Any, tuple[int, ...]]) -> None:
        offsets = _frozen(self.offsets, np.int64)
        if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise InputError("offsets must start at 0, never fall, and have N + 1 entries.")
        seen = np.ones(len(offsets) - 1, dtype=bool) if self.seen is None else np.asarray(self.seen, dtype=bool)
        check.same_length(examples=offsets[1:], seen=seen)
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "seen", _frozen(seen))
        for name, (value, dtype, tail) in arrays.items():
            array = np.asarray(value, dtype=dtype).reshape(-1, *tail)
            if len(array) != offsets[-1]:
                raise InputError(f"{name} has {len(array)} rows, but offsets end at {offsets[-1]}.")
            object.__setattr__(self, name, _frozen(array))

    def _classes(self, classes: Any) -> np.ndarray:
        classes = np.asarray(classes, dtype=np.int64).reshape(-1)
        size = len(self.names) or int(classes.max(initial=UNKNOWN)) + 1
        object.__setattr__(self, "names", _default_names(self.names, size, what=type(self).__name__))
        return check.class_index("classes", classes, num_classes=size, unknown=UNKNOWN)

    @property
    def known(self) -> np.ndarray:
        return self.seen  # type: ignore[return-value]  # set in _freeze

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self, i: int) -> slice:
        """Where the marks of example `i` lie in the flat arrays."""
        return slice(int(self.offsets[i]), int(self.offsets[i + 1]))

    def take(self, index: Any) -> Self:
        index = np.arange(len(self))[np.asarray(index)]
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # position of every kept mark: its example's start plus its rank inside the example
        flat = np.repeat(self.offsets[:-1][index] - offsets[:-1], lengths) + np.arange(offsets[-1])
        changes = {name: getattr(self, name)[flat] for name in self.flat}
        rest = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**(rest | changes | {"offsets": offsets, "seen": self.known[index]}))

    def _columns(self) -> dict[str, Any]:
        import pyarrow as pa

        columns: dict[str, Any] = {"seen": self.known}
        for name in self.flat:
            values = getattr(self, name)
            inner = (
                pa.array(values) if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
            )
            columns[name] = pa.LargeListArray.from_arrays(pa.array(self.offsets), inner)
        return columns

    @classmethod
    def _from_columns(cls, columns: dict[str, Any], meta: dict[str, Any]) -> Self:
        made: dict[str, Any] = {"seen": columns["seen"].to_numpy(zero_copy_only=False)}
        for name in cls.flat:
            column = columns[name]
            made["offsets"] = np.concatenate([[0], np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))]).astype(np.int64)
            inner = column.flatten()
            width = getattr(inner.type, "list_size", None)
            made[name] = (
                inner.to_numpy(zero_copy_only=False) if width is None else inner.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            )
        return cls(names=meta["names"], **made)

    def _facts(self) -> dict[str, Any]:
        return {"marks": int(self.offsets[-1]), "num_classes": len(self.names)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Spans(_Ragged, kind="spans"):
    """Stretches of a sequence: `bounds` int64 (M, 2), half-open [start, end) in tokens; `classes` int64 (M,)."""

    bounds: np.ndarray
    classes: np.ndarray
    flat: ClassVar[tuple[str, ...]] = ("bounds", "classes")

    def __post_init__(self) -> None:
        self._freeze(bounds=(self.bounds, np.int64, (2,)), classes=(self._classes(self.classes), np.int64, ()))
        bad = (self.bounds[:, 0] < 0) | (self.bounds[:, 1] <= self.bounds[:, 0])
        if bad.any():
            raise InputError(f"spans must satisfy 0 <= start < end; mark {int(bad.argmax())} is {self.bounds[bad.argmax()].tolist()}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes(_Ragged, kind="boxes"):
    """Boxes in an image: `boxes` float64 (M, 5) as (cx, cy, w, h, theta), pixels and radians, theta 0 for axis-aligned ones; `classes` (M,)."""

    boxes: np.ndarray
    classes: np.ndarray
    flat: ClassVar[tuple[str, ...]] = ("boxes", "classes")

    def __post_init__(self) -> None:
        self._freeze(boxes=(self.boxes, np.float64, (5,)), classes=(self._classes(self.classes), np.int64, ()))
        check.finite("boxes", self.boxes)
        if (self.boxes[:, 2:4] <= 0).any():
            bad = int((self.boxes[:, 2:4] <= 0).any(1).argmax())
            raise InputError(f"boxes must have positive width and height; mark {bad} is {self.boxes[bad].tolist()}.")

    @classmethod
    def from_corners(cls, corners: Any, classes: Any, offsets: Any, *, names: Sequence[str] = ()) -> Boxes:
        """From (M, 4) axis-aligned corners x0, y0, x1, y1."""
        c = np.asarray(corners, dtype=np.float64).reshape(-1, 4)
        boxes = np.concatenate([(c[:, :2] + c[:, 2:]) / 2, c[:, 2:] - c[:, :2], np.zeros((len(c), 1))], axis=1)
        return cls(boxes=boxes, classes=classes, offsets=offsets, names=names)

    @property
    def rotated(self) -> bool:
        """Whether any box has an angle."""
        return bool((self.boxes[:, 4] != 0).any())


@dataclass(frozen=True, kw_only=True, eq=False)
class Points(_Ragged, kind="points"):
    """Single points in an image: `points` float64 (M, 2) as (x, y) in pixels; `classes` (M,)."""

    points: np.ndarray
    classes: np.ndarray
    flat: ClassVar[tuple[str, ...]] = ("points", "classes")

    def __post_init__(self) -> None:
        self._freeze(points=(self.points, np.float64, (2,)), classes=(self._classes(self.classes), np.int64, ()))
        check.finite("points", self.points)


@dataclass(frozen=True, kw_only=True, eq=False)
class Captions(_Ragged, kind="captions"):
    """Free text about each example, any number of texts: `texts` (M,) of str."""

    texts: np.ndarray
    flat: ClassVar[tuple[str, ...]] = ("texts",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        self._freeze(texts=(self.texts, object, ()))
        if not all(isinstance(t, str) for t in self.texts):
            raise InputError("captions must be strings.")

    def _facts(self) -> dict[str, Any]:
        return {"marks": int(self.offsets[-1])}


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks(Labels, kind="masks"):
    """A class for every pixel or voxel: `masks`, N integer arrays of any shape with class indices or UNKNOWN; None where unannotated."""

    masks: Sequence[np.ndarray | None] = field(default=())

    def __post_init__(self) -> None:
        masks = tuple(None if m is None else _frozen(m, np.int32) for m in self.masks)
        top = max((int(m.max(initial=UNKNOWN)) for m in masks if m is not None), default=UNKNOWN)
        size = len(self.names) or top + 1
        object.__setattr__(self, "names", _default_names(self.names, size, what="Masks"))
        for row, m in enumerate(masks):
            if m is not None and m.size and (m.min() < UNKNOWN or m.max() >= size):
                raise InputError(f"mask {row} holds classes outside 0..{size - 1}.", hint=f"Use {UNKNOWN} for pixels without a label.")
        object.__setattr__(self, "masks", masks)

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def known(self) -> np.ndarray:
        return np.array([m is not None for m in self.masks], dtype=bool)

    def take(self, index: Any) -> Self:
        return type(self)(masks=[self.masks[i] for i in np.arange(len(self))[np.asarray(index)]], names=self.names)

    def _columns(self) -> dict[str, Any]:
        import pyarrow as pa

        return {
            "shape": pa.array([None if m is None else list(m.shape) for m in self.masks], pa.list_(pa.int64())),
            "mask": pa.array([None if m is None else m.reshape(-1) for m in self.masks], pa.large_list(pa.int32())),
        }

    @classmethod
    def _from_columns(cls, columns: dict[str, Any], meta: dict[str, Any]) -> Self:
        shapes, flat = columns["shape"].to_pylist(), columns["mask"]
        masks = [None if s is None else flat[i].values.to_numpy().reshape(s) for i, s in enumerate(shapes)]
        return cls(masks=masks, names=meta["names"])

    def _facts(self) -> dict[str, Any]:
        return {"num_classes": len(self.names)}
