"""What one check of the whole audit hands back: rows worth listing, and facts about the dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwright import check

__all__ = ["Found", "half_life", "none_found"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Rows of one issue: `index` int64 (M,) positions, `score` (M,) in [0, 1] (0.5 = the threshold), `flagged` bool (M,), `reason` M sentences.

    `facts` are plain values about the dataset as a whole. An issue that was looked for and not found has no rows; one that
    could not be looked for is no `Found` at all but a :class:`Skipped`.
    """

    issue: str
    index: np.ndarray
    score: np.ndarray
    flagged: np.ndarray
    reason: Sequence[str]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check.same_length(index=self.index, score=self.score, flagged=self.flagged, reason=self.reason)


def none_found(issue: str, **facts: Any) -> Found:
    """No rows."""
    return Found(issue=issue, index=np.empty(0, dtype=np.int64), score=np.empty(0), flagged=np.empty(0, dtype=bool), reason=(), facts=facts)


def half_life(values: np.ndarray, threshold: float) -> np.ndarray:
    """Scores of quantities that are bad when *small*: ``2 ** (-value / threshold)``, 1 at zero, 0.5 at the threshold."""
    return np.exp2(-np.maximum(np.asarray(values, dtype=np.float64), 0) / threshold)
