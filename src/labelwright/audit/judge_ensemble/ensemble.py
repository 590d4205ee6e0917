"""The mathematics of the ensemble: mean, disagreement, flags, calibration. Arrays in, arrays out.

J judges, N examples, C classes. Probabilities (J, N, C); a row of NaN says that a judge does not know. Given labels int (N,), -1 unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN
from labelwright.stats.calibration import fit_temperature, soften

__all__ = ["Ensemble", "combine", "default_edges", "disagreements", "error_scores", "flags", "review_order", "temper", "temperatures"]

TIE = 1e-9
"""Two probabilities closer than this are equal: a mean of votes must not depend on the order in which they are added."""
FLOOR = 1e-12
"""Least probability of which a logarithm is taken."""
LEAST_GOLD = 20
"""Below so many gold labels of a judge its temperature stays 1."""
NOMINAL = (0.5, 0.65, 0.8, 0.95, 0.99, 1.0)
ORDINAL = (0.2, 0.55, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What J judges say together.

    Attributes
    ----------
    probs
        float64 (N, C): mean over the judges that answered, rows sum to 1; NaN where none did.
    prediction
        int64 (N,): the most probable class (the first of equals), -1 where abstained.
    confidence
        float64 (N,): its probability, at least 1 / C; 0 where abstained.
    answered
        int64 (N,): how many judges answered.
    """

    probs: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    answered: np.ndarray

    def __len__(self) -> int:
        return len(self.answered)

    @property
    def abstained(self) -> np.ndarray:
        """bool (N,): no judge answered."""
        return self.answered == 0


def combine(probs: Any) -> Ensemble:
    """Mean of the judges' distributions, each example over those that answered: probabilities are averaged, not votes or logits.

    Raises
    ------
    InputError
        If `probs` is not (J, N, C) with J >= 1 and C >= 2, or a row is neither NaN throughout nor a distribution.
    """
    p = np.asarray(probs, dtype=np.float64)
    if p.ndim != 3 or not p.shape[0] or p.shape[2] < 2:
        raise InputError(f"probs must have shape (judges, examples, classes), with a judge and two classes at least; got {p.shape}.")
    known = np.asarray(~np.isnan(p).all(2))
    for j, rows in enumerate(p):
        check.probabilities(f"probabilities of judge {j}", rows[known[j]])
    answered = known.sum(0)
    with np.errstate(invalid="ignore"):
        mean = np.where(known[:, :, None], p, 0.0).sum(0) / answered[:, None]
    mean /= np.where(answered > 0, mean.sum(1), 1.0)[:, None]
    filled = np.where(answered[:, None] > 0, mean, -1.0)
    top = filled.max(1, initial=-1.0)
    first = (filled >= top[:, None] - TIE).argmax(1)
    confidence = np.clip(top, 1 / p.shape[2], 1.0)  # rounding must not put it below its least value, outside the bins
    return Ensemble(mean, np.where(answered > 0, first, UNKNOWN), np.where(answered > 0, confidence, 0.0), answered)


def error_scores(probs: Any, given: Any, *, gap: int = 0) -> np.ndarray:
    """The ensemble's probability of the best class that would make the given label wrong: float64 (N,) in [0, 1].

    Those are the classes more than `gap` away from the given one: with gap 0 (nominal labels) all others. Where the ensemble disagrees,
    this is its confidence; elsewhere it is at most that, so one order ranks all labels. 0 where the label or the verdict is unknown.
    """
    p, y = _pair(probs, given)
    far = np.abs(np.arange(p.shape[1])[None, :] - y[:, None]) > check.integer("gap", gap, low=0)
    score = np.where(far, p, 0.0).max(1, initial=0.0)
    return np.where((y >= 0) & ~np.isnan(p).any(1), np.nan_to_num(score), 0.0)


def disagreements(probs: Any, given: Any, *, gap: int = 0) -> np.ndarray:
    """Where the ensemble's class is more than `gap` away from the given one: bool (N,). A tie with a class that is not, is none."""
    p, y = _pair(probs, given)
    known = (y >= 0) & ~np.isnan(p).any(1)
    near = np.abs(np.arange(p.shape[1])[None, :] - y[:, None]) <= check.integer("gap", gap, low=0)
    p = np.where(known[:, None], p, 0.0)
    return np.asarray(known & (error_scores(p, y, gap=gap) > np.where(near, p, 0.0).max(1, initial=0.0) + TIE))


def flags(probs: Any, given: Any, *, theta: float, gap: int = 0) -> np.ndarray:
    """Disagreements of confidence `theta` at least: bool (N,). Above 1 nothing is flagged, at 0 every disagreement."""
    return disagreements(probs, given, gap=gap) & (error_scores(probs, given, gap=gap) >= theta - TIE)


def review_order(flagged: Any, score: Any) -> np.ndarray:
    """Positions of the flagged examples, most confident first; equal ones in order of the rows."""
    where = np.flatnonzero(flagged)
    return where[np.argsort(-np.asarray(score)[where], kind="stable")]


def default_edges(num_classes: int, *, ordinal: bool = False) -> tuple[float, ...]:
    """Edges of the confidence bins: the paper's, begun at 1 / C, below which no confidence lies."""
    start = 1 / num_classes
    return (start, *(e for e in (ORDINAL if ordinal else NOMINAL) if e > start))


def temperatures(probs: Any, gold: Any) -> np.ndarray:
    """For each judge the temperature that fits its probabilities to the gold labels (N,), -1 unknown: float64 (J,).

    1 for judges with fewer than 20 gold labels: a temperature from less says nothing.
    """
    p, y = np.asarray(probs, dtype=np.float64), np.asarray(gold)
    found = np.ones(len(p))
    for j, rows in enumerate(p):
        use = (y >= 0) & ~np.isnan(rows).any(1)
        if use.sum() >= LEAST_GOLD:
            found[j] = fit_temperature(np.log(np.maximum(rows[use], FLOOR)), y[use])
    return found


def temper(probs: Any, temperature: Any) -> np.ndarray:
    """Each judge's probabilities with its own temperature: ``p^(1/T)`` scaled to sum to 1, float64 (J, N, C). T = 1 changes nothing."""
    p, t = np.asarray(probs, dtype=np.float64), np.asarray(temperature, dtype=np.float64)
    if t.shape != p.shape[:1]:
        raise InputError(f"There must be a temperature for each of the {len(p)} judges; got shape {t.shape}.")
    return np.stack([rows if t[j] == 1 else soften(np.log(np.maximum(rows, FLOOR)), float(t[j])) for j, rows in enumerate(p)])


def _pair(probs: Any, given: Any) -> tuple[np.ndarray, np.ndarray]:
    p, y = np.asarray(probs, dtype=np.float64), np.asarray(given)
    if p.ndim != 2:
        raise InputError(f"The ensemble's probabilities must have shape (N, C); got {p.shape}.")
    check.same_length(probs=p, given=y)
    return p, check.class_index("given", y, num_classes=p.shape[1], unknown=UNKNOWN)
