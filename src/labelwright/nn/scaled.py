"""A network behind one constant factor on its inputs, for recipes that expect inputs of another size than the featuriser gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from labelwright import check
from labelwright.data.node_batches import NodeTensor
from labelwright.errors import InputError
from labelwright.nn.factories import NetFactory, network

__all__ = ["Scaled", "ScaledNet", "times"]


def times(x: Tensor, factor: float) -> Tensor:
    """Inputs, or the features of the graph behind nodes, times a number."""
    if isinstance(x, NodeTensor):
        return replace(x, graph=replace(x.graph, features=x.graph.features * factor))  # type: ignore[return-value]
    return x * factor


class ScaledNet(nn.Module):
    """``net(factor * x)``."""

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x: Tensor) -> Tensor:
        """What the network says of the scaled inputs."""
        said: Tensor = self.net(times(x, self.factor))
        return said


@network("scaled")
@dataclass(frozen=True, kw_only=True)
class Scaled:
    """A fresh network of one factory that reads its inputs times `factor`."""

    base: NetFactory
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not callable(self.base):
            raise InputError(f"base must be a network factory; got {self.base!r}.", hint="Build one with labelwright.nn.net_named('mlp').")
        check.in_range("factor", self.factor, low=0, closed="neither")

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> ScaledNet:
        return ScaledNet(self.base(num_classes, input_shape), self.factor)
