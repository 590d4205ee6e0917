"""From label columns of a table to a label kind."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, Boxes, Captions, ClassLabels, Labels, Masks, MultiLabels, Targets, Votes

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_labels"]

CLASS_OF_MARKS = ("category", "categories", "class", "classes", "label", "labels")


def read_labels(
    frame: pl.DataFrame, columns: list[str], names: Sequence[str] | None, features: Mapping[str, Any], place: str
) -> tuple[Labels | None, list[str]]:
    """Labels of the kind that the type of the label column(s) says, and the further columns they used.

    | column(s) | kind |
    |---|---|
    | words, integers, booleans, whole floats | class labels |
    | real numbers | targets |
    | lists of words or integers | multi-labels (captions, if the column is called so) |
    | lists of boxes of 4 (x, y, w, h) or 5 (cx, cy, w, h, theta) numbers, classes in `category` | boxes |
    | images | masks |
    | several columns of 0, 1 and gaps | multi-labels |
    | several columns of words, or of integers (class indices) | votes, an annotator a column |
    | several columns of real numbers | targets |
    """
    import polars as pl

    if not columns:
        return None, []
    if len(columns) > 1:
        return _several(frame, columns, names, place), []
    column, dtype = frame.get_column(columns[0]), frame.schema[columns[0]]
    if isinstance(dtype, pl.Struct):
        return _masks(column, names, place), []
    if isinstance(dtype, (pl.List, pl.Array)):
        inner = dtype.inner
        if isinstance(inner, (pl.List, pl.Array)):
            return _boxes(frame, column, names, place)
        if columns[0].lower().startswith("caption"):
            return _captions(column), []
        return _multi(column, list(names or _class_names(features.get(columns[0])) or ())), []
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise InputError(f"Label column {columns[0]!r} of {place} is of type {dtype}, which is no label.")
    return _single(column, list(names or ()), _class_names(features.get(columns[0]))), []


def _class_names(feature: Any) -> list[str]:
    """Class names in a Hugging Face feature: ``ClassLabel`` itself or a sequence of it."""
    while isinstance(feature, (Mapping, list)):
        if isinstance(feature, list):
            feature = feature[0] if feature else None
        elif "names" in feature:
            return [str(n) for n in feature["names"]]
        else:
            feature = feature.get("feature")
    return []


def _single(column: pl.Series, names: list[str], declared: list[str]) -> Labels:
    import polars as pl

    if column.null_count() == len(column):
        raise InputError(f"Label column {column.name!r} is empty in every row.", hint="Is this the right column?")
    if column.dtype.is_float():
        finite = column.fill_nan(None).drop_nulls()
        if not bool((finite == finite.round()).all()):
            return Targets(values=column.cast(pl.Float64).fill_null(float("nan")).to_numpy()[:, None], names=(column.name,))
        column = column.fill_nan(None).cast(pl.Int64)
    if column.dtype.is_integer() and (declared or names):
        given = names or declared
        known = {str(v) for v in column.drop_nulls().unique().to_list()}
        # integers stand for positions in the list of names, unless the names are these very integers
        if declared or not known <= set(given):
            return ClassLabels(values=column.fill_null(UNKNOWN).cast(pl.Int64).to_numpy(), names=given)
    return ClassLabels.encode(column.cast(pl.String).to_list(), names)


def _several(frame: pl.DataFrame, columns: list[str], names: Sequence[str] | None, place: str) -> Labels:
    import polars as pl

    types = [frame.schema[name] for name in columns]
    if all(t == pl.String or isinstance(t, (pl.Categorical, pl.Enum)) for t in types):
        words = ClassLabels.encode([w for name in columns for w in frame.get_column(name).cast(pl.String).to_list()], names or ())
        return Votes(values=words.values.reshape(len(columns), -1).T, names=words.names, annotators=columns)
    for name, dtype in zip(columns, types, strict=True):
        if not (dtype.is_numeric() or dtype == pl.Boolean):
            raise InputError(f"Several label columns must all hold numbers or all words; {name!r} of {place} is of type {dtype}.")
    values = np.stack([frame.get_column(c).cast(pl.Float64).fill_null(float("nan")).to_numpy() for c in columns], axis=1)
    codes = np.where(np.isnan(values), UNKNOWN, values)
    if np.isin(codes, (0, 1, UNKNOWN)).all():
        return MultiLabels(values=codes.astype(np.int8), names=columns)
    if all(t.is_integer() for t in types):
        return Votes(values=codes.astype(np.int64), names=tuple(names or ()), annotators=columns)
    return Targets(values=values, names=columns)


def _multi(column: pl.Series, names: list[str]) -> MultiLabels:
    """Lists of what is present: the rest of the classes is absent; a missing list is unknown throughout."""
    lists = column.to_list()
    words = [None if row is None else [str(v) for v in row] for row in lists]
    found = {w for row in words if row for w in row}
    if names and found and not found <= set(names) and all(w.isdecimal() and int(w) < len(names) for w in found):
        words = [None if row is None else [names[int(w)] for w in row] for row in words]
        found = {w for row in words if row for w in row}
    if not names:
        names = sorted(found, key=int) if all(w.isdecimal() for w in found) else sorted(found)
    if stray := found - set(names):
        raise InputError(f"Label {min(stray)!r} in column {column.name!r} is not one of the {len(names)} classes.")
    place = {n: j for j, n in enumerate(names)}
    values = np.zeros((len(words), len(names)), dtype=np.int8)
    for i, row in enumerate(words):
        if row is None:
            values[i] = UNKNOWN
        else:
            values[i, [place[w] for w in row]] = 1
    return MultiLabels(values=values, names=names)


def _offsets(column: pl.Series) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(column.list.len().fill_null(0).to_numpy())]).astype(np.int64)


def _captions(column: pl.Series) -> Captions:
    texts = [t for row in column.to_list() if row is not None for t in row]
    return Captions(texts=np.array([t or "" for t in texts], dtype=object), offsets=_offsets(column), seen=column.is_not_null().to_numpy())


def _boxes(frame: pl.DataFrame, column: pl.Series, names: Sequence[str] | None, place: str) -> tuple[Boxes, list[str]]:
    flat = [box for row in column.to_list() if row is not None for box in row]
    width = {len(b) for b in flat} or {4}
    if not width <= {4, 5} or len(width) > 1:
        raise InputError(f"Boxes in column {column.name!r} of {place} must have 4 numbers (x, y, w, h) or 5 (cx, cy, w, h, theta).")
    boxes = np.asarray(flat, dtype=np.float64).reshape(-1, width.pop())
    if boxes.shape[1] == 4:
        boxes = np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:], np.zeros((len(boxes), 1))], axis=1)
    beside = next((c for want in CLASS_OF_MARKS for c in frame.columns if c.lower() == want and c != column.name), None)
    classes = np.zeros(len(boxes), dtype=np.int64)
    if beside is not None:
        flat_classes = [k for row in frame.get_column(beside).to_list() if row is not None for k in row]
        if len(flat_classes) != len(boxes):
            raise InputError(f"{place}: column {beside!r} names {len(flat_classes)} classes for {len(boxes)} boxes in {column.name!r}.")
        encoded = ClassLabels.encode(flat_classes) if any(isinstance(k, str) for k in flat_classes) else None
        classes = encoded.values if encoded else np.asarray(flat_classes, dtype=np.int64)  # type: ignore[assignment]
        names = names or (encoded.names if encoded else ())
    made = Boxes(boxes=boxes, classes=classes, offsets=_offsets(column), seen=column.is_not_null().to_numpy(), names=tuple(names or ()))
    return made, [beside] if beside else []


def _masks(column: pl.Series, names: Sequence[str] | None, place: str) -> Masks:
    """Mask images: pixel values are classes; images of 0 and 255 only (or of 1 bit) count as 0 and 1."""
    from PIL import Image, UnidentifiedImageError

    masks: list[np.ndarray | None] = []
    for row, raw in enumerate(column.struct.field("bytes").to_list()):
        if raw is None:
            masks.append(None)
            continue
        try:
            with Image.open(io.BytesIO(raw)) as image:
                masks.append(np.asarray(image).astype(np.int32))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
            raise InputError(f"Mask {row} (column {column.name!r} of {place}) cannot be read: {err}.") from err
        if masks[-1].ndim != 2:  # type: ignore[union-attr]
            raise InputError(
                f"Mask {row} (column {column.name!r} of {place}) has several channels.", hint="A mask holds one class a pixel."
            )
    if all(m is None or np.isin(m, (0, 255)).all() for m in masks):
        masks = [None if m is None else m // 255 for m in masks]
    return Masks(masks=masks, names=tuple(names or ()))
