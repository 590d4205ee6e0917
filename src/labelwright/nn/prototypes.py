"""Prototypes: one unit vector a class (or a class and state), a running average of the embeddings that belong to it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright import check

__all__ = ["class_means", "moving_average"]


def moving_average(prototypes: Tensor, features: Tensor, members: Tensor, *, momentum: float) -> Tensor:
    """``z_s <- m z_s + (1 - m) x_i`` for every i that belongs to s, one example after the other, in one product; not normalised.

    With n members of s in the batch, in order i_1 .. i_n, that is ``m^n z_s + (1 - m) sum_k m^(n - k) x_(i_k)``. A row without
    members stays as it is, bit by bit.

    Parameters
    ----------
    prototypes
        Float (S, D).
    features
        Float (B, D), a row an example, the latest last.
    members
        bool (B, S): whether example i belongs to row s. An example may belong to several rows, or to none.
    momentum
        m, in [0, 1]: 1 changes nothing, 0 keeps the last member.
    """
    check.in_range("momentum", momentum, low=0, high=1)
    check.same_length(features=features, members=members)
    belongs = members.to(prototypes.dtype)
    later = belongs.flip(0).cumsum(0).flip(0) - belongs  # members of the same row that come after
    base = torch.tensor(float(momentum), dtype=prototypes.dtype, device=prototypes.device)
    weights = (1 - momentum) * belongs * base**later
    moved = base ** belongs.sum(0)[:, None] * prototypes + weights.T @ features.detach().to(prototypes.dtype)
    return torch.where(members.any(0)[:, None], moved, prototypes)


def class_means(features: Tensor, members: Tensor) -> Tensor:
    """The normalised mean of the unit vectors `features` (N, D) of each row's `members` bool (N, S): (S, D); zeros without members."""
    check.same_length(features=features, members=members)
    return F.normalize(members.to(features.dtype).T @ features, dim=1)
