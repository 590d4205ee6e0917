"""Cleaning without experts: filter or flip what is flagged, and random controls that change as many.

    filter   flagged examples leave the training set
    flip     flagged examples take the ensemble's class
    random   as many examples, drawn from all that may be changed: what a gain must be measured against

Rows of validation and test splits are never touched: a test set whose labels a model has rewritten measures agreement with that model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from labelwright import check
from labelwright.data import Dataset
from labelwright.data.splits import held_out
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels
from labelwright.results import Audit

__all__ = ["Clean", "Cleaned", "clean", "random_flags", "random_labels"]

Clean = Literal["filter", "flip"]
ISSUES = ("label_error", "judge_disagreement")
STREAM = 0xC7A1
"""Sets the draw of controls apart from the one that corrupted the labels: with one seed for both, the "random" rows would be the wrong ones."""


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A cleaned dataset, the `changed` rows (bool, of the data given), and examples by class before and after."""

    data: Dataset
    changed: np.ndarray
    before: dict[str, int]
    after: dict[str, int]


def random_flags(eligible: Any, count: int, *, seed: int) -> np.ndarray:
    """`count` of the `eligible` rows bool (N,), drawn without replacement: bool (N,)."""
    rows = np.flatnonzero(eligible)
    check.integer("count", count, low=0, high=len(rows))
    chosen = np.zeros(len(np.asarray(eligible)), dtype=bool)
    chosen[np.random.default_rng([seed, STREAM]).permutation(rows)[:count]] = True
    return chosen


def random_labels(given: Any, changed: Any, num_classes: int, *, seed: int) -> np.ndarray:
    """Labels int64 (N,) in which each `changed` row takes one of the *other* classes at random."""
    y, c = np.asarray(given), np.asarray(changed, dtype=bool)
    shift = np.random.default_rng([seed, STREAM, 1]).integers(1, num_classes, len(y))
    return np.where(c & (y >= 0), (y + shift) % num_classes, y)


def clean(data: Dataset, audit: Audit, *, how: Clean, theta: float = 0.95, control: bool = False, seed: int = 0) -> Cleaned:
    """Filter or flip the labels that judges dispute with confidence `theta` at least.

    `audit` is what `judge-ensemble` (or the whole audit with judges) returned for this `data`. With `control`, as many examples are
    drawn at random and dropped, or given another class at random. For decisions of a person, and a reason a row, use ``annotate correct``.

    Raises
    ------
    InputError
        If the audit has no findings of judges about these examples, or nothing would be left.
    """
    check.one_of("how", how, ("filter", "flip"))
    check.in_range("theta", theta, low=0)
    labels = data.require_labels(ClassLabels)
    flagged, suggested = disputed(data, audit, labels, theta=theta)
    free = labels.known & ~held_out(data)
    flagged &= free
    if control:
        flagged = random_flags(free, int(flagged.sum()), seed=seed)
    before = dict(zip(labels.names, labels.counts().tolist(), strict=True))
    if how == "filter":
        if flagged.all():
            raise InputError("Every example would be dropped.", hint="Raise theta, or use how='flip'.")
        made = data.take(~flagged)
    else:
        values = (
            random_labels(labels.values, flagged, labels.num_classes, seed=seed) if control else np.where(flagged, suggested, labels.values)
        )
        made = data.with_labels(ClassLabels(values=values, names=labels.names))
    after = made.require_labels(ClassLabels)
    return Cleaned(data=made, changed=flagged, before=before, after=dict(zip(after.names, after.counts().tolist(), strict=True)))


def disputed(data: Dataset, audit: Audit, labels: ClassLabels, *, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows that the judges of an audit dispute with confidence `theta`, bool (N,), and the class they suggest, int64 (N,), -1 none."""
    import polars as pl

    if "judges" not in audit.facts:
        raise InputError("The audit has no findings of judges.", hint="Make them with audit judge-ensemble, or audit --judges FILE.")
    issue = ISSUES[1] if ISSUES[1] in audit.findings.get_column("issue").to_list() else ISSUES[0]
    rows = audit.findings.filter((pl.col("issue") == issue) & pl.col("suggested").is_not_null())
    place = data.positions(rows.get_column("id").to_numpy()) if rows.height else np.empty(0, dtype=np.int64)
    number = {name: j for j, name in enumerate(labels.names)}
    suggested = np.full(len(data), UNKNOWN, dtype=np.int64)
    suggested[place] = [number.get(word, UNKNOWN) for word in rows.get_column("suggested").to_list()]
    score = np.zeros(len(data))
    score[place] = rows.get_column("score").to_numpy()
    return (suggested != UNKNOWN) & (suggested != labels.values) & (score >= theta - 1e-9), suggested
