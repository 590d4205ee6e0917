"""Files of numbers with a row an example: probabilities, features. NumPy arrays, archives and text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labelwright import check
from labelwright.errors import InputError

if TYPE_CHECKING:
    from labelwright.data.dataset import Dataset

__all__ = ["Matrix", "read_array", "read_matrix", "rows_of"]


@dataclass(frozen=True)
class Matrix:
    """A file of numbers, a row an example: `values` (N, C), possibly memory-mapped; `names` of columns and `ids` of rows where the file has them."""

    values: np.ndarray
    names: tuple[str, ...] | None = None
    ids: np.ndarray | None = None


def read_matrix(path: str | Path, *, what: str, n: int | None = None) -> Matrix:
    """Numbers from ``.npy`` (memory-mapped), ``.npz`` (array `what`, or the only matrix; names in ``classes``, ids in ``ids``) or ``.csv``
    (with or without a header; a column ``id`` gives the ids).

    Raises
    ------
    InputError
        If the file is absent, damaged, or holds no matrix of numbers.
    """
    path = check.path_exists(f"--{what}", path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        made = Matrix(read_array(path))
    elif suffix == ".npz":
        made = _archive(path, what)
    elif suffix in (".csv", ".tsv", ".txt"):
        made = _text(path, n)
    else:
        raise InputError(f"--{what} {path} must be .npy, .npz or .csv.")
    if made.values.ndim != 2 or made.values.dtype.kind not in "fiub":
        raise InputError(f"{path} must hold numbers of shape (N, columns); it has shape {made.values.shape}, dtype {made.values.dtype}.")
    if made.values.dtype == np.float16:
        made = replace(made, values=np.asarray(made.values, dtype=np.float32))
    return made


def read_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (ValueError, EOFError, OSError) as err:
        if "allow_pickle" in str(err) or "Python objects" in str(err):
            raise InputError(
                f"{path} holds Python objects, which are not read: they could run code.",
                hint="Save plain values: numpy.save(path, labels.astype(str)).",
            ) from err
        reason = str(err).rstrip(".") or "it is empty"
        raise InputError(
            f"{path} cannot be read as a NumPy array: {reason}.", hint="It may be truncated; write it again with numpy.save."
        ) from err


def _archive(path: Path, what: str) -> Matrix:
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError) as err:
        raise InputError(f"{path} cannot be read as .npz: {err}.", hint="It may be truncated; write it again with numpy.savez.") from err
    matrices = [k for k, v in arrays.items() if v.ndim == 2]
    name = what if what in matrices else matrices[0] if len(matrices) == 1 else ""
    if not name:
        raise InputError(f"{path} must hold a matrix called {what!r}; it holds {', '.join(arrays) or 'nothing'}.")
    classes = arrays.get("classes")
    return Matrix(arrays[name], None if classes is None else tuple(str(c) for c in classes.tolist()), arrays.get("ids"))


def _text(path: Path, n: int | None) -> Matrix:
    """Fields separated by commas, or tabs in ``.tsv``. The first line is a header if a field is no number, or if there is one line more than examples."""
    import csv
    import io

    import polars as pl

    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise InputError(f"{path} is not UTF-8 text: byte {err.start}.", hint="Save it as UTF-8.") from err
    first = next(csv.reader(io.StringIO(text), delimiter=separator), [])
    if not first:
        raise InputError(f"{path} is empty.")
    header = not all(_is_number(f) for f in first) or (n is not None and _lines(text) == n + 1)
    twice = sorted({f for f in first if first.count(f) > 1})
    if header and twice:
        raise InputError(f"{path} names the column {twice[0]!r} twice.", hint="Every class has one column.")
    try:
        frame = pl.read_csv(io.BytesIO(text.encode()), separator=separator, has_header=header, infer_schema_length=None)
    except (pl.exceptions.PolarsError, ValueError) as err:
        raise InputError(f"{path} cannot be read as a table: {str(err).splitlines()[0]}.", hint="Every line needs as many fields.") from err
    ids = None
    if header and "id" in frame.columns:
        ids = frame.get_column("id").to_numpy()
        frame = frame.drop("id")
    for name in frame.columns:
        column = frame.get_column(name)
        if not column.dtype.is_numeric():
            wrong = next((i for i, v in enumerate(column.to_list()) if v is None or not _is_number(str(v))), 0)
            raise InputError(f"{path}: column {name!r} must hold numbers; row {wrong} is {column[wrong]!r}.")
    values = frame.to_numpy().astype(np.float64)
    return Matrix(values, tuple(frame.columns) if header else None, ids)


def _lines(text: str) -> int:
    return sum(1 for line in text.splitlines() if line.strip())


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def rows_of(matrix: Matrix, data: Dataset, place: str) -> np.ndarray:
    """The rows of a file in the dataset's order: by id where the file has ids, else as they stand.

    Raises
    ------
    InputError
        If an id is missing, or the numbers of rows differ.
    """
    if matrix.ids is not None:
        wanted = data.ids if data.ids.dtype.kind != "U" else data.ids.astype(str)
        ids = matrix.ids.astype(str) if data.ids.dtype.kind == "U" else matrix.ids
        order = {i: row for row, i in enumerate(ids.tolist())}
        missing = [i for i in wanted.tolist() if i not in order]
        if missing:
            raise InputError(f"{len(missing):,} ids of the dataset are not in {place}, first {missing[0]!r}.")
        return matrix.values[[order[i] for i in wanted.tolist()]]
    if len(matrix.values) != len(data):
        raise InputError(
            f"{place} has {len(matrix.values):,} rows, but the dataset has {len(data):,} examples.",
            hint="They must be the same rows, in order.",
        )
    return matrix.values
