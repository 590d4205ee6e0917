"""Repairing doubtful answers: a rewired graph, and whose word counts for a node, the judge's or the network's.

    L_DE = [ a1 tr(R^T L R) + a2 ||L||_F^2 ] V / E       L = D - W of the rewired graph, R the nodes' representation
    tr(R^T L R) = sum over edges w ||R_u - R_v||^2       ||L||_F^2 = sum_v deg(v)^2 + 2 sum_e w_e^2

Edges are scored by <R_u, R_v> (or minus the squared distance, each edge's own share of the Dirichlet term). The released
code ranks them by a network that never receives a gradient, that is, at random; ``scorer="random-mlp"`` keeps that for comparison:
of several such rankings the one whose graph has the lowest L_DE wins. How many edges go and come is fixed by two shares,
since L_DE itself is least for the empty graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from labelwright import check
from labelwright.stats.graphs import adjacency as graph, edge_list
from labelwright.stats.neighbours import top_k

__all__ = ["Rewired", "candidates", "dirichlet", "edge_energy", "laplacian_norm", "overruled", "rewire"]

Scorer = Literal["inner", "distance", "random-mlp"]
WIDTHS = (1024, 512, 64)
"""Layers of the random scorer, as in the released code."""
TRIALS = 30
"""Random rankings that are tried."""


def edge_energy(vectors: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """``||R_u - R_v||^2`` of each edge, float64 (E,): its share of tr(R^T L R)."""
    vectors = np.asarray(vectors, dtype=np.float64)
    return np.asarray(((vectors[edges[:, 0]] - vectors[edges[:, 1]]) ** 2).sum(1))


def laplacian_norm(edges: np.ndarray, weights: np.ndarray, nodes: int) -> float:
    """``||D - W||_F^2 = sum_v deg(v)^2 + 2 sum_e w_e^2`` without a matrix."""
    degree = np.bincount(edges.ravel(), weights=np.repeat(weights, 2), minlength=nodes)
    return float((degree**2).sum() + 2 * (np.asarray(weights, dtype=np.float64) ** 2).sum())


def dirichlet(vectors: np.ndarray, edges: np.ndarray, weights: np.ndarray, *, a1: float, a2: float) -> float:
    """L_DE of a graph with these edges (E, 2) and weights (E,); 0 without any."""
    if not len(edges):
        return 0.0
    nodes = len(vectors)
    return (a1 * float((weights * edge_energy(vectors, edges)).sum()) + a2 * laplacian_norm(edges, weights, nodes)) * nodes / len(edges)


def candidates(vectors: np.ndarray, edges: np.ndarray, labelled: np.ndarray, *, per_node: int) -> np.ndarray:
    """Edges that might be added (M, 2), u < v: each node with its `per_node` most cosine-similar labelled nodes, existing edges left out.

    Similarities to the labelled nodes only, in blocks: O(V |labelled| C) time.
    """
    nodes = len(vectors)
    count = min(per_node + 1, len(labelled))  # a labelled node is its own nearest
    if per_node == 0 or count == 0:
        return np.empty((0, 2), dtype=np.int64)
    near = labelled[top_k(vectors, np.asarray(vectors)[labelled], count, metric="cosine")[0]]
    other = near != np.arange(nodes)[:, None]
    keep = other & (other.cumsum(1) <= per_node)
    u, v = np.nonzero(keep)[0], near[keep]
    codes = np.unique(np.minimum(u, v) * nodes + np.maximum(u, v))
    codes = np.setdiff1d(codes, edges[:, 0] * nodes + edges[:, 1], assume_unique=True)
    return np.stack([codes // nodes, codes % nodes], axis=1)


def edge_scores(vectors: np.ndarray, edges: np.ndarray, scorer: Scorer, *, seed: int = 0) -> np.ndarray:
    """How well each edge joins alike nodes, float64 (E,), higher is better."""
    if scorer == "distance":
        return -edge_energy(vectors, edges)
    vectors = np.asarray(vectors, dtype=np.float64)
    if scorer == "random-mlp":
        vectors = _random_layers(vectors, seed)
    return np.maximum(np.einsum("ed,ed->e", vectors[edges[:, 0]], vectors[edges[:, 1]]), 0)


def _random_layers(vectors: np.ndarray, seed: int) -> np.ndarray:
    """An untrained network: linear layers with SELU and layer norm between them, float64 (V, 64)."""
    import torch
    from torch import nn

    from labelwright.nn import seeded

    with seeded(seed), torch.inference_mode():
        layers: list[nn.Module] = []
        size = vectors.shape[1]
        for width in WIDTHS:
            layers += [nn.Linear(size, width), nn.SELU(), nn.LayerNorm(width)]
            size = width
        return np.asarray(nn.Sequential(*layers[:-2])(torch.from_numpy(vectors).float()).numpy(), dtype=np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rewired:
    """A changed graph: `adjacency` CSR (V, V), how many edges were `removed` and `added`, L_DE `before` and `after`."""

    adjacency: sparse.csr_matrix
    removed: int
    added: int
    before: float
    after: float


def rewire(
    adjacency: sparse.csr_matrix,
    vectors: np.ndarray,
    labelled: np.ndarray,
    *,
    per_node: int = 3,
    remove: float = 0.05,
    add: float = 0.05,
    max_edges: float = 4.0,
    a1: float = 1e-2,
    a2: float = 1e-6,
    scorer: Scorer = "inner",
    seed: int = 0,
) -> Rewired:
    """Take out the share `remove` of edges with the lowest scores, put in the share `add` of candidates with the highest.

    At most ``max_edges * V`` edges remain; ties go by the order of the edges. Shares are rounded down. Old edges keep their
    weight, new ones have weight 1.
    """
    (edges, weights), nodes = edge_list(adjacency), len(vectors)
    maybe = candidates(vectors, edges, labelled, per_node=per_node)
    drop = int(remove * len(edges))
    new = min(int(add * len(maybe)), max(0, int(max_edges * nodes) - (len(edges) - drop)))
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for trial in range(TRIALS if scorer == "random-mlp" else 1):
        old, fresh = (edge_scores(vectors, some, scorer, seed=seed + trial) for some in (edges, maybe))
        kept, chosen = np.sort(np.argsort(old, kind="stable")[drop:]), np.sort(np.argsort(-fresh, kind="stable")[:new])
        ends, strength = np.concatenate([edges[kept], maybe[chosen]]), np.concatenate([weights[kept], np.ones(new)])
        energy = dirichlet(vectors, ends, strength, a1=a1, a2=a2)
        if best is None or energy < best[0]:
            best = energy, ends, strength
    before = dirichlet(vectors, edges, weights, a1=a1, a2=a2)
    after, ends, strength = best or (before, edges, weights)  # there is at least one trial
    return Rewired(adjacency=graph(ends, nodes, weights=strength), removed=drop, added=new, before=before, after=after)


def overruled(judge: np.ndarray, network: np.ndarray, *, floor: float) -> np.ndarray:
    """Where the network's label replaces the judge's: bool (M,).

    Both are confidences of the same M nodes, each ranked among themselves (1 = surest, equal ones share the mean rank). The judge
    is overruled where its rank is behind the network's, or its confidence below `floor`.
    """
    check.same_shape(judge=judge, network=network)
    return (rankdata(-np.asarray(judge)) > rankdata(-np.asarray(network))) | (np.asarray(judge) < floor)
