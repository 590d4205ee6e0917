"""The method on graphs with planted classes: truth recovered, budget kept, the model travels, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from labelwright.annotate import Locle
from labelwright.data import Dataset
from labelwright.data.graphs import Graph, node_dataset
from labelwright.errors import InputError
from labelwright.judges import Answer, CallableJudge
from labelwright.labels import ClassLabels
from labelwright.results import Annotation, Learned
from labelwright.signals import Signals
from labelwright.stats.graphs import adjacency

NAMES = ("ant", "bee")
QUICK = {"stages": 2, "budget": 12, "rank": 2, "per_cluster": True, "confident": 4, "epochs": 20, "repair_epochs": 10, "hidden": 16}


def planted(size: int = 30, *, isolated: int = 0, seed: int = 0, texts: bool = False, labels: bool = False) -> tuple[Dataset, np.ndarray]:
    """Two rings with chords joined by one edge, features that lean to the class, and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.r_[np.zeros(size, int), np.ones(size, int), rng.integers(0, 2, isolated)]
    edges = [(base + i, base + (i + step) % size) for base in (0, size) for i in range(size) for step in (1, 2, 5)] + [(0, size)]
    words = (("hive honey", "wing"), ("hill soldier", "leaf"))
    graph = Graph(
        adjacency=adjacency(np.array(edges), len(truth)),
        features=None if texts else np.abs(np.eye(2)[truth] + rng.normal(size=(len(truth), 2)) * 0.3).repeat(3, axis=1).astype(np.float32),
        texts=tuple(f"{words[c][i % 2]} number {i}" for i, c in enumerate(truth)) if texts else None,
        ids=np.array([f"n{i}" for i in range(len(truth))]),
    )
    return node_dataset(graph, ClassLabels(values=1 - truth, names=NAMES) if labels else None), truth


def judge_of(truth: np.ndarray, asked: list[str] | None = None, **more) -> CallableJudge:
    """Knows every node, with confidence 0.9."""

    def answer(node: str) -> Answer:
        if asked is not None:
            asked.append(node)
        return Answer.of(np.eye(2)[truth[int(node[1:])]] * 0.8 + 0.1, calls=1, tokens=(7, 2), cost=0.01)

    return CallableJudge(name="sage", classes=NAMES, function=answer, each=True, takes="ids", **more)


def test_planted_classes_are_recovered_within_the_budget(tmp_path):
    data, truth = planted(labels=True)  # the dataset's own labels are all wrong, and play no part
    asked: list[str] = []
    found = Locle(judges=(judge_of(truth, asked),), **QUICK).annotate(data, seed=0)
    assert (found.labels.values == truth).all()
    assert len(asked) == len(set(asked)) == 12
    facts = found.facts
    assert (facts["asked"], facts["calls"], facts["tokens"]) == (12, 12, [84, 24])
    assert_allclose(facts["cost"], 0.12)
    assert {q["id"] for q in facts["queries"]} == set(asked)
    for row in facts["queries"]:
        assert row["answer"] == NAMES[truth[int(row["id"][1:])]]
    by_reason = {word: sum(str(r).split(":")[0] == word for r in found.reasons) for word in ("asked", "refined", "predicted")}
    assert sum(by_reason.values()) == len(data)
    assert by_reason["asked"] + by_reason["refined"] == 12 - facts["left_out"]
    found.save(tmp_path / "out")
    again = Annotation.load(tmp_path / "out")
    assert_allclose(again.model.predict_proba(data), found.model.predict_proba(data))
    predicted = np.array([r == "predicted" for r in found.reasons])
    assert_allclose(found.model.predict_proba(data).max(1)[predicted], found.confidence[predicted], atol=1e-5)
    assert Learned.load(tmp_path / "out" / "model").names == NAMES


def test_the_labels_of_a_dataset_are_never_looked_at():
    (bare, truth), (labelled, _) = planted(), planted(labels=True)
    a, b = (Locle(judges=(judge_of(truth),), **QUICK).annotate(d, seed=1) for d in (bare, labelled))
    assert a.to_frame().equals(b.to_frame())


@pytest.mark.parametrize("gnn", ["gat", "sage", "gcnii"])
def test_other_networks_and_one_stage(gnn):
    data, truth = planted()
    found = Locle(judges=(judge_of(truth),), gnn=gnn, **(QUICK | {"stages": 1, "epochs": 40})).annotate(data, seed=0)
    assert (found.labels.values == truth).mean() > 0.9
    assert not found.facts["stages"][0]["asked_after"]


def test_texts_are_read_by_the_judge_and_by_the_network():
    data, truth = planted(texts=True)
    seen: list[str] = []

    def read(text: str) -> str:
        seen.append(text)
        return "ant" if "hive" in text or "wing" in text else "bee"

    judge = CallableJudge(name="reader", classes=NAMES, function=read, each=True)
    found = Locle(judges=(judge,), **QUICK).annotate(data, seed=0)
    assert set(seen) <= set(data.inputs.graph.texts)
    assert (found.labels.values == truth).mean() > 0.9


def test_recorded_probabilities_answer_in_place_of_a_judge():
    data, truth = planted(labels=True)
    probs = np.eye(2)[truth] * 0.6 + 0.2
    probs[3] = np.nan
    found = Locle(**(QUICK | {"budget": 60, "refine": "none", "drop": 0.0})).annotate(
        data, signals=Signals(probs=probs, out_of_sample=True), seed=0
    )
    assert found.facts["failed"] == 1
    assert str(found.reasons[3]) == "predicted: the judge gave no label (no probabilities of this node)"
    assert (np.delete(found.labels.values, 3) == np.delete(truth, 3)).all()


def test_given_features_replace_those_of_the_graph():
    data, truth = planted()
    blank = node_dataset(replace(data.inputs.graph, features=None))
    vectors = (np.eye(2)[truth] + 0.1).astype(np.float32)
    found = Locle(judges=(judge_of(truth),), **QUICK).annotate(blank, signals=Signals(embeddings=vectors), seed=0)
    assert (found.labels.values == truth).all()


def test_only_the_nodes_of_the_dataset_are_asked_about_and_labelled():
    data, truth = planted()
    rows = np.r_[0:10, 35:50]
    asked: list[str] = []
    found = Locle(judges=(judge_of(truth, asked),), **(QUICK | {"budget": 100})).annotate(data.take(rows), seed=0)
    assert sorted(asked) == sorted(f"n{i}" for i in rows)
    assert found.ids.tolist() == [f"n{i}" for i in rows]
    assert (found.labels.values == truth[rows]).all()


def test_two_judges_share_the_work_by_stage():
    data, truth = planted()
    first, later = [], []
    Locle(judges=(judge_of(truth, first), judge_of(truth, later)), **QUICK).annotate(data, seed=0)
    assert (len(first), len(later)) == (6, 6)


def test_isolated_nodes_are_labelled_by_their_features():
    data, truth = planted(isolated=6)
    found = Locle(judges=(judge_of(truth),), **QUICK).annotate(data, seed=0)
    assert found.facts["isolated"] == 6
    assert (found.labels.values[:60] == truth[:60]).all()
    assert np.isfinite(found.confidence).all()


def test_what_is_refused():
    data, truth = planted()
    graph = data.inputs.graph
    good = judge_of(truth)
    with pytest.raises(InputError, match="asks a judge"):
        Locle().annotate(data, seed=0)
    with pytest.raises(InputError, match="which of them"):
        Locle(judges=(good,)).annotate(data, signals=Signals(probs=np.full((60, 2), 0.5)), seed=0)
    with pytest.raises(InputError, match="neither features nor texts"):
        Locle(judges=(good,)).annotate(node_dataset(replace(graph, features=None)), seed=0)
    with pytest.raises(InputError, match="are zero"):
        Locle(judges=(good,)).annotate(node_dataset(replace(graph, features=np.zeros((60, 3), dtype=np.float32))), seed=0)
    with pytest.raises(InputError, match="nodes of a graph"):
        Locle(judges=(good,)).annotate(Dataset(inputs=np.zeros((4, 2))), seed=0)
    with pytest.raises(InputError, match="without texts"):
        Locle(judges=(CallableJudge(name="reader", classes=NAMES, function=len, each=True),)).annotate(data, seed=0)
    with pytest.raises(InputError, match="different classes"):
        Locle(judges=(good, CallableJudge(name="b", classes=("x", "y"), function=len))).annotate(data, seed=0)
    with pytest.raises(InputError, match="there are 3"):
        Locle(judges=(good, good, good)).annotate(data, seed=0)
    with pytest.raises(InputError, match="no effect"):
        Locle(net=lambda c, s: None, hidden=8)
    for bad in ({"budget": 0}, {"stages": 0}, {"first_share": 0.0}, {"drop": 1.0}, {"decay": 1.0}, {"gnn": "gnn"}, {"add": 2.0}):
        with pytest.raises(InputError, match=next(iter(bad))):
            Locle(**bad)
