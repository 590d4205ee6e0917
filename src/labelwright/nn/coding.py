"""Coding rates of features and of their classes (maximal coding rate reduction), in the forms that are cheap.

Reference: Yu, Chan, You, Song, Ma. Learning Diverse and Discriminative Representations via the Principle of Maximal Coding Rate
Reduction. NeurIPS 2020. arXiv:2006.08558.

    R  = 1/2 logdet( I_d + gamma1 d / (n eps) Z'Z )
    Rc = sum_c n_c / (2 n) logdet( I_d + d / (n_c eps) Z_c'Z_c )

`eps` stands where the paper has the square of its precision. Never a membership tensor (C, n, n): rows are sorted by class once, the
Grams of the classes add up to that of all, a class with fewer rows than columns goes through its small Gram
``Z_c Z_c'`` (same determinant), and all Cholesky factors of one size are one batched call.

Letters: N rows, D columns, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from labelwright import check
from labelwright.errors import InputError

__all__ = ["CodingRateReduction", "coding_rates", "logdets"]


def logdets(grams_KDD: Tensor) -> Tensor:
    """``logdet(I + G_k)`` of positive semidefinite G (K, D, D), through Cholesky factors: (K,).

    Where float32 is too short for a factor, the whole batch is done in float64.
    """
    eye = torch.eye(grams_KDD.shape[-1], dtype=grams_KDD.dtype, device=grams_KDD.device)
    factors, failed = torch.linalg.cholesky_ex(eye + grams_KDD)
    if bool(failed.any()):
        return logdets(grams_KDD.double()).to(grams_KDD.dtype) if grams_KDD.dtype == torch.float32 else torch.logdet(eye + grams_KDD)
    return 2 * factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _pieces(features_ND: Tensor, labels_N: Tensor, num_classes: int) -> tuple[Sequence[Tensor], Tensor]:
    """Rows of each class, classes one after the other, and their counts (C,)."""
    counts = torch.bincount(labels_N, minlength=num_classes)
    return features_ND[labels_N.argsort(stable=True)].split(counts.tolist()), counts


def coding_rates(
    features: Tensor, labels: Tensor, *, epsilon: float, num_classes: int | None = None, gamma1: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(R, Rc), two scalars with gradients, in nats.

    R >= Rc for gamma1 = 1, with equality where every class has one covariance; ``R(cZ, c^2 eps) = R(Z, eps)``; rotating the columns
    changes nothing. Classes without rows count as nothing. Cost: O(N D^2) products and a Cholesky factor of min(n_c, D)^3 / 3 a class.

    Parameters
    ----------
    features
        float (N, D), N > 0.
    labels
        int64 (N,), a class for every row.
    epsilon
        Squared precision, > 0.
    """
    if features.ndim != 2 or not len(features):
        raise InputError(f"features must have shape (N, D) with N > 0; got {tuple(features.shape)}.")
    check.same_length(features=features, labels=labels)
    check.in_range("epsilon", epsilon, low=0, closed="neither")
    n, d = features.shape
    pieces, counts = _pieces(features, labels, num_classes or int(labels.max()) + 1)
    scale = gamma1 * d / (n * epsilon)
    sizes = counts.tolist()
    tall = [c for c, size in enumerate(sizes) if size >= d]
    flat = [c for c, size in enumerate(sizes) if 0 < size < d]
    grams = [pieces[c].T @ pieces[c] for c in tall]
    within = features.new_zeros(())
    if flat:
        # rows of zeros fill the small Grams to one size: they add nothing to a determinant of I + G
        padded = pad_sequence([pieces[c] for c in flat], batch_first=True)
        share = counts[flat].to(features.dtype)
        small = padded @ padded.transpose(1, 2) * (d / (share * epsilon))[:, None, None]
        within = within + (share / (2 * n) * logdets(small)).sum()
    if n < d:  # then every class has fewer rows than columns too
        return 0.5 * logdets((features @ features.T)[None] * scale)[0], within
    total = torch.stack(grams).sum(0) if grams else features.new_zeros(d, d)
    if flat:
        rest = torch.cat([pieces[c] for c in flat])
        total = total + rest.T @ rest
    share = counts[tall].to(features.dtype)
    weights = [*(d / (share * epsilon)), features.new_tensor(scale)]
    values = logdets(torch.stack([g * w for g, w in zip([*grams, total], weights, strict=True)]))
    if tall:
        within = within + (share / (2 * n) * values[:-1]).sum()
    return 0.5 * values[-1], within


class CodingRateReduction(nn.Module):
    """The loss ``-gamma2 R + gamma1 Rc``: with both 1 the negative coding rate reduction. ``(features (N, D), labels (N,)) -> scalar``."""

    def __init__(self, epsilon: float = 0.05, *, gamma1: float = 1.0, gamma2: float = 1.0) -> None:
        super().__init__()
        check.in_range("epsilon", epsilon, low=0, closed="neither")
        check.in_range("gamma1", gamma1, low=0, closed="neither")
        check.in_range("gamma2", gamma2, low=0)
        self.epsilon, self.gamma1, self.gamma2 = epsilon, gamma1, gamma2

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of one batch."""
        whole, within = coding_rates(features, labels, epsilon=self.epsilon, gamma1=self.gamma1)
        return self.gamma1 * within - self.gamma2 * whole
