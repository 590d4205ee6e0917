"""Networks on the nodes of a graph, made of PyTorch Geometric's layers (extra ``graph``, imported when a network is built).

A network reads a :class:`~labelwright.data.node_batches.NodeTensor`, passes messages over the whole graph behind it and gives
logits (N, C) of its nodes. :class:`GraphNet` takes any list of layers called ``layer(x, edge_index)`` or
``layer(x, edge_index, edge_weight)``, so a further kind is a factory of ten lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from labelwright import check
from labelwright.data.node_batches import NodeTensor
from labelwright.errors import InputError, require
from labelwright.nn.factories import network

__all__ = ["GAT", "GCN", "GeometricNet", "GraphNet", "GraphSAGE", "HiddenNorm", "geometric", "rounds_of"]

HiddenNorm = Literal["none", "l1"]
Activation = Literal["relu", "leaky-relu", "elu"]
DropoutOn = Literal["layers", "input"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "leaky-relu": F.leaky_relu, "elu": F.elu}


def geometric() -> ModuleType:
    """``torch_geometric.nn``.

    Raises
    ------
    MissingExtra
        If PyTorch Geometric is not installed.
    """
    return require("torch_geometric.nn", extra="graph", feature="A network on graphs")


class GraphNet(nn.Module):
    """Layers of message passing: dropout, layer, then between layers an activation and, with `norm` ``l1``, rows of absolute sum 1.

    `weighted` layers get the weights of the edges as a third argument.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        *,
        name: str,
        dropout: float = 0.5,
        activation: Activation = "relu",
        norm: HiddenNorm = "none",
        weighted: bool = False,
        dropout_on: DropoutOn = "layers",
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.name, self.dropout, self.activation, self.norm, self.weighted = name, dropout, activation, norm, weighted
        self.dropout_on = dropout_on

    def forward(self, x: NodeTensor) -> Tensor:
        """Logits (N, C) of the nodes of `x`."""
        if not isinstance(x, NodeTensor):
            raise InputError(
                f"The network {self.name!r} reads the nodes of a graph; these inputs are a plain array.", hint="Use --net mlp or convnet."
            )
        graph, hidden = x.graph, x.graph.features
        for place, layer in enumerate(self.layers):
            if place == 0 or self.dropout_on == "layers":
                hidden = F.dropout(hidden, self.dropout, training=self.training)
            hidden = layer(hidden, graph.edge_index, graph.weights) if self.weighted else layer(hidden, graph.edge_index)
            if place + 1 < len(self.layers):
                hidden = ACTIVATIONS[self.activation](hidden)
                if self.norm == "l1":
                    hidden = F.normalize(hidden, p=1.0, dim=1)
        return hidden[x.nodes]


class GeometricNet(nn.Module):
    """Any model of PyTorch Geometric, or of your own, that is called ``model(x, edge_index)``, as a network here.

    A factory for it: ``lambda classes, shape: GeometricNet(torch_geometric.nn.GIN(shape[0], 64, 2, classes))``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: NodeTensor) -> Tensor:
        """What the model gives for the nodes of `x`: (N, …)."""
        if not isinstance(x, NodeTensor):
            raise InputError("A model of PyTorch Geometric reads the nodes of a graph; these inputs are a plain array.")
        made: Tensor = self.model(x.graph.features, x.graph.edge_index)
        return made[x.nodes]


def rounds_of(net: nn.Module) -> int:
    """Rounds of messages a network passes, as far as its layers are PyTorch Geometric's; at least 1."""
    kind = geometric().MessagePassing
    return max(1, sum(isinstance(module, kind) for module in net.modules()))


def _checked(factory: Any) -> None:
    check.integer("hidden", factory.hidden, low=1)
    check.integer("layers", factory.layers, low=1)
    check.in_range("dropout", factory.dropout, low=0, high=1, closed="left")
    check.one_of("norm", factory.norm, ("none", "l1"))


def _widths(factory: Any, num_classes: int, input_shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """(in, out) of each layer."""
    if len(input_shape) != 1:
        raise InputError(
            f"The network {factory.net_name!r} reads nodes with features (F,); the inputs have shape {tuple(input_shape)}.",
            hint="It needs a graph.",
        )
    sizes = [input_shape[0], *[factory.hidden] * (factory.layers - 1), num_classes]
    return list(pairwise(sizes))


@network("gcn")
@dataclass(frozen=True, kw_only=True)
class GCN:
    """Graph convolutional network (Kipf, Welling 2017): symmetric normalisation with self-loops, weights of edges used."""

    hidden: int = 64
    layers: int = 2
    dropout: float = 0.5
    norm: HiddenNorm = "none"

    def __post_init__(self) -> None:
        _checked(self)

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        pyg = geometric()
        layers = [pyg.GCNConv(a, b) for a, b in _widths(self, num_classes, input_shape)]
        return GraphNet(layers, name="gcn", dropout=self.dropout, norm=self.norm, weighted=True)


@network("gat")
@dataclass(frozen=True, kw_only=True)
class GAT:
    """Graph attention network (Veličković et al. 2018); `hidden` is the width of all `heads` together, the last layer has one."""

    hidden: int = 64
    heads: int = 8
    layers: int = 2
    dropout: float = 0.5
    norm: HiddenNorm = "none"
    activation: Activation = "elu"
    dropout_on: DropoutOn = "layers"

    def __post_init__(self) -> None:
        _checked(self)
        check.integer("heads", self.heads, low=1)
        check.one_of("activation", self.activation, ("relu", "leaky-relu", "elu"))
        check.one_of("dropout_on", self.dropout_on, ("layers", "input"))
        if self.hidden % self.heads:
            raise InputError(f"hidden must be a multiple of heads; got {self.hidden} and {self.heads}.")

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        pyg, widths = geometric(), _widths(self, num_classes, input_shape)
        layers = [pyg.GATConv(a, b // self.heads, heads=self.heads) for a, b in widths[:-1]]
        layers.append(pyg.GATConv(*widths[-1], heads=1))
        return GraphNet(layers, name="gat", dropout=self.dropout, norm=self.norm, activation=self.activation, dropout_on=self.dropout_on)


@network("sage")
@dataclass(frozen=True, kw_only=True)
class GraphSAGE:
    """GraphSAGE with the mean of neighbours (Hamilton et al. 2017)."""

    hidden: int = 64
    layers: int = 2
    dropout: float = 0.5
    norm: HiddenNorm = "none"

    def __post_init__(self) -> None:
        _checked(self)

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        pyg = geometric()
        layers = [pyg.SAGEConv(a, b) for a, b in _widths(self, num_classes, input_shape)]
        return GraphNet(layers, name="sage", dropout=self.dropout, norm=self.norm)
