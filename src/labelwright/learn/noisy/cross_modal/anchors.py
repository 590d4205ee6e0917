"""Phases 1 and 2: texts replaced by those of visual neighbours, and the examples of each class that match its definition best.

    A   = 1 - d* of the k nearest of 4 k visual neighbours, after k-reciprocal re-ranking; A <- max(A, A^T); rows scaled to sum 1
    s^  = (A s + w s) / (1 + w)                            w the weight of the own text, 0 in the paper
    D_K = the K examples of each class with the smallest d*(s^c, s^_i), within the class

Everything works on vectors: any pair of a feature and an embedding of side information will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.learn.noisy.cross_modal.texts import unit_rows
from labelwright.stats.neighbours import top_k
from labelwright.stats.reranking import k_reciprocal, rerank_lists

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["AnchorSelector", "Rerank", "TextEnhancer", "edge_weights", "random_anchors"]

Rerank = Literal["lists", "graph", "none"]
CANDIDATES = 4  # neighbours looked at for each one that is kept
LEAST_WEIGHT = 1e-6  # a neighbour at distance 1 or more stays a neighbour, and a row of such ones can be scaled to sum 1


def edge_weights(index: np.ndarray, distance: np.ndarray, *, equal: bool = False) -> csr_matrix:
    """The graph of neighbour lists: CSR (N, N), rows summing to 1, symmetric support, no loops.

    Parameters
    ----------
    index, distance
        (N, k) neighbours of each row, never itself, and their distances: a nearer one weighs more, 1 - d.
        (The authors' code takes the distance itself for the weight.)
    equal
        All weights 1 instead, before scaling.
    """
    from scipy.sparse import csr_matrix, diags

    n, k = index.shape
    weights = np.ones(n * k) if equal else np.maximum(1 - distance.ravel().astype(np.float64), LEAST_WEIGHT)
    graph = csr_matrix((weights, index.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    graph = graph.maximum(graph.T)
    return (diags(1 / np.asarray(graph.sum(1)).ravel()) @ graph).tocsr()


@dataclass(frozen=True, kw_only=True)
class TextEnhancer:
    """Replaces each text embedding by the weighted mean of its visual neighbours' (one step of a simple graph convolution)."""

    neighbours: int = 5
    """k, >= 1; cut to what there is. Four times as many are looked at."""
    rerank: Rerank = "lists"
    """lists: each list of candidates within itself, as the authors do; graph: over all examples; none: cosine distance."""
    self_weight: float = 0.0
    """Weight of the own text beside its neighbours' 1 in all, >= 0."""
    equal: bool = False
    """Neighbours count the same instead of 1 - distance."""
    k1: int = 20
    k2: int = 6
    lam: float = 0.3
    """As in :func:`~labelwright.stats.reranking.k_reciprocal`."""

    def __post_init__(self) -> None:
        check.integer("neighbours", self.neighbours, low=1)
        check.one_of("rerank", self.rerank, ("lists", "graph", "none"))
        check.in_range("self_weight", self.self_weight, low=0)

    def graph(self, visual: Any) -> csr_matrix:
        """Neighbours of each row of `visual` (N, D), as :func:`edge_weights` gives them.

        Raises
        ------
        InputError
            If there are fewer than two rows.
        """
        points = unit_rows(np.asarray(visual, dtype=np.float32))
        n = len(points)
        if n < 2:
            raise InputError(f"Neighbours need at least two examples; there are {n}.")
        wide = min(n - 1, CANDIDATES * self.neighbours)
        index, distance = top_k(points, points, wide, metric="cosine", same=True)
        if self.rerank == "lists":
            distance = rerank_lists(points, index, k1=self.k1, k2=self.k2, lam=self.lam)
        elif self.rerank == "graph":
            pairs = np.repeat(np.arange(n), wide), index.ravel()
            distance = k_reciprocal(points, *pairs, k1=self.k1, k2=self.k2, lam=self.lam).reshape(n, wide)
        order = np.argsort(distance, axis=1, kind="stable")[:, : min(wide, self.neighbours)]
        return edge_weights(np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1), equal=self.equal)

    def fit_transform(self, visual: Any, text: Any) -> np.ndarray:
        """Enhanced embeddings float32 (N, E) of `text` (N, E) by the neighbours in `visual` (N, D)."""
        check.same_length(visual=visual, text=text)
        own = np.asarray(text, dtype=np.float64)
        return ((self.graph(visual) @ own + self.self_weight * own) / (1 + self.self_weight)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class AnchorSelector:
    """The `count` examples of each class whose side information is nearest to the class's own."""

    count: int = 50
    """K, >= 1; a class with fewer examples gives all of them."""
    k1: int = 20
    k2: int = 6
    lam: float = 0.3
    """As in :func:`~labelwright.stats.reranking.k_reciprocal`."""

    def __post_init__(self) -> None:
        check.integer("count", self.count, low=1)

    def select(self, text: Any, class_text: Any, labels: np.ndarray) -> np.ndarray:
        """Which examples are trusted: bool (N,) for class indices `labels` int (N,), -1 where unknown or not to be chosen.

        For cells `labels` (N, C) of 1, 0 and -1: bool (N, C), true at the `count` present cells of a class with the smallest
        re-ranked distance and at the `count` absent ones with the largest plain distance. (The authors take both ends of the
        examples that bear the class; here no anchor contradicts its label.)

        Parameters
        ----------
        text, class_text
            Embeddings (N, E) and (C, E); their length plays no part.
        """
        points, classes = unit_rows(np.asarray(text, dtype=np.float32)), unit_rows(np.asarray(class_text, dtype=np.float32))
        check.same_length(text=points, labels=labels)
        chosen = np.zeros(labels.shape, dtype=bool)
        for c, query in enumerate(classes):
            rows = np.flatnonzero(labels == c) if labels.ndim == 1 else np.flatnonzero(labels[:, c] == 1)
            best = rows[self._nearest(query, points[rows])]
            if labels.ndim == 1:
                chosen[best] = True
                continue
            absent = np.flatnonzero(labels[:, c] == 0)
            far = np.argsort(points[absent] @ query, kind="stable")[: self.count]
            chosen[best, c] = chosen[absent[far], c] = True
        return chosen

    def _nearest(self, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """Positions of the nearest `count` of `gallery`, re-ranked with the query among them."""
        n = len(gallery)
        if n <= self.count:
            return np.arange(n)
        points = np.concatenate([query[None], gallery])
        distance = k_reciprocal(points, np.zeros(n, dtype=np.int64), np.arange(1, n + 1), k1=self.k1, k2=self.k2, lam=self.lam)
        # many texts can lie at re-ranked distance 1 (no neighbour shared): the plain distance orders those
        return np.lexsort((-(gallery @ query), distance))[: self.count]


def random_anchors(labels: np.ndarray, count: int, *, num_classes: int, seed: int) -> np.ndarray:
    """The control: `count` random examples of each class (cells of each kind) in place of matched ones; shapes as in :class:`AnchorSelector`."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(labels.shape, dtype=bool)
    for c in range(num_classes):
        if labels.ndim == 1:
            chosen[rng.permutation(np.flatnonzero(labels == c))[:count]] = True
        else:
            for kind in (0, 1):
                chosen[rng.permutation(np.flatnonzero(labels[:, c] == kind))[:count], c] = True
    return chosen
