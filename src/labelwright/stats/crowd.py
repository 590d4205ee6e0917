"""One label from several votes: majority, "strict" (one voice of alarm is enough), median of ordered classes.

Votes are int (N, R), -1 where an annotator gave none; so is the result where nothing can be said.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from labelwright import check
from labelwright.stats.agreement import as_votes, vote_counts

__all__ = ["Crowd", "aggregate", "experienced", "majority", "median", "strict"]

Crowd = Literal["majority", "strict", "median"]


def majority(votes: Any, num_classes: int | None = None, *, ties: Literal["unknown", "first"] = "unknown") -> np.ndarray:
    """The class with most votes, int64 (N,): -1 without a vote, and for a tie unless ``ties="first"`` takes the lowest class."""
    check.one_of("ties", ties, ("unknown", "first"))
    counts = vote_counts(votes, num_classes)
    top = counts.max(1)
    tied = (counts == top[:, None]).sum(1) > 1
    return np.where((top == 0) | (tied & (ties == "unknown")), -1, counts.argmax(1))


def strict(votes: Any, num_classes: int | None = None, *, alarm: int = 0) -> np.ndarray:
    """Class `alarm` where anybody voted for it, else the majority: int64 (N,). With two classes this is "any inconsistent vote wins"."""
    values, size = as_votes(votes, num_classes)
    check.integer("alarm", alarm, low=0, high=size - 1)
    return np.where((values == alarm).any(1), alarm, majority(values, size))


def median(votes: Any, num_classes: int | None = None) -> np.ndarray:
    """Median of ordered classes, float64 (N,): for an even count the mean of the two in the middle; NaN without a vote."""
    values, size = as_votes(votes, num_classes)
    ordered = np.sort(np.where(values < 0, size, values), axis=1)  # missing votes sort to the end
    count = (values >= 0).sum(1)
    rows = np.arange(len(values))
    low, high = ordered[rows, np.maximum(count - 1, 0) // 2], ordered[rows, np.minimum(count // 2, values.shape[1] - 1)]
    return np.where(count > 0, (low + high) / 2, np.nan)


def experienced(votes: Any, *, least: int) -> np.ndarray:
    """Which annotators gave at least `least` votes, bool (R,): people who label more agree more with experts."""
    values, _ = as_votes(votes, None)
    return np.asarray((values >= 0).sum(0) >= check.integer("least", least, low=0))


def aggregate(votes: Any, num_classes: int | None = None, *, how: Crowd = "majority", alarm: int = 0) -> np.ndarray:
    """Labels int64 (N,) by one of the three rules, -1 where there are no votes or a tie. A median between two classes goes to the upper one."""
    check.one_of("how", how, ("majority", "strict", "median"))
    if how == "majority":
        return majority(votes, num_classes)
    if how == "strict":
        return strict(votes, num_classes, alarm=alarm)
    middle = median(votes, num_classes)
    return np.where(np.isnan(middle), -1, np.floor(np.nan_to_num(middle) + 0.5)).astype(np.int64)
