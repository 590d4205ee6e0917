"""``learn cross-modal-prototypes`` on the command line: files, the table it writes, several labels an example, bad input."""

import json

import numpy as np
import polars as pl
import pytest

from conftest import blobs

NAMES = ("cat", "dog", "emu")
ABOUT = {"cat": "whiskers purring kitten", "dog": "barking puppy leash", "emu": "feathers flightless bird"}


def table(n=150, *, seed=0, noise=0.2):
    x, truth, _ = blobs(n, seed=seed)
    rng = np.random.default_rng(seed)
    given = np.where(rng.random(n) < noise, (truth + 1) % 3, truth)
    caption = [f"photo of {ABOUT[NAMES[c]]}, 640x480" if rng.random() > 0.3 else None for c in truth]
    frame = {f"x{j}": x[:, j] for j in range(4)} | {
        "label": [NAMES[c] for c in given],
        "caption": caption,
        "name": [f"img_{i}" for i in range(n)],
    }
    return pl.DataFrame(frame), truth


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A folder with train.csv (20 % wrong labels, 30 % of the captions missing), test.csv and definitions.csv."""
    monkeypatch.chdir(tmp_path)
    table()[0].write_csv("train.csv")
    table(60, seed=1, noise=0.0)[0].write_csv("test.csv")
    pl.DataFrame({"class": list(ABOUT), "definition": list(ABOUT.values())}).write_csv("definitions.csv")
    return tmp_path


RUN = ("learn", "cross-modal-prototypes", "train.csv", "--inputs", "x0,x1,x2,x3", "--anchors", "10", "--dim", "16", "--key-momentum", "0.9")


def test_from_files_to_a_model_and_a_table_of_what_became_of_each_label(cli, web):
    ran = cli(*RUN, "--definitions", "definitions.csv", "--test", "test.csv", "--epochs", "20", "--lr", "3e-3", "--out", "m", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["test"]["accuracy"] > 0.9
    rows = pl.read_parquet("m/examples.parquet")
    assert rows.columns == ["id", "label", "label_score", "given", "action", "anchor", "confidence"]
    train, truth = table()
    assert rows.get_column("given").to_list() == train.get_column("label").to_list()
    corrected = rows.filter(pl.col("action") == "corrected")
    assert len(corrected) > 15
    right = [NAMES[truth[i]] == word for i, word in zip(corrected.get_column("id"), corrected.get_column("label"), strict=True)]
    assert np.mean(right) > 0.8
    table(5, seed=2)[0].drop("caption", "label").write_csv("new.csv")
    assert cli("predict", "m", "new.csv", "--out", "p.csv", "--inputs", "x0,x1,x2,x3").code == 0  # no text is needed
    stored = json.loads((web / "m/run.json").read_text())["arguments"]
    assert stored["definitions"] == "../definitions.csv"


def test_a_class_with_fewer_examples_than_anchors_gives_all_it_has(cli, web):
    words = [*RUN, "--definitions", "definitions.csv", "--epochs", "2", "--out", "m"]
    words[words.index("--anchors") + 1] = "1000"
    assert cli(*words).code == 0
    facts = json.loads((web / "m/learned.json").read_text())["facts"]
    assert facts["classes_below_anchors"] == list(NAMES)
    assert facts["anchors"] == facts["n_train"] == 135  # a tenth is held out for validation


def test_vectors_of_ones_own_in_place_of_texts(cli, web):
    _, truth = table()
    np.save("side.npy", np.eye(3)[truth])
    np.save("classes.npy", np.eye(3))
    assert cli(*RUN, "--side", "side.npy", "--definitions", "classes.npy", "--epochs", "2", "--out", "m").code == 0
    rows = pl.read_parquet("m/examples.parquet").filter("anchor")
    assert [NAMES[truth[i]] for i in rows.get_column("id")] == rows.get_column("label").to_list()
    np.save("side.npy", np.eye(3)[truth[:-1]])
    cli(*RUN, "--side", "side.npy", "--definitions", "classes.npy", "--out", "n").expect_refusal("side.npy", "(150, E)", "(149, 3)")
    cli(*RUN, "--side", "side.npy", "--text-column", "caption", "--out", "n").expect_refusal("side and text_column")


def cells(n=150, *, seed=0):
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 3)) < 0.4).astype(int)
    x = 3 * (truth - 0.5) + 0.5 * rng.normal(size=(n, 3))
    text = [" ".join(ABOUT[c] for c, on in zip(NAMES, row, strict=True) if on) for row in truth]
    return pl.DataFrame({f"x{j}": x[:, j] for j in range(3)} | {c: truth[:, j] for j, c in enumerate(NAMES)} | {"text": text}), truth


def test_several_labels_an_example(cli, web):
    frame, _ = cells()
    frame.with_columns(cat=pl.when(pl.int_range(150) % 10 == 0).then(None).otherwise("cat")).write_csv("train.csv")
    cells(60, seed=1)[0].write_csv("test.csv")
    base = (
        "learn",
        "cross-modal-prototypes",
        "train.csv",
        "--labels",
        "cat,dog,emu",
        "--inputs",
        "x0,x1,x2",
        "--anchors",
        "20",
        "--key-momentum",
        "0.9",
    )
    ran = cli(*base, "--definitions", "definitions.csv", "--test", "test.csv", "--epochs", "20", "--lr", "3e-3", "--out", "m", "--json")
    assert ran.code == 0, ran.err
    test = json.loads(ran.out)["test"]
    assert set(test) == {"n", "map", "macro_f1", "micro_f1", "ci95"}
    assert test["macro_f1"] > 0.9
    assert "several labels" in (web / "m/report.html").read_text()
    assert cli("predict", "m", "test.csv", "--labels", "cat,dog,emu", "--inputs", "x0,x1,x2", "--out", "p.csv").code == 0
    rows = pl.read_csv("p.csv", schema_overrides={"predicted": pl.String})
    probs = rows.select("p_cat", "p_dog", "p_emu").to_numpy()
    assert rows.get_column("predicted").fill_null("").to_list() == ["; ".join(np.array(NAMES)[r]) for r in probs >= 0.5]
    predicted = probs >= 0.5
    truth = cells(60, seed=1)[1]
    assert test["micro_f1"] == pytest.approx(2 * (predicted & (truth == 1)).sum() / (predicted.sum() + truth.sum()))
    told = cli(*base, "--definitions", "definitions.csv", "--test", "test.csv", "--epochs", "2", "--batch-size", "128", "--out", "n")
    assert "mean average precision" in told.out
    np.savez("none.npz", x=np.zeros((20, 4), dtype=np.float32), y=np.full((20, 3), -1), text=np.array(["a word"] * 20))
    cli("learn", "cross-modal-prototypes", "none.npz", "--out", "o").expect_refusal("None of the 60 labels is known")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--text-column", "captoin"), ("'captoin'", "Did you mean 'caption'")),
        (("--text-column", "x0"), ("'x0'",)),
        (("--definitions", "nowhere.csv"), ("nowhere.csv", "does not exist")),
        (("--definitions", "missing.json"), ("missing.json", "no class 'emu'")),
        (("--definitions", "stray.toml"), ("stray.toml", "'doge'", "Did you mean 'dog'")),
        (("--epochs", "1"), ("at least 2 epochs",)),
        (("--strong", "web-strong", "--epochs", "2"), ("web-strong", "images")),
    ],
)
def test_bad_input_is_one_line(cli, web, more, words):
    (web / "missing.json").write_text(json.dumps({"cat": "x", "dog": "y"}))
    (web / "stray.toml").write_text('cat = "a"\ndog = "b"\nemu = "c"\ndoge = "d"\n')
    cli(*RUN, *more, "--out", "n").expect_refusal(*words)


def test_texts_or_labels_that_are_all_missing_are_refused(cli, web):
    frame = table()[0]
    frame.with_columns(caption=pl.lit("")).write_csv("train.csv")
    cli(*RUN, "--out", "n").expect_refusal("caption", "empty")
    frame.with_columns(caption=pl.lit("12 34.jpg")).write_csv("train.csv")
    cli(*RUN, "--out", "n").expect_refusal("No text holds a word", "--no-clean-text")
    frame.drop("caption", "name").write_csv("train.csv")
    cli(*RUN, "--out", "n").expect_refusal("'text' or 'caption'")
    frame.with_columns(label=pl.lit("")).write_csv("train.csv")
    cli(*RUN, "--out", "n").expect_refusal("label")
    np.savez("train.npz", x=np.zeros((20, 4), dtype=np.float32), y=np.full(20, -1), text=np.array(["a word"] * 20))
    cli("learn", "cross-modal-prototypes", "train.npz", "--out", "n").expect_refusal("At least two classes")
