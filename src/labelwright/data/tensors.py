"""Tensors on disk as safetensors files: written whole, sized exactly before they are written, read a slice at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from labelwright.errors import InputError
from labelwright.files import plain, writing

__all__ = ["file_bytes", "open_tensors", "read_tensors", "write_tensors"]

# the order in which the format lays out types (largest alignment first), with their names in the header
TYPES = {
    torch.uint64: "U64", torch.int64: "I64", torch.float64: "F64", torch.complex64: "C64", torch.float32: "F32", torch.uint32: "U32",
    torch.int32: "I32", torch.bfloat16: "BF16", torch.float16: "F16", torch.uint16: "U16", torch.int16: "I16",
    torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
RANK = {kind: place for place, kind in enumerate(TYPES)}
KEY = "labelwright"  # the one entry of a file's metadata, JSON


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Any = None) -> None:
    """Write `tensors` and plain `facts` to `path`, which appears complete or not at all.

    Raises
    ------
    OutputError
        If the disk does not take it.
    """
    from safetensors.torch import save_file

    partial = path.with_name(path.name + ".new")
    with writing(path):
        try:
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial, metadata=_metadata(facts))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _metadata(facts: Any) -> dict[str, str] | None:
    return None if facts is None else {KEY: json.dumps(plain(facts), sort_keys=True, ensure_ascii=False)}


def file_bytes(shapes: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], facts: Any = None) -> int:
    """Size of the file that :func:`write_tensors` makes of tensors of these dtypes and shapes, in bytes, exactly."""
    header: dict[str, Any] = {} if facts is None else {"__metadata__": _metadata(facts)}
    place = 0
    for name, (dtype, shape) in sorted(shapes.items(), key=lambda item: (RANK[item[1][0]], item[0])):
        length = int(torch.Size(shape).numel()) * dtype.itemsize
        header[name] = {"dtype": TYPES[dtype], "shape": list(shape), "data_offsets": [place, place + length]}
        place += length
    text = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-text // 8) * 8 + place


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """What :func:`file_bytes` takes."""
    return {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}


@contextmanager
def open_tensors(path: Path, *, what: str) -> Iterator[Any]:
    """The open file, memory-mapped: ``.get_tensor(name)``, ``.get_slice(name)[a:b]``.

    Raises
    ------
    InputError
        If it is absent or damaged; `what` says what it should hold.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as err:
        raise InputError(f"{path} cannot be read as {what}: {err}.", hint="It may be truncated or missing; make it again.") from err


def facts_of(file: Any) -> Any:
    """The plain facts of an open file, None where it has none."""
    text = (file.metadata() or {}).get(KEY)
    return None if text is None else json.loads(text)


def read_tensors(path: Path, *, what: str) -> tuple[dict[str, Tensor], Any]:
    """All tensors of a file and its facts.

    Raises
    ------
    InputError
        If it is absent or damaged.
    """
    with open_tensors(path, what=what) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, facts_of(file)  # noqa: SIM118
