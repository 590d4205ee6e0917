"""Hugging Face datasets: by id, from a folder written by ``save_to_disk``, or as an object."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from labelwright import check
from labelwright.data.dataset import Dataset, Info
from labelwright.data.formats.columns import Source, dataset_from
from labelwright.errors import InputError, require

__all__ = ["PREFIX", "from_huggingface", "read_hub"]

PREFIX = "hf:"
FEATURE = "Reading Hugging Face datasets"


def read_hub(address: str, *, split: str | None = None, **columns: Any) -> Dataset:
    """``hf:owner/name`` or ``hf:owner/name:configuration``, or ``hf:FOLDER`` written by ``save_to_disk``.

    Without `split`, all splits are read one after the other and a column ``split`` says which.

    Raises
    ------
    MissingExtra
        If the package ``datasets`` is not installed.
    InputError
        If there is no such dataset, configuration or split, or the network cannot be reached.
    """
    datasets = require("datasets", extra="hf", feature=FEATURE)
    name = address.removeprefix(PREFIX)
    local = Path(name).expanduser()
    try:
        if local.is_dir():
            found = datasets.load_from_disk(str(local))
        else:
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?", name):
                raise InputError(f"{address!r} is not of the form hf:owner/name, hf:owner/name:configuration or hf:FOLDER.")
            owner, _, configuration = name.partition(":")
            # remote code is never run: script datasets are refused by `datasets` itself since version 4
            found = datasets.load_dataset(owner, configuration or None)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as err:
        raise InputError(f"{address} cannot be read: {str(err).splitlines()[0]}", hint="Check the name and the network.") from err
    return from_huggingface(found, split=split, name=name, **columns)


def from_huggingface(
    found: Any,
    *,
    labels: str | Sequence[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    ids: str | None = None,
    split: str | None = None,
    names: Sequence[str] | None = None,
    name: str = "",
) -> Dataset:
    """A :class:`Dataset` from a ``datasets.Dataset`` or ``DatasetDict``; images stay encoded until used, class names come from ``ClassLabel``.

    The column rules are those of :func:`labelwright.data.load`.
    """
    parts = dict(found) if isinstance(found, dict) else {"": found}
    if isinstance(found, dict) and split is not None:
        parts = {split: parts[check.known_word("split", split, parts, place=name or "the dataset")]}
    first = next(iter(parts.values()), None)
    if first is None or not hasattr(first, "features") or not hasattr(first, "with_format"):
        raise InputError(f"Expected a datasets.Dataset or DatasetDict; got {type(found).__name__}.")
    frames = []
    for key, part in parts.items():
        frame = pl.from_arrow(part.with_format("arrow")[:])
        if not isinstance(frame, pl.DataFrame):
            raise InputError(f"{name or 'The dataset'} holds no table.")
        frames.append(frame.with_columns(pl.lit(key).alias("split")) if isinstance(found, dict) and "split" not in frame.columns else frame)
    frame = pl.concat(frames, how="diagonal_relaxed")
    about = first.info
    info = Info(
        name=name or str(getattr(about, "dataset_name", "") or ""),
        source=f"{PREFIX}{name}" if name else "datasets.Dataset",
        license=str(about.license or ""),
        description=str(about.description or ""),
    )
    source = Source(frame=frame, place=name or "the dataset", info=info, features=first.features.to_dict())
    return dataset_from(source, labels=labels, inputs=inputs, ids=ids, split=split if not isinstance(found, dict) else None, names=names)
