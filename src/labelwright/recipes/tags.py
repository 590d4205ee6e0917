"""Learners of multi-labels: which labels they train on, and how their predictions are measured and written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels, MultiLabels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelwright.data import Dataset
    from labelwright.results import Learned

__all__ = ["aligned_cells", "measure_cells", "trained_labels", "words_of_cells"]

DRAWS = 200
"""Resamples of the test examples for the interval."""


def trained_labels(data: Dataset, has: Sequence[str]) -> ClassLabels | MultiLabels:
    """The labels of `data` that a method for the kinds `has` trains on: multi-labels where it takes them, else class labels.

    Raises
    ------
    InputError
        If there are none, they are of another kind, or none is known.
    """
    if isinstance(data.labels, MultiLabels) and MultiLabels.kind in has:
        if not data.labels.known.any():
            raise InputError(f"None of the {data.labels.values.size:,} labels is known.", hint="Is this the right label column?")
        return data.labels
    return data.class_labels()


def aligned_cells(test: Dataset, names: Sequence[str], *, what: str) -> np.ndarray:
    """Cells int8 (N, C) of `test` in the order of the training classes, -1 where unknown; a class that `test` does not name is unknown.

    Raises
    ------
    InputError
        If the test data have no multi-labels, or present classes that training does not know.
    """
    if test.labels is None:
        raise InputError(f"The {what} data have no labels.", hint="Name their columns with --labels or --test-labels.")
    labels = test.require_labels(MultiLabels)
    place = {str(name): j for j, name in enumerate(names)}
    cells = np.full((len(labels), len(place)), UNKNOWN, dtype=np.int8)
    for j, name in enumerate(labels.names):
        if name in place:
            cells[:, place[name]] = labels.values[:, j]
        elif (labels.values[:, j] == 1).any():
            row = int((labels.values[:, j] == 1).argmax())
            raise InputError(
                f"{what} label {name!r} (row {row}) is no training class.{check.nearest(name, place)}",
                hint=f"Training classes: {', '.join(list(place)[:12])}.",
            )
    if not (cells != UNKNOWN).any():
        raise InputError(f"The {what} data have no known labels.")
    return cells


def measure_cells(learned: Learned, test: Dataset, *, batch_size: int, device: str | None) -> dict[str, Any]:
    """``{n, map, macro_f1, ci95, micro_f1}`` over the known cells of `test`; the interval is that of macro F1, over resampled examples."""
    from labelwright.stats import metrics

    truth = aligned_cells(test, learned.names, what="test")
    rows = np.flatnonzero((truth != UNKNOWN).any(1))
    probs = learned.predict_proba(test if len(rows) == len(test) else test.take(rows), batch_size=max(batch_size, 256), device=device)
    truth = truth[rows]
    macro = metrics.multilabel_f1(truth, probs >= 0.5, draws=DRAWS)
    return {
        "n": len(rows),
        "map": metrics.mean_average_precision(truth, probs).value,
        "macro_f1": macro.value,
        "ci95": [macro.low, macro.high],
        "micro_f1": metrics.multilabel_f1(truth, probs >= 0.5, average="micro", draws=2).value,
    }


def words_of_cells(figures: dict[str, Any]) -> str:
    """What :func:`measure_cells` found, in words."""
    low, high = figures["ci95"]
    return (
        f"test macro F1 {figures['macro_f1']:.3f} [{low:.3f}, {high:.3f}] on {figures['n']:,} examples, "
        f"micro F1 {figures['micro_f1']:.3f}, mean average precision {figures['map']:.3f}"
    )
