"""One cluster around a seed: edge weights from labels or attributes, pseudo-labels, and the choice of the source mass.

    labels       w_ij = w0_ij if y_i = y_j or one of them is unknown, else eps w0_ij      (De Luca, Fountoulakis, Yang, arXiv:2310.08031)
    attributes   w_ij = w0_ij exp(-gamma |z_i - z_j|^2)                                   (Yang, Fountoulakis, arXiv:2301.13187)

Mass leaves a cluster K through its boundary. Let a1 be the share of K and a0 the share of the rest that are labelled right: an edge
inside K keeps its weight with probability a1^2 + (1 - a1)^2, a boundary edge of a node that is labelled right keeps it with 1 - a0 only.
Good negatives stop the leak, good positives keep the inside together.

All of it is local: a weighting asks for the labels of the nodes that are looked at, so they may be computed as they are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import sparse

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.flow import Diffusion, Sink, Solver, TooMuchMass, flow_diffusions, personalised_pagerank_push
from labelwright.stats.pushes import as_graph
from labelwright.stats.region import LocalGraph
from labelwright.stats.sweep import conductance, sweep_cut

__all__ = [
    "AttributeWeights",
    "Cluster",
    "Cut",
    "LabelWeights",
    "alpha_scan",
    "fitted_guesses",
    "growing_scan",
    "label_weights",
    "local_cluster",
    "pagerank_cluster",
    "pseudo_labels",
]

Cut = Literal["sweep", "support"]
ALPHAS = tuple(1.5 + 0.25 * k for k in range(15))
"""Multiples of a cluster's capacity that are tried as source mass: 1.5, 1.75, ..., 5."""
GROWTH = 1.5  # between masses of a scan that knows nothing of the cluster's size
CLIPPED = 0.99  # a component filled to the brim has no unique potentials, one filled nearly so has

Labels = np.ndarray | Callable[[np.ndarray], np.ndarray]


class LabelWeights:
    """The weighting by labels: edges whose ends are known to differ count `eps` times.

    Parameters
    ----------
    labels
        (V,) with 1 in the cluster, 0 not, -1 unknown; or a function from nodes int64 (M,) to their labels (M,), which is asked
        for each node once and only when an edge of it is looked at.
    num_nodes
        V.
    eps
        In [0, 1]: 1 leaves labels aside, 0 cuts the graph in two.
    known
        Labels by node that come before `labels`: seeds and what else is certain.

    Raises
    ------
    InputError
        If labels are none of 1, 0, -1, or of another length.
    """

    def __init__(self, labels: Labels, num_nodes: int, *, eps: float = 0.05, known: Mapping[int, int] | None = None) -> None:
        self.eps = check.in_range("eps", eps, low=0, high=1)
        # 0 not asked yet, else the label + 2; the system hands out pages of zeros as they are used
        self._state = np.zeros(num_nodes, dtype=np.int8)
        self._ask = labels if callable(labels) else None
        self.evaluated = 0
        if not callable(labels):
            values = np.asarray(labels)
            if values.shape != (num_nodes,):
                raise InputError(f"labels must have shape ({num_nodes},), one a node; got {values.shape}.")
            self._state[:] = _binary(values) + 2
            self.evaluated = num_nodes
        for node, label in (known or {}).items():
            check.integer("node", node, low=0, high=num_nodes - 1)
            self._state[node] = check.integer(f"label of node {node}", label, low=0, high=1) + 2

    @property
    def lazy(self) -> bool:
        """Whether labels are asked for one by one; `evaluated` says for how many nodes."""
        return self._ask is not None

    def of(self, nodes: np.ndarray) -> np.ndarray:
        """Labels int8 of `nodes`, asked for where they are not known yet."""
        state = self._state[nodes]
        if self._ask is not None and not state.all():
            fresh = np.unique(nodes[state == 0]).astype(np.int64)
            self._state[fresh] = _binary(np.asarray(self._ask(fresh)), len(fresh)) + 2
            self.evaluated += len(fresh)
            state = self._state[nodes]
        return state - np.int8(2)

    def __call__(self, rows: np.ndarray, cols: np.ndarray, weights: np.ndarray) -> np.ndarray:
        one, other = self.of(rows), self.of(cols)
        return np.where((one != other) & (one >= 0) & (other >= 0), self.eps * weights, weights)


def _binary(values: np.ndarray, length: int | None = None) -> np.ndarray:
    if values.ndim != 1 or (length is not None and len(values) != length):
        raise InputError(f"labels must be one number a node; got shape {values.shape}.")
    bad = ~np.isin(values, (-1, 0, 1))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"labels must be 1 (in the cluster), 0 (not) or -1 (unknown): {int(bad.sum()):,} are not, first row {row} ({values[row]!r})."
        )
    return values.astype(np.int8)


def label_weights(adjacency: Any, labels: np.ndarray, *, eps: float = 0.05) -> sparse.csr_array:
    """The adjacency (V, V) with the edges between labels that differ scaled by `eps`: the whole graph at once; see :class:`LabelWeights`."""
    graph = LocalGraph(adjacency)
    return graph.weighted(LabelWeights(labels, graph.num_nodes, eps=eps)).matrix()


class AttributeWeights:
    """The Gaussian weighting by attributes (V, F), dense or CSR; `gamma` >= 0 is one over squared distance.

    Raises
    ------
    InputError
        If attributes are not finite or `gamma` is negative.
    """

    def __init__(self, features: Any, *, gamma: float = 0.02) -> None:
        self.gamma = check.in_range("gamma", gamma, low=0)
        self.features: Any = sparse.csr_array(features) if sparse.issparse(features) else np.asarray(features)
        check.finite("attributes", self.features.data if sparse.issparse(features) else self.features)

    def __call__(self, rows: np.ndarray, cols: np.ndarray, weights: np.ndarray) -> np.ndarray:
        gap = self.features[rows] - self.features[cols]
        square = np.asarray(gap.multiply(gap).sum(1)).ravel() if sparse.issparse(gap) else (gap.astype(np.float64) ** 2).sum(1)
        return weights * np.exp(-self.gamma * square)


def pseudo_labels(diffusion: Diffusion, count: int, *, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Examples for a classifier where nobody labelled any: the `count` nodes of largest x, and as many random ones with x = 0.

    Raises
    ------
    InputError
        If the diffusion left no node out.
    """
    check.integer("count", count, low=1)
    support = diffusion.support
    positive = diffusion.touched[np.argsort(-diffusion.x, kind="stable")[: min(count, len(support))]]
    outside = np.setdiff1d(np.arange(diffusion.num_nodes), support, assume_unique=True)
    if not len(outside):
        raise InputError("The plain diffusion covers the whole graph: no node is left as a negative example.", hint="Use less mass.")
    return positive, np.sort(rng.choice(outside, size=min(count, len(outside)), replace=False))


def fitted_guesses(features: Any, positive: np.ndarray, negative: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A logistic regression on the attributes (V, F) of nodes known to be inside and outside, as a function from nodes to 1 or 0.

    Raises
    ------
    InputError
        If either side has no node.
    """
    if not len(positive) or not len(negative):
        raise InputError(
            f"A classifier needs nodes inside and outside the cluster; {len(positive)} and {len(negative)} are known.",
            hint="Name more with --inside and --outside, or let the graph choose them: --guess-from diffusion.",
        )
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([positive, negative])
    target = np.repeat([1, 0], [len(positive), len(negative)])
    model = LogisticRegression(max_iter=1_000).fit(features[rows], target)
    return lambda nodes: model.predict(features[nodes])  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cluster:
    """A cluster and how it was found.

    `nodes` int64, ascending; `diffusion` and `mass` that were chosen; `scores` float of ``diffusion.touched``, by which nodes were
    ranked; `conductance` on the weights of the diffusion; `last` diffusion of the scan, which counts the work of all; `scan`: (mass,
    conductance, nodes) of each candidate; `refused`: masses beyond what the component holds; `clipped`: whether `mass` was lowered to that.
    """

    nodes: np.ndarray
    scores: np.ndarray
    diffusion: Diffusion
    conductance: float
    mass: float
    last: Diffusion
    scan: tuple[tuple[float, float, int], ...] = ()
    refused: tuple[float, ...] = ()
    clipped: bool = False


def alpha_scan(capacity: float, alphas: Sequence[float] = ALPHAS) -> tuple[float, ...]:
    """Source masses for a cluster that can hold about `capacity`."""
    return tuple(alpha * capacity for alpha in alphas)


def growing_scan(start: float, limit: float) -> tuple[float, ...]:
    """Source masses from `start` on, each GROWTH times the one before, up to `limit`: where the cluster's size is not known."""
    steps = max(0, math.floor(math.log(max(limit / start, 1)) / math.log(GROWTH)))
    return tuple(start * GROWTH**k for k in range(steps + 1))


def local_cluster(
    graph: LocalGraph | Any,
    seeds: Iterable[int],
    masses: Sequence[float],
    *,
    sink: Sink = None,
    cut: Cut = "sweep",
    tol: float = 1e-4,
    solver: Solver = "hybrid",
    total_volume: float | None = None,
    clip: bool = False,
) -> Cluster:
    """The cluster around `seeds` by flow diffusion; of several source `masses` the one whose cluster has the smallest conductance.

    Parameters
    ----------
    graph
        With the weighting of the method: conductance is measured on the same weights.
    seeds
        Nodes inside the cluster; the mass is shared out evenly.
    masses
        Source masses; the scan goes up and stops where the component of the seeds is full.
    sink, tol, solver
        As for :func:`labelwright.stats.flow.flow_diffusion`.
    cut
        ``support``: all nodes with x > 0; ``sweep``: the best prefix in order of x.
    total_volume
        As for :func:`labelwright.stats.sweep.sweep_cut`.
    clip
        If even the smallest mass is too much, use almost what the component holds instead of refusing.

    Raises
    ------
    TooMuchMass
        If the component of the seeds cannot hold the smallest mass.
    InputError
        If a seed is unknown or isolated, or a mass is not positive.
    """
    check.one_of("cut", cut, ("sweep", "support"))
    graph, seeds = as_graph(graph), [int(s) for s in seeds]
    wanted = sorted({check.in_range("mass", float(m), low=0, closed="neither") for m in masses})
    if not wanted or not seeds:
        raise InputError("A cluster needs at least one seed and one mass.")
    source = {s: 1.0 / len(set(seeds)) for s in seeds}
    flows = flow_diffusions(graph, source, sink, scales=wanted, tol=tol, solver=solver)
    best: Cluster | None = None
    scan: list[tuple[float, float, int]] = []
    done = 0
    try:
        for mass, diffusion in zip(wanted, flows, strict=True):
            done, last = done + 1, diffusion
            if not len(diffusion.support):
                continue  # the seeds hold it all
            found = _cut(graph, diffusion, mass, cut, total_volume)
            scan.append((mass, found.conductance, len(found.nodes)))
            best = found if best is None or found.conductance < best.conductance else best
    except TooMuchMass as error:
        if best is None and not clip:
            raise
        if best is None:
            lower = CLIPPED * error.room
            found = local_cluster(graph, seeds, [lower], sink=sink, cut=cut, tol=tol, solver=solver, total_volume=total_volume)
            return replace(found, refused=tuple(wanted), clipped=True)
    if best is None:
        raise InputError(f"A mass of {wanted[-1]:g} moves nothing: the seeds can hold all of it.", hint="Use more mass.")
    return replace(best, last=last, scan=tuple(scan), refused=tuple(wanted[done:]))


def pagerank_cluster(
    graph: LocalGraph | Any,
    seeds: Iterable[int],
    *,
    alpha: float = 0.1,
    rho: float = 1e-5,
    solver: Solver = "hybrid",
    total_volume: float | None = None,
) -> Cluster:
    """The cluster around `seeds` by the sweep over approximate PageRank per weighted degree; parameters as for
    :func:`labelwright.stats.flow.personalised_pagerank_push` and :func:`local_cluster`."""
    graph = as_graph(graph)
    found = personalised_pagerank_push(graph, dict.fromkeys(map(int, seeds), 1.0), alpha=alpha, rho=rho, solver=solver)
    sweep = sweep_cut(graph, found, per_degree=True, total_volume=total_volume)
    scores = np.zeros(len(found.touched))
    support = found.support
    counts, _, weights = graph.rows(support)
    owner = np.repeat(np.arange(len(support)), counts)
    scores[found.x > 0] = found.x[found.x > 0] / np.bincount(owner, weights=weights, minlength=len(support))
    return Cluster(nodes=sweep.cluster, scores=scores, diffusion=found, conductance=sweep.conductance, mass=1.0, last=found)


def _cut(graph: LocalGraph, diffusion: Diffusion, mass: float, cut: Cut, total_volume: float | None) -> Cluster:
    """The cluster of one diffusion with a support."""
    if cut == "support":
        nodes = diffusion.support
        phi = conductance(graph, nodes, total_volume=total_volume)
    else:
        sweep = sweep_cut(graph, diffusion, total_volume=total_volume)
        nodes, phi = sweep.cluster, sweep.conductance
    return Cluster(nodes=nodes, scores=diffusion.x, diffusion=diffusion, conductance=phi, mass=mass, last=diffusion)
