"""Outliers: examples far from their nearest neighbours, against how far neighbours usually are.

With s_i the mean distance of example i to its K neighbours and u_i = log s_i, an example is flagged above Tukey's fence

    u > Q3 + 2 (Q3 - Q1)

where Q1 and Q3 are the quartiles of u: 3.4 standard deviations for normal u, which clean data pass once in 2,700 times. The
fence comes from the data themselves and does not change when distances are scaled.
"""

from __future__ import annotations

import numpy as np

from labelwright.audit.found import Found, none_found

__all__ = ["FENCE", "LISTED", "find_outliers", "outlier_scores"]

FENCE = 2.0
LISTED = 0.4
"""Rows scored at least so high are listed; 0.5 is flagged."""


def outlier_scores(distances: np.ndarray, *, fence: float = FENCE) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64 (N,) in [0, 1), 0.5 at the fence, and s / median(s) for the reasons.

    Parameters
    ----------
    distances
        Float (N, K), to the neighbours of each example.
    fence
        Interquartile ranges above the third quartile, > 0.
    """
    spacing = distances.astype(np.float64).mean(1)
    positive = spacing > 0  # exact copies have no neighbours at a distance; they are no outliers
    if not positive.any():
        return np.zeros(len(spacing)), np.ones(len(spacing))
    logs = np.log(spacing[positive])
    low, middle, high = np.quantile(logs, [0.25, 0.5, 0.75])
    reach = high + fence * (high - low) - middle
    scores = np.zeros(len(spacing))
    if reach > 1e-9:  # equal spacings everywhere: nothing stands out
        scores[positive] = 1 - np.exp2(-np.maximum(logs - middle, 0) / reach)
    return scores, spacing / np.exp(middle)


def find_outliers(distances: np.ndarray, *, fence: float = FENCE) -> Found:
    """Rows above or near the fence."""
    scores, ratio = outlier_scores(distances, fence=fence)
    index = np.flatnonzero(scores >= LISTED)
    if not len(index):
        return none_found("outlier")
    return Found(
        issue="outlier",
        index=index,
        score=scores[index],
        flagged=scores[index] > 0.5,
        reason=[f"its {distances.shape[1]} nearest neighbours are {ratio[i]:.1f} times as far as usual" for i in index],
    )
