"""Networks, heads, losses, weight averaging and the factories that build them from a name."""

from __future__ import annotations

from labelwright.nn.factories import NETS, NetFactory, factory_from, net_named, network, seeded, spec_of, split_head
from labelwright.nn.networks import MLP, ConvNet, PreActResNet, ResNet, WideResNet

__all__ = [
    "MLP",
    "NETS",
    "ConvNet",
    "NetFactory",
    "PreActResNet",
    "ResNet",
    "WideResNet",
    "factory_from",
    "net_named",
    "network",
    "seeded",
    "spec_of",
    "split_head",
]
