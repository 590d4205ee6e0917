"""A factor before a network, for plain inputs and for nodes of a graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from labelwright.data.node_batches import GraphTensor, NodeTensor
from labelwright.errors import InputError
from labelwright.nn import GCN, MLP, Scaled, factory_from, seeded, spec_of
from labelwright.stats.graphs import adjacency


def test_inputs_are_multiplied_and_nothing_else_is():
    factory = Scaled(base=MLP(hidden=(4,)), factor=3.0)
    assert factory_from(spec_of(factory)) == factory
    with seeded(0):
        net = factory(2, (5,))
    x = torch.arange(10.0).reshape(2, 5)
    assert_close(net(x), net.net(3 * x))
    with pytest.raises(InputError, match="factor"):
        Scaled(base=MLP(), factor=0.0)


def test_features_of_nodes_are_multiplied_and_edges_stay():
    graph = adjacency(np.array([[0, 1], [1, 2]]), 3)
    parts = {"indptr": torch.from_numpy(graph.indptr.astype(np.int64)), "indices": torch.from_numpy(graph.indices.astype(np.int64))}
    features = torch.eye(3)
    nodes = torch.tensor([2, 0])
    small, large = (
        NodeTensor(GraphTensor(features=f, weights=torch.from_numpy(graph.data), **parts), nodes) for f in (features, 7 * features)
    )
    with seeded(0):
        net = Scaled(base=GCN(hidden=4), factor=7.0)(2, (3,)).eval()
    assert_close(net(small), net.net(large))
