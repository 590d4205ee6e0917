"""The recipe a learner trains by when the caller gives none: one for all learners, so that their results compare."""

from __future__ import annotations

from labelwright.data.node_batches import NodeTensor
from labelwright.training.fit import Fit
from labelwright.training.prepare import Prepared

__all__ = ["default_fit", "recipe"]

STEPS_WANTED = 20
"""Steps an epoch should have: a few hundred examples in batches of 128 would give two or three."""


def default_fit(prepared: Prepared) -> Fit:
    """The recipe for these training data.

    | inputs (after featurising) | optimiser | rate | weight decay | epochs |
    |---|---|---|---|---|
    | images (C, H, W) | SGD, momentum 0.9, cosine to 0 | 0.02 | 1e-3 | 20 |
    | vectors, texts, tables, sequences | AdamW, cosine to 0 | 1e-3 | 1e-2 | 30 |
    | nodes of a graph | Adam, constant | 1e-2 | 5e-4 | 200 |

    An epoch on a graph is one step over all training nodes: every step passes through the whole graph anyway.
    Other batches hold 128 examples, or 64 or 32 where the training set would otherwise give fewer than 20 steps an
    epoch. No augmentation: whether a flip or a crop keeps the class is the user's knowledge. The epoch
    with the best accuracy on the (noisy) validation split is kept.
    """
    return recipe(len(prepared.train), images=len(prepared.input_shape) == 3, nodes=isinstance(prepared.inputs, NodeTensor))


def recipe(n: int, *, images: bool, nodes: bool = False) -> Fit:
    """The recipe of :func:`default_fit` for `n` training examples."""
    if nodes:
        return Fit(epochs=200, batch_size=max(n, 1), optimizer="adam", lr=1e-2, weight_decay=5e-4, schedule="constant")
    size = next((b for b in (128, 64) if n >= STEPS_WANTED * b), 32)
    if images:
        return Fit(epochs=20, batch_size=size)
    return Fit(epochs=30, batch_size=size, optimizer="adamw", lr=1e-3, weight_decay=1e-2)
