"""How sure a round is of each node, and the two sets it draws from that: nodes to trust and nodes to ask about.

    LE(v) = - sum_c p_vc log p_vc                                             label entropy, in [0, log C]
    LH(v) = sum_c | p_vc - (1/deg v) sum_{u in N(v)} p_uc | = ||(L_rw P)_v||_1   label disharmonicity, in [0, 2]
    P     = sum_i w_i P^(i),   w_i = (1 - a) a^(S-i) / (1 - a^S)                 over the stages so far

P is a mixture of softmax outputs: probabilities in, probabilities out (the released code averages logits).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from labelwright import check
from labelwright.stats.graphs import normalised

__all__ = ["dropped_first", "ensemble", "extremes", "label_disharmonicity", "label_entropy", "lowest_both", "stage_weights"]


def label_entropy(probs: np.ndarray) -> np.ndarray:
    """Entropy of each row in nats, float64 (V,); `probs` (V, C)."""
    probs = np.asarray(probs, dtype=np.float64)
    return np.asarray(-np.where(probs > 0, probs * np.log(np.where(probs > 0, probs, 1.0)), 0.0).sum(1))


def label_disharmonicity(adjacency: sparse.csr_matrix, probs: np.ndarray, *, isolated: float = 0.0) -> np.ndarray:
    """L1 distance of each node's distribution from the mean of its neighbours', float64 (V,).

    A node without neighbours contradicts nobody: it gets `isolated`. One sparse product, O(E C).
    """
    probs = np.asarray(probs, dtype=np.float64)
    check.same_length(adjacency=np.diff(adjacency.indptr), probs=probs)
    around = normalised(adjacency.astype(np.float64), "row") @ probs
    return np.where(np.diff(adjacency.indptr) > 0, np.abs(probs - around).sum(1), isolated)


def stage_weights(stages: int, *, decay: float = 0.5) -> np.ndarray:
    """``(1 - a) a^(S-i) / (1 - a^S)`` for i = 1..S: float64 (S,), growing with the stage, summing to 1."""
    check.in_range("decay", decay, low=0, high=1, closed="neither")
    weights = decay ** np.arange(check.integer("stages", stages, low=1) - 1, -1, -1, dtype=np.float64)
    return np.asarray(weights / weights.sum())


def ensemble(outputs: Sequence[np.ndarray], *, decay: float = 0.5) -> np.ndarray:
    """Mixture of the stages' probabilities (V, C), later ones heavier; rows sum to 1."""
    mixed = sum(w * np.asarray(p, dtype=np.float64) for w, p in zip(stage_weights(len(outputs), decay=decay), outputs, strict=True))
    return np.asarray(mixed / np.asarray(mixed).sum(1, keepdims=True))


def dropped_first(confidence: np.ndarray, labels: np.ndarray, *, share: float) -> np.ndarray:
    """Which answers not to train on: bool (M,), True for `share` of the M answers (rounded down), fewer where classes would run empty.

    One at a time, the answer with the least sum of two percentile ranks: of its confidence, and of minus the change of the
    entropy of the label histogram when it goes. Doubtful answers of crowded classes go first; the last of a class never goes.
    """
    check.same_shape(confidence=confidence, labels=labels)
    check.in_range("share", share, low=0, high=1, closed="left")
    total = len(labels)
    gone = np.zeros(total, dtype=bool)
    counts = np.bincount(labels, minlength=1).astype(np.float64)
    for _ in range(total - int(np.ceil((1 - share) * total - 1e-9))):  # 0.7 * 10 is 7.000000000000001 in some orders
        here = np.flatnonzero(~gone & (counts[labels] > 1))
        if not len(here):
            break
        change = _entropy_change(counts)[labels[here]]
        # rounding first: equal entropies of two classes must tie, whatever the order of summation
        score = (rankdata(confidence[here]) + rankdata(-np.round(change, 12))) / len(here)
        worst = here[int(score.argmin())]
        gone[worst] = True
        counts[labels[worst]] -= 1
    return gone


def _entropy_change(counts: np.ndarray) -> np.ndarray:
    """Entropy of the histogram after one of each class has gone, minus the entropy now: (C,), for classes that have two or more."""
    left = counts[None] - np.eye(len(counts))
    return label_entropy(np.maximum(left, 0) / max(counts.sum() - 1, 1)) - label_entropy((counts / counts.sum())[None])[0]


def lowest_both(first: np.ndarray, second: np.ndarray, allowed: np.ndarray, size: int, *, share: float = 0.1) -> np.ndarray:
    """Nodes low in both scores: int64 positions, exactly `size` of the `allowed` ones (all of them where there are fewer).

    Those among the lowest `share` of all nodes in `first` and the `size` lowest in `second`; where these are too few, the lowest
    that are left of `first` and of `second` in turn. Equal in one score: by the other, then by position.
    """
    check.same_shape(first=first, second=second, allowed=allowed)
    size = min(check.integer("size", size, low=0), int(allowed.sum()))
    orders = np.lexsort((second, first)), np.lexsort((first, second))
    by_first, by_second = (order[allowed[order]] for order in orders)
    top = by_first[: max(1, int(share * len(first)))]
    chosen = by_second[:size][np.isin(by_second[:size], top)]
    taken = np.zeros(len(first), dtype=bool)
    taken[chosen] = True
    more: list[int] = []
    queues = [iter(by_first.tolist()), iter(by_second.tolist())]
    for turn in range(size - len(chosen)):
        node = next(v for v in queues[turn % 2] if not taken[v])
        taken[node] = True
        more.append(node)
    return np.concatenate([chosen, np.asarray(more, dtype=np.int64)]).astype(np.int64)


def extremes(
    probs: np.ndarray, adjacency: sparse.csr_matrix, allowed: np.ndarray, *, critical: int, confident: int, by_margin: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Critical and confident nodes, int64 each, disjoint, among the `allowed` ones; the critical are drawn first.

    Critical: high in disharmonicity and entropy (`by_margin`: lowest largest probability instead). Confident: low in both.
    Nodes without neighbours have the median disharmonicity here, so that it speaks neither for nor against them.
    """
    entropy, harmony = label_entropy(probs), label_disharmonicity(adjacency, probs)
    linked = np.diff(adjacency.indptr) > 0
    harmony = np.where(linked, harmony, np.median(harmony[linked]) if linked.any() else 0.0)
    if by_margin:
        top = np.asarray(probs).max(1)
        order = np.argsort(top, kind="stable")
        ask = order[allowed[order]][:critical].astype(np.int64)
    else:
        ask = lowest_both(-harmony, -entropy, allowed, critical)
    rest = allowed.copy()
    rest[ask] = False
    return ask, lowest_both(harmony, entropy, rest, confident)
