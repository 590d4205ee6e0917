"""A graph, its nodes as examples, the rule of splits, tensors of nodes and the neighbour sampler."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from labelwright.data import Graph, GraphNodes, corrupt, load, node_dataset
from labelwright.data.features.nodes import node_vectors, plain_vectors
from labelwright.data.featurise import Featuriser, fit_featuriser
from labelwright.data.graphs import graph_of, rows_of, training_view
from labelwright.data.node_batches import NodeShape, NodeTensor, sample_neighbours
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.stats import graphs
from labelwright.training import prepare

N = 30


def ring(*, features="dense", texts=False, split=True):
    """Thirty nodes on a ring with chords, node 29 isolated, three classes; splits 0..11 train, 12..17 val, 18..23 test, rest."""
    rng = np.random.default_rng(0)
    edges = [[i, (i + 1) % 29] for i in range(29)] + [[i, (i + 9) % 29] for i in range(0, 29, 3)]
    x = (rng.random((N, 6)) < 0.4).astype(np.float32)
    graph = Graph(
        adjacency=graphs.adjacency(edges, N),
        features={"dense": x, "sparse": sparse.csr_matrix(x), "none": None}[features],
        texts=tuple(f"paper number {i} on topic {i % 3}" for i in range(N)) if texts else None,
        ids=np.array([f"n{i}" for i in range(N)]),
    )
    words = np.array(["train"] * 12 + ["val"] * 6 + ["test"] * 6 + ["rest"] * 6)
    return node_dataset(graph, ClassLabels(values=np.arange(N) % 3, names=("a", "b", "c")), split=words if split else None)


def test_a_graph_is_cleaned_and_checked():
    loops = sparse.csr_matrix(np.array([[5.0, 1, 0], [0, 0, 0], [0, 0, 0]]))
    graph = Graph(adjacency=loops)
    assert graph.adjacency.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert graph.isolated.tolist() == [False, False, True]
    assert graph.num_edges == 1
    with pytest.raises(InputError, match="finite"):
        Graph(adjacency=loops, features=np.array([[np.nan], [1], [1]]))
    with pytest.raises(InputError, match="shape"):
        Graph(adjacency=loops, features=np.ones((2, 1)))
    with pytest.raises(InputError, match="unique"):
        Graph(adjacency=loops, ids=["a", "b", "a"])


def test_taking_nodes_keeps_the_graph_and_their_neighbours():
    data = ring()
    part = data.take(np.array([5, 2]))
    assert part.kind == "nodes"
    assert part.ids.tolist() == ["n5", "n2"]
    assert len(graph_of(part)) == N
    assert set(part.inputs[1]["neighbours"]) == {data.ids[j] for j in graph_of(data).adjacency[2].indices}
    first, second = data.split(0.5, seed=0)
    assert sorted([*first.ids, *second.ids]) == sorted(data.ids)
    noisy, truth = corrupt.symmetric(data, 0.5, seed=0)
    assert truth.changed.sum() == 15
    assert graph_of(noisy) is graph_of(data)


@pytest.mark.parametrize("features", ["dense", "sparse", "none"])
def test_a_dataset_folder_keeps_the_graph_exactly(tmp_path, features):
    data = ring(features=features, texts=True).take(np.array([3, 1, 29]))
    data.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.fingerprint == data.fingerprint
    assert again.inputs.nodes.tolist() == [3, 1, 29]
    assert graph_of(again).texts == graph_of(data).texts
    assert (graph_of(again).adjacency != graph_of(data).adjacency).nnz == 0


def test_fingerprints_tell_graphs_apart():
    data = ring()
    graph = graph_of(data)
    other = node_dataset(
        Graph(adjacency=graph.adjacency[:, ::1].maximum(graphs.adjacency([[0, 5]], N)), features=graph.features, ids=graph.ids),
        data.labels,
        split=data.columns["split"],
    )
    assert other.fingerprint != data.fingerprint
    assert ring().fingerprint == data.fingerprint


def test_a_damaged_graph_file_is_an_input_error(tmp_path):
    ring().save(tmp_path / "saved")
    with np.load(tmp_path / "saved/graph.npz") as file:
        arrays = dict(file)
    arrays["adj_indices"] = arrays["adj_indices"] + 1000  # SciPy would read beyond its memory
    np.savez(tmp_path / "saved/graph.npz", **arrays)
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "saved")


def test_learners_see_the_labels_of_training_rows_only():
    data = ring()
    seen, val = training_view(data)
    assert np.array_equal(np.flatnonzero(seen.known), np.arange(12))
    assert val.ids.tolist() == [f"n{i}" for i in range(12, 18)]
    prepared = prepare(data, seed=0)
    assert prepared.train.index.tolist() == list(range(12))
    assert (prepared.labels[12:] == -1).all()
    assert prepared.val.labels.tolist() == [i % 3 for i in range(12, 18)]
    assert rows_of(data, "test").nonzero()[0].tolist() == list(range(18, 24))
    # whatever the other labels are, training cannot tell
    other = data.with_labels(ClassLabels(values=np.where(np.arange(N) < 18, np.arange(N) % 3, 0), names=("a", "b", "c")))
    assert torch.equal(prepare(other, seed=0).labels, prepared.labels)


def test_without_splits_a_tenth_is_held_out_and_without_training_rows_there_is_an_error():
    prepared = prepare(ring(split=False), seed=0)
    assert len(prepared.train) == 27
    assert len(prepared.val) == 3
    data = ring().with_columns(split=np.array(["test"] * N))
    with pytest.raises(InputError, match="no labelled row for training"):
        prepare(data, seed=0)


def test_featuriser_scales_rows_and_comes_back_bit_equal():
    for data in (ring(), ring(features="sparse"), ring(features="none", texts=True)):
        featuriser = fit_featuriser(data, seed=0)
        made = featuriser.transform(data.take(np.array([4, 29])))
        assert isinstance(made, NodeTensor)
        assert isinstance(made.input_shape, NodeShape)
        assert made.shape == (2, featuriser.input_shape[0])
        assert made.nodes.tolist() == [4, 29]
        sums = made.graph.features.abs().sum(1)
        assert torch.allclose(sums[sums > 0], torch.ones(()))
        again = Featuriser.restore(featuriser.spec(), featuriser.arrays()).transform(data)
        assert torch.equal(again.graph.features, made.graph.features)
    with pytest.raises(InputError, match="neither features nor texts"):
        fit_featuriser(ring(features="none"), seed=0)
    with pytest.raises(InputError, match="6 features"):
        fit_featuriser(ring(), seed=0).transform(node_dataset(Graph(adjacency=np.zeros((2, 2)), features=np.ones((2, 3)))))


def test_edge_index_holds_both_directions_by_receiver():
    data = ring()
    whole = fit_featuriser(data, seed=0).transform(data).graph
    dense = np.zeros((N, N))
    senders, receivers = whole.edge_index.numpy()
    dense[receivers, senders] = 1
    assert np.array_equal(dense, graph_of(data).adjacency.toarray())


def test_sampling_with_a_large_fan_out_is_the_whole_neighbourhood():
    data = ring()
    whole = fit_featuriser(data, seed=0).transform(data)
    batch = whole[torch.tensor([7, 7, 29, 0])]
    sampled = sample_neighbours(batch, (50, 50), generator=torch.Generator().manual_seed(0))
    dense = graph_of(data).adjacency.toarray()
    two = dense + np.eye(N)
    reach = set(np.flatnonzero((two @ two)[[7, 29, 0]].sum(0)).tolist())
    assert len(sampled.graph) == len(reach)
    assert torch.equal(sampled.graph.features[sampled.nodes], whole.graph.features[batch.nodes])
    # the mean of two rounds of sums over neighbours is that of the whole graph
    x = whole.graph.features.numpy()
    small = np.zeros((len(sampled.graph),) * 2)
    senders, receivers = sampled.graph.edge_index.numpy()
    small[receivers, senders] = 1
    assert np.allclose((small @ small @ sampled.graph.features.numpy())[sampled.nodes], (dense @ dense @ x)[batch.nodes], atol=1e-5)


def test_sampling_is_bounded_without_replacement_seeded_and_even():
    star = Graph(adjacency=graphs.adjacency([[0, i] for i in range(1, 41)], 41), features=np.eye(41))
    data = node_dataset(star)
    batch = fit_featuriser(data, seed=0).transform(data)[torch.tensor([0])]
    counts = np.zeros(41)
    for seed in range(400):
        made = sample_neighbours(batch, (5,), generator=torch.Generator().manual_seed(seed))
        assert len(made.graph) == 6
        counts += made.graph.features.sum(0).numpy()
    assert counts[0] == 400
    assert counts[1:].min() > 20  # 50 expected, deviation 6.6
    assert counts[1:].max() < 80
    twice = [sample_neighbours(batch, (5,), generator=torch.Generator().manual_seed(3)).graph.features for _ in range(2)]
    assert torch.equal(*twice)


def test_nodes_must_exist():
    with pytest.raises(InputError, match="positions"):
        GraphNodes(graph_of(ring()), [0, 99])


def test_methods_for_arrays_say_that_nodes_are_none():
    nodes = fit_featuriser(ring(), seed=0).transform(ring())
    assert not hasattr(nodes, "flatten")
    with pytest.raises(InputError, match=r"plain arrays \(flatten\)"):
        nodes.flatten(1)


def test_vectors_of_nodes_are_smoothed_features_up_to_a_rotation():
    graph = graph_of(ring())
    dense = graph.adjacency.toarray() + np.eye(N)
    mean = dense / dense.sum(1, keepdims=True)
    want = mean @ mean @ graph.features
    made = node_vectors(graph, seed=0)
    length = np.linalg.norm(want, axis=1)
    assert length[29] == 0  # isolated and without a feature: stays zero
    length[29] = 1
    assert np.allclose(made @ made.T, want @ want.T / np.outer(length, length), atol=1e-5)
    structure = node_vectors(graph_of(ring(features="none")), seed=0)  # without features the graph itself speaks
    assert structure.shape[0] == N
    data = plain_vectors(ring().take(np.array([4, 2])), seed=0)
    assert data.kind == "vectors"
    assert np.array_equal(data.inputs, made[[4, 2]])
    assert data.ids.tolist() == ["n4", "n2"]
