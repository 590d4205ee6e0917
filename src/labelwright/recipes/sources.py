"""What a step reads: its dataset, and files of probabilities and features that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.data.formats.matrix import Matrix, read_array, read_matrix, rows_of
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels, MultiLabels, SoftLabels

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.recipes.steps import Step
    from labelwright.signals import Signals

__all__ = ["Matrix", "load_data", "load_second", "on_columns", "read_matrix", "signals_from"]

SUM_TOLERANCE = 1e-2  # tells a row of rounded probabilities from a header of class numbers


def load_data(step: Step, name: str = "data") -> Dataset:
    """The dataset a step names; a bare ``.npy`` holds labels, which is enough where ``probs`` are given."""
    from labelwright.data.readers import load

    source, values = step.values[name], step.values
    options = {k: values.get(k) for k in ("labels", "inputs", "ids", "split")}
    if Path(source).suffix == ".npy":
        return _bare_labels(Path(source), has_probs=bool(values.get("probs") or values.get("votes")), **options)
    return load(source, **options)


def load_second(step: Step, name: str) -> Dataset | None:
    """Test or validation data of a step, read like its dataset where they are a table too."""
    from labelwright.data.readers import load

    source = step.values[name]
    if source is None:
        return None
    named = step.values.get(f"{name}_labels")
    options = {k: step.values.get(k) for k in ("labels", "inputs", "ids")} if _has_columns(source) else {}
    options |= {"split": step.values.get(f"{name}_split")} | ({} if named is None else {"labels": named})
    return load(source, **options)


def _has_columns(source: str) -> bool:
    """Whether names of columns mean something for `source`: tables and archives, but no built-in data, image or dataset folders."""
    path = Path(source).expanduser()
    return path.is_file() and path.suffix != ".json" and "ubyte" not in path.name


def _bare_labels(path: Path, *, has_probs: bool, **options: Any) -> Dataset:
    from labelwright.data import Dataset, Info

    path = check.path_exists("dataset", path)
    if not has_probs:
        raise InputError(
            f"{path} holds labels alone.", hint="Give their probabilities too: --probs FILE. Or save an .npz with arrays x and y."
        )
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name} has no effect on {path}.", hint="Leave it out.")
    values = read_array(path)
    if values.ndim != 1:
        raise InputError(f"{path} must hold one label an example, shape (N,); it has shape {values.shape}.")
    if not len(values):
        raise InputError(f"{path} holds no labels.")
    if values.dtype.kind in "iub" or (values.dtype.kind == "f" and np.array_equal(values, np.round(values))):
        numbers = np.asarray(values, dtype=np.int64)
        if (low := int(numbers.min())) < -1:
            raise InputError(f"{path}: labels must be class indices from 0 (-1 = unknown); row {int(numbers.argmin())} is {low}.")
        labels = ClassLabels(values=numbers)
    elif values.dtype.kind in "US":
        labels = ClassLabels.encode(values.astype(str))
    else:
        raise InputError(f"{path} must hold class indices (whole numbers) or strings; got dtype {values.dtype}.")
    inputs = np.zeros((len(values), 0), dtype=np.float32)  # nothing but labels is known of these examples
    return Dataset(inputs=inputs, labels=labels, info=Info(name=path.stem, source=str(path)))


def on_columns(labels: ClassLabels, matrix: Matrix, *, place: str) -> ClassLabels:
    """`labels` numbered by the columns of `matrix`: the file's own names where it has them, else column j is class j for integer
    labels and the j-th name otherwise. Classes without examples may have columns.

    Raises
    ------
    InputError
        If a label that occurs has no column.
    """
    width = matrix.values.shape[1]
    names: Sequence[str]
    if matrix.names is not None:
        names = matrix.names
        if len(names) != width:
            raise InputError(f"{place} has {width} columns, but names {len(names)} classes.")
    elif all(name.isdecimal() for name in labels.names):
        names = [str(j) for j in range(width)]
    else:
        names = labels.names
        if len(names) != width:
            raise InputError(
                f"{place} has {width} columns, but the labels have {len(names)} classes.",
                hint="Column j must be the j-th name in sorted order; a CSV header or an npz array 'classes' names the columns.",
            )
    present = {labels.names[j] for j in np.flatnonzero(labels.counts()).tolist()}
    missing = sorted(present - set(names), key=lambda w: (len(w), w))
    if missing:
        row = int(np.argmax(labels.values == list(labels.names).index(missing[0])))
        shown = f"0..{width - 1}" if matrix.names is None else ", ".join(names[:12])
        raise InputError(
            f"label {missing[0]!r} (row {row}) has no column in {place}; its {width} columns are {shown}.{check.nearest(missing[0], names)}",
            hint="Integer labels count columns from 0; a CSV header or an npz array 'classes' names them.",
        )
    if tuple(names) == tuple(labels.names):
        return labels
    place_of = {name: j for j, name in enumerate(names)}
    table = np.array([*(place_of.get(name, -1) for name in labels.names), -1], dtype=np.int64)
    return ClassLabels(values=table[labels.values], names=tuple(names))


def signals_from(step: Step, data: Dataset) -> tuple[Dataset, Signals | None]:
    """The signals that files give, and the dataset with its classes numbered by the columns of the probabilities. None without files."""
    from labelwright.signals import Signals

    probs, features = step.values.get("probs"), step.values.get("features")
    if probs is None and features is None:
        return data, None
    found: dict[str, Any] = {}
    if probs is not None:
        matrix = read_matrix(probs, what="probs", n=len(data))
        rows = rows_of(matrix, data, str(probs))
        if isinstance(data.labels, SoftLabels):
            data = data.with_labels(data.labels.harden())
        if data.labels is None and step.verb == "annotate":  # nobody has labelled these: the columns name the classes
            names = matrix.names or tuple(str(j) for j in range(matrix.values.shape[1]))
            data = data.with_labels(ClassLabels(values=np.full(len(data), UNKNOWN), names=names))
        if isinstance(data.labels, ClassLabels):
            data = data.with_labels(on_columns(data.labels, matrix, place=str(probs)))
            check.probabilities(str(probs), rows)
        elif isinstance(data.labels, MultiLabels):
            rows = _multi(data.labels, matrix, rows, str(probs))
        else:
            raise InputError("--probs need labels with classes.", hint="Name the label column with --labels COLUMN.")
        found |= {"probs": rows, "out_of_sample": True, "probs_source": f"declared out-of-sample by the caller: {Path(probs).name}"}
    if features is not None:
        values = rows_of(read_matrix(features, what="features", n=len(data)), data, str(features))
        check.finite(str(features), values)
        found |= {"embeddings": values, "embeddings_source": f"given: {Path(features).name}"}
    return data, Signals(**found)


def _multi(labels: MultiLabels, matrix: Matrix, rows: np.ndarray, place: str) -> np.ndarray:
    names = matrix.names if matrix.names is not None else tuple(labels.names)
    if rows.shape[1] != len(labels.names) or set(names) != set(labels.names):
        raise InputError(f"{place} has columns {list(names)[:8]}, but the labels are {list(labels.names)[:8]}.")
    rows = rows[:, [names.index(n) for n in labels.names]]
    bad = ~((rows >= 0) & (rows <= 1)).all(1)
    if bad.any():
        raise InputError(f"{place} must hold numbers in [0, 1]: {int(bad.sum()):,} rows do not, first row {int(bad.argmax())}.")
    return rows
