"""Readers: what is written is read, by each format; which column is what; built-in and real layouts."""

from __future__ import annotations

import gzip
import io
import json
import struct
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from labelwright.data import load
from labelwright.data.formats.tabular import typed
from labelwright.errors import InputError
from labelwright.labels import Boxes, Captions, ClassLabels, Masks, MultiLabels, SoftLabels, Targets, Votes

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_built_in_data():
    digits = load("digits")
    assert digits.inputs.shape == (1797, 1, 8, 8)
    assert (digits.inputs.min(), digits.inputs.max()) == (0, 1)
    # counts as the UCI documentation of the test part gives them
    assert digits.class_labels().counts().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.ids[:3].tolist() == [0, 1, 2]
    wine = load("wine")
    assert wine.inputs.shape == (178, 13)
    assert wine.info.feature_names[0] == "alcohol"
    assert wine.class_labels().counts().tolist() == [59, 71, 48]
    cancer = load("breast-cancer")
    assert cancer.class_labels().names == ("malignant", "benign")
    assert cancer.class_labels().counts().tolist() == [212, 357]
    with pytest.raises(InputError, match=r"neither a file nor a built-in dataset .* Did you mean 'digits'"):
        load("digit")
    with pytest.raises(InputError, match="labels= has no effect on digits"):
        load("digits", labels="y")


def test_image_folder(tmp_path: Path):
    for i, name in enumerate(["cat/1.png", "cat/2.jpg", "dog/deep/3.png", "dog/b.PNG"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[i]).save(tmp_path / name)
    write(tmp_path / "cat" / "notes.txt", "not an image")
    write(tmp_path / ".hidden" / "x.png", "")
    data = load(tmp_path)
    assert data.ids.tolist() == ["cat/1.png", "cat/2.jpg", "dog/b.PNG", "dog/deep/3.png"]
    assert data.class_labels().words().tolist() == ["cat", "cat", "dog", "dog"]
    np.testing.assert_array_equal(data.inputs[3], PIXELS[2].transpose(2, 0, 1))
    assert load(tmp_path, names=["dog", "cat"]).class_labels().values.tolist() == [1, 1, 0, 0]
    flat = load(tmp_path / "cat")
    assert flat.labels is None
    assert len(flat) == 2


def test_image_folder_with_splits(tmp_path: Path):
    for name in ["train/a/1.png", "train/b/1.png", "test/a/1.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[0]).save(tmp_path / name)
    data = load(tmp_path)
    assert data.columns["split"].tolist() == ["test", "train", "train"]
    assert load(tmp_path, split="train").ids.tolist() == ["train/a/1.png", "train/b/1.png"]
    with pytest.raises(InputError, match="split must be one of 'test', 'train'; got 'val'"):
        load(tmp_path, split="val")


def test_csv_becomes_a_table(tmp_path: Path):
    text = "id,age,colour,day,flag,split,weight,label\n7,31,red,2024-01-05,true,train,1,yes\n9,NA,blue,2024-02-05,false,test,0.5,no\n8,40.5,red,,true,train,2,\n"
    data = load(write(tmp_path / "people.csv", text))
    assert data.kind == "table"
    assert data.ids.tolist() == [7, 9, 8]
    frame = data.inputs.frame
    assert frame.schema == {"age": pl.Float64, "colour": pl.String, "day": pl.Date, "flag": pl.Boolean}
    assert frame["age"].to_list() == [31, None, 40.5]
    assert data.class_labels(complete=False).words().tolist() == ["yes", "no", None]
    assert data.weights.tolist() == [1, 0.5, 2]
    assert data.columns["split"].tolist() == ["train", "test", "train"]
    assert load(tmp_path / "people.csv", split="test").ids.tolist() == [9]
    assert data.info.feature_names == ("age", "colour", "day", "flag")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("packed", [False, True])
def test_separators_and_compression(tmp_path: Path, separator: str, packed: bool):
    text = "\ufeff" + "\n".join(separator.join(row) for row in [("a", "b", "y"), ("1", '"x, ""y""; z"', "p"), ("2", "w", "q")])
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    data = load(path)
    assert data.inputs[0] == {"a": 1, "b": 'x, "y"; z'}
    assert data.class_labels().names == ("p", "q")


def test_which_column_is_the_label(tmp_path: Path):
    path = write(tmp_path / "t.csv", "a,b,target,label,noisy\n1,2,5,x,u\n2,3,6,y,v\n")
    data = load(path)
    assert data.info.label_name == "label"
    assert data.inputs.frame.columns == ["a", "b", "noisy"]  # target is a label name: never an input
    other = load(path, labels="noisy")
    assert other.class_labels().names == ("u", "v")
    assert other.inputs.frame.columns == ["a", "b"]
    assert set(other.columns) == {"target", "label"}
    assert load(path, labels="noisy", inputs="b").inputs.frame.columns == ["b"]
    assert load(path, inputs="a,b").inputs.frame.columns == ["a", "b"]
    assert load(path, ids="b", labels="label").ids.tolist() == [2, 3]
    with pytest.raises(InputError, match=r"label column 'lable' is not in t.csv. Did you mean 'label'\? There are: a, b, target"):
        load(path, labels="lable")
    with pytest.raises(InputError, match="cannot be both label and input"):
        load(path, labels="a", inputs="a")
    nothing = load(write(tmp_path / "u.csv", "a,b\n1,2\n"))
    assert nothing.labels is None
    with pytest.raises(InputError, match="--labels COLUMN"):
        nothing.class_labels()


def test_which_column_is_text(tmp_path: Path):
    prose = "this is a sentence of more than eight words indeed"
    assert load(write(tmp_path / "a.csv", f"count,body,y\n1,{prose},a\n2,{prose},b\n")).kind == "texts"
    names = load(write(tmp_path / "b.csv", "name,age,y\nmr john smith,1,a\nms jane doe miller,2,b\n"))
    assert names.kind == "table"  # four words beside other columns are a name, not prose
    assert load(write(tmp_path / "c.csv", "remark,y\nall was very well,a\nnot so well then,b\n")).kind == "texts"
    assert load(write(tmp_path / "d.csv", "text,y\nok,a\nno,b\n")).kind == "texts"
    with pytest.raises(InputError, match=r"several columns of text \(q, a\)"):
        load(write(tmp_path / "e.csv", f"q,a,y\n{prose},{prose},x\n"))
    chosen = load(tmp_path / "e.csv", inputs="a")
    assert (chosen.kind, chosen.inputs[0], list(chosen.columns)) == ("texts", prose, ["q"])


def test_csv_with_image_paths(tmp_path: Path):
    (tmp_path / "img").mkdir()
    for i in range(3):
        Image.fromarray(PIXELS[i]).save(tmp_path / "img" / f"{i}.png")
    data = load(write(tmp_path / "t.csv", "file,label,camera\nimg/2.png,a,x\nimg/0.png,b,y\n"))
    assert data.kind == "images"
    np.testing.assert_array_equal(data.inputs[0], PIXELS[2].transpose(2, 0, 1))
    assert data.columns["camera"].tolist() == ["x", "y"]
    with pytest.raises(InputError, match=r"row 1 \('img/9.png'\) is none"):
        load(write(tmp_path / "u.csv", "file,label\nimg/2.png,a\nimg/9.png,b\n"))
    # a folder described by metadata.csv
    write(tmp_path / "img" / "metadata.csv", "file_name,label\n1.png,z\n0.png,w\n")
    np.testing.assert_array_equal(load(tmp_path / "img").inputs[0], PIXELS[1].transpose(2, 0, 1))


def test_jsonl(tmp_path: Path):
    rows = [{"text": "ein Käse", "label": "good"}, {"text": None, "label": None, "more": 3}]
    path = write(tmp_path / "t.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    data = load(path)
    assert [data.inputs[i] for i in range(2)] == ["ein Käse", ""]
    assert data.known.tolist() == [True, False]
    packed = tmp_path / "t.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert load(packed).fingerprint == data.fingerprint


def hf_parquet(path: Path, columns: dict, features: dict) -> Path:
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(columns).replace_schema_metadata(meta), path)
    return path


def test_hugging_face_parquet(tmp_path: Path):
    images = [{"bytes": png(p), "path": f"{i}.png"} for i, p in enumerate(PIXELS)]
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog", "cow"], "_type": "ClassLabel"}}
    path = hf_parquet(tmp_path / "t.parquet", {"image": images, "label": [0, 1, 1, 0, -1, 0], "site": list("uuvvww")}, features)
    data = load(path)
    assert data.class_labels().names == ("cat", "dog", "cow")
    assert data.class_labels().words().tolist() == ["cat", "dog", "dog", "cat", None, "cat"]  # -1 is how they write a missing label
    np.testing.assert_array_equal(data.inputs[5], PIXELS[5].transpose(2, 0, 1))
    assert data.inputs.names[5] == "5.png"
    assert data.columns["site"].tolist() == list("uuvvww")
    assert data.inputs.take(np.array([5])).names == ["5.png"]


def test_labels_of_other_kinds_from_parquet(tmp_path: Path):
    mask = np.array([[0, 255], [255, 255]], dtype=np.uint8)
    columns = {
        "image": [{"bytes": png(PIXELS[0]), "path": None}] * 3,
        "topics": [["b", "a"], [], None],
        "boxes": [[[0.0, 0.0, 4.0, 2.0]], [], [[1.0, 1.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]]],
        "category": [[1], [], [0, 1]],
        "captions": [["x", "y"], None, ["z"]],
        "mask": [{"bytes": png(mask), "path": None}, {"bytes": None, "path": None}, {"bytes": png(mask), "path": None}],
        "score": [0.5, None, 2.0],
        "t1": [1.0, None, 0.0],
        "t2": [0, 1, 1],
    }
    path = hf_parquet(tmp_path / "t.parquet", columns, {"image": {"_type": "Image"}, "mask": {"_type": "Image"}})
    topics = load(path, labels="topics").require_labels(MultiLabels)
    assert topics.names == ("a", "b")
    assert topics.values.tolist() == [[1, 1], [0, 0], [-1, -1]]
    boxes = load(path, labels="boxes").require_labels(Boxes)
    assert boxes.boxes.tolist() == [[2, 1, 4, 2, 0], [2, 2, 2, 2, 0], [0.5, 0.5, 1, 1, 0]]
    assert boxes.classes.tolist() == [1, 0, 1]
    assert boxes.offsets.tolist() == [0, 1, 1, 3]
    captions = load(path, labels="captions").require_labels(Captions)
    assert captions.texts.tolist() == ["x", "y", "z"]
    assert captions.known.tolist() == [True, False, True]
    masks = load(path, labels="mask").require_labels(Masks)
    assert masks.masks[0].tolist() == [[0, 1], [1, 1]]
    assert masks.known.tolist() == [True, False, True]
    targets = load(path, labels="score").require_labels(Targets)
    assert targets.values[:, 0].tolist()[::2] == [0.5, 2.0]
    assert load(path, labels=["t1", "t2"]).require_labels(MultiLabels).values.tolist() == [[1, 0], [-1, 1], [0, 1]]
    assert load(path, labels="t1,score").require_labels(Targets).names == ("t1", "score")


def test_several_columns_of_votes(tmp_path: Path):
    path = write(tmp_path / "t.csv", "text,ann,bob,x,y\na,cat,,3,0\nb,dog,cat,,2\n")
    votes = load(path, labels="ann,bob").require_labels(Votes)
    assert votes.names == ("cat", "dog")
    assert votes.annotators == ("ann", "bob")
    assert votes.values.tolist() == [[0, -1], [1, 0]]
    assert load(path, labels=["x", "y"]).require_labels(Votes).counts().tolist() == [[1, 0, 0, 1], [0, 0, 1, 0]]
    with pytest.raises(InputError, match="must all hold numbers or all words; 'ann'"):
        load(path, labels="x,ann")


def test_npz(tmp_path: Path):
    x = RNG.random((5, 3))
    np.savez(
        tmp_path / "a.npz",
        x=x,
        y=np.array([0, 2, 1, -1, 0]),
        ids=np.array(list("abcde")),
        group=np.arange(5),
        classes=np.array(["u", "v", "w"]),
    )
    data = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(data.inputs, x)
    assert data.class_labels().words().tolist() == ["u", "w", "v", None, "u"]
    assert data.ids.tolist() == list("abcde")
    assert data.columns["group"].tolist() == [0, 1, 2, 3, 4]
    # the layout of Keras: channels last, parts by name
    np.savez(
        tmp_path / "b.npz",
        x_train=np.zeros((2, 8, 8, 3), np.uint8),
        y_train=np.array([[1], [0]]),
        x_test=np.ones((1, 8, 8, 3), np.uint8),
        y_test=[[1]],
    )
    keras = load(tmp_path / "b.npz")
    assert keras.inputs.shape == (3, 3, 8, 8)
    assert keras.class_labels().values.tolist() == [1, 0, 1]
    assert load(tmp_path / "b.npz", split="test").inputs.max() == 1
    np.savez(tmp_path / "c.npz", images=np.zeros((2, 28, 28), np.uint8), labels=np.array([[0.25, 0.75], [1, 0]]))
    soft = load(tmp_path / "c.npz")
    assert soft.inputs.shape == (2, 1, 28, 28)
    assert soft.require_labels(SoftLabels).values.tolist() == [[0.25, 0.75], [1, 0]]
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 3, 8, 3), np.uint8))
    with pytest.raises(InputError, match="either axis 1 or the last may be the channels"):
        load(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", pixels=np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"has no array called x, inputs.*; it has pixels"):
        load(tmp_path / "e.npz")
    assert len(load(tmp_path / "e.npz", inputs="pixels")) == 2
    np.savez(tmp_path / "f.npz", x=np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="holds Python objects"):
        load(tmp_path / "f.npz")


@pytest.mark.parametrize("packed", [False, True])
def test_idx(tmp_path: Path, packed: bool):
    pixels, labels = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8), np.array([2, 0, 1], np.uint8)

    def put(name: str, array: np.ndarray) -> Path:
        raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
        path = tmp_path / (name + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(raw) if packed else raw)
        return path

    images = put("train-images-idx3-ubyte", pixels)
    marks = put("train-labels-idx1-ubyte", labels)
    data = load(images)
    np.testing.assert_array_equal(data.inputs[:, 0], pixels)
    assert data.class_labels().values.tolist() == [2, 0, 1]
    with pytest.raises(InputError, match="holds labels, not images"):
        load(marks)
    put("train-labels-idx1-ubyte", labels[:2])
    with pytest.raises(InputError, match=r"has 3 images, .* 2 labels"):
        load(images)
    marks.unlink()
    assert load(images).labels is None


def test_coco(tmp_path: Path):
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png")
    Image.fromarray(PIXELS[1]).save(tmp_path / "b.png")
    content = {
        "images": [{"id": 10, "file_name": "a.png"}, {"id": 4, "file_name": "b.png"}],
        "categories": [{"id": 3, "name": "cell"}, {"id": 1, "name": "platelet"}],
        "annotations": [
            {"image_id": 4, "category_id": 1, "bbox": [0, 0, 2, 4]},
            {"image_id": 10, "category_id": 3, "bbox": [1, 1, 2, 2]},
            {"image_id": 4, "category_id": 3, "bbox": [0, 0, 1, 1], "iscrowd": 1},
            {"image_id": 4, "category_id": 3, "bbox": [0, 0, 0, 1]},
        ],
    }
    path = write(tmp_path / "annotations.json", json.dumps(content))
    data = load(path)
    labels = data.require_labels(Boxes)
    assert data.ids.tolist() == [10, 4]
    assert labels.names == ("cell", "platelet")
    assert labels.boxes.tolist() == [[2, 2, 2, 2, 0], [1, 2, 2, 4, 0]]
    assert labels.classes.tolist() == [0, 1]
    assert data.info.extra["notes"] == ["1 boxes without width or height were left out"]
    np.testing.assert_array_equal(data.inputs[1], PIXELS[1].transpose(2, 0, 1))
    (tmp_path / "b.png").unlink()
    with pytest.raises(InputError, match=r"1 of 2 images of annotations.json are missing .* first 'b.png'"):
        load(path)
    (tmp_path / "a.png").unlink()
    hf_parquet(
        tmp_path / "images.parquet", {"image": [{"bytes": png(PIXELS[i]), "path": f"x/{n}.png"} for i, n in [(3, "b"), (2, "a")]]}, {}
    )
    np.testing.assert_array_equal(load(path).inputs[0], PIXELS[2].transpose(2, 0, 1))
    with pytest.raises(InputError, match="is not COCO JSON"):
        load(write(tmp_path / "rows.json", "[1]"))


WORDS = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6).map(str.strip).filter(lambda w: w and not w.isascii())
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-(10**9), 10**9), st.floats(-1e6, 1e6), WORDS, st.sampled_from(["ja", "nein"])), min_size=1, max_size=12
    ),
    st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]),
)
def test_the_same_table_from_every_format(tmp_path_factory, rows, suffix):
    frame = pl.DataFrame(rows, schema={"n": pl.Int64, "x": pl.Float64, "w": pl.String, "label": pl.String}, orient="row")
    path = tmp_path_factory.mktemp("t") / f"t{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(path)
    elif suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_csv(path, separator="," if suffix == ".csv" else "\t")
    data = load(path)
    assert data.inputs.frame["n"].to_list() == frame["n"].to_list()
    np.testing.assert_array_equal(data.inputs.frame["x"].cast(pl.Float64).to_numpy(), frame["x"].to_numpy())
    assert data.inputs.frame["w"].to_list() == frame["w"].to_list()
    assert data.require_labels(ClassLabels).words().tolist() == frame["label"].to_list()


def test_types_are_told_from_all_rows():
    frame = pl.DataFrame({"late": ["1"] * 5000 + ["x"], "code": ["007", "008"] * 2500 + ["009"], "missing": ["?", "3", " 4 "] * 1667})
    made = typed(frame)
    assert made.schema == {"late": pl.String, "code": pl.String, "missing": pl.Int64}
    assert made["missing"].head(3).to_list() == [None, 3, 4]
    assert typed(pl.DataFrame({"label": ["None", "NA", ""]}))["label"].to_list() == ["None", "NA", None]


def test_pandas_index_is_no_input(tmp_path: Path):
    data = load(write(tmp_path / "t.csv", ",a,y\n0,5,u\n1,6,v\n"))
    assert data.inputs.frame.columns == ["a"]
    assert data.info.extra["notes"] == ["column '' only counts the rows and was left out"]
