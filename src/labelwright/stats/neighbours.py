"""Nearest neighbours, exactly and in bounded memory: top-k, kNN graph, pairs within a radius.

Points are float (N, D) arrays or tensors. All functions give *distances* (never similarities): Euclidean, or the
cosine distance ``1 - cos`` in [0, 2]. Matrix products of blocks of points find the candidates; the distances of those
kept are then recomputed from the differences, since ``|a|^2 + |b|^2 - 2ab`` loses the digits that tell near duplicates
apart. ``backend="faiss"`` uses a flat (exact) faiss index from the extra ``neighbours`` in place of the products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from labelwright import check
from labelwright.errors import InputError, require

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Backend", "Metric", "knn_graph", "radius_pairs", "symmetric", "top_k"]

Metric = Literal["euclidean", "cosine"]
Backend = Literal["torch", "faiss"]
BLOCK_ELEMENTS = 8_000_000
"""Distances held at a time (32 MB in float32, about twice that at the peak)."""
SPARE = 8
"""Candidates beyond k that are ranked again exactly, so that rounding near the border loses no neighbour."""


def _points(name: str, values: Any) -> torch.Tensor:
    x = torch.as_tensor(values)
    if x.ndim != 2 or x.shape[1] < 1:
        raise InputError(f"{name} must have shape (N, D); got {tuple(x.shape)}.")
    x = x.detach().to(torch.float32)
    if not bool(torch.isfinite(x).all()):
        row = int((~torch.isfinite(x)).any(1).nonzero()[0])
        raise InputError(f"{name} must be finite; row {row} holds NaN or infinity.")
    return x


def _prepared(metric: Metric, *sets: torch.Tensor) -> list[torch.Tensor]:
    """Unit rows for cosine, where ``|a - b|^2 / 2`` is the distance; rows about the keys' mean for Euclidean, which saves digits.

    A zero row has no direction: it stays zero, so its cosine distance to every row is set to 1 by `_exact`.
    """
    check.one_of("metric", metric, ("euclidean", "cosine"))
    if metric == "cosine":
        return [torch.nn.functional.normalize(x, dim=1) for x in sets]
    centre = sets[-1].mean(0) if len(sets[-1]) else torch.zeros(sets[-1].shape[1])
    return [x - centre for x in sets]


def _exact(queries: torch.Tensor, keys: torch.Tensor, index: torch.Tensor, metric: Metric) -> torch.Tensor:
    """Distances of each query (Q, D) to the keys at `index` (Q, K), from the differences, in blocks."""
    out = torch.empty(index.shape, dtype=torch.float32)
    step = max(1, BLOCK_ELEMENTS // max(1, index.shape[1] * queries.shape[1]))
    zero_query, zero_key = queries.abs().amax(1) == 0, keys.abs().amax(1) == 0
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        square = (queries[rows, None] - keys[index[rows]]).square_().sum(-1)
        if metric == "cosine":
            none = zero_query[rows, None] | zero_key[index[rows]]
            out[rows] = torch.where(none, torch.ones(()), square / 2)
        else:
            out[rows] = square.sqrt_()
    return out


def _blocks(queries: torch.Tensor, keys: torch.Tensor, metric: Metric) -> Iterator[tuple[int, torch.Tensor]]:
    """Approximate rank keys of all pairs, a block of queries at a time: ``|k|^2 / 2 - qk``, monotone in the distance for each query."""
    half = keys.square().sum(1) / 2 if metric == "euclidean" else torch.zeros(len(keys))
    step = max(1, BLOCK_ELEMENTS // max(1, len(keys)))
    for start in range(0, len(queries), step):
        yield start, torch.addmm(half, queries[start : start + step], keys.T, alpha=-1)


def top_k(
    queries: Any, keys: Any, k: int, *, metric: Metric = "euclidean", backend: Backend = "torch", same: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest `keys` of each query, nearest first.

    Parameters
    ----------
    queries, keys
        Float (Q, D) and (N, D).
    k
        At most N, or N - 1 with `same`.
    metric, backend
        See the module's docstring.
    same
        The queries *are* the keys: row i is not a neighbour of itself.

    Returns
    -------
    index, distance
        int64 (Q, k) and float32 (Q, k). Equal distances are ordered by index.

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, or `k` is too large.
    MissingExtra
        If faiss is asked for and absent.
    """
    q = _points("queries", queries)
    x = q if queries is keys else _points("keys", keys)
    if q.shape[1] != x.shape[1] or (same and len(q) != len(x)):
        raise InputError(f"queries {tuple(q.shape)} and keys {tuple(x.shape)} must have the same width{' and length' if same else ''}.")
    check.one_of("backend", backend, ("torch", "faiss"))
    k = check.integer("k", k, low=1, high=len(x) - same)
    (q, x) = _prepared(metric, q, x)
    wide = min(len(x), k + same + SPARE)
    if backend == "faiss":
        faiss = require("faiss", extra="neighbours", feature="backend='faiss'")
        flat = faiss.IndexFlatL2(x.shape[1])
        flat.add(x.numpy())
        found = torch.from_numpy(flat.search(q.numpy(), wide)[1])
    else:
        found = torch.empty(len(q), wide, dtype=torch.int64)
        for start, ranks in _blocks(q, x, metric):
            found[start : start + len(ranks)] = ranks.topk(wide, dim=1, largest=False, sorted=False).indices
    index = found.sort(dim=1).values  # so that the stable sort by distance breaks ties by index
    distance = _exact(q, x, index, metric)
    if same:
        distance[index == torch.arange(len(q))[:, None]] = math.inf
    order = distance.sort(dim=1, stable=True).indices[:, :k]
    return index.gather(1, order).numpy(), distance.gather(1, order).numpy()


def knn_graph(points: Any, k: int, *, metric: Metric = "euclidean", backend: Backend = "torch") -> csr_matrix:
    """Directed kNN graph as CSR (N, N) of distances, k entries a row, none on the diagonal; zero distances are stored."""
    from scipy.sparse import csr_matrix

    index, distance = top_k(points, points, k, metric=metric, backend=backend, same=True)
    n, k = index.shape
    graph = csr_matrix((distance.reshape(-1), index.reshape(-1), np.arange(0, n * k + 1, k)), shape=(n, n))
    graph.sort_indices()
    return graph


def symmetric(graph: csr_matrix, how: Literal["union", "mutual"] = "union") -> csr_matrix:
    """Undirected version of a kNN graph: edges present in either direction, or in both. Stored zeros survive."""
    from scipy.sparse import coo_matrix, csr_matrix

    check.one_of("how", how, ("union", "mutual"))
    coo = coo_matrix(graph)
    n = coo.shape[0]
    i, j = np.concatenate([coo.row, coo.col]).astype(np.int64), np.concatenate([coo.col, coo.row]).astype(np.int64)
    edges, first, counts = np.unique(i * n + j, return_index=True, return_counts=True)
    keep = counts > (how == "mutual")
    values = np.concatenate([coo.data, coo.data])[first[keep]]
    return csr_matrix((values, (edges[keep] // n, edges[keep] % n)), shape=(n, n))


def radius_pairs(points: Any, radius: float, *, metric: Metric = "euclidean") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs i < j at a distance of at most `radius`, in order of (i, j).

    Returns
    -------
    i, j, distance
        int64 (P,), int64 (P,), float32 (P,). Memory is bounded by the pairs found, beside one block.
    """
    check.in_range("radius", radius, low=0)
    x = _points("points", points)
    (x,) = _prepared(metric, x)
    half = x.square().sum(1) / 2
    n = len(x)
    # |a - b|^2 from the product is wrong by a few ulp of the norms: widen, then decide on the exact distance
    target = 2 * radius if metric == "cosine" else radius * radius
    slack = 1e-5 * float(half.max()) * 4 if n else 0.0
    found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    start = 0
    while start < n:
        step = max(1, BLOCK_ELEMENTS // (n - start))
        rows = x[start : start + step]
        near = torch.addmm(half[start:], rows, x[start:].T, alpha=-1).add_(half[start : start + step, None]).mul_(2) <= target + slack
        if metric == "cosine":  # a zero row lies at distance 1 from everything
            zero = x[start:].abs().amax(1) == 0
            none = zero[: len(rows), None] | zero[None]
            near = torch.where(none, torch.tensor(radius >= 1), near)
        i, j = near.triu_(diagonal=1).nonzero(as_tuple=True)
        i, j = i + start, j + start
        distance = _pair_distances(x, i, j, metric)
        keep = distance <= radius
        found.append((i[keep], j[keep], distance[keep]))
        start += len(rows)
    parts = list(zip(*found, strict=True)) if found else [[torch.empty(0, dtype=torch.int64)]] * 2 + [[torch.empty(0)]]
    i, j, distance = (torch.cat(list(p)) for p in parts)
    return i.numpy(), j.numpy(), distance.numpy()


def _pair_distances(x: torch.Tensor, i: torch.Tensor, j: torch.Tensor, metric: Metric) -> torch.Tensor:
    """Exact distances of the pairs (i, j), in blocks."""
    step = max(1, BLOCK_ELEMENTS // x.shape[1])
    parts = [_exact(x[i[s : s + step]], x, j[s : s + step, None], metric)[:, 0] for s in range(0, len(i), step)]
    return torch.cat(parts) if parts else torch.empty(0)
