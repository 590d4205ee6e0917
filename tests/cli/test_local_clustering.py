"""Local clustering of a graph through the command line: what it writes, and what it says to bad input."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

METHOD = ("annotate", "labelled-flow-diffusion", "g", "--out", "out")


@pytest.fixture
def graph(here):
    """Folder ``g``: a dense community u0..u19 in eighty nodes, a pair of two, a node alone; guesses with a tenth wrong."""
    rng = np.random.default_rng(0)
    inside = np.arange(80) < 20
    chance = np.where(np.outer(inside, inside), 0.4, 0.05)
    ends = np.argwhere(np.triu(rng.random((80, 80)) < chance, 1))
    edges = [(f"u{i}", f"u{j}") for i, j in [*ends.tolist(), (3, 3)]] + [("p0", "p1")]
    (here / "g").mkdir()
    pl.DataFrame(edges, schema=["source", "target"], orient="row").write_csv(here / "g/edges.csv")
    ids = [*(f"u{i}" for i in range(80)), "p0", "p1", "alone"]
    guess = np.where(rng.random(83) < 0.1, 1, 0) ^ np.append(inside, [False] * 3)
    kind = ["a" if k else "bc"[i % 2] for i, k in enumerate(np.append(inside, [False] * 3))]
    columns = {"id": ids, "guess": guess.astype(int), "kind": kind, "grade": np.linspace(0, 1, 83), "few": ["yes", *[None] * 82]}
    pl.DataFrame(columns, strict=False).write_csv(here / "g/nodes.csv")
    return here / "g"


@pytest.mark.usefixtures("graph")
class TestAnnotate:
    def test_a_cluster_with_its_facts(self, cli, here):
        ran = cli(*METHOD, "--labels", "guess", "--seed-node", "u4", "--json")
        assert ran.code == 0, ran.err
        frame = pl.read_parquet(here / "out/annotation.parquet")
        found = set(frame.filter(pl.col("label") == "inside").get_column("id").to_list())
        truth = {f"u{i}" for i in range(20)}
        assert 2 * len(found & truth) / (len(found) + 20) > 0.8
        facts = json.loads((here / "out/annotation.json").read_text())["facts"]
        assert facts["seed_nodes"] == ["u4"]
        assert facts["nodes_touched"] <= 80
        assert frame.filter(pl.col("id") == "alone").get_column("abstained").item()
        assert json.loads(ran.out)["labels"]["inside"] == len(found)

    def test_self_loops_change_nothing(self, cli, here):
        assert cli(*METHOD, "--weights", "none", "--seed-node", "u3").code == 0
        edges = pl.read_csv(here / "g/edges.csv")
        edges.filter(pl.col("source") != pl.col("target")).write_csv(here / "g/edges.csv")
        assert cli(*METHOD[:-1], "more", "--weights", "none", "--seed-node", "u3").code == 0
        one, other = (pl.read_parquet(here / name / "annotation.parquet") for name in ("out", "more"))
        assert one.equals(other)

    def test_a_mass_beyond_the_component_may_be_clipped(self, cli, here):
        ran = cli(*METHOD, "--labels", "guess", "--seed-node", "p0", "--mass", "50", "--clip")
        assert ran.code == 0, ran.err
        facts = json.loads((here / "out/annotation.json").read_text())["facts"]
        assert facts["clipped"]
        assert facts["mass"] == pytest.approx(0.99 * 2)

    def test_a_pair_is_a_cluster_too(self, cli, here):
        assert cli(*METHOD, "--labels", "kind", "--seed-node", "p0").code == 0
        frame = pl.read_parquet(here / "out/annotation.parquet").filter(~pl.col("abstained"))
        assert set(frame.get_column("id").to_list()) == {"p0", "p1"}


@pytest.mark.usefixtures("graph")
class TestRefusals:
    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (("--labels", "guess", "--seed-node", "alone"), ("'alone'", "isolated", "neighbours")),
            (("--labels", "guess", "--seed-node", "u99"), ("--seed-node", "'u99'", "no node")),
            (("--labels", "guess", "--seed-node", "u4", "--mass", "99999"), ("99999", "80 nodes", "less mass")),
            (("--labels", "guess", "--seed-node", "p0", "--mass", "50"), ("50", "2 nodes", "hold, 2")),
            (("--labels", "grade", "--seed-node", "u4"), ("class-labels", "targets")),
            (("--labels", "kind", "--seed-node", "u4", "--positive", "z"), ("'z'", "a, b, c")),
            (("--seed-node", "u4"), ("no labels", "--labels")),
            (("--labels", "guess", "--seed-node", "u4", "--eps", "2"), ("eps", "[0, 1]", "2")),
            (("--labels", "guess", "--seed-node", "u4", "--mass", "-3"), ("mass", "-3")),
            (("--labels", "guess", "--seed-node", "u4", "--mass", "nan"), ("mass", "nan")),
            (("--labels", "guess", "--seed-node", "u4", "--walk", "pagerank", "--size", "3"), ("size", "PageRank")),
            (("--labels", "guess", "--seed-node", "u4", "--outside", "u4"), ("'u4'", "both")),
            (("--labels", "few", "--seed-node", "u0", "--guess-from", "attributes"), ("inside and outside",)),
            (("--labels", "guess", "--seed-node", "u4", "--guess-from", "attributes"), ("nothing is left to guess",)),
        ],
    )
    def test_of_arguments(self, cli, here, more, words):
        cli(*METHOD, *more).expect_refusal(*words)
        assert not (here / "out").exists()
        assert not (here / "out.partial").exists()

    @pytest.mark.parametrize("weight", ["-1", "nan", "inf", "heavy"])
    def test_of_weights(self, cli, here, weight):
        (here / "bad.csv").write_text(f"source,target,weight\na,b,1\nb,c,{weight}\nc,a,2\n")
        ran = cli("annotate", "labelled-flow-diffusion", "bad.csv", "--weights", "none", "--seed-node", "a", "--out", "out")
        ran.expect_refusal("bad.csv", "weight")

    def test_of_data_that_are_no_graph(self, cli):
        cli("annotate", "labelled-flow-diffusion", "train.npz", "--out", "out").expect_refusal("nodes of a graph")
