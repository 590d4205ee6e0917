"""The mathematics of :mod:`labelwright.audit.class_separability`: from embeddings to death times to scores.

Everything here is a function of its arguments; the sheet's formulas stand in that module's docstring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.trees import spanning_tree

__all__ = [
    "SCORES",
    "Preparation",
    "Separability",
    "death_times",
    "mean_and_error",
    "measure",
    "normalised",
    "plot_data",
    "separability",
    "subsamples",
]

SCORES = ("mean", "median", "entropy", "gap")
MOST_GROUPS = 50  # largest k of S_gap: beyond it the gaps are those between ordinary nearest neighbours
OUTLIER_QUANTILE = 0.995  # of nearest-neighbour distances; farther points are trimmed
TOP_PERCENTILE = 99.0  # divisor of the times with divide_by="p99"
SHARE_WHEN_REPEATED = 0.8  # of the examples in each repeat at most: repeats of the whole set would all be equal
LEAST_FEATURES = 3  # LayerNorm maps every row of two features to (1, -1) or (-1, 1)
PLOT_POINTS = 200
ROUNDINGS = 8  # units in the last place, of the largest coordinate


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is done to embeddings before their distances are taken. See the fields of :class:`ClassSeparability`."""

    normalise: Literal["layernorm", "l2", "none"] = "layernorm"
    max_dims: int = 0
    variance: float = 0.95
    deduplicate: bool = False
    trim: bool = False
    divide_by: Literal["max", "p99"] = "max"

    def __post_init__(self) -> None:
        check.one_of("normalise", self.normalise, ("layernorm", "l2", "none"))
        check.integer("max_dims", self.max_dims, low=0)
        check.in_range("variance", self.variance, low=0, high=1, closed="right")
        check.one_of("divide_by", self.divide_by, ("max", "p99"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Separability:
    """Separability of one point cloud: `times` float64 (n-1,), normalised and ascending; `scores` by name, each in [0, 1];
    `groups`, the estimated number of separated groups; what was done and left out on the way, and `warnings` in words."""

    times: np.ndarray
    scores: dict[str, float]
    groups: int
    n: int
    dims: int
    duplicates: int
    outliers: int
    collapsed: bool
    warnings: tuple[str, ...]


def death_times(points: Any) -> np.ndarray:
    """Finite H0 death times of the Vietoris-Rips filtration of `points` (n, d): float64 (n-1,), ascending, at pairwise distance."""
    return spanning_tree(points).lengths


def normalised(times: np.ndarray, *, divide_by: str = "max") -> np.ndarray:
    """Times over their maximum, or over their 99th percentile and clipped at 1. All zeros stay zeros."""
    if not len(times):
        return times
    top = times.max() if divide_by == "max" else np.percentile(times, TOP_PERCENTILE)
    top = top or times.max()  # more than 99 % zeros: the percentile is 0 though the cloud is not one point
    return np.minimum(times / top, 1.0) if top > 0 else np.zeros_like(times)


def separability(times: np.ndarray, *, num_classes: int | None = None) -> tuple[dict[str, float], int]:
    """The scores of normalised death times, each in [0, 1] and larger for better separated clouds, and the number of groups.

    `num_classes` adds the score ``classes``. A collapsed cloud (no times, or all 0) scores 0 in everything and is one group.
    """
    q = np.sort(np.asarray(times, dtype=np.float64))
    names = (*SCORES, *(() if num_classes is None else ("classes",)))
    if not len(q) or q[-1] <= 0:
        return dict.fromkeys(names, 0.0), 1
    share = q[q > 0] / q.sum()
    spread = -float((share * np.log(share)).sum()) / math.log(len(q)) if len(q) > 1 else 1.0
    falling = q[::-1]
    gaps = falling[:-1] - falling[1:]
    gaps = gaps[:MOST_GROUPS]
    scores = {
        "mean": 1 - float(q.mean()),
        "median": 1 - float(np.median(q)),
        "entropy": max(0.0, 1 - spread),  # equal times give 1 - 1 up to rounding
        "gap": float(gaps.max(initial=0.0)),
    }
    if num_classes is not None:
        check.integer("num_classes", num_classes, low=2)
        between = falling[num_classes - 2] if len(q) >= num_classes else 0.0
        scores["classes"] = 1 - float(falling[num_classes - 1] / between) if between > 0 else 0.0
    return scores, int(gaps.argmax()) + 2 if scores["gap"] > 0 else 1


def measure(embeddings: Any, preparation: Preparation, *, num_classes: int | None = None) -> Separability:
    """Prepare `embeddings` float (n, d), take their death times and score them.

    Raises
    ------
    InputError
        If `embeddings` is not a finite matrix with at least one row.
    """
    points = np.asarray(embeddings.detach().cpu() if hasattr(embeddings, "detach") else embeddings)
    precision = np.finfo(points.dtype if points.dtype.kind == "f" else np.float64).eps
    if points.ndim != 2 or not len(points):
        raise InputError(f"embeddings must have shape (N, D) with N >= 1; got {points.shape}.")
    points = check.finite("embeddings", points.astype(np.float64))
    notes: list[str] = []
    points = _row_normalised(points, preparation.normalise, notes)
    total = len(points)
    if preparation.deduplicate:
        points = np.unique(points, axis=0)
    duplicates = total - len(points)
    if preparation.max_dims:
        points = reduced(points, max_dims=preparation.max_dims, variance=preparation.variance)
    before = len(points)
    if preparation.trim:
        points = trimmed(points)
    times = death_times(points)
    # Rows that a network meant to be equal differ by rounding: a cloud no wider than that counts as one point.
    collapsed = not len(times) or float(times.max()) <= ROUNDINGS * precision * float(np.abs(points).max(initial=0.0))
    q = np.zeros(len(times)) if collapsed else normalised(times, divide_by=preparation.divide_by)
    if collapsed:
        notes.append("the embeddings are collapsed: all points coincide, so the score is 0")
    elif duplicates == 0 and (times == 0).mean() > 0.01:
        notes.append(f"{int((times == 0).sum()):,} points repeat another one and raise the score; deduplicate leaves them out")
    scores, groups = separability(q, num_classes=num_classes)
    return Separability(
        times=q,
        scores=scores,
        groups=groups,
        n=len(points),
        dims=points.shape[1],
        duplicates=duplicates,
        outliers=before - len(points),
        collapsed=collapsed,
        warnings=tuple(notes),
    )


def _row_normalised(points: np.ndarray, how: str, notes: list[str]) -> np.ndarray:
    if how == "layernorm" and points.shape[1] < LEAST_FEATURES:
        notes.append(f"LayerNorm needs at least {LEAST_FEATURES} features and was left out: there are {points.shape[1]}")
    elif how == "layernorm":
        points = points - points.mean(1, keepdims=True)
        points = _divided(points, points.std(1, keepdims=True))
    elif how == "l2":
        points = _divided(points, np.linalg.norm(points, axis=1, keepdims=True))
    return points


def _divided(rows: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Rows over their size; rows of size 0 stay as they are (constant rows carry no direction)."""
    return rows / np.where(size > 0, size, 1.0)


def reduced(points: np.ndarray, *, max_dims: int, variance: float) -> np.ndarray:
    """The first principal components, at most `max_dims` and no more than hold `variance` of the variance. Narrow clouds stay as they are."""
    if points.shape[1] <= max_dims:
        return points
    centred = points - points.mean(0)
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    share = np.cumsum(size**2)
    if not len(share) or share[-1] == 0:
        return centred[:, :1]
    kept = min(max_dims, int(np.searchsorted(share / share[-1], variance - 1e-12)) + 1)
    return centred @ axes[:kept].T


def trimmed(points: np.ndarray) -> np.ndarray:
    """The points whose nearest neighbour is no farther than the 99.5 % quantile of such distances."""
    if len(points) < 3:
        return points
    from labelwright.stats.neighbours import top_k

    near = top_k(points, points, 1, same=True)[1][:, 0]
    return points[near <= np.quantile(near, OUTLIER_QUANTILE)]


def subsamples(n: int, *, size: int, repeats: int, seed: int) -> list[np.ndarray]:
    """Positions of `repeats` random subsamples without replacement, each int64, ascending: the same for the same arguments.

    One repeat takes `size` of the `n` points; several take 80 % of them at most, so that they differ.
    """
    most = n if repeats == 1 else max(2, int(SHARE_WHEN_REPEATED * n))
    rng = np.random.default_rng(seed)
    return [np.sort(rng.choice(n, size=min(size, most, n), replace=False)) for _ in range(repeats)]


def mean_and_error(values: Sequence[float]) -> dict[str, float | None]:
    """Mean over subsamples and its standard error (None for one subsample): sampling of points, not of models."""
    error = None if len(values) < 2 else float(np.std(values, ddof=1) / math.sqrt(len(values)))
    return {"value": float(np.mean(values)), "se": error}


def plot_data(times: np.ndarray) -> dict[str, Any]:
    """The death times as a curve: rank (share of the times, largest first) against normalised time, thinned; the first ranks all stay."""
    falling = np.sort(times)[::-1]
    head = np.arange(min(len(falling), PLOT_POINTS // 4))
    places = (
        np.unique(np.concatenate([head, np.linspace(0, max(len(falling) - 1, 0), PLOT_POINTS).astype(np.int64)])) if len(falling) else head
    )
    return {
        "kind": "curve",
        "title": "H0 death times",
        "x": "bars, largest first",
        "y": "time / maximum",
        "points": [[int(i) + 1, round(float(falling[i]), 6)] for i in places],
    }
