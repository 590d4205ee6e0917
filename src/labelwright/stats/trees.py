"""Euclidean minimum spanning trees of point clouds, without the n x n matrix.

Three ways to the same tree:

``prim``
    One matrix-vector product a step, O(n^2 d) time, O(n) memory beside the points. Best for a few thousand points on a CPU.
``boruvka``
    Blocked matrix products in torch, so it runs where the points are (CPU or CUDA). One pass over all pairs finds each
    point's k nearest neighbours; the rounds then read these lists and rescan only points whose list is used up and whose
    k-th distance could still beat their component's best edge. Exact. Best for many points and on a GPU.
``neighbour-graph``
    The tree of the k-nearest-neighbour graph, its components bridged by exact rescans. Approximate: a length is wrong only
    where a true edge is not among the k-nearest-neighbour edges, and no sorted length is ever too small.

Squared distances come from |x|^2 + |y|^2 - 2 <x, y> on centred, rescaled points and choose the edges; the lengths returned are
measured again from the coordinate differences in float64, so equal points have distance exactly 0. In float32 the choice
resolves distances down to about 3e-4 of the cloud's radius; pass float64 for more.

The lengths in ascending order are the merge heights of single linkage and the finite death times of 0-dimensional
persistent homology (Vietoris-Rips), a fact that goes back to Gower and Ross (1969).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree as _sparse_tree

from labelwright import check
from labelwright.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["SpanningTree", "boruvka", "components", "cut", "merge_heights", "prim", "spanning_tree"]

BLOCK_BYTES = 1 << 26  # 64 MiB of distances at a time: large enough for full GEMM speed, small beside the points
PRIM_LIMIT = 20_000  # on one CPU core at d = 128 the two exact methods take equally long here; at 40,000 points Boruvka is twice as fast
LIST_LENGTH = 8  # neighbours kept a point by `boruvka`; longer lists cost more in the first pass than they save in the rounds


@dataclass(frozen=True, kw_only=True, eq=False)
class SpanningTree:
    """`edges` int64 (n-1, 2) point positions, `lengths` float64 (n-1,), both in ascending order of length."""

    edges: np.ndarray
    lengths: np.ndarray

    @property
    def num_points(self) -> int:
        """n."""
        return len(self.lengths) + 1


def spanning_tree(
    points: Any,
    *,
    method: Literal["auto", "prim", "boruvka", "neighbour-graph"] = "auto",
    neighbours: int = 15,
    backend: Literal["torch", "faiss"] = "torch",
) -> SpanningTree:
    """Minimum spanning tree of the rows of `points`, float (n, d), by Euclidean distance.

    Parameters
    ----------
    points
        NumPy array or torch tensor; float32 and float64 are kept, others become float64. A CUDA tensor is worked on where it is.
    method
        ``auto`` takes Prim for up to ``PRIM_LIMIT`` points on a CPU and Boruvka otherwise; both are exact.
    neighbours, backend
        k of ``neighbour-graph``, and what finds them (see :mod:`labelwright.stats.neighbours`); unused by the exact methods.

    Raises
    ------
    InputError
        If `points` is not a finite matrix with at least one row.
    MissingExtra
        If faiss is asked for and absent.
    """
    check.one_of("method", method, ("auto", "prim", "boruvka", "neighbour-graph"))
    if method == "auto":
        on_cpu = isinstance(points, np.ndarray) or getattr(getattr(points, "device", None), "type", "cpu") == "cpu"
        method = "prim" if on_cpu and len(points) <= PRIM_LIMIT else "boruvka"
    if method == "prim":
        return prim(points)
    if method == "boruvka":
        return boruvka(points)
    check.integer("neighbours", neighbours, low=1)
    if backend == "torch" or len(points) <= neighbours:
        return boruvka(points, neighbours=neighbours, exact=False)
    from labelwright.stats.neighbours import top_k

    given = _matrix(points)
    return boruvka(given, exact=False, graph=top_k(given, given, neighbours, backend=backend, same=True))


def merge_heights(points: Any) -> np.ndarray:
    """Heights at which single linkage merges the rows of `points`: float64 (n-1,), ascending."""
    return spanning_tree(points).lengths


def prim(points: Any) -> SpanningTree:
    """Prim's algorithm with distances made on the fly. See :func:`spanning_tree`."""
    given = _matrix(points)
    n, d = given.shape
    scaled = _centred(given)
    # A row (-2x, |x|^2, 1) times a query (y, 1, |y|^2) is the squared distance: one product a step, nothing else to add.
    table = np.empty((n, d + 2), dtype=scaled.dtype)
    np.multiply(scaled, -2, out=table[:, :d])
    table[:, d] = np.einsum("nd,nd->n", scaled, scaled)
    table[:, d + 1] = 1
    query = np.empty(d + 2, dtype=scaled.dtype)
    query[d] = 1
    square = np.empty(n, dtype=scaled.dtype)
    best = np.full(n, np.inf, dtype=scaled.dtype)
    parent = np.zeros(n, dtype=np.int64)
    name = np.arange(n)  # the points still outside the tree fill the first `left` rows; a point that leaves is overwritten by the last
    edges = np.empty((n - 1, 2), dtype=np.int64)
    slot, left = n - 1, n - 1  # the last point is the root
    for step in range(n - 1):
        np.multiply(table[slot, :d], -0.5, out=query[:d])
        query[d + 1] = table[slot, d]
        joined = name[slot]
        if slot < left:
            for array in (table, best, parent, name):
                array[slot] = array[left]
        now, least = square[:left], best[:left]
        np.dot(table[:left], query, out=now)
        closer = now < least
        np.copyto(least, now, where=closer)
        np.copyto(parent[:left], joined, where=closer)
        slot = int(least.argmin())
        left -= 1
        edges[step] = parent[slot], name[slot]
    return _measured(given, edges)


def boruvka(
    points: Any,
    *,
    neighbours: int = LIST_LENGTH,
    exact: bool = True,
    graph: tuple[Any, Any] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> SpanningTree:
    """Boruvka's algorithm on blocked distance tiles, in torch, on the device of `points`.

    Parameters
    ----------
    points
        As in :func:`spanning_tree`.
    neighbours
        k, the length of each point's list of nearest points.
    exact
        Rescan points whose list may hide a shorter edge. Without it the tree of the neighbour graph is taken, and only
        components that the graph leaves unconnected are bridged.
    graph
        Neighbours found elsewhere (faiss, say): positions int (n, k) and distances (n, k), ascending, the point itself left out.
        Only sensible with ``exact=False`` unless they are exact.
    block_bytes
        Bound on one tile of distances; total memory is this, a few times, plus O(n (d + k)).
    """
    import torch

    given = points if isinstance(points, torch.Tensor) else torch.from_numpy(_matrix(points))
    check.finite("points", _matrix_shape(given))
    given = given.detach() if given.dtype in (torch.float32, torch.float64) else given.detach().double()
    n = len(given)
    centred = given - given.mean(0)
    scale = centred.abs().max().item() if given.numel() else 0.0
    scaled = centred / scale if scale > 0 else centred
    k = min(neighbours, n - 1)
    label = torch.arange(n, device=given.device)
    edges = np.empty((0, 2), dtype=np.int64)
    if n == 1:
        return SpanningTree(edges=edges, lengths=np.empty(0))
    if graph is None:
        place, square = _nearest(scaled, label, None, k, block_bytes)
    else:
        place = torch.as_tensor(graph[0], device=given.device, dtype=torch.int64)
        square = (torch.as_tensor(graph[1], device=given.device, dtype=given.dtype) / (scale or 1.0)) ** 2
        check.same_shape(positions=place, distances=square)
    while True:
        count = int(label.max()) + 1
        if count == 1:
            return _measured(given, edges)
        unsure = _rescan(scaled, label, place, square, count=count, exact=exact, block_bytes=block_bytes)
        source, target = _shortest_exits(label, place, square, count=count, without=unsure)
        a, b = label[source].cpu().numpy(), label[target].cpu().numpy()
        weight = ((scaled[source] - scaled[target]) ** 2).sum(1).cpu().numpy()
        kept = _forest(a, b, weight, count)
        ends = torch.stack([source, target], 1).cpu().numpy()[kept]
        edges = np.concatenate([edges, ends])
        merged = connected_components(csr_matrix((np.ones(len(kept)), (a[kept], b[kept])), shape=(count, count)), directed=False)[1]
        label = torch.from_numpy(merged.astype(np.int64)).to(label.device)[label]


def components(tree: SpanningTree, *, radius: float) -> np.ndarray:
    """Components of the graph that joins points at most `radius` apart: int64 (n,), numbered from 0 by first appearance."""
    return _label(tree, int(np.searchsorted(tree.lengths, radius, side="right")))


def cut(tree: SpanningTree, *, groups: int) -> np.ndarray:
    """The `groups` single-linkage clusters, left when the longest edges are taken out: int64 (n,)."""
    check.integer("groups", groups, low=1, high=tree.num_points)
    return _label(tree, tree.num_points - groups)


def _label(tree: SpanningTree, kept: int) -> np.ndarray:
    n, edges = tree.num_points, tree.edges[:kept]
    raw = connected_components(csr_matrix((np.ones(kept), (edges[:, 0], edges[:, 1])), shape=(n, n)), directed=False)[1]
    _, first, inverse = np.unique(raw, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def _matrix_shape(points: Any) -> Any:
    if points.ndim != 2 or not len(points):
        raise InputError(f"points must have shape (n, d) with n >= 1; got {tuple(points.shape)}.")
    return points


def _matrix(points: Any) -> np.ndarray:
    array = points.detach().cpu().numpy() if hasattr(points, "detach") else np.asarray(points)
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    return np.ascontiguousarray(check.finite("points", _matrix_shape(array)))


def _centred(points: np.ndarray) -> np.ndarray:
    """Centred and scaled to [-1, 1], so that the squared norms neither overflow nor drown the differences."""
    centred = points - points.mean(0, dtype=np.float64).astype(points.dtype)
    scale = float(np.abs(centred).max(initial=0.0))
    return centred / points.dtype.type(scale) if scale > 0 else centred


def _measured(points: Any, edges: np.ndarray) -> SpanningTree:
    """The tree with its lengths measured from coordinate differences in float64."""
    lengths = np.empty(len(edges))
    rows = max(1, BLOCK_BYTES // (8 * max(1, points.shape[1])))
    for start in range(0, len(edges), rows):
        part = edges[start : start + rows]
        if isinstance(points, np.ndarray):
            gap = points[part[:, 0]].astype(np.float64) - points[part[:, 1]]
        else:
            gap = (points[part[:, 0]].double() - points[part[:, 1]]).cpu().numpy()
        lengths[start : start + rows] = np.sqrt(np.einsum("nd,nd->n", gap, gap))
    order = np.argsort(lengths, kind="stable")
    return SpanningTree(edges=edges[order], lengths=lengths[order])


def _nearest(
    points: torch.Tensor, rows: torch.Tensor, label: torch.Tensor | None, k: int, block_bytes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k nearest points of another label (other points, without labels) for each of `rows`.

    Returns positions and squared distances, (rows, k), ascending; the distance is inf where there are fewer.
    """
    import torch

    norms = (points * points).sum(1)
    step = max(1, block_bytes // (points.element_size() * len(points)))
    places, squares = [], []
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        tile = torch.addmm(norms, points[part], points.T, alpha=-2)
        if label is None:
            tile.scatter_(1, part[:, None], torch.inf)
        else:
            tile.masked_fill_(label[part, None] == label, torch.inf)
        square, place = tile.topk(k, dim=1, largest=False)
        places.append(place)
        squares.append((square + norms[part, None]).clamp_(min=0))
    return torch.cat(places), torch.cat(squares)


def _rescan(
    points: torch.Tensor, label: torch.Tensor, place: torch.Tensor, square: torch.Tensor, *, count: int, exact: bool, block_bytes: int
) -> int:
    """Renew, in place, the lists that may hide their component's shortest exit; the component whose exit stays unsure, or -1.

    Lists are complete up to their last distance, so a used-up list matters only if that distance is below the component's best exit so
    far. The largest component is not rescanned, which saves most of the work when few points are left outside it: it then names no
    exit of its own, and the exits of the others suffice for progress.
    """
    import torch

    outside = label[place] != label[:, None]
    exits = square.masked_fill(~outside, torch.inf)
    best = torch.full((count,), torch.inf, dtype=square.dtype, device=square.device)
    best.scatter_reduce_(0, label, exits.min(1).values, "amin")
    best.scatter_reduce_(0, label[place].reshape(-1), exits.reshape(-1), "amin")
    reach = square[:, -1] if exact else torch.full_like(square[:, -1], -torch.inf).where(best[label].isinf(), torch.inf)
    stale = ~(outside & square.isfinite()).any(1) & (reach < best[label])
    largest = label.bincount(minlength=count).argmax()
    unsure = bool((stale & (label == largest)).any())
    rows = (stale & (label != largest)).nonzero()[:, 0]
    if len(rows):
        place[rows], square[rows] = _nearest(points, rows, label, place.shape[1], block_bytes)
    return int(largest) if unsure else -1


def _shortest_exits(
    label: torch.Tensor, place: torch.Tensor, square: torch.Tensor, *, count: int, without: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """One shortest listed edge out of each component that has one, except the component `without`: positions of its two ends."""
    import torch

    k = place.shape[1]
    source = torch.arange(len(place), device=place.device).repeat_interleave(k)
    target, weight = place.reshape(-1), square.reshape(-1)
    real = (label[source] != label[target]) & weight.isfinite()
    source, target, weight = source[real], target[real], weight[real]
    owner, twice = torch.cat([label[source], label[target]]), weight.repeat(2)
    best = torch.full((count,), torch.inf, dtype=weight.dtype, device=weight.device).scatter_reduce_(0, owner, twice, "amin")
    tied = (twice == best[owner]).nonzero()[:, 0]
    pick = torch.full((count,), len(twice), device=owner.device).scatter_reduce_(0, owner[tied], tied, "amin")
    if without >= 0:
        pick[without] = len(twice)
    chosen = pick[pick < len(twice)] % len(weight)
    return source[chosen], target[chosen]


def _forest(a: np.ndarray, b: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    """Positions of the edges that Kruskal's algorithm keeps.

    The weights are replaced by their ranks: SciPy takes a zero weight for a missing edge, and equal weights, or the two directions of
    one edge that round differently, must not close a cycle.
    """
    order = np.lexsort((np.maximum(a, b), np.minimum(a, b), weight))
    low, high = np.minimum(a, b)[order], np.maximum(a, b)[order]
    first = np.unique(low * count + high, return_index=True)[1]
    tree = _sparse_tree(csr_matrix(((first + 1).astype(np.float64), (low[first], high[first])), shape=(count, count)))
    return order[tree.data.astype(np.int64) - 1]
