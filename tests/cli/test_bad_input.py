"""Bad input: one clear line with the place and the mend, exit code 2, and no folder left behind."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import blobs, probabilities


@pytest.fixture
def nothing_left(here):
    """After the test there is no output folder and no partial one."""
    yield
    assert not (here / "out").exists()
    assert not (here / "out.partial").exists()


def table(here: Path, **columns) -> Path:
    _, y, _ = blobs(60)
    frame = pl.DataFrame({"length": np.arange(60.0) % 7, "width": np.sin(np.arange(60.0)), "species": [f"kind {v}" for v in y]} | columns)
    frame.write_csv(here / "flowers.csv")
    return here / "flowers.csv"


def labels_and_probs(here: Path, classes: int = 3, n: int = 90):
    _, y, wrong = blobs(n, classes, noise=0.1)
    probs = probabilities(y, wrong, classes)
    np.save(here / "labels.npy", y)
    return y, probs


@pytest.mark.usefixtures("nothing_left")
class TestLabels:
    def test_outside_the_classes(self, cli, here):
        y, probs = labels_and_probs(here)
        y[17] = 9
        np.save(here / "labels.npy", y)
        np.save(here / "probs.npy", probs)
        cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "out").expect_refusal("'9'", "row 17", "3 columns")

    def test_negative(self, cli, here):
        y, probs = labels_and_probs(here)
        y[4] = -7
        np.save(here / "labels.npy", y)
        np.save(here / "probs.npy", probs)
        cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "out").expect_refusal("row 4", "-7")

    def test_of_another_length_than_the_probabilities(self, cli, here):
        _, probs = labels_and_probs(here)
        np.save(here / "probs.npy", probs[:80])
        cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "out").expect_refusal("80", "90", "same rows")

    def test_of_one_class_only(self, cli, here):
        np.savez(here / "one.npz", x=np.random.default_rng(0).normal(size=(50, 3)), y=np.zeros(50, dtype=int))
        cli("audit", "one.npz", "--out", "out").expect_refusal("two classes", "1")
        cli("learn", "cross-entropy", "one.npz", "--out", "out").expect_refusal("two classes")

    def test_an_empty_class(self, cli, here):
        _, probs = labels_and_probs(here)
        np.save(here / "probs.npy", np.hstack([probs, np.zeros((90, 1))]))
        cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "out").expect_refusal("empty", "'3'", "--allow-empty")

    def test_none_at_all(self, cli, here):
        table(here)
        cli("learn", "cross-entropy", "flowers.csv", "--out", "out").expect_refusal("no labels", "--labels")

    def test_test_classes_that_training_does_not_know(self, cli, here):
        x, y, _ = blobs(40, 4)
        np.savez(here / "more.npz", x=x, y=y)
        cli("learn", "cross-entropy", "train.npz", "--test", "more.npz", "--out", "out").expect_refusal(
            "'3'", "test label", "no training class"
        )

    def test_labels_alone_need_probabilities(self, cli, here):
        labels_and_probs(here)
        cli("audit", "labels.npy", "--out", "out").expect_refusal("--probs")


@pytest.mark.usefixtures("nothing_left")
class TestProbabilities:
    @pytest.mark.parametrize("bad", [np.nan, 7.0, -0.5])
    def test_that_are_none(self, cli, here, bad):
        _, probs = labels_and_probs(here)
        probs[23, 1] = bad
        np.save(here / "probs.npy", probs)
        cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "out").expect_refusal("probs.npy", "first row 23", "1 of 90")

    def test_that_are_logits(self, cli, here):
        _, probs = labels_and_probs(here)
        np.save(here / "probs.npy", np.log(probs))
        cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "out").expect_refusal("90 of 90", "softmax")

    def test_of_one_column_too_few_for_words(self, cli, here):
        _, y, _ = blobs(90)
        np.save(here / "labels.npy", np.array(["a", "b", "c"])[y])
        np.save(here / "probs.npy", np.full((90, 2), 0.5))
        cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "out").expect_refusal("2 columns", "3 classes")

    def test_that_hold_python_objects(self, cli, here):
        labels_and_probs(here)
        np.save(here / "probs.npy", np.array([{"a": 1}] * 90, dtype=object), allow_pickle=True)
        cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "out").expect_refusal("Python objects")

    @pytest.mark.parametrize("name", ["probs.npy", "probs.npz", "probs.csv"])
    def test_that_are_truncated(self, cli, here, name):
        _, probs = labels_and_probs(here)
        if name.endswith("npy"):
            np.save(here / name, probs)
        elif name.endswith("npz"):
            np.savez(here / name, probs=probs)
        else:
            np.savetxt(here / name, probs, delimiter=",")
        raw = (here / name).read_bytes()
        (here / name).write_bytes(raw[: len(raw) // 2])
        cli("audit", "labels.npy", "--probs", name, "--out", "out").expect_refusal(name)

    def test_in_a_file_that_does_not_exist(self, cli, here):
        labels_and_probs(here)
        np.save(here / "probs.npy", np.full((90, 3), 1 / 3))
        cli("audit", "labels.npy", "--probs", "prob.npy", "--out", "out").expect_refusal("does not exist", "prob.npy", "'probs.npy'")

    def test_with_a_word_among_the_numbers(self, cli, here):
        labels_and_probs(here)
        lines = ["0,1,2", *["0.2,0.3,0.5"] * 89, "0.2,oops,0.5"]
        (here / "probs.csv").write_text("\n".join(lines))
        cli("audit", "labels.npy", "--probs", "probs.csv", "--out", "out").expect_refusal("'1'", "row 89", "oops")


@pytest.mark.usefixtures("nothing_left")
class TestFiles:
    def test_a_path_that_does_not_exist(self, cli, here):
        table(here)
        cli("audit", "flower.csv", "--out", "out").expect_refusal("does not exist", "'flowers.csv'")

    def test_a_wrong_column_name(self, cli, here):
        table(here)
        cli("audit", "flowers.csv", "--labels", "specis", "--out", "out").expect_refusal("'specis'", "'species'", "flowers.csv")

    def test_duplicate_ids(self, cli, here):
        table(here, id=[0, *range(59)])
        cli("audit", "flowers.csv", "--labels", "species", "--out", "out").expect_refusal("id", "unique", "row 1")

    def test_text_that_is_not_utf8(self, cli, here):
        (here / "latin.csv").write_bytes("text,label\nvoilà un café,a\nun autre café,b\n".encode("latin-1"))
        cli("audit", "latin.csv", "--out", "out").expect_refusal("UTF-8")

    def test_truncated_parquet(self, cli, here):
        pl.DataFrame({"x": np.arange(2000.0), "label": ["a", "b"] * 1000}).write_parquet(here / "t.parquet")
        raw = (here / "t.parquet").read_bytes()
        (here / "t.parquet").write_bytes(raw[: len(raw) // 2])
        cli("audit", "t.parquet", "--out", "out").expect_refusal("t.parquet")

    def test_an_empty_file(self, cli, here):
        (here / "none.csv").write_bytes(b"")
        cli("audit", "none.csv", "--out", "out").expect_refusal("none.csv", "empty")

    def test_an_unreadable_image(self, cli, here):
        from PIL import Image

        rng = np.random.default_rng(0)
        for name in ("cat", "dog"):
            (here / "pets" / name).mkdir(parents=True)
            for i in range(12):
                Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(here / "pets" / name / f"{i}.png")
        (here / "pets/cat/3.png").write_bytes(b"not a picture")
        cli("audit", "pets", "--out", "out").expect_refusal("3.png", "not an image")
        cli("learn", "cross-entropy", "pets", "--epochs", "1", "--out", "out").expect_refusal("3.png")

    def test_a_dataset_folder_whose_file_is_damaged(self, cli, here):
        from labelwright.data import load

        load(str(here / "train.npz")).save(here / "saved")
        (here / "saved/inputs.npy").write_bytes(b"\x93NUMPY")
        cli("audit", "saved", "--out", "out").expect_refusal("saved", "damaged")

    def test_findings_of_other_data(self, cli, here):
        assert cli("audit", "label-errors", "train.npz", "--out", "a").code == 0
        cli("annotate", "correct", "test.npz", "--findings", "a", "--out", "out").expect_refusal("other data")
        cli("annotate", "correct", "train.npz", "--findings", "train.npz", "--out", "out").expect_refusal("no folder written by")

    def test_a_model_folder_that_is_none(self, cli, here):
        cli("predict", ".", "test.npz", "--out", "p.csv").expect_refusal("result folder")
        cli("predict", "nowhere", "test.npz", "--out", "p.csv").expect_refusal("does not exist")


@pytest.mark.usefixtures("nothing_left")
class TestOptions:
    def test_a_field_outside_its_range(self, cli, here):
        cli("learn", "elr", "train.npz", "--beta", "1.5", "--out", "out").expect_refusal("beta", "[0, 1)")
        cli("learn", "elr", "train.npz", "--epochs", "0", "--out", "out").expect_refusal("epochs", ">= 1")

    def test_an_unknown_network_or_argument(self, cli, here):
        cli("learn", "elr", "train.npz", "--net", "mpl", "--out", "out").expect_refusal("'mpl'", "'mlp'")
        cli("learn", "elr", "train.npz", "--net", "mlp:dropot=0.5", "--out", "out").expect_refusal("'dropot'", "'dropout'")
        cli("learn", "elr", "train.npz", "--net", "mlp:dropout", "--out", "out").expect_refusal("argument=value")

    def test_a_device_that_is_not_there(self, cli, here):
        cli("learn", "elr", "train.npz", "--device", "toaster", "--out", "out").expect_refusal("toaster", "cpu")

    def test_predictions_have_a_known_suffix(self, cli, here):
        cli("predict", ".", "test.npz", "--out", "p.txt").expect_refusal(".csv or .parquet")


class TestFolders:
    def test_that_are_not_empty(self, cli, here):
        (here / "out").mkdir()
        (here / "out/keep.txt").write_text("mine")
        cli("learn", "elr", "train.npz", "--out", "out").expect_refusal("out", "not empty", "--out")
        assert [p.name for p in (here / "out").iterdir()] == ["keep.txt"]
        assert not (here / "out.partial").exists()

    def test_that_are_empty_may_be_used(self, cli, here):
        (here / "out").mkdir()
        assert cli("learn", "elr", "train.npz", "--epochs", "1", "--out", "out").code == 0

    def test_that_are_files(self, cli, here):
        (here / "out").write_text("")
        cli("audit", "train.npz", "--out", "out").expect_refusal("is a file")
        cli("audit", "train.npz", "--out", "out/deep").expect_refusal("is a file")

    def test_whose_partial_folder_is_something_else(self, cli, here):
        (here / "out.partial").mkdir()
        cli("audit", "train.npz", "--out", "out").expect_refusal("out.partial", "no unfinished run")


class TestMachine:
    def test_a_disk_that_fills_up_while_results_are_written(self, cli, here, monkeypatch):
        from labelwright.results import Audit

        def full(self, folder):
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))

        monkeypatch.setattr(Audit, "write", full)
        cli("audit", "train.npz", "--only", "outlier", "--out", "out").expect_refusal("disk is full", "Free some space")
        assert not (here / "out").exists()
        assert not (here / "out.partial").exists()  # nothing to resume

    def test_a_disk_that_fills_up_at_a_checkpoint_leaves_the_last_one(self, cli, here, monkeypatch):
        from labelwright.training import checkpoint

        write, calls = checkpoint.Checkpoint.write, []

        def second_fails(self, *state, **named):
            calls.append(1)
            if len(calls) == 3:
                raise OSError(errno.ENOSPC, "No space left on device", "checkpoint")
            write(self, *state, **named)

        monkeypatch.setattr(checkpoint.Checkpoint, "write", second_fails)
        cli("learn", "cross-entropy", "train.npz", "--epochs", "4", "--out", "out").expect_refusal("full")
        assert not (here / "out").exists()
        monkeypatch.undo()
        monkeypatch.chdir(here)
        ran = cli("learn", "cross-entropy", "train.npz", "--epochs", "4", "--out", "out")  # goes on from epoch 2
        assert ran.code == 0, ran.err
        assert (here / "out/history.csv").read_text().count("\n") == 1 + 4

    def test_memory_of_a_gpu_that_is_exhausted(self, cli, here, monkeypatch):
        import torch

        def exhausted(*_args, **_kwargs):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        monkeypatch.setattr(torch.nn.Linear, "forward", exhausted)
        cli("learn", "cross-entropy", "train.npz", "--out", "out").expect_refusal("memory", "--batch-size")
        assert not (here / "out").exists()
        assert not (here / "out.partial").exists()

    def test_memory_of_the_machine_that_is_exhausted(self, cli, here, monkeypatch):
        from labelwright.recipes import learning

        def exhausted(*_args):
            raise MemoryError

        monkeypatch.setattr(learning, "load_data", exhausted)
        cli("learn", "cross-entropy", "train.npz", "--out", "out").expect_refusal("Memory is exhausted")

    def test_no_permission(self, cli, here, monkeypatch):
        import os

        real = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: False if mode == os.W_OK else real(path, mode))
        cli("audit", "train.npz", "--out", "out").expect_refusal("no permission", "--out")

    def test_a_fault_of_ours_is_one_line_too(self, cli, here, monkeypatch):
        from labelwright.recipes import auditing

        def broken(*_args):
            raise ZeroDivisionError("division by zero")

        monkeypatch.setattr(auditing, "load_data", broken)
        ran = cli("audit", "train.npz", "--out", "out")
        assert ran.code == 2
        assert ran.err.count("\n") == 1
        assert "fault in labelwright" in ran.err
        assert "Traceback" not in ran.err


@pytest.mark.usefixtures("nothing_left")
class TestSecondData:
    def test_a_test_set_that_lacks_a_column_is_seen_before_training(self, cli, here):
        table(here)
        frame = pl.read_csv(here / "flowers.csv")
        frame.drop("width").write_csv(here / "less.csv")
        cli("learn", "elr", "flowers.csv", "--labels", "species", "--test", "less.csv", "--epochs", "1", "--out", "out").expect_refusal(
            "width"
        )

    def test_a_validation_set_of_another_kind(self, cli, here):
        table(here, label=[f"kind {v}" for v in blobs(60)[1]]).rename(here / "train.csv")
        np.savez(here / "arrays.npz", x=np.ones((60, 3)), y=np.array([f"kind {v}" for v in blobs(60)[1]]))
        cli("learn", "elr", "train.csv", "--val", "arrays.npz", "--epochs", "1", "--out", "out").expect_refusal(
            "trained on table", "vectors"
        )


@pytest.mark.usefixtures("nothing_left")
class TestOddFiles:
    def test_labels_as_python_objects(self, cli, here):
        y, probs = labels_and_probs(here)
        np.save(here / "objects.npy", np.array([f"k{v}" for v in y], dtype=object), allow_pickle=True)
        np.save(here / "probs.npy", probs)
        cli("audit", "objects.npy", "--probs", "probs.npy", "--out", "out").expect_refusal("Python objects", "astype(str)")

    def test_a_column_of_probabilities_named_twice(self, cli, here):
        _, probs = labels_and_probs(here)
        rows = "\n".join(",".join(f"{p:.6f}" for p in row) for row in probs)
        (here / "probs.csv").write_text(f"0,1,1\n{rows}\n")
        cli("audit", "labels.npy", "--probs", "probs.csv", "--out", "out").expect_refusal("'1' twice")

    def test_a_limit_on_label_errors_without_labels(self, cli, here):
        table(here)
        cli("audit", "flowers.csv", "--fail-on", "label_error=0.1", "--out", "out").expect_refusal("--labels COLUMN")


def test_whole_floats_are_class_indices(cli, here):
    y, probs = labels_and_probs(here)
    np.save(here / "labels.npy", y.astype(np.float64))
    np.save(here / "probs.npy", probs)
    assert json.loads(cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "out", "--json").out)["n"] == 90
