"""Label errors where an example may have several classes: each class against the rest, then put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwright import check
from labelwright.audit.label_errors import Collisions, FilterBy, Score, as_probs, check_options, find, noise_rate
from labelwright.errors import InputError

__all__ = ["MultiLabelErrors", "find_multilabel_errors"]

MOMENTUM = 0.8
"""Weight of the worst class in an example's score; the paper's value (section 3, "exponential moving average")."""


@dataclass(frozen=True, eq=False)
class MultiLabelErrors:
    """What :func:`find_multilabel_errors` found, for C classes that are each present or absent.

    Attributes
    ----------
    mask
        bool (N,): some class of the example is flagged.
    score
        float64 (N,) in [0, 1], higher = more likely wrong: the exponential moving average of the example's cells, worst last.
    suggested
        int8 (N, C): the given labels with flagged cells turned over; -1 where unknown.
    cells, cell_scores
        bool and float64 (N, C): flag and score of each class; False and 0 where the label is unknown.
    joint
        int64 (C, 2, 2): confident joint of each class, absent before present; zero for a class seen in one state only.
    """

    mask: np.ndarray
    score: np.ndarray
    suggested: np.ndarray
    cells: np.ndarray = field(repr=False)
    cell_scores: np.ndarray = field(repr=False)
    joint: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def noise_rates(self) -> np.ndarray:
        """Estimated share of wrong labels of each class, float64 (C,)."""
        return np.array([noise_rate(j) for j in self.joint])


def find_multilabel_errors(
    labels: Any,
    probs: Any,
    *,
    filter_by: FilterBy = "prune_by_noise_rate",
    score: Score = "self_confidence",
    collisions: Collisions = "overall",
    min_examples: int = 1,
) -> MultiLabelErrors:
    """Which labels are probably wrong where each of C classes is present or absent (Thyagarajan et al. 2022, arXiv:2211.13895).

    Parameters
    ----------
    labels
        int (N, C): 1 present, 0 absent, -1 unknown (takes no part).
    probs
        float (N, C) in [0, 1], out-of-sample: probability that the class is present. Rows need not sum to one.
    filter_by, score, collisions, min_examples
        As in :func:`~labelwright.audit.find_label_errors`, applied to each class as a problem of two classes. A class that
        is always present, or always absent, among the known cells is never flagged.

    Raises
    ------
    InputError
        If shapes differ, a label is none of 1, 0, -1, a probability lies outside [0, 1], or N = 0.
    """
    check_options(filter_by, score, collisions, min_examples)
    given = np.asarray(labels)
    matrix = _cell_probs(probs)
    n, c = check.same_shape(labels=given, probs=matrix)
    if n == 0:
        raise InputError("There are no examples (N = 0).", hint="Check the file or the filter that made the labels.")
    bad = ~np.isin(given, (-1, 0, 1))
    if bad.any():
        row, column = (int(i[0]) for i in np.nonzero(bad))
        raise InputError(f"labels must be 1, 0 or -1 (unknown); row {row}, column {column} is {given[row, column]!r}.")
    cells, scores, joint = np.zeros((n, c), dtype=bool), np.zeros((n, c)), np.zeros((c, 2, 2), dtype=np.int64)
    for j in range(c):
        known = np.flatnonzero(given[:, j] >= 0)
        present = given[known, j].astype(np.int64)
        pair = np.stack([1 - matrix[known, j], matrix[known, j]], axis=1)
        counts = np.bincount(present, minlength=2)
        if not len(known):
            continue
        found = find(present, pair, counts, filter_by=filter_by, score=score, collisions=collisions, min_examples=min_examples)
        scores[known, j] = found.score
        if counts.all():
            cells[known, j], joint[j] = found.mask, found.joint
    suggested = np.where(cells, 1 - given, given).astype(np.int8)
    return MultiLabelErrors(
        mask=np.asarray(cells.any(1)),
        score=pooled(scores, given >= 0),
        suggested=suggested,
        cells=cells,
        cell_scores=scores,
        joint=joint,
    )


def _cell_probs(probs: Any) -> np.ndarray:
    raw = probs.detach().cpu().numpy() if hasattr(probs, "detach") else probs
    if not isinstance(raw, (str,)) and np.ndim(raw) == 2 and np.shape(raw)[1] == 1:
        matrix = np.asarray(raw, dtype=np.float64)  # one class of yes or no is a problem of two classes here
    else:
        matrix = as_probs(raw)
    inside = (matrix >= 0) & (matrix <= 1)  # NaN is outside
    if not inside.all():
        row, column = (int(i[0]) for i in np.nonzero(~inside))
        raise InputError(
            f"probs must lie in [0, 1]: {int((~inside).sum()):,} values do not, first row {row}, column {column} ({matrix[row, column]:.4g}).",
            hint="If these are logits, apply the sigmoid first.",
        )
    return matrix


def pooled(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Exponential moving average of each row of `scores` (N, C) over its known cells, from the best to the worst: float64 (N,).

    ``s <- a s_next + (1 - a) s`` gives the r-th worst of K cells the weight ``a (1 - a)^r``, and the best one ``(1 - a)^(K - 1)``.
    """
    worst_first = -np.sort(-np.where(known, scores, -1.0), axis=1)
    number = known.sum(1)
    rank = np.arange(scores.shape[1])
    weight = np.where(rank < (number - 1)[:, None], MOMENTUM * (1 - MOMENTUM) ** rank, (1 - MOMENTUM) ** rank)
    return np.clip(np.where(rank < number[:, None], weight * worst_first, 0.0).sum(1), 0, 1)
