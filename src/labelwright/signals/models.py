"""The models that cross-validated probabilities come from: one for each kind of inputs, or the caller's own.

| inputs | model | inputs as |
|---|---|---|
| images | ConvNet, mixup, through our training loop | pixels, longest side at most 64, each channel standardised |
| texts | logistic regression | TF-IDF over words and word pairs (characters where there are no spaces) |
| tables | gradient boosting | numbers with their gaps, categories one-hot |
| vectors | extremely randomised trees | as they are: trees do not ask for a scale |
| other arrays | multilayer perceptron, mixup, through our training loop | each channel standardised |

The model of vectors was chosen by how it ranks wrong labels: 25 % class-dependent flips, five folds, five seeds, mean
average precision on scikit-learn's digits / wine / breast-cancer: extremely randomised trees with leaves of at least
three 0.83 / 0.95 / 0.94, 15 nearest neighbours 0.82 / 0.88 / 0.89, logistic regression (C = 0.01) 0.80 / 0.92 / 0.91,
gradient boosting 0.81 / 0.75 / 0.82, multilayer perceptron 0.75 / 0.70 / 0.87. Averaging many trees that never split
below three examples keeps a single wrong label from being believed.

What does not look at labels or statistics (decoding, tokenising) happens once, in the constructor; whatever is *fitted*
(means, vocabularies, document frequencies, weights) is fitted on the training rows of each fold alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from labelwright.data import Dataset, Images, LazyInputs
from labelwright.data.batch import Batch, TensorData
from labelwright.data.features.texts import MAX_TERMS, RARE, SPACED
from labelwright.data.featurise import ImageFeaturiser, fit_featuriser
from labelwright.errors import InputError
from labelwright.nn import MLP, ConvNet, NetFactory, seeded
from labelwright.training import Fit, Step, predict_proba, train

__all__ = ["Predictor", "mixup_step", "predictor_for", "signal_fit"]

SIDE = 64
"""Longest side of images in the ConvNet; twice the side is four times the work."""
BLOCK = 2_048
TREES, LEAF = 200, 3
TINY = 16
STEPS = {"tiny": 230, "other": 640}
"""Optimiser steps a network takes at least, for images of at most 16 pixels a side and for all others.

230 are ten epochs of the 1,438 digits in four folds of five. Natural images need more: on 4,000 of CIFAR-10 with one person's
labels (a draw that no benchmark reports), predictions agreed with held-out labels for 0.49 after 10 epochs, 0.545 after 20
(640 steps) and 0.55 after 30.
"""
INVERSE_L2 = 5.0


class Predictor(Protocol):
    """`name` in words; a call fits on rows `train` (positions) with `labels` (0..C-1) and predicts rows `test`: float (T, C)."""

    name: str

    def __call__(self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, /, *, num_classes: int, seed: int) -> np.ndarray: ...


def predictor_for(data: Dataset, *, model: Any = None, fit: Fit | None = None, seed: int) -> Predictor:
    """The predictor for `data`: the caller's `model` (scikit-learn classifier or network factory), or the one of the table above.

    Raises
    ------
    InputError
        If `model` is neither, or a recipe is given for a model that has none.
    """
    if model is not None and hasattr(model, "fit"):
        if not hasattr(model, "predict_proba"):
            raise InputError(
                f"{type(model).__name__} has no predict_proba.",
                hint="Wrap it in sklearn.calibration.CalibratedClassifierCV or take another.",
            )
        _no_recipe(fit, type(model).__name__)
        return _Sklearn(data, model, seed=seed)
    if model is not None and not callable(model):
        raise InputError(f"model must be a scikit-learn classifier or a network factory; got {type(model).__name__}.")
    if model is not None or data.kind in ("images", "sequence"):
        return _Net(data, model, fit=fit, seed=seed)
    if data.kind == "texts":
        _no_recipe(fit, "the default model of texts")
        return _Words(data)
    _no_recipe(fit, f"the default model of {data.kind}")
    return _Trees(data, seed=seed)


def _no_recipe(fit: Fit | None, what: str) -> None:
    if fit is not None:
        raise InputError(f"A training recipe has no effect on {what}.", hint="Leave fit out, or pass a network factory as model.")


def fit_classes(model: Any, inputs: Any, labels: np.ndarray, queries: Any, *, num_classes: int) -> np.ndarray:
    """Fit a scikit-learn classifier and give its probabilities, float64 (T, C).

    A class without a training row cannot be predicted; it gets the mass of one pseudo-example, ``1 / (n + C)``, so that
    no logarithm of zero follows.
    """
    present = np.unique(labels)
    size = queries.shape[0] if hasattr(queries, "shape") else len(queries)
    floor = 1.0 / (len(labels) + num_classes)
    out = np.full((size, num_classes), floor)
    if len(present) == 1:
        inner = np.ones((size, 1))
    else:
        model.fit(inputs, labels)
        inner = model.predict_proba(queries)
        present = np.asarray(model.classes_)
    out[:, present] = inner * (1 - floor * (num_classes - len(present)))
    return out


class _Sklearn:
    """A clone of the caller's classifier for each fold.

    A ``Pipeline`` gets raw inputs (a list of strings for texts, a Polars frame for tables, arrays as they are); any other
    classifier gets what our featuriser, fitted on the fold's training rows, makes of them, flattened to (N, D).
    """

    def __init__(self, data: Dataset, model: Any, *, seed: int) -> None:
        from sklearn.pipeline import Pipeline

        self.data, self.model, self.seed = data, model, seed
        self.name = type(model.steps[-1][1]).__name__ if isinstance(model, Pipeline) else type(model).__name__
        self.raw = isinstance(model, Pipeline)

    def __call__(self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, num_classes: int, seed: int) -> np.ndarray:
        from sklearn.base import clone

        model = clone(self.model)
        params = model.get_params()
        unset = {k: seed for k in params if (k == "random_state" or k.endswith("__random_state")) and params[k] is None}
        model.set_params(**unset)  # a classifier without a seed of its own would make the audit irreproducible
        fold, held = self.data.take(train), self.data.take(test)
        if self.raw:
            return fit_classes(model, _raw(fold), labels, _raw(held), num_classes=num_classes)
        featuriser = fit_featuriser(fold, seed=seed)
        x, q = (featuriser.transform(part).flatten(1).numpy() for part in (fold, held))
        return fit_classes(model, x, labels, q, num_classes=num_classes)


def _raw(data: Dataset) -> Any:
    if data.kind == "table":
        return data.inputs.frame
    if isinstance(data.inputs, LazyInputs):
        return [data.inputs[i] for i in range(len(data))]
    return data.inputs if isinstance(data.inputs, np.ndarray) else data.inputs.detach().cpu().numpy()


class _Trees:
    """Vectors: extremely randomised trees; tables: gradient boosting."""

    def __init__(self, data: Dataset, *, seed: int) -> None:
        self.data = data
        self.table = data.kind == "table"
        self.name = "gradient boosting" if self.table else "extremely randomised trees"

    def __call__(self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, num_classes: int, seed: int) -> np.ndarray:
        from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

        fold, held = self.data.take(train), self.data.take(test)
        if self.table:
            featuriser = fit_featuriser(fold, seed=seed)
            boosted = HistGradientBoostingClassifier(
                max_iter=60, max_leaf_nodes=8, l2_regularization=1.0, early_stopping=False, random_state=seed
            )
            x, q = featuriser.transform(fold).numpy(), featuriser.transform(held).numpy()
            return fit_classes(boosted, x, labels, q, num_classes=num_classes)
        forest = ExtraTreesClassifier(TREES, min_samples_leaf=LEAF, random_state=seed)
        return fit_classes(forest, _raw(fold), labels, _raw(held), num_classes=num_classes)


class _Words:
    """Texts: logistic regression on TF-IDF.

    Words are counted once; each fold then takes the terms and document frequencies of its own training rows, which
    gives what fitting a vectoriser on them would give.
    """

    name = "TF-IDF and logistic regression"

    def __init__(self, data: Dataset) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        texts = [data.inputs[i] for i in range(len(data))]
        spaced = np.mean([len(t.split()) for t in texts[:RARE]] or [0]) >= SPACED
        counter = CountVectorizer(analyzer="word" if spaced else "char_wb", ngram_range=(1, 2) if spaced else (1, 3), dtype=np.float32)
        try:
            self.counts = counter.fit_transform(texts).tocsr()
        except ValueError as err:
            raise InputError(
                "The texts hold no words to learn from; all are empty or punctuation.", hint="Is this the text column?"
            ) from err

    def __call__(self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, num_classes: int, seed: int) -> np.ndarray:
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.linear_model import LogisticRegression

        fold, held = self.counts[train], self.counts[test]
        documents = np.bincount(fold.indices, minlength=fold.shape[1])
        terms = np.flatnonzero(documents >= (2 if len(train) >= RARE else 1))
        if len(terms) > MAX_TERMS:
            terms = np.sort(terms[np.argsort(-documents[terms], kind="stable")[:MAX_TERMS]])
        weigh = TfidfTransformer(sublinear_tf=True)
        x, q = weigh.fit_transform(fold[:, terms]), weigh.transform(held[:, terms])
        model = LogisticRegression(C=INVERSE_L2, max_iter=200, random_state=seed)
        return fit_classes(model, x, labels, q, num_classes=num_classes)


def signal_fit(n: int, *, side: int | None) -> Fit:
    """The recipe of networks that judge labels: short, so that few wrong labels are memorised.

    `n`: training rows of a fold; `side`: the images' longer side in pixels, None for inputs that are not images.
    """
    batch = next((b for b in (128, 64) if n >= 20 * b), 32)
    steps = -(-n // batch)
    wanted = STEPS["tiny" if side is None or side <= TINY else "other"]
    epochs = int(np.clip(-(-wanted // steps), 10, 60 if side is None else 30))
    return Fit(epochs=epochs, batch_size=batch, optimizer="adamw", lr=3e-3, weight_decay=1e-2, keep="last")


def mixup_step(net: torch.nn.Module, batch: Batch) -> Step:
    """Cross-entropy under mixup, one mixing weight a batch, uniform on [0, 1] (Zhang et al. 2018, alpha = 1).

    Blends of two examples ask for blended predictions; a network so trained memorises fewer wrong labels and its
    confidence is nearer to its accuracy, which is what confident learning rests on.
    """
    share = float(torch.rand((), generator=batch.generator))
    other = torch.randperm(len(batch), generator=batch.generator).to(batch.labels.device)
    logits = net(share * batch.inputs + (1 - share) * batch.inputs[other])
    losses = torch.nn.functional.cross_entropy(logits, batch.labels), torch.nn.functional.cross_entropy(logits, batch.labels[other])
    return Step(share * losses[0] + (1 - share) * losses[1])


class _Net:
    """A network through our training loop, fresh weights for each fold."""

    def __init__(self, data: Dataset, model: NetFactory | None, *, fit: Fit | None, seed: int) -> None:
        self.data = _decoded(data, seed=seed) if data.kind == "images" else data
        self.images = data.kind == "images"
        self.factory: NetFactory = model if model is not None else ConvNet(norm="batch") if self.images else MLP()
        self.fit = fit
        words = (getattr(type(self.factory), "net_name", None), getattr(self.factory, "__name__", None), type(self.factory).__name__)
        self.name = str(next(word for word in words if word))

    def side(self, inputs: Tensor) -> int | None:
        """Longer side of prepared `inputs` that are images."""
        return max(inputs.shape[-2:]) if self.images else None

    def __call__(self, train_rows: np.ndarray, labels: np.ndarray, test: np.ndarray, *, num_classes: int, seed: int) -> np.ndarray:
        net, featuriser = self.trained(train_rows, labels, num_classes=num_classes, seed=seed)
        return predict_proba(net, featuriser.transform(self.data.take(test)))

    def trained(self, rows: np.ndarray, labels: np.ndarray, *, num_classes: int, seed: int) -> tuple[torch.nn.Module, Any]:
        """The network trained on `rows`, and the featuriser fitted on them."""
        fold = self.data.take(rows)
        featuriser = fit_featuriser(fold, seed=seed)
        inputs: Tensor = featuriser.transform(fold)
        with seeded(seed):
            net = self.factory(num_classes, tuple(inputs.shape[1:]))
        fit = self.fit or signal_fit(len(rows), side=self.side(inputs))
        if fit.checkpoint is not None:
            fit = replace(fit, checkpoint=str(Path(fit.checkpoint) / f"signals-{seed}"))
        train(net, mixup_step, TensorData.of(inputs, torch.from_numpy(labels)), fit=fit, seed=seed, label="  training", key="signals")
        return net, featuriser


def _decoded(data: Dataset, *, seed: int) -> Dataset:
    """Images as one array of modest size, decoded once instead of in every fold; uint8 unless they were floats."""
    seen = fit_featuriser(data, seed=seed)
    channels, height, width = seen.input_shape
    shrink = min(1.0, SIDE / max(height, width))
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    if not isinstance(data.inputs, Images) and shrink == 1.0:
        return data
    plain = ImageFeaturiser(mean=np.zeros(channels), scale=np.ones(channels), size=size, channels=channels)
    array = np.empty((len(data), channels, *size), dtype=np.uint8)
    for start in range(0, len(data), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(data)))
        array[rows] = (plain.transform(data.take(rows)) * 255).round_().clamp_(0, 255).to(torch.uint8).numpy()
    return replace(data, inputs=array)
