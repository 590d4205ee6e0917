"""Condensed examples on disk and as the inputs of a dataset: stored tensors, how they expand, and the preprocessing they went through.

Files of a folder: ``images.safetensors`` holds stored images together with the featuriser (tensors ``preprocessing.…``, its
description in the header), so pixels never travel without the statistics that give them a meaning; ``generators.safetensors``
what expands them, where there is such a thing; ``labels.safetensors`` the class of each stored image.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelwright import check
from labelwright.data.dataset import Dataset, Info
from labelwright.data.expansion import Expansion
from labelwright.data.featurise import Featuriser
from labelwright.data.inputs import Preprocessed, digest
from labelwright.data.record import narrow
from labelwright.data.tensors import facts_of, file_bytes, open_tensors, read_tensors, shapes_of, write_tensors
from labelwright.errors import InputError
from labelwright.labels import ClassLabels

__all__ = ["CondensedInputs", "encode", "example_bytes", "read_condensed", "read_examples", "write_examples"]

IMAGES, GENERATORS, LABELS = "images.safetensors", "generators.safetensors", "labels.safetensors"
PREFIX = "preprocessing."
BLOCK_VALUES = 16_000_000  # values expanded at a time: 64 MB


class CondensedInputs(Preprocessed):
    """Condensed examples, expanded when they are asked for. Indexing gives an image as uint8 (C, H, W), anything else in its own units.

    Parameters
    ----------
    expansion
        What is stored, and how it expands.
    featuriser
        The preprocessing that stored images went through.
    index
        Which of the expanded examples, int64 (N,); all without.
    """

    def __init__(self, expansion: Expansion, featuriser: Featuriser, index: np.ndarray | None = None) -> None:
        if not isinstance(featuriser, Featuriser):
            raise InputError(
                "Condensed images need the preprocessing they went through; without its statistics the pixels mean nothing.",
                hint="Pass the featuriser of the training data (prepare(data).featuriser).",
            )
        if tuple(expansion.images.shape[1:]) != tuple(featuriser.input_shape):
            raise InputError(
                f"Stored images have shape {tuple(expansion.images.shape[1:])}, the preprocessing gives {tuple(featuriser.input_shape)}."
            )
        if expansion.images.dtype == torch.uint8 and featuriser.takes != "images":
            raise InputError(f"Only images can be stored as 8-bit pixels; these are {featuriser.takes}.")
        self.expansion, self.featuriser = expansion, featuriser
        self.kind = featuriser.takes  # type: ignore[assignment]
        self.index = np.arange(len(expansion)) if index is None else index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: Any) -> np.ndarray:
        """One example, or those of a slice or an array of positions."""
        one = isinstance(i, (int, np.integer))
        chosen = torch.from_numpy(np.array(np.atleast_1d(self.index[i]), dtype=np.int64))
        values = self.featuriser.inverse(self.rows(chosen)).numpy()
        if self.kind == "images":
            values = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
        return values[0] if one else values

    # what other arrays of images answer to, so that audits look at these too

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *input_shape)."""
        return (len(self), *self.featuriser.input_shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of what indexing gives."""
        return np.dtype(np.uint8 if self.kind == "images" else np.float64)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def take(self, index: np.ndarray) -> CondensedInputs:
        return CondensedInputs(self.expansion, self.featuriser, self.index[index])

    def decode(self, stored: Tensor) -> Tensor:
        """Stored rows as the featuriser gives them, float32."""
        if stored.dtype != torch.uint8:
            return stored.float()
        return self.featuriser.transform(Dataset(inputs=stored.cpu().numpy())).to(stored.device)

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor] | None:
        return self.featuriser.bounds()

    def rows(self, index: Tensor) -> Tensor:
        """The expanded examples at `index` int64 (B,) of the whole expansion, float32 (B, *input_shape)."""
        return self.expansion.rows(index, self.decode, self.bounds)

    def values(self) -> Tensor:
        shape = tuple(self.featuriser.input_shape)
        out = torch.empty((len(self), *shape), dtype=torch.float32)
        step = max(1, BLOCK_VALUES // int(np.prod(shape)))
        for start in range(0, len(self), step):
            chosen = torch.from_numpy(np.array(self.index[start : start + step]))
            out[start : start + step] = self.rows(chosen)
        return out

    def digest(self, hasher: hashlib.blake2b) -> None:
        hasher.update(repr((self.expansion.spec(), self.featuriser.spec())).encode())
        for array in (self.expansion.images, *self.expansion.generators().values(), *self.featuriser.arrays().values(), self.index):
            digest(array, hasher)


def encode(values: Tensor, featuriser: Featuriser, dtype: torch.dtype) -> Tensor:
    """Examples (S, *input_shape) as the featuriser gives them, in the type they are stored in: uint8 pixels of the original
    range (clipped and rounded: this loses a little), float16 or float32.

    Raises
    ------
    InputError
        If they are not finite, do not fit float16, or uint8 is asked for what is no image.
    """
    check.finite("condensed examples", values)
    if dtype == torch.uint8:
        if featuriser.takes != "images":
            raise InputError(f"Only images can be stored as 8-bit pixels; these are {featuriser.takes}.")
        return (featuriser.inverse(values.detach().cpu()).clamp(0, 1) * 255).round().to(torch.uint8)
    stored = values.detach().cpu().to(dtype)
    if not bool(stored.isfinite().all()):
        raise InputError("Some values are too large for float16.", hint="Store float32.")
    return stored


def _contents(expansion: Expansion, featuriser: Featuriser, labels: ClassLabels) -> dict[str, tuple[dict[str, Tensor], Any]]:
    """Tensors and facts of each file."""
    arrays = {f"{PREFIX}{name}": torch.from_numpy(np.ascontiguousarray(value)) for name, value in featuriser.arrays().items()}
    facts = {"expansion": expansion.spec(), "preprocessing": featuriser.spec()}
    files: dict[str, tuple[dict[str, Tensor], Any]] = {IMAGES: ({"images": expansion.images} | arrays, facts)}
    if generators := expansion.generators():
        files[GENERATORS] = (generators, None)
    values = narrow(torch.from_numpy(np.array(labels.values)))
    return files | {LABELS: ({"labels": values}, {"names": list(labels.names)})}


def example_bytes(expansion: Expansion, featuriser: Featuriser, labels: ClassLabels) -> dict[str, int]:
    """Exact sizes of the files: ``images`` (preprocessing included), ``labels``, ``generators``."""
    sizes = {name: file_bytes(shapes_of(tensors), facts) for name, (tensors, facts) in _contents(expansion, featuriser, labels).items()}
    return {"images": sizes[IMAGES], "labels": sizes[LABELS], "generators": sizes.get(GENERATORS, 0)}


def write_examples(folder: Path, expansion: Expansion, featuriser: Featuriser, labels: ClassLabels) -> None:
    """Write the files into an existing folder."""
    for name, (tensors, facts) in _contents(expansion, featuriser, labels).items():
        write_tensors(folder / name, tensors, facts)


def read_examples(folder: Path) -> tuple[CondensedInputs, ClassLabels]:
    """Stored examples and the labels of stored images.

    Raises
    ------
    InputError
        If a file is absent or damaged, or the images come without their preprocessing.
    """
    with open_tensors(folder / IMAGES, what="condensed images") as file:
        facts = facts_of(file)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if facts is None or "preprocessing" not in facts or "images" not in tensors:
        raise InputError(
            f"{folder / IMAGES} holds tensors without the preprocessing they went through.",
            hint="Raw tensors are not read: trained on with other statistics they would give a wrong result without a sign of it.",
        )
    arrays = {name.removeprefix(PREFIX): value.numpy() for name, value in tensors.items() if name.startswith(PREFIX)}
    featuriser = Featuriser.restore(facts["preprocessing"], arrays)
    generators = read_tensors(folder / GENERATORS, what="what expands the images")[0] if (folder / GENERATORS).exists() else {}
    expansion = Expansion.restore(facts["expansion"], tensors["images"], generators)
    found, about = read_tensors(folder / LABELS, what="labels")
    if "labels" not in found or about is None:
        raise InputError(f"{folder / LABELS} holds no labels.", hint="Its files may be damaged; run the step again.")
    labels = ClassLabels(values=found["labels"].long().numpy(), names=tuple(about["names"]))
    check.same_length(images=expansion.images, labels=labels)
    return CondensedInputs(expansion, featuriser), labels


def read_condensed(folder: Path) -> Dataset:
    """The expanded examples of a folder as a dataset with ids 0..M-1; they carry their preprocessing, and learners take it up."""
    inputs, labels = read_examples(folder)
    return dataset_of(inputs, labels, source=str(folder), name=folder.name)


def dataset_of(inputs: CondensedInputs, labels: ClassLabels, *, source: str = "", name: str = "condensed") -> Dataset:
    """`inputs` as a dataset; `labels` are those of the stored images."""
    own = inputs.expansion.source(torch.from_numpy(np.array(inputs.index))).numpy()
    return Dataset(inputs=inputs, labels=labels.take(own), ids=inputs.index, info=Info(name=name, source=source))
