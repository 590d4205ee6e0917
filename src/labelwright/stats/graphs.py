"""Undirected graphs as SciPy CSR matrices: cleaning, degrees, normalisation, Laplacians, components, subgraphs.

Convention of the package: an adjacency is symmetric, float32, non-negative, without self-loops and with sorted
indices; ``A[i, j]`` is the weight of the edge between i and j, 1 where nobody gave one. Degrees are sums of weights.
An isolated node has degree 0, and every normalisation leaves its row and column at zero.

Letters: V nodes, E undirected edges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from labelwright import check
from labelwright.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = [
    "Normalisation",
    "adjacency",
    "components",
    "degrees",
    "edge_list",
    "edge_sum",
    "laplacian",
    "normalised",
    "subgraph",
    "to_torch",
    "undirected",
    "within",
]

Normalisation = Literal["symmetric", "row", "column"]


def adjacency(edges: Any, num_nodes: int, *, weights: Any = None) -> sparse.csr_matrix:
    """The clean adjacency (V, V) of a list of edges; see :func:`undirected` for what cleaning does.

    Parameters
    ----------
    edges
        Integers (E, 2), either direction or both.
    num_nodes
        V; nodes without an edge are isolated.
    weights
        Non-negative (E,), 1 by default.

    Raises
    ------
    InputError
        If an end is outside 0..V-1 or a weight is negative or not finite.
    """
    check.integer("num_nodes", num_nodes, low=1)
    ends = np.asarray(edges)
    if ends.size == 0:
        return sparse.csr_matrix((num_nodes, num_nodes), dtype=np.float32)
    if ends.ndim != 2 or ends.shape[1] != 2 or ends.dtype.kind not in "iu":
        raise InputError(f"edges must be integers of shape (E, 2); got {ends.dtype} of shape {ends.shape}.")
    ends = ends.astype(np.int64)
    bad = ((ends < 0) | (ends >= num_nodes)).any(1)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"edges must join nodes 0..{num_nodes - 1}; edge {row} joins {ends[row, 0]} and {ends[row, 1]}.")
    values = np.ones(len(ends), dtype=np.float32) if weights is None else np.asarray(weights, dtype=np.float32)
    check.same_length(edges=ends, weights=values)
    order = np.lexsort((ends[:, 1], ends[:, 0]))  # repeated edges: the largest weight is kept, never the sum
    ends, values = ends[order], values[order]
    first = np.flatnonzero(np.r_[True, (ends[1:] != ends[:-1]).any(1)])
    values, ends = np.maximum.reduceat(values, first), ends[first]
    return undirected(sparse.csr_matrix((values, (ends[:, 0], ends[:, 1])), shape=(num_nodes, num_nodes)))


def undirected(matrix: Any) -> sparse.csr_matrix:
    """A square matrix as a clean adjacency: float32 CSR, A = max(A, A'), no self-loops, no stored zeros, sorted indices.

    Raises
    ------
    InputError
        If it is not square or holds a negative weight, NaN or infinity.
    """
    made = sparse.csr_matrix(matrix, dtype=np.float32, copy=True)
    if made.shape[0] != made.shape[1]:
        raise InputError(f"An adjacency must be square; got shape {made.shape}.")
    made.sum_duplicates()
    if not np.isfinite(made.data).all() or (made.data < 0).any():
        raise InputError("Weights of edges must be finite and not negative.", hint="Shift or clip them first.")
    ends = made.tocoo()
    keep = (ends.row != ends.col) & (ends.data > 0)
    made = sparse.csr_matrix((ends.data[keep], (ends.row[keep], ends.col[keep])), shape=made.shape)
    made = sparse.csr_matrix(made.maximum(made.T))
    made.sort_indices()
    return made


def degrees(adj: sparse.csr_matrix) -> np.ndarray:
    """Sum of the weights at each node: float64 (V,); the number of neighbours where there are no weights."""
    return np.asarray(adj.sum(axis=1, dtype=np.float64)).ravel()


def _inverse(values: np.ndarray, power: float) -> np.ndarray:
    """``values**-power``, 0 where a value is 0: an isolated node neither sends nor receives."""
    return np.where(values > 0, np.where(values > 0, values, 1.0) ** -power, 0.0)


def normalised(adj: sparse.csr_matrix, how: Normalisation = "symmetric", *, loops: float = 0.0) -> sparse.csr_matrix:
    """The adjacency divided by degrees, in its own dtype.

    ============  ==================  ==========================================================
    `how`         matrix              ``matrix @ Y``
    ============  ==================  ==========================================================
    ``symmetric``  D^-1/2 A D^-1/2    smoothing of graph convolutions
    ``row``        D^-1 A             mean over neighbours; rows sum to 1
    ``column``     A D^-1             every node hands its mass on; columns sum to 1, mass is kept
    ============  ==================  ==========================================================

    Parameters
    ----------
    loops
        Weight of a self-loop added to every node first (1 in graph convolutional networks).
    """
    check.one_of("how", how, ("symmetric", "row", "column"))
    check.in_range("loops", loops, low=0)
    base = adj if loops == 0 else sparse.csr_matrix(adj + loops * sparse.identity(adj.shape[0], dtype=adj.dtype, format="csr"))
    d = degrees(base)
    left = _inverse(d, {"symmetric": 0.5, "row": 1.0, "column": 0.0}[how])
    right = _inverse(d, {"symmetric": 0.5, "row": 0.0, "column": 1.0}[how])
    made = base.copy()
    made.data = (base.data * np.repeat(left, np.diff(base.indptr)) * right[base.indices]).astype(adj.dtype)
    return made


def laplacian(adj: sparse.csr_matrix, how: Literal["combinatorial", "symmetric", "row"] = "combinatorial") -> sparse.csr_matrix:
    """``D - A``, or ``I - D^-1/2 A D^-1/2`` (symmetric), or ``I - D^-1 A`` (row). Rows of isolated nodes are zero in all three."""
    check.one_of("how", how, ("combinatorial", "symmetric", "row"))
    d = degrees(adj)
    if how == "combinatorial":
        return sparse.csr_matrix(sparse.diags(d.astype(adj.dtype)) - adj)
    return sparse.csr_matrix(sparse.diags((d > 0).astype(adj.dtype)) - normalised(adj, how))


def edge_list(adj: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Every undirected edge once: ends int64 (E, 2) with the smaller first, in order, and weights (E,)."""
    upper = sparse.triu(adj, k=1).tocoo()
    order = np.lexsort((upper.col, upper.row))
    return np.stack([upper.row[order], upper.col[order]], axis=1).astype(np.int64), upper.data[order]


def edge_sum(adj: sparse.csr_matrix, values: np.ndarray) -> float:
    """``tr(R' L R) = sum over edges of w ||R_u - R_v||^2`` for `values` R (V, C): the Dirichlet energy, without a Laplacian."""
    ends, weights = edge_list(adj)
    gap = values[ends[:, 0]] - values[ends[:, 1]]
    return float((weights[:, None] * gap.reshape(len(ends), -1) ** 2).sum(dtype=np.float64))


def components(adj: sparse.csr_matrix) -> np.ndarray:
    """Number of the connected component of each node, int64 (V,), the largest component first."""
    _, found = sparse.csgraph.connected_components(adj, directed=False)
    rank = np.empty(found.max() + 1, dtype=np.int64)
    rank[np.argsort(-np.bincount(found), kind="stable")] = np.arange(len(rank))
    return rank[found]


def subgraph(adj: sparse.csr_matrix, nodes: np.ndarray) -> sparse.csr_matrix:
    """The graph of `nodes` (M,), positions, in that order: (M, M)."""
    return sparse.csr_matrix(adj[nodes][:, nodes])


def within(adj: sparse.csr_matrix, mask: np.ndarray) -> sparse.csr_matrix:
    """Only the edges whose two ends are in `mask` bool (V,); the nodes stay, so the shape does too."""
    source = np.repeat(np.arange(adj.shape[0]), np.diff(adj.indptr))
    keep = mask[source] & mask[adj.indices]
    return sparse.csr_matrix((adj.data[keep], (source[keep], adj.indices[keep])), shape=adj.shape)


def to_torch(matrix: sparse.csr_matrix, *, device: Any = None) -> torch.Tensor:
    """A SciPy CSR matrix as a torch sparse CSR tensor of its dtype; ``@`` takes dense (V, C) on either side of the border."""
    import warnings

    import torch

    with warnings.catch_warnings():
        # torch says once a process that its CSR layout may still change; its COO layout multiplies several times slower
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(np.ascontiguousarray(matrix.data)),
            size=matrix.shape,
            device=device,
            check_invariants=True,
        )
