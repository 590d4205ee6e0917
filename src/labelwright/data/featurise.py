"""From a dataset of any kind to a standardised float32 tensor, with statistics of the training data only.

| inputs | becomes |
|---|---|
| vectors (N, D) | (N, D), each column to mean 0 and deviation 1 |
| arrays (N, C, …) | the same, each channel over examples and places |
| images | (N, C, H, W): decoded, brought to one size, scaled to [0, 1], each channel standardised |
| texts | (N, D): TF-IDF and truncated SVD, each component centred, all brought to one scale |
| nodes | a :class:`~labelwright.data.node_batches.NodeTensor`: features of every node of the graph with sums of 1, and its edges |
| tables | (N, D): numbers imputed with the median and standardised, gaps marked, words one-hot |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelwright import check
from labelwright.data.features.arrays import ImageFeaturiser, SequenceFeaturiser, VectorFeaturiser
from labelwright.data.features.base import Featuriser
from labelwright.data.features.nodes import NodeFeaturiser
from labelwright.data.features.table import TableFeaturiser
from labelwright.data.features.texts import DIM, TextFeaturiser
from labelwright.data.features.whitening import WhitenedFeaturiser, whitened
from labelwright.data.inputs import Preprocessed
from labelwright.errors import InputError

if TYPE_CHECKING:
    from labelwright.data.dataset import Dataset

__all__ = [
    "Featuriser",
    "ImageFeaturiser",
    "NodeFeaturiser",
    "SequenceFeaturiser",
    "TableFeaturiser",
    "TextFeaturiser",
    "VectorFeaturiser",
    "WhitenedFeaturiser",
    "fit_featuriser",
    "whitened",
]


def fit_featuriser(data: Dataset, *, seed: int, image_size: int | tuple[int, int] | None = None, text_dim: int = DIM) -> Featuriser:
    """The featuriser for the kind of `data`, fitted on it; the one they carry, for condensed examples.

    Parameters
    ----------
    data
        Training data; labels are not looked at.
    seed
        Decides the sample of lazily decoded images and the randomised SVD.
    image_size
        Side, or (H, W), that images are resized to. Default: the size they share (longest side at most 224),
        else the median size with the longest side at most 64.
    text_dim
        Most components a text is reduced to.

    Raises
    ------
    InputError
        If `data` is empty, not finite, cannot be decoded, or `image_size` is given for something else.
    """
    check.integer("seed", seed)
    check.integer("text_dim", text_dim, low=1)
    if image_size is not None and data.kind != "images":
        raise InputError(f"image_size has no effect on {data.kind}.", hint="Leave it out.")
    if isinstance(data.inputs, Preprocessed):
        if image_size is not None:
            raise InputError("image_size has no effect on examples that are preprocessed already.", hint="Leave it out.")
        return data.inputs.featuriser
    if data.kind == "images":
        return ImageFeaturiser.fit(data, seed=seed, image_size=image_size)
    if data.kind == "texts":
        return TextFeaturiser.fit(data, seed=seed, dim=text_dim)
    if data.kind == "nodes":
        return NodeFeaturiser.fit(data, seed=seed, dim=text_dim)
    if data.kind == "table":
        return TableFeaturiser.fit(data)
    return (VectorFeaturiser if data.kind == "vectors" else SequenceFeaturiser).fit(data)
