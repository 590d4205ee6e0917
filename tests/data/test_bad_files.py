"""Damaged and misnamed files: one line each, with the place and the mend."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from labelwright.data import load
from labelwright.data.formats import tabular
from labelwright.errors import InputError

GOOD = "a,b,label\n" + "".join(f"{i},{i * i},{'xy'[i % 2]}\n" for i in range(200))


def expect_refusal(path: Path, match: str, **options) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)


def test_missing_paths(tmp_path: Path):
    (tmp_path / "train.csv").write_text(GOOD)
    expect_refusal(tmp_path / "trian.csv", "does not exist: .* Did you mean 'train.csv'")
    expect_refusal(tmp_path / "no" / "where.csv", "has no 'no'")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.npz", "t.json", "t-images-idx3-ubyte"])
def test_empty_files(tmp_path: Path, name: str):
    (tmp_path / name).touch()
    expect_refusal(tmp_path / name, r"is empty \(0 bytes\)")


def test_files_without_rows(tmp_path: Path):
    (tmp_path / "head.csv").write_text("a,label\n")
    expect_refusal(tmp_path / "head.csv", "head.csv has columns but no rows")
    (tmp_path / "blank.csv").write_text("\n \n")
    expect_refusal(tmp_path / "blank.csv", "holds no rows")
    (tmp_path / "blank.jsonl").write_text("\n\n")
    expect_refusal(tmp_path / "blank.jsonl", "holds no rows")
    pl.DataFrame({"a": [], "label": []}).write_parquet(tmp_path / "none.parquet")
    expect_refusal(tmp_path / "none.parquet", "no rows")


@pytest.mark.parametrize("packed", [False, True])
def test_not_utf8(tmp_path: Path, packed: bool):
    raw = GOOD.encode() + "7,8,caf\xe9\n".encode("latin-1") + GOOD.encode()[10:]
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    offset = raw.index(b"\xe9")
    expect_refusal(path, rf"byte 0xe9 at offset {offset:,} \(line 202\) is not UTF-8 .*iconv")
    (tmp_path / "wide.csv").write_bytes(GOOD.encode("utf-16"))
    expect_refusal(tmp_path / "wide.csv", "it is UTF-16")
    lines = b'{"text": "ok", "label": "a"}\n{"text": "caf\xe9", "label": "a"}\n'
    (tmp_path / "t.jsonl").write_bytes(lines)
    expect_refusal(tmp_path / "t.jsonl", rf"offset {lines.index(0xE9)} \(line 2\)")


def test_the_place_is_right_across_blocks(tmp_path: Path, monkeypatch):
    """Multi-byte characters on the border of two blocks are no errors; the line count goes on."""
    monkeypatch.setattr(tabular, "BLOCK", 7)
    text = "käse,label\n" * 30
    (tmp_path / "t.csv").write_bytes(text.encode())
    assert tabular.not_utf8(tmp_path / "t.csv") is None
    (tmp_path / "t.csv").write_bytes(text.encode() + b"k\xff")
    assert "offset 361 (line 31)" in (tabular.not_utf8(tmp_path / "t.csv") or "")
    (tmp_path / "t.csv").write_bytes(text.encode() + b"k\xc3")
    assert "offset 361 (line 31), the last of the file, is cut off" in (tabular.not_utf8(tmp_path / "t.csv") or "")


@pytest.mark.parametrize(("row", "fields"), [("1,2", 2), ("1,2,x,4", 4)])
def test_ragged_rows(tmp_path: Path, row: str, fields: int):
    (tmp_path / "t.csv").write_text(GOOD + row + "\n" + GOOD[10:])
    expect_refusal(tmp_path / "t.csv", f"line 202 has {fields} fields, the header has 3")


def test_quotes_that_do_not_pair(tmp_path: Path):
    text = "a,b,label\n" + '1,"x"y,u\n2,"z,v\n' * 3 + "".join(f"{i},w,u\n" for i in range(50))
    (tmp_path / "t.csv").write_text(text)
    expect_refusal(tmp_path / "t.csv", "cannot be read as CSV")
    (tmp_path / "t.tsv").write_text(text.replace(",", "\t"))
    data = load(tmp_path / "t.tsv")
    assert len(data) == 56
    assert data.inputs.frame["b"][:2].to_list() == ['"x"y', '"z']


def test_broken_json_lines(tmp_path: Path):
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "b", "label": \n')
    expect_refusal(tmp_path / "t.jsonl", "line 2: Expecting value")
    (tmp_path / "u.jsonl").write_text('{"text": "a"}\n[1, 2]\n')
    expect_refusal(tmp_path / "u.jsonl", "line 2 holds a list, not an object")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_truncated_binaries(tmp_path: Path, keep: float):
    pl.DataFrame({"x": np.arange(500), "label": ["a", "b"] * 250}).write_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", x=np.random.default_rng(0).random((50, 3)), y=np.arange(50) % 2)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(GOOD.encode()))
    idx = bytes([0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(80)
    (tmp_path / "x-images-idx3-ubyte").write_bytes(idx)
    for name, match in [
        ("t.parquet", "cannot be read as Parquet"),
        ("t.npz", "cannot be read as NPZ"),
        ("t.csv.gz", "is not a complete gzip file"),
        ("x-images-idx3-ubyte", "idx"),
    ]:
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
        expect_refusal(path, match)


def test_wrong_contents(tmp_path: Path):
    (tmp_path / "t.parquet").write_text(GOOD)
    expect_refusal(tmp_path / "t.parquet", "cannot be read as Parquet")
    (tmp_path / "t.npz").write_text(GOOD)
    expect_refusal(tmp_path / "t.npz", "NPZ")
    (tmp_path / "t.csv.gz").write_text(GOOD)
    expect_refusal(tmp_path / "t.csv.gz", "gzip")
    (tmp_path / "t.json").write_text("{")
    expect_refusal(tmp_path / "t.json", "is not valid JSON")
    (tmp_path / "t.xlsx").write_text("x")
    expect_refusal(tmp_path / "t.xlsx", "No reader for 't.xlsx'. Known are")
    np.save(tmp_path / "t.npy", np.arange(3))
    expect_refusal(tmp_path / "t.npy", "holds one array")
    (tmp_path / "x-images-idx3-ubyte").write_text("text")
    expect_refusal(tmp_path / "x-images-idx3-ubyte", "not an IDX file")


def test_folders_without_images(tmp_path: Path):
    expect_refusal(tmp_path, "holds no image. It is empty")
    (tmp_path / "notes.md").write_text("x")
    expect_refusal(tmp_path, "holds no image. It holds .md files")
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    expect_refusal(tmp_path, "Class folder .*dog holds no image")


def test_unreadable_images_are_named_when_used(tmp_path: Path):
    for i, content in enumerate([b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 20]):
        (tmp_path / "cat").mkdir(exist_ok=True)
        (tmp_path / "cat" / "x.png").write_bytes(content)
        data = load(tmp_path)
        with pytest.raises(InputError, match=r"Image 0 \(.*cat/x.png\) cannot be read") as caught:
            data.inputs[0]
        assert "\n" not in str(caught.value), i
    (tmp_path / "cat" / "x.png").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        data.inputs[0]
    with pytest.raises(InputError, match="Was it moved"):
        _ = data.fingerprint


def test_labels_and_ids_that_do_not_do(tmp_path: Path):
    (tmp_path / "t.csv").write_text("id,a,label\n1,2,x\n1,3,y\n")
    expect_refusal(tmp_path / "t.csv", r"ids \(column 'id' of t.csv\) must be unique: 1 repeat an earlier one, first 1 at row 1")
    (tmp_path / "t.csv").write_text("id,a,label\n1,2,x\n,3,y\n")
    expect_refusal(tmp_path / "t.csv", "row 1 has none")
    (tmp_path / "t.csv").write_text("a,label\n2,\n3,\n")
    expect_refusal(tmp_path / "t.csv", "Label column 'label' is empty in every row")
    (tmp_path / "t.csv").write_text("a,label\n2,x\n3,y\n")
    expect_refusal(tmp_path / "t.csv", "label 'y'.*is not one of the 2 classes", names=["x", "z"])
    expect_refusal(tmp_path / "t.csv", "column 'split' is not in t.csv", split="train")
    (tmp_path / "t.csv").write_text("label\nx\ny\n")
    expect_refusal(tmp_path / "t.csv", "no column left for the inputs")
