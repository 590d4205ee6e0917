"""NPZ and IDX files, and the datasets that ship with scikit-learn."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwright import check
from labelwright.data.dataset import Dataset, Info
from labelwright.data.formats.tabular import blocks
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels, Labels, MultiLabels, SoftLabels, Targets

__all__ = ["BUILTINS", "array_labels", "images_first", "read_builtin", "read_idx", "read_npz"]

BUILTINS = {
    "digits": "handwritten digits, 8 x 8 grey images, 10 classes (UCI, via scikit-learn)",
    "wine": "chemical analysis of wines, 13 measurements, 3 growers (UCI, via scikit-learn)",
    "breast-cancer": "cell nuclei, 30 measurements, 2 diagnoses (UCI Wisconsin, via scikit-learn)",
}
INPUT_KEYS = ("x", "inputs", "images", "data", "features")
LABEL_KEYS = ("y", "labels", "label", "target", "targets")
NAME_KEYS = ("classes", "names", "class_names", "target_names")
SPLITS = ("train", "val", "valid", "test")
CHANNELS = (1, 3, 4)
DIGIT_MAX = 16  # brightness of the built-in digits runs from 0 to 16
IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_builtin(name: str) -> Dataset:
    """A dataset that needs no download; ids are the row numbers of scikit-learn's copy."""
    from sklearn import datasets

    bunch = {"digits": datasets.load_digits, "wine": datasets.load_wine, "breast-cancer": datasets.load_breast_cancer}[name]()
    names = [str(n) for n in bunch.target_names]
    info = Info(name=name, source=f"scikit-learn {name}", license="CC BY 4.0 (UCI Machine Learning Repository)", description=BUILTINS[name])
    labels = ClassLabels(values=bunch.target, names=names)
    if name == "digits":
        return Dataset(inputs=(bunch.images[:, None] / DIGIT_MAX).astype(np.float32), labels=labels, info=info)
    features = tuple(str(f) for f in bunch.feature_names)
    info = Info(**{**vars(info), "feature_names": features})
    return Dataset(inputs=bunch.data.astype(np.float64), labels=labels, info=info)


def array_labels(values: Any, names: Sequence[str] | None = None, *, what: str = "labels") -> Labels:
    """Labels from an array as arrays carry them.

    (N,) integers: class indices, -1 unknown. (N,) words: class names. (N,) or (N, 1) real numbers: targets.
    (N, C) of 0, 1, -1: multi-labels. (N, C) floats with rows on the simplex: soft labels; otherwise targets.
    """
    values = np.asarray(values)
    names = tuple(names or ())
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1:
        if values.dtype.kind in "US":
            words = values.astype(str)
            return ClassLabels.encode(words, names)
        if values.dtype.kind == "f" and not np.array_equal(values, np.round(values)):
            return Targets(values=values[:, None])
        if values.dtype.kind in "biuf":
            values = values.astype(np.int64)
            if names:
                check.class_index(what, values, num_classes=len(names), unknown=UNKNOWN)
            return ClassLabels(values=values, names=names)
    if values.ndim == 2 and values.dtype.kind in "biu":
        return MultiLabels(
            values=values.astype(np.int8, casting="unsafe") if np.isin(values, (0, 1, UNKNOWN)).all() else values, names=names
        )
    if values.ndim == 2 and values.dtype.kind == "f":
        rows = values[~np.isnan(values).any(1)]
        if len(rows) and (rows >= 0).all() and np.allclose(rows.sum(1), 1, atol=check.ROW_SUM_TOLERANCE):
            return SoftLabels(values=values, names=names)
        return Targets(values=values, names=names)
    raise InputError(f"{what} of dtype {values.dtype} and shape {values.shape} are of no known kind.")


def images_first(array: np.ndarray, *, place: str, images: bool = False) -> np.ndarray:
    """An image array as (N, C, H, W): (N, H, W) gets one channel, channels in the last axis move forward.

    Raises
    ------
    InputError
        If both axes or neither could be the channels.
    """
    if array.ndim == 3 and (array.dtype == np.uint8 or images):
        return array[:, None]
    if array.ndim != 4:
        return array
    first, last = array.shape[1] in CHANNELS, array.shape[3] in CHANNELS
    if first and last:
        raise InputError(
            f"{place}: of shape {array.shape}, either axis 1 or the last may be the channels.",
            hint="Use from_arrays(…, layout='NCHW' or 'NHWC').",
        )
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if last else array


def read_npz(
    path: Path, *, labels: str | None = None, inputs: str | None = None, ids: str | None = None, names: Sequence[str] | None = None
) -> Dataset:
    """Arrays by name: x (inputs, images, data, features) and y (labels, label, target), or x_train, y_train, x_test, … with column ``split``.

    Other arrays with a row an example become columns; `classes` (or `names`) holds class names. Never unpickles.
    """
    if not zipfile.is_zipfile(path):  # NumPy would take any other file for a pickle and say so
        raise InputError(f"{path} cannot be read as NPZ.", hint="It may be truncated; copy or write it again.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as err:
        if "allow_pickle" in str(err):
            raise InputError(
                f"{path} holds Python objects, which are not read because they can run code.", hint="Save plain numeric or string arrays."
            ) from err
        raise InputError(f"{path} cannot be read as NPZ: {err}.", hint="It may be truncated; copy or write it again.") from err
    lower = {key.lower(): key for key in arrays}
    parts = _parts(arrays, lower) if inputs is None and labels is None else []
    if parts:
        arrays = _joined(arrays, parts)
        lower = {key: key for key in arrays}
    place = path.name
    input_key = (
        check.known_word("inputs array", inputs, arrays, place=place)
        if inputs
        else next((lower[k] for k in INPUT_KEYS if k in lower), None)
    )
    if input_key is None:
        raise InputError(
            f"{place} has no array called {', '.join(INPUT_KEYS)}; it has {', '.join(arrays) or 'none'}.", hint="Name it with inputs=."
        )
    label_key = (
        check.known_word("label array", labels, arrays, place=place) if labels else next((lower[k] for k in LABEL_KEYS if k in lower), None)
    )
    name_key = next((lower[k] for k in NAME_KEYS if k in lower and arrays[lower[k]].ndim == 1), None)
    values = images_first(arrays[input_key], place=place, images=input_key.lower() == "images")
    if not values.ndim or not len(values):
        raise InputError(f"{place}: the array {input_key!r} has no rows.")
    if names is None and name_key is not None and label_key is not None:
        names = [str(n) for n in arrays[name_key]]
    used = {input_key, label_key, name_key}
    id_key = check.known_word("ids array", ids, arrays, place=place) if ids else lower.get("ids", lower.get("id"))
    feature_names = arrays.get("feature_names")
    columns = {k: v for k, v in arrays.items() if k not in used and k != id_key and v.ndim == 1 and len(v) == len(values)}
    features = tuple(str(f) for f in feature_names) if feature_names is not None else ()
    info = Info(name=path.stem, source=str(path), feature_names=features, label_name=label_key or "label")
    made = None if label_key is None else array_labels(arrays[label_key], names, what=f"array {label_key!r} of {place}")
    columns.pop("feature_names", None)
    return Dataset(inputs=values, labels=made, ids=None if id_key is None else arrays[id_key], columns=columns, info=info)


def _parts(arrays: dict[str, np.ndarray], lower: dict[str, str]) -> list[tuple[str, str, str | None]]:
    """(split, inputs key, labels key) for names like x_train, y_train, train_images, test_labels."""
    found = []
    for split in SPLITS:
        for key in INPUT_KEYS:
            x = next((lower[k] for k in (f"{key}_{split}", f"{split}_{key}") if k in lower), None)
            if x is not None:
                y = next((lower[k] for w in LABEL_KEYS for k in (f"{w}_{split}", f"{split}_{w}") if k in lower), None)
                found.append((split, x, y))
                break
    return found


def _joined(arrays: dict[str, np.ndarray], parts: list[tuple[str, str, str | None]]) -> dict[str, np.ndarray]:
    """The parts one after the other; arrays that belong to none are kept."""
    for _, x, y in parts:
        if y is not None:
            check.same_length(**{x: arrays[x], y: arrays[y]})
    used = {key for _, x, y in parts for key in (x, y)}
    joined = {k: v for k, v in arrays.items() if k not in used}
    images = any("images" in x.lower() for _, x, _ in parts)
    joined["images" if images else "x"] = np.concatenate([arrays[x] for _, x, _ in parts])
    if all(y is not None for _, _, y in parts):
        joined["y"] = np.concatenate([arrays[y].reshape(len(arrays[y]), *arrays[y].shape[1:]) for _, _, y in parts])  # type: ignore[index]
    joined["split"] = np.repeat([s for s, _, _ in parts], [len(arrays[x]) for _, x, _ in parts])
    return joined


def read_idx(path: Path, *, labels: str | Path | None = None, names: Sequence[str] | None = None) -> Dataset:
    """Images of an IDX file (MNIST's format, raw or .gz); labels from the file beside it that bears its name with ``labels`` for ``images``."""
    array = _idx(path)
    if array.ndim < 2:
        raise InputError(
            f"{path} holds labels, not images.",
            hint=f"Name the file of the images ({path.name.replace('labels', 'images').replace('idx1', 'idx3')}).",
        )
    beside = check.path_exists("label file", labels) if labels is not None else _label_file(path)
    made = None
    if beside is not None:
        values = _idx(beside)
        if len(values) != len(array):
            raise InputError(f"{path.name} has {len(array):,} images, {beside.name} {len(values):,} labels.")
        made = array_labels(values, names, what=beside.name)
    return Dataset(
        inputs=images_first(array, place=path.name, images=True), labels=made, info=Info(name=path.name.split("-")[0], source=str(path))
    )


def _label_file(path: Path) -> Path | None:
    for digit in "3421":
        other = path.with_name(path.name.replace("images", "labels").replace(f"idx{digit}", "idx1"))
        for candidate in (other, other.with_suffix("") if other.suffix == ".gz" else other.with_name(other.name + ".gz")):
            if candidate != path and candidate.is_file() and "idx1" in candidate.name:
                return candidate
    return None


def _idx(path: Path) -> np.ndarray:
    content = b"".join(blocks(path))
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_DTYPES:
        raise InputError(f"{path} is not an IDX file (it does not begin with its mark).")
    dtype, ndim = np.dtype(IDX_DTYPES[content[2]]), content[3]
    head = 4 + 4 * ndim
    if len(content) < head:
        raise InputError(f"{path} is truncated inside its header.")
    shape = struct.unpack(f">{ndim}I", content[4:head])
    wanted = head + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(content) != wanted:
        raise InputError(
            f"{path} has {len(content):,} bytes, but {shape} values need {wanted:,}.", hint="It may be truncated; download it again."
        )
    return np.frombuffer(content, dtype=dtype, offset=head).reshape(shape).astype(dtype.newbyteorder("="))
