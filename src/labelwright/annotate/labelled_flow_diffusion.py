"""The cluster around a seed node, from a graph and a cheap, noisy guess for each node whether it belongs there.

References: Back de Luca, Fountoulakis, Yang. Local Graph Clustering with Noisy Labels. ICLR 2024. arXiv:2310.08031. Yang, Fountoulakis.
Weighted Flow Diffusion for Local Graph Clustering with Node Attributes. ICML 2023. arXiv:2301.13187.

1. An edge whose ends carry different guesses counts `eps` times: mass stays where the guesses agree.
2. Mass is put on the seed. A node i takes up T_i (its number of neighbours), the rest flows on along the edges in proportion to their
   weights until nobody holds too much. The potentials x >= 0 solve a convex problem; x_i > 0 says that i is full and passes mass on.
3. The cluster is the support of x, or the prefix in order of falling x with the smallest conductance.
4. Where the mass is not given several are tried, and the conductance, on the same weights, chooses.

Plain flow diffusion, flow on attribute weights and personalised PageRank are the same code with other weights or another push. The solver
(``labelwright.stats.flow``) reads no more of the graph than the mass reaches; guesses are asked for where it looks.

Differs from the paper: unknown guesses are allowed and damp nothing; the size of the cluster need not be known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.annotate.local_clustering import (
    AttributeWeights,
    Cluster,
    LabelWeights,
    alpha_scan,
    fitted_guesses,
    growing_scan,
    local_cluster,
    pagerank_cluster,
    pseudo_labels,
)
from labelwright.annotate.seeds import Given, given_nodes
from labelwright.data.graphs import Graph, GraphNodes, graph_of
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels
from labelwright.registry import Annotator, Flaw, Have, Want, register
from labelwright.results import Annotation, Provenance, Status
from labelwright.stats.region import LocalGraph, Weigh

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.signals import Signals

__all__ = ["NAMES", "LabelledFlowDiffusion"]

NAMES = ("outside", "inside")
"""Classes of the annotation."""
START = 2.0  # the growing scan begins with this many times what the seeds and their neighbours hold
LEAST = 1.5  # but in a small graph with no more than half of it, and no less than so many times what the seeds themselves hold
PAGERANK_IGNORES = {"cut": "sweep", "sink": "degree", "clip": False, "tol": 1e-4}
END = 0.5  # and ends where half of the component would be filled: beyond, the cluster is the larger side


@register(
    "labelled-flow-diffusion",
    sheet="noisy-local-clustering",
    has=(Have.CLASS_LABELS, Have.NONE),
    flaw=Flaw.NOISE,
    gives=Want.LABELS,
    paper="Back de Luca, Fountoulakis, Yang, Local Graph Clustering with Noisy Labels, ICLR 2024, arXiv:2310.08031",
    domain="graphs",
)
@dataclass(frozen=True, kw_only=True)
class LabelledFlowDiffusion(Annotator):
    """The cluster around a seed node of a graph, from noisy guesses which nodes belong to it; tells `inside` from `outside`.

    Nodes that the diffusion never reached are left open (``abstained``, no label): nothing was read about them. ``confidence`` ranks nodes by
    how far their potential is from the last one inside, ``x / (x + x_cut)`` inside and ``x_cut / (x + x_cut)`` outside; it is no
    probability. What was done is in the facts: mass, conductance, the scan, nodes and edges touched.
    """

    seed_node: tuple[str, ...] = ()
    """Id of a node inside the cluster; may be repeated. Without it one with the positive label is drawn by the seed."""
    positive: str | None = None
    """Class that guesses "in my cluster", all others guess "not". Default: 1 where the labels are 0 and 1, else the seed node's label."""
    guess_from: Literal["labels", "attributes", "diffusion"] = "labels"
    """Where guesses come from. labels: the dataset's. attributes: a logistic regression on the nodes' features, fitted on the nodes with
    a label. diffusion: the same fitted without labels, on the nodes of largest potential of a plain diffusion and random others."""
    inside: tuple[str, ...] = ()
    """Ids of nodes known to be inside, besides the seeds; may be repeated. They come before any guess."""
    outside: tuple[str, ...] = ()
    """Ids of nodes known to be outside; may be repeated."""
    weights: Literal["labels", "attributes", "none"] = "labels"
    """What weighs the edges. labels: agreement of the guesses. attributes: exp(-gamma * squared distance of the features). none: the graph as it is."""
    eps: float = 0.05
    """Factor on edges between different guesses, in [0, 1]. Paper: 0.01 to 0.1 do alike; 1 is plain flow, 0 never crosses."""
    gamma: float = 0.02
    """For weights 'attributes': one over squared distance, >= 0. Authors' code: 0.02 on reduced features."""
    walk: Literal["flow", "pagerank"] = "flow"
    """What spreads: flow diffusion, or personalised PageRank with a sweep."""
    mass: float | None = None
    """Source mass, in units of capacity. Paper: twice the capacity of the cluster. Without it several are tried."""
    size: int | None = None
    """About how many nodes the cluster has: masses of 1.5 to 5 times its capacity are tried. Without it and `mass`: up to half the component."""
    sink: Literal["degree", "one"] = "degree"
    """What a node takes up: its number of neighbours, or 1. Paper: degree on real graphs, 1 on random ones."""
    cut: Literal["sweep", "support"] = "sweep"
    """Cluster: the best prefix in order of falling potential, or all nodes with a potential."""
    clip: bool = False
    """Lower a mass that the seed's component cannot hold to 99 % of what it can, instead of refusing it."""
    alpha: float = 0.1
    """For pagerank: probability to return to the seed at a step, in (0, 1). Usual: 0.01 to 0.1."""
    rho: float = 1e-5
    """For pagerank: residual per degree at which pushing stops, > 0. Smaller reaches farther."""
    pseudo: int = 50
    """For guess_from 'diffusion': examples of each side for the classifier, >= 1."""
    tol: float = 1e-4
    """Largest relative excess over a node's capacity at the end, > 0."""
    solver: Literal["hybrid", "queue", "synchronous"] = "hybrid"
    """How to push: the same answer, hybrid is the fastest."""
    guess: Callable[[np.ndarray], np.ndarray] | None = None
    """Python only: function from node positions (M,) to guesses 1, 0 or -1 (unknown), asked for each node once and only where the diffusion
    comes. It replaces guess_from."""

    def __post_init__(self) -> None:
        check.in_range("eps", self.eps, low=0, high=1)
        check.in_range("gamma", self.gamma, low=0)
        check.in_range("alpha", self.alpha, low=0, high=1, closed="neither")
        for name in ("rho", "tol"):
            check.in_range(name, getattr(self, name), low=0, closed="neither")
        if self.mass is not None:
            check.in_range("mass", self.mass, low=0, closed="neither")
        if self.size is not None:
            check.integer("size", self.size, low=1)
        check.integer("pseudo", self.pseudo, low=1)
        for name, value in (("mass", self.mass), ("size", self.size)):
            if value is not None and self.walk == "pagerank":
                raise InputError(f"{name} has no effect on PageRank.", hint="Leave it out; alpha and rho say how far it reaches.")
        if self.walk == "pagerank" and (idle := [n for n, usual in PAGERANK_IGNORES.items() if getattr(self, n) != usual]):
            raise InputError(f"{idle[0]} has no effect on PageRank.", hint="Leave it out; its cluster is the best sweep.")
        if self.mass is not None and self.size is not None:
            raise InputError("Give mass or size, not both: size only proposes masses.")
        if self.weights != "labels" and (self.guess is not None or self.guess_from != "labels"):
            raise InputError(
                f"Guesses have no effect with weights={self.weights!r}.", hint="Leave guess_from out, or use weights 'labels'."
            )

    def annotate(self, data: Dataset, *, signals: Signals | None = None, seed: int) -> Annotation:
        if signals is not None:
            raise InputError(
                "labelled-flow-diffusion reads no probabilities or features from files.", hint="Leave --probs and --features out."
            )
        graph, rng = graph_of(data, need="labelled-flow-diffusion"), np.random.default_rng(seed)
        given = given_nodes(data, graph, self, rng=rng)
        plain = LocalGraph(graph.adjacency)
        masses = self._masses(graph, given.seeds)
        weigh = self._weighting(graph, plain, given, masses, rng)
        cluster, facts = self._cluster(graph, plain.weighted(weigh), given, masses)
        if isinstance(weigh, LabelWeights) and weigh.lazy:
            facts["labels_evaluated"] = weigh.evaluated
        return self._annotation(data, graph, given, cluster, facts, seed)

    def _masses(self, graph: Graph, seeds: np.ndarray) -> tuple[float, ...]:
        """Source masses to try."""
        if self.mass is not None:
            return (self.mass,)
        sinks = np.maximum(graph.degrees, 1) if self.sink == "degree" else np.ones(len(graph))
        reached = np.isin(graph.components, graph.components[seeds])
        if self.size is not None:
            return alpha_scan(self.size * float(sinks[reached].mean()))
        near = np.unique(np.concatenate([seeds, graph.adjacency[seeds].indices]))
        limit = END * float(sinks[reached].sum())
        start = max(min(START * float(sinks[near].sum()), limit), LEAST * float(sinks[seeds].sum()))
        return growing_scan(start, limit)

    def _weighting(
        self, graph: Graph, plain: LocalGraph, given: Given, masses: tuple[float, ...], rng: np.random.Generator
    ) -> Weigh | None:
        """The weighting of the edges; None leaves them as they are."""
        if self.weights == "none":
            return None
        if self.weights == "attributes" or (self.guess is None and self.guess_from != "labels"):
            features = check_features(graph, "weights 'attributes'" if self.weights == "attributes" else f"guess_from {self.guess_from!r}")
        if self.weights == "attributes":
            return AttributeWeights(features, gamma=self.gamma)
        if self.guess is not None:
            return LabelWeights(self.guess, len(graph), eps=self.eps, known=given.known)
        if self.guess_from == "labels":
            return LabelWeights(given.guesses, len(graph), eps=self.eps, known=given.known)
        known = {int(i): int(given.guesses[i]) for i in np.flatnonzero(given.guesses >= 0)} | given.known
        examples = known
        if self.guess_from == "diffusion":
            found = local_cluster(
                plain, given.seeds, masses, sink=self._sink, cut=self.cut, tol=self.tol, solver=self.solver, clip=self.clip
            )
            top, rest = pseudo_labels(found.diffusion, self.pseudo, rng=rng)
            examples = dict.fromkeys(rest.tolist(), 0) | dict.fromkeys(top.tolist(), 1) | known
        elif len(known) == len(graph):
            raise InputError("Every node has a label already: nothing is left to guess from attributes.", hint="Leave guess_from out.")
        sides = [np.array([i for i, label in examples.items() if label == side], dtype=np.int64) for side in (1, 0)]
        return LabelWeights(fitted_guesses(features, *sides), len(graph), eps=self.eps, known=known)

    @property
    def reads_labels(self) -> bool:
        """Whether the labels of the dataset matter."""
        return self.weights == "labels" and self.guess is None and self.guess_from != "diffusion"

    @property
    def _sink(self) -> float | None:
        return None if self.sink == "degree" else 1.0

    def _cluster(self, graph: Graph, local: LocalGraph, given: Given, masses: tuple[float, ...]) -> tuple[Cluster, dict[str, Any]]:
        """The cluster and the facts about how it was found."""
        volume = self._volume(graph, local, given.seeds)
        if self.walk == "pagerank":
            found = pagerank_cluster(local, given.seeds, alpha=self.alpha, rho=self.rho, solver=self.solver, total_volume=volume)
        else:
            found = local_cluster(
                local,
                given.seeds,
                masses,
                sink=self._sink,
                cut=self.cut,
                tol=self.tol,
                solver=self.solver,
                total_volume=volume,
                clip=self.clip,
            )
        done = found.last
        facts = {
            "seed_nodes": graph.ids[given.seeds].tolist(),
            "positive": given.positive,
            "cluster": len(found.nodes),
            "conductance": found.conductance,
            "nodes_touched": len(done.touched),
            "edges_touched": done.edges,
            "pushes": done.pushes,
            "passes": done.passes,
        }
        if self.walk == "flow":
            facts |= {
                "mass": found.mass,
                "scan": [{"mass": m, "conductance": phi, "cluster": k} for m, phi, k in found.scan],
                "masses_too_large": list(found.refused),
                "clipped": found.clipped,
            }
        return found, facts

    def _volume(self, graph: Graph, local: LocalGraph, seeds: np.ndarray) -> float | None:
        """Volume of the components of the seeds; None where it would ask for guesses or attributes all over the graph."""
        if self.weights == "attributes" or self.guess is not None or (self.weights == "labels" and self.guess_from != "labels"):
            return None
        reached = np.flatnonzero(np.isin(graph.components, graph.components[seeds]))
        return float(local.rows(reached)[2].sum())

    def _annotation(self, data: Dataset, graph: Graph, given: Given, cluster: Cluster, facts: dict[str, Any], seed: int) -> Annotation:
        touched = cluster.diffusion.touched
        scores, label = np.zeros(len(graph)), np.full(len(graph), UNKNOWN)
        reasons = np.full(len(graph), "never reached", dtype=object)
        scores[touched], label[touched], reasons[touched] = cluster.scores, 0, "reached, outside the cut"
        label[cluster.nodes], reasons[cluster.nodes] = 1, "inside the cut"
        border = float(scores[cluster.nodes].min())
        confidence = np.where(label == 1, scores, border) / (scores + border)
        confidence[label == UNKNOWN] = 0.0
        for node, side in given.known.items():
            label[node], confidence[node], reasons[node] = side, 1.0, "seed" if node in given.seeds else f"given as {NAMES[side]}"
        nodes = data.inputs.nodes if isinstance(data.inputs, GraphNodes) else np.arange(len(graph))
        return Annotation(
            ids=data.ids,
            labels=ClassLabels(values=label[nodes], names=NAMES),
            confidence=confidence[nodes],
            abstained=label[nodes] == UNKNOWN,
            reasons=reasons[nodes].astype(str),
            facts=facts,
            status=Status.COMPLETE if cluster.last.settled else Status.STOPPED_EARLY,
            provenance=Provenance.of(self, data, seed=seed),
        )


def check_features(graph: Graph, what: str) -> Any:
    """The features of the nodes.

    Raises
    ------
    InputError
        If there are none.
    """
    if graph.features is None:
        raise InputError(
            f"{what} needs features of the nodes; this graph has none.", hint="Planetoid and NPZ graphs hold them, or nodes.csv."
        )
    return graph.features
