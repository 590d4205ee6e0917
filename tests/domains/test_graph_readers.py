"""Readers of graphs: planted files come back as they were, real ones have the counts everybody reports, bad ones one clear line."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from graph_files import N, planted, write_archive, write_planetoid, write_tables
from torch_geometric.data import Data

from labelwright.data import load
from labelwright.data.graphs import graph_of
from labelwright.domains.graphs import from_pyg
from labelwright.domains.graphs.planetoid import unpickle
from labelwright.errors import InputError

GRAPHS = Path(os.environ.get("LABELWRIGHT_DATA", "/nonexistent")) / "graphs"
needs_data = pytest.mark.skipif(not GRAPHS.is_dir(), reason="needs LABELWRIGHT_DATA")


def dense_of(data):
    return graph_of(data).adjacency.toarray()


def planted_dense():
    edges, x, y = planted()
    want = np.zeros((N, N))
    want[edges[:, 0], edges[:, 1]] = want[edges[:, 1], edges[:, 0]] = 1
    return want, x, y


def test_planetoid_puts_shuffled_test_nodes_in_their_places(tmp_path):
    write_planetoid(tmp_path / "p")
    want, x, y = planted_dense()
    for source in (tmp_path / "p", tmp_path / "p/ind.toy", tmp_path / "p/ind.toy.allx"):
        data = load(source)
        assert np.array_equal(dense_of(data), want)
        assert np.array_equal(graph_of(data).features.toarray(), x)
        assert np.array_equal(data.labels.values, y)
        assert data.columns["split"].tolist() == ["train"] * 8 + ["val"] * 20 + ["test"] * 12
    assert len(load(tmp_path / "p", split="test")) == 12


def test_isolated_test_nodes_that_are_not_listed_have_no_label(tmp_path):
    write_planetoid(tmp_path / "p", skip=(30, 33))
    data = load(tmp_path / "p")
    assert data.labels.known.sum() == N - 2
    assert data.columns["split"][[30, 33]].tolist() == ["rest", "rest"]
    assert graph_of(data).isolated[[30, 33]].all()
    assert not graph_of(data).features[[30, 33]].nnz
    assert "2 nodes between the test nodes have neither features nor a label" in data.info.extra["notes"]


class Evil:
    def __reduce__(self):
        return (os.system, ("touch stolen",))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_does_not(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    write_planetoid(tmp_path / "p")
    (tmp_path / "p/ind.toy.graph").write_bytes(pickle.dumps({0: [Evil()]}, protocol=protocol))
    with pytest.raises(InputError, match="was not run"):
        load(tmp_path / "p")
    assert not (tmp_path / "stolen").exists()


def forged(state: bytes) -> bytes:
    """A pickle of an array whose type comes from the pickle opcodes `state`, filled with sixteen bytes of 0x41."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    return b"\x80\x02" + empty + b"(K\x01(K\x02t" + state + b"\x89U\x10" + b"A" * 16 + b"tb."


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x02cnumpy\nndarray\n((K\x01tcnumpy\ndtype\n(U\x01OtRU\x10" + b"A" * 16 + b"tR.",  # bytes as pointers to objects
        b"\x80\x02cnumpy\nndarray\n((I1000000000000\nttR.",  # memory at will
        forged(b"cnumpy\ndtype\n(U\x01OK\x00K\x01tR"),
        forged(b"cnumpy\ndtype\n(U\x02V8K\x00K\x01tR"),
        forged(b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<N(U\x01atNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"),  # fields
        forged(b"N"),
    ],
)
def test_a_pickle_cannot_make_arrays_of_anything_but_numbers(tmp_path, raw):
    """NumPy's own classes, called from a pickle, take its bytes for pointers: the process dies, or worse, when they are looked at."""
    (tmp_path / "o").write_bytes(raw)
    with pytest.raises(InputError, match="cannot be read as a Planetoid file"):
        unpickle(tmp_path / "o")


def test_plain_numbers_of_any_order_come_back_from_pickles(tmp_path):
    plain = forged(b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
    (tmp_path / "o").write_bytes(plain)
    assert unpickle(tmp_path / "o").tobytes() == b"A" * 16
    for values in (np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3)[:2]), np.arange(4, dtype=">i4"), np.ones(3, bool)):
        for protocol in (0, 2, 4):
            (tmp_path / "o").write_bytes(pickle.dumps(values, protocol=protocol))
            assert np.array_equal(unpickle(tmp_path / "o"), values)


def test_truncated_and_tampered_pickles_are_input_errors_at_every_length(tmp_path):
    write_planetoid(tmp_path / "p")
    whole = (tmp_path / "p/ind.toy.allx").read_bytes()
    for length in range(0, len(whole) - 1, 37):
        (tmp_path / "p/ind.toy.allx").write_bytes(whole[:length])
        with pytest.raises(InputError):
            load(tmp_path / "p")
    rng = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] = rng.integers(256)
        (tmp_path / "p/ind.toy.allx").write_bytes(bytes(broken))
        try:
            load(tmp_path / "p")
        except InputError:
            continue


def test_a_sparse_matrix_that_points_outside_itself_is_refused(tmp_path):
    write_planetoid(tmp_path / "p")
    matrix = pickle.loads((tmp_path / "p/ind.toy.tx").read_bytes())
    matrix.indices = matrix.indices + 10_000
    (tmp_path / "p/ind.toy.tx").write_bytes(pickle.dumps(matrix, protocol=2))
    with pytest.raises(InputError, match=r"ind\.toy\.tx cannot be read"):
        load(tmp_path / "p")


def test_tables_of_edges_and_nodes(tmp_path):
    write_tables(tmp_path / "g")
    want, x, y = planted_dense()
    data = load(tmp_path / "g")
    assert np.array_equal(dense_of(data), want)
    assert np.array_equal(graph_of(data).features, x)
    assert data.ids[3] == "n3"
    assert data.labels.names == ("a", "b")
    assert np.array_equal(np.flatnonzero(~data.labels.known), np.arange(10, 15))
    assert np.array_equal(data.labels.values[15:], y[15:])
    assert data.info.extra["notes"][-1] == "5 nodes have no label"
    assert load(tmp_path / "g/edges.csv").fingerprint == data.fingerprint
    alone = tmp_path / "links.csv"
    alone.write_text("source,target,weight\n3,1,2\n1,3,5\n7,7,1\n")
    data = load(alone)
    assert data.labels is None
    assert data.ids.tolist() == [1, 3, 7]
    assert dense_of(data).tolist() == [[0, 5, 0], [5, 0, 0], [0, 0, 0]]
    assert data.info.extra["notes"] == ["1 self-loops were left out", "1 nodes have no edge"]


def test_nodes_may_have_texts_or_nothing(tmp_path):
    (tmp_path / "edges.csv").write_text("source,target\na,b\n")
    (tmp_path / "nodes.csv").write_text("id,text,label\na,the first,x\nb,the second,y\nc,alone,x\n")
    data = load(tmp_path)
    assert graph_of(data).texts == ("the first", "the second", "alone")
    assert list(data.columns) == []
    (tmp_path / "nodes.csv").write_text("id,label\na,x\nb,y\n")
    data = load(tmp_path)
    assert graph_of(data).features is None
    assert data.labels.words().tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source,target\nn0,n1\n,n2\n", "line 3: column 'source' is empty"),
        ("source,target\nn0,n1\nn1,n77\n", "line 3: node 'n77' is not in the table of nodes"),
        ("source,target,weight\nn0,n1,1\nn1,n2,-4\n", "line 3: weight -4 is no positive number"),
        ("source,target,weight\nn0,n1,1\nn1,n2,heavy\n", "line 3: weight 'heavy' is no positive number"),
        ("source,target\nn0,n1\nn1,n2,n3\n", "line 3"),
        ("from,there\nn0,n1\n", "needs the columns source and target"),
    ],
)
def test_bad_rows_of_an_edge_list_are_named(tmp_path, text, words):
    write_tables(tmp_path / "g")
    (tmp_path / "g/edges.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        load(tmp_path / "g")


def test_a_table_without_edges_is_a_graph_of_isolated_nodes(tmp_path):
    write_tables(tmp_path / "g")
    (tmp_path / "g/edges.csv").write_text("source,target\n")
    data = load(tmp_path / "g")
    assert graph_of(data).num_edges == 0
    assert "40 nodes have no edge" in data.info.extra["notes"]
    (tmp_path / "links.csv").write_text("source,target\n")
    with pytest.raises(InputError, match="no nodes either"):
        load(tmp_path / "links.csv")


def test_archives_as_benchmarks_write_them(tmp_path):
    want, x, y = planted_dense()
    train = np.arange(N) < 10
    objects = np.array([{"a": 1}], dtype=object)
    write_archive(tmp_path / "g.npz", train_mask=train, test_mask=~train, idx_to_node=objects, class_names=np.array(["p", "q"]))
    data = load(tmp_path / "g.npz")
    assert np.array_equal(dense_of(data), want)
    assert np.array_equal(graph_of(data).features.toarray(), x)
    assert data.labels.names == ("p", "q")
    assert np.array_equal(data.labels.values, y)
    assert data.columns["split"].tolist() == ["train"] * 10 + ["test"] * (N - 10)
    write_archive(tmp_path / "bad.npz", adj_indices=np.full(5, 10**6))
    with pytest.raises(InputError, match="adj_"):
        load(tmp_path / "bad.npz")
    raw = (tmp_path / "g.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError):
        load(tmp_path / "cut.npz")
    write_archive(tmp_path / "twice.npz", train_mask=train, val_mask=train)
    with pytest.raises(InputError, match="marked for 'val' and for another"):
        load(tmp_path / "twice.npz")


def test_adjacency_text_counts_from_zero_or_one(tmp_path):
    zero, one = tmp_path / "zero", tmp_path / "one"
    for folder in (zero, one):
        folder.mkdir()
        (folder / "labels.txt").write_text("x\ny\n\nx\n")
    (zero / "adj.txt").write_text("1 2\n0\n0\n\n")
    (one / "adj.txt").write_text("2 4\n1\n\n1\n")
    assert np.argwhere(np.triu(dense_of(load(zero)))).tolist() == [[0, 1], [0, 2]]
    assert np.argwhere(np.triu(dense_of(load(one)))).tolist() == [[0, 1], [0, 3]]
    assert load(zero).labels.known.tolist() == [True, True, False, True]
    for text, words in (
        ("1 2\n0\n0 x\n\n", "line 3: 'x' is no node number"),
        ("1 2\n0\n0 9\n\n", "line 3: there is no node 9"),
        ("2 3\n1\n1\n\n", "from 0 or from 1"),
    ):
        (zero / "adj.txt").write_text(text)
        with pytest.raises(InputError, match=words):
            load(zero)
    (one / "labels.txt").write_text("x\ny\n")
    with pytest.raises(InputError, match="2 lines, but adj"):
        load(one)
    (one / "labels.txt").write_text("\n\n\n\n")
    with pytest.raises(InputError, match="gives no node a label"):
        load(one)


def test_adjacency_by_id_leaves_out_neighbours_that_are_no_nodes(tmp_path):
    for name, text in (
        ("adjedges", "10 20 99\n20 10\n30\n"),
        ("docs", "10 A title\n20 Another title\n30 The third\n"),
        ("labels", "10 p\n20 q\n"),
    ):
        with gzip.open(tmp_path / f"{name}.txt.gz", "wt") as file:
            file.write(text)
    data = load(tmp_path)
    assert data.ids.tolist() == ["10", "20", "30"]
    assert np.argwhere(np.triu(dense_of(data))).tolist() == [[0, 1]]
    assert graph_of(data).texts[1] == "Another title"
    assert data.labels.known.tolist() == [True, True, False]
    assert data.info.extra["notes"][0].startswith("1 mentions of neighbours")
    with gzip.open(tmp_path / "adjedges.txt.gz", "wt") as file:
        file.write("10 20\n20 10\n10 30\n")
    with pytest.raises(InputError, match="line 3: node 10 has a line already"):
        load(tmp_path)


def test_objects_of_pytorch_geometric():
    want, x, y = planted_dense()
    both = torch.from_numpy(np.argwhere(want).T.copy())
    mask = torch.arange(N) < 10
    data = from_pyg(Data(x=torch.from_numpy(x), edge_index=both, y=torch.from_numpy(y), train_mask=mask, test_mask=~mask), names=("a", "b"))
    assert np.array_equal(dense_of(data), want)
    assert np.array_equal(data.labels.values, y)
    assert data.columns["split"].tolist() == ["train"] * 10 + ["test"] * (N - 10)
    weights = torch.arange(1, 3).float()
    pair = from_pyg(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_attr=weights, num_nodes=2))
    assert dense_of(pair).tolist() == [[0, 2], [2, 0]]
    with pytest.raises(InputError, match="no edge_index"):
        from_pyg(Data(x=torch.from_numpy(x)))
    with pytest.raises(InputError, match="nodes 0"):
        from_pyg(Data(edge_index=torch.tensor([[0], [5]]), num_nodes=2))


@needs_data
def test_real_graphs_have_the_counts_everybody_reports():
    cora = load(GRAPHS / "planetoid")
    assert (len(cora), graph_of(cora).num_edges, graph_of(cora).features.shape[1], cora.num_classes) == (2708, 5278, 1433, 7)
    words, counts = np.unique(cora.columns["split"], return_counts=True)
    assert dict(zip(words.tolist(), counts.tolist(), strict=True)) == {"train": 140, "val": 500, "test": 1000, "rest": 1068}
    assert cora.labels.take(cora.columns["split"] == "train").counts().tolist() == [20] * 7
    photo = load(GRAPHS / "amazon_photo")
    assert (len(photo), graph_of(photo).num_edges, photo.num_classes) == (7650, 119_081, 8)
    titles = load(GRAPHS / "citeseer_m10_titles")
    assert (len(titles), titles.num_classes) == (10_310, 10)
    assert graph_of(titles).texts[0].startswith("Working Paper 7 MAKUENI")


def test_a_node_in_a_report_shows_its_text_or_its_neighbours(tmp_path):
    from labelwright.report.examples import Showcase

    write_tables(tmp_path / "g")
    data = load(tmp_path / "g")
    shown = dict(Showcase(data)(0).fields)
    near = [f"n{j}" for j in np.flatnonzero(dense_of(data)[0])]
    assert shown["neighbours"] == str(len(near))
    assert shown["among them"].split(", ")[0] == near[0]
    assert dict(Showcase(data)(N - 1).fields)["among them"] == "none"
