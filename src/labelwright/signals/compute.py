"""Compute signals once, with what is already there left alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.data import Dataset
from labelwright.data.features.nodes import plain_vectors
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.signals.core import KnnGraph, Signals, known_signals

if TYPE_CHECKING:
    from labelwright.signals.embed import Encoder
    from labelwright.training import Fit

__all__ = ["compute", "label_losses"]

NEIGHBOURS = 10


def compute(
    data: Dataset,
    names: Iterable[str] = ("probs", "embeddings", "knn"),
    *,
    seed: int,
    folds: int = 5,
    model: Any = None,
    fit: Fit | None = None,
    encoder: Encoder | None = None,
    neighbours: int = NEIGHBOURS,
    have: Signals | None = None,
) -> Signals:
    """Signals of `data`.

    Parameters
    ----------
    data
        Examples with class labels (multi-labels too), some of which may be unknown; labels are not needed for
        embeddings and neighbours. Nodes of a graph become vectors of their neighbourhoods, unless `model` is a network.
    names
        Which: ``probs`` (out-of-sample, by cross-validation), ``embeddings``, ``knn`` (over the embeddings), ``losses``
        (of the given labels under `probs`), ``dynamics`` (of one network trained on everything).
    seed
        Decides folds, fresh weights, orders and samples.
    folds
        Of cross-validation, at least 2.
    model
        What predicts: any scikit-learn classifier, cloned for each fold (a ``Pipeline`` gets raw inputs, any other featurised
        ones), or a network factory. Default: chosen by the kind of inputs (:mod:`labelwright.signals.models`).
    fit
        Recipe of the network, where one is trained.
    encoder
        Of the embeddings (:func:`labelwright.signals.embed.embed`).
    neighbours
        K of the graph.
    have
        Signals of the same rows that are there already; only what they lack is computed.

    Raises
    ------
    InputError
        If the labels cannot support what is asked, or `have` speaks of another number of rows.
    """
    check.integer("seed", seed)
    check.integer("folds", folds, low=2)
    asked = known_signals(names)
    if model is None or hasattr(model, "fit"):  # only a network can read the graph itself
        data = plain_vectors(data, seed=seed)
    found: dict[str, Any] = {} if have is None else {f.name: getattr(have, f.name) for f in fields(have)}
    if have is not None and have.has():
        check.same_length(data=data, signals=have)
    found = {k: v for k, v in found.items() if v is not None}
    if ("probs" in asked or "losses" in asked) and "probs" not in found:
        from labelwright.signals.crossval import cross_validated

        probs, source = cross_validated(data, folds=folds, seed=seed, model=model, fit=fit)
        found |= {"probs": probs, "probs_source": source, "out_of_sample": True}
    if ("embeddings" in asked or "knn" in asked) and "embeddings" not in found:
        from labelwright.signals.embed import embed

        values, source = embed(data, encoder=encoder, model=model, fit=fit, seed=seed)
        found |= {"embeddings": values, "embeddings_source": source}
    if "knn" in asked and "knn" not in found:
        from labelwright.stats.neighbours import top_k

        if len(data) < 2:
            raise InputError("Neighbours need at least two examples.")
        points = np.array(found["embeddings"])  # a copy: torch warns of read-only arrays
        index, distance = top_k(points, points, min(neighbours, len(data) - 1), same=True)
        found["knn"] = KnnGraph(indices=index, distances=distance)
    if "losses" in asked and "losses" not in found:
        found["losses"] = label_losses(data.require_labels(ClassLabels).values, found["probs"])
    if "dynamics" in asked and "dynamics" not in found:
        from labelwright.signals.dynamics import record

        found["dynamics"] = record(data, model=model, fit=fit, seed=seed)
    return Signals(**found)


def label_losses(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """``-log p_i[y_i]``, float32 (N,), NaN where the label is unknown (-1). A zero probability counts as float32's smallest."""
    chosen = probs[np.arange(len(labels)), np.maximum(labels, 0)]
    losses = -np.log(np.maximum(chosen, np.finfo(np.float32).tiny))
    return np.where(labels >= 0, losses, np.nan).astype(np.float32)
