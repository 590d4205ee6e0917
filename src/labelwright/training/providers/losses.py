"""What a student minimises, by what its labels say: hard classes, teacher logits, or two distances. One value an example.

References: KL to a teacher: Hinton et al. 2015, in the form of the SRe2L family, without the factor T^2. Distances: Tran et al.
Enhancing Dataset Distillation via Non-Critical Region Refinement. CVPR 2025. arXiv:2503.18267:

    d_first = -log softmax(T(x))[y_first],   d_second likewise         x mixed of lam y_first and (1 - lam) y_second
    L = lam CE(S(x), y_first) + (1 - lam) CE(S(x), y_second) + weight (|dS_first - d_first| + |dS_second - d_second|)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from labelwright import check
from labelwright.errors import InputError
from labelwright.nn.losses import cross_entropy, kl_divergence
from labelwright.training.providers.base import Served

__all__ = ["CEILING", "distance_losses", "distances", "hard_losses", "reconstructed", "soft_losses", "student_losses"]

CEILING = 16.0  # a probability below 1e-7 is 0 for a student, and float16 could not tell it from one much smaller


def distances(logits: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """``-log softmax(logits)`` at both classes, float32 (B, 2), at most :data:`CEILING`."""
    check.same_length(logits=logits, first=first, second=second)
    log_p = logits.float().log_softmax(1)
    return -log_p.gather(1, torch.stack([first, second], 1)).clamp_min(-CEILING)


def hard_losses(logits: Tensor, served: Served) -> Tensor:
    """``lam CE(first) + (1 - lam) CE(second)`` (B,)."""
    lam = served.lam.to(logits)
    return lam * cross_entropy(logits, served.first) + (1 - lam) * cross_entropy(logits, served.second)


def soft_losses(logits: Tensor, served: Served, *, temperature: float) -> Tensor:
    """``KL(softmax(Z / T) || softmax(logits / T))`` (B,), without the factor T^2."""
    if served.logits is None:
        raise InputError("These labels hold no logits.", hint="Use hard_losses, or another label provider.")
    return kl_divergence(logits, served.logits, temperature=temperature) / temperature**2


def distance_losses(logits: Tensor, served: Served, *, norm: Literal["l1", "l2"] = "l1") -> Tensor:
    """How far the student's two distances are from the teacher's, (B,): sum of absolute or squared differences.

    Where both classes are the same, the distance counts once. Beyond :data:`CEILING` the student's has no gradient.
    """
    check.one_of("norm", norm, ("l1", "l2"))
    if served.distances is None:
        raise InputError("These labels hold no distances.", hint="Use another loss, or the provider TwoDistance.")
    gap = distances(logits, served.first, served.second) - served.distances
    gap = gap.abs() if norm == "l1" else gap.square()
    twice = served.first == served.second
    return gap[:, 0] + torch.where(twice, torch.zeros_like(gap[:, 1]), gap[:, 1])


def reconstructed(served: Served, num_classes: int) -> Tensor:
    """A soft label (B, C) from two distances: their probabilities, and what is left spread over the other classes evenly.

    Exact for two classes, where the examples mixed are of both. An extension of ours, not in the paper.
    """
    if served.distances is None:
        raise InputError("These labels hold no distances.", hint="Use the provider TwoDistance.")
    p = (-served.distances).exp()
    both = torch.stack([served.first, served.second], 1)
    twice = (served.first == served.second)[:, None]
    known = torch.where(twice, p[:, :1], p.sum(1, keepdim=True)).clamp_max(1)
    others = num_classes - torch.where(twice, 1, 2)
    rest = torch.where(others > 0, (1 - known) / others.clamp_min(1), torch.zeros_like(known))
    full = rest.expand(-1, num_classes).scatter(1, both, p)
    return full / full.sum(1, keepdim=True)  # rounding only: float16 distances


def student_losses(
    logits: Tensor, served: Served, *, temperature: float = 1.0, weight: float = 1.0, norm: Literal["l1", "l2"] = "l1"
) -> Tensor:
    """The loss (B,) that fits the labels: distances where there are any (beside hard labels, times `weight`), else KL to the
    teacher's logits at `temperature`, else hard labels."""
    if served.distances is not None:
        return hard_losses(logits, served) + weight * distance_losses(logits, served, norm=norm)
    if served.logits is not None:
        return soft_losses(logits, served, temperature=temperature)
    return hard_losses(logits, served)
