"""Losses shared by methods: pure functions, one value an example (or a pixel), never reduced.

The caller reduces, so weights and masks stay explicit. Whatever passes through a softmax or a
sigmoid takes logits, and works in float32 at least, mixed precision included.

Letters: B batch, C classes, D features, H W pixels, K negatives in a queue.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright import check
from labelwright.errors import InputError

__all__ = [
    "asymmetric_bce",
    "channel_distillation",
    "coding_rate",
    "cross_entropy",
    "dice",
    "focal_bce",
    "generalised_cross_entropy",
    "info_nce",
    "kl_divergence",
    "nt_xent",
    "soft_cross_entropy",
    "supervised_contrastive",
]

UNIT_FLOOR = 1e-12  # a feature vector of zeros keeps a finite direction
GENERALISED_FLOOR = 1e-8  # p^q has an infinite slope at p = 0 for q < 1


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _not_power(logits: Tensor, gamma: float) -> Tensor:
    """``(1 - sigmoid(logits))^gamma`` through the logarithm, exact for large logits."""
    return (gamma * F.logsigmoid(-logits)).exp()


def cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy (B,) of `logits` (B, C) to class indices `labels` int64 (B,).

    With `smoothing` s the target is ``(1 - s) one_hot + s / C``.
    """
    check.same_length(logits=logits, labels=labels)
    return F.cross_entropy(_wide(logits), labels, reduction="none", label_smoothing=smoothing)


def soft_cross_entropy(logits: Tensor, targets: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """``-Σ_c targets_c log softmax(logits)_c`` (B,) for `targets` (B, C); times `weights` (B,) or (C,) a class where given.

    Rows of `targets` need not sum to one. Weights (B,) scale examples; weights for classes have shape (1, C).
    """
    check.same_shape(logits=logits, targets=targets)
    terms = -targets * _wide(logits).log_softmax(1)
    if weights is None:
        return terms.sum(1)
    if weights.ndim == 2:
        return (terms * weights).sum(1)
    check.same_length(logits=logits, weights=weights)
    return terms.sum(1) * weights


def kl_divergence(logits: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """``T² KL(softmax(teacher / T) || softmax(logits / T))`` (B,), both logits (B, C) (Hinton et al. 2015).

    The factor keeps gradients of one size over temperatures. No gradient is stopped.
    """
    check.same_shape(logits=logits, teacher=teacher)
    log_q = (_wide(logits) / temperature).log_softmax(1)
    log_p = (_wide(teacher) / temperature).log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1) * temperature**2


def generalised_cross_entropy(logits: Tensor, labels: Tensor, *, q: float = 0.7) -> Tensor:
    """``(1 - p_y^q) / q`` (B,): cross-entropy as q tends to 0, mean absolute error at q = 1 (Zhang and Sabuncu 2018)."""
    check.in_range("q", q, low=0, high=1, closed="right")
    check.same_length(logits=logits, labels=labels)
    probs = _wide(logits).softmax(1).gather(1, labels[:, None])[:, 0]
    return (1 - probs.clamp_min(GENERALISED_FLOOR) ** q) / q


def asymmetric_bce(
    logits: Tensor, targets: Tensor, *, gamma_positive: float = 0.0, gamma_negative: float = 4.0, margin: float = 0.05
) -> Tensor:
    """Asymmetric loss of multi-label classification (B, C), one value a cell (Ridnik et al. 2021).

    With p = sigmoid(logit) and p_m = max(p - margin, 0), and targets in [0, 1]::

        -targets (1 - p)^gamma_positive log p - (1 - targets) p_m^gamma_negative log(1 - p_m)

    ``gamma_positive = gamma_negative = margin = 0`` is binary cross-entropy. Targets that are not known
    (NaN) give 0 and no gradient.
    """
    check.same_shape(logits=logits, targets=targets)
    check.in_range("margin", margin, low=0, high=1, closed="left")
    logits = _wide(logits)
    known = ~targets.isnan()
    targets = torch.where(known, targets, torch.zeros_like(targets)).to(logits)
    log_p, log_not = F.logsigmoid(logits), F.logsigmoid(-logits)
    if margin:
        p_m = (logits.sigmoid() - margin).clamp_min(0)
        log_not = torch.log1p(-p_m)
    else:
        p_m = logits.sigmoid()
    positive = log_p if gamma_positive == 0 else log_p * _not_power(logits, gamma_positive)
    negative = log_not if gamma_negative == 0 else log_not * p_m**gamma_negative
    return -torch.where(known, targets * positive + (1 - targets) * negative, torch.zeros_like(logits))


def focal_bce(logits: Tensor, targets: Tensor, *, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Focal loss (B, C), one value a cell (Lin et al. 2017): cross-entropy times (1 - probability of the truth)^gamma.

    `alpha` weighs positives, 1 - alpha negatives.
    """
    cells = asymmetric_bce(logits, targets, gamma_positive=gamma, gamma_negative=gamma, margin=0.0)
    if alpha is None:
        return cells
    return cells * (targets.nan_to_num() * alpha + (1 - targets.nan_to_num()) * (1 - alpha))


def _unit(features: Tensor) -> Tensor:
    return F.normalize(_wide(features), dim=1, eps=UNIT_FLOOR)


def nt_xent(first: Tensor, second: Tensor, *, temperature: float = 0.5) -> Tensor:
    """Normalised temperature-scaled cross-entropy of two views (Chen et al. 2020): (2B,), first views before second ones.

    `first` and `second` are features (B, D), normalised here; each row's positive is its other view, its
    negatives are the 2B - 2 others.
    """
    check.same_shape(first=first, second=second)
    views = _unit(torch.cat([first, second]))
    n = len(first)
    similarity = views @ views.T / temperature
    similarity = similarity.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=views.device), float("-inf"))
    mate = torch.arange(2 * n, device=views.device).roll(n)
    return F.cross_entropy(similarity, mate, reduction="none")


def info_nce(query: Tensor, positive: Tensor, negatives: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Contrast (B,) of `query` with `positive` (both (B, D)) against a queue of `negatives` (K, D) (He et al. 2020)."""
    check.same_shape(query=query, positive=positive)
    q = _unit(query)
    agree = (q * _unit(positive)).sum(1, keepdim=True)
    scores = torch.cat([agree, q @ _unit(negatives).T], dim=1) / temperature
    return -scores.log_softmax(1)[:, 0]


def supervised_contrastive(features: Tensor, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss, "out" form (Khosla et al. 2020, eq. 2): (B,) for `features` (B, D), `labels` int64 (B,).

    Each row averages -log softmax over its positives (same label, not itself); a row without any gives 0.
    """
    check.same_length(features=features, labels=labels)
    unit = _unit(features)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    scores = (unit @ unit.T / temperature).masked_fill(itself, float("-inf"))
    log_prob = (scores - scores.logsumexp(1, keepdim=True)).masked_fill(itself, 0.0)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    count = positive.sum(1)
    return -torch.where(positive, log_prob, torch.zeros_like(log_prob)).sum(1) / count.clamp_min(1)


def dice(probs: Tensor, targets: Tensor, *, mask: Tensor | None = None, smooth: float = 1e-5) -> Tensor:
    """``1 - (2 Σ p t + s) / (Σ p² + Σ t² + s)`` (B, C): one value an image and class (V-Net's squared form).

    `probs` and `targets` are (B, C, *pixels); `mask` (B, 1, *pixels) or like `probs`, in [0, 1], says how much each pixel
    counts. `smooth` makes an empty class that is predicted empty cost 0.
    """
    check.same_shape(probs=probs, targets=targets)
    probs, targets = _wide(probs), targets.to(_wide(probs).dtype)
    weight = torch.ones_like(probs) if mask is None else mask.to(probs).expand_as(probs)
    pixels = tuple(range(2, probs.ndim))
    overlap = (probs * targets * weight).sum(pixels)
    size = (probs.square() * weight).sum(pixels) + (targets.square() * weight).sum(pixels)
    return 1 - (2 * overlap + smooth) / (size + smooth)


def coding_rate(features: Tensor, *, epsilon: float = 0.5) -> Tensor:
    """Bits needed to code `features` (N, D) up to distortion `epsilon` (Yu et al. 2020), in nats: a scalar.

    ``½ log det(I + D / (N ε²) Zᵀ Z)``, evaluated on the smaller of the two Gram matrices.
    """
    if features.ndim != 2 or not len(features):
        raise InputError(f"features must have shape (N, D) with N > 0; got {tuple(features.shape)}.")
    z = _wide(features)
    n, d = z.shape
    gram = z.T @ z if d <= n else z @ z.T
    return 0.5 * torch.logdet(torch.eye(len(gram), dtype=z.dtype, device=z.device) + gram * (d / (n * epsilon**2)))


def channel_distillation(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Channel-wise distillation (Shu et al. 2021): ``T² KL`` between softmaxes over pixels, (B, C), one value a channel.

    `student` and `teacher` are activations (B, C, *pixels). The paper divides the sum over channels by C.
    """
    check.same_shape(student=student, teacher=teacher)
    flat = [_wide(maps).flatten(2).flatten(0, 1) for maps in (student, teacher)]
    return kl_divergence(flat[0], flat[1], temperature=temperature).view(student.shape[:2])
