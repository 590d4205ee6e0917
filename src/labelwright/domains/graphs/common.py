"""What the readers of graphs share: notes on what cleaning did, ends of edges as positions, class words as labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from labelwright.data.dataset import Dataset, Info
from labelwright.data.formats.tabular import blocks
from labelwright.data.graphs import Graph, node_dataset
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, Labels

__all__ = ["as_dataset", "class_words", "cleaning_notes", "first_of", "lines_of", "matrix_of"]


def lines_of(path: Path) -> list[str]:
    """Lines of a (gzipped) UTF-8 text without their ends; an empty last line is none.

    Raises
    ------
    InputError
        If the file is empty, truncated or not UTF-8.
    """
    raw = b"".join(blocks(path))
    if not raw:
        raise InputError(f"{path} is empty (0 bytes).", hint="Was the download or export complete?")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise InputError(f"{path} is not UTF-8: line {raw[: err.start].count(10) + 1}.", hint="Save it as UTF-8.") from err
    return text.removesuffix("\n").replace("\r\n", "\n").removesuffix("\r").split("\n")


def first_of(folder: Path, *names: str) -> Path | None:
    """The first of `names` that is a file in `folder`, plain or gzipped."""
    return next((p for name in names for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def matrix_of(senders: Any, receivers: Any, n: int, weights: Any = None) -> sparse.csr_matrix:
    """Edges as a matrix (n, n), the larger weight of repeated ones, otherwise as they came."""
    senders, receivers = np.asarray(senders, dtype=np.int64), np.asarray(receivers, dtype=np.int64)
    values = np.ones(len(senders), dtype=np.float32) if weights is None else np.asarray(weights, dtype=np.float32)
    if not len(senders):
        return sparse.csr_matrix((n, n), dtype=np.float32)
    order = np.lexsort((receivers, senders))
    senders, receivers, values = senders[order], receivers[order], values[order]
    first = np.flatnonzero(np.r_[True, (senders[1:] != senders[:-1]) | (receivers[1:] != receivers[:-1])])
    return sparse.csr_matrix((np.maximum.reduceat(values, first), (senders[first], receivers[first])), shape=(n, n))


def cleaning_notes(raw: sparse.csr_matrix, graph: Graph) -> list[str]:
    """What became of self-loops, one-way edges and lonely nodes, in words; nothing where there are none."""
    notes = []
    if loops := int((raw.diagonal() != 0).sum()):
        notes.append(f"{loops:,} self-loops were left out")
    one_way = int(((raw != 0).astype(np.int8) - (raw != 0).T.astype(np.int8) > 0).sum())
    if one_way:
        notes.append(f"{one_way:,} edges were given in one direction and go both ways now")
    if alone := int(graph.isolated.sum()):
        notes.append(f"{alone:,} nodes have no edge")
    return notes


def as_dataset(
    graph: Graph,
    raw: sparse.csr_matrix,
    labels: Labels | None,
    *,
    path: Path,
    name: str,
    split: Any = None,
    columns: dict[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """All nodes as a dataset, with the notes among ``info.extra``."""
    said = [*notes, *cleaning_notes(raw, graph)]
    if labels is not None and (unknown := int((~labels.known).sum())):
        said.append(f"{unknown:,} nodes have no label")
    info = Info(name=name, source=str(path), extra={"notes": said} if said else {})
    return node_dataset(graph, labels, split=split, columns=columns, info=info)


def class_words(words: Sequence[str], names: Sequence[str] | None, *, path: Path) -> ClassLabels:
    """Class labels from words, "" unknown.

    Raises
    ------
    InputError
        If no node has a label.
    """
    if not any(words):
        raise InputError(f"{path} gives no node a label.", hint="Is this the right file?")
    return ClassLabels.encode(words, names or ())
