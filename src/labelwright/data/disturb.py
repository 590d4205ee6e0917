"""Two views that disturb values and move nothing: random grey for images, noise for whatever is no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labelwright import check
from labelwright.data.views import Draws, View, image_shape

__all__ = ["Grey", "Noise"]


@dataclass(frozen=True, kw_only=True)
class Grey(View):
    """With probability `p`, every channel becomes the mean of all."""

    p: float = 0.2
    """Probability."""

    def __post_init__(self) -> None:
        check.in_range("p", self.p, low=0, high=1)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        return {"grey": torch.rand(image_shape(shape)[0], generator=generator, device=generator.device) < self.p}

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        return torch.where(draws["grey"].to(x.device)[:, None, None, None], x.mean(1, keepdim=True).expand_as(x), x)


@dataclass(frozen=True, kw_only=True)
class Noise(View):
    """Gaussian noise on every value, and a share of the values set to 0, their mean: the view of vectors, tables and sequences (B, …)."""

    deviation: float = 0.1
    """Standard deviation of the noise; inputs are standardised."""
    drop: float = 0.1
    """Share of the values set to 0, in [0, 1)."""

    def __post_init__(self) -> None:
        check.in_range("deviation", self.deviation, low=0)
        check.in_range("drop", self.drop, low=0, high=1, closed="left")

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        size, device = tuple(shape), generator.device
        return {
            "noise": torch.randn(size, generator=generator, device=device) * self.deviation,
            "keep": torch.rand(size, generator=generator, device=device) >= self.drop,
        }

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        return torch.where(draws["keep"].to(x.device), x + draws["noise"].to(x), torch.zeros((), dtype=x.dtype, device=x.device))
