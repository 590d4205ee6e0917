"""A graph in two files of a dataset folder: ``graph.npz`` (numbers, never pickled) and ``graph.parquet`` (ids and texts of nodes)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from labelwright.data.graphs import Graph, GraphNodes
from labelwright.files import write_parquet, writing

__all__ = ["read_graph", "write_graph"]


def write_graph(inputs: GraphNodes, folder: Path) -> None:
    """The whole graph behind `inputs` and which of its nodes are the examples."""
    import polars as pl

    graph = inputs.graph
    arrays: dict[str, Any] = {"nodes": inputs.nodes, **_parts("adj", graph.adjacency)}
    if sparse.issparse(graph.features):
        arrays |= _parts("attr", graph.features)
    elif graph.features is not None:
        arrays["attr_matrix"] = graph.features
    path = folder / "graph.npz"
    with writing(path):
        np.savez_compressed(path, **arrays)
    columns: dict[str, Any] = {"id": graph.ids}
    if graph.texts is not None:
        columns["text"] = list(graph.texts)
    write_parquet(pl.DataFrame(columns), folder / "graph.parquet")


def read_graph(folder: Path) -> GraphNodes:
    """What :func:`write_graph` wrote; whatever is wrong with the files is a ValueError, KeyError or OSError."""
    import polars as pl

    with np.load(folder / "graph.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    try:
        table = pl.read_parquet(folder / "graph.parquet")
    except pl.exceptions.PolarsError as err:
        raise ValueError(str(err)) from err
    features: Any = arrays.get("attr_matrix")
    if "attr_data" in arrays:
        features = _matrix("attr", arrays)
    ids = table.get_column("id").to_numpy()
    graph = Graph(
        adjacency=_matrix("adj", arrays),
        features=features,
        texts=tuple(table.get_column("text").to_list()) if "text" in table.columns else None,
        ids=ids if ids.dtype.kind in "iu" else ids.astype(str),
    )
    return GraphNodes(graph, arrays["nodes"])


def _parts(name: str, matrix: Any) -> dict[str, np.ndarray]:
    return {
        f"{name}_data": matrix.data,
        f"{name}_indices": matrix.indices,
        f"{name}_indptr": matrix.indptr,
        f"{name}_shape": np.array(matrix.shape),
    }


def _matrix(name: str, arrays: dict[str, np.ndarray]) -> sparse.csr_matrix:
    """A CSR matrix whose index arrays are checked, since SciPy reads beyond its memory with wrong ones."""
    data, indices, indptr = (arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    shape = tuple(int(n) for n in arrays[f"{name}_shape"])
    if len(shape) != 2 or indices.dtype.kind not in "iu" or indptr.dtype.kind not in "iu":
        raise ValueError(f"{name} is no sparse matrix")
    made = sparse.csr_matrix((data, indices, indptr), shape=shape)
    made.check_format(full_check=True)
    return made
