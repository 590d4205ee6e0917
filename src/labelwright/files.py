"""Folders that appear complete or not at all, plain values as JSON, and one clear error where the disk does not take a file.

The writers of Polars, PyArrow, NumPy and safetensors each say in their own way that a disk is full, most of them without
an errno and without a place. Whatever is written goes through :class:`writing`, which makes one :class:`OutputError` of it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import LabelwrightError, OutputError

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "cannot_write",
    "full_disk",
    "json_bytes",
    "json_text",
    "plain",
    "require_room",
    "whole_folder",
    "write_csv",
    "write_json",
    "write_parquet",
    "writing",
]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WRITERS = ("polars", "pyarrow", "safetensors")
CUT_SHORT = ("File out of specification", "Invalid thrift", "transport error", "requested and")
"""What the writers say, without a cause, when a file could not be written to its end."""
ELSEWHERE = "Free some space, or name a place on another disk."
PROBE = 1 << 20
"""Bytes that are tried where the writer names no cause."""


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: NumPy scalars and arrays become numbers and lists, dataclasses dictionaries; NaN becomes None."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, Path):
        return str(value)
    return getattr(value, "__qualname__", repr(value))


def json_text(value: Any) -> str:
    """`value` as indented JSON with sorted keys."""
    return json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def json_bytes(value: Any) -> int:
    """Size of the file that :func:`write_json` makes of `value`, in bytes."""
    return len(json_text(value).encode())


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON with sorted keys, UTF-8."""
    with writing(path):
        path.write_text(json_text(value), encoding="utf-8")


def require_room(folder: str | Path, nbytes: int, *, what: str, hint: str = ELSEWHERE) -> None:
    """Refuse work whose files, `nbytes` in all, will not fit the disk of `folder` (which need not exist yet).

    Raises
    ------
    OutputError
        If less is free; nothing has been written then.
    """
    place = Path(folder).expanduser().absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if nbytes > free:
        raise OutputError(f"{what} takes {_size(nbytes)}, and the disk of {folder} has {_size(free)} left.", hint=hint)


def _size(nbytes: int) -> str:
    value, units = float(nbytes), iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """`frame` as a Parquet file.

    Raises
    ------
    OutputError
        If the disk does not take it; no part of it is left then.
    """
    with writing(path):
        frame.write_parquet(path)


def write_csv(frame: pl.DataFrame, path: Path) -> None:
    """`frame` as a CSV file.

    Raises
    ------
    OutputError
        If the disk does not take it; no part of it is left then.
    """
    with writing(path):
        frame.write_csv(path)


class writing:
    """Turn whatever the system or a writer complains about inside this block into one error that names `place` and the mend.

    A file of which the disk took only a part is removed. Errors that have nothing to do with writing pass.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or (instead := cannot_write(self.place, error)) is None:
            return
        if (full_disk(error) or _cut_short(error)) and self.place.is_file():
            self.place.unlink(missing_ok=True)
        raise instead from error


def cannot_write(place: Path, error: BaseException, *, more: str = "") -> OutputError | None:
    """What to raise in place of `error`, which came while `place` was written; None if it is not about writing.

    `more` is said after the mend.
    """
    if isinstance(error, LabelwrightError) or not isinstance(error, Exception):
        return None
    number = _errno(error)
    if number is None and not _cut_short(error) and not isinstance(error, OSError):
        return None
    if number is None and _cut_short(error):
        number = _probe(place)
    where = getattr(error, "filename", None) or place
    if number in (errno.ENOSPC, errno.EDQUOT):
        said, mend = f"The disk is full: {place} cannot be written: {os.strerror(number)}.", ELSEWHERE
    elif number == errno.EFBIG:
        said, mend = f"{place} cannot be written: {os.strerror(number)}.", "Raise the limit on file sizes (ulimit -f)."
    elif number in (errno.EACCES, errno.EPERM, errno.EROFS):
        said, mend = f"No permission to write {where}.", "Name another place."
    elif number is not None:
        absent = number in (errno.ENOENT, errno.ENOTDIR)
        said, mend = (
            f"{where} cannot be written: {os.strerror(number)}.",
            f"Name {'a place in a folder that exists' if absent else 'another place'}.",
        )
    elif _cut_short(error):
        said, mend = f"{place} cannot be written: the disk took only a part of it.", ELSEWHERE
    else:
        said, mend = f"{where} cannot be written: {str(error) or type(error).__name__}.", "Name another place."
    return OutputError(said, hint=f"{mend} {more}".strip())


def full_disk(error: BaseException) -> bool:
    """Whether `error`, wherever it came from, says that a disk, a quota or a file is full."""
    return _errno(error) in FULL


def _errno(error: BaseException) -> int | None:
    """The system's number of an error; the writers in Rust keep it in their text only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if not isinstance(error, OSError) and not _by_writer(error):
        return None
    said = re.search(r"os error (\d+)", str(error))
    return int(said[1]) if said else None


def _cut_short(error: BaseException) -> bool:
    """Whether a writer says that the file could not be written to its end, and not why."""
    return _errno(error) is None and (isinstance(error, OSError) or _by_writer(error)) and any(words in str(error) for words in CUT_SHORT)


def _by_writer(error: BaseException) -> bool:
    return any(kind.__module__.partition(".")[0] in WRITERS for kind in type(error).__mro__)


def _probe(place: Path) -> int | None:
    """Why `place` took only a part of what was written: the number the system gives when a little more is written beside it."""
    folder = place if place.is_dir() else place.parent
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            left = PROBE
            while left:
                left -= file.write(b"\0" * left)
    except OSError as err:
        return err.errno
    return None


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder that appears complete or not at all: yields ``folder.partial``, renamed on success, removed on failure.

    Raises
    ------
    OutputError
        If `folder` exists and is not empty, or the disk does not take the files.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not empty.", hint="Name another folder or remove it first.")
    partial = folder.with_name(folder.name + ".partial")
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    except BaseException as err:
        instead = cannot_write(folder, err)  # first: it may look at the disk as it is
        shutil.rmtree(partial, ignore_errors=True)
        if instead is not None:
            raise instead from err
        raise
