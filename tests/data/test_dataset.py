"""Datasets: rows stay together, fingerprints tell data apart, and broken rules are named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from label_strategies import any_labels
from labelwright.data import Dataset, Images, TableRows, Texts
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels


def example(n: int = 6, **changes) -> Dataset:
    parts = {
        "inputs": np.arange(n * 2.0).reshape(n, 2),
        "labels": ClassLabels(values=np.arange(n) % 2, names=["a", "b"]),
        "ids": [f"i{j}" for j in range(n)],
        "columns": {"group": np.arange(n) // 2},
    }
    return Dataset(**(parts | changes))


@settings(max_examples=60, deadline=None)
@given(any_labels(), st.data())
def test_take_keeps_rows_together(labels, data):
    n = len(labels)
    whole = Dataset(inputs=np.arange(n * 2).reshape(n, 2), labels=labels, ids=np.arange(n) + 100, columns={"c": np.arange(n) * 2})
    index = data.draw(st.permutations(range(n)).map(lambda p: p[: n // 2 + 1]))
    part = whole.take(index)
    assert part.inputs[:, 0].tolist() == [2 * i for i in index]
    assert part.ids.tolist() == [100 + i for i in index]
    assert part.columns["c"].tolist() == [2 * i for i in index]
    assert part.labels == labels.take(index)
    np.testing.assert_array_equal(whole.positions(part.ids), np.array(index, dtype=int))
    assert len(whole.take([])) == 0


@pytest.mark.parametrize(
    "inputs",
    [np.eye(3), torch.eye(3), Texts(["a", "b", "c"]), TableRows(pl.DataFrame({"x": [1, 2, 3]}))],
    ids=["array", "tensor", "texts", "table"],
)
def test_fingerprints(inputs):
    def parts(**changes) -> Dataset:
        return Dataset(
            **({"inputs": inputs, "labels": ClassLabels(values=[0, 1, 0]), "columns": {"g": np.array(["u", "v", "u"])}} | changes)
        )

    base = parts().fingerprint
    assert base == parts().fingerprint
    others = [
        parts(labels=ClassLabels(values=[0, 1, 1])),
        parts(labels=ClassLabels(values=[0, 1, 0], names=["x", "y"])),
        parts(labels=None),
        parts(ids=[3, 4, 5]),
        parts(columns={}),
        parts(columns={"g": np.array(["u", "v", "v"])}),
        parts(columns={"h": np.array(["u", "v", "u"])}),
        parts().take([1, 0, 2]),
        parts().take([0, 1]),
    ]
    prints = [d.fingerprint for d in others]
    assert len({base, *prints}) == len(others) + 1
    assert parts().take([0, 1, 2]).fingerprint == base


def test_texts_are_told_apart_by_their_borders():
    def digest(texts: list[str]) -> str:
        hasher = hashlib.blake2b()
        Texts(texts).digest(hasher)
        return hasher.hexdigest()

    assert digest(["ab", "c"]) != digest(["a", "bc"])


def test_broken_rules():
    for changes, match in [
        ({"labels": ClassLabels(values=[0])}, "inputs has 6, labels has 1"),
        ({"columns": {"group": [1]}}, "column 'group' has 1"),
        ({"ids": ["a"] * 6}, "ids must be unique: 5 repeat an earlier one, first 'a' at row 1"),
        ({"ids": [1, 2]}, "ids has 2"),
    ]:
        with pytest.raises(InputError, match=match):
            example(**changes)
    data = example()
    for call, match in [
        (lambda: data.positions(["i9"]), "1 of 1 ids are not in the dataset, first 'i9'"),
        (lambda: data.take([9]), "Position 9 is outside the 6 examples"),
        (lambda: data.take([True, False]), r"must have shape \(6,\)"),
        (lambda: data.require_labels(MultiLabels), "needs multi-labels; the dataset has class-labels"),
        (lambda: data.with_labels(None).class_labels(), "has no labels. Name the label column"),
        (lambda: example(labels=ClassLabels(values=[1] * 6)).class_labels(), r"At least two classes must occur; the labels hold 1 \('1'\)"),
        (
            lambda: example(labels=ClassLabels(values=[0, 1, -1, 0, 0, 0])).class_labels(complete=True),
            "1 of 6 labels are unknown, first row 2",
        ),
        (lambda: example(columns={"weight": [1, 1, 1, 1, -1, 1]}).weights, "row 4 is -1"),
        (lambda: example(columns={"weight": [1, 1, np.nan, 1, 1, 1]}).weights, "first row 2"),
        (lambda: Texts(["a", None]), "row 1 is NoneType"),
    ]:
        with pytest.raises(InputError, match=match):
            call()


def test_datasets_are_values():
    data = example()
    for array in (data.ids, data.columns["group"], data.labels.values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]
    with pytest.raises(TypeError):
        data.columns["new"] = 1  # type: ignore[index]
    more = data.with_columns(weight=np.ones(6))
    assert "weight" not in data.columns
    assert more.weights.tolist() == [1] * 6
    assert data.weights.tolist() == [1] * 6
    assert "6 vectors, class-labels (2)" in repr(data)
    assert data.known.all()
    assert data.num_classes == 2
    assert not data.with_labels(None).known.any()
    assert example(labels=MultiLabels(values=[[-1, -1]] * 5 + [[1, -1]])).known.tolist() == [False] * 5 + [True]


def test_kinds_of_inputs():
    for inputs, kind in [(np.zeros((2, 3)), "vectors"), (torch.zeros(2, 3, 4, 4), "images"), (np.zeros((2, 3, 4)), "sequence")]:
        assert Dataset(inputs=inputs).kind == kind
    table = TableRows(pl.DataFrame({"x": [1, 2], "w": ["a", None]}))
    assert table[1] == {"x": 2, "w": None}
    assert table.take(np.array([1, 0]))[1] == {"x": 1, "w": "a"}


def test_images_keep_orientation_and_modes(tmp_path: Path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown after a quarter turn clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    image.convert("RGBA").save(tmp_path / "alpha.png")
    image.convert("1").save(tmp_path / "bits.png")
    Image.fromarray(pixels / np.float32(24)).save(tmp_path / "float.tiff")
    files = ["turned.png", "alpha.png", "bits.png", "float.tiff"]
    images = Images([tmp_path / f for f in files])
    np.testing.assert_array_equal(images[0][0], np.rot90(pixels, -1))
    np.testing.assert_array_equal(images[1], np.repeat(pixels[None], 3, axis=0))
    assert set(np.unique(images[2])) <= {0, 255}
    np.testing.assert_allclose(images[3][0], pixels / 24 * 255, atol=0.5001)
    assert images.names == files
    assert images.header(0) == (6, 4, "L")
    same = Images([images.encoded(i) for i in range(4)], names=files)
    assert Dataset(inputs=same).fingerprint == Dataset(inputs=images).fingerprint
