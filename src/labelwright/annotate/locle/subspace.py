"""Which nodes to ask about first: those nearest to the centres of clusters in the leading subspace of smoothed features.

    H = X + sum_{l=1..T} (alpha A)^l X        A = D^{-1/2} W D^{-1/2}
    H ~ Q S B                                 truncated SVD; Q the r leading left singular vectors, (V, r)
    score(v) = 1 / (1 + ||R_v - centre(v)||)  centres by k-means on the rows R

The released code multiplies by A once in every term; here it is the power series. It takes R = Q. Rows of Q are short where a
node has few words and few neighbours, so k-means makes one large cluster of short rows around the origin, whose members are all
"near the centre": they are poor nodes to ask about. By default R_v is the unit vector along (Q S)_v, which compares
directions, as spectral clustering does (Ng, Jordan, Weiss 2002).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from labelwright import check
from labelwright.stats.cluster import kmeans

__all__ = ["Rows", "choose", "closeness", "leading_subspace", "smoothed", "smoothing"]

Rows = Literal["unit", "raw"]
SPARSE = 0.25
"""Share of non-zero features below which sparse products are faster."""
OVERSAMPLE, POWER = 10, 4
"""Extra directions and power iterations of the randomised decomposition; four make the leading subspace exact to about 1e-3 on
spectra that fall as slowly as those of word counts."""


def smoothed(operator: sparse.csr_matrix, features: np.ndarray, *, hops: int = 2, alpha: float = 1.0) -> np.ndarray:
    """``X + sum_{l=1..hops} (alpha A)^l X``, float64 (V, F). A row of `operator` (A, normalised adjacency) that is empty leaves its node as it is."""
    check.same_length(operator=range(operator.shape[0]), features=range(features.shape[0]))
    term = np.asarray(features, dtype=np.float64)
    total = term.copy()
    for _ in range(check.integer("hops", hops, low=0)):
        term = alpha * (operator @ term)
        total += term
    return total


def smoothing(operator: sparse.csr_matrix, features: np.ndarray, *, hops: int = 2, alpha: float = 1.0) -> LinearOperator:
    """The matrix that :func:`smoothed` gives, (V, F), as its products: never made, and features that are mostly zero stay sparse."""
    few = np.count_nonzero(features) < SPARSE * features.size
    words = sparse.csr_matrix(features, dtype=np.float64) if few else np.asarray(features, dtype=np.float64)
    return LinearOperator(
        shape=features.shape,
        dtype=np.float64,
        matvec=lambda v: smoothed(operator, words @ v.reshape(-1, 1), hops=hops, alpha=alpha),
        matmat=lambda block: smoothed(operator, words @ block, hops=hops, alpha=alpha),
        rmatmat=lambda block: words.T @ smoothed(operator, block, hops=hops, alpha=alpha),  # A is symmetric, so is the power series
    )


def leading_subspace(values: np.ndarray | LinearOperator, rank: int, *, seed: int, rows: Rows = "unit") -> np.ndarray:
    """The nodes in the `rank` leading directions, float64 (V, r), r at most the smaller side of `values`.

    Exact where that side is little more than `rank`, else by randomised subspace iteration (Halko, Martinsson, Tropp 2011), which needs
    products with blocks only. `rows`: ``raw`` for the left singular vectors, ``unit`` for those times their singular values, each row
    brought to length 1 (rows of zeros stay).
    """
    rank = min(check.integer("rank", rank, low=1), *values.shape)
    width = min(rank + OVERSAMPLE, *values.shape)
    product = aslinearoperator(values)
    if width == min(values.shape):
        dense = product.matmat(np.eye(values.shape[1])) if isinstance(values, LinearOperator) else values
        left, size, _ = np.linalg.svd(dense, full_matrices=False)
    else:
        start = np.random.default_rng(seed).normal(size=(values.shape[1], width))
        basis = np.linalg.qr(product.matmat(start))[0]
        for _ in range(POWER):
            basis = np.linalg.qr(product.matmat(np.linalg.qr(product.rmatmat(basis))[0]))[0]
        inner, size, _ = np.linalg.svd(product.rmatmat(basis).T, full_matrices=False)
        left = basis @ inner
    left, size = left[:, :rank], size[:rank]
    if rows == "raw":
        return np.asarray(left, dtype=np.float64)
    weighted = np.asarray(left * size, dtype=np.float64)
    length = np.linalg.norm(weighted, axis=1, keepdims=True)
    return weighted / np.where(length > 0, length, 1.0)


def closeness(vectors: np.ndarray, clusters: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Score ``1 / (1 + ||Q_v - centre(v)||)`` in (0, 1] and cluster int64 of each row, both (V,)."""
    found = kmeans(vectors, min(clusters, len(vectors)), seed=seed)
    distance = np.linalg.norm(vectors - found.centres[found.labels], axis=1)
    return 1 / (1 + distance), found.labels


def choose(scores: np.ndarray, groups: np.ndarray, count: int, *, per_cluster: bool = False) -> np.ndarray:
    """Positions int64 (count,) of the highest scores, best first; equal scores by position.

    `per_cluster`: the best of every cluster before the second of any, so that no tight cluster takes all.
    """
    check.same_shape(scores=scores, groups=groups)
    count = check.integer("count", count, low=0, high=len(scores))
    order = np.argsort(-scores, kind="stable")
    if not per_cluster:
        return order[:count]
    by_group = order[np.argsort(groups[order], kind="stable")]  # each cluster a run, best first
    first = np.flatnonzero(np.r_[True, np.diff(groups[by_group]) != 0])
    turn = np.arange(len(order)) - np.repeat(first, np.diff(np.r_[first, len(order)]))
    return by_group[np.lexsort((by_group, -scores[by_group], turn))][:count]
