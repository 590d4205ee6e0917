"""Part of ``noisy_local_clustering.py``: what one seed costs in a planted graph, ours and on the whole graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

import _harness as bench
from labelwright.annotate.local_clustering import LabelWeights, pagerank_cluster
from labelwright.stats.flow import Diffusion, flow_diffusion, flow_diffusion_block
from labelwright.stats.propagation import pagerank
from labelwright.stats.region import LocalGraph
from labelwright.stats.sweep import sweep_cut

__all__ = ["EPS", "PAGERANK", "cost", "graph_from", "growth"]

EPS = 0.05
PAGERANK = {
    "alpha": 0.1,
    "rho": 1e-5,
}  # the best of nine settings on 16 draws of Amazon Photo and 8 of the local model (numbers from 1,000 on)


def graph_from(ends: np.ndarray, n: int) -> LocalGraph:
    """The graph of a list of edges, each once, without loops."""
    ends = ends[ends[:, 0] != ends[:, 1]]
    matrix = sparse.csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n))
    matrix = matrix + matrix.T
    matrix.data[:] = 1
    return LocalGraph(matrix)


def planted(n: int, seed: int, *, size: int = 500) -> LocalGraph:
    """A cluster of 24 edges a node inside and 4 to the rest, whose nodes have about 10, in a graph of n."""
    rng = np.random.default_rng(seed)
    inside = rng.integers(0, size, (12 * size, 2))
    border = np.stack([rng.integers(0, size, 4 * size), rng.integers(size, n, 4 * size)], axis=1)
    return graph_from(np.concatenate([inside, border, rng.integers(size, n, (5 * (n - size), 2))]), n)


def one_seed(graph: LocalGraph, number: int) -> tuple[Callable[[], Diffusion], Callable[[np.ndarray], np.ndarray], int, float]:
    """Labelled flow and sweep from one node of the planted cluster, guesses (a fifth wrong) asked for as needed; these, the node and the mass."""
    size, n = 500, graph.num_nodes
    rng = np.random.default_rng(number)
    start, mass = int(rng.integers(size)), 2.0 * 28 * size
    wrong = rng.random(n) < 0.2

    def guess(nodes: np.ndarray) -> np.ndarray:
        return (nodes < size) ^ wrong[nodes]

    def run() -> Diffusion:
        under = graph.weighted(LabelWeights(guess, n, eps=EPS, known={start: 1}))
        found = flow_diffusion(under, {start: mass})
        sweep_cut(under, found)
        return found

    return run, guess, start, mass


def growth(sizes: Sequence[int], number: int, repeats: int) -> dict[str, float]:
    """Seconds of one seed in both graphs, in turns, so that whatever else the machine does slows both alike."""
    runs = {n: one_seed(planted(n, number), number)[0] for n in sizes}
    seconds = bench.median_seconds({str(n): run for n, run in runs.items()}, repeats=repeats)
    small, large = (seconds[str(n)] for n in sorted(sizes))
    edges = {n: run().edges for n, run in runs.items()}
    return {"smaller": small, "larger": large, "ratio": large / small, "ratio_of_edges": edges[max(sizes)] / edges[min(sizes)]}


def cost(n: int, number: int, repeats: int) -> dict[str, float]:
    """Seconds of one seed, ours and on the whole graph, in turns; nodes and edges touched."""
    import networkx
    from sknetwork.ranking import PageRank

    graph = planted(n, number)
    labelled, guess, start, mass = one_seed(graph, number)
    adjacency = sparse.csr_matrix(graph.matrix())
    whole = LabelWeights(guess(np.arange(n)).astype(np.int8), n, eps=EPS, known={start: 1})
    onehot = np.zeros(n)
    onehot[start] = 1
    local: dict[str, Callable[[], object]] = {
        "labelled flow, one seed": labelled,
        "labelled pagerank pushes, one seed": lambda: pagerank_cluster(
            graph.weighted(LabelWeights(guess, n, eps=EPS, known={start: 1})), [start], **PAGERANK
        ),
    }
    everywhere: dict[str, Callable[[], object]] = {
        "the same flow on all nodes": lambda: flow_diffusion_block(graph.weighted(whole), [{start: mass}]),
        "pagerank by power iteration": lambda: pagerank(adjacency, onehot, damping=0.9, tolerance=1e-8),
        "scikit-network pagerank": lambda: PageRank(damping_factor=0.9, n_iter=200, tol=1e-8).fit(adjacency, weights={start: 1.0}),
    }
    seconds = bench.median_seconds(local, repeats=repeats) | bench.median_seconds(everywhere, repeats=1)
    if number < 2:  # slow: two draws, once each
        slow, begin = networkx.from_scipy_sparse_array(adjacency), time.perf_counter()
        networkx.pagerank(slow, alpha=0.9, personalization={start: 1}, tol=1e-8 / n, max_iter=1_000)
        seconds["networkx pagerank"] = time.perf_counter() - begin
    found = labelled()
    return {**seconds, "nodes_touched": len(found.touched), "edges_touched": found.edges}
