"""Networks on graphs: against dense formulas, under relabelling of the nodes, with the one loop, and with the wrong inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from labelwright.data import Graph, from_arrays, node_dataset
from labelwright.data.featurise import fit_featuriser
from labelwright.data.graphs import graph_of
from labelwright.data.node_batches import NodeShape, sample_neighbours
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.learn import CrossEntropy
from labelwright.nn import GAT, GCN, AutoNet, GraphSAGE, factory_from, net_named, resolved, seeded, spec_of
from labelwright.results import Learned
from labelwright.training import Fit

N, F = 24, 5


def two_blocks(seed=0, order=None):
    """Two dense blocks of twelve nodes with weak features; classes are the blocks."""
    rng = np.random.default_rng(seed)
    block = np.arange(N) % 2
    dense = np.triu(rng.random((N, N)) < np.where(block[:, None] == block[None], 0.5, 0.03), 1).astype(np.float32)
    dense = dense + dense.T
    x = rng.random((N, F)).astype(np.float32) + 0.5 * np.eye(2, F, dtype=np.float32)[block]
    order = np.arange(N) if order is None else order
    graph = Graph(adjacency=sparse.csr_matrix(dense[order][:, order]), features=x[order])
    split = np.where(np.arange(N) < 8, "train", "test")[order]
    return node_dataset(graph, ClassLabels(values=block[order], names=("x", "y")), split=split)


def built(factory, seed=0):
    with seeded(seed):
        net = factory(2, NodeShape((F,)))
    return net.eval()


def test_gcn_and_sage_equal_their_dense_formulas():
    data = two_blocks()
    nodes = fit_featuriser(data, seed=0).transform(data)
    x, a = nodes.graph.features, torch.from_numpy(graph_of(data).adjacency.toarray())
    net = built(GCN(hidden=7))
    loops = a + torch.eye(N)
    root = loops.sum(1).rsqrt()
    s = root[:, None] * loops * root
    first, second = net.layers
    hidden = (s @ (x @ first.lin.weight.T) + first.bias).relu()
    want = s @ (hidden @ second.lin.weight.T) + second.bias
    torch.testing.assert_close(net(nodes), want)
    torch.testing.assert_close(net(nodes[torch.tensor([3, 1])]), want[[3, 1]])
    net = built(GraphSAGE(hidden=7))
    mean = a / a.sum(1, keepdim=True).clamp_min(1)
    first, second = net.layers
    hidden = ((mean @ x) @ first.lin_l.weight.T + first.lin_l.bias + x @ first.lin_r.weight.T).relu()
    want = (mean @ hidden) @ second.lin_l.weight.T + second.lin_l.bias + hidden @ second.lin_r.weight.T
    torch.testing.assert_close(net(nodes), want)


@pytest.mark.parametrize("factory", [GCN(), GAT(hidden=16, heads=4, norm="l1"), GraphSAGE()])
def test_relabelling_the_nodes_relabels_the_logits(factory):
    order = np.random.default_rng(1).permutation(N)
    first, second = two_blocks(), two_blocks(order=order)
    net = built(factory)
    with torch.no_grad():
        a, b = (net(fit_featuriser(d, seed=0).transform(d)) for d in (first, second))
    torch.testing.assert_close(a[torch.from_numpy(order)], b)


def test_a_sampled_neighbourhood_without_limits_gives_the_same_logits():
    data = two_blocks()
    nodes = fit_featuriser(data, seed=0).transform(data)
    batch = nodes[torch.tensor([4, 9])]
    sampled = sample_neighbours(batch, (N, N, N), generator=torch.Generator().manual_seed(0))  # a round more: degrees of all that is read
    for factory in (GAT(hidden=16, heads=4), GraphSAGE()):
        net = built(factory)
        with torch.no_grad():
            torch.testing.assert_close(net(sampled), net(batch))


def test_the_one_loop_trains_a_graph_and_the_model_comes_back(tmp_path):
    data = two_blocks()
    fit = Fit(epochs=60, batch_size=N, optimizer="adam", lr=0.05, weight_decay=0, keep="last", device="cpu")
    learned = CrossEntropy().learn(data, net_named("gcn", hidden=16), fit=fit, seed=0)
    test = data.take(data.columns["split"] == "test")
    assert (learned.predict(test).values == test.labels.values).mean() > 0.85
    learned.save(tmp_path / "m")
    assert np.array_equal(Learned.load(tmp_path / "m").predict_proba(data), learned.predict_proba(data))
    # another graph with the same features
    assert learned.predict_proba(two_blocks(seed=5)).shape == (N, 2)
    with pytest.raises(InputError, match="trained on nodes"):
        learned.predict_proba(np.zeros((3, F), dtype=np.float32))


def test_the_automatic_network_and_specifications():
    assert resolved(AutoNet(), NodeShape((F,))) == GAT()
    assert factory_from(spec_of(GAT(heads=2, hidden=8))) == GAT(heads=2, hidden=8)
    with pytest.raises(InputError, match="multiple of heads"):
        GAT(hidden=10, heads=4)
    with pytest.raises(InputError, match="layers must be >= 1"):
        net_named("gcn", layers=0)


def test_a_network_of_the_wrong_kind_is_refused():
    fit = Fit(epochs=1, device="cpu")
    with pytest.raises(InputError, match="nodes of a graph"):
        CrossEntropy().learn(two_blocks(), net_named("mlp"), fit=fit, seed=0)
    vectors = from_arrays(np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), np.arange(20) % 2)
    with pytest.raises(InputError, match="reads the nodes of a graph"):
        CrossEntropy().learn(vectors, net_named("gcn"), fit=fit, seed=0)
