"""Graphs on the command line: one path serves training, validation and test; every bad file is one line."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from labelwright.data import load

sys.path.insert(0, str(Path(__file__).parents[1] / "domains"))
from graph_files import N, planted, write_archive, write_planetoid, write_tables

QUICK = ("--net", "gat:hidden=8,heads=2", "--epochs", "6", "--device", "cpu")
LEARN = ("learn", "error-resilient-graph")


@pytest.fixture
def graph(tmp_path, monkeypatch):
    """A working folder with the graph ``g`` (edges.csv, nodes.csv)."""
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path / "g")
    return tmp_path


def test_one_graph_trains_validates_tests_and_predicts(cli, graph):
    ran = cli(*LEARN, "g", "--test", "g", "--dim", 8, *QUICK, "--out", "m", "--json")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    assert summary["test"]["n"] == 16  # rows of split test
    facts = json.loads((graph / "m/learned.json").read_text())["facts"]
    assert facts["n_train"] == 11  # sixteen training rows, five of them without a label
    assert facts["n_val"] == 8
    rows = pl.read_parquet(graph / "m/examples.parquet")
    assert rows.columns == ["id", "label", "label_score", "confidence"]
    assert rows.height == N
    assert (graph / "m/report.html").exists()
    ran = cli("predict", "m", "g", "--out", "p.csv")
    assert ran.code == 0, ran.err
    assert pl.read_csv("p.csv").get_column("id").to_list() == [f"n{i}" for i in range(N)]
    write_archive(graph / "other.npz")  # another graph with as many features
    assert cli("predict", "m", "other.npz", "--out", "q.csv").code == 0
    assert pl.read_csv("q.csv").height == N


def test_test_labels_change_the_measure_and_nothing_else(cli, graph):
    cli(*LEARN, "g", "--test", "g", "--dim", 8, *QUICK, "--out", "a")
    text = (graph / "g/nodes.csv").read_text().splitlines()
    text[-16:] = [line.replace(",a,test", ",b,test") for line in text[-16:]]
    (graph / "g/nodes.csv").write_text("\n".join(text) + "\n")
    cli(*LEARN, "g", "--test", "g", "--dim", 8, *QUICK, "--out", "b")
    assert (graph / "a/model.safetensors").read_bytes() == (graph / "b/model.safetensors").read_bytes()


def test_other_learners_and_the_audit_read_graphs(cli, graph):
    ran = cli("learn", "cross-entropy", "g", "--test", "g", "--net", "gcn:hidden=8", "--epochs", 30, "--out", "ce", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["test"]["n"] == 16
    assert cli("audit", "label-errors", "g", "--out", "au").code == 0
    assert cli("advise", "g").code == 0


def test_a_graph_can_be_saved_and_used_by_its_folder(cli, graph):
    load("g").save("saved")
    ran = cli(*LEARN, "saved", "--test", "saved", "--dim", 8, *QUICK, "--out", "m", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["test"]["n"] == 16


def test_isolated_nodes_and_self_loops_are_documented_outcomes(cli, graph):
    with (graph / "g/edges.csv").open("a") as file:
        file.write("n1,n1\nn1,n1\n")
    notes = load("g").info.extra["notes"]
    assert notes[:1] == ["1 self-loops were left out"]
    assert "1 nodes have no edge" in notes
    assert cli(*LEARN, "g", "--dim", 8, *QUICK, "--out", "m").code == 0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("n0,", ("line {line}", "'target' is empty")),
        ("n0,n99", ("line {line}", "'n99'", "table of nodes")),
        ("n0,n1,n2", ("line {line}",)),
    ],
)
def test_an_edge_list_with_bad_rows_is_refused_with_the_line(cli, graph, row, words):
    with (graph / "g/edges.csv").open("a") as file:
        file.write(row + "\n")
    line = len((graph / "g/edges.csv").read_text().splitlines())
    cli(*LEARN, "g", "--out", "m").expect_refusal(*(w.format(line=line) for w in words))
    assert not (graph / "m").exists()


def test_no_labels_no_training_rows_no_features(cli, graph):
    text = (graph / "g/nodes.csv").read_text()
    (graph / "g/nodes.csv").write_text(text.replace(",a,", ",,").replace(",b,", ",,"))
    cli(*LEARN, "g", "--out", "m").expect_refusal("label", "empty in every row")
    (graph / "g/nodes.csv").write_text(text.replace(",train,", ",rest,"))
    cli(*LEARN, "g", "--out", "m").expect_refusal("'split'", "no labelled row for training")
    (graph / "g/nodes.csv").write_text(text.replace(",test,", ",rest,"))
    cli(*LEARN, "g", "--test", "g", "--out", "m").expect_refusal("no row 'test'")
    (graph / "g/nodes.csv").unlink()
    cli(*LEARN, "g", "--out", "m").expect_refusal("no labels")
    (graph / "g/nodes.csv").write_text("id,label,split\n" + "".join(f"n{i},{'ab'[i % 2]},train\n" for i in range(N)))
    cli(*LEARN, "g", "--out", "m").expect_refusal("neither features nor texts")


def test_a_network_or_data_of_the_wrong_kind(cli, graph):
    cli(*LEARN, "digits", "--out", "m").expect_refusal("nodes of a graph", "images")
    cli(*LEARN, "g", "--net", "mlp", "--out", "m").expect_refusal("mlp", "gcn")
    cli("learn", "cross-entropy", "wine", "--net", "gcn", "--out", "m").expect_refusal("reads the nodes of a graph")
    cli(*LEARN, "g", "--labels", "nothing", "--out", "m").expect_refusal("nothing")
    cli(*LEARN, "g", "--beta", "2", "--out", "m").expect_refusal("beta")


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("stolen"),))


def test_pickles_that_are_cut_off_or_would_run_code(cli, graph):
    write_planetoid(graph / "p")
    assert cli(*LEARN, "p", "--test", "p", "--dim", 8, *QUICK, "--out", "ok").code == 0
    (graph / "p/ind.toy.graph").write_bytes(pickle.dumps(Evil(), protocol=2))
    cli(*LEARN, "p", "--out", "m").expect_refusal("ind.toy.graph", "was not run")
    assert not (graph / "stolen").exists()
    write_planetoid(graph / "p")
    whole = (graph / "p/ind.toy.tx").read_bytes()
    (graph / "p/ind.toy.tx").write_bytes(whole[: len(whole) // 2])
    cli(*LEARN, "p", "--out", "m").expect_refusal("ind.toy.tx", "truncated")
    (graph / "p/ind.toy.tx").unlink()
    cli(*LEARN, "p", "--out", "m").expect_refusal("ind.toy.tx", "does not exist")


def test_archives_and_adjacency_text_that_are_damaged(cli, graph):
    write_archive(graph / "g.npz", train_mask=np.arange(N) < 20)
    assert cli(*LEARN, "g.npz", "--dim", 8, *QUICK, "--out", "ok").code == 0
    write_archive(graph / "bad.npz", adj_indptr=np.arange(3))
    cli(*LEARN, "bad.npz", "--out", "m").expect_refusal("bad.npz", "adj_")
    write_archive(graph / "objects.npz", adj_data=np.array([{}], dtype=object))
    cli(*LEARN, "objects.npz", "--out", "m").expect_refusal("objects.npz", "'adj_data'", "Python objects")
    cli(*LEARN, "g.npz", "--inputs", "x", "--out", "m").expect_refusal("inputs= has no effect")
    edges, _, y = planted()
    lines: list[list[str]] = [[] for _ in range(N)]
    for a, b in edges.tolist():
        lines[a].append(str(b))
        lines[b].append(str(a))
    (graph / "t").mkdir()
    (graph / "t/adj.txt").write_text("\n".join(" ".join(row) for row in lines) + "\n")
    (graph / "t/labels.txt").write_text("\n".join(map(str, y)) + "\n")
    cli(*LEARN, "t", "--out", "m").expect_refusal("neither features nor texts")
    (graph / "t/adj.txt").write_text("\n".join([*(" ".join(row) for row in lines[:-1]), "0 zero"]) + "\n")
    cli(*LEARN, "t", "--out", "m").expect_refusal(f"line {N}", "'zero'")


def test_advice_names_methods_for_graphs_where_the_data_are_one(cli, graph):
    from labelwright.recipes.advice import _fitting

    names = [e.name for e in _fitting("class-labels", {"noise": "much"}, "graphs")]
    assert names.index("error-resilient-graph") < names.index("elr")  # the field's own methods first
    assert "error-resilient-graph" not in [e.name for e in _fitting("class-labels", {"noise": "much"})]
    assert json.loads(cli("advise", "g", "--json").out)["facts"]["kind"] == "nodes"


def test_advice_gives_commands_that_run_on_the_graph_at_hand(cli, graph):
    said = json.loads(cli("advise", "g", "--json").out)["suggestions"]
    assert all(s["command"].endswith("--test g") for s in said if s["verb"] == "learn")  # its column split marks test nodes
    frame = pl.read_csv(graph / "g/nodes.csv")
    (graph / "bare").mkdir()
    frame.select("id", "label").write_csv(graph / "bare/nodes.csv")
    (graph / "bare/edges.csv").write_bytes((graph / "g/edges.csv").read_bytes())
    said = json.loads(cli("advise", "bare", "--json").out)["suggestions"]
    assert said
    assert "learn" not in {s["verb"] for s in said}  # neither features nor texts: every learner would refuse


def test_a_misspelt_column_of_nodes_is_answered_with_the_columns_there_are(cli, graph):
    ran = cli(*LEARN, "g", "--labels", "labl", "--out", "m")
    ran.expect_refusal("'labl'", "nodes.csv", "Did you mean 'label'")
    assert "filler" not in ran.err
