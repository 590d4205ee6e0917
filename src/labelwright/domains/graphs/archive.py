"""NPZ archives as graph benchmarks write them: ``adj_data``, ``adj_indices``, ``adj_indptr``, ``adj_shape``, the same with ``attr_`` or a
dense ``attr_matrix``, and ``labels``. Perhaps ``class_names``, ``node_names``, ``split`` (words), or masks ``train_mask``, ``val_mask``,
``test_mask``. Arrays of Python objects, which some of these archives hold beside, are never read."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from labelwright.data.dataset import Dataset
from labelwright.data.formats.arrays import array_labels
from labelwright.data.graphs import Graph
from labelwright.domains.graphs.common import as_dataset
from labelwright.errors import InputError

__all__ = ["OPTIONS", "read", "split_words"]

OPTIONS = ("labels", "names")
LABELS = "labels"
OBJECTS = "The array {!r} of {} holds Python objects, which are not read because they can run code."
MASKS = (("train_mask", "train"), ("val_mask", "val"), ("test_mask", "test"))


def read(path: Path, *, labels: str | None = None, names: Sequence[str] | None = None) -> Dataset:
    """The graph in an archive; `labels` names its array of class indices (-1 unknown) where that is not ``labels``.

    Raises
    ------
    InputError
        If the archive is truncated, an array is missing or damaged, or index arrays point outside the matrix.
    """
    wanted = labels or LABELS
    try:
        with np.load(path, allow_pickle=False) as file:
            if labels is not None and labels not in file.files:
                raise InputError(f"{path} has no array {labels!r}; it has {', '.join(file.files)}.")
            arrays = {name: value for name in file.files if (value := _plain(file, name)) is not None}
            objects = set(file.files) - set(arrays)
            made = _matrix(arrays, "adj", path, objects)
            features: Any = arrays.get("attr_matrix")
            if "attr_data" in arrays:
                features = _matrix(arrays, "attr", path, objects)
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as err:
        if isinstance(err, InputError):
            raise
        raise InputError(f"{path} cannot be read as a graph: {err}.", hint="It may be truncated; copy or write it again.") from err
    if labels is not None and labels not in arrays:
        raise InputError(OBJECTS.format(labels, path))
    given = arrays.get(wanted)
    classes = names if names is not None else arrays.get("class_names")
    known = (
        None
        if given is None
        else array_labels(given, None if classes is None else [str(c) for c in classes], what=f"array {wanted!r} of {path.name}")
    )
    graph = Graph(adjacency=made, features=features, ids=arrays.get("node_names"))
    split = arrays["split"].astype(str) if "split" in arrays else split_words(len(graph), {w: arrays.get(k) for k, w in MASKS})
    return as_dataset(graph, made, known, path=path, name=path.stem, split=split)


def _plain(file: Any, name: str) -> np.ndarray | None:
    """An array of the archive, or None where it holds Python objects."""
    try:
        return file[name]  # type: ignore[no-any-return]
    except ValueError as err:
        if "allow_pickle" in str(err):
            return None
        raise


def _matrix(arrays: dict[str, np.ndarray], name: str, path: Path, objects: set[str]) -> sparse.csr_matrix:
    """A CSR matrix whose index arrays were checked; `objects` are the arrays of the file that were not read."""
    parts = {part: arrays.get(f"{name}_{part}") for part in ("data", "indices", "indptr", "shape")}
    missing = [f"{name}_{part}" for part, value in parts.items() if value is None]
    if missing and missing[0] in objects:
        raise InputError(OBJECTS.format(missing[0], path))
    if missing:
        raise InputError(f"{path} has no array {missing[0]!r}, which goes with {name}_data.")
    data, indices, indptr, shape = (np.asarray(v) for v in parts.values())
    if data.dtype.kind not in "biuf" or indices.dtype.kind not in "iu" or indptr.dtype.kind not in "iu" or shape.shape != (2,):
        raise InputError(f"{path}: the arrays {name}_* are no sparse matrix.")
    try:
        made = sparse.csr_matrix((data, indices, indptr), shape=tuple(int(s) for s in shape))
        made.check_format(full_check=True)
    except ValueError as err:
        raise InputError(f"{path}: the arrays {name}_* are no sparse matrix: {err}.") from err
    return made


def split_words(n: int, masks: dict[str, Any]) -> np.ndarray | None:
    """Words of column ``split`` from boolean masks (V,), ``rest`` where none is true; None without masks.

    Raises
    ------
    InputError
        If a mask has another shape or two overlap.
    """
    words = np.full(n, "rest", dtype="<U5")
    found = {word: np.asarray(mask) for word, mask in masks.items() if mask is not None}
    for word, mask in found.items():
        if mask.shape != (n,):
            raise InputError(f"The mask of {word!r} must have shape ({n},); it has {mask.shape}.", hint="Choose one of several splits.")
        mask = mask.astype(bool)
        if (words[mask] != "rest").any():
            raise InputError(f"Node {int((mask & (words != 'rest')).argmax())} is marked for {word!r} and for another split.")
        words[mask] = word
    return words if found else None
