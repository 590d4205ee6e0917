"""Streams: all documents once and in order, whatever the format and batch size; memory bounded; damage located."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from labelwright.data import blocks, stream
from labelwright.errors import InputError

zstandard = pytest.importorskip("zstandard")
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=12)
PACK = {"": lambda raw: raw, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


def write(path: Path, texts: list[str | None], more: bool = False) -> Path:
    rows = [{"text": t, **({"n": i} if more else {})} for i, t in enumerate(texts)]
    suffix = "".join(path.suffixes)
    if suffix == ".parquet":
        pl.DataFrame(rows, schema={"text": pl.String, **({"n": pl.Int64} if more else {})}).write_parquet(path, row_group_size=3)
    else:
        raw = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()
        path.write_bytes(PACK[suffix.removeprefix(".jsonl")](raw))
    return path


@settings(max_examples=40, deadline=None)
@given(TEXTS, st.integers(1, 5), st.sampled_from([".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"]))
def test_every_document_once(tmp_path_factory, texts, size, suffix):
    folder = tmp_path_factory.mktemp("s")
    path = write(folder / f"a{suffix}", texts, more=True)
    batches = list(stream([path, path], batch_size=size, columns=["n"]))
    assert [len(b) for b in batches[:-1]] == [size] * (len(batches) - 1)
    assert [b.inputs[i] for b in batches for i in range(len(b))] == texts * 2
    assert np.concatenate([b.ids for b in batches]).tolist() == list(range(2 * len(texts)))
    assert np.concatenate([b.columns["row"] for b in batches]).tolist() == list(range(len(texts))) * 2
    assert np.concatenate([b.columns["n"] for b in batches]).tolist() == list(range(len(texts))) * 2
    assert {f for b in batches for f in b.columns["file"]} == {path.name}


def test_folders_of_shards(tmp_path: Path):
    write(tmp_path / "b.jsonl", ["three", None])
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\n\ntwo\r\n"))
    write(tmp_path / "sub" / "c.parquet", ["five"])
    (tmp_path / "notes.md").write_text("no shard")
    texts = [t for b in stream(tmp_path, batch_size=2) for t in b.inputs.texts]
    assert texts == ["one", "two", "three", "", "five"]


def test_memory_stays_at_a_batch(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for i in range(20_000):
            file.write(json.dumps({"text": f"{i} " + "x" * 500}) + "\n")
    tracemalloc.start()
    count = sum(len(b) for b in stream(path, batch_size=100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 2e6  # the file has 10 MB


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_damage_is_located(tmp_path: Path, suffix: str):
    def text(raw: bytes) -> Path:
        path = tmp_path / f"t.jsonl{suffix}"
        path.write_bytes(PACK[suffix](raw))
        return path

    good = b'{"text": "a"}\n'
    with pytest.raises(InputError, match="line 2: not valid JSON"):
        list(stream(text(good + b'{"text": \n')))
    with pytest.raises(InputError, match="line 3 holds a list"):
        list(stream(text(good + b"\n[1]\n")))
    with pytest.raises(InputError, match=r"line 2 has no key 'text'. Did you mean 'txt'"):
        list(stream(text(good + b'{"txt": "b"}\n')))
    with pytest.raises(InputError, match="'text' must be text; got int"):
        list(stream(text(b'{"text": 3}')))
    raw = good * 2 + b'{"text": "caf\xe9"}\n'
    with pytest.raises(InputError, match=rf"byte 0xe9 at offset {raw.index(0xE9)} \(line 3\)"):
        list(stream(text(raw)))
    if suffix:
        path = text(good * 1000)
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises(InputError, match="is damaged after line"):
            list(stream(path))
        path.write_bytes(good)
        with pytest.raises(InputError, match="is damaged after line 0"):
            list(stream(path))


def test_what_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        list(stream(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="holds no text shards"):
        list(stream(tmp_path))
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        list(stream(tmp_path / "a.parquet"))
    write(tmp_path / "b.parquet", ["x"])
    with pytest.raises(InputError, match=r"column 'body' is not in b\.parquet"):
        list(stream(tmp_path / "b.parquet", text="body"))
    with pytest.raises(InputError, match="batch_size must be >= 1"):
        list(stream(tmp_path / "b.parquet", batch_size=0))
    (tmp_path / "c.txt").write_text("a\n")
    with pytest.raises(InputError, match="has no columns"):
        list(stream(tmp_path / "c.txt", columns=["n"]))


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_blocks_of_numbers(tmp_path: Path, suffix: str):
    probs = np.random.default_rng(0).random((103, 4))
    path = tmp_path / f"p{suffix}"
    if suffix == ".npy":
        np.save(path, probs)
    else:
        pl.DataFrame(probs, schema=list("abcd")).write_parquet(path, row_group_size=17)
    parts = list(blocks(path, rows=10))
    assert max(len(p) for _, p in parts) <= 10
    np.testing.assert_array_equal(np.concatenate([p for _, p in parts]), probs)
    starts = [s for s, _ in parts]
    assert starts == np.cumsum([0] + [len(p) for _, p in parts[:-1]]).tolist()
    np.testing.assert_array_equal(np.concatenate([p for _, p in blocks(path)]), probs)


def test_blocks_refuse(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(InputError, match=r"shape \(N, C\); it has int64 \(3,\)"):
        list(blocks(tmp_path / "a.npy"))
    np.save(tmp_path / "o.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"cannot be read as \.npy"):
        list(blocks(tmp_path / "o.npy"))
    np.save(tmp_path / "b.npy", np.zeros((50, 4)))
    (tmp_path / "b.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:500])
    with pytest.raises(InputError, match="truncated"):
        list(blocks(tmp_path / "b.npy"))
    pl.DataFrame({"w": ["x"]}).write_parquet(tmp_path / "w.parquet")
    with pytest.raises(InputError, match="must hold numbers only"):
        list(blocks(tmp_path / "w.parquet"))
    (tmp_path / "a.csv").write_text("1,2\n")
    with pytest.raises(InputError, match="cannot be read in blocks"):
        list(blocks(tmp_path / "a.csv"))
