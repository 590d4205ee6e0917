"""Dataset folders: written whole or not at all, read back exactly, without pickle.

``dataset.json`` says what the other files hold: ``inputs.npy`` (arrays), ``inputs.safetensors`` (tensors) or
``inputs.parquet`` (encoded images, texts, table rows), for nodes ``graph.npz`` and ``graph.parquet``, ``labels.parquet``, and ``rows.parquet`` with ids and columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwright import check, labels as label_kinds
from labelwright.data.dataset import Dataset, Info
from labelwright.data.graph_store import read_graph, write_graph
from labelwright.data.graphs import GraphNodes
from labelwright.data.inputs import Images, Preprocessed, TableRows, Texts
from labelwright.errors import InputError, OutputError
from labelwright.files import whole_folder, write_json, write_parquet, writing

__all__ = ["MANIFEST", "read_saved", "save", "write"]

MANIFEST = "dataset.json"
FORMAT = 1
IMAGES_A_GROUP = 500  # encoded images written at a time: a few tens of MB
HF_IMAGE = {"info": {"features": {"image": {"_type": "Image"}}}}


def save(data: Dataset, folder: str | Path) -> None:
    """Write `data` into `folder`, which must be absent or empty. Image files are copied into it, so it can be moved.

    Raises
    ------
    OutputError
        If the folder is taken or cannot be written; nothing is left behind then.
    InputError
        If a column or the inputs are of a type that no file format here keeps.
    """
    with whole_folder(folder) as partial:
        write(data, partial)


def write(data: Dataset, folder: Path) -> None:
    """Write the files into an existing folder (for callers who own the folder)."""
    head = {
        "format": FORMAT,
        "n": len(data),
        "inputs": _write_inputs(data.inputs, folder),
        "labels": None if data.labels is None else data.labels.kind,
        "rows": _write_rows(data, folder),
        "info": data.info,
    }
    if data.labels is not None:
        data.labels.save(folder / "labels.parquet")
    write_json(folder / MANIFEST, head)


def read_saved(folder: str | Path) -> Dataset:
    """The dataset in a folder written by :func:`save`.

    Raises
    ------
    InputError
        If the folder is absent, was written by a newer version, or its files are damaged.
    """
    folder = check.path_exists("dataset folder", folder)
    try:
        head = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if head["format"] != FORMAT:
            raise InputError(f"{folder} has format {head['format']}; this version reads {FORMAT}.", hint="Update labelwright.")
        ids, columns = _read_rows(folder, head["rows"])
        about = head["info"]
        return Dataset(
            inputs=_read_inputs(folder, head["inputs"]),
            labels=None if head["labels"] is None else label_kinds.load(folder / "labels.parquet"),
            ids=ids,
            columns=columns,
            info=Info(**(about | {"feature_names": tuple(about["feature_names"])})),
        )
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, _damaged()) as err:
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise InputError(
            f"{folder} cannot be read as a dataset folder: {reason}.", hint="Its files may be damaged; write it again."
        ) from err


def _damaged() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError  # type: ignore[no-any-return]


def _write_inputs(inputs: Any, folder: Path) -> str:
    """Write the inputs; the word that says how."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "inputs.parquet"
    if isinstance(inputs, Preprocessed):
        inputs = inputs.raw()  # a dataset folder holds original units
    if isinstance(inputs, Images):
        schema = pa.schema(
            [("image", pa.struct([("bytes", pa.large_binary()), ("path", pa.string())]))], metadata={"huggingface": json.dumps(HF_IMAGE)}
        )
        with writing(path), pq.ParquetWriter(path, schema, compression="none") as writer:  # images are compressed already
            for start in range(0, len(inputs), IMAGES_A_GROUP):
                stop = min(start + IMAGES_A_GROUP, len(inputs))
                rows = [{"bytes": inputs.encoded(i), "path": inputs.names[i]} for i in range(start, stop)]
                writer.write_table(pa.table({"image": rows}, schema=schema))
        return "images"
    if isinstance(inputs, Texts):
        try:
            with writing(path):
                pq.write_table(pa.table({"text": pa.array(inputs.texts, pa.large_string())}), path)
        except UnicodeEncodeError as err:
            raise InputError(
                f"A text cannot be written as UTF-8: {err.reason} at position {err.start}.", hint="Remove lone surrogates."
            ) from err
        return "texts"
    if isinstance(inputs, TableRows):
        try:
            write_parquet(inputs.frame, path)
        except pl.exceptions.PolarsError as err:
            raise OutputError(f"The table cannot be written: {str(err).splitlines()[0]}.") from err
        return "table"
    if isinstance(inputs, GraphNodes):
        write_graph(inputs, folder)
        return "graph"
    if isinstance(inputs, np.ndarray):
        if inputs.dtype.hasobject:
            raise InputError(f"Inputs of dtype {inputs.dtype} cannot be saved.", hint="Use numbers, texts, images or table rows.")
        with writing(folder / "inputs.npy"):
            np.save(folder / "inputs.npy", inputs, allow_pickle=False)
        return "array"
    import torch

    if isinstance(inputs, torch.Tensor):
        from safetensors.torch import save_file

        with writing(folder / "inputs.safetensors"):
            save_file({"inputs": inputs.detach().cpu().contiguous()}, folder / "inputs.safetensors")
        return "tensor"
    raise InputError(f"Inputs of type {type(inputs).__name__} cannot be saved.")


def _read_inputs(folder: Path, storage: str) -> Any:
    import polars as pl
    import pyarrow.parquet as pq

    check.one_of("storage of the inputs", storage, ("array", "graph", "images", "table", "tensor", "texts"))
    path = folder / "inputs.parquet"
    if storage == "images":
        parts = pq.read_table(path).column("image").combine_chunks()
        return Images(parts.field("bytes").to_pylist(), names=parts.field("path").to_pylist())
    if storage == "texts":
        return Texts(pq.read_table(path).column("text").to_pylist())
    if storage == "table":
        try:
            return TableRows(pl.read_parquet(path))
        except pl.exceptions.PolarsError as err:
            raise InputError(f"{path} cannot be read: {str(err).splitlines()[0]}.", hint="It may be truncated; write it again.") from err
    if storage == "graph":
        return read_graph(folder)
    if storage == "array":
        return np.load(folder / "inputs.npy", allow_pickle=False)
    from safetensors.torch import load_file

    return load_file(folder / "inputs.safetensors")["inputs"]


def _write_rows(data: Dataset, folder: Path) -> list[list[str]]:
    """Ids and columns to ``rows.parquet``; their names in order and NumPy dtypes, which Parquet does not keep."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {"ids": data.ids, **{f"column {name}": column for name, column in data.columns.items()}}
    made = {}
    for name, array in arrays.items():
        try:
            made[name] = pa.array(array.tolist() if array.dtype.kind in "SU" else array, from_pandas=False)
        except (pa.ArrowException, ValueError, TypeError) as err:
            raise InputError(
                f"{name} (dtype {array.dtype}) cannot be saved: {str(err).splitlines()[0]}.", hint="Use numbers, words or dates."
            ) from err
    with writing(folder / "rows.parquet"):
        pq.write_table(pa.table(made), folder / "rows.parquet")
    return [[name, array.dtype.str] for name, array in arrays.items()]


def _read_rows(folder: Path, dtypes: Sequence[Sequence[str]]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "rows.parquet")
    arrays = {}
    for name, dtype in dtypes:
        column = table.column(name)
        if dtype == "|O":
            # element by element: NumPy would turn integers with gaps into floats
            array = np.empty(len(column), dtype=object)
            array[:] = column.to_pylist()
        else:
            array = column.to_numpy().astype(np.dtype(dtype))
        arrays[name] = array
    ids = arrays.pop("ids")
    return ids, {name.removeprefix("column "): array for name, array in arrays.items()}
