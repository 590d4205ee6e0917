"""Small graphs as files of every layout, for tests."""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import sparse

N, CLASSES, F = 40, 2, 6


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (E, 2), features (N, F) and classes (N,) of two communities; node 39 is isolated."""
    rng = np.random.default_rng(seed)
    y = np.arange(N) % CLASSES
    dense = np.triu(rng.random((N, N)) < np.where(y[:, None] == y[None], 0.3, 0.02), 1)
    dense[:, N - 1] = False
    x = (rng.random((N, F)) < 0.3).astype(np.float32)
    x[np.arange(N), y] = 1
    return np.argwhere(dense), x, y


def write_planetoid(folder: Path, *, name: str = "toy", train: int = 8, skip: tuple[int, ...] = ()) -> None:
    """The eight files; test nodes are the last twelve in a shuffled order, those in `skip` isolated and not listed."""
    edges, x, y = planted()
    first = N - 12
    order = np.random.default_rng(1).permutation(np.array([i for i in range(first, N) if i not in skip]))
    onehot = np.eye(CLASSES, dtype=np.int32)[y]
    graph: defaultdict[int, list[int]] = defaultdict(list)
    for a, b in edges.tolist():
        if a not in skip and b not in skip:
            graph[a].append(b)
            graph[b].append(a)
    parts = {
        "x": sparse.csr_matrix(x[:train]), "y": onehot[:train], "tx": sparse.csr_matrix(x[order]), "ty": onehot[order],
        "allx": sparse.csr_matrix(x[:first]), "ally": onehot[:first], "graph": graph,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    for part, value in parts.items():
        (folder / f"ind.{name}.{part}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / f"ind.{name}.test.index").write_text("".join(f"{i}\n" for i in order))


def write_tables(folder: Path, *, split: bool = True) -> None:
    """``edges.csv`` and ``nodes.csv`` with ids n0, n1, …; five of the nodes have no label."""
    edges, x, y = planted()
    folder.mkdir(exist_ok=True)
    (folder / "edges.csv").write_text("source,target\n" + "".join(f"n{a},n{b}\n" for a, b in edges))
    words = ["train"] * 16 + ["val"] * 8 + ["test"] * 16
    rows = [f"n{i},{'ab'[y[i]] if i not in range(10, 15) else ''},{words[i]}," + ",".join(f"{v:g}" for v in x[i]) for i in range(N)]
    (folder / "nodes.csv").write_text("id,label,split," + ",".join(f"f{j}" for j in range(F)) + "\n" + "\n".join(rows) + "\n")


def write_archive(path: Path, **more: np.ndarray) -> None:
    """The layout of graph benchmarks."""
    edges, x, y = planted()
    both = np.concatenate([edges, edges[:, ::-1]])
    adj = sparse.csr_matrix((np.ones(len(both), np.float32), both.T), shape=(N, N))
    attr = sparse.csr_matrix(x)
    arrays = {f"{n}_{p}": getattr(m, p) for n, m in (("adj", adj), ("attr", attr)) for p in ("data", "indices", "indptr")}
    np.savez(path, adj_shape=np.array(adj.shape), attr_shape=np.array(attr.shape), labels=y, **(arrays | more))
