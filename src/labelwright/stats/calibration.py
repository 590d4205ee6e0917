"""How far predicted probabilities can be taken at their word, and one number that mends them.

`probs` are float (N, C) with rows on the simplex, `labels` int (N,), `logits` float (N, C).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special
from scipy.optimize import brentq

from labelwright import check
from labelwright.errors import InputError

__all__ = ["brier", "calibration_error", "fit_temperature", "negative_log_likelihood", "reliability", "soften"]

HOTTEST, COLDEST = 1e3, 1e-3  # bounds of the temperature; reached when logits say nothing, or when every prediction is right


def _pair(probs: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    p = np.asarray(probs, dtype=np.float64)
    check.probabilities("probs", p)
    y = check.class_index("labels", labels, num_classes=p.shape[1])
    if check.same_length(probs=p, labels=y) == 0:
        raise InputError("labels are empty: there is nothing to measure.")
    return p, y


def reliability(probs: Any, labels: Any, *, bins: int = 15, adaptive: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The reliability diagram of the most probable class: (confidence (B,), accuracy (B,), count (B,)), NaN for empty bins.

    Bins have equal width on (0, 1], closed above; with `adaptive`, equal counts (equal confidences stay together).
    """
    p, y = _pair(probs, labels)
    check.integer("bins", bins, low=1)
    confidence, right = p.max(1), p.argmax(1) == y
    if adaptive:
        last = -(-len(p) * np.arange(1, bins) // bins) - 1  # of each bin in sorted order, in whole numbers
        place = np.searchsorted(np.sort(confidence)[np.maximum(last, 0)], confidence, side="left")
    else:
        place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        sums = (np.bincount(place, weights=w, minlength=bins) for w in (confidence, right))
        mean_confidence, accuracy = (s / count for s in sums)
    return mean_confidence, accuracy, count


def calibration_error(probs: Any, labels: Any, *, bins: int = 15, adaptive: bool = False) -> float:
    """Expected calibration error: mean over examples of |accuracy - confidence| of their bin (Guo et al. 2017; 15 bins)."""
    confidence, accuracy, count = reliability(probs, labels, bins=bins, adaptive=adaptive)
    filled = count > 0
    return float((count[filled] * np.abs(accuracy - confidence)[filled]).sum() / count.sum())


def brier(probs: Any, labels: Any) -> float:
    """Brier score, the original sum over classes: mean of ``sum_j (p_j - [y = j])^2``, in [0, 2]."""
    p, y = _pair(probs, labels)
    return float((np.square(p).sum(1) - 2 * p[np.arange(len(y)), y] + 1).mean())


def negative_log_likelihood(probs: Any, labels: Any) -> float:
    """Mean of ``-log p_y`` in nats; infinite if a true class has probability 0."""
    p, y = _pair(probs, labels)
    with np.errstate(divide="ignore"):
        return float(-np.log(np.clip(p[np.arange(len(y)), y], 0, None)).mean())


def fit_temperature(logits: Any, labels: Any) -> float:
    """Temperature T that minimises the mean of ``-log softmax(logits / T)_y`` (Guo et al. 2017), in [0.001, 1000].

    In the inverse temperature the loss is convex, with derivative ``E[sum_j p_j z_j - z_y]``; its root is bracketed, so the
    minimum is exact and the same everywhere. A bound is returned where the loss falls all the way to it.

    Raises
    ------
    InputError
        If shapes disagree, there are no rows, or a logit is not finite.
    """
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or not len(z):
        raise InputError(f"logits must have shape (N, C) with N >= 1; got {z.shape}.")
    check.finite("logits", z)
    y = check.class_index("labels", labels, num_classes=z.shape[1])
    check.same_length(logits=z, labels=y)
    z = z - z[np.arange(len(y)), y][:, None]  # the shift leaves softmax alone and makes z_y zero

    def slope(inverse: float) -> float:
        return float((special.softmax(inverse * z, axis=1) * z).sum(1).mean())

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(low) >= 0:
        return HOTTEST
    if slope(high) <= 0:
        return COLDEST
    return float(1 / brentq(slope, low, high, xtol=1e-12, rtol=1e-10))


def soften(logits: Any, temperature: float) -> np.ndarray:
    """``softmax(logits / temperature)``, float64 (N, C)."""
    check.in_range("temperature", temperature, low=0, closed="neither")
    return np.asarray(special.softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1))
