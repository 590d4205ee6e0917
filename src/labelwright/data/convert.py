"""Datasets from arrays, data frames, torch and Hugging Face datasets, and back to torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.data.dataset import Dataset, Info
from labelwright.data.formats.arrays import array_labels
from labelwright.data.formats.columns import Source, dataset_from
from labelwright.data.formats.hub import from_huggingface
from labelwright.data.inputs import LazyInputs, Texts
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, Labels

if TYPE_CHECKING:
    import polars as pl
    import torch

    from labelwright.data.featurise import Featuriser

__all__ = ["from_arrays", "from_frame", "from_huggingface", "from_torch", "to_torch"]


def from_arrays(
    inputs: Any,
    labels: Any = None,
    *,
    layout: Literal["NCHW", "NHWC"] = "NCHW",
    names: Sequence[str] | None = None,
    ids: Any = None,
    columns: Mapping[str, Any] | None = None,
    info: Info | None = None,
) -> Dataset:
    """From arrays or tensors.

    Parameters
    ----------
    inputs
        (N, D) vectors; (N, C, H, W) images (see `layout`); (N, H, W) grey images, which get a channel, if uint8; a list of
        strings; or lazy inputs. Images are uint8 in 0..255 or float in [0, 1].
    labels
        A label kind, or an array: (N,) integers (class indices, -1 unknown), (N,) words, (N, C) of 0, 1, -1 (multi-labels),
        (N, C) distributions (soft labels), real numbers (targets).
    layout
        Where the channels of 4-D inputs are.
    names
        Class names, in order.
    ids, columns, info
        As in :class:`Dataset`.
    """
    check.one_of("layout", layout, ("NCHW", "NHWC"))
    if isinstance(inputs, (list, tuple)):
        inputs = Texts(inputs) if inputs and isinstance(inputs[0], str) else np.asarray(inputs)
    if not isinstance(inputs, LazyInputs):
        inputs = inputs if hasattr(inputs, "detach") else np.asarray(inputs)
        if isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "biuf":
            raise InputError(f"inputs must be numbers, strings in a list, or lazy inputs; got an array of dtype {inputs.dtype}.")
        if inputs.ndim == 4 and layout == "NHWC":
            inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2)) if isinstance(inputs, np.ndarray) else inputs.permute(0, 3, 1, 2)
        elif inputs.ndim == 3 and str(inputs.dtype).removeprefix("torch.") == "uint8":
            inputs = inputs[:, None]
        elif layout == "NHWC":
            raise InputError(f"layout='NHWC' has no effect on inputs of shape {tuple(inputs.shape)}.", hint="Leave it out.")
    if labels is not None and not isinstance(labels, Labels):
        values = labels.detach().cpu().numpy() if hasattr(labels, "detach") else labels
        labels = array_labels(values, names)
    elif names is not None:
        raise InputError("names= has no effect here: the labels carry their own.", hint="Leave it out.")
    return Dataset(inputs=inputs, labels=labels, ids=ids, columns=columns or {}, info=info or Info())


def from_frame(
    frame: Any,
    *,
    labels: str | Sequence[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    ids: str | None = None,
    split: str | None = None,
    names: Sequence[str] | None = None,
    base: str | Path | None = None,
) -> Dataset:
    """From a Polars or pandas data frame; the column rules are those of :func:`labelwright.data.load`.

    Parameters
    ----------
    base
        Folder that paths of image files in the frame start at; default: the working directory.
    """
    import polars as pl

    if not isinstance(frame, pl.DataFrame):
        if not hasattr(frame, "iloc"):
            raise InputError(f"Expected a Polars or pandas DataFrame; got {type(frame).__name__}.")
        frame = _from_pandas(frame)
    source = Source(frame=frame, place="the data frame", info=Info(source="data frame"), base=None if base is None else Path(base))
    return dataset_from(source, labels=labels, inputs=inputs, ids=ids, split=split, names=names)


def _from_pandas(frame: Any) -> pl.DataFrame:
    import polars as pl

    frame = frame.copy(deep=False)
    frame.columns = [str(c) for c in frame.columns]
    try:
        return pl.from_pandas(frame)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as err:
        raise InputError(f"The pandas DataFrame cannot be read: {str(err).splitlines()[0]}.", hint="Does a column mix types?") from err


def from_torch(dataset: Any, *, names: Sequence[str] | None = None) -> Dataset:
    """From a map-style ``torch.utils.data.Dataset`` of pairs (x, y), read once from first to last.

    x: tensors, arrays or PIL images of one shape (3-D ones are images (C, H, W)), or strings. y: class indices, or rows of
    equal length. Class names: `names`, else the attribute ``classes``, as torchvision has it. Switch random transforms off.

    Raises
    ------
    InputError
        If items are not pairs or their shapes differ.
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise InputError(f"Expected a map-style dataset with a length; got {type(dataset).__name__}.")
    xs: list[Any] = []
    ys: list[Any] = []
    for i in range(len(dataset)):
        item = dataset[i]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise InputError(f"Item {i} must be a pair (x, y); got {type(item).__name__}.")
        x, y = item
        xs.append(x if isinstance(x, str) else _array(x))
        ys.append(y if isinstance(y, (int, float, str)) else _array(y))
    if not xs:
        raise InputError("The dataset is empty.")
    names = names or getattr(dataset, "classes", None)
    if isinstance(xs[0], str):
        return from_arrays(xs, np.asarray(ys), names=names)
    shapes = {x.shape for x in xs}
    if len(shapes) > 1:
        raise InputError(
            f"Inputs have {len(shapes)} shapes, among them {sorted(shapes)[:2]}.", hint="Resize them in the dataset's transform."
        )
    return from_arrays(np.stack(xs), np.stack([np.asarray(y) for y in ys]), names=names)


def _array(x: Any) -> np.ndarray:
    if hasattr(x, "detach"):
        return x.detach().cpu().numpy()  # type: ignore[no-any-return]
    if hasattr(x, "getbands"):  # a PIL image
        pixels = np.asarray(x)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.asarray(x)


def to_torch(data: Dataset, *, featuriser: Featuriser | None = None) -> torch.utils.data.Dataset:
    """A map-style torch dataset of pairs (x, y); x alone where there are no labels.

    Parameters
    ----------
    featuriser
        Makes x float32 tensors (`featuriser.transform`). Without it arrays are given as they are, images as uint8
        tensors (C, H, W), texts and table rows as `str` and `dict`. y is the class index (-1 unknown), or the row of values.
    """
    import torch
    from torch.utils.data import Dataset as TorchDataset

    inputs = data.inputs if featuriser is None else featuriser.transform(data)
    targets: Any = None
    if data.labels is not None:
        if not hasattr(data.labels, "values"):
            raise InputError(f"{data.labels.kind} have no fixed size an example, so they do not fit into pairs (x, y).")
        targets = torch.from_numpy(np.array(data.labels.values))

    class Pairs(TorchDataset):  # type: ignore[type-arg]
        classes = list(data.labels.names) if isinstance(data.labels, ClassLabels) else None

        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, i: int) -> Any:
            x = inputs[i]
            x = torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x
            return x if targets is None else (x, targets[i])

    return Pairs()
