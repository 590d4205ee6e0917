"""Choosing examples: by score (easy, hard, a window, stratified), by class, and by coverage of a feature space.

Scores say how hard an example is: larger is harder. The direction is a word (`order`), never a sign. Ties are broken by
position, so every choice is deterministic; randomness comes from `seed` alone. All functions give int64 positions.

References: CCS: Zheng et al. Coverage-centric Coreset Selection for High Pruning Rates. ICLR 2023. arXiv:2210.15809.
Facility location with lazy evaluation: Minoux 1978. Herding and k-centre are in :mod:`labelwright.stats.cluster`.

Letters: N examples, K chosen, C classes, D features.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.cluster import herding, k_centre
from labelwright.stats.neighbours import BLOCK_ELEMENTS, _points, _prepared

__all__ = ["Order", "by_score", "facility_location", "herding", "in_window", "k_centre", "per_class", "random", "ranked", "stratified"]

Order = Literal["easy", "hard"]


def _scores(scores: Any) -> np.ndarray:
    values = np.asarray(scores.detach().cpu() if hasattr(scores, "detach") else scores, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"scores must have shape (N,); got {values.shape}.")
    return check.finite("scores", values)  # type: ignore[no-any-return]


def ranked(scores: Any, *, order: Order) -> np.ndarray:
    """All positions, easiest or hardest first; equal scores by position. ``hard`` is no mere reverse of ``easy`` where scores tie."""
    check.one_of("order", order, ("easy", "hard"))
    values = _scores(scores)
    return np.argsort(values if order == "easy" else -values, kind="stable")


def by_score(scores: Any, k: int, *, order: Order) -> np.ndarray:
    """The `k` easiest or hardest, in that order."""
    values = _scores(scores)
    return ranked(values, order=order)[: check.integer("k", k, low=0, high=len(values))]


def in_window(scores: Any, k: int, *, start: float) -> np.ndarray:
    """`k` neighbours in the ranking from easy to hard, beginning at the share `start` of it in [0, 1] (as far as `k` leaves room)."""
    check.in_range("start", start, low=0, high=1)
    values = _scores(scores)
    check.integer("k", k, low=0, high=len(values))
    first = min(int(start * len(values)), len(values) - k)
    return ranked(values, order="easy")[first : first + k]


def random(n: int, k: int, *, seed: int) -> np.ndarray:
    """`k` of `n` positions drawn without replacement."""
    check.integer("k", k, low=0, high=check.integer("n", n, low=0))
    return np.random.default_rng(seed).permutation(n)[:k].astype(np.int64)


def stratified(scores: Any, k: int, *, bins: int = 50, cut: float = 0.0, seed: int) -> np.ndarray:
    """Coverage-centric choice: the hardest share `cut` is left out, the rest divided into `bins` of equal score width, and the
    budget spread over the bins, smallest first; what a small bin cannot fill goes to the larger ones.

    Parameters
    ----------
    scores
        (N,), larger is harder.
    k
        Examples to choose, at most what `cut` leaves.
    bins
        Strata of equal width between the smallest and the largest score left.
    cut
        Share of the hardest examples left out, in [0, 1): wrong labels gather there.

    Raises
    ------
    InputError
        If fewer than `k` examples are left.
    """
    values = _scores(scores)
    check.integer("bins", bins, low=1)
    check.in_range("cut", cut, low=0, high=1, closed="left")
    order = ranked(values, order="easy")
    left = order[: len(order) - int(cut * len(order))]
    if check.integer("k", k, low=0) > len(left):
        raise InputError(f"k is {k:,}, but only {len(left):,} of {len(values):,} examples are left by cut {cut:g}.", hint="Lower cut or k.")
    if not k:
        return np.zeros(0, dtype=np.int64)
    low, high = values[left[0]], values[left[-1]]
    width = (high - low) / bins
    stratum = np.zeros(len(left), dtype=np.int64) if width <= 0 else np.minimum(((values[left] - low) / width).astype(np.int64), bins - 1)
    sizes = np.bincount(stratum, minlength=bins)
    quota = spread(sizes, k)
    shuffled = np.random.default_rng(seed).permutation(len(left))
    by_bin = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    # the place of each example within its bin: running number less the number before the bin
    place = np.arange(len(left)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = by_bin[place < np.repeat(quota, sizes)]
    return np.sort(left[chosen])


def spread(sizes: np.ndarray, k: int) -> np.ndarray:
    """Quotas (B,) that sum to `k`, none above its size, filled from the smallest group on with an equal share of what is left."""
    quota = np.zeros(len(sizes), dtype=np.int64)
    left, groups = k, np.flatnonzero(sizes)
    for done, g in enumerate(groups[np.argsort(sizes[groups], kind="stable")].tolist()):
        quota[g] = min(int(sizes[g]), left // (len(groups) - done))
        left -= int(quota[g])
    return quota


def per_class(
    labels: Any, k: int, choose: Callable[[np.ndarray, int, int], np.ndarray], *, fill: Literal["error", "repeat"] = "error"
) -> np.ndarray:
    """`k` examples of every class: ``choose(members, k, c)`` gets the positions (n_c,) of class c in order and gives positions *within* them.

    The result (C K,) is class after class, in the order chosen. Rows with an unknown label (-1) are left out.

    Parameters
    ----------
    labels
        int (N,), classes 0..C-1; a class without examples is skipped.
    fill
        What to do with a class of fewer than `k` examples: refuse, or take all of them, again and again.

    Raises
    ------
    InputError
        If a class has too few examples and `fill` is "error".
    """
    values = check.class_index("labels", labels, num_classes=int(np.max(np.asarray(labels), initial=0)) + 1, unknown=-1)
    check.integer("k", k, low=1)
    check.one_of("fill", fill, ("error", "repeat"))
    order = np.argsort(values, kind="stable")
    counts = np.bincount(values[values >= 0])
    order = order[len(order) - counts.sum() :]  # unknown ones come first
    small = np.flatnonzero((counts < k) & (counts > 0))
    if len(small) and fill == "error":
        raise InputError(
            f"Class {small[0]} has {counts[small[0]]} examples, fewer than the {k} asked for; so have {len(small)} of {np.count_nonzero(counts)} classes.",
            hint="Ask for fewer a class, or leave small classes out.",
        )
    found = []
    for c, members in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        if len(members):
            picked = members[np.asarray(choose(members, min(k, len(members)), c), dtype=np.int64)]
            found.append(np.resize(picked, k))  # repeats from the beginning where there are too few
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def facility_location(points: Any, k: int, *, metric: Literal["euclidean", "cosine"] = "euclidean") -> tuple[np.ndarray, np.ndarray]:
    """`k` representatives that maximise the sum over all points of the similarity to the nearest of them, greedily, lazily.

    The similarity is the largest distance of the data from their mean, twice, less the distance (never negative); the greedy
    choice is within 1 - 1/e of the best. Gains are re-evaluated only for the candidate on top of a heap, since they can only
    fall. Of equal gains the first position wins.

    Parameters
    ----------
    points
        Float (N, D); memory is that of a block of distances, N^2 distances are computed once for the first gains.

    Returns
    -------
    chosen, gain
        int64 (k,) in order of choice; float64 (k,): what each added to the sum, never growing.
    """
    x = _points("points", points)
    k = check.integer("k", k, low=1, high=len(x))
    (x,) = _prepared(metric, x)
    reach = 2 * float(x.norm(dim=1).max())  # an upper bound of every distance, so no similarity is negative

    def similarity(rows: torch.Tensor) -> torch.Tensor:
        """(R, N) in float64, of rows of `x`."""
        distance = torch.cdist(rows, x, compute_mode="donot_use_mm_for_euclid_dist").double()
        return reach - (distance.square() / 2 if metric == "cosine" else distance)

    best = torch.zeros(len(x), dtype=torch.float64)  # nothing chosen: similarity 0
    step = max(1, BLOCK_ELEMENTS // max(1, len(x) * x.shape[1]))
    first = torch.cat([similarity(x[s : s + step]).sum(1) for s in range(0, len(x), step)])
    heap = [(-gain, i) for i, gain in enumerate(first.tolist())]
    heapq.heapify(heap)
    chosen: list[int] = []
    gains: list[float] = []
    fresh = np.zeros(len(x), dtype=np.int64)  # how many were chosen when a gain was last computed
    while len(chosen) < k:
        gain, i = heapq.heappop(heap)
        if fresh[i] == len(chosen):
            chosen.append(i)
            gains.append(-gain)
            best = torch.maximum(best, similarity(x[i : i + 1])[0])
            continue
        fresh[i] = len(chosen)
        heapq.heappush(heap, (-float((similarity(x[i : i + 1])[0] - best).clamp_min(0).sum()), i))
    return np.array(chosen, dtype=np.int64), np.array(gains)
