"""Nodes of a graph as tensors: they index and move like a tensor (N, F), and networks on graphs read them whole.

``batch.inputs`` of a node-level dataset is a :class:`NodeTensor`: the rows asked for, and behind them the whole graph. The
one training loop, validation and prediction therefore serve graphs without a word of their own. :func:`sample_neighbours`
cuts out a random neighbourhood of bounded size where the whole graph is too large to pass through at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from labelwright import check
from labelwright.errors import InputError

__all__ = ["GraphTensor", "NodeShape", "NodeTensor", "sample_neighbours"]


PLAIN = "Use a method for graphs, learn with --net gcn, gat or sage, or give it vectors (labelwright.data.features.nodes.node_vectors)."


class NotAnArray(InputError, AttributeError):
    """A method asked the nodes of a graph for what only arrays have."""


class NodeShape(tuple[int, ...]):
    """The input shape ``(F,)`` of nodes: equal to that of vectors, yet telling a factory that a graph comes with it."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphTensor:
    """A graph for networks, by receiving node: messages to node i come from ``indices[indptr[i]:indptr[i + 1]]``.

    Attributes
    ----------
    features
        float32 (V, F).
    indptr, indices
        int64 (V + 1,) and (M,); an undirected graph has both directions, M = 2 E.
    weights
        float32 (M,).
    """

    features: Tensor
    indptr: Tensor
    indices: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def edge_index(self) -> Tensor:
        """int64 (2, M): senders above, receivers below, sorted by receiver."""
        receivers = torch.repeat_interleave(torch.arange(len(self), device=self.indptr.device), self.indptr.diff())
        return torch.stack([self.indices, receivers])

    def to(self, device: torch.device | str) -> GraphTensor:
        """The same on another device."""
        if self.features.device == torch.empty(0, device=device).device:
            return self
        return GraphTensor(**{name: getattr(self, name).to(device) for name in ("features", "indptr", "indices", "weights")})


@dataclass(frozen=True, eq=False)
class NodeTensor:
    """Some nodes of a graph: int64 `nodes` (N,), positions in `graph`. Has length, shape, device and rows like a tensor (N, F)."""

    graph: GraphTensor
    nodes: Tensor

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, rows: Any) -> NodeTensor:
        """The nodes at `rows`: a slice, int64 positions or a boolean mask. The graph stays whole."""
        return replace(self, nodes=self.nodes[rows])

    @property
    def shape(self) -> tuple[int, int]:
        """(N, F)."""
        return (len(self.nodes), self.graph.features.shape[1])

    @property
    def input_shape(self) -> NodeShape:
        """What a factory gets."""
        return NodeShape(self.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.nodes.device

    @property
    def dtype(self) -> torch.dtype:
        return self.graph.features.dtype

    def to(self, device: torch.device | str) -> NodeTensor:
        """The same on another device; itself where it is there already, so that batches do not copy the graph."""
        graph = self.graph.to(device)
        return self if graph is self.graph and self.nodes.device == graph.indptr.device else NodeTensor(graph, self.nodes.to(device))

    def whole(self) -> NodeTensor:
        """All nodes of the graph, in its order."""
        return NodeTensor(self.graph, torch.arange(len(self.graph), device=self.device))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotAnArray(f"This method works on plain arrays ({name}), but these inputs are the nodes of a graph.", hint=PLAIN)

    def parts(self) -> tuple[Tensor, ...]:
        """Every tensor in it: what a checkpoint's key covers."""
        g = self.graph
        return (self.nodes, g.features, g.indptr, g.indices, g.weights)


def sample_neighbours(batch: NodeTensor, fan_outs: Sequence[int], *, generator: torch.Generator) -> NodeTensor:
    """The nodes of `batch` in a sampled graph of what their first ``len(fan_outs)`` rounds of messages come from.

    A node that is reached in round r receives from at most ``fan_outs[r]`` of its neighbours, drawn without replacement, from all of
    them where it has no more. The sampled graph holds the reached nodes only, the batch's first, each edge once for
    its direction. Work: O(m log m) for the m edges at the nodes that are expanded; no Python loop over nodes.

    Parameters
    ----------
    fan_outs
        Neighbours a node, one number a layer of the network, each >= 1.
    generator
        On the CPU; the draws are the same on every device.
    """
    for fan_out in fan_outs:
        check.integer("fan_out", fan_out, low=1)
    graph, device = batch.graph, batch.device
    seeds, place = batch.nodes.unique(return_inverse=True)
    local = torch.full((len(graph),), -1, dtype=torch.int64, device=device)
    local[seeds] = torch.arange(len(seeds), device=device)
    reached, frontier = [seeds], seeds
    edges: list[Tensor] = []
    count = len(seeds)
    for fan_out in fan_outs:
        rows, at = _drawn(graph, frontier, fan_out, generator)
        edges.append(torch.stack([graph.indices[at], frontier[rows], at]))
        fresh = graph.indices[at].unique()
        fresh = fresh[local[fresh] < 0]
        local[fresh] = torch.arange(count, count + len(fresh), device=device)
        count += len(fresh)
        reached.append(fresh)
        frontier = fresh
    nodes = torch.cat(reached)
    senders, receivers, at = torch.cat(edges, dim=1)
    senders, receivers = local[senders], local[receivers]
    order = receivers.argsort(stable=True)
    indptr = torch.zeros(len(nodes) + 1, dtype=torch.int64, device=device)
    indptr[1:] = torch.bincount(receivers, minlength=len(nodes)).cumsum(0)
    small = GraphTensor(features=graph.features[nodes], indptr=indptr, indices=senders[order], weights=graph.weights[at[order]])
    return NodeTensor(small, place)


def _drawn(graph: GraphTensor, frontier: Tensor, fan_out: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """At most `fan_out` edges of each node of `frontier`: which of its nodes receives, and the place in ``graph.indices``."""
    begin, degree = graph.indptr[frontier], graph.indptr[frontier + 1] - graph.indptr[frontier]
    rows = torch.repeat_interleave(torch.arange(len(frontier), device=frontier.device), degree)
    offset = degree.cumsum(0) - degree
    rank = torch.arange(len(rows), device=frontier.device) - offset[rows]
    at = begin[rows] + rank
    if bool((degree <= fan_out).all()):
        return rows, at
    # sorting by (node, random key) shuffles the edges of each node; the first `fan_out` of them are a draw without replacement
    keys = torch.rand(len(rows), generator=generator, dtype=torch.float64).to(frontier.device)
    order = (rows.double() + keys).argsort()
    kept = order[rank < fan_out]
    return rows[kept], at[kept]
