"""Groups and representatives: k-means, k-centre, herding, connected components.

Points are float (N, D) arrays or tensors; work is done in float32 tensors, in blocks of bounded size. Every random choice
comes from `seed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.neighbours import BLOCK_ELEMENTS, _points

__all__ = ["Clusters", "UnionFind", "components", "herding", "k_centre", "kmeans"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """What k-means ends with.

    `labels` int64 (N,); `centres` float32 (K, D); `inertia`: sum of squared distances to the centres; `iterations` of the
    best restart; `converged`: no label changed in its last iteration.
    """

    labels: np.ndarray
    centres: np.ndarray
    inertia: float
    iterations: int
    converged: bool


def _nearest(x: torch.Tensor, half: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest centre (N,) and squared distance (N,) of each row; `half` = |x|^2 / 2."""
    labels, square = torch.empty(len(x), dtype=torch.int64), torch.empty(len(x))
    offset = centres.square().sum(1) / 2
    step = max(1, BLOCK_ELEMENTS // len(centres))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        best = torch.addmm(offset, x[rows], centres.T, alpha=-1).min(1)
        labels[rows], square[rows] = best.indices, (best.values + half[rows]).mul_(2).clamp_(min=0)
    return labels, square


def _plus_plus(x: torch.Tensor, k: int, rng: np.random.Generator) -> torch.Tensor:
    """k-means++ seeds (Arthur and Vassilvitskii 2007), the greedy variant: of several candidates, the one that lowers the cost most."""
    trials = 2 + int(np.log(k))
    chosen = [int(rng.integers(len(x)))]
    square = (x - x[chosen[0]]).square_().sum(1)
    for _ in range(1, k):
        total = np.cumsum(square.double().numpy())
        if total[-1] <= 0:  # fewer distinct points than centres: any further point repeats one
            chosen.append(int(rng.integers(len(x))))
            continue
        picks = np.minimum(np.searchsorted(total, rng.random(trials) * total[-1]), len(x) - 1)
        options = [torch.minimum(square, (x - x[int(p)]).square_().sum(1)) for p in picks]
        best = int(np.argmin([float(o.sum(dtype=torch.float64)) for o in options]))
        chosen.append(int(picks[best]))
        square = options[best]
    return x[chosen].clone()


def _means(x: torch.Tensor, labels: torch.Tensor, square: torch.Tensor, k: int) -> torch.Tensor:
    """Mean of each group; an empty group moves to a point that lies farthest from its centre."""
    counts = torch.bincount(labels, minlength=k)
    # sums in float64: a group may hold millions of rows
    sums = torch.zeros(k, x.shape[1], dtype=torch.float64).index_add_(0, labels, x.double())
    centres = (sums / counts.clamp(min=1)[:, None]).float()
    empty = (counts == 0).nonzero()[:, 0]
    if len(empty):
        centres[empty] = x[square.topk(len(empty)).indices]
    return centres


def kmeans(points: Any, k: int, *, seed: int, restarts: int = 3, iterations: int = 100) -> Clusters:
    """Lloyd's algorithm from greedy k-means++ seeds; the restart of least inertia.

    Parameters
    ----------
    points
        Float (N, D), finite.
    k
        Groups, 1..N. All N rows are used; fewer distinct rows than `k` leave groups empty.
    restarts, iterations
        Independent seedings; most rounds of each.

    Raises
    ------
    InputError
        If `k` exceeds N or a value is not finite.
    """
    x = _points("points", points)
    k = check.integer("k", k, low=1, high=len(x))
    check.integer("restarts", restarts, low=1)
    check.integer("iterations", iterations, low=1)
    shift = x.mean(0)
    x = x - shift  # keeps the digits of |x|^2 / 2 - xc for data far from the origin
    half, rng = x.square().sum(1) / 2, np.random.default_rng(seed)
    best: Clusters | None = None
    for _ in range(restarts):
        centres = _plus_plus(x, k, rng)
        labels, square = _nearest(x, half, centres)
        done, turn = False, 0
        while not done and turn < iterations:
            turn += 1
            centres = _means(x, labels, square, k)
            before, (labels, square) = labels, _nearest(x, half, centres)
            done = bool((before == labels).all())
        inertia = float((x - centres[labels]).square_().sum(dtype=torch.float64))
        if best is None or inertia < best.inertia:
            best = Clusters(labels.numpy(), (centres + shift).numpy(), inertia, turn, done)
    if best is None:  # unreachable: restarts >= 1
        raise InputError("restarts must be at least 1.")
    return best


def k_centre(points: Any, k: int, *, start: Any = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Greedy k-centre (Gonzalez 1985): always the point farthest from those chosen, within twice the optimal radius.

    Parameters
    ----------
    points
        Float (N, D).
    k
        How many to choose beside `start`, at most N minus its length.
    start
        Positions already chosen (labelled, say). None or empty: a first point drawn with `seed`.

    Returns
    -------
    chosen, radius
        int64 (k,) in order of choice, without `start`; float32 (k,): the largest distance of any point to the nearest
        chosen one after each choice, never growing.
    """
    x = _points("points", points)
    before = np.asarray([] if start is None else start, dtype=np.int64)
    k = check.integer("k", k, low=1, high=len(x) - len(np.unique(before)))
    square, taken = torch.full((len(x),), torch.inf), torch.zeros(len(x), dtype=torch.bool)
    for i in before.tolist():
        square, taken[i] = torch.minimum(square, (x - x[i]).square_().sum(1)), True
    chosen: list[int] = []
    radius: list[float] = []
    for _ in range(k):
        if len(before) or chosen:
            i = int(torch.where(taken, torch.tensor(-1.0), square).argmax())  # a repeated point may lie at distance 0
        else:
            i = int(np.random.default_rng(seed).integers(len(x)))
        square, taken[i] = torch.minimum(square, (x - x[i]).square_().sum(1)), True
        chosen.append(i)
        radius.append(float(square.max()) ** 0.5)
    return np.array(chosen, dtype=np.int64), np.array(radius, dtype=np.float32)


def herding(points: Any, k: int) -> np.ndarray:
    """Herding (Welling 2009): `k` positions whose running mean stays closest to the mean of all points; int64 (k,), in order.

    Each step takes the point that brings the mean of those chosen nearest to the overall mean (the form of iCaRL).
    """
    x = _points("points", points)
    k = check.integer("k", k, low=1, high=len(x))
    x = x - x.mean(0)  # now the target is 0: minimise |s + x|^2 = 2 <s, x> + |x|^2 + constant
    square, total = x.square().sum(1), torch.zeros(x.shape[1])
    free = torch.zeros(len(x))
    chosen: list[int] = []
    for _ in range(k):
        i = int((2 * (x @ total) + square + free).argmin())
        chosen.append(i)
        total = total + x[i]
        free[i] = torch.inf
    return np.array(chosen, dtype=np.int64)


def components(n: int, i: Any, j: Any) -> tuple[int, np.ndarray]:
    """Connected components of an undirected graph of `n` nodes with edges (i[e], j[e]).

    Returns
    -------
    count, labels
        Number of components and int64 (n,), numbered by their first node.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b = (check.class_index(name, v, num_classes=n) for name, v in (("i", i), ("j", j)))
    check.same_length(i=a, j=b)
    count, raw = connected_components(coo_matrix((np.ones(len(a), dtype=bool), (a, b)), shape=(n, n)), directed=False)
    _, first, inverse = np.unique(raw, return_index=True, return_inverse=True)
    return int(count), np.argsort(np.argsort(first))[inverse].astype(np.int64)


class UnionFind:
    """Disjoint sets that grow by edges, for streams; for edges at hand use :func:`components`. Amortised near-constant time."""

    def __init__(self, n: int) -> None:
        self.parent = list(range(check.integer("n", n, low=0)))
        self.size = [1] * n

    def find(self, a: int) -> int:
        """The representative of `a`'s set."""
        parent = self.parent
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    def union(self, a: int, b: int) -> bool:
        """Join the sets of `a` and `b`; False if they were one already."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return False
        if self.size[a] < self.size[b]:
            a, b = b, a
        self.parent[b], self.size[a] = a, self.size[a] + self.size[b]
        return True

    def labels(self) -> np.ndarray:
        """int64 (n,): the component of each element, numbered by its first one."""
        roots = [self.find(a) for a in range(len(self.parent))]
        number: dict[int, int] = {}
        return np.array([number.setdefault(r, len(number)) for r in roots], dtype=np.int64)
