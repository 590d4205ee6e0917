"""ERASE: every step against brute force or a closed form, recovery on cliques, resuming, and what it does with odd graphs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.testing import assert_close

from labelwright.data import Graph, from_arrays, node_dataset
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels
from labelwright.learn import CrossEntropy, ErrorResilientGraph
from labelwright.learn.noisy.erase_labels import Beliefs, one_hot, prototypes, semantic, similarity, spread, spread_from
from labelwright.nn import net_named
from labelwright.nn.embedding import ABSENT, Embedding, EmbeddingNet
from labelwright.results import Learned
from labelwright.stats import graphs
from labelwright.training import Fit

FIT = Fit(epochs=40, optimizer="amsgrad", lr=5e-3, weight_decay=5e-4, schedule="constant", device="cpu")
GAT = net_named("gat", hidden=16, heads=2, norm="l1", activation="leaky-relu")


def random_adjacency(n=14, p=0.25, *, seed=0):
    return graphs.undirected(np.triu(np.random.default_rng(seed).random((n, n)) < p, 1))


def communities(n=240, classes=3, *, flips=0.3, seed=0, split=True, words=240):
    """Four neighbours a node, most of its class, and rare words that its class uses more often, as in citation graphs; a third of
    the nodes for training, a third for validation, some labels of both flipped: data, truth."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % classes
    near = 3.4 / (n / classes)
    dense = np.triu(rng.random((n, n)) < np.where(truth[:, None] == truth[None], near, near / 11), 1)
    x = (rng.random((n, words)) < 0.02 + 0.03 * (np.arange(words) % classes == truth[:, None])).astype(np.float32)
    parts = np.array(["train", "val", "test"])[np.arange(n) // classes % 3]
    flipped = (rng.random(n) < flips) & (parts != "test")
    given = np.where(flipped, (truth + rng.integers(1, classes, n)) % classes, truth)
    graph = Graph(adjacency=sparse.csr_matrix(dense, dtype=np.float32), features=x)
    labels = ClassLabels(values=given, names=tuple("abcdefg"[:classes]))
    return node_dataset(graph, labels, split=parts if split else None), truth


def beliefs_of(adj, given, *, dim=4, alpha=0.6, beta=0.6, steps=3, classes=2, sampled=False):
    return Beliefs(adj, torch.as_tensor(given), num_classes=classes, dim=dim, alpha=alpha, beta=beta, steps=steps, sampled=sampled)


def test_denoising_is_lazy_spreading_over_edges_between_training_nodes():
    adj = random_adjacency()
    given = np.where(np.arange(14) < 9, np.arange(14) % 2, UNKNOWN)
    dense = adj.toarray().astype(float)
    train = given >= 0
    inside = dense * np.outer(train, train)
    d = inside.sum(0)
    p = inside / np.where(d > 0, d, 1)  # the column is the sender
    y = np.eye(2)[np.maximum(given, 0)] * train[:, None]
    for _ in range(3):
        y = 0.4 * p @ y + 0.6 * y
    made = beliefs_of(adj, given)
    assert_close(made.denoised, torch.from_numpy(y).float())
    assert made.classes[~train].tolist() == [-1] * 5


def test_column_and_row_normalisation_differ_on_a_star():
    """The hub hands each leaf a third of its mass; the row form would hand each leaf all of it."""
    star = graphs.adjacency([[0, 1], [0, 2], [0, 3]], 4)
    made = beliefs_of(star, [0, 1, 1, 1], steps=1, alpha=0.5)
    assert_close(made.denoised[1], torch.tensor([0.5 / 3, 0.5]))
    assert_close(made.denoised[0], torch.tensor([0.5, 0.5 * 3]))


def test_semantic_labels_at_both_ends_of_beta():
    denoised, near = torch.rand(6, 3), torch.rand(6, 3)
    assert_close(semantic(denoised, near, beta=1.0), denoised.softmax(1))
    assert_close(semantic(denoised, near, beta=0.0), near.softmax(1))
    assert_close(
        semantic(denoised, near, beta=0.3)[2], (0.3 * denoised[2] + 0.7 * near[2]).exp() / (0.3 * denoised[2] + 0.7 * near[2]).exp().sum()
    )


def test_prototypes_are_means_and_an_empty_class_keeps_its_last():
    z = torch.tensor([[1.0, 0], [3, 0], [0, 5], [9, 9]])
    before = torch.tensor([[7.0, 7], [7, 7], [2, 2]])
    made = prototypes(z, torch.tensor([0, 0, 1, -1]), before)
    assert made.tolist() == [[2, 0], [0, 5], [2, 2]]
    near = similarity(torch.tensor([[0.0, 0], [1, 1], [-3, 0]]), torch.tensor([[1.0, 0], [0, 0]]))
    assert_close(near, torch.tensor([[0.0, 0], [0.5**0.5, 0], [1, 0]]))  # rows of zeros have similarity 0, never NaN


def test_without_edges_nothing_moves():
    given = np.array([0, 1, 1, UNKNOWN])
    empty = sparse.csr_matrix((4, 4), dtype=np.float32)
    for alpha in (0.6, 0.0):
        made = beliefs_of(empty, given, alpha=alpha)
        assert made.classes.tolist() == given.tolist()
        z = torch.eye(4)
        want = semantic(made.denoised, similarity(z, prototypes(z, made.classes, torch.zeros(2, 4))), beta=0.6).argmax(1)
        assert torch.equal(made.update(z), want)
        assert (made.belief.sum(1) > 0).all()


def test_two_cliques_with_flips_are_all_recovered():
    block = np.kron(np.eye(2), np.ones((20, 20)))
    truth = np.repeat([0, 1], 20)
    for seed in range(5):
        given = truth.copy()
        rng = np.random.default_rng(seed)
        for c in (0, 1):
            at = rng.permutation(20)[:6] + 20 * c  # 30 % of each clique
            given[at] = 1 - c
        made = beliefs_of(graphs.undirected(block), given, beta=1.0, steps=5)
        assert torch.equal(made.update(torch.rand(40, 4)), torch.from_numpy(truth))


def test_mass_is_conserved_and_the_large_form_is_pytorch_geometrics():
    from torch_geometric.nn import LabelPropagation

    adj = random_adjacency(p=0.4)
    assert (graphs.degrees(adj) > 0).all()
    y = torch.rand(14, 3)
    column = graphs.to_torch(graphs.normalised(adj, "column"))
    assert_close(spread(column, y, alpha=0.6, steps=5).sum(0), y.sum(0))
    assert torch.equal(spread(column, y, alpha=1.0, steps=5), y)
    assert torch.equal(spread(column, y, alpha=0.6, steps=0), y)
    rows = torch.arange(14) < 6
    edges = torch.from_numpy(np.stack(adj.nonzero())).long()
    want = LabelPropagation(num_layers=7, alpha=0.6)(y, edges, mask=rows)
    made = spread_from(graphs.to_torch(graphs.normalised(adj)), y, rows, alpha=0.6, steps=7)
    assert_close(made, want)


def test_nodes_that_no_belief_reaches_go_by_similarity():
    """Two components, training nodes in one: the large form would name class 0 everywhere in the other."""
    adj = graphs.adjacency([[0, 1], [2, 3]], 4)
    made = beliefs_of(adj, [1, 0, UNKNOWN, UNKNOWN], dim=2, sampled=True, steps=2)
    z = torch.tensor([[0.0, 1], [1, 0], [0, 1], [0.1, 1]])
    labels = made.update(z)
    assert labels[2:].tolist() == [1, 1]


def test_one_hot_of_unknown_labels_is_zero():
    assert one_hot(torch.tensor([1, -1]), 3).tolist() == [[0, 1, 0], [0, 0, 0]]


def test_the_head_equals_scikit_learn_and_knows_absent_classes():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    z = torch.from_numpy(np.abs(rng.normal(size=(60, 4))).astype(np.float32))
    unit = torch.nn.functional.normalize(z, dim=1).numpy()
    net = EmbeddingNet(torch.nn.Identity(), 4, 4)
    for present in ((0, 1, 3), (1, 3)):
        y = np.array(present)[rng.integers(len(present), size=60)]
        net.fit_head(z, torch.from_numpy(y))
        logits = net.head(torch.from_numpy(unit))
        want = LogisticRegression(max_iter=500).fit(unit.astype(float), y).predict_proba(unit)
        assert np.allclose(logits.softmax(1)[:, list(present)].detach().numpy(), want, atol=1e-4)
        assert logits[:, 2].eq(ABSENT).all()
    net.fit_head(z, torch.full((60,), 2))
    assert (net.head(torch.from_numpy(unit)).argmax(1) == 2).all()


@pytest.fixture(scope="module")
def learned():
    data, truth = communities()
    return data, truth, ErrorResilientGraph(dim=32).learn(data, GAT, fit=FIT, seed=0)


def test_wrong_labels_are_mended_and_the_classifier_beats_cross_entropy(learned):
    data, truth, model = learned
    train, test = (data.columns["split"] == w for w in ("train", "test"))
    given = (data.labels.values == truth)[train].mean()
    corrected = (model.labels.values == truth)[train].mean()
    assert given < 0.75
    assert corrected >= given + 0.08
    plain = CrossEntropy().learn(
        data,
        GAT,
        fit=Fit(epochs=150, optimizer="adam", lr=1e-2, weight_decay=5e-4, schedule="constant", batch_size=240, keep="last", device="cpu"),
        seed=0,
    )
    score, baseline = ((m.predict_proba(data).argmax(1) == truth)[test].mean() for m in (model, plain))
    assert score > baseline + 0.05
    wrong = (data.labels.values != truth) & train
    assert model.label_scores[wrong].mean() > model.label_scores[~wrong & train].mean()
    assert np.all((model.label_scores > 0.5)[train] == (model.labels.values != data.labels.values)[train])
    assert model.columns["confidence"].min() >= 1 / 3 - 1e-6
    assert model.facts["training_labels_changed"] == int((model.labels.values != data.labels.values)[train].sum())


def test_the_model_comes_back_and_reads_another_graph(learned, tmp_path):
    data, _, model = learned
    model.save(tmp_path / "m")
    again = Learned.load(tmp_path / "m")
    assert np.array_equal(again.predict_proba(data), model.predict_proba(data))
    assert np.array_equal(again.columns["confidence"], model.columns["confidence"])
    other, truth = communities(n=60, seed=9)
    assert (again.predict_proba(other).argmax(1) == truth).mean() > 0.6


def test_labels_of_test_rows_are_never_read():
    data, _ = communities(n=45)
    other = data.with_labels(ClassLabels(values=np.where(data.columns["split"] == "test", 0, data.labels.values), names=data.labels.names))
    fit = Fit(epochs=4, optimizer="adam", lr=5e-3, device="cpu")
    a, b = (ErrorResilientGraph(dim=8).learn(d, GAT, fit=fit, seed=0) for d in (data, other))
    assert np.array_equal(a.predict_proba(data), b.predict_proba(data))


@pytest.mark.parametrize("fan_out", [0, 3])
def test_an_interrupted_run_goes_on_exactly(tmp_path, fan_out):
    data, _ = communities(n=45)
    method = ErrorResilientGraph(dim=8, head_every=3, fan_out=fan_out)

    def fit(epochs, folder):
        return Fit(epochs=epochs, batch_size=20, optimizer="amsgrad", lr=5e-3, schedule="constant", device="cpu", checkpoint=folder)

    whole = method.learn(data, GAT, fit=fit(7, None), seed=0)
    with pytest.raises(KeyboardInterrupt):
        method.learn(data, _stop_after(GAT, 4 if not fan_out else 12), fit=fit(7, str(tmp_path)), seed=0)
    resumed = method.learn(data, GAT, fit=fit(7, str(tmp_path)), seed=0)
    assert resumed.history == whole.history
    assert np.array_equal(resumed.predict_proba(data), whole.predict_proba(data))
    assert np.array_equal(resumed.labels.values, whole.labels.values)


def _stop_after(factory, passes):
    """A network that is interrupted in its training pass number `passes`."""

    def build(num_classes, input_shape):
        net = factory(num_classes, input_shape)
        left = [passes]

        def count(module, args):
            left[0] -= module.training
            if not left[0]:
                raise KeyboardInterrupt

        net.register_forward_pre_hook(count)
        return net

    return build


@pytest.mark.parametrize("net", ["gcn", "sage"])
def test_other_encoders_and_sampled_neighbourhoods_learn(net):
    data, truth = communities()
    test = data.columns["split"] == "test"
    fit = Fit(epochs=8, batch_size=45, optimizer="amsgrad", lr=1e-2, schedule="constant", device="cpu")
    model = ErrorResilientGraph(dim=16, fan_out=5, steps=10).learn(data, net_named(net, hidden=16), fit=fit, seed=0)
    assert (model.predict_proba(data).argmax(1) == truth)[test].mean() > 0.6  # a third by chance


def test_any_model_of_pytorch_geometric_is_an_encoder(tmp_path):
    from torch_geometric.nn import GIN

    from labelwright.nn.graphs import GeometricNet, rounds_of

    def factory(outputs, shape):
        return GeometricNet(GIN(shape[0], 16, 3, outputs))

    assert rounds_of(factory(4, (5,))) == 3
    data, truth = communities()
    fit = Fit(epochs=6, batch_size=60, optimizer="adam", lr=1e-2, schedule="constant", device="cpu")
    model = ErrorResilientGraph(dim=16, fan_out=4).learn(data, factory, fit=fit, seed=0)
    assert (model.predict_proba(data).argmax(1) == truth)[data.columns["split"] == "test"].mean() > 0.6
    model.save(tmp_path / "m")
    own = Embedding(encoder=factory, dim=16)
    assert np.array_equal(Learned.load(tmp_path / "m", net=own).predict_proba(data), model.predict_proba(data))
    with pytest.raises(InputError, match="caller's own"):
        Learned.load(tmp_path / "m")


def test_isolated_nodes_absent_classes_and_no_splits():
    data, _ = communities(n=45, split=False)
    graph = data.inputs.graph
    cut = graph.adjacency.toarray()
    cut[:10], cut[:, :10] = 0, 0
    alone = Graph(adjacency=cut, features=graph.features * (np.arange(45) > 2)[:, None])  # three nodes without a word either
    values = np.where(np.arange(45) % 5 == 0, UNKNOWN, data.labels.values)
    odd = node_dataset(alone, ClassLabels(values=values, names=("a", "b", "c", "never")))
    fit = Fit(epochs=4, optimizer="adam", lr=5e-3, device="cpu")
    model = ErrorResilientGraph(dim=8).learn(odd, GAT, fit=fit, seed=0)
    probs = model.predict_proba(odd)
    assert np.isfinite(probs).all()
    assert np.allclose(probs.sum(1), 1, atol=1e-5)
    assert (probs[:, 3] < 1e-6).all()
    assert model.labels.values.max() < 3
    part = odd.take(np.arange(5, 30))  # some nodes of the graph: the others stay neighbours
    assert len(ErrorResilientGraph(dim=8).learn(part, GAT, fit=fit, seed=0).labels) == 25


def test_what_is_refused():
    vectors = from_arrays(np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), np.arange(20) % 2)
    with pytest.raises(InputError, match="nodes of a graph; this dataset holds vectors"):
        ErrorResilientGraph().learn(vectors, GAT, seed=0)
    with pytest.raises(InputError, match="beta"):
        ErrorResilientGraph(beta=1.5)
    data, _ = communities(n=45)
    with pytest.raises(InputError, match="no labels"):
        ErrorResilientGraph().learn(data.with_labels(None), GAT, seed=0)
