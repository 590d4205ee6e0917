"""annotate locle on the command line: a review table or probabilities answer; what is wrong is one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "domains"))
from graph_files import N, planted, write_tables

LOCLE = ("annotate", "locle", "g")
QUICK = ("--stages", 2, "--budget", 16, "--epochs", 5, "--repair-epochs", 5, "--confident", 4, "--hidden", 8)


@pytest.fixture
def graph(tmp_path, monkeypatch):
    """A working folder with the graph ``g`` and a judge who knows all its nodes but n3, in a table."""
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path / "g")
    review(tmp_path, [f"n{i},{'' if i == 3 else 'ab'[c]}" for i, c in enumerate(planted()[2])])
    return tmp_path


def review(folder: Path, rows: list[str], classes: str = "[a, b]") -> None:
    (folder / "answers.csv").write_text("id,label\n" + "\n".join(rows) + "\n")
    (folder / "judges.yaml").write_text(f"classes: {classes}\njudges: [{{kind: review, path: answers.csv}}]\n")


def test_a_table_answers_and_the_model_predicts(cli, graph):
    ran = cli(*LOCLE, "--judges", "judges.yaml", *QUICK, "--out", "o", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["n"] == N
    facts = json.loads((graph / "o/annotation.json").read_text())["facts"]
    assert facts["asked"] == len(facts["queries"]) == 16
    assert facts["isolated"] == 1
    truth = {f"n{i}": "ab"[c] for i, c in enumerate(planted()[2])}
    for row in facts["queries"]:
        assert row["answer"] == (None if row["id"] == "n3" else truth[row["id"]])
    rows = pl.read_parquet(graph / "o/annotation.parquet")
    asked = rows.filter(pl.col("reason") == "asked")
    assert asked.height == sum(q["outcome"] == "kept" for q in facts["queries"])
    assert all(truth[i] == label for i, label in asked.select("id", "label").iter_rows())
    assert "asked" in (graph / "o/report.html").read_text()
    assert cli("predict", "o/model", "g", "--out", "p.csv").code == 0
    said = dict(pl.read_csv("p.csv").select("id", pl.nth(1)).iter_rows())
    predicted = rows.filter(pl.col("reason") == "predicted")
    assert all(said[i] == label for i, label in predicted.select("id", "label").iter_rows())


def test_the_given_labels_play_no_part(cli, graph):
    for out in ("one", "two"):
        assert cli(*LOCLE, "--judges", "judges.yaml", *QUICK, "--out", out).code == 0
        text = (graph / "g/nodes.csv").read_text()
        (graph / "g/nodes.csv").write_text(text.replace(",a,", ",?,").replace(",b,", ",a,").replace(",?,", ",b,"))
    assert (graph / "one/annotation.parquet").read_bytes() == (graph / "two/annotation.parquet").read_bytes()


@pytest.mark.parametrize("labelled", [True, False])
def test_probabilities_answer_also_where_nobody_labelled(cli, graph, labelled):
    if not labelled:
        frame = pl.read_csv(graph / "g/nodes.csv").drop("label", "split")
        frame.write_csv(graph / "g/nodes.csv")
    probs = np.eye(2)[planted()[2]] * 0.8 + 0.1
    rows = [f"n{i},{a:g},{b:g}" for i, (a, b) in enumerate(probs)]
    (graph / "probs.csv").write_text("id,a,b\n" + "\n".join(rows) + "\n")
    ran = cli(*LOCLE, "--probs", "probs.csv", *QUICK, "--out", "o", "--json")
    assert ran.code == 0, ran.err
    assert set(json.loads(ran.out)["labels"]) == {"a", "b"}


def test_answers_outside_the_classes_and_none_at_all(cli, graph):
    review(graph, [f"n{i},{'ab'[c]}" for i, c in enumerate(planted()[2])], classes="[a, c]")
    cli(*LOCLE, "--judges", "judges.yaml", *QUICK, "--out", "o").expect_refusal("label 'b' is none of the 2 classes")
    review(graph, [f"n{i}," for i in range(N)])
    cli(*LOCLE, "--judges", "judges.yaml", *QUICK, "--out", "o").expect_refusal("no label for any of the 8 nodes", "left blank")
    review(graph, [f"n{i},a" for i in range(N)])
    cli(*LOCLE, "--judges", "judges.yaml", *QUICK, "--out", "o").expect_refusal("one class only, 'a'")
    assert not (graph / "o").exists()


@pytest.mark.parametrize(("words", "said"), [
    ((), ("asks a judge", "--judges", "--probs")),
    (("--judges", "nobody.yaml"), ("judges file does not exist",)),
    (("--judges", "judges.yaml", "--budget", 0), ("budget must be >= 1; got 0",)),
    (("--judges", "judges.yaml", "--first-share", 0), ("first_share must lie in (0, 1]",)),
    (("--judges", "judges.yaml", "--gnn", "gcm"), ("gcn",)),
    (("--judges", "judges.yaml", "--encoder", "hf:nobody/nothing"), ("reads texts, and the nodes have none",)),
])  # fmt: skip
def test_what_is_refused(cli, graph, words, said):
    cli(*LOCLE, *words, "--out", "o").expect_refusal(*said)
    assert not (graph / "o").exists()


def test_data_that_are_no_graph_and_features_that_say_nothing(cli, graph):
    np.savez(graph / "points.npz", x=np.zeros((6, 2)), y=[0, 1] * 3)
    cli("annotate", "locle", "points.npz", "--judges", "judges.yaml", "--out", "o").expect_refusal("nodes of a graph")
    np.save(graph / "zeros.npy", np.zeros((N, 3)))
    cli(*LOCLE, "--judges", "judges.yaml", "--features", "zeros.npy", "--out", "o").expect_refusal("are zero")
    text = [",".join(line.split(",")[:2]) for line in (graph / "g/nodes.csv").read_text().splitlines()]
    (graph / "g/nodes.csv").write_text("\n".join(text) + "\n")
    cli(*LOCLE, "--judges", "judges.yaml", "--out", "o").expect_refusal("neither features nor texts")


def test_self_loops_are_ignored(cli, graph):
    cli(*LOCLE, "--judges", "judges.yaml", *QUICK, "--out", "one")
    with (graph / "g/edges.csv").open("a") as file:
        file.write("n5,n5\nn6,n6\n")
    assert cli(*LOCLE, "--judges", "judges.yaml", *QUICK, "--out", "two").code == 0
    assert (graph / "one/annotation.parquet").read_bytes() == (graph / "two/annotation.parquet").read_bytes()
