"""Adjacency as text: a line a node with its neighbours. Two layouts, told apart by the name of the file; all files may be gzipped.

``adj.txt``       line i lists the neighbours of node i as numbers; ``labels.txt`` has the class of node i in line i. An empty line is
                  a node without neighbours, or without a label. Counting from 0 or from 1 shows in the numbers themselves.
``adjedges.txt``  a line begins with the id of a node, its neighbours' ids follow; ``labels.txt`` has ``id class`` a line, ``docs.txt``
                  ``id text``. Neighbours that are no nodes of their own (no line, or no text where there are texts) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelwright.data.dataset import Dataset
from labelwright.data.graphs import Graph
from labelwright.domains.graphs.common import as_dataset, class_words, first_of, lines_of, matrix_of
from labelwright.errors import InputError

__all__ = ["OPTIONS", "read"]

OPTIONS = ("names",)


def read(path: Path, *, names: Sequence[str] | None = None) -> Dataset:
    """The graph in a folder of such files.

    Raises
    ------
    InputError
        If a line is bad (its number is named), files do not fit together, or no node has a label.
    """
    folder = path if path.is_dir() else path.parent
    by_id = first_of(folder, "adjedges.txt")
    if by_id is not None and (path.is_dir() or path.name.startswith("adjedges")):
        return _by_id(folder, by_id, names)
    numbered = first_of(folder, "adj.txt")
    if numbered is None:
        raise InputError(f"{folder} has no adj.txt.")
    return _numbered(folder, numbered, names)


def _numbered(folder: Path, path: Path, names: Sequence[str] | None) -> Dataset:
    lines = lines_of(path)
    n = len(lines)
    words = [line.split() for line in lines]
    for number, row in enumerate(words, 1):
        bad = next((w for w in row if not w.isdecimal()), None)
        if bad is not None:
            raise InputError(f"{path}, line {number}: {bad[:40]!r} is no node number.")
    receivers = np.array([int(w) for row in words for w in row], dtype=np.int64)
    senders = np.repeat(np.arange(n), [len(row) for row in words])
    low, high = int(receivers.min(initial=n)), int(receivers.max(initial=0))
    if high > n or (high == n and low == 0):
        line = int(senders[receivers.argmax()]) + 1
        raise InputError(f"{path}, line {line}: there is no node {high}; the file has {n:,} lines{', counted from 0' if low == 0 else ''}.")
    if low > 0 and high < n and len(receivers):
        raise InputError(
            f"{path} does not show whether nodes count from 0 or from 1: neither node 0 nor node {n} has an edge.",
            hint="Write the graph as edges.csv with columns source,target.",
        )
    raw = matrix_of(senders, receivers - (1 if high == n else 0), n)
    labels = None
    if (file := first_of(folder, "labels.txt")) is not None:
        given = [line.strip() for line in lines_of(file)]
        given += [""] * (n - len(given)) if 0 < n - len(given) <= _trailing(lines) else []
        if len(given) != n:
            raise InputError(f"{file} has {len(given):,} lines, but {path.name} has {n:,}.", hint="Line i of both must be node i.")
        labels = class_words(given, names, path=file)
    return as_dataset(Graph(adjacency=raw), raw, labels, path=folder, name=folder.name)


def _trailing(lines: list[str]) -> int:
    """Empty lines at the end: nodes whose empty label an editor may have cut off."""
    return next((i for i, line in enumerate(reversed(lines)) if line.strip()), len(lines))


def _by_id(folder: Path, path: Path, names: Sequence[str] | None) -> Dataset:
    rows = [line.split() for line in lines_of(path)]
    for number, row in enumerate(rows, 1):
        if not row:
            raise InputError(f"{path}, line {number}: it is empty; a line begins with the id of its node.")
    texts = _pairs(folder, "docs.txt")
    classes = _pairs(folder, "labels.txt")
    ids = [row[0] for row in rows]
    seen: set[str] = set()
    for number, one in enumerate(ids, 1):
        if one in seen:
            raise InputError(f"{path}, line {number}: node {one} has a line already.")
        seen.add(one)
    if texts is not None and (lost := next((i for i in ids if i not in texts), None)) is not None:
        raise InputError(f"docs.txt has no line for node {lost}.", hint="Every node of adjedges.txt needs one.")
    place = {one: i for i, one in enumerate(ids)}
    ends = [(i, place.get(w, -1)) for i, row in enumerate(rows) for w in row[1:]]
    pairs = np.array(ends, dtype=np.int64).reshape(-1, 2)
    absent = pairs[:, 1] < 0
    pairs = pairs[~absent]
    raw = matrix_of(pairs[:, 0], pairs[:, 1], len(ids))
    labels = None if classes is None else class_words([classes.get(i, "") for i in ids], names, path=folder / "labels.txt")
    graph = Graph(adjacency=raw, texts=None if texts is None else tuple(texts[i] for i in ids), ids=np.array(ids))
    notes = [f"{int(absent.sum()):,} mentions of neighbours that are no nodes of the file were left out"] if absent.any() else []
    return as_dataset(graph, raw, labels, path=folder, name=folder.name, notes=notes)


def _pairs(folder: Path, name: str) -> dict[str, str] | None:
    """Lines ``id rest`` as a dictionary; None without the file."""
    path = first_of(folder, name)
    if path is None:
        return None
    made = {}
    for number, line in enumerate(lines_of(path), 1):
        one, _, rest = line.strip().partition(" ")
        if not one:
            raise InputError(f"{path}, line {number}: it is empty; a line begins with the id of its node.")
        if one in made:
            raise InputError(f"{path}, line {number}: node {one} has a line already.")
        made[one] = rest.strip()
    return made
