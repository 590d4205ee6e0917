"""One graph and its nodes: what a node-level dataset holds.

A :class:`Graph` is the whole graph; :class:`GraphNodes` are the nodes that are the examples of a dataset. Taking a
subset of a dataset takes nodes and keeps the graph, so a test set of nodes still has its neighbours.

**The rule of splits** (:func:`training_view`, :func:`rows_of`), the same for every learner, in Python and on the
command line. Learning on a graph is transductive: the network sees the whole graph, so one dataset holds all rows
and the column ``split`` says which labels may be used, and for what:

* training uses the labels of rows with the word ``train`` and of no others;
* validation uses the rows with ``val`` (or ``valid``, ``validation``, ``dev``), where no other validation data are given;
* rows with ``test`` are measured after the last decision; their labels, and those of any other word, are hidden from
  learners altogether.

Without a column ``split`` every known label is used for training, and a tenth of them held out for validation.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from labelwright import check
from labelwright.data.dataset import Dataset, Info
from labelwright.data.inputs import LazyInputs, digest
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels, Labels
from labelwright.stats.graphs import components, degrees, undirected

__all__ = ["TEST", "TRAIN", "VAL", "Graph", "GraphNodes", "graph_of", "node_dataset", "rows_of", "training_view"]

TRAIN = ("train", "training")
VAL = ("val", "valid", "validation", "dev")
TEST = ("test",)


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """An undirected graph whose nodes may have features and texts.

    Attributes
    ----------
    adjacency
        Any SciPy sparse or dense square matrix (V, V) of non-negative weights. It is kept as float32 CSR, symmetrised by
        the larger of both directions, without self-loops.
    features
        float32 (V, F), dense or CSR, finite; None where nodes have none.
    texts
        V strings, or None.
    ids
        (V,) unique integers or strings; 0..V-1 by default.

    Raises
    ------
    InputError
        If shapes differ, a weight or a feature is not finite, a weight is negative, or ids repeat.
    """

    adjacency: sparse.csr_matrix
    features: np.ndarray | sparse.csr_matrix | None = None
    texts: tuple[str, ...] | None = None
    ids: Any = field(default=None)

    def __post_init__(self) -> None:
        adjacency = undirected(self.adjacency)
        n = adjacency.shape[0]
        ids = np.arange(n) if self.ids is None else np.asarray(self.ids)
        ids = ids if ids.dtype.kind in "iu" else ids.astype(str)
        check.same_length(nodes=range(n), ids=ids, texts=self.texts)
        check.unique("ids of nodes", ids)
        object.__setattr__(self, "adjacency", adjacency)
        object.__setattr__(self, "ids", ids)
        if self.texts is not None:
            object.__setattr__(self, "texts", tuple(self.texts))
        if self.features is not None:
            object.__setattr__(self, "features", _features(self.features, n))

    def __len__(self) -> int:
        return int(self.adjacency.shape[0])

    def __repr__(self) -> str:
        width = "no features" if self.features is None else f"{self.features.shape[1]:,} features"
        return f"Graph({len(self):,} nodes, {self.num_edges:,} edges, {width}{', texts' if self.texts is not None else ''})"

    @property
    def num_edges(self) -> int:
        """Undirected edges."""
        return int(self.adjacency.nnz // 2)

    @cached_property
    def degrees(self) -> np.ndarray:
        """Number of neighbours of each node, int64 (V,), whatever the weights."""
        return np.diff(self.adjacency.indptr).astype(np.int64)

    @cached_property
    def isolated(self) -> np.ndarray:
        """Nodes without an edge: bool (V,)."""
        return self.degrees == 0

    @cached_property
    def components(self) -> np.ndarray:
        """Number of the connected component of each node, int64 (V,), the largest first."""
        return components(self.adjacency)

    @property
    def weighted_degrees(self) -> np.ndarray:
        """Sum of the weights at each node, float64 (V,)."""
        return degrees(self.adjacency)

    @cached_property
    def _digest(self) -> bytes:
        hasher = hashlib.blake2b(digest_size=32)
        parts: list[Any] = [self.adjacency.indptr.astype(np.int64), self.adjacency.indices.astype(np.int64), self.adjacency.data]
        if sparse.issparse(self.features):
            parts += [self.features.indptr.astype(np.int64), self.features.indices.astype(np.int64), self.features.data]  # type: ignore[union-attr]
        elif self.features is not None:
            parts.append(self.features)
        parts.append(self.ids if self.ids.dtype.kind in "iu" else np.char.encode(self.ids, "utf-8"))
        for part in parts:
            digest(part, hasher)
        for text in self.texts or ():
            raw = text.encode("utf-8", "surrogatepass")
            hasher.update(len(raw).to_bytes(8, "little") + raw)
        return hasher.digest()


def _features(values: Any, n: int) -> np.ndarray | sparse.csr_matrix:
    made: Any = sparse.csr_matrix(values, dtype=np.float32) if sparse.issparse(values) else np.asarray(values, dtype=np.float32)
    if made.ndim != 2 or made.shape[0] != n:
        raise InputError(f"features must have shape ({n}, F), a row a node; got {made.shape}.")
    if sparse.issparse(made):
        made.sum_duplicates()
        made.sort_indices()
    check.finite("features", made.data[:, None] if sparse.issparse(made) else made)
    return made  # type: ignore[no-any-return]


class GraphNodes(LazyInputs):
    """Nodes of one graph. ``graph`` is the whole graph, ``nodes`` int64 (N,) the positions of the examples in it.

    Indexing gives a dict: ``id``, ``neighbours`` (their ids), and ``text`` or ``features`` where nodes have them.
    """

    kind = "nodes"

    def __init__(self, graph: Graph, nodes: Any = None) -> None:
        self.graph = graph
        self.nodes = np.arange(len(graph)) if nodes is None else np.asarray(nodes, dtype=np.int64)
        bad = (self.nodes < 0) | (self.nodes >= len(graph))
        if self.nodes.ndim != 1 or bad.any():
            raise InputError(f"nodes must be positions 0..{len(graph) - 1}; got {self.nodes[bad][:3].tolist() or self.nodes.shape}.")

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, i: int) -> dict[str, Any]:
        graph, node = self.graph, int(self.nodes[i])
        near = graph.adjacency.indices[graph.adjacency.indptr[node] : graph.adjacency.indptr[node + 1]]
        shown: dict[str, Any] = {"id": graph.ids[node].item(), "neighbours": graph.ids[near].tolist()}
        if graph.texts is not None:
            shown["text"] = graph.texts[node]
        if graph.features is not None:
            row = graph.features[node]
            shown["features"] = row.toarray().ravel() if sparse.issparse(row) else row
        return shown

    def take(self, index: np.ndarray) -> GraphNodes:
        return GraphNodes(self.graph, self.nodes[index])

    def digest(self, hasher: hashlib.blake2b) -> None:
        hasher.update(self.graph._digest)
        digest(self.nodes, hasher)


def node_dataset(
    graph: Graph, labels: Labels | None = None, *, split: Any = None, columns: dict[str, Any] | None = None, info: Info | None = None
) -> Dataset:
    """All nodes of `graph` as a dataset with the graph's ids; `split` (V,) words become the column of that name."""
    more = dict(columns or {}) | ({} if split is None else {"split": np.asarray(split)})
    return Dataset(inputs=GraphNodes(graph), labels=labels, ids=graph.ids, columns=more, info=info or Info())


def graph_of(data: Dataset, *, need: str = "This method") -> Graph:
    """The graph behind a node-level dataset.

    Raises
    ------
    InputError
        If the examples are not nodes of a graph.
    """
    if not isinstance(data.inputs, GraphNodes):
        raise InputError(
            f"{need} works on the nodes of a graph; this dataset holds {data.kind}.",
            hint="Load a graph: Planetoid files, an edge list, adjacency text, an NPZ with adj_data, or from_pyg in Python.",
        )
    return data.inputs.graph


def rows_of(data: Dataset, part: str) -> np.ndarray | None:
    """Which rows belong to `part` (``train``, ``val`` or ``test``): bool (N,); None without a column ``split``."""
    check.one_of("part", part, ("train", "val", "test"))
    if "split" not in data.columns:
        return None
    words = {"train": TRAIN, "val": VAL, "test": TEST}[part]
    return np.isin(np.char.lower(data.columns["split"].astype(str)), words)


def training_view(data: Dataset) -> tuple[Dataset, Dataset | None]:
    """What a learner may see of a node-level dataset: all rows with the labels of the training rows only, and the validation rows.

    The second is None where the column ``split`` is absent or marks no labelled row for validation. Datasets of other kinds come back
    as they are.

    Raises
    ------
    InputError
        If there is a column ``split`` and it marks no labelled row for training.
    """
    train = rows_of(data, "train") if data.kind == "nodes" else None
    if train is None or not isinstance(data.labels, ClassLabels):
        return data, None
    if not (train & data.known).any():
        there = ", ".join(sorted(set(data.columns["split"].astype(str).tolist()))[:6])
        raise InputError(
            f"Column 'split' marks no labelled row for training; its words are {there}.", hint="Training rows need the word 'train'."
        )
    val = rows_of(data, "val")
    hidden = replace(data.labels, values=np.where(train, data.labels.values, UNKNOWN))
    held = None if val is None or not (val & data.known).any() else data.take(val & data.known)
    return data.with_labels(hidden), held
