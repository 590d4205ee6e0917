"""GCNII against the formula written out with dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from labelwright.data.node_batches import GraphTensor, NodeTensor
from labelwright.errors import InputError
from labelwright.nn import factory_from, seeded, spec_of
from labelwright.nn.gcnii import GCNII
from labelwright.stats.graphs import adjacency


def nodes() -> tuple[NodeTensor, torch.Tensor]:
    """Five nodes, one isolated, and the dense normalised adjacency with self-loops."""
    graph = adjacency(np.array([[0, 1], [1, 2], [2, 3], [0, 2]]), 5)
    with seeded(0):
        features = torch.randn(5, 6)
    tensor = GraphTensor(
        features=features,
        indptr=torch.from_numpy(graph.indptr.astype(np.int64)),
        indices=torch.from_numpy(graph.indices.astype(np.int64)),
        weights=torch.from_numpy(graph.data),
    )
    loops = torch.from_numpy(graph.toarray()) + torch.eye(5)
    half = loops.sum(1).rsqrt()
    return NodeTensor(tensor, torch.tensor([3, 0, 4])), half[:, None] * loops * half


def test_layers_are_the_formula():
    inputs, operator = nodes()
    factory = GCNII(hidden=4, layers=2, alpha=0.3, theta=0.7)
    with seeded(1):
        net = factory(3, (6,)).eval()
    first = hidden = net.enter(inputs.graph.features).relu()
    for place, layer in enumerate(net.layers, start=1):
        beta = float(np.log(0.7 / place + 1))
        mixed = 0.7 * operator @ hidden + 0.3 * first
        hidden = (mixed @ ((1 - beta) * torch.eye(4) + beta * layer.weight1)).relu()
    assert_close(net(inputs), net.leave(hidden)[inputs.nodes])


def test_it_is_built_from_its_description_and_refuses_images():
    assert factory_from(spec_of(GCNII(layers=3))) == GCNII(layers=3)
    with pytest.raises(InputError, match="nodes"):
        GCNII()(3, (3, 8, 8))
    with pytest.raises(InputError, match="nodes of a graph"):
        GCNII()(3, (6,))(torch.zeros(2, 6))
