"""``learn``, ``predict``, ``annotate correct``: what they print and write."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from conftest import blobs
from labelwright.registry import methods

LEARNERS = [e.name for e in methods(verb="learn") if e.target]


@pytest.mark.parametrize("name", ["cross-entropy", "elr"])
def test_the_summary_of_the_contract(cli, here, name):
    ran = cli("learn", name, "train.npz", "--test", "test.npz", "--epochs", "8", "--seed", "2", "--out", "m", "--json")
    assert ran.code == 0, ran.err
    made = json.loads(ran.out)
    assert set(made) == {"method", "seed", "epochs", "test"}
    assert (made["method"], made["seed"], made["epochs"]) == (name, 2, 8)
    test = made["test"]
    assert set(test) == {"n", "accuracy", "ci95", "balanced_accuracy", "macro_f1"}
    assert test["n"] == 60
    assert test["ci95"][0] <= test["accuracy"] <= test["ci95"][1]
    assert test["accuracy"] > 0.9  # the classes are six deviations apart


def test_the_measured_accuracy_is_that_of_the_saved_predictions(cli, here):
    """The figure is recomputed from ``predict`` on the saved model."""
    made = json.loads(cli("learn", "cross-entropy", "train.npz", "--test", "test.npz", "--epochs", "1", "--out", "m", "--json").out)
    assert cli("predict", "m", "test.npz", "--out", "p.csv").code == 0
    rows = pl.read_csv(here / "p.csv")
    with np.load(here / "test.npz") as file:
        accuracy = float((rows.get_column("predicted").to_numpy() == file["y"]).mean())
    assert made["test"]["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert rows.columns == ["id", "predicted", "probability", "p_0", "p_1", "p_2"]
    assert np.allclose(rows.select("p_0", "p_1", "p_2").to_numpy().sum(1), 1, atol=1e-5)
    cli("predict", "m", "test.npz", "--out", "p.csv").expect_refusal("p.csv exists")


def test_epochs_are_the_total_over_stages(cli, here):
    ran = cli("learn", "nested-coteaching", "train.npz", "--epochs", "4", "--out", "m", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["epochs"] == 4
    facts = json.loads((here / "m/learned.json").read_text())["facts"]
    assert sum(facts["epochs_by_stage"]) == 4


def test_validation_data_of_ones_own_and_test_labels_by_name(cli, here):
    """Classes are matched by name: the test file numbers them in another order."""
    x, y, _ = blobs(90)
    words = np.array(["ant", "bee", "cat"])
    for name, seed in (("a", 0), ("b", 1)):
        x, y, _ = blobs(90, seed=seed)
        frame = {f"x{j}": x[:, j] for j in range(4)} | {"animal": words[y], "seen": words[(y + seed) % 3]}
        pl.DataFrame(frame).drop("seen").write_csv(here / f"{name}.csv")
    order = blobs(30, seed=2)
    keep = order[1] != 1  # no bee: "cat" would be number 1 of the test file alone
    pl.DataFrame({f"x{j}": order[0][keep][:, j] for j in range(4)} | {"animal": words[order[1][keep]]}).write_csv(here / "c.csv")
    ran = cli(
        "learn",
        "cross-entropy",
        "a.csv",
        "--labels",
        "animal",
        "--val",
        "b.csv",
        "--test",
        "c.csv",
        "--epochs",
        "15",
        "--out",
        "m",
        "--json",
    )
    assert ran.code == 0, ran.err
    test = json.loads(ran.out)["test"]
    assert test["n"] == int(keep.sum())
    assert test["accuracy"] > 0.9


def test_the_network_is_named_with_its_arguments(cli, here):
    assert cli("learn", "cross-entropy", "train.npz", "--net", "mlp:dropout=0.25", "--epochs", "1", "--out", "m").code == 0
    net = json.loads((here / "m/learned.json").read_text())["parts"]["net"]
    assert (net["net"], net["args"]["dropout"]) == ("mlp", 0.25)


def test_the_default_recipe_is_that_of_python(here):
    """`--epochs` replaces one field; the rest is what `fit=None` would give, the number of held-out examples included."""
    from labelwright.data import load
    from labelwright.recipes.learning import fit_of
    from labelwright.recipes.steps import Step
    from labelwright.training import default_fit, prepare

    data = load("train.npz")
    own = default_fit(prepare(data, seed=5))
    made = fit_of(Step.of("learn", "elr", {"data": "train.npz", "seed": 5}), data, None, checkpoint=None)
    assert made == own
    changed = fit_of(Step.of("learn", "elr", {"data": "train.npz", "epochs": 3}), data, None, checkpoint=None)
    assert (changed.epochs, changed.lr, changed.optimizer) == (3, own.lr, own.optimizer)


def test_correct_writes_a_dataset_that_learn_reads(cli, here):
    _, y, wrong = blobs(150, noise=0.1)
    assert cli("audit", "train.npz", "--only", "label_error", "--out", "a").code == 0
    ran = cli("annotate", "correct", "train.npz", "--findings", "a", "--out", "fixed", "--json")
    assert ran.code == 0, ran.err
    from labelwright.data import load

    fixed = load("fixed")
    assert fixed.columns["given_label"].tolist() == [str(v) for v in y]
    changed = fixed.labels.words() != fixed.columns["given_label"]
    assert json.loads(ran.out)["relabelled"] == changed.sum()
    assert (fixed.labels.values == np.where(wrong, (y - 1) % 3, y)).mean() > (~wrong).mean()
    assert all(bool(r) == c for r, c in zip(fixed.columns["reason"], changed, strict=True))
    assert cli("learn", "cross-entropy", "fixed", "--test", "test.npz", "--epochs", "1", "--out", "m").code == 0


def test_a_review_decides_before_the_audit(cli, here):
    assert cli("audit", "train.npz", "--only", "label_error", "--out", "a").code == 0
    review = pl.read_csv(here / "a/review.csv", infer_schema=False)
    first = review.row(0, named=True)
    review.with_columns(
        action=pl.when(pl.col("id") == first["id"]).then(pl.lit("keep")).otherwise(pl.lit("")), note=pl.lit("looks right")
    ).write_csv(here / "mine.csv")
    cli("annotate", "correct", "train.npz", "--findings", "a", "--review", "mine.csv", "--how", "weight", "--out", "w")
    from labelwright.data import load

    kept = load("w")
    row = int(np.flatnonzero(kept.ids.astype(str) == first["id"])[0])
    assert kept.columns["weight"][row] == 1.0
    assert "looks right" in kept.columns["reason"][row]
    assert (kept.columns["weight"] < 1).sum() == review.height - 1
