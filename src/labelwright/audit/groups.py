"""Label quality by group: which source, site, annotator or domain the wrong labels come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from labelwright.stats.intervals import wilson

__all__ = ["COLUMNS", "MOST_GROUPS", "group_quality", "groups_of"]

COLUMNS = ("group", "domain", "source", "site", "annotator", "split")
MOST_GROUPS = 200


def group_quality(flagged: np.ndarray, known: np.ndarray, column: np.ndarray) -> list[dict[str, Any]]:
    """Share of labels flagged as wrong in each group, highest first, with Wilson's 95 % interval.

    Parameters
    ----------
    flagged, known
        bool (N,): labels flagged as wrong; labels that exist at all.
    column
        (N,), the group of each row.

    Returns
    -------
    list
        ``{"group", "n", "flagged", "rate", "low", "high", "worse"}``; `worse`: the interval lies above the rate of all others.
        Empty groups are left out. The interval covers sampling, not the errors of the detector.
    """
    words, place = np.unique(column[known].astype(str), return_inverse=True)
    n = np.bincount(place, minlength=len(words))
    bad = np.bincount(place, weights=flagged[known], minlength=len(words)).astype(np.int64)
    rows = []
    for g, word in enumerate(words):
        rate = wilson(int(bad[g]), int(n[g]))
        others = (bad.sum() - bad[g]) / max(1, n.sum() - n[g])
        rows.append(
            {
                "group": str(word),
                "n": int(n[g]),
                "flagged": int(bad[g]),
                "rate": rate.value,
                "low": rate.low,
                "high": rate.high,
                "worse": bool(len(words) > 1 and rate.low > others),
            }
        )
    return sorted(rows, key=lambda row: (-row["rate"], row["group"]))


def groups_of(columns: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The columns that name groups, and why others of those names do not: one group only, or more than 200."""
    found, left = {}, {}
    for name in COLUMNS:
        if name not in columns:
            continue
        number = len(np.unique(columns[name].astype(str)))
        if 2 <= number <= MOST_GROUPS:
            found[name] = columns[name]
        else:
            left[name] = f"column {name!r} holds {number:,} group{'s' if number > 1 else ''}; 2 to {MOST_GROUPS} can be compared"
    return found, left
