"""Mixtures of examples and of their targets: mixup and CutMix, with draws that can be recorded and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labelwright import check
from labelwright.data.views import Draws, image_shape

__all__ = ["CutMix", "Mixed", "Mixup", "blend"]


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """A mixed batch: `inputs`, `targets` float (B, C), the share `lam` (a scalar tensor) of the first example, the second's
    position `mate` int64 (B,) in the batch."""

    inputs: Tensor
    targets: Tensor
    lam: Tensor
    mate: Tensor


def blend(values: Tensor, draws: Draws) -> Tensor:
    """``lam · values + (1 - lam) · values[mate]``: targets, or anything else with a row an example, mixed as the inputs were."""
    lam = draws["lam"].to(values)
    return values * lam + values[draws["mate"].to(values.device)] * (1 - lam)


def _beta(alpha: float, generator: torch.Generator) -> float:
    # torch has no Beta draw that takes a generator; NumPy's is seeded from ours
    seed = int(torch.randint(0, 2**62, (), generator=generator))
    return float(np.random.Generator(np.random.PCG64(seed)).beta(alpha, alpha))


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Convex combinations of pairs (Zhang et al. 2018), one share a batch."""

    alpha: float = 1.0
    """The share is Beta(alpha, alpha) distributed; > 0."""
    dominant: bool = False
    """Take max(lam, 1 - lam), so that each mixture stays closer to its first example (MixMatch, ELR+)."""

    def __post_init__(self) -> None:
        check.in_range("alpha", self.alpha, low=0, closed="neither")

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        """``lam`` (a scalar) and ``mate`` (B,) for inputs of `shape` (B, …)."""
        lam = _beta(self.alpha, generator)
        return {
            "lam": torch.tensor(max(lam, 1 - lam) if self.dominant else lam),
            "mate": torch.randperm(shape[0], generator=generator),
        }

    def apply(self, inputs: Tensor, draws: Draws) -> Tensor:
        """Mixed inputs."""
        return blend(inputs, draws)

    def __call__(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> Mixed:
        """Draw, mix inputs (B, …) and targets float (B, C)."""
        return _mixed(self.apply, inputs, targets, self.draw(inputs.shape, generator))


@dataclass(frozen=True, kw_only=True)
class CutMix:
    """A box of each image comes from its mate; targets mix by area (Yun et al. 2019). Images (B, C, H, W)."""

    alpha: float = 1.0
    """The share kept is Beta(alpha, alpha) distributed before the box is cut at the border; > 0."""

    def __post_init__(self) -> None:
        check.in_range("alpha", self.alpha, low=0, closed="neither")

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        """``lam``, ``mate`` and ``box`` (4,) = top, bottom, left, right; `lam` is the exact share of pixels kept."""
        b, _, h, w = image_shape(shape)
        side = (1 - _beta(self.alpha, generator)) ** 0.5
        row, column = (int(torch.randint(0, length, (), generator=generator)) for length in (h, w))
        top, left = max(0, row - int(h * side) // 2), max(0, column - int(w * side) // 2)
        bottom = min(h, row - int(h * side) // 2 + int(h * side))
        right = min(w, column - int(w * side) // 2 + int(w * side))
        return {
            "lam": torch.tensor(1 - (bottom - top) * (right - left) / (h * w)),
            "mate": torch.randperm(b, generator=generator),
            "box": torch.tensor([top, bottom, left, right]),
        }

    def apply(self, inputs: Tensor, draws: Draws) -> Tensor:
        """Images with the box pasted in."""
        top, bottom, left, right = draws["box"].tolist()
        out = inputs.clone()
        out[:, :, top:bottom, left:right] = inputs[draws["mate"].to(inputs.device), :, top:bottom, left:right]
        return out

    def __call__(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> Mixed:
        """Draw, mix images and targets float (B, C)."""
        return _mixed(self.apply, inputs, targets, self.draw(inputs.shape, generator))


def _mixed(apply: Callable[[Tensor, Draws], Tensor], inputs: Tensor, targets: Tensor, draws: Draws) -> Mixed:
    check.same_length(inputs=inputs, targets=targets)
    return Mixed(inputs=apply(inputs, draws), targets=blend(targets, draws), lam=draws["lam"], mate=draws["mate"])
