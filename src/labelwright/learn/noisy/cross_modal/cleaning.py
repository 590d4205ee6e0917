"""The mathematics of phase 3: beliefs, bootstrapped targets, noise removal, losses. Pure functions, one value an example or cell.

Single labels are class indices int64 (B,); multi-labels cells float (B, C) of 1, 0 and NaN (unknown or ignored). Prototypes are
unit vectors: (C, d), or (C, 2, d) with absent before present.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright import check

__all__ = [
    "CORRECTED",
    "KEPT",
    "REMOVED",
    "beliefs",
    "bootstrap",
    "clean_cells",
    "clean_labels",
    "masked_bce",
    "positive_weights",
    "prototype_logits",
    "soft_targets",
]

REMOVED, KEPT, CORRECTED = 0, 1, 2
FLOOR = 1e-7  # keys at a right angle or beyond keep a weight, so the weights of a query can be scaled to sum 1


def prototype_logits(embeddings: Tensor, prototypes: Tensor, *, temperature: float) -> Tensor:
    """``z . z^c / tau``: (B, C) for prototypes (C, d); for (C, 2, d) the logit of "present", ``(z . z^c1 - z . z^c0) / tau``.

    A class without a prototype (zeros) cannot be chosen among classes, and is undecided as a cell.
    """
    if prototypes.ndim == 3:
        return embeddings @ (prototypes[:, 1] - prototypes[:, 0]).T / temperature
    scores = embeddings @ prototypes.T / temperature
    return scores.masked_fill(prototypes.abs().amax(1) == 0, float("-inf"))


def beliefs(logits: Tensor, embeddings: Tensor, prototypes: Tensor, *, alpha: float, temperature: float) -> Tensor:
    """``o = alpha p + (1 - alpha) softmax(z . z^c / tau)`` (B, C), with sigmoids for prototypes (C, 2, d): probability of "present".

    The same function gives o_i from the classifier's logits and u_j from the auxiliary classifier's.
    """
    near = prototype_logits(embeddings, prototypes, temperature=temperature)
    squash = torch.sigmoid if prototypes.ndim == 3 else lambda x: x.softmax(1)
    return alpha * squash(logits) + (1 - alpha) * squash(near)


def bootstrap(embeddings: Tensor, keys: Tensor, soft: Tensor, filled: Tensor, *, multi: bool = False) -> Tensor:
    """``b_i = sum_j w_ij u_j`` (B, C), ``w_ij = clip(z_i . z'_j, 0, 1) + FLOOR`` scaled to sum 1 over the `filled` places of the queue.

    `soft` u (Q, C) and `keys` (Q, d) belong to the queue. Rows are scaled to sum 1, unless `multi`. No gradient passes.
    """
    check.same_length(keys=keys, soft=soft, filled=filled)
    weights = ((embeddings.detach() @ keys.T).clamp(0, 1) + FLOOR) * filled
    found = weights @ soft / weights.sum(1, keepdim=True).clamp_min(FLOOR)
    return found if multi else found / found.sum(1, keepdim=True).clamp_min(FLOOR)


def soft_targets(logits: Tensor, hard: Tensor, soft: Tensor, *, beta: float) -> Tensor:
    """``(1 - beta) CE(q, y) + beta (-sum_c b_c log q_c)`` (B,); beta 0 is cross-entropy."""
    log_q = logits.log_softmax(1)
    own = -log_q.gather(1, hard[:, None])[:, 0]
    return (1 - beta) * own - beta * (soft * log_q).sum(1) if beta else own


def clean_labels(belief: Tensor, labels: Tensor, anchors: Tensor, *, threshold: float) -> tuple[Tensor, Tensor]:
    """New labels int64 (B,) and what became of each, int64 (B,): REMOVED, KEPT or CORRECTED.

    ``max_c o_c >= threshold`` and no anchor: argmax o, corrected (kept where that is the given label). Otherwise ``o_y >= 1 / C``
    or an anchor: kept. Otherwise removed; its label stays in place. An unknown label (-1) is corrected or removed.
    """
    check.same_length(belief=belief, labels=labels, anchors=anchors)
    best, argmax = belief.max(1)
    known = labels >= 0
    own = belief.gather(1, labels.clamp_min(0)[:, None])[:, 0]
    sure = (best >= threshold) & ~anchors
    kept = known & ((own >= 1 / belief.shape[1]) | anchors)
    changed = sure & (argmax != labels)
    fate = torch.where(changed, CORRECTED, torch.where(kept | sure, KEPT, REMOVED))
    return torch.where(changed, argmax, labels), fate


def clean_cells(belief: Tensor, cells: Tensor, anchors: Tensor, *, threshold: float) -> Tensor:
    """New cells (B, C), NaN where ignored: 1 if ``o+ >= threshold``, 0 if ``1 - o+ >= threshold``, the given one if its own score is at
    least 1 / C or it is an anchor's; anchors (B, C) never change."""
    check.same_shape(belief=belief, cells=cells, anchors=anchors)
    present, absent = torch.ones_like(cells), torch.zeros_like(cells)
    own = torch.where(cells == 1, belief, 1 - belief)
    kept = torch.where((own >= 1 / belief.shape[1]) & ~cells.isnan(), cells, torch.full_like(cells, float("nan")))
    new = torch.where(belief >= threshold, present, torch.where(1 - belief >= threshold, absent, kept))
    return torch.where(anchors, cells, new)


def positive_weights(cells: Tensor) -> Tensor:
    """``sqrt((N - n_c) / n_c)`` of each class (C,), over known cells; 1 for a class without positives or without negatives."""
    known, positive = (~cells.isnan()).sum(0).float(), (cells == 1).sum(0).float()
    ratio = (known - positive) / positive.clamp_min(1)
    return torch.where((positive > 0) & (ratio > 0), ratio.sqrt(), torch.ones_like(ratio))


def masked_bce(logits: Tensor, cells: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy (B,), the mean over the known cells of an example, `weights` (C,) or a number on positives; 0 without any.

    Cells may be fractions; NaN cells give 0 and no gradient.
    """
    known = ~cells.isnan()
    targets = torch.where(known, cells, torch.zeros_like(cells))
    terms = weights * targets * F.logsigmoid(logits) + (1 - targets) * F.logsigmoid(-logits)
    return -(terms * known).sum(1) / known.sum(1).clamp_min(1)
