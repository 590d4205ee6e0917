"""Datasets from and to other libraries: nothing is lost, nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from labelwright.data import Dataset, Images, Texts, fit_featuriser, from_arrays, from_frame, from_huggingface, from_torch, load, to_torch
from labelwright.errors import InputError
from labelwright.labels import Boxes, ClassLabels, MultiLabels, SoftLabels, Targets

RNG = np.random.default_rng(0)


def test_arrays():
    x = RNG.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    data = from_arrays(x, [0, 1, -1, 1], layout="NHWC", names=["a", "b"], ids=list("wxyz"), columns={"group": [0, 0, 1, 1]})
    np.testing.assert_array_equal(data.inputs, x.transpose(0, 3, 1, 2))
    assert data.class_labels().words().tolist() == ["a", "b", None, "b"]
    assert data.ids.tolist() == list("wxyz")
    torch.testing.assert_close(from_arrays(torch.from_numpy(x), layout="NHWC").inputs, torch.from_numpy(x).permute(0, 3, 1, 2))
    assert from_arrays(x[..., 0]).inputs.shape == (4, 1, 6, 5)
    assert from_arrays(torch.from_numpy(x[..., 0])).inputs.shape == (4, 1, 6, 5)
    assert from_arrays(RNG.random((4, 6, 5))).kind == "sequence"
    assert from_arrays(["a", "b"], ["u", "v"]).kind == "texts"
    for labels, kind in [
        (np.array([[1, 0], [0, -1]]), MultiLabels),
        (np.array([[0.5, 0.5], [1, 0]]), SoftLabels),
        (np.array([0.5, 1.5]), Targets),
        (np.array([[0.5, 3.0], [np.nan, 1]]), Targets),
        (torch.tensor([0, 1]), ClassLabels),
        (np.array([True, False]), ClassLabels),
        (ClassLabels(values=[0, 1]), ClassLabels),
    ]:
        assert type(from_arrays(np.eye(2), labels).labels) is kind
    for make, match in [
        (lambda: from_arrays(np.eye(2), [0, 1], layout="HWC"), "layout must be one of"),
        (lambda: from_arrays(np.eye(2), layout="NHWC"), "has no effect on inputs of shape"),
        (lambda: from_arrays(np.eye(2), [0, 1, 1]), "inputs has 2, labels has 3"),
        (lambda: from_arrays(np.eye(2), [0, 5], names=["a", "b"]), "array|labels must lie in 0..1"),
        (lambda: from_arrays(np.eye(2), names=["a"]), "names= has no effect"),
        (lambda: from_arrays(np.eye(2), [0, 1], ids=["a", "a"]), "ids must be unique: 1 repeat an earlier one, first 'a' at row 1"),
        (lambda: from_arrays(np.array(["a"])), "must be numbers"),
        (lambda: from_arrays(np.eye(2), np.array([[0, 2], [1, 1]])), "row 0, column 1 is 2"),
        (lambda: from_arrays(np.eye(2), np.array([{}, {}])), "of no known kind"),
    ]:
        with pytest.raises(InputError, match=match):
            make()


def test_frames(tmp_path: Path):
    pd = pytest.importorskip("pandas")
    columns = {"x": [1.5, None, 3.0], "word": ["a", None, "b"], "label": ["u", "v", "u"]}
    polars, pandas = from_frame(pl.DataFrame(columns)), from_frame(pd.DataFrame(columns, index=[5, 6, 7]))
    for data in (polars, pandas):
        assert data.inputs.frame["x"].to_list() == [1.5, None, 3.0]
        assert data.inputs.frame["word"].to_list() == ["a", None, "b"]
        assert data.class_labels().words().tolist() == ["u", "v", "u"]
    Image.new("L", (3, 2)).save(tmp_path / "a.png")
    assert from_frame(pl.DataFrame({"file": ["a.png"]}), base=tmp_path).inputs[0].shape == (1, 2, 3)
    categories = pd.DataFrame({"c": pd.Categorical(["u", "v", "u"]), "label": pd.Categorical(["n", "m", "n"])})
    assert from_frame(categories).class_labels().names == ("m", "n")
    with pytest.raises(InputError, match="Expected a Polars or pandas DataFrame; got dict"):
        from_frame(columns)
    with pytest.raises(InputError, match="cannot be read"):
        from_frame(pd.DataFrame({"x": [1, "a", None]}))


class Pairs(torch.utils.data.Dataset):
    def __init__(self, xs, ys, classes=None):
        self.xs, self.ys = xs, ys
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.xs)

    def __getitem__(self, i):
        return self.xs[i], self.ys[i]


def test_torch_there_and_back():
    x = torch.rand(5, 3, 4, 4)
    data = from_torch(Pairs(x, [0, 1, 0, 1, 1], classes=["cat", "dog"]))
    assert data.kind == "images"
    assert data.class_labels().names == ("cat", "dog")
    back = to_torch(data)
    assert len(back) == 5
    assert back.classes == ["cat", "dog"]
    for i in range(5):
        torch.testing.assert_close(back[i][0], x[i])
        assert int(back[i][1]) == [0, 1, 0, 1, 1][i]
    batch = next(iter(torch.utils.data.DataLoader(back, batch_size=5)))
    assert batch[0].shape == (5, 3, 4, 4)
    again = from_torch(back)
    np.testing.assert_array_equal(again.inputs, data.inputs)
    assert again.labels == data.labels
    images = [Image.fromarray(RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)) for _ in range(3)]
    pictures = from_torch(Pairs(images, torch.tensor([0, 1, 1])))
    np.testing.assert_array_equal(pictures.inputs[2], np.asarray(images[2]).transpose(2, 0, 1))
    assert from_torch(Pairs(["a b", "c"], [0, 1])).kind == "texts"
    for bad, match in [
        (Pairs([], []), "is empty"),
        (torch.rand(3, 2), "Item 0 must be a pair"),
        (iter([1]), "map-style"),
        (Pairs([torch.zeros(2), torch.zeros(3)], [0, 1]), "2 shapes"),
    ]:
        with pytest.raises(InputError, match=match):
            from_torch(bad)


def test_to_torch_of_other_inputs():
    texts = Dataset(inputs=Texts(["a b c", "d e f"]), labels=ClassLabels(values=[1, -1], names=["x", "y"]))
    assert [(x, int(y)) for x, y in (to_torch(texts)[i] for i in range(2))] == [("a b c", 1), ("d e f", -1)]
    featuriser = fit_featuriser(texts, seed=0)
    torch.testing.assert_close(to_torch(texts, featuriser=featuriser)[1][0], featuriser.transform(texts)[1])
    assert to_torch(Dataset(inputs=np.eye(2)))[0].tolist() == [1, 0]
    boxes = Boxes(boxes=[[1, 1, 1, 1, 0]], classes=[0], offsets=[0, 1])
    with pytest.raises(InputError, match="boxes have no fixed size"):
        to_torch(Dataset(inputs=np.zeros((1, 1)), labels=boxes))


def test_hugging_face(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    pixels = [RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8) for _ in range(4)]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"]), "site": datasets.Value("string")}
    )
    rows = {"image": [Image.fromarray(p) for p in pixels], "label": [0, 1, 1, 0], "site": list("uuvv")}
    made = datasets.Dataset.from_dict(rows, features=features)
    data = from_huggingface(made)
    assert isinstance(data.inputs, Images)
    np.testing.assert_array_equal(data.inputs[3], pixels[3].transpose(2, 0, 1))
    assert data.class_labels().words().tolist() == ["cat", "dog", "dog", "cat"]
    assert data.columns["site"].tolist() == list("uuvv")
    # a selection is an index mapping there; it must be honoured
    chosen = from_huggingface(made.select([2, 0]))
    assert chosen.class_labels().words().tolist() == ["dog", "cat"]
    parts = datasets.DatasetDict({"train": made.select([0, 1, 2]), "test": made.select([3])})
    parts.save_to_disk(str(tmp_path / "saved"))
    both = load(f"hf:{tmp_path / 'saved'}")
    assert both.columns["split"].tolist() == ["train", "train", "train", "test"]
    np.testing.assert_array_equal(both.inputs[3], pixels[3].transpose(2, 0, 1))
    assert len(load(f"hf:{tmp_path / 'saved'}", split="test")) == 1
    with pytest.raises(InputError, match=r"split 'tset' is not in .* Did you mean 'test'"):
        load(f"hf:{tmp_path / 'saved'}", split="tset")
    with pytest.raises(InputError, match=r"label column 'lable' .* Did you mean 'label'"):
        load(f"hf:{tmp_path / 'saved'}", labels="lable")
    many = datasets.Dataset.from_dict(
        {"text": ["one two three", "four"], "tags": [["a"], ["b", "a"]]},
        features=datasets.Features({"text": datasets.Value("string"), "tags": datasets.List(datasets.ClassLabel(names=["a", "b", "c"]))}),
    )
    tags = from_huggingface(many, labels="tags").require_labels(MultiLabels)
    assert tags.names == ("a", "b", "c")
    assert tags.values.tolist() == [[1, 0, 0], [1, 1, 0]]
    with pytest.raises(InputError, match=r"Expected a datasets.Dataset"):
        from_huggingface([1])
    with pytest.raises(InputError, match="not of the form hf:owner/name"):
        load("hf:a/b/c")


def test_the_missing_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"needs the package 'datasets'. Install it with: pip install 'labelwright\[hf\]'"):
        load("hf:owner/name")
