"""CSV, TSV, JSONL and Parquet files as Polars frames, with errors that name the row, the byte or the line."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from labelwright.data.dataset import Info
from labelwright.data.formats.columns import LABEL_COLUMNS, Source
from labelwright.errors import InputError

__all__ = ["is_text", "not_utf8", "open_binary", "read_table", "typed"]

BLOCK = 1 << 20
NULLS = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", ".")
"""Words for a missing value, in columns that otherwise hold numbers or dates."""
ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


def suffix_of(path: Path) -> str:
    """The suffix that says the format, `.gz` aside: ``.csv`` for ``a.csv.gz``."""
    parts = [s.lower() for s in path.suffixes]
    return parts[-2] if len(parts) > 1 and parts[-1] == ".gz" else parts[-1] if parts else ""


def is_text(path: Path) -> bool:
    return suffix_of(path) in (".csv", ".tsv", ".jsonl", ".ndjson")


def open_binary(path: Path) -> BinaryIO:
    """The file, decompressed where its name ends in ``.gz``."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def blocks(path: Path) -> Iterator[bytes]:
    """The (decompressed) content, 1 MB at a time.

    Raises
    ------
    InputError
        If a compressed file is truncated or damaged.
    """
    try:
        with open_binary(path) as file:
            while block := file.read(BLOCK):
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise InputError(f"{path} is not a complete gzip file: {err}.", hint="Download or compress it again.") from err


def not_utf8(path: Path) -> str | None:
    """Where the first byte that is not UTF-8 stands, in words; None if all is well. Memory stays at one block."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line = 0, 1
    pending = b""
    for block in blocks(path):
        if not offset and block[:2] in ENCODINGS:
            return f"it is {ENCODINGS[block[:2]]} (convert it: iconv -f {ENCODINGS[block[:2]]} -t UTF-8)"
        data = pending + block
        try:
            decoder.reset()
            decoder.decode(data, final=False)
            pending = decoder.getstate()[0]
        except UnicodeDecodeError as err:
            line += data[: err.start].count(b"\n")
            return f"byte 0x{data[err.start]:02x} at offset {offset + err.start:,} (line {line:,}) is not UTF-8 (it may be Windows text; convert it: iconv -f CP1252 -t UTF-8)"
        done = len(data) - len(pending)
        line += data[:done].count(b"\n")
        offset += done
    if pending:
        return f"the character at offset {offset:,} (line {line:,}), the last of the file, is cut off"
    return None


def read_table(path: Path) -> Source:
    """The table in `path`.

    Raises
    ------
    InputError
        If the file is empty, truncated, ragged, not UTF-8 or not of the format its name says.
    """
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes).", hint="Was the download or export complete?")
    info = Info(name=path.name.split(".")[0], source=str(path))
    suffix = suffix_of(path)
    features: dict[str, Any] = {}
    if suffix == ".parquet":
        frame, features = _parquet(path)
    elif suffix in (".jsonl", ".ndjson"):
        frame = _jsonl(path)
    else:
        frame = _csv(path, "\t" if suffix == ".tsv" else ",")
    return Source(frame=frame, place=path.name, info=info, base=path.parent, features=features)


def _parquet(path: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        raw = (table.schema.metadata or {}).get(b"huggingface")
        features = json.loads(raw)["info"]["features"] if raw else {}
        frame = pl.from_arrow(table)
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as err:
        raise InputError(
            f"{path} cannot be read as Parquet: {str(err).splitlines()[0]}.", hint="It may be truncated; copy or write it again."
        ) from err
    except (KeyError, TypeError, ValueError):  # metadata of another make: the data are readable all the same
        features, frame = {}, pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise InputError(f"{path} holds no table.")
    return frame, features


def _jsonl(path: Path) -> pl.DataFrame:
    content = b"".join(blocks(path))
    if not content.strip():
        raise InputError(f"{path} holds no rows.")
    try:
        return pl.read_ndjson(io.BytesIO(content), infer_schema_length=None)
    except pl.exceptions.PolarsError as err:
        raise InputError(
            f"{path} cannot be read as JSON lines: {_bad_json(path, content) or err}.", hint="Each line must be one JSON object."
        ) from err


def _bad_json(path: Path, content: bytes) -> str:
    if where := not_utf8(path):
        return where
    for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as err:
            return f"line {number:,}: {err}"
        if not isinstance(row, dict):
            return f"line {number:,} holds a {type(row).__name__}, not an object"
    return ""


def _csv(path: Path, separator: str) -> pl.DataFrame:
    head = next(blocks(path), b"")
    first = head.split(b"\n", 1)[0].decode("utf-8-sig", "replace")
    if separator == "," and "," not in first:
        # a header without a single comma, but with semicolons or tabs, was separated by those
        separator = next((s for s in (";", "\t") if s in first), ",")
    if not head.strip():
        raise InputError(f"{path} holds no rows.")
    if head[:2] in ENCODINGS:  # half of its bytes are zeros, which are valid UTF-8
        raise InputError(f"{path} cannot be read as CSV: {not_utf8(path)}.")
    source: Any = path if path.suffix.lower() != ".gz" else b"".join(blocks(path))
    reasons = []
    # tab-separated text often holds quotes that mean nothing, and so do not pair: then it is read without quoting
    for quote in ('"', None) if separator == "\t" else ('"',):
        try:
            frame = pl.read_csv(source, separator=separator, quote_char=quote, infer_schema=False)
        except pl.exceptions.PolarsError as err:
            reasons.append(
                not_utf8(path) or _ragged(path, separator, quote) or f"{str(err).splitlines()[0]} (is a double quote not closed?)"
            )
            continue
        # Polars fills short rows with nulls; the last column tells that there may be some
        short = bool(frame.height and frame.width > 1 and frame.to_series(-1).null_count())
        if not (short and (reason := _ragged(path, separator, quote))):
            return typed(frame)
        reasons.append(reason)
    hint = "Put fields that hold the separator in double quotes." if "fields" in reasons[0] else ""
    raise InputError(f"{path} cannot be read as CSV: {reasons[0]}.", hint=hint)


def _ragged(path: Path, separator: str, quote: str | None) -> str:
    """The first row with another number of fields than the header, in words, or an empty string. One row in memory at a time."""
    with open_binary(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="") as text:
        reader = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE)
        try:
            width = len(next(reader, []))
            for row in reader:
                if row and len(row) != width:
                    return f"line {reader.line_num:,} has {len(row)} fields, the header has {width}"
        except csv.Error as err:
            return f"line {reader.line_num:,}: {err}"
    return ""


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns of words that hold only numbers, truth values or dates (and words for missing) get that type, over all rows, not the first ones."""
    return frame.with_columns(_typed(column) for column in frame.iter_columns() if column.dtype == pl.String)


def _typed(column: pl.Series) -> pl.Series:
    # words for missing count as such only where everything else is a number: a class may be called "None"
    values = column.str.strip_chars()
    nulls = ("",) if column.name.lower() in LABEL_COLUMNS else NULLS
    values = values.set(values.is_in(list(nulls)), None)
    words = values.drop_nulls()
    if not len(words):
        return column.set(column == "", None)
    if words.str.contains(r"^[+-]?(\d|\.\d|(?i)inf)").all() and not words.str.contains(r"^[+-]?0\d").any():  # 007 is a name
        for dtype in (pl.Int64, pl.Float64):
            try:
                return values.cast(dtype, strict=True)
            except pl.exceptions.PolarsError:
                continue
        for pattern in ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"):
            try:
                dates = values.str.to_datetime(pattern, strict=True, time_unit="us")
            except pl.exceptions.PolarsError:
                continue
            return dates.cast(pl.Date) if pattern == "%Y-%m-%d" else dates
    if words.str.to_lowercase().is_in(["true", "false"]).all() and column.name.lower() not in LABEL_COLUMNS:
        return values.str.to_lowercase() == "true"
    return column.set(column == "", None)
