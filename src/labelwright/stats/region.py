"""The part of a big graph that a local algorithm has seen: rows fetched once, nodes numbered as they appear.

A :class:`LocalGraph` is a graph checked once, with an edge weighting that is evaluated only where somebody looks. A
:class:`Region` grows inside it: opening nodes fetches their rows, weighs the edges and gives new neighbours the next local
numbers. Everything a region holds has the size of what it has seen; its one array of the size of the graph is lent by
the graph and cleared along the list of seen nodes, so a seed never costs a pass over all nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import numpy as np
from scipy import sparse

from labelwright.errors import InputError

__all__ = ["LocalGraph", "Region", "Weigh", "ranges"]

Weigh = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""New weights float (E,) >= 0 of edges from their ends, rows and columns int (E,), and their weights in the graph, float (E,)."""
ASYMMETRY = 1e-9  # relative difference of w_ij and w_ji that rounding may leave


class LocalGraph:
    """An undirected graph of V nodes for local work.

    Parameters
    ----------
    adjacency
        Square symmetric sparse or dense matrix (V, V) of weights >= 0, finite; zeros stored in it and self-loops
        are left out (a Laplacian does not see a self-loop, degrees and volumes would).
    weigh
        Turns the weights of edges into those to be used, called on the rows that are looked at and nowhere else. It must be
        symmetric in the two ends. Edges it gives weight 0 are not there.

    Raises
    ------
    InputError
        If the matrix is not square, not symmetric, or holds negative weights, NaN or infinity.
    """

    def __init__(self, adjacency: Any, *, weigh: Weigh | None = None) -> None:
        matrix = _checked(adjacency)
        self.indptr, self.indices, self.weights = matrix.indptr, matrix.indices, matrix.data
        self.weigh = weigh
        self.num_nodes: int = matrix.shape[0]
        self._places: np.ndarray | None = None

    def weighted(self, weigh: Weigh | None) -> LocalGraph:
        """The same graph with another weighting of its edges; nothing is copied and nothing evaluated."""
        other = object.__new__(LocalGraph)
        other.indptr, other.indices, other.weights = self.indptr, self.indices, self.weights
        other.weigh, other.num_nodes, other._places = weigh, self.num_nodes, None
        return other

    @property
    def num_edges(self) -> int:
        """Undirected edges, E."""
        return len(self.indices) // 2

    @cached_property
    def total_volume(self) -> float | None:
        """Sum of all degrees on the graph's own weights; None under a weighting, whose sum would need every edge."""
        return float(self.weights.sum()) if self.weigh is None else None

    def degrees(self, nodes: np.ndarray | None = None) -> np.ndarray:
        """Numbers of neighbours, weights left aside: int64, of `nodes` or of all."""
        if nodes is None:
            return np.diff(self.indptr).astype(np.int64)
        return (self.indptr[nodes + 1] - self.indptr[nodes]).astype(np.int64)

    def rows(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Edges of `nodes` (M,) one node after the other: edges a node int64 (M,), other ends int (E,), weights float (E,); zero weights left out."""
        counts = self.degrees(nodes)
        place = ranges(self.indptr[nodes], counts)
        ends, weights = self.indices[place], self.weights[place]
        if self.weigh is None:
            return counts, ends, weights
        owner = np.repeat(np.arange(len(nodes)), counts)
        weights = np.asarray(self.weigh(nodes[owner], ends, weights), dtype=np.float64)
        there = weights > 0
        if not there.all():
            if not (weights >= 0).all():
                raise InputError("A weighting of edges gave a negative weight or NaN.")
            counts, ends, weights = np.bincount(owner[there], minlength=len(nodes)), ends[there], weights[there]
        return counts, ends, weights

    def matrix(self) -> sparse.csr_array:
        """The weighted adjacency (V, V), every edge evaluated."""
        counts, ends, weights = self.rows(np.arange(self.num_nodes))
        indptr = np.concatenate([[0], np.cumsum(counts)])
        return sparse.csr_array((weights, ends, indptr), shape=(self.num_nodes, self.num_nodes))

    def lend_places(self) -> np.ndarray:
        """A zeroed int32 array (V,): the last one that was given back, else a new one (the system zeroes its pages as they are used)."""
        places, self._places = self._places, None
        return np.zeros(self.num_nodes, dtype=np.int32) if places is None else places

    def return_places(self, places: np.ndarray) -> None:
        """Give an array back, zeroed again."""
        self._places = places


class Region:
    """What has been seen of `graph`, as a context manager.

    Local numbers 0..size-1 stand for ``nodes[:size]``. Opened nodes have their edges in `ends` and `weights`, one after the other in
    the order of opening: `opened` lists local numbers in that order, `bounds` their borders (K + 1,). ``state`` arrays of
    the caller grow along: see :meth:`column`.
    """

    def __init__(self, graph: LocalGraph) -> None:
        self.graph = graph
        self._place = graph.lend_places()
        self._nodes, self._row, self._degree = _Growing(np.int64), _Growing(np.int64), _Growing(np.float64)
        self._ends, self._weights = _Growing(np.int32), _Growing(np.float64)
        self._opened, self._bounds = _Growing(np.int64), _Growing(np.int64)
        self._bounds.extend(np.zeros(1))
        self.edges_read = 0
        self._columns: list[tuple[_Growing, Callable[[np.ndarray], np.ndarray]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._place[self.nodes] = 0  # only what was seen: clearing all of it would cost a pass over the graph
        self.graph.return_places(self._place)

    nodes = property(lambda self: self._nodes.view, doc="Nodes seen, int64 (size,), in order of appearance.")
    degree = property(lambda self: self._degree.view, doc="Weighted degree float (size,); 0 where not opened.")
    row = property(lambda self: self._row.view, doc="Place in `opened` int64 (size,); -1 where not opened.")
    opened = property(lambda self: self._opened.view, doc="Local numbers of opened nodes, int64 (K,).")
    bounds = property(lambda self: self._bounds.view, doc="Borders of the opened rows, int64 (K + 1,).")
    ends = property(lambda self: self._ends.view, doc="Other ends of the edges of opened nodes, local numbers int32.")
    weights = property(lambda self: self._weights.view, doc="Weights of those edges.")

    @property
    def size(self) -> int:
        """Nodes seen."""
        return len(self._nodes)

    @property
    def closed(self) -> bool:
        """Whether every seen node is opened: the region is a union of whole components."""
        return len(self._opened) == len(self._nodes)

    def column(self, start: Callable[[np.ndarray], np.ndarray] | float) -> Callable[[], np.ndarray]:
        """A float value a seen node, that new nodes enter with ``start(nodes)``; the function returned gives the array (size,), to be changed in place."""
        first = start if callable(start) else lambda nodes: np.full(len(nodes), float(start))
        column = _Growing(np.float64)
        column.extend(first(self.nodes))
        self._columns.append((column, first))
        return lambda: column.view

    def number(self, nodes: np.ndarray) -> np.ndarray:
        """Local numbers of `nodes`; those not seen before get the next ones."""
        found = self._place[nodes]
        if not found.all():
            fresh = np.unique(nodes[found == 0]).astype(np.int64)
            self._place[fresh] = np.arange(self.size + 1, self.size + 1 + len(fresh), dtype=np.int32)
            self._nodes.extend(fresh)
            self._row.extend(np.full(len(fresh), -1))
            self._degree.extend(np.zeros(len(fresh)))
            for column, first in self._columns:
                column.extend(first(fresh))
            found = self._place[nodes]
        return found.astype(np.int64) - 1

    def open(self, local: np.ndarray) -> None:
        """Fetch the rows of the nodes `local` (M,) that are not opened yet."""
        local = local[self.row[local] < 0]
        if not len(local):
            return
        counts, ends, weights = self.graph.rows(self.nodes[local])
        self.edges_read += int(self.graph.degrees(self.nodes[local]).sum())
        self._ends.extend(self.number(ends))
        self._weights.extend(weights)
        self._row.view[local] = np.arange(len(self._opened), len(self._opened) + len(local))
        self._opened.extend(local)
        self._bounds.extend(self.bounds[-1] + np.cumsum(counts))
        owner = np.repeat(np.arange(len(local)), counts)
        self._degree.view[local] = np.bincount(owner, weights=weights, minlength=len(local))

    def matrix(self) -> sparse.csr_array:
        """Rows of the opened nodes, in order of opening, on all seen nodes: (K, size). Shares memory: valid until more is opened."""
        return sparse.csr_array((self.weights, self.ends, self.bounds), shape=(len(self._opened), self.size))


class _Growing:
    """An array that grows at its end in amortised constant time."""

    def __init__(self, dtype: Any) -> None:
        self._room = np.empty(16, dtype=dtype)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def view(self) -> np.ndarray:
        return self._room[: self._used]

    def extend(self, values: np.ndarray) -> None:
        need = self._used + len(values)
        if need > len(self._room):
            room = np.empty(max(need, 2 * len(self._room)), dtype=self._room.dtype)
            room[: self._used] = self.view
            self._room = room
        self._room[self._used : need] = values
        self._used = need


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``concatenate([arange(s, s + c)])`` over pairs of `starts` and `counts`, int64."""
    counts = np.asarray(counts, dtype=np.int64)
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(np.asarray(starts, dtype=np.int64) - before, counts)


def _checked(adjacency: Any) -> sparse.csr_array:
    """The matrix as float64 CSR without self-loops and stored zeros, its columns ascending."""
    matrix = sparse.csr_array(adjacency, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"The adjacency must be a square matrix; got shape {matrix.shape}.")
    bad = ~(np.isfinite(matrix.data) & (matrix.data >= 0))
    if bad.any():
        k = int(bad.argmax())
        row = int(np.searchsorted(matrix.indptr, k, side="right")) - 1
        raise InputError(
            f"Weights of edges must be finite and not negative: {int(bad.sum()):,} are not, "
            f"first from node {row} to {int(matrix.indices[k])} ({matrix.data[k]:g}).",
            hint="Distances are no weights: turn them into similarities, exp(-distance) say.",
        )
    loops = matrix.diagonal() != 0
    unclean = loops.any() or (matrix.data == 0).any() or not matrix.has_canonical_format
    if unclean:
        matrix = matrix.copy()
        matrix.sum_duplicates()
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        matrix.data[rows == matrix.indices] = 0
        matrix.eliminate_zeros()
    gap = abs(matrix - matrix.T)
    if gap.nnz and gap.max() > ASYMMETRY * matrix.data.max():
        row, col = (int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))
        raise InputError(
            f"The graph must be undirected: the weight from node {row} to {col} is {matrix[row, col]:g}, back it is {matrix[col, row]:g}.",
            hint="Add the transpose: adjacency + adjacency.T.",
        )
    return matrix
