"""The network a user gets without naming one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import nn

from labelwright.data.node_batches import NodeShape
from labelwright.nn.factories import NetFactory, network
from labelwright.nn.graphs import GAT
from labelwright.nn.networks import MLP, ConvNet

__all__ = ["AutoNet", "default_net", "resolved"]


def default_net(input_shape: tuple[int, ...]) -> NetFactory:
    """ConvNet-D3 of width 32 with GroupNorm for images (C, H, W), graph attention for nodes of a graph, else a perceptron with two hidden layers of 256.

    GroupNorm, because batches of a small dataset are small and evaluation is then a function of the example alone.
    """
    if isinstance(input_shape, NodeShape):
        return GAT()
    return ConvNet() if len(input_shape) == 3 else MLP()


@network("auto")
@dataclass(frozen=True, kw_only=True)
class AutoNet:
    """The default network for the inputs at hand: ``convnet`` for images, ``gat`` for nodes of a graph, ``mlp`` for everything else."""

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        return default_net(input_shape)(num_classes, input_shape)


def resolved(factory: Any, input_shape: tuple[int, ...]) -> Any:
    """`factory` with every ``auto`` inside it replaced by the network it stands for, so that a saved model names that one."""
    if isinstance(factory, AutoNet):
        return default_net(input_shape)
    if not dataclasses.is_dataclass(factory) or isinstance(factory, type):
        return factory
    inner = {f.name: value for f in dataclasses.fields(factory) if callable(value := getattr(factory, f.name))}
    new = {name: resolved(value, input_shape) for name, value in inner.items()}
    return dataclasses.replace(factory, **new) if any(new[k] is not inner[k] for k in new) else factory
