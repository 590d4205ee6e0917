"""Data larger than memory: text shards and tables of numbers, read a batch at a time."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from labelwright import check
from labelwright.data.dataset import Dataset, Info
from labelwright.data.inputs import Texts
from labelwright.errors import InputError, require

__all__ = ["blocks", "shards", "stream"]

SHARDS = (".jsonl", ".ndjson", ".json", ".txt", ".parquet")
PACKED = (".gz", ".zst", ".zstd")
CHUNK = 1 << 20
MAX_LINE = 64 << 20  # a line beyond 64 MB is a file without line breaks, not a document
BLOCK_VALUES = 8_000_000  # 64 MB in float64


def shards(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that `source` means: itself, a list, or all text shards below a folder, sorted."""
    if not isinstance(source, (str, Path)):
        return [path for part in source for path in shards(part)]
    path = check.path_exists("source", source)
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.is_file() and _format(p) in SHARDS and not p.name.startswith("."))
    if not found:
        raise InputError(f"{path} holds no text shards.", hint=f"Known are {', '.join(SHARDS)}, also with {', '.join(PACKED)}.")
    return found


def stream(
    source: str | Path | Sequence[str | Path], *, text: str = "text", columns: Sequence[str] = (), batch_size: int = 1_024
) -> Iterator[Dataset]:
    """Texts in batches; memory holds one batch at a time.

    Parameters
    ----------
    source
        A file, several, or a folder. ``.jsonl`` (``.ndjson``, ``.json``: one object a line), ``.parquet``, ``.txt`` (one
        document a line; empty lines are skipped); all but Parquet also with ``.gz`` and ``.zst``.
    text
        Key or column of the text. A missing text is empty.
    columns
        Further keys or columns to carry along.
    batch_size
        Documents a batch.

    Yields
    ------
    Dataset
        Inputs :class:`Texts`, no labels; ids count the documents of the whole stream; columns ``file`` (name) and ``row``
        (from 0 within the file), and those asked for.

    Raises
    ------
    InputError
        If a file is damaged, not UTF-8, or lacks a column: with the file and the line.
    """
    check.integer("batch_size", batch_size, low=1)
    files = shards(source)
    done = 0
    texts: list[str] = []
    rows: list[tuple[str, int]] = []
    extra: list[tuple[Any, ...]] = []

    def batch() -> Dataset:
        carried = {name: _column([row[j] for row in extra]) for j, name in enumerate(columns)}
        facts = {"file": np.array([f for f, _ in rows]), "row": np.array([r for _, r in rows], dtype=np.int64)}
        return Dataset(inputs=Texts(texts), ids=np.arange(done, done + len(texts)), columns=facts | carried, info=Info(source=str(source)))

    for path in files:
        for number, row in enumerate(_documents(path, text, columns, batch_size)):
            texts.append(row[0])
            rows.append((path.name, number))
            extra.append(row[1:])
            if len(texts) == batch_size:
                yield batch()
                done += len(texts)
                texts, rows, extra = [], [], []
    if texts:
        yield batch()


def blocks(source: str | Path, *, rows: int | None = None, columns: Sequence[str] | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, float array (n, C)) over a table of numbers: probabilities for an audit larger than memory, say.

    Parameters
    ----------
    source
        ``.npy`` of shape (N, C), read through a memory map, or ``.parquet`` with a column a class.
    rows
        Rows a block; default: as many as make 8 million values.
    columns
        Parquet columns to read; default: all.

    Raises
    ------
    InputError
        If the file is damaged, not numeric, or has no such column.
    """
    path = check.path_exists("source", source)
    if path.suffix.lower() == ".npy":
        if columns is not None:
            raise InputError("columns= has no effect on .npy.", hint="Leave it out.")
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as err:
            raise InputError(f"{path} cannot be read as .npy: {err}.", hint="It may be truncated, or hold Python objects.") from err
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise InputError(f"{path} must hold numbers of shape (N, C); it has {array.dtype} {array.shape}.")
        step = rows or max(1, BLOCK_VALUES // max(1, array.shape[1]))
        for start in range(0, len(array), step):
            yield start, np.array(array[start : start + step])
        return
    if path.suffix.lower() != ".parquet":
        raise InputError(f"{path.name} cannot be read in blocks.", hint="Use .npy or .parquet.")
    start = 0
    for table in _row_groups(path, columns, rows, BLOCK_VALUES):
        try:
            block = np.stack([c.to_numpy(zero_copy_only=False) for c in table.columns], axis=1).astype(np.float64, copy=False)
        except (ValueError, TypeError) as err:
            raise InputError(f"{path} must hold numbers only.", hint="Name the columns with columns=.") from err
        yield start, block
        start += len(block)


def _format(path: Path) -> str:
    parts = [s.lower() for s in path.suffixes]
    return parts[-2] if len(parts) > 1 and parts[-1] in PACKED else parts[-1] if parts and parts[-1] not in PACKED else ".txt"


def _column(values: list[Any]) -> np.ndarray:
    if all(isinstance(v, bool) for v in values) or all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return np.asarray(values)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _documents(path: Path, text: str, columns: Sequence[str], batch_size: int) -> Iterator[tuple[Any, ...]]:
    """(text, *columns) of each document of a file."""
    kind = _format(path)
    if kind == ".parquet":
        for table in _row_groups(path, [text, *columns], batch_size, BLOCK_VALUES):
            values = [table.column(name).to_pylist() for name in (text, *columns)]
            yield from ((_word(row[0], path, text), *row[1:]) for row in zip(*values, strict=True))
        return
    if kind not in SHARDS:
        raise InputError(f"{path.name} is no text shard.", hint=f"Known are {', '.join(SHARDS)}, also with {', '.join(PACKED)}.")
    if kind == ".txt":
        if columns:
            raise InputError(f"{path.name} is plain text and has no columns {list(columns)}.")
        yield from ((line,) for _, line in _lines(path) if line.strip())
        return
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as err:
            raise InputError(f"{path}, line {number:,}: not valid JSON ({err}).", hint="Each line must be one JSON object.") from err
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number:,} holds a {type(row).__name__}, not an object.")
        for name in (text, *columns):
            if name not in row and (name == text or number == 1):
                raise InputError(f"{path}, line {number:,} has no key {name!r}.{check.nearest(name, row)}")
        yield (_word(row[text], path, text), *(row.get(name) for name in columns))


def _word(value: Any, path: Path, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{path}: {name!r} must be text; got {type(value).__name__}.")
    return value


class _Unzstd(io.RawIOBase):
    """Decompressed bytes of a zstd file. The package's own reader ends quietly where a file is cut off; this one raises EOFError."""

    def __init__(self, raw: BinaryIO) -> None:
        self.zstandard = require("zstandard", extra="text", feature="Reading .zst files")
        self.raw, self.pending = raw, memoryview(b"")
        self.frame: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.pending:
            compressed = (self.frame.unused_data if self.frame is not None and self.frame.eof else b"") or self.raw.read(CHUNK)
            if not compressed:
                if self.frame is not None and not self.frame.eof:
                    raise EOFError("the compressed stream ends in the middle")
                return 0
            if self.frame is None or self.frame.eof:
                self.frame = self.zstandard.ZstdDecompressor().decompressobj()
            try:
                self.pending = memoryview(self.frame.decompress(compressed))
            except self.zstandard.ZstdError as err:
                raise EOFError(str(err)) from err
        size = min(len(buffer), len(self.pending))
        buffer[:size], self.pending = self.pending[:size], self.pending[size:]
        return size


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(path, "rb") as file:
            yield file  # type: ignore[misc]
    elif suffix in (".zst", ".zstd"):
        with path.open("rb") as raw:
            yield io.BufferedReader(_Unzstd(raw))
    else:
        with path.open("rb") as file:
            yield file


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a text file, one at a time."""
    number, offset = 0, 0
    try:
        with _opened(path) as file:
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE:
                    raise InputError(
                        f"{path}, line {number:,} is longer than {MAX_LINE >> 20} MB.", hint="Is this text with one document a line?"
                    )
                try:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as err:
                    raise InputError(
                        f"{path} is not UTF-8: byte 0x{line[err.start]:02x} at offset {offset + err.start:,} (line {number:,}).",
                        hint="If it is Windows text: iconv -f CP1252 -t UTF-8.",
                    ) from err
                offset += len(line)
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise InputError(f"{path} is damaged after line {number:,}: {err}.", hint="Download it again.") from err
    except OSError as err:
        raise InputError(f"{path} cannot be read: {err.strerror or err}.") from err


def _row_groups(path: Path, columns: Sequence[str] | None, rows: int | None, values: int) -> Iterator[Any]:
    """Record batches of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for name in columns or ():
                check.known_word("column", name, names, place=path.name)
            wanted = list(columns) if columns else names
            yield from file.iter_batches(batch_size=rows or max(1, values // len(wanted)), columns=wanted)
    except (pa.ArrowException, OSError) as err:
        raise InputError(
            f"{path} cannot be read as Parquet: {str(err).splitlines()[0]}.", hint="It may be truncated; copy or write it again."
        ) from err
