"""``advise``, ``run``, ``demo``: what fits, chained steps, the main job."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

from conftest import blobs

RECIPE = """
title = "Check, mend, learn"
seed = 1

[[step]]
name = "check"
verb = "audit"
data = "train.npz"
only = ["label_error", "outlier"]

[[step]]
name = "mend"
verb = "annotate"
method = "correct"
data = "train.npz"
findings = "@check"

[[step]]
verb = "learn"
method = "elr"
data = "@mend"
test = "test.npz"
epochs = 6
"""


def test_advise_sees_noise_and_names_commands_that_run(cli, here):
    x, y, _ = blobs(300, noise=0.2)
    np.savez(here / "noisy.npz", x=x, y=y)
    made = json.loads(cli("advise", "noisy.npz", "--json").out)
    assert made["facts"]["n"] == 300
    assert made["facts"]["noise_rate_estimate"] == pytest.approx(0.2, abs=0.06)  # planted
    assert "noise" in made["flaws"]
    names = [s["method"] for s in made["suggestions"]]
    assert names[0] == "data-audit"
    assert "elr" in names
    first = shlex.split(made["suggestions"][0]["command"])
    assert cli(*first[1:], "--only", "label_error", "--out", "a").code == 0


def test_advise_on_clean_scarce_and_unequal_labels(cli, here):
    x, y, _ = blobs(400)
    keep = (y == 0) | (np.arange(400) % 13 == 0)
    few = np.where(np.random.default_rng(0).random(keep.sum()) < 0.6, y[keep], -1)
    np.savez(here / "few.npz", x=x[keep], y=few)
    made = json.loads(cli("advise", "few.npz", "--json").out)
    assert set(made["flaws"]) == {"scarcity", "imbalance"}
    assert made["facts"]["unknown_share"] == pytest.approx((few < 0).mean())
    assert made["facts"]["noise_rate_estimate"] < 0.03
    cli("advise", "no-such.npz").expect_refusal("does not exist")


def test_a_recipe_chains_steps_into_one_folder_and_reruns(cli, here):
    (here / "recipe.toml").write_text(RECIPE)
    ran = cli("run", "recipe.toml", "--out", "all", "--json")
    assert ran.code == 0, ran.err
    steps = json.loads(ran.out)["steps"]
    assert list(steps) == ["check", "mend", "3-elr"]
    assert steps["3-elr"]["test"]["accuracy"] > 0.9
    page = (here / "all/report.html").read_text()
    assert all(f'href="{name}/report.html"' in page for name in steps)
    assert json.loads((here / "all/3-elr/run.json").read_text())["arguments"]["data"] == "../mend"
    assert json.loads((here / "all/check/run.json").read_text())["seed"] == 1
    assert ".partial" not in (here / "all/3-elr/run.json").read_text()
    again = cli("rerun", "all", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["same_figures"] is True


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("title =", "titel =", ("'titel'", "'title'")),
        ('findings = "@check"', 'finding = "@check"', ("step 2", "'finding'", "'findings'")),
        ('"@check"', '"@chek"', ("'chek'", "'check'")),
        ('verb = "learn"', 'verb = "lern"', ("'lern'", "'learn'")),
        ('method = "elr"', 'method = "ellr"', ("'ellr'", "'elr'")),
        ("epochs = 6", 'epochs = "six"', ("epochs", "an integer", "'six'")),
        ("epochs = 6", "epoch = 6", ("'epoch'", "'epochs'")),
        ('name = "mend"', 'name = "check"', ("'check'", "taken")),
        ('name = "mend"', 'name = "../up"', ("folder name",)),
        ("[[step]]", "[step", ("TOML",)),
    ],
)
def test_faults_of_a_recipe_are_found_before_any_step_runs(cli, here, old, new, words):
    (here / "recipe.toml").write_text(RECIPE.replace(old, new, 1))
    cli("run", "recipe.toml", "--out", "all").expect_refusal(*words)
    assert not (here / "all").exists()
    assert not (here / "all.partial").exists()


def test_the_example_recipe_runs(cli, here):
    from pathlib import Path

    recipe = Path(__file__).resolve().parents[2] / "examples/clean-then-learn.toml"
    ran = cli("run", recipe, "--out", "all", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["steps"]["check"]["n"] == 178


def test_a_recipe_that_stopped_goes_on_with_the_step_that_is_missing(cli, here, monkeypatch):
    from labelwright.recipes import learning

    (here / "recipe.toml").write_text(RECIPE)
    work = learning.measure

    def stop(*_args, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "measure", stop)
    ran = cli("run", "recipe.toml", "--out", "all")
    assert ran.code == 130
    assert "all.partial" in ran.err
    done = (here / "all.partial/check/run.json").stat().st_mtime_ns
    monkeypatch.setattr(learning, "measure", work)
    assert cli("run", "recipe.toml", "--out", "all").code == 0
    assert (here / "all/check/run.json").stat().st_mtime_ns == done


def test_the_demonstration_spoils_a_quarter_of_the_labels_by_class():
    from labelwright.data import load
    from labelwright.recipes.demonstration import LOOKALIKE, MOSTLY, NOISE, RATES, spoiled

    assert np.mean(RATES) == pytest.approx(NOISE)
    digits = load("digits")
    noisy, wrong = spoiled(digits, seed=0)
    truth, given = digits.labels.values, noisy.labels.values
    assert np.array_equal(wrong, truth != given)
    assert wrong.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 1797))
    for digit, (rate, other) in enumerate(zip(RATES, LOOKALIKE, strict=True)):
        rows = truth == digit
        assert wrong[rows].mean() == pytest.approx(rate, abs=0.13)
        if rate >= 0.25:
            assert np.bincount(given[rows & wrong], minlength=10).argmax() == other
    assert 0.5 < MOSTLY < 1


@pytest.mark.slow
def test_the_demonstration_in_short(cli, here, monkeypatch):
    """The whole chain on one epoch: folders, table, JSON and page. Its figures at full length are in the documentation."""
    from labelwright.recipes import demonstration

    monkeypatch.setattr(demonstration, "EPOCHS", 2)
    monkeypatch.setattr(demonstration, "FOLDS", 2)
    monkeypatch.setattr(demonstration, "SEEDS", 1)
    monkeypatch.setattr(demonstration, "_interval", lambda values: {"mean": values[0], "low": 0.0, "high": 1.0, "half": 0.5})
    ran = cli("demo", "--out", "d", "--json")
    assert ran.code == 0, ran.err
    made = json.loads(ran.out)
    assert set(made["test"]) == {name for name, *_ in demonstration.ARMS}
    assert set(made["errors"]) == {"precision", "recall", "auprc"}
    assert made["report"].endswith("report.html")
    assert (here / "d/report.html").exists()
    assert (here / "d/seed-0/audit/report.html").exists()
    val = json.loads((here / "d/seed-0/elr/run.json").read_text())["arguments"]["val"]
    assert val == "../val"
