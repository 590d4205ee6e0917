"""The two models of rows and the dependence probability: known trees, exact conditionals, planted views, CRP prior."""

from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.special import betaln, gammaln

from labelwright.audit.nutrition.chow_liu import fit_chow_liu
from labelwright.audit.nutrition.crosscat import fit_crosscat
from labelwright.audit.nutrition.crosscat_parts import BETA, KAPPA, SCALE, SHAPE, Numbers, crp_partitions
from labelwright.audit.nutrition.models import dependence_probability
from labelwright.audit.nutrition.settings import Settings
from labelwright.audit.nutrition.table import read_table
from labelwright.errors import InputError


def columns_of(frame, **scales):
    return read_table(frame, scales=scales, settings=Settings(), seed=0).columns


def known_tree(n, seed):
    """a → b → c, b → d, and e alone: binary words; a child copies its parent with probability 0.8."""
    rng = np.random.default_rng(seed)

    def child(parent):
        return np.where(rng.random(n) < 0.8, parent, 1 - parent)

    a = rng.integers(0, 2, n)
    b = child(a)
    values = {"a": a, "b": b, "c": child(b), "d": child(b), "e": rng.integers(0, 2, n)}
    return pl.DataFrame({k: np.array(["no", "yes"])[v] for k, v in values.items()})


@pytest.fixture(scope="module")
def tree():
    frame = known_tree(20_000, 0)
    return frame, fit_chow_liu(frame, columns_of(frame))


def test_a_known_tree_is_recovered(tree):
    _, model = tree
    edges = {frozenset(e) for e in model.edges()}
    assert {frozenset("ab"), frozenset("bc"), frozenset("bd")} <= edges
    assert len(edges) == 4


def test_simulation_of_two_columns_reproduces_the_joint():
    frame = known_tree(5000, 1).select("a", "b")
    drawn = fit_chow_liu(frame, columns_of(frame)).simulate(["a", "b"], {}, 40_000, seed=0)
    for a, b in itertools.product(("no", "yes"), repeat=2):
        here = frame.filter((pl.col("a") == a) & (pl.col("b") == b)).height / 5000
        there = drawn.filter((pl.col("a") == a) & (pl.col("b") == b)).height / 40_000
        assert abs(here - there) < 4 * math.sqrt(here * (1 - here) / 40_000)


def test_conditionals_are_exact(tree):
    """Belief propagation equals summing the joint over all states."""
    _, model = tree
    grid = pl.DataFrame(list(itertools.product(("no", "yes"), repeat=5)), schema=list("abcde"), orient="row")
    weight = np.exp(model.logpdf(grid))
    for given in ({"c": "yes"}, {"c": "yes", "d": "no"}, {"a": "no", "e": "yes", "d": "yes"}):
        keep = np.ones(32, dtype=bool)
        for name, value in given.items():
            keep &= (grid.get_column(name) == value).to_numpy()
        target = next(n for n in "ab" if n not in given)
        yes = (grid.get_column(target) == "yes").to_numpy()
        assert model.conditional(target, given)["yes"] == pytest.approx(weight[keep & yes].sum() / weight[keep].sum(), rel=1e-9)
        drawn = model.simulate([target], given, 20_000, seed=1).get_column(target)
        assert abs((drawn == "yes").mean() - model.conditional(target, given)["yes"]) < 0.015


def test_log_likelihood_is_the_product_of_tables_and_sums_to_one(tree):
    _, model = tree
    states = [(*c.labels, None) for c in model.columns]
    grid = pl.DataFrame(list(itertools.product(*states)), schema=list("abcde"), orient="row")
    assert np.exp(model.logpdf(grid)).sum() == pytest.approx(1)


def test_numbers_have_a_density():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.normal(size=4000) * 3})
    model = fit_chow_liu(frame, columns_of(frame))
    points = np.linspace(frame["x"].min(), frame["x"].max(), 20_001)[:-1] + 1e-9
    density = np.exp(model.logpdf(pl.DataFrame({"x": points})))
    assert density.sum() * (points[1] - points[0]) == pytest.approx(1, abs=2e-3)
    drawn = model.simulate(["x"], {}, 4000, seed=0).get_column("x").to_numpy()
    assert stats.ks_2samp(drawn, frame["x"].to_numpy()).pvalue > 0.001


def test_missing_cells_are_a_state_of_their_own():
    frame = pl.DataFrame({"a": ["x"] * 300 + ["y"] * 300, "b": [None] * 300 + ["z"] * 300})
    model = fit_chow_liu(frame, columns_of(frame))
    assert model.conditional("b", {"a": "x"})["missing value"] == pytest.approx(1, abs=0.01)
    assert model.simulate(["b"], {"a": "x"}, 100, seed=0).get_column("b").null_count() >= 98
    assert model.conditional("a", {"b": None})["x"] == pytest.approx(1, abs=0.01)


def test_questions_about_absent_things_are_refused(tree):
    _, model = tree
    with pytest.raises(InputError, match="'z' is not in the model"):
        model.simulate(["z"], {}, 5, seed=0)
    with pytest.raises(InputError, match="Did you mean 'yes'"):
        model.conditional("a", {"b": "yess"})
    with pytest.raises(InputError, match="both asked for and given"):
        model.simulate(["a"], {"a": "yes"}, 5, seed=0)


# Dependence ------------------------------------------------------------------------------------------------------------------------


def test_independent_columns_depend_about_as_often_as_the_test_errs():
    shares = []
    for seed in range(8):
        codes = np.random.default_rng(seed).integers(0, 5, (400, 6))
        found = dependence_probability(codes, [5] * 6, resamples=32, permutations=20, seed=seed)
        shares.append(found[np.triu_indices(6, 1)].mean())
    # 1 / 21 is the exact level; 120 pairs share it
    assert abs(np.mean(shares) - 1 / 21) < 0.02


def test_copies_depend_for_certain():
    a = np.random.default_rng(0).integers(0, 3, 300)
    assert dependence_probability(np.stack([a, a], axis=1), [3, 3], resamples=16, permutations=20, seed=0)[0, 1] == 1


def test_titanic_like_dependence():
    """A strong and an absent relation, told apart on the same rows."""
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, 1300)
    survived = (rng.random(1300) < np.where(sex == 1, 0.67, 0.17)).astype(int)
    digits = rng.integers(1, 28, 1300)
    found = dependence_probability(np.stack([sex, survived, digits], axis=1), [2, 2, 28], resamples=64, permutations=20, seed=0)
    assert found[0, 1] >= 0.95
    assert found[1, 2] <= 0.2


# CrossCat --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_crp_has_the_expected_number_of_clusters(alpha):
    n, draws = 40, 4000
    z = crp_partitions(draws, n, alpha, np.random.default_rng(0))
    clusters = z.max(1) + 1
    expected = sum(alpha / (alpha + i) for i in range(n))
    assert abs(clusters.mean() - expected) < 4 * clusters.std() / math.sqrt(draws)


def test_gibbs_keeps_the_prior_when_every_cell_is_missing():
    """Without data the sweeps must leave the CRP prior over rows and over columns as it is."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({name: rng.choice(["x", "y"], 12) for name in "abcd"})
    model = fit_crosscat(frame, columns_of(frame), chains=400, sweeps=0, seed=0)
    model.words.present[:] = False
    model.words.x[:] = 0
    model.words.counts[:] = 0
    sweeps, clusters, views = np.random.default_rng(1), [], []
    for _ in range(6):
        model.sweep_columns(sweeps)
        model.sweep_rows(sweeps)
        used = model.view[:, 0]
        clusters.append((model.sizes[np.arange(400), used] > 0).sum(1))
        views.append(np.array([len(set(v)) for v in model.view]))
    rows = sum(1 / (1 + i) for i in range(12))
    columns = sum(1 / (1 + i) for i in range(4))
    assert abs(np.mean(clusters[2:]) - rows) < 0.12
    assert abs(np.mean(views[2:]) - columns) < 0.12


def test_marginal_likelihoods_are_the_closed_forms():
    frame = pl.DataFrame({"w": ["x", "x", "y", None, "x"], "v": [1.5, 2.25, 0.5, 3.0, None]})
    model = fit_crosscat(frame, columns_of(frame, w="nominal", v="continuous"), chains=1, sweeps=0, seed=0)
    one = np.zeros((1, 1, 5), dtype=np.int64)
    log, _ = model.words.of_partitions(0, one, 1)
    assert log[0, 0] == pytest.approx(betaln(3 + BETA, 1 + BETA) - betaln(BETA, BETA))
    # predictive by predictive, Student's t with 2a degrees of freedom, gives the same marginal
    x = (np.array([1.5, 2.25, 0.5, 3.0]) - model.centre[0]) / model.spread[0]
    total, kappa, mean, a, b = 0.0, KAPPA, 0.0, SHAPE, SCALE
    for value in x:
        total += stats.t.logpdf(value, 2 * a, loc=mean, scale=math.sqrt(b * (kappa + 1) / (a * kappa)))
        b += kappa * (value - mean) ** 2 / (2 * (kappa + 1))
        mean = (kappa * mean + value) / (kappa + 1)
        kappa, a = kappa + 1, a + 0.5
    log, statistics = model.numbers.of_partitions(0, one, 1)
    assert log[0, 0] == pytest.approx(total)
    assert Numbers.posterior(statistics)[3][0, 0, 0] == pytest.approx(b)
    assert gammaln(SHAPE) == 0


def planted(n, seed):
    """Two pairs of columns, each driven by its own hidden class."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 2, n), rng.integers(0, 3, n)
    return pl.DataFrame(
        {
            "a": np.array(["u", "v"])[np.where(rng.random(n) < 0.95, first, 1 - first)],
            "b": first * 6.0 + rng.normal(size=n),
            "c": np.array(["p", "q", "r"])[np.where(rng.random(n) < 0.95, second, (second + 1) % 3)],
            "d": second * 6.0 + rng.normal(size=n),
        }
    )


@pytest.fixture(scope="module")
def crosscat():
    frame = planted(120, 0)
    return frame, fit_crosscat(frame, columns_of(frame), chains=8, sweeps=15, seed=0)


def test_planted_views_are_found(crosscat):
    _, model = crosscat
    found = model.dependence()
    assert found[0, 1] >= 0.8
    assert found[2, 3] >= 0.8
    assert max(found[0, 2], found[1, 3], found[0, 3], found[1, 2]) <= 0.25


def test_crosscat_statistics_stay_consistent_with_its_assignments(crosscat):
    _, model = crosscat
    for s in range(len(model.view)):
        for v in range(model.z.shape[1]):
            assert np.array_equal(np.bincount(model.z[s, v], minlength=model.sizes.shape[2]), model.sizes[s, v])
    for place, c in enumerate(model.numbers.where):
        cluster = model.z[3, model.view[3, c]]
        sums = np.bincount(cluster, weights=model.numbers.x[:, place], minlength=model.sizes.shape[2])
        assert np.allclose(model.numbers.counts[3, place, :, 1], sums)


def test_crosscat_simulates_conditionals(crosscat):
    frame, model = crosscat
    drawn = model.simulate(["a", "d"], {"b": 6.0}, 3000, seed=0)
    assert (drawn.get_column("a") == "v").mean() > 0.85
    assert abs(drawn.get_column("d").mean() - frame["d"].mean()) < 0.8
    near = model.simulate(["d"], {"c": "p"}, 2000, seed=0).get_column("d").to_numpy()
    assert abs(np.median(near)) < 1.2


def test_crosscat_density_integrates_to_one(crosscat):
    _, model = crosscat
    grid = np.linspace(-30, 40, 401)
    density = np.exp(model.logpdf(pl.DataFrame({"b": grid})))
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=0.01)
    words = np.exp(model.logpdf(pl.DataFrame({"a": ["u", "v"]})))
    assert words.sum() == pytest.approx(1)
    assert (
        model.logpdf(planted(20, 9)).mean() > model.logpdf(planted(20, 9).with_columns(pl.col("b").reverse(), pl.col("d").reverse())).mean()
    )
