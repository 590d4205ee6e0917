"""The whole audit: planted faults found, what cannot run said, counts that add up, the same seed the same result."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import average_precision_score

from labelwright.audit.data_audit import ISSUES, DataAudit
from labelwright.data import Dataset, TableRows, Texts
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels, Targets
from labelwright.results import Audit
from labelwright.signals import Signals


def iris(flips: int = 20, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    inputs, truth = load_iris(return_X_y=True)
    wrong = np.zeros(150, dtype=bool)
    wrong[np.random.default_rng(seed).choice(150, flips, replace=False)] = True
    labels = ClassLabels(values=np.where(wrong, (truth + 1) % 3, truth), names=("setosa", "versicolor", "virginica"))
    return Dataset(inputs=inputs, labels=labels), wrong


def rows(audit: Audit, issue: str) -> pl.DataFrame:
    return audit.findings.filter(pl.col("issue") == issue)


def exact_probs(labels: np.ndarray, num_classes: int, sure: float = 0.9) -> np.ndarray:
    probs = np.full((len(labels), num_classes), (1 - sure) / (num_classes - 1))
    probs[np.arange(len(labels)), labels] = sure
    return probs


def test_wrong_labels_copies_and_an_outlier_in_vectors():
    data, wrong = iris()
    inputs = np.array(data.inputs)
    copies = np.vstack([inputs, inputs[:1], [[25.0, 25, 25, 25]]])
    labels = ClassLabels(values=np.append(data.labels.values, [data.labels.values[0], 2]), names=data.labels.names)
    audit = DataAudit().audit(Dataset(inputs=copies, labels=labels), seed=0)
    found = rows(audit, "label_error")
    assert found.get_column("index").to_list() == list(range(152))
    assert average_precision_score(wrong, found.get_column("score").to_numpy()[:150]) > 0.85
    flagged = found.get_column("flagged").to_numpy()[:150]
    assert wrong[flagged].mean() > 0.75
    assert flagged[wrong].mean() > 0.6  # 20 planted errors: one more or less is 5 points
    assert 150 in rows(audit, "exact_duplicate").get_column("index").to_list()
    assert 151 in rows(audit, "outlier").filter("flagged").get_column("index").to_list()
    low, high = audit.facts["noise_rate_interval"]
    assert low < 20 / 152 < high


def test_counts_add_up_and_facts_say_where_they_come_from():
    data, _ = iris()
    audit = DataAudit().audit(data, seed=0)
    assert set(audit.facts["checked"]) | set(audit.facts["skipped"]) == set(ISSUES)
    assert not set(audit.facts["checked"]) & set(audit.facts["skipped"])
    assert sum(audit.facts["counts"].values()) == int(audit.findings.get_column("flagged").sum())
    assert {k: v for k, v in audit.facts["counts"].items() if v} == {k: v for k, v in audit.counts().items() if v}
    assert audit.facts["probabilities"] == "cross-validated extremely randomised trees, 5 folds"
    assert audit.facts["out_of_sample"] is True
    suggested = rows(audit, "label_error").get_column("suggested")
    assert audit.facts["agreement"] == suggested.null_count() / 150
    assert audit.facts["class_imbalance"]["counts"].keys() == {"setosa", "versicolor", "virginica"}
    assert np.allclose(np.array(audit.facts["true_if_given"]).sum(1), 1)
    assert "not images" in audit.facts["skipped"]["dark"]


def test_the_same_seed_gives_the_same_audit_and_it_survives_saving(tmp_path):
    data, _ = iris()
    first, second = (DataAudit(folds=2).audit(data, seed=4) for _ in range(2))
    assert first.findings.equals(second.findings)
    first.save(tmp_path / "audit")
    again = Audit.load(tmp_path / "audit")
    assert again.findings.equals(first.findings)
    assert again.facts["checked"] == first.facts["checked"]


def test_order_of_rows_does_not_matter_to_given_signals():
    data, _ = iris()
    order = np.random.default_rng(1).permutation(150)
    probs = np.random.default_rng(0).dirichlet(np.ones(3), size=150).astype(np.float32)

    def flagged(part, matrix):
        signals = Signals.from_probs(matrix, out_of_sample=True, source="file")
        audit = DataAudit(only=("label_error", "exact_duplicate", "outlier")).audit(part, signals=signals, seed=0)
        found = audit.findings.filter(pl.col("flagged") & (pl.col("issue") != "exact_duplicate"))
        return {(i, issue, round(s, 5)) for i, issue, s in found.select("id", "issue", "score").iter_rows()}

    assert flagged(data, probs) == flagged(data.take(order), probs[order])


@pytest.mark.slow
def test_digits_with_a_quarter_of_the_labels_wrong():
    """Class-dependent flips; a part of the data, to stay quick: the benchmark has all of it."""
    digits = load_digits()
    keep = np.arange(600)
    truth = digits.target[keep]
    rng = np.random.default_rng(0)
    wrong = rng.random(600) < np.linspace(0.05, 0.45, 10)[truth]
    data = Dataset(
        inputs=(digits.images[keep, None] / 16).astype(np.float32),
        labels=ClassLabels(values=np.where(wrong, (truth + 1) % 10, truth)),
        columns={"domain": np.where(truth < 5, "low", "high")},
    )
    audit = DataAudit(only=("label_error",), folds=3).audit(data, seed=0)
    flagged = rows(audit, "label_error").get_column("flagged").to_numpy()
    assert wrong[flagged].mean() > 0.75
    assert flagged[wrong].mean() > 0.65
    worst = audit.facts["groups"]["domain"][0]
    assert worst["group"] == "high"
    assert worst["worse"]
    assert {(p["a"], p["b"]) for p in audit.facts["overlapping_classes"][:3]} & {("7", "8"), ("8", "9"), ("6", "7")}


def test_in_sample_probabilities_are_refused():
    data, _ = iris()
    with pytest.raises(InputError, match="in-sample"):
        DataAudit().audit(data, signals=Signals.from_probs(exact_probs(data.labels.values, 3), out_of_sample=False, source="fit"), seed=0)


def test_what_cannot_run_says_so():
    small = Dataset(inputs=np.arange(10.0)[:, None])
    audit = DataAudit().audit(small, seed=0)
    assert audit.facts["skipped"]["label_error"] == "the dataset has no labels"
    assert "at least 20" in audit.facts["skipped"]["outlier"]
    assert "no column 'split'" in audit.facts["skipped"]["split_leak"]
    assert set(audit.facts["checked"]) == {"exact_duplicate", "missing_values"}
    few = Dataset(inputs=np.arange(10.0)[:, None], labels=ClassLabels(values=np.arange(10) % 2))
    assert "10 labelled rows" in DataAudit().audit(few, seed=0).facts["skipped"]["label_error"]
    gaps = np.random.default_rng(0).normal(size=(40, 2))
    gaps[3, 1] = np.nan
    holed = DataAudit().audit(Dataset(inputs=gaps, labels=ClassLabels(values=np.arange(40) % 2)), seed=0)
    assert "1 rows hold NaN" in holed.facts["skipped"]["label_error"]
    assert "NaN" in holed.facts["skipped"]["outlier"]
    assert holed.facts["missing_values"]["cells"] == 1
    other = Dataset(inputs=gaps, labels=Targets(values=np.zeros((40, 1))))
    assert "targets" in DataAudit(only=("label_error",)).audit(other, seed=0).facts["skipped"]["label_error"]


def test_labels_alone_with_probabilities():
    labels = np.arange(30) % 3
    data = Dataset(inputs=np.empty((30, 0)), labels=ClassLabels(values=np.where(np.arange(30) == 7, 2, labels)))
    signals = Signals.from_probs(exact_probs(labels, 3), out_of_sample=True, source="declared by the caller: p.npy")
    audit = DataAudit().audit(data, signals=signals, seed=0)
    assert audit.flagged("label_error").tolist() == [7]
    assert audit.facts["probabilities"] == "declared by the caller: p.npy"
    assert audit.facts["skipped"]["outlier"] == "the dataset has labels but no inputs"


def test_unlabelled_rows_have_a_row_too():
    data, _ = iris(flips=0)
    values = np.array(data.labels.values)
    values[:10] = -1
    audit = DataAudit(only=("label_error",)).audit(data.with_labels(ClassLabels(values=values, names=data.labels.names)), seed=0)
    first = rows(audit, "label_error").head(10)
    assert first.get_column("reason").to_list() == ["no label"] * 10
    assert first.get_column("suggested").to_list() == ["setosa"] * 10
    assert first.get_column("given").null_count() == 10
    assert audit.facts["labelled"] == 140


def test_texts_with_copies_across_splits():
    rng = np.random.default_rng(0)
    words = {0: ["goal", "match", "team", "score", "coach"], 1: ["bank", "stock", "market", "price", "trade"]}
    labels = np.arange(60) % 2
    texts = [" ".join(rng.choice(words[c], 6)) + f" number{k} item{k * 7} word{k * 3}" for k, c in enumerate(labels)]
    texts[59] = texts[1].replace(" ", "  ")
    split = np.where(np.arange(60) < 45, "train", "test")
    data = Dataset(inputs=Texts(texts), labels=ClassLabels(values=labels), columns={"split": split})
    audit = DataAudit().audit(data, seed=0)
    assert rows(audit, "exact_duplicate").get_column("index").to_list() == [59]
    assert {1, 59} <= set(rows(audit, "split_leak").get_column("index").to_list())
    assert audit.facts["split_leak"]["between"]["test / train"] >= 2
    assert rows(audit, "label_error").get_column("flagged").sum() <= 3


def test_a_second_dataset_that_shares_examples(tmp_path):
    data, _ = iris()
    other = data.take([5, 50]).with_labels(None)
    frame = pl.DataFrame(np.vstack([np.asarray(other.inputs), [[9.0, 9, 9, 9]]]), schema=["a", "b", "c", "d"], orient="row")
    frame.write_csv(tmp_path / "test.csv")
    table = Dataset(inputs=TableRows(pl.DataFrame(np.asarray(data.inputs), schema=["a", "b", "c", "d"], orient="row")), labels=data.labels)
    audit = DataAudit(only=("split_leak",), against=str(tmp_path / "test.csv")).audit(table, seed=0)
    assert {5, 50} <= set(rows(audit, "split_leak").get_column("index").to_list())
    assert rows(audit, "split_leak").get_column("index").max() < 150
    assert "second dataset" in rows(audit, "split_leak").filter(pl.col("index") == 5).get_column("reason")[0]


def test_a_table_with_gaps_and_a_constant_column():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    number = labels + 0.1 * rng.normal(size=80)
    frame = pl.DataFrame({"number": number, "other": rng.normal(size=80), "place": ["here"] * 80})
    frame = frame.with_columns(
        other=pl.when(pl.int_range(80) == 4).then(None).otherwise("other"),
        number=pl.when(pl.int_range(80) == 4).then(None).otherwise("number"),
    )
    audit = DataAudit().audit(Dataset(inputs=TableRows(frame), labels=ClassLabels(values=labels)), seed=0)
    assert rows(audit, "missing_values").get_column("index").to_list() == [4]
    assert audit.facts["constant_column"] == {"columns": ["place"]}


def test_multi_labels():
    inputs, truth = load_iris(return_X_y=True)
    values = np.stack([truth == 0, truth > 0], 1).astype(np.int8)
    values[3] = [0, 1]
    audit = DataAudit().audit(Dataset(inputs=inputs, labels=MultiLabels(values=values, names=("small", "large"))), seed=0)
    assert 3 in audit.flagged("label_error")
    assert "class_imbalance" in audit.facts["skipped"]


def test_only_and_skip():
    assert DataAudit(only=("outlier", "dark")).issues == ("outlier", "dark")
    assert "label_error" not in DataAudit(skip=("label-error",)).issues
    with pytest.raises(InputError, match="Did you mean 'near_duplicate'"):
        DataAudit(only=("near_duplicates",))
    with pytest.raises(InputError, match="no issue to look for"):
        DataAudit(only=("dark",), skip=("dark",))
    with pytest.raises(InputError, match="folds"):
        DataAudit(folds=1)
    with pytest.raises(InputError, match="no examples"):
        DataAudit().audit(Dataset(inputs=np.zeros((0, 2))), seed=0)
