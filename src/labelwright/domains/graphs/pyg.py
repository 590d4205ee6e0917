"""Graphs of PyTorch Geometric: ``Data`` objects to datasets of nodes, without importing that package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.data.dataset import Dataset
from labelwright.data.formats.arrays import array_labels
from labelwright.data.graphs import Graph
from labelwright.domains.graphs.archive import MASKS, split_words
from labelwright.domains.graphs.common import as_dataset, matrix_of
from labelwright.errors import InputError

__all__ = ["from_pyg"]


def from_pyg(
    data: Any, *, names: Sequence[str] | None = None, ids: Any = None, texts: Sequence[str] | None = None, name: str = "graph"
) -> Dataset:
    """The nodes of a homogeneous ``torch_geometric.data.Data``.

    Parameters
    ----------
    data
        With ``edge_index`` (2, M), and perhaps ``x`` (V, F), ``y`` (V,) class indices, -1 unknown, ``edge_weight`` (or ``edge_attr`` with
        one number an edge), ``train_mask``, ``val_mask``, ``test_mask`` (V,).
    names, ids, texts
        Class names in order, ids and texts of nodes.

    Raises
    ------
    InputError
        If it has no ``edge_index``, an end is no node, or shapes differ.
    """
    index = getattr(data, "edge_index", None)
    if index is None:
        raise InputError(f"{type(data).__name__} has no edge_index.", hint="Pass a homogeneous torch_geometric.data.Data.")
    ends = _array(index)
    n = int(data.num_nodes)
    if ends.ndim != 2 or ends.shape[0] != 2 or (ends.size and (ends.min() < 0 or ends.max() >= n)):
        raise InputError(f"edge_index must hold nodes 0..{n - 1} in shape (2, M); got shape {ends.shape}.")
    weights = getattr(data, "edge_weight", None)
    if weights is None and (attr := getattr(data, "edge_attr", None)) is not None and _array(attr).size == ends.shape[1]:
        weights = attr
    raw = matrix_of(ends[0], ends[1], n, None if weights is None else _array(weights).reshape(-1))
    x, y = getattr(data, "x", None), getattr(data, "y", None)
    labels = None
    if y is not None:
        values = _array(y)
        labels = array_labels(values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values, names, what="y")
    graph = Graph(adjacency=raw, features=None if x is None else _array(x), texts=None if texts is None else tuple(texts), ids=ids)
    masks = {word: None if (mask := getattr(data, key, None)) is None else _array(mask) for key, word in MASKS}
    return as_dataset(graph, raw, labels, path=Path(name), name=name, split=split_words(n, masks))


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
