"""Label kinds with any number of marks an example, and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.labels.base import UNKNOWN, Labels, default_names, frozen, positions

__all__ = ["Boxes", "Captions", "Masks", "Points", "Spans"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Ragged(Labels):
    """Any number of marks an example, stored flat: marks of example i are rows offsets[i]..offsets[i+1].

    An example without marks is *known to be empty* unless `seen` is False there.
    """

    offsets: np.ndarray
    seen: np.ndarray | None = None
    flat: ClassVar[tuple[str, ...]]  # fields with one row a mark

    def _freeze(self, **arrays: tuple[Any, Any, tuple[int, ...]]) -> None:
        offsets = frozen(self.offsets, np.int64)
        if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise InputError("offsets must start at 0, never fall, and have N + 1 entries.")
        seen = np.ones(len(offsets) - 1, dtype=bool) if self.seen is None else np.asarray(self.seen, dtype=bool)
        check.same_length(examples=offsets[1:], seen=seen)
        if (np.diff(offsets)[~seen] > 0).any():
            row = int(((np.diff(offsets) > 0) & ~seen).argmax())
            raise InputError(
                f"Example {row} has marks, yet `seen` says that nobody looked at it.", hint="Set seen True there or remove the marks."
            )
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "seen", frozen(seen))
        for name, (value, dtype, tail) in arrays.items():
            array = np.asarray(value, dtype=dtype).reshape(-1, *tail)
            if len(array) != offsets[-1]:
                raise InputError(f"{name} has {len(array)} rows, but offsets end at {offsets[-1]}.")
            object.__setattr__(self, name, frozen(array))

    def _classes(self, classes: Any) -> np.ndarray:
        classes = np.asarray(classes, dtype=np.int64).reshape(-1)
        size = len(self.names) or int(classes.max(initial=UNKNOWN)) + 1
        object.__setattr__(self, "names", default_names(self.names, size, what=type(self).__name__))
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
        index = positions(index, len(self))
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


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
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


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
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


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Points(_Ragged, kind="points"):
    """Single points in an image: `points` float64 (M, 2) as (x, y) in pixels; `classes` (M,)."""

    points: np.ndarray
    classes: np.ndarray
    flat: ClassVar[tuple[str, ...]] = ("points", "classes")

    def __post_init__(self) -> None:
        self._freeze(points=(self.points, np.float64, (2,)), classes=(self._classes(self.classes), np.int64, ()))
        check.finite("points", self.points)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
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


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Masks(Labels, kind="masks"):
    """A class for every pixel or voxel: `masks`, N integer arrays of any shape with class indices or UNKNOWN; None where unannotated."""

    masks: Sequence[np.ndarray | None] = field(default=())

    def __post_init__(self) -> None:
        masks = tuple(None if m is None else frozen(m, np.int32) for m in self.masks)
        top = max((int(m.max(initial=UNKNOWN)) for m in masks if m is not None), default=UNKNOWN)
        size = len(self.names) or top + 1
        object.__setattr__(self, "names", default_names(self.names, size, what="Masks"))
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
        return type(self)(masks=[self.masks[i] for i in positions(index, len(self))], names=self.names)

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
