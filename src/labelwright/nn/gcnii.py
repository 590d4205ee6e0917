"""GCNII: a deep graph convolution that keeps sight of its input (Chen et al., ICML 2020, arXiv:2007.02133).

    H_{l+1} = relu( ((1 - alpha) A H_l + alpha H_0) ((1 - b_l) I + b_l W_l) )      b_l = log(theta / l + 1)

A is the symmetrically normalised adjacency with self-loops, H_0 a linear map of the features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from labelwright import check
from labelwright.data.node_batches import NodeTensor
from labelwright.errors import InputError
from labelwright.nn.factories import network
from labelwright.nn.graphs import geometric

__all__ = ["GCNII", "GCNIINet"]


class GCNIINet(nn.Module):
    """A linear layer, `layers` convolutions with initial residual and identity mapping, a linear layer; dropout before each."""

    def __init__(self, features: int, num_classes: int, *, hidden: int, layers: int, alpha: float, theta: float, dropout: float) -> None:
        super().__init__()
        pyg = geometric()
        self.enter, self.leave = nn.Linear(features, hidden), nn.Linear(hidden, num_classes)
        self.layers = nn.ModuleList(pyg.GCN2Conv(hidden, alpha=alpha, theta=theta, layer=place + 1) for place in range(layers))
        self.dropout = dropout

    def forward(self, x: NodeTensor) -> Tensor:
        """Logits (N, C) of the nodes of `x`."""
        if not isinstance(x, NodeTensor):
            raise InputError("The network 'gcnii' reads the nodes of a graph; these inputs are a plain array.", hint="Use --net mlp.")
        graph = x.graph

        def thinned(values: Tensor) -> Tensor:
            return F.dropout(values, self.dropout, training=self.training)

        first = hidden = self.enter(thinned(graph.features)).relu()
        for layer in self.layers:
            hidden = layer(thinned(hidden), first, graph.edge_index, graph.weights).relu()
        logits: Tensor = self.leave(thinned(hidden[x.nodes]))
        return logits


@network("gcnii")
@dataclass(frozen=True, kw_only=True)
class GCNII:
    """Deep graph convolution with initial residual and identity mapping (Chen et al. 2020)."""

    hidden: int = 64
    layers: int = 8
    alpha: float = 0.1
    theta: float = 0.5
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check.integer("hidden", self.hidden, low=1)
        check.integer("layers", self.layers, low=1)
        check.in_range("alpha", self.alpha, low=0, high=1)
        check.in_range("theta", self.theta, low=0, closed="neither")
        check.in_range("dropout", self.dropout, low=0, high=1, closed="left")

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        if len(input_shape) != 1:
            raise InputError(f"The network 'gcnii' reads nodes with features (F,); the inputs have shape {tuple(input_shape)}.")
        return GCNIINet(
            input_shape[0], num_classes, hidden=self.hidden, layers=self.layers, alpha=self.alpha, theta=self.theta, dropout=self.dropout
        )
