"""Dataset folders: what is saved is read back exactly, appears whole or not at all, and holds no pickle."""

from __future__ import annotations

import datetime
import errno
import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from label_strategies import any_labels
from labelwright.data import Dataset, Images, Info, TableRows, Texts, load, save
from labelwright.errors import InputError, OutputError
from labelwright.labels import ClassLabels

RNG = np.random.default_rng(0)


def roundtrip(data: Dataset) -> Dataset:
    with tempfile.TemporaryDirectory() as folder:
        data.save(Path(folder) / "d")
        return load(Path(folder) / "d")


def same(a: Dataset, b: Dataset) -> None:
    assert a.fingerprint == b.fingerprint
    assert a.kind == b.kind
    assert a.labels == b.labels
    assert a.info == b.info
    assert a.ids.dtype == b.ids.dtype
    np.testing.assert_array_equal(a.ids, b.ids)
    assert list(a.columns) == list(b.columns)
    for name, column in a.columns.items():
        assert column.dtype == b.columns[name].dtype
        np.testing.assert_array_equal(column, b.columns[name])


@settings(max_examples=40, deadline=None)
@given(any_labels(), st.sampled_from([np.float32, np.float64, np.int16, np.uint8, np.bool_]), st.booleans())
def test_arrays_with_every_label_kind(labels, dtype, words):
    n = len(labels)
    inputs = (np.arange(n * 6).reshape(n, 2, 3) % 7).astype(dtype)
    ids = np.array([f"ü{i}" for i in range(n)], dtype="U8") if words else np.arange(n, dtype=np.int32)[::-1]
    data = Dataset(inputs=inputs, labels=labels, ids=ids, columns={"weight": np.linspace(0, 1, n)})
    back = roundtrip(data)
    same(data, back)
    assert back.inputs.dtype == dtype
    np.testing.assert_array_equal(back.inputs, inputs)


def test_tensors(tmp_path: Path):
    for dtype in (torch.float32, torch.bfloat16, torch.uint8):
        x = torch.arange(12).reshape(3, 4).to(dtype)
        save(Dataset(inputs=x), tmp_path / str(dtype))
        back = load(tmp_path / str(dtype)).inputs
        assert back.dtype == dtype
        assert torch.equal(back, x)


def test_images_move_with_the_folder(tmp_path: Path):
    Image.fromarray(RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(RNG.integers(0, 256, (7, 3), dtype=np.uint8)).save(tmp_path / "b.jpg")
    data = Dataset(inputs=Images([tmp_path / "a.png", tmp_path / "b.jpg"]), labels=ClassLabels(values=[0, 1], names=["x", "y"]))
    pixels = [data.inputs[i] for i in range(2)]
    data.save(tmp_path / "d")
    fingerprint = data.fingerprint
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).unlink()
    (tmp_path / "d").rename(tmp_path / "moved")
    back = load(tmp_path / "moved")
    assert back.fingerprint == fingerprint
    assert back.inputs.names == ["a.png", "b.jpg"]
    for i in range(2):
        np.testing.assert_array_equal(back.inputs[i], pixels[i])
    # the file of inputs is a Hugging Face image table in its own right
    assert load(tmp_path / "moved" / "inputs.parquet").kind == "images"


def test_texts_and_tables():
    texts = Dataset(inputs=Texts(["", "Käse\n\t\0", "日本"]), info=Info(name="n", license="MIT", extra={"a": [1, None]}))
    back = roundtrip(texts)
    same(texts, back)
    assert back.inputs.texts == texts.inputs.texts
    frame = pl.DataFrame(
        {
            "i": [1, None, 3],
            "f": [0.5, float("nan"), None],
            "s": ["a", None, ""],
            "d": [datetime.date(2024, 1, 1), None, datetime.date(1960, 2, 29)],
            "e": pl.Series(["u", "v", None], dtype=pl.Enum(["u", "v"])),
            "c": pl.Series(["u", "v", None], dtype=pl.Categorical),
            "l": [[1], [], None],
        }
    )
    rows = Dataset(inputs=TableRows(frame), info=Info(feature_names=tuple(frame.columns)))
    again = roundtrip(rows)
    same(rows, again)
    assert again.inputs.frame.schema == frame.schema
    assert again.inputs.frame.equals(frame, null_equal=True)


def test_columns_of_every_type():
    columns = {
        "group": np.array(["a", "bb", "a"]),
        "gaps": np.array(["x", None, "z"], dtype=object),
        "numbers with gaps": np.array([1, None, 3], dtype=object),
        "flag": np.array([True, False, True]),
        "day": np.array(["2024-01-01", "NaT", "1950-03-04"], dtype="datetime64[D]"),
        "moment": np.array(["2024-01-01T10:00", "NaT", "1950-03-04"], dtype="datetime64[us]"),
        "small": np.array([1, 2, 3], dtype=np.int8),
        "half": np.array([0.5, np.nan, 2], dtype=np.float16),
    }
    data = Dataset(inputs=np.eye(3), columns=columns)
    back = roundtrip(data)
    assert list(back.columns) == list(columns)
    for name, column in columns.items():
        assert back.columns[name].dtype == column.dtype, name
        assert back.columns[name].tolist() == column.tolist() or name == "half"
    np.testing.assert_array_equal(back.columns["half"], columns["half"])


def test_weights_are_honoured(tmp_path: Path):
    Dataset(inputs=np.eye(2), columns={"weight": np.array([0.25, 1.0])}).save(tmp_path / "d")
    assert load(tmp_path / "d").weights.tolist() == [0.25, 1]
    (tmp_path / "t.csv").write_text("a,weight,label\n1,0.5,x\n2,-1,y\n")
    with pytest.raises(InputError, match="column 'weight' must not be negative; row 1 is -1"):
        _ = load(tmp_path / "t.csv").weights


def test_a_column_may_be_the_labels(tmp_path: Path):
    labels = ClassLabels(values=[0, 1, 1], names=["b", "a"])
    data = Dataset(inputs=np.eye(3), labels=labels, columns={"given_label": np.array(["a", None, "b"], dtype=object)})
    data.save(tmp_path / "d")
    again = load(tmp_path / "d", labels="given_label").class_labels()
    assert again.names == ("b", "a")
    assert again.values.tolist() == [1, -1, 0]
    assert load(tmp_path / "d", labels="label").labels == labels
    with pytest.raises(InputError, match="Did you mean 'given_label'"):
        load(tmp_path / "d", labels="given_labels")
    with pytest.raises(InputError, match="inputs= has no effect"):
        load(tmp_path / "d", inputs="x")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch):
    data = Dataset(inputs=np.eye(2), labels=ClassLabels(values=[0, 1]))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(OutputError, match="exists and is not empty"):
        data.save(tmp_path / "full")

    def full_disk(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ClassLabels, "save", full_disk)
    with pytest.raises(OutputError, match=r"cannot be written: No space left on device\. Free some space"):
        data.save(tmp_path / "d")

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(ClassLabels, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        data.save(tmp_path / "d")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
    (tmp_path / "d").mkdir()
    data.save(tmp_path / "d")  # an empty folder is fine
    assert load(tmp_path / "d").fingerprint == data.fingerprint


def test_what_cannot_be_saved(tmp_path: Path):
    for data, match in [
        (Dataset(inputs=np.array([[{}]], dtype=object)), "dtype object cannot be saved"),
        (Dataset(inputs=np.eye(2), columns={"odd": np.array([{}, 3], dtype=object)}), "column odd .* cannot be saved"),
        (Dataset(inputs=Texts(["\ud800"])), "cannot be written as UTF-8"),
    ]:
        with pytest.raises(InputError, match=match):
            data.save(tmp_path / "d")
        assert not (tmp_path / "d").exists()


def test_damaged_folders(tmp_path: Path):
    data = Dataset(inputs=np.eye(4), labels=ClassLabels(values=[0, 1, 0, 1]), columns={"g": np.arange(4)})
    data.save(tmp_path / "d")
    files = {p.name: p.read_bytes() for p in (tmp_path / "d").iterdir()}
    assert set(files) == {"dataset.json", "inputs.npy", "labels.parquet", "rows.parquet"}
    for name, content in files.items():
        (tmp_path / "d" / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError, match=r"damaged|truncated"):
            load(tmp_path / "d")
        (tmp_path / "d" / name).unlink()
        if name != "dataset.json":
            with pytest.raises(InputError):
                load(tmp_path / "d")
        (tmp_path / "d" / name).write_bytes(content)
    head = json.loads(files["dataset.json"])
    (tmp_path / "d" / "dataset.json").write_text(json.dumps(head | {"format": 99}))
    with pytest.raises(InputError, match=r"has format 99; this version reads 1\. Update"):
        load(tmp_path / "d")
