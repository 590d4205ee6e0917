"""Sweep cut: of the sets {the k nodes of largest score}, the one with the smallest conductance.

    phi(C) = cut_w(C) / min(vol_w(C), vol_w(V \\ C))        cut: weight of the edges that leave C; vol: sum of weighted degrees

Reads the rows of the scored nodes and nothing else. Under a weighting whose total volume nobody computed the complement's volume is not
known, and vol_w(C) alone is the denominator: the same number as long as C holds at most half of the volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.pushes import Diffusion, as_graph
from labelwright.stats.region import LocalGraph

__all__ = ["Sweep", "conductance", "sweep_cut"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """Nodes in order of falling score, int64 (M,), with the `conductances` of their prefixes, float (M,), and how many make the best."""

    nodes: np.ndarray
    conductances: np.ndarray
    best: int

    @property
    def cluster(self) -> np.ndarray:
        """Nodes of the best prefix, ascending."""
        return np.sort(self.nodes[: self.best])

    @property
    def conductance(self) -> float:
        """Conductance of the best prefix."""
        return float(self.conductances[self.best - 1])


def sweep_cut(
    graph: LocalGraph | Any, scores: Diffusion | np.ndarray, *, per_degree: bool = False, total_volume: float | None = None
) -> Sweep:
    """The sweep over the nodes with a score above 0; of equal scores the smaller node first, of equal conductances the smaller set.

    Parameters
    ----------
    graph
        The graph the diffusion ran on, with its weighting: another one favours the wrong set.
    scores
        A diffusion, or float (V,).
    per_degree
        Rank by score over weighted degree, as is usual for PageRank.
    total_volume
        Sum of all weighted degrees; by default the graph's own where there is no weighting.

    Raises
    ------
    InputError
        If no score is positive, or they are not finite or of another length.
    """
    graph = as_graph(graph)
    if isinstance(scores, Diffusion):
        nodes, values = scores.support, scores.x[scores.x > 0]
    else:
        values = check.finite("scores", np.asarray(scores, dtype=np.float64))
        if values.shape != (graph.num_nodes,):
            raise InputError(f"scores must have shape ({graph.num_nodes},); got {values.shape}.")
        nodes = np.flatnonzero(values > 0)
        values = values[nodes]
    if not len(nodes):
        raise InputError("No node has a score above 0: there is nothing to sweep.", hint="Use more source mass.")
    counts, ends, weights = graph.rows(nodes)
    owner = np.repeat(np.arange(len(nodes)), counts)
    degree = np.bincount(owner, weights=weights, minlength=len(nodes))
    order = np.lexsort((nodes, -(values / np.where(degree > 0, degree, 1.0) if per_degree else values)))
    rank = np.empty(len(nodes), dtype=np.int64)
    rank[order] = np.arange(len(nodes))
    place = np.searchsorted(nodes, ends)  # `nodes` ascend
    inside = nodes[np.minimum(place, len(nodes) - 1)] == ends
    # an edge is inside a prefix as soon as the later of its ends is; both of its directions are in the list
    later = np.maximum(rank[owner[inside]], rank[place[inside]])
    within = np.cumsum(np.bincount(later, weights=weights[inside], minlength=len(nodes)))
    volume = np.cumsum(degree[order])
    found = _ratio(volume - within, volume, graph.total_volume if total_volume is None else total_volume)
    return Sweep(nodes=nodes[order], conductances=found, best=int(found.argmin()) + 1)


def conductance(graph: LocalGraph | Any, nodes: np.ndarray, *, total_volume: float | None = None) -> float:
    """phi of the set `nodes`, int (M,); parameters as for :func:`sweep_cut`."""
    graph = as_graph(graph)
    nodes = np.unique(np.asarray(nodes, dtype=np.int64))
    if not len(nodes):
        raise InputError("The conductance of an empty set is not defined.")
    _, ends, weights = graph.rows(nodes)
    inside = nodes[np.minimum(np.searchsorted(nodes, ends), len(nodes) - 1)] == ends
    cut, volume = np.array([weights[~inside].sum()]), np.array([weights.sum()])
    return float(_ratio(cut, volume, graph.total_volume if total_volume is None else total_volume)[0])


def _ratio(cut: np.ndarray, volume: np.ndarray, total: float | None) -> np.ndarray:
    """cut over the smaller side's volume; 1 where a side is empty. Rounding below 0 is 0."""
    side = volume if total is None else np.minimum(volume, total - volume)
    tiny = 1e-12 * volume
    return np.where(side > tiny, np.maximum(cut, 0) / np.where(side > tiny, side, 1.0), 1.0)
