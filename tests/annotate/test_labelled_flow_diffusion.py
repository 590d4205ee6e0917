"""Labelled flow diffusion: what labels do to a diffusion, by its lemmas and on planted clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import csgraph

from labelwright.annotate.labelled_flow_diffusion import LabelledFlowDiffusion
from labelwright.annotate.local_clustering import (
    ALPHAS,
    AttributeWeights,
    LabelWeights,
    alpha_scan,
    fitted_guesses,
    growing_scan,
    label_weights,
    local_cluster,
    pagerank_cluster,
    pseudo_labels,
)
from labelwright.data import from_arrays
from labelwright.data.graphs import Graph, node_dataset
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, Targets
from labelwright.results import Status
from labelwright.stats.flow import TooMuchMass, flow_diffusion
from labelwright.stats.region import LocalGraph

N, SIZE = 600, 60
TRUTH = (np.arange(N) < SIZE).astype(np.int64)


def local_model(seed: int = 0, *, n: int = N, size: int = SIZE, p: float = 0.25, q: float = 0.02) -> sparse.csr_array:
    """Cluster 0..size-1 with edge probability p inside, q to and in the rest."""
    rng = np.random.default_rng(seed)
    chance = np.full((n, n), q)
    chance[:size, :size] = p
    upper = np.triu(rng.random((n, n)) < chance, 1)
    return sparse.csr_array((upper | upper.T).astype(np.float64))


def noisy(a1: float, a0: float, seed: int) -> np.ndarray:
    """Guesses right for a share a1 of the cluster and a0 of the rest."""
    rng = np.random.default_rng(seed)
    right = rng.random(N) < np.where(TRUTH == 1, a1, a0)
    return np.where(right, TRUTH, 1 - TRUTH)


def f1(nodes: np.ndarray) -> float:
    hits = int((nodes < SIZE).sum())
    return 2 * hits / (len(nodes) + SIZE)


def nodes_data(guesses: np.ndarray | None = None, *, features: object = None, names: tuple[str, ...] = ()) -> object:
    labels = None if guesses is None else ClassLabels(values=guesses, names=names or ("0", "1"))
    return node_dataset(Graph(adjacency=local_model(), features=features), labels)


class TestWeights:
    def test_edges_between_labels_that_differ_count_eps_times(self):
        adjacency = np.array([[0, 2, 1, 0], [2, 0, 0, 3], [1, 0, 0, 1], [0, 3, 1, 0]], dtype=float)
        found = label_weights(adjacency, np.array([1, 1, 0, -1]), eps=0.1).toarray()
        want = adjacency.copy()
        want[0, 2] = want[2, 0] = 0.1  # 0 and 1 agree, and nobody knows node 3
        assert np.array_equal(found, want)

    def test_an_edge_inside_stays_as_often_as_the_design_says(self):
        # inside K: a1^2 + (1 - a1)^2 = 0.58; at the border of a node labelled right: 1 - a0 = 0.3 for a1 = a0 = 0.7
        graph = local_model(p=0.5, q=0.3)
        kept_inside, kept_border = [], []
        for seed in range(12):
            guesses = noisy(0.7, 0.7, seed)
            weights = label_weights(graph, guesses, eps=0).tocoo()
            rows = np.repeat(np.arange(N), np.diff(graph.indptr))
            inside = (rows < SIZE) & (graph.indices < SIZE)
            border = (rows < SIZE) & (graph.indices >= SIZE) & (guesses[rows] == 1)
            kept_inside.append(((weights.row < SIZE) & (weights.col < SIZE)).sum() / inside.sum())
            kept_border.append(((weights.row < SIZE) & (weights.col >= SIZE) & (guesses[weights.row] == 1)).sum() / border.sum())
        assert np.mean(kept_inside) == pytest.approx(0.58, abs=0.02)
        assert np.mean(kept_border) == pytest.approx(0.30, abs=0.02)

    def test_eps_1_is_plain_diffusion(self):
        plain = LocalGraph(local_model())
        labelled = plain.weighted(LabelWeights(noisy(0.7, 0.7, 0), N, eps=1))
        a, b = (flow_diffusion(g, {3: 900.0}) for g in (plain, labelled))
        assert np.array_equal(a.touched, b.touched)
        assert np.array_equal(a.x, b.x)

    def test_eps_0_never_leaves_the_component_of_the_label(self):
        guesses = noisy(0.9, 0.9, 1)
        guesses[3] = 1
        graph = local_model()
        same = label_weights(graph, guesses, eps=0)
        _, component = csgraph.connected_components(same)
        found = flow_diffusion(LocalGraph(graph).weighted(LabelWeights(guesses, N, eps=0)), {3: 700.0})
        assert len(found.support) > 10
        assert (component[found.touched] == component[3]).all()
        assert (guesses[found.touched] == 1).all()

    @pytest.mark.parametrize("share", [0.4, 0.8, 1.0])
    def test_perfect_labels_and_eps_0_are_never_wrong_while_the_cluster_holds_the_mass(self, share):
        graph = LocalGraph(local_model())
        room = float(graph.degrees()[:SIZE].sum())
        found = flow_diffusion(graph.weighted(LabelWeights(TRUTH, N, eps=0)), {3: share * room})
        assert len(found.support)
        assert found.touched.max() < SIZE

    def test_labels_are_asked_once_each_and_only_where_the_diffusion_comes(self):
        big = sparse.csr_array(sparse.block_diag([local_model(), local_model(1)]))
        near = np.zeros(2 * N, dtype=bool)
        asked: list[int] = []

        def guess(nodes: np.ndarray) -> np.ndarray:
            asked.extend(nodes.tolist())
            return (nodes < SIZE).astype(int)

        weigh = LabelWeights(guess, 2 * N, eps=0.05, known={3: 1})
        found = flow_diffusion(LocalGraph(big).weighted(weigh), {3: 400.0})
        near[found.support] = True
        near |= big @ near.astype(float) > 0
        assert len(asked) == len(set(asked)) == weigh.evaluated
        assert set(asked) <= set(np.flatnonzero(near).tolist())
        assert 3 not in asked  # known already
        assert len(asked) < 2 * N

    def test_attributes(self):
        features = np.array([[0.0, 0], [3, 4], [0, 1]])
        rows, cols = np.array([0, 0]), np.array([1, 2])
        want = np.array([2.0, 5.0]) * np.exp(-0.02 * np.array([25, 1]))
        for kind in (np.asarray, sparse.csr_matrix):
            assert np.allclose(AttributeWeights(kind(features), gamma=0.02)(rows, cols, np.array([2.0, 5.0])), want)

    def test_what_is_refused(self):
        with pytest.raises(InputError, match=r"first row 1 \(.*2"):
            LabelWeights(np.array([0, 2]), 2)
        with pytest.raises(InputError, match="shape"):
            LabelWeights(np.array([0, 1]), 3)
        with pytest.raises(InputError, match="eps"):
            LabelWeights(np.array([0, 1]), 2, eps=1.5)
        lazy = LabelWeights(lambda nodes: np.full(len(nodes), 7), 3)
        with pytest.raises(InputError, match="labels must be 1"):
            lazy.of(np.array([0]))
        with pytest.raises(InputError, match="finite"):
            AttributeWeights(np.array([[np.nan]]))


class TestClusters:
    def test_labels_find_a_planted_cluster_better_than_the_graph_and_than_labels_alone(self):
        plain, gains = LocalGraph(local_model()), []
        for seed in range(5):
            guesses = noisy(0.7, 0.9, seed)
            start = int(np.flatnonzero((guesses == 1) & (TRUTH == 1))[0])
            mass = [2.0 * SIZE]
            labelled = plain.weighted(LabelWeights(guesses, N, eps=0.05))
            ours, flow = (f1(local_cluster(g, [start], mass, sink=1.0, cut="support").nodes) for g in (labelled, plain))
            gains.append((ours - flow, ours - f1(np.flatnonzero(guesses))))
        assert np.mean(gains, 0)[0] > 0.05
        assert np.mean(gains, 0)[1] > 0.1

    def test_the_scan_keeps_the_lowest_conductance_on_the_same_weights(self):
        graph = LocalGraph(local_model())
        found = local_cluster(graph, [3], alpha_scan(float(graph.degrees()[:SIZE].sum())))
        assert len(found.scan) == len(ALPHAS) == 15
        assert found.conductance == min(phi for _, phi, _ in found.scan)
        assert found.mass == next(m for m, phi, _ in found.scan if phi == found.conductance)
        alone = local_cluster(graph, [3], [found.mass])  # going on from smaller masses ends in the same place
        assert np.array_equal(alone.nodes, found.nodes)
        assert alone.conductance == pytest.approx(found.conductance)

    def test_a_scan_stops_where_the_component_is_full(self):
        graph = LocalGraph(sparse.block_diag([local_model(), np.ones((4, 4)) - np.eye(4)]))
        found = local_cluster(graph, [N], [4.0, 7.0, 20.0, 40.0], cut="support")  # the clique holds 12
        assert [m for m, _, _ in found.scan] == [4.0, 7.0]
        assert found.refused == (40.0,) or found.refused == (20.0, 40.0)

    def test_too_much_mass_is_refused_or_clipped_to_what_fits(self):
        graph = LocalGraph(sparse.block_diag([local_model(), np.ones((4, 4)) - np.eye(4)]))
        with pytest.raises(TooMuchMass, match=r"4 nodes .* hold, 12"):
            local_cluster(graph, [N], [20.0])
        found = local_cluster(graph, [N], [20.0], clip=True)
        assert found.clipped
        assert found.mass == pytest.approx(0.99 * 12)
        assert (found.nodes >= N).all()

    def test_less_mass_than_the_seed_holds_moves_nothing(self):
        with pytest.raises(InputError, match="moves nothing"):
            local_cluster(local_model(), [3], [0.5], sink=1.0)

    def test_scans(self):
        assert alpha_scan(10.0)[:2] == (15.0, 17.5)
        assert alpha_scan(10.0)[-1] == 50.0
        assert growing_scan(4.0, 10.0) == (4.0, 6.0, 9.0)
        assert growing_scan(4.0, 3.0) == (4.0,)

    def test_pagerank_on_a_dumbbell_stays_on_its_side(self):
        clique = np.ones((6, 6)) - np.eye(6)
        weights = np.zeros((12, 12))
        weights[:6, :6] = weights[6:, 6:] = clique
        weights[5, 6] = weights[6, 5] = 1
        found = pagerank_cluster(weights, [1], rho=1e-8)
        assert found.nodes.tolist() == list(range(6))
        assert found.conductance == pytest.approx(1 / 31)  # one edge of 2 * 15 + 1

    def test_pseudo_labels_are_the_top_of_the_flow_and_random_zeros(self):
        found = flow_diffusion(local_model(), {3: 900.0})
        top, rest = pseudo_labels(found, 10, rng=np.random.default_rng(0))
        x = found.dense()
        assert x[top].min() >= np.sort(x)[-10]
        assert (x[rest] == 0).all()
        assert len(set(rest.tolist())) == 10

    def test_a_classifier_needs_both_sides(self):
        guess = fitted_guesses(np.array([[0.0], [1], [2], [3]]), np.array([2, 3]), np.array([0, 1]))
        assert guess(np.arange(4)).tolist() == [0, 0, 1, 1]
        with pytest.raises(InputError, match="2 and 0"):
            fitted_guesses(np.zeros((4, 1)), np.array([0, 1]), np.array([], dtype=int))


class TestMethod:
    def test_inside_and_outside_with_what_it_cost(self):
        made = LabelledFlowDiffusion(seed_node=("3",), size=SIZE).annotate(nodes_data(noisy(0.9, 0.98, 0)), seed=0)
        assert tuple(made.labels.names) == ("outside", "inside")
        assert f1(np.flatnonzero(made.labels.values == 1)) > 0.8
        assert made.confidence[3] == 1
        assert made.reasons[3] == "seed"
        assert np.array_equal(made.abstained, made.labels.values == -1)
        assert (made.confidence[made.abstained] == 0).all()
        decided = ~made.abstained
        assert ((made.confidence[decided] >= 0.5) & (made.confidence[decided] <= 1)).all()
        facts = made.facts
        assert facts["seed_nodes"] == [3]
        assert facts["positive"] == "1"
        assert facts["cluster"] == int((made.labels.values == 1).sum())
        assert 0 < facts["nodes_touched"] <= N
        assert len(facts["scan"]) + len(facts["masses_too_large"]) == 15
        assert made.status == Status.COMPLETE

    def test_confidence_ranks_by_potential(self):
        made = LabelledFlowDiffusion(seed_node=("3",), weights="none", mass=900.0, tol=1e-8).annotate(nodes_data(), seed=0)
        x = flow_diffusion(local_model(), {3: 900.0}, tol=1e-8).dense()
        inside = np.flatnonzero((made.labels.values == 1) & (np.arange(N) != 3))
        assert np.array_equal(np.argsort(x[inside], kind="stable"), np.argsort(made.confidence[inside], kind="stable"))
        assert made.confidence[inside].min() == pytest.approx(0.5)

    def test_known_nodes_come_before_guesses_and_in_the_answer(self):
        guesses = noisy(0.9, 0.95, 2)
        method = LabelledFlowDiffusion(seed_node=("3",), inside=("7",), outside=("9", "500"), size=SIZE)
        made = method.annotate(nodes_data(guesses), seed=0)
        assert made.labels.values[[3, 7, 9, 500]].tolist() == [1, 1, 0, 0]
        assert made.reasons[[7, 9]].tolist() == ["given as inside", "given as outside"]

    def test_the_seed_counts_as_inside_whatever_its_guess(self):
        guesses = noisy(0.9, 0.95, 2)
        one, other = guesses.copy(), guesses.copy()
        one[3], other[3] = 0, 1
        method = LabelledFlowDiffusion(seed_node=("3",), size=SIZE)
        a, b = (method.annotate(nodes_data(g), seed=0) for g in (one, other))
        assert np.array_equal(a.labels.values, b.labels.values)

    def test_the_class_of_the_seed_is_the_cluster_unless_another_is_named(self):
        words = np.where(TRUTH == 1, 2, np.arange(N) % 2)
        data = nodes_data(words, names=("ant", "bee", "cat"))
        assert LabelledFlowDiffusion(seed_node=("3",)).annotate(data, seed=0).facts["positive"] == "cat"
        assert LabelledFlowDiffusion(seed_node=("3",), positive="bee").annotate(data, seed=0).facts["positive"] == "bee"
        drawn = LabelledFlowDiffusion(positive="cat").annotate(data, seed=5).facts
        assert drawn["seed_nodes"][0] < SIZE
        assert LabelledFlowDiffusion().annotate(data, seed=5).facts["positive"] in ("ant", "bee", "cat")

    def test_guesses_from_attributes_of_a_few_known_nodes(self):
        rng = np.random.default_rng(0)
        features = (TRUTH[:, None] * 3 + rng.normal(size=(N, 4))).astype(np.float32)
        few = np.full(N, -1)
        few[rng.choice(SIZE, 15, replace=False)], few[SIZE + rng.choice(N - SIZE, 15, replace=False)] = 1, 0
        start = str(int(np.flatnonzero(few == 1)[0]))

        def found(labels: np.ndarray | None, **fields: str) -> float:
            made = LabelledFlowDiffusion(seed_node=(start,), size=SIZE, **fields).annotate(nodes_data(labels, features=features), seed=0)
            assert fields.get("weights") == "none" or 0 < made.facts["labels_evaluated"] <= N
            return f1(np.flatnonzero(made.labels.values == 1))

        plain = found(None, weights="none")
        assert found(few, guess_from="attributes") > plain + 0.1
        assert found(None, guess_from="diffusion") > plain + 0.1

    def test_a_function_guesses_lazily(self):
        asked: list[int] = []

        def guess(nodes: np.ndarray) -> np.ndarray:
            asked.extend(nodes.tolist())
            return TRUTH[nodes]

        made = LabelledFlowDiffusion(seed_node=("3",), guess=guess, mass=300.0).annotate(nodes_data(), seed=0)
        assert made.facts["labels_evaluated"] == len(asked) < N

    @pytest.mark.parametrize(
        "change", [{"weights": "none"}, {"weights": "attributes"}, {"walk": "pagerank"}, {"solver": "queue"}, {"sink": "one"}]
    )
    def test_relatives_run_in_the_same_frame(self, change):
        data = nodes_data(noisy(0.8, 0.95, 0), features=TRUTH[:, None].astype(np.float32))
        made = LabelledFlowDiffusion(seed_node=("3",), **change).annotate(data, seed=0)
        assert 3 in np.flatnonzero(made.labels.values == 1)

    def test_a_subset_of_nodes_is_answered_on_the_whole_graph(self):
        data = nodes_data(noisy(0.8, 0.95, 0))
        whole = LabelledFlowDiffusion(seed_node=("3",), weights="none").annotate(data, seed=0)
        rows = np.array([1, 5, 300])
        part = LabelledFlowDiffusion(seed_node=("3",), weights="none").annotate(data.take(rows), seed=0)
        assert part.labels.values.tolist() == whole.labels.values[rows].tolist()
        assert part.ids.tolist() == [1, 5, 300]

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"seed_node": ("601",)}, "601.*0 to 599"),
            ({"seed_node": ("3",), "outside": ("3",)}, "both"),
            ({"seed_node": ("3",), "mass": 1e9}, "more than the 600 nodes"),
            ({"seed_node": ("3",), "positive": "2"}, "'2' is not in"),
            ({"seed_node": ("3",), "weights": "attributes"}, "features"),
            ({"seed_node": ("3",), "guess_from": "attributes"}, "features"),
        ],
    )
    def test_what_is_refused_of_the_data(self, fields, words):
        with pytest.raises(InputError, match=words):
            LabelledFlowDiffusion(**fields).annotate(nodes_data(noisy(0.8, 0.95, 0)), seed=0)

    @pytest.mark.parametrize(
        "fields",
        [
            {"eps": -0.1},
            {"eps": 1.1},
            {"mass": 0.0},
            {"size": 0},
            {"mass": 1.0, "size": 3},
            {"walk": "pagerank", "size": 3},
            {"walk": "pagerank", "cut": "support"},
            {"walk": "pagerank", "clip": True},
            {"weights": "none", "guess_from": "diffusion"},
            {"tol": 0.0},
            {"pseudo": 0},
            {"gamma": float("nan")},
        ],
    )
    def test_settings_that_are_refused(self, fields):
        with pytest.raises(InputError):
            LabelledFlowDiffusion(**fields)

    def test_data_that_are_refused(self):
        with pytest.raises(InputError, match="nodes of a graph"):
            LabelledFlowDiffusion().annotate(from_arrays(np.zeros((5, 2)), [0, 1, 0, 1, 0]), seed=0)
        with pytest.raises(InputError, match="no labels"):
            LabelledFlowDiffusion(seed_node=("3",)).annotate(nodes_data(), seed=0)
        with pytest.raises(InputError, match="class-labels"):
            LabelledFlowDiffusion().annotate(nodes_data(TRUTH).with_labels(Targets(values=np.zeros((N, 1)), names=("t",))), seed=0)
        with pytest.raises(InputError, match="all 0"):
            LabelledFlowDiffusion(seed_node=("3",)).annotate(nodes_data(np.zeros(N, dtype=int), names=("0",)), seed=0)
        three = np.arange(N) % 3
        with pytest.raises(InputError, match=r"3 classes.*--positive"):
            LabelledFlowDiffusion(seed_node=("3",)).annotate(
                nodes_data(np.where(np.arange(N) == 3, -1, three), names=("a", "b", "c")), seed=0
            )
