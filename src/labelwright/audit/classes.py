"""Facts about classes: how unequal their sizes are, and which of them cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from labelwright.audit.found import Found, half_life

__all__ = ["RARE", "class_imbalance", "overlapping_classes"]

RARE = 0.2
OVERLAP = 0.05
SHOWN = 20


def class_imbalance(labels: np.ndarray, names: Sequence[str], *, rare: float = RARE) -> Found:
    """Rows of rare classes: those with fewer than `rare` times the examples of an average class.

    Facts: `counts`, `largest_over_smallest` (of classes that occur), `evenness` (entropy of the class shares over log C: 1 when
    all are equal), `rare` and `empty` classes.

    Parameters
    ----------
    labels
        int64 (N,), -1 where unknown.
    rare
        In (0, 1).
    """
    known = labels >= 0
    counts = np.bincount(labels[known], minlength=len(names))
    average = counts.sum() / max(1, len(names))
    present = counts > 0
    few = present & (counts < rare * average)
    index = np.flatnonzero(known & few[np.maximum(labels, 0)])
    shares = counts[present] / max(1, counts.sum())
    evenness = float(-(shares * np.log(shares)).sum() / np.log(len(names))) if len(names) > 1 else 1.0
    facts: dict[str, Any] = {
        "counts": dict(zip(names, counts.tolist(), strict=True)),
        "largest_over_smallest": float(counts.max(initial=0) / max(1, counts[present].min(initial=counts.max(initial=1)))),
        "evenness": evenness,
        "rare": [names[int(c)] for c in np.flatnonzero(few)],
        "empty": [names[int(c)] for c in np.flatnonzero(~present)],
    }
    own = counts[labels[index]]
    return Found(
        issue="class_imbalance",
        index=index,
        score=half_life(own / average, rare) if len(index) else np.empty(0),
        flagged=np.ones(len(index), dtype=bool),
        reason=[f"class {names[labels[i]]} has {counts[labels[i]]:,} examples, an average class {average:,.0f}" for i in index],
        facts=facts,
    )


def overlapping_classes(
    true_if_given: np.ndarray, counts: np.ndarray, names: Sequence[str], *, least: float = OVERLAP
) -> list[dict[str, Any]]:
    """Pairs of classes that are taken for each other, most overlapping first.

    For classes a and b the overlap is the share of their examples whose label is one and whose estimated true class the other.

    Parameters
    ----------
    true_if_given
        (C, C), P(true = j | given = i) as confident learning estimates it.
    counts
        (C,) examples given each class.
    least
        Smallest overlap listed.

    Returns
    -------
    list
        Up to 20 of ``{"a", "b", "overlap", "examples"}``.
    """
    moved = true_if_given * counts[:, None]
    both = moved + moved.T
    total = counts[:, None] + counts[None]
    overlap = np.triu(np.divide(both, total, out=np.zeros_like(both, dtype=np.float64), where=total > 0), k=1)
    order = np.argsort(-overlap, axis=None, kind="stable")[:SHOWN]
    pairs = (divmod(int(cell), len(names)) for cell in order)
    return [
        {"a": names[i], "b": names[j], "overlap": float(overlap[i, j]), "examples": round(float(both[i, j]))}
        for i, j in pairs
        if overlap[i, j] >= least
    ]
