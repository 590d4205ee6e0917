"""Learners as scikit-learn classifiers: ``LabelwrightClassifier(method=ELR()).fit(X, y).predict_proba(X)``.

Works with ``clone``, pipelines, ``cross_val_predict`` and ``GridSearchCV`` (search over ``method``,
``net``, ``recipe``: each is an immutable value).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from labelwright import check, registry
from labelwright.data import Dataset, LazyInputs, TableRows, Texts
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.registry import Have, Learner

if TYPE_CHECKING:
    from labelwright.nn import NetFactory
    from labelwright.results import Learned
    from labelwright.training import Fit

__all__ = ["LabelwrightClassifier", "as_inputs"]


def as_inputs(X: Any) -> Any:
    """Inputs of a dataset from what scikit-learn users hold: arrays, lists of strings, data frames.

    Raises
    ------
    InputError
        If `X` is a ragged or object array of something other than strings.
    """
    if isinstance(X, LazyInputs):
        return X
    if type(X).__module__.startswith("polars"):
        return TableRows(X)
    if type(X).__module__.startswith("pandas") and X.ndim == 2:
        import polars as pl

        return TableRows(pl.from_pandas(X))
    if hasattr(X, "toarray"):  # a sparse matrix: networks take dense rows
        return X.toarray()
    if hasattr(X, "detach"):
        return X
    array = np.asarray(X)
    if array.ndim == 1 and array.dtype.kind in "OU":
        return Texts([str(t) if isinstance(t, str) else t for t in array.tolist()])
    if array.dtype.kind not in "fiub" or array.ndim < 2:
        raise InputError(
            f"X must be numbers of shape (N, ...) or N strings; got {array.dtype} of shape {array.shape}.",
            hint="Reshape a single feature with X.reshape(-1, 1); pass mixed columns as a data frame.",
        )
    return array


class LabelwrightClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A learner behind the interface of scikit-learn.

    Parameters
    ----------
    method
        A learner that takes class labels, or its name (``"elr"``); ELR with its defaults by default.
    net
        Network factory; None takes ``convnet`` for images and ``mlp`` for vectors, tables and texts.
    recipe
        How to train (:class:`~labelwright.training.Fit`); None takes the learner's own. (Not called ``fit``:
        that is the method below.)
    seed
        Decides weights, order, and the validation rows held out of the training data.

    Attributes
    ----------
    classes_
        Class labels as given, sorted; the order of the columns of ``predict_proba``.
    learned_
        The :class:`~labelwright.results.Learned`: network, corrected labels, history.
    label_scores_
        How likely each training label is wrong, (N,) in [0, 1]; None where the learner does not say.
    """

    def __init__(
        self, method: Learner | str | None = None, net: NetFactory | None = None, recipe: Fit | None = None, seed: int = 0
    ) -> None:
        self.method = method
        self.net = net
        self.recipe = recipe
        self.seed = seed

    def _learner(self) -> Learner:
        method = "elr" if self.method is None else self.method
        learner = registry.find("learn", method)() if isinstance(method, str) else method
        if not isinstance(learner, Learner):
            raise InputError(f"method must be a learner or the name of one; got {type(learner).__name__}.")
        if hasattr(type(learner), "entry") and Have.CLASS_LABELS not in learner.entry.has:
            raise InputError(f"{learner.entry.name} learns from {', '.join(learner.entry.has)}; a classifier is fitted to class labels.")
        return learner

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from `X` (arrays, strings or a data frame, N rows) and labels `y` (N,), some of them wrong."""
        from labelwright.nn import AutoNet

        check.integer("seed", self.seed)
        y = np.asarray(y)
        if y.ndim != 1:
            raise InputError(f"y must have shape (N,); got {y.shape}.")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        columns = {} if sample_weight is None else {"weight": np.asarray(sample_weight, dtype=np.float64)}
        labels = ClassLabels(values=codes, names=[str(c) for c in self.classes_.tolist()])
        data = Dataset(inputs=as_inputs(X), labels=labels, columns=columns)
        if data.kind == "vectors":
            self.n_features_in_ = int(data.inputs.shape[1])
        self.learned_: Learned = self._learner().learn(data, AutoNet() if self.net is None else self.net, fit=self.recipe, seed=self.seed)
        self.label_scores_ = self.learned_.label_scores
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities, float32 (N, C), columns in the order of ``classes_``."""
        check_is_fitted(self, "learned_")
        return self.learned_.predict_proba(Dataset(inputs=as_inputs(X)))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, in the form `y` had."""
        probs = self.predict_proba(X)
        chosen: np.ndarray = self.classes_[probs.argmax(1)]
        return chosen
