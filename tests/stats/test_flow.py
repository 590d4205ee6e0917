"""Flow diffusion, PageRank pushes and sweep cuts against closed forms, plain sequential pushes, a quadratic programme and brute force."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize

from labelwright.errors import InputError
from labelwright.stats.flow import TooMuchMass, flow_diffusion, flow_diffusion_block, flow_diffusions, personalised_pagerank_push
from labelwright.stats.pushes import SOLVERS
from labelwright.stats.region import LocalGraph, Region, ranges
from labelwright.stats.sweep import conductance, sweep_cut

TIGHT = 1e-12


def path(n: int) -> sparse.csr_array:
    return sparse.csr_array(sparse.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1]))


def random_graph(n: int, share: float, seed: int, *, weighted: bool = False) -> np.ndarray:
    """A connected graph: a ring and random edges."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < share, 1)
    upper[np.arange(n - 1), np.arange(1, n)] = True
    weights = upper * (rng.uniform(0.2, 3.0, (n, n)) if weighted else 1.0)
    return weights + weights.T


def planted(n: int, size: int, seed: int = 0, *, inside: float = 12.0, outside: float = 4.0, leak: float = 1.0) -> sparse.csr_array:
    """A cluster 0..size-1 and a sparse rest; the edges of the cluster, its border included, do not depend on n."""
    rng = np.random.default_rng(seed)
    pairs = [rng.integers(0, size, (int(inside * size / 2), 2))]
    border = np.stack([rng.integers(0, size, int(leak * size)), size + rng.integers(0, 4 * size, int(leak * size))], axis=1)
    near = size + rng.integers(0, 4 * size, (int(outside * 2 * size), 2))
    far = np.random.default_rng(seed + 1).integers(5 * size, n, (int(outside * (n - 5 * size) / 2), 2))
    bridge = np.array([[5 * size - 1, 5 * size], [n - 1, n - 2]])
    ends = np.concatenate([*pairs, border, near, far, bridge])
    ends = ends[ends[:, 0] != ends[:, 1]]
    graph = sparse.coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n)).tocsr()
    graph = graph + graph.T
    graph.data[:] = 1
    return sparse.csr_array(graph)


def sequential(
    weights: np.ndarray, source: dict[int, float], sink: np.ndarray, *, tol: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pushes one node at a time, in random order: x and mass. What the method's paper describes, in eight lines."""
    rng, degree = np.random.default_rng(seed), weights.sum(1)
    x, mass = np.zeros(len(weights)), np.zeros(len(weights))
    for node, amount in source.items():
        mass[node] = amount
    while (over := np.flatnonzero(mass > sink * (1 + tol))).size:
        for i in rng.permutation(over):
            step = (mass[i] - sink[i]) / degree[i]
            x[i], mass[i] = x[i] + step, sink[i]
            mass += weights[i] * step
    return x, mass


class TestFlow:
    @pytest.mark.parametrize("solver", SOLVERS)
    def test_a_path_fills_from_its_end(self, solver):
        mass = 7
        found = flow_diffusion(path(12), {0: mass}, 1.0, tol=TIGHT, solver=solver)
        want = [(mass - k) * (mass - k + 1) / 2 for k in range(1, mass)]
        assert np.allclose(found.dense()[: mass - 1], want, rtol=1e-8)
        assert found.support.tolist() == list(range(mass - 1))  # x_M = 0: the last full node is outside
        assert np.allclose(found.mass, 1, atol=1e-8)

    @pytest.mark.parametrize("solver", SOLVERS)
    def test_half_a_unit_more_moves_the_front_by_one(self, solver):
        found = flow_diffusion(path(12), {0: 7.5}, 1.0, tol=TIGHT, solver=solver)
        assert found.support.tolist() == list(range(7))
        assert found.mass[found.touched == 7] == pytest.approx(0.5)

    @pytest.mark.parametrize("solver", SOLVERS)
    def test_a_star(self, solver):
        # the centre keeps 1 and shares the rest evenly among n leaves; no leaf is full, so x = (M - 1) / n at the centre alone
        n, mass = 9, 5.5
        star = np.zeros((n + 1, n + 1))
        star[0, 1:] = star[1:, 0] = 1
        found = flow_diffusion(star, {0: mass}, 1.0, tol=TIGHT, solver=solver)
        assert found.support.tolist() == [0]
        assert found.x[0] == pytest.approx((mass - 1) / n)
        assert np.allclose(found.mass[1:], (mass - 1) / n)
        # from a leaf: 1 stays there, the centre takes 1, the other leaves share M - 2; x_0 = (M - 2)/(n - 1), x_leaf = x_0 + M - 1
        found = flow_diffusion(star, {3: mass}, 1.0, tol=TIGHT, solver=solver)
        assert found.dense()[[0, 3]] == pytest.approx([(mass - 2) / (n - 1), (mass - 2) / (n - 1) + mass - 1])

    @pytest.mark.parametrize("seed", range(4))
    def test_all_solvers_the_sequential_pushes_and_a_quadratic_programme_agree(self, seed):
        weights = random_graph(30, 0.12, seed, weighted=True)
        rng = np.random.default_rng(seed)
        sink, degree = rng.uniform(0.5, 2.0, 30), weights.sum(1)
        source = {0: 6.0, 11: 5.0}
        laplacian = np.diag(degree) - weights
        delta = np.zeros(30)
        delta[[0, 11]] = 6, 5
        linear = sink - delta
        # x >= 0 and convex: the projected quasi-Newton method, started off the solution
        programme = minimize(
            lambda x: (x @ laplacian @ x / 2 + x @ linear, laplacian @ x + linear), np.ones(30), jac=True, method="L-BFGS-B",
            bounds=[(0, None)] * 30, options={"ftol": 1e-16, "gtol": 1e-11, "maxiter": 20_000, "maxfun": 50_000},
        ).x  # fmt: skip
        one_by_one, mass = sequential(weights, source, sink, tol=1e-11)
        assert np.abs(programme - one_by_one).max() < 1e-6
        assert mass.sum() == pytest.approx(11)
        for solver in SOLVERS:
            found = flow_diffusion(weights, source, sink, tol=1e-11, solver=solver)
            assert np.abs(found.dense() - one_by_one).max() < 1e-8
            assert np.abs(found.x * (sink[found.touched] - found.mass)).max() < 1e-9
        block = flow_diffusion_block(weights, [source, {5: 3.0}], sink, tol=1e-11)
        assert np.abs(block[0].dense() - one_by_one).max() < 1e-8
        assert np.abs(block[1].dense() - flow_diffusion(weights, {5: 3.0}, sink, tol=1e-11).dense()).max() < 1e-8

    @pytest.mark.parametrize("solver", SOLVERS)
    @pytest.mark.parametrize("passes", [1, 2, 7, 8, 9, 30])
    def test_mass_is_kept_at_every_step(self, solver, passes):
        graph = random_graph(60, 0.08, 3)
        found = flow_diffusion(graph, {4: 100.0}, 2.0, tol=1e-9, solver=solver, max_passes=passes)
        assert found.mass.sum() == pytest.approx(100)
        residual = -(np.diag(graph.sum(1)) - graph) @ found.dense()
        residual[4] += 100
        assert np.allclose(residual[found.touched], found.mass)  # m = Delta - L x
        assert (np.delete(residual, found.touched) == 0).all()

    def test_at_the_end_nobody_is_above_capacity_and_the_support_is_full(self):
        found = flow_diffusion(random_graph(60, 0.08, 3), {4: 80.0}, 2.0, tol=1e-10)
        assert found.settled
        assert (found.mass <= 2 * (1 + 1e-10)).all()
        assert np.allclose(found.mass[found.x > 0], 2, rtol=1e-9)
        parked = found.mass[found.x == 0].sum()
        assert 2 * len(found.support) == pytest.approx(80 - parked)

    def test_more_mass_never_lowers_a_potential(self):
        graph = LocalGraph(random_graph(80, 0.05, 1, weighted=True))
        scales = (5.0, 20.0, 60.0)
        chained = [d.dense() for d in flow_diffusions(graph, {7: 1.0}, 1.0, scales=scales, tol=1e-11)]
        for mass, x in zip(scales, chained, strict=True):
            assert np.allclose(x, flow_diffusion(graph, {7: mass}, 1.0, tol=1e-11).dense(), atol=1e-7)  # going on is starting anew
        for less, more in pairwise(chained):
            assert (more >= less - 1e-9).all()
            assert set(np.flatnonzero(less)) <= set(np.flatnonzero(more))

    def test_weights_times_c_divide_potentials_by_c(self):
        weights = random_graph(40, 0.1, 5, weighted=True)
        one, scaled = (flow_diffusion(c * weights, {0: 20.0}, 1.0, tol=1e-11) for c in (1.0, 8.0))
        assert np.allclose(one.x, 8 * scaled.x, atol=1e-9)
        assert one.support.tolist() == scaled.support.tolist()

    def test_capacity_is_the_number_of_neighbours_not_the_weighted_degree(self):
        weights = 0.1 * path(6)
        found = flow_diffusion(weights, {0: 4.0}, tol=TIGHT)  # capacities 1, 2, 2, 2, 2, 1
        assert found.mass.tolist() == pytest.approx([1, 2, 1])

    def test_the_other_component_stays_zero(self):
        two = sparse.block_diag([path(6), path(6)])
        found = flow_diffusion(two, {1: 4.0}, 1.0)
        assert found.touched.max() < 6
        assert found.dense()[6:].sum() == 0

    @pytest.mark.parametrize("solver", SOLVERS)
    def test_too_much_mass_is_refused_with_what_fits(self, solver):
        two = sparse.block_diag([path(4), random_graph(300, 0.02, 0)])
        with pytest.raises(TooMuchMass, match=r"9.5.*4 nodes.*hold, 4"):
            flow_diffusion(two, {0: 9.5}, 1.0, solver=solver)
        # one of two seeds sits in a full component, the other has room left
        with pytest.raises(TooMuchMass) as caught:
            flow_diffusion(two, {0: 5.0, 100: 3.0}, 1.0, solver=solver)
        assert (caught.value.room, caught.value.mass, caught.value.nodes) == (4, 5, 4)
        with pytest.raises(TooMuchMass):
            flow_diffusion_block(two, [{0: 9.5}], 1.0)

    def test_a_mass_that_just_fits_fills_the_component(self):
        found = flow_diffusion(path(5), {0: 5.0}, 1.0, tol=1e-6)
        assert found.settled
        assert np.allclose(found.mass, 1, atol=1e-5)

    @pytest.mark.parametrize(
        ("graph", "source", "sink", "words"),
        [
            (np.zeros((3, 3)), {0: 1.0}, 1.0, "no neighbours"),
            (path(3), {3: 1.0}, 1.0, "between 0 and 2"),
            (path(3), {0: 0.0}, 1.0, "mass of seed node 0"),
            (path(3), {0: np.nan}, 1.0, "finite"),
            (path(3), {}, 1.0, "at least one"),
            (path(3), {0: 2.0}, np.array([1.0, 0.0, 1.0]), "positive"),
            (path(3), {0: 2.0}, np.ones(2), "shape"),
            (-path(3), {0: 1.0}, 1.0, "from node 0 to 1"),
            (np.array([[0, np.nan], [np.nan, 0]]), {0: 1.0}, 1.0, "finite"),
            (np.array([[0, 1.0], [0, 0]]), {0: 1.0}, 1.0, "undirected"),
            (np.ones((2, 3)), {0: 1.0}, 1.0, "square"),
        ],
    )
    def test_what_is_refused(self, graph, source, sink, words):
        with pytest.raises(InputError, match=words):
            flow_diffusion(graph, source, sink)

    def test_self_loops_and_stored_zeros_change_nothing(self):
        weights = random_graph(20, 0.2, 2)
        other = sparse.csr_array(weights + 3 * np.eye(20))
        a, b = (flow_diffusion(g, {0: 30.0}, tol=1e-10).dense() for g in (weights, other))
        assert np.allclose(a, b, atol=1e-8)

    def test_running_out_of_passes_is_said(self):
        assert not flow_diffusion(path(50), {0: 40.0}, 1.0, solver="queue", max_passes=5).settled


class TestLocality:
    def test_a_graph_ten_times_as_big_costs_the_same_work(self):
        size, works = 60, []
        for n in (2_000, 20_000, 200_000):
            found = flow_diffusion(LocalGraph(planted(n, size)), {3: 900.0})
            works.append((len(found.touched), found.edges, found.pushes, found.passes, len(found.support)))
        assert works[0] == works[1] == works[2]
        assert works[0][0] < 5 * size

    def test_rows_are_weighed_once_and_only_where_something_arrives(self):
        asked: list[int] = []

        def weigh(rows, cols, weights):
            asked.extend(rows.tolist())
            return weights

        graph = LocalGraph(planted(5_000, 60))
        found = flow_diffusion(graph.weighted(weigh), {3: 900.0})
        assert len(asked) == found.edges  # each row once
        assert set(asked) == set(found.support.tolist())
        assert set(asked) < set(found.touched.tolist())

    def test_scratch_space_is_clean_after_every_seed(self):
        graph = LocalGraph(planted(3_000, 60))
        alone = [flow_diffusion(LocalGraph(planted(3_000, 60)), {s: 300.0}).x for s in range(4)]
        assert all(np.array_equal(flow_diffusion(graph, {s: 300.0}).x, x) for s, x in enumerate(alone))
        with pytest.raises(TooMuchMass):
            flow_diffusion(graph, {0: 1e9})
        assert np.array_equal(flow_diffusion(graph, {0: 300.0}).x, alone[0])
        lent = graph.lend_places()
        assert not lent.any()

    def test_a_region_numbers_nodes_as_they_appear(self):
        with Region(LocalGraph(path(6))) as region:
            start = region.number(np.array([3]))
            region.open(start)
            assert region.nodes.tolist() == [3, 2, 4]
            assert region.degree.tolist() == [2, 0, 0]
            assert not region.closed
            region.open(np.array([1, 2, 0]))
            assert sorted(region.nodes.tolist()) == [1, 2, 3, 4, 5]

    def test_ranges(self):
        assert ranges(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]


class TestPageRank:
    @pytest.mark.parametrize("solver", SOLVERS)
    def test_the_exact_vector_is_the_answer_plus_that_of_the_residual(self, solver):
        weights = random_graph(40, 0.1, 4, weighted=True)
        degree, alpha, rho = weights.sum(1), 0.1, 1e-4
        exact = alpha * np.linalg.inv(np.eye(40) - (1 - alpha) * weights / degree)
        found = personalised_pagerank_push(weights, {5: 2.0}, alpha=alpha, rho=rho, solver=solver)
        residual = np.zeros(40)
        residual[found.touched] = found.mass
        assert np.allclose(exact[:, 5], found.dense() + exact @ residual, atol=1e-12)
        assert (residual >= 0).all()
        assert (residual <= rho * degree + 1e-15).all()
        assert found.x.sum() + found.mass.sum() == pytest.approx(1)

    def test_networkx_agrees(self):
        networkx = pytest.importorskip("networkx")
        graph = networkx.karate_club_graph()
        want = networkx.pagerank(graph, alpha=0.9, personalization={0: 1}, weight="weight", tol=1e-13, max_iter=1000)
        found = personalised_pagerank_push(networkx.to_numpy_array(graph), {0: 1.0}, alpha=0.1, rho=1e-12)
        assert np.allclose(found.dense(), [want[v] for v in graph], atol=1e-9)

    def test_a_coarser_answer_touches_less(self):
        graph = LocalGraph(path(4_000))
        sizes = [len(personalised_pagerank_push(graph, {2_000: 1.0}, rho=rho).touched) for rho in (1e-2, 1e-3, 1e-4)]
        assert sizes[0] < sizes[1] < sizes[2] < 4_000

    def test_what_is_refused(self):
        with pytest.raises(InputError, match="alpha"):
            personalised_pagerank_push(path(4), {0: 1.0}, alpha=1.0)
        with pytest.raises(InputError, match="no neighbours"):
            personalised_pagerank_push(np.zeros((2, 2)), {0: 1.0})


def cut_ratio(weights: np.ndarray, nodes: list[int]) -> float:
    """Conductance by its definition."""
    inside = np.isin(np.arange(len(weights)), nodes)
    smaller = min(weights[inside].sum(), weights[~inside].sum())
    return weights[inside][:, ~inside].sum() / smaller if smaller > 0 else 1.0


class TestSweep:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_every_prefix_has_the_conductance_of_its_definition(self, weighted):
        weights = random_graph(25, 0.2, 6, weighted=weighted)
        scores = np.random.default_rng(0).random(25) * (np.arange(25) % 3 > 0)
        sweep = sweep_cut(weights, scores)
        order = [i for i in np.argsort(-scores) if scores[i] > 0]
        assert sweep.nodes.tolist() == order
        want = [cut_ratio(weights, order[: k + 1]) for k in range(len(order))]
        assert np.allclose(sweep.conductances, want)
        assert sweep.conductance == pytest.approx(min(want))
        assert conductance(weights, sweep.cluster) == pytest.approx(min(want))

    def test_the_best_cut_of_a_dumbbell_is_found_of_all_subsets(self):
        weights = np.zeros((8, 8))
        weights[:4, :4] = weights[4:, 4:] = 1 - np.eye(4)
        weights[3, 4] = weights[4, 3] = 1
        best = min(cut_ratio(weights, list(c)) for k in range(1, 8) for c in combinations(range(8), k))
        sweep = sweep_cut(weights, flow_diffusion(weights, {0: 14.0}))
        assert sweep.cluster.tolist() == [0, 1, 2, 3]
        assert sweep.conductance == pytest.approx(best)

    def test_per_degree_ranks_by_the_quotient(self):
        weights = random_graph(15, 0.3, 1)
        scores = np.random.default_rng(1).random(15)
        assert sweep_cut(weights, scores, per_degree=True).nodes.tolist() == np.argsort(-scores / weights.sum(1)).tolist()

    def test_a_weighting_without_a_total_divides_by_the_inside_alone(self):
        graph = LocalGraph(random_graph(20, 0.2, 0)).weighted(lambda rows, cols, weights: 2 * weights)
        scores = np.arange(20.0) + 1
        inside = sweep_cut(graph, scores).conductances
        known = sweep_cut(graph, scores, total_volume=graph.matrix().sum()).conductances
        assert np.allclose(inside[:5], known[:5])  # small sets: the inside is the smaller side
        assert inside[-1] == 0
        assert known[-1] == 1  # the whole graph is no cluster

    def test_what_is_refused(self):
        with pytest.raises(InputError, match="above 0"):
            sweep_cut(path(4), np.zeros(4))
        with pytest.raises(InputError, match="finite"):
            sweep_cut(path(4), np.array([1, np.nan, 0, 0]))
        with pytest.raises(InputError, match="empty"):
            conductance(path(4), np.array([], dtype=int))
