"""Which reader of ``domains.graphs`` a path belongs to: strings only, so that nothing of that field is imported for other data."""

from __future__ import annotations

import re
import zipfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.data.formats.tabular import open_binary, suffix_of
from labelwright.errors import InputError

if TYPE_CHECKING:
    from labelwright.data.dataset import Dataset

__all__ = ["PLANETOID_NAME", "graph_reader", "read_graph_source"]

FIELD = "labelwright.domains.graphs"
PLANETOID_NAME = re.compile(r"ind\.(?P<name>.+?)\.(x|y|tx|ty|allx|ally|graph|test\.index)")
LISTS = ("adj.txt", "adj.txt.gz", "adjedges.txt", "adjedges.txt.gz")
EDGES = tuple(f"edges{suffix}" for suffix in (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz"))
ENDS = (("source", "target"), ("src", "dst"), ("from", "to"))
"""Names of the two ends of an edge; a table of exactly these columns, with or without a ``weight``, is a list of edges."""
HEAD = 4096


def graph_reader(path: Path) -> str | None:
    """Name of the module that reads `path` as a graph, or None where it is something else.

    A folder: one with ``ind.NAME.graph`` (Planetoid), ``adj.txt`` or ``adjedges.txt`` (adjacency text) or ``edges.csv`` (edge list).
    A file: one of these, a CSV whose only columns are the two ends of edges (and a weight), an NPZ with ``adj_data``. A path
    that ends in ``ind.NAME`` is short for the Planetoid files of that name.
    """
    if path.is_dir():
        if next(path.glob("ind.*.graph"), None) is not None:
            return "planetoid"
        if any((path / name).is_file() for name in LISTS):
            return "adjacency"
        return "edges" if any((path / name).is_file() for name in EDGES) else None
    if PLANETOID_NAME.fullmatch(path.name) or (path.name.startswith("ind.") and path.with_name(f"{path.name}.graph").is_file()):
        return "planetoid"
    if path.name in LISTS and path.is_file():
        return "adjacency"
    if not path.is_file() or not path.stat().st_size:
        return None
    if path.name in EDGES or (suffix_of(path) in (".csv", ".tsv") and _ends_alone(path)):
        return "edges"
    return "archive" if path.suffix.lower() == ".npz" and _holds_adjacency(path) else None


def _ends_alone(path: Path) -> bool:
    try:
        with open_binary(path) as file:
            head = file.read(HEAD)
    except (OSError, EOFError):  # said properly by whoever reads the table
        return False
    line = head.split(b"\n", 1)[0].decode("utf-8-sig", "replace")
    words = [w.strip().strip('"').lower() for w in re.split("[,\t]", line)]
    return any(set(words) - {"weight"} == set(pair) and len(words) == len(set(words)) for pair in ENDS)


def _holds_adjacency(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "adj_data.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def read_graph_source(module: str, path: Path, **columns: Any) -> Dataset:
    """The dataset of nodes that reader `module` makes of `path`; options that mean nothing there are refused.

    Raises
    ------
    InputError
        If a file is damaged, or an option has no effect.
    """
    reader = import_module(f"{FIELD}.{module}")
    refused = [name for name, value in columns.items() if value is not None and name not in reader.OPTIONS]
    if refused:
        raise InputError(f"{refused[0]}= has no effect on the graph {path}.", hint="Leave it out.")
    return reader.read(path, **{name: columns[name] for name in reader.OPTIONS})  # type: ignore[no-any-return]
