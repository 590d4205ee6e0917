"""Networks, heads, losses, weight averaging and the factories that build them from a name."""

from __future__ import annotations

from labelwright.nn.defaults import AutoNet, default_net, resolved
from labelwright.nn.embedding import Embedding, EmbeddingNet
from labelwright.nn.ensembles import Ensemble, EnsembleNet, Mixture, MixtureNet
from labelwright.nn.factories import NETS, NetFactory, factory_from, join_head, net_named, network, seeded, spec_of, split_head
from labelwright.nn.gcnii import GCNII
from labelwright.nn.graphs import GAT, GCN, GeometricNet, GraphNet, GraphSAGE
from labelwright.nn.hub import HuggingFace
from labelwright.nn.networks import MLP, ConvNet, PreActResNet, ResNet, WideResNet
from labelwright.nn.scaled import Scaled, ScaledNet

__all__ = [
    "GAT",
    "GCN",
    "GCNII",
    "MLP",
    "NETS",
    "AutoNet",
    "ConvNet",
    "Embedding",
    "EmbeddingNet",
    "Ensemble",
    "EnsembleNet",
    "GeometricNet",
    "GraphNet",
    "GraphSAGE",
    "HuggingFace",
    "Mixture",
    "MixtureNet",
    "NetFactory",
    "PreActResNet",
    "ResNet",
    "Scaled",
    "ScaledNet",
    "WideResNet",
    "default_net",
    "factory_from",
    "join_head",
    "net_named",
    "network",
    "resolved",
    "seeded",
    "spec_of",
    "split_head",
]
