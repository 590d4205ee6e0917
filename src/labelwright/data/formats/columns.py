"""From a table with named columns to a dataset: which column is the label, which are inputs, which are facts beside them.

The rules are those of :func:`labelwright.data.load`, which documents them for users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.data.dataset import Dataset, Info
from labelwright.data.formats.marks import read_labels
from labelwright.data.inputs import Images, TableRows, Texts
from labelwright.errors import InputError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["IMAGE_SUFFIXES", "LABEL_COLUMNS", "SIDE_COLUMNS", "Source", "dataset_from", "listed", "to_column"]

LABEL_COLUMNS = ("label", "labels", "y", "target", "class")
"""Names that make a column the label when none is given, first match wins; never inputs."""
SIDE_COLUMNS = ("id", "group", "domain", "split", "weight", "given_label", "reason", "confidence")
"""Names that make a column a fact about the row, never an input. `id` gives the ids."""
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".jp2"})
INDEX_COLUMNS = ("", "Unnamed: 0", "__index_level_0__")
"""What pandas calls its index when it writes it."""
TEXT_NAMES = ("text", "sentence", "document", "content", "review", "tweet", "comment", "title", "sequence", "smiles")
TEXT_WORDS = 3.0  # mean words from which on the only column of words is read as text
PROSE_WORDS = 8.0  # mean words from which on it is read as text even beside other columns: no name or address is that long
SHORT = 64  # strings up to this length become a fixed-width array, longer ones would be padded to the longest


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table and what is known about it: `place` for messages, `base` for relative paths, `features` as Hugging Face writes them."""

    frame: pl.DataFrame
    place: str
    info: Info
    base: Path | None = None
    features: Mapping[str, Any] = field(default_factory=dict)


def dataset_from(
    source: Source,
    *,
    labels: str | Sequence[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    ids: str | None = None,
    split: str | None = None,
    names: Sequence[str] | None = None,
) -> Dataset:
    """The dataset that the columns of `source` describe."""
    frame = source.frame
    if not frame.height:
        raise InputError(f"{source.place} has {'columns but ' if frame.width else ''}no rows.")
    notes: list[str] = []
    if split is not None:
        frame = _one_split(frame, split, source.place)
        source = replace(source, frame=frame)
    label_columns = listed("label column", labels, frame, source.place)
    if not label_columns:
        label_columns = next(([c] for want in LABEL_COLUMNS for c in frame.columns if c.lower() == want), [])
    id_column = check.known_word("id column", ids, frame.columns, place=source.place) if ids else "id" if "id" in frame.columns else None
    if id_column in label_columns:
        id_column = None
    taken = {*label_columns, *([id_column] if id_column else [])}
    rest = [c for c in frame.columns if c not in taken]
    read, marks_used = read_labels(frame, label_columns, names, source.features, source.place)
    rest = [c for c in rest if c not in marks_used]
    index = [c for c in rest if c in INDEX_COLUMNS and _is_index(frame.get_column(c))]
    notes.extend(f"column {c!r} only counts the rows and was left out" for c in index)
    rest = [c for c in rest if c not in index]
    wanted = listed("inputs column", inputs, frame, source.place)
    if clash := [c for c in wanted if c in label_columns]:
        raise InputError(f"Column {clash[0]!r} cannot be both label and input.")
    candidates = wanted or [c for c in rest if c not in SIDE_COLUMNS and c.lower() not in LABEL_COLUMNS]
    made, used = _inputs(source, candidates, named=bool(wanted))
    columns = {}
    for c in rest:
        if c not in used:
            column = to_column(frame.get_column(c))
            if column is None:
                notes.append(f"column {c!r} of type {frame.schema[c]} was left out")
            else:
                columns[c] = column
    info = replace(source.info, label_name=", ".join(label_columns) or source.info.label_name)
    if isinstance(made, TableRows):
        info = replace(info, feature_names=tuple(made.frame.columns))
    if notes:
        info = replace(info, extra={**info.extra, "notes": notes})
    return Dataset(inputs=made, labels=read, ids=_ids(frame, id_column, source.place), columns=columns, info=info)


def listed(what: str, given: str | Sequence[str] | None, frame: pl.DataFrame, place: str) -> list[str]:
    """Column names as given: one, several, or several in one string with commas (as the command line passes them)."""
    if given is None:
        return []
    if isinstance(given, str):
        given = [given] if given in frame.columns or "," not in given else [part.strip() for part in given.split(",")]
    return [check.known_word(what, name, frame.columns, place=place) for name in given]


def _one_split(frame: pl.DataFrame, split: str, place: str) -> pl.DataFrame:
    import polars as pl

    check.known_word("column", "split", frame.columns, place=place)
    words = frame.get_column("split").cast(pl.String)
    check.known_word("split", split, words.drop_nulls().unique().sort().to_list(), place=f"column 'split' of {place}")
    return frame.filter(words == split)


def _ids(frame: pl.DataFrame, column: str | None, place: str) -> np.ndarray | None:
    import polars as pl

    if column is None:
        return None
    values = frame.get_column(column)
    if values.null_count():
        raise InputError(
            f"Column {column!r} gives the ids, but row {int(values.is_null().arg_max() or 0)} has none.", hint="Name another with ids=."
        )
    ids = values.cast(pl.Int64, strict=False).to_numpy() if values.dtype.is_integer() else values.cast(pl.String).to_numpy().astype(str)
    return check.unique(f"ids (column {column!r} of {place})", ids)


def to_column(values: pl.Series) -> np.ndarray | None:
    """A side column as an array; None for nested types. Words without gaps become fixed-width strings, others objects with None."""
    import polars as pl

    dtype = values.dtype
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return None
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        values = values.cast(pl.String)
    if dtype == pl.Null:
        return np.full(len(values), None, dtype=object)
    if values.dtype == pl.String:
        array = values.to_numpy()
        short = not values.null_count() and int(values.str.len_chars().max() or 0) <= SHORT  # type: ignore[arg-type]
        return array.astype(str) if short else array
    if isinstance(dtype, pl.Decimal):
        values = values.cast(pl.Float64)
    if dtype == pl.Boolean and values.null_count():
        return np.array(values.to_list(), dtype=object)
    return values.to_numpy()


def _inputs(source: Source, candidates: list[str], *, named: bool) -> tuple[Any, list[str]]:
    """Inputs from the columns that may hold them, and which columns were used."""
    import polars as pl

    frame = source.frame
    if not candidates:
        raise InputError(
            f"{source.place} has no column left for the inputs.", hint="Name it with inputs=. Side columns and labels are never inputs."
        )
    pictures = [c for c in candidates if _is_image(frame.schema[c], source.features.get(c))]
    if pictures:
        pick = next((c for c in pictures if c.lower() in ("image", "img")), pictures[0])
        return _images(source, pick), [pick]
    for c in candidates:
        paths = _paths(source, c)
        if paths is not None:
            return Images(paths), [c]
    if (sound := [c for c in candidates if source.features.get(c, {}).get("_type") == "Audio"]) and len(sound) == len(candidates):
        raise InputError(
            f"Column {sound[0]!r} of {source.place} holds sound, which has no general reader.", hint="Turn it into features first."
        )
    if len(candidates) == 1 and isinstance(frame.schema[candidates[0]], (pl.List, pl.Array)):
        return _vectors(frame.get_column(candidates[0]), source.place), candidates
    text = _text_column(frame, candidates, named=named, place=source.place)
    if text is not None:
        return Texts(frame.get_column(text).fill_null("").to_list()), [text]
    scalar = [c for c in candidates if not frame.schema[c].is_nested() and frame.schema[c] not in (pl.Binary, pl.Object)]
    if not scalar:
        raise InputError(f"{source.place}: no column can be an input; {candidates[0]!r} is of type {frame.schema[candidates[0]]}.")
    return TableRows(frame.select(scalar)), scalar


def _is_index(values: pl.Series) -> bool:
    n = len(values)
    return values.dtype.is_integer() and bool((values.diff().slice(1) == 1).all()) and values[0] in (0, 1) and n > 1


def _is_image(dtype: pl.DataType, feature: Any) -> bool:
    """A Hugging Face image: struct {bytes, path}, not declared as something else."""
    import polars as pl

    if not isinstance(dtype, pl.Struct) or "bytes" not in {f.name for f in dtype.fields}:
        return False
    return not isinstance(feature, Mapping) or feature.get("_type", "Image") == "Image"


def _images(source: Source, column: str) -> Images:
    values = source.frame.get_column(column).struct
    fields = values.fields
    raw = values.field("bytes").to_list()
    paths = values.field("path").to_list() if "path" in fields else [None] * len(raw)
    sources: list[Path | bytes] = []
    for row, (data, path) in enumerate(zip(raw, paths, strict=True)):
        if data is None and path is None:
            raise InputError(f"Row {row} of column {column!r} in {source.place} holds no image.", hint="Remove the row.")
        sources.append(data if data is not None else (source.base or Path()) / path)
    return Images(sources, names=[p if p is not None else f"row {row} of {source.place}" for row, p in enumerate(paths)])


def _paths(source: Source, column: str) -> list[Path] | None:
    """Image files that a column of words names, or None when it does not name files.

    Relative paths start at the table's own folder. Once the first row is a file, all must be.
    """
    import polars as pl

    values = source.frame.get_column(column)
    if values.dtype != pl.String or not values[0] or Path(values[0]).suffix.lower() not in IMAGE_SUFFIXES:
        return None
    base = source.base or Path()
    if not (base / values[0]).is_file():
        return None
    paths = []
    for row, word in enumerate(values.to_list()):
        if not word or not (base / word).is_file():
            raise InputError(
                f"Column {column!r} of {source.place} names image files, but row {row} ({word!r}) is none.",
                hint="Remove the row or mend the path; relative paths start at the folder of the table.",
            )
        paths.append(base / word)
    return paths


def _vectors(values: pl.Series, place: str) -> np.ndarray:
    """A column of equally long lists of numbers as (N, D) or deeper."""
    try:
        array = np.asarray(values.to_list(), dtype=np.float32)
    except (ValueError, TypeError) as err:
        raise InputError(
            f"Column {values.name!r} of {place} holds lists of different lengths or of no numbers.", hint="Inputs must be of one size."
        ) from err
    return array


def _text_column(frame: pl.DataFrame, candidates: list[str], *, named: bool, place: str) -> str | None:
    """The column to read as text, or None when the table is a table."""
    import polars as pl

    words = [c for c in candidates if frame.schema[c] == pl.String]
    if named and len(candidates) == 1:
        return words[0] if words else None
    if named or not words:
        return None
    by_name = [c for want in TEXT_NAMES for c in words if c.lower() == want]
    if by_name:
        return by_name[0]
    mean = {c: float(frame.get_column(c).head(10_000).fill_null("").str.count_matches(r"\S+").mean() or 0) for c in words}  # type: ignore[arg-type]
    prose = [c for c in words if mean[c] >= PROSE_WORDS]
    if len(prose) > 1:
        raise InputError(f"{place} has several columns of text ({', '.join(prose)}).", hint="Name the one to use with inputs=.")
    if prose:
        return prose[0]
    if len(candidates) > 1:
        return None
    only = frame.get_column(words[0])
    distinct = only.n_unique() > max(50, len(only) // 2)  # strings without spaces that rarely repeat: sequences, formulas
    return words[0] if mean[words[0]] >= TEXT_WORDS or distinct else None
