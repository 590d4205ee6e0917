"""Folders that appear complete or not at all, and plain values as JSON: what results and datasets are written with."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import OutputError

__all__ = ["plain", "whole_folder", "write_json"]


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


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON with sorted keys, UTF-8."""
    path.write_text(json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


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
    except OSError as err:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(err, OutputError):
            raise
        raise OutputError(
            f"{folder} cannot be written: {err.strerror or err}.", hint="Free some space or name a folder on another disk."
        ) from err
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
