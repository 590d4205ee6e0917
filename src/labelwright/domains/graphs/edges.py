"""A table of edges, with a table of nodes beside it or without.

``edges.csv`` (``.tsv``, ``.parquet``, also gzipped) has the columns ``source``, ``target`` (or ``src``, ``dst``; ``from``, ``to``) and perhaps
``weight``, a positive number. ``nodes.csv`` in the same folder has a row a node with its ``id``; its label, ``split`` and
other columns follow the rules of :func:`labelwright.data.load`: numbers are features, a column of texts gives texts. Without it the nodes
are the ends of the edges, in sorted order, and have no labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from labelwright import check
from labelwright.data.dataset import Dataset
from labelwright.data.formats.columns import dataset_from, listed
from labelwright.data.formats.graphs import EDGES, ENDS
from labelwright.data.formats.tabular import read_table
from labelwright.data.graphs import Graph
from labelwright.data.inputs import TableRows, Texts
from labelwright.domains.graphs.common import as_dataset, matrix_of
from labelwright.errors import InputError

__all__ = ["OPTIONS", "read"]

OPTIONS = ("labels", "inputs", "ids", "names")
FILLER = "labelwright filler"
"""A column that stands in where a table of nodes holds nothing but ids and labels."""
HEADER_LINES = 2  # the first row of a table is line 2 of its file


def read(path: Path, *, labels: Any = None, inputs: Any = None, ids: str | None = None, names: Sequence[str] | None = None) -> Dataset:
    """The graph of a folder with such tables, or of the edges' file.

    Raises
    ------
    InputError
        If a row of the edges lacks an end, names a node that is none, or has a weight that is no positive number: with its line.
    """
    folder = path if path.is_dir() else path.parent
    file = next(folder / name for name in EDGES if (folder / name).is_file()) if path.is_dir() else path
    senders, receivers, weights = _edges(file)
    beside = next((p for name in EDGES if (p := folder / name.replace("edges", "nodes")).is_file()), None)
    if file.name not in EDGES or beside is None:
        given = {"labels": labels, "inputs": inputs, "ids": ids, "names": names}
        if (option := next((name for name, value in given.items() if value is not None), None)) is not None:
            raise InputError(
                f"{option}= has no effect on {file}: it holds edges alone.", hint="Write the nodes to nodes.csv beside edges.csv."
            )
        if not senders:
            raise InputError(f"{file} has no rows, so there are no nodes either.", hint="Write the nodes to nodes.csv beside edges.csv.")
        found = sorted(set(senders) | set(receivers), key=lambda w: (not w.isdecimal(), int(w) if w.isdecimal() else 0, w))
        node_ids = np.array([int(w) for w in found]) if all(w.isdecimal() for w in found) else np.array(found)
        raw = _matrix(senders, receivers, weights, node_ids, file)
        return as_dataset(Graph(adjacency=raw, ids=node_ids), raw, None, path=path, name=file.name.split(".")[0])
    nodes = _nodes(beside, labels=labels, inputs=inputs, ids=ids, names=names)
    raw = _matrix(senders, receivers, weights, nodes.ids, file)
    graph, left_out = _graph(nodes, raw)
    notes = [f"columns {', '.join(left_out)} of {beside.name} hold no numbers and were left out of the features"] if left_out else []
    columns = {k: v for k, v in nodes.columns.items() if k != FILLER}
    return as_dataset(graph, raw, nodes.labels, path=path, name=folder.name, columns=columns, notes=notes)


def _edges(path: Path) -> tuple[list[str], list[str], np.ndarray | None]:
    """Ends as words and weights of all rows."""
    frame = read_table(path).frame
    lower = {c.lower(): c for c in frame.columns}
    pair = next((p for p in ENDS if set(p) <= set(lower)), None)
    if pair is None:
        raise InputError(f"{path} needs the columns source and target; it has {', '.join(frame.columns)}.")
    words = []
    for end in pair:
        column = frame.get_column(lower[end])
        if column.dtype.is_float():
            whole = column.is_nan() | column.is_null() | (column != column.round(0))
            if whole.any():
                raise InputError(f"{path}, line {int(whole.arg_max() or 0) + HEADER_LINES}: column {lower[end]!r} holds no node.")
            column = column.cast(pl.Int64)
        column = column.cast(pl.String)
        missing = column.is_null() | (column.str.strip_chars() == "")
        if missing.any():
            raise InputError(
                f"{path}, line {int(missing.arg_max() or 0) + HEADER_LINES}: column {lower[end]!r} is empty.",
                hint="An edge needs both its ends.",
            )
        words.append(column.str.strip_chars().to_list())
    return words[0], words[1], _weights(frame, lower, path)


def _weights(frame: pl.DataFrame, lower: dict[str, str], path: Path) -> np.ndarray | None:
    if "weight" not in lower:
        return None
    column = frame.get_column(lower["weight"])
    numbers = column.cast(pl.Float64, strict=False).to_numpy()
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{path}, line {row + HEADER_LINES}: weight {column[row]!r} is no positive number.")
    return numbers


def _matrix(senders: list[str], receivers: list[str], weights: np.ndarray | None, ids: np.ndarray, path: Path) -> Any:
    place = {str(one): i for i, one in enumerate(ids.tolist())}
    ends = []
    for words in (senders, receivers):
        found = np.fromiter((place.get(w, -1) for w in words), dtype=np.int64, count=len(words))
        if (found < 0).any():
            row = int((found < 0).argmax())
            raise InputError(
                f"{path}, line {row + HEADER_LINES}: node {words[row]!r} is not in the table of nodes.{check.nearest(words[row], list(place)[:5000])}"
            )
        ends.append(found)
    return matrix_of(ends[0], ends[1], len(place), weights)


def _nodes(path: Path, **columns: Any) -> Dataset:
    source = read_table(path)
    listed("label column", columns["labels"], source.frame, source.place)  # said before there is a column that nobody wrote
    listed("id column", columns["ids"], source.frame, source.place)
    if FILLER not in source.frame.columns and columns["inputs"] is None:
        source = replace(source, frame=source.frame.with_columns(pl.lit(0).alias(FILLER)))
    made = dataset_from(source, **columns)
    if "id" not in source.frame.columns and columns["ids"] is None:
        raise InputError(
            f"{path} has no column 'id' to find the nodes of the edges by.", hint="Name the column with --ids (ids= in Python)."
        )
    return made


def _graph(nodes: Dataset, raw: Any) -> tuple[Graph, list[str]]:
    """The graph with features or texts from the inputs of the table of nodes, and which of its columns are no features."""
    if isinstance(nodes.inputs, Texts):
        return Graph(adjacency=raw, texts=tuple(nodes.inputs.texts), ids=nodes.ids), []
    if isinstance(nodes.inputs, np.ndarray):
        return Graph(adjacency=raw, features=nodes.inputs, ids=nodes.ids), []
    if not isinstance(nodes.inputs, TableRows):
        raise InputError(f"Nodes can have numbers or texts; this table holds {nodes.kind}.", hint="Name the columns to use with inputs=.")
    frame = nodes.inputs.frame.drop(FILLER, strict=False)
    numeric = [c for c in frame.columns if frame.schema[c].is_numeric() or frame.schema[c] == pl.Boolean]
    for name in numeric:
        gaps = frame.get_column(name).is_null()
        if gaps.any():
            raise InputError(f"Column {name!r} of the table of nodes is empty in line {int(gaps.arg_max() or 0) + HEADER_LINES}.")
    features = frame.select(pl.col(numeric).cast(pl.Float32)).to_numpy() if numeric else None
    return Graph(adjacency=raw, features=features, ids=nodes.ids), [c for c in frame.columns if c not in numeric]
