"""Which nodes to ask about first: those nearest to the centres of clusters in the leading subspace of smoothed features.

    H = X + sum_{l=1..T} (alpha A)^l X        A = D^{-1/2} W D^{-1/2}
    Q = the r leading left singular vectors of H, (V, r)
    score(v) = 1 / (1 + ||Q_v - centre(v)||)  centres by k-means on the rows of Q

The released code multiplies by A once in every term; here it is the power series.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from labelwright import check
from labelwright.stats.cluster import kmeans

__all__ = ["choose", "closeness", "leading_subspace", "smoothed"]

OVERSAMPLE, POWER = 10, 4
"""Extra directions and power iterations of the randomised decomposition; four make the leading subspace exact to about 1e-3 on
spectra that fall as slowly as those of word counts."""


def smoothed(operator: sparse.csr_matrix, features: np.ndarray | sparse.spmatrix, *, hops: int = 2, alpha: float = 1.0) -> np.ndarray:
    """``X + sum_{l=1..hops} (alpha A)^l X``, float64 (V, F). A row of `operator` (A, normalised adjacency) that is empty leaves its node as it is."""
    check.same_length(operator=range(operator.shape[0]), features=range(features.shape[0]))
    term = np.asarray(sparse.csr_matrix(features).toarray() if sparse.issparse(features) else features, dtype=np.float64)
    total = term.copy()
    for _ in range(check.integer("hops", hops, low=0)):
        term = alpha * (operator @ term)
        total += term
    return total


def leading_subspace(values: np.ndarray, rank: int, *, seed: int) -> np.ndarray:
    """The `rank` leading left singular vectors, float64 (V, r), r at most the smaller side of `values`."""
    rank = min(check.integer("rank", rank, low=1), *values.shape)
    if min(values.shape) <= rank + OVERSAMPLE:
        return np.asarray(np.linalg.svd(values, full_matrices=False)[0][:, :rank])
    from sklearn.utils.extmath import randomized_svd

    left = randomized_svd(values, rank, n_oversamples=OVERSAMPLE, n_iter=POWER, random_state=seed)[0]
    return np.asarray(left, dtype=np.float64)


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
