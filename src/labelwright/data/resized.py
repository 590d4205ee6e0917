"""Views of web-image recipes (random resized crop, random grey) and a view of anything that is no image (noise)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labelwright import check
from labelwright.data.strong import affine
from labelwright.data.views import Draws, View, image_shape, uniform

__all__ = ["Grey", "Noise", "ResizedCrop"]


@dataclass(frozen=True, kw_only=True)
class ResizedCrop(View):
    """A random part of the image brought back to its size: area in [low, 1], sides in proportion up to `ratio` (Szegedy et al. 2015)."""

    low: float = 0.2
    """Smallest area, as a share of the image's; in (0, 1]."""
    ratio: float = 4 / 3
    """Largest change of the proportion of the sides; >= 1."""

    def __post_init__(self) -> None:
        check.in_range("low", self.low, low=0, high=1, closed="right")
        check.in_range("ratio", self.ratio, low=1)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        """``scale`` (B, 2), sides of the window as shares of width and height, and its centre ``place`` (B, 2) in half sides."""
        b = image_shape(shape)[0]
        area = uniform(self.low, 1, (b,), generator)
        stretch = uniform(-math.log(self.ratio), math.log(self.ratio), (b,), generator)
        # sides longer than the image's are cut, so an extreme proportion costs area instead of reaching over the border
        scale = torch.stack([(area.sqrt() * (s * stretch / 2).exp()).clamp(max=1) for s in (1, -1)], dim=1)
        return {"scale": scale, "place": (1 - scale) * uniform(-1, 1, (b, 2), generator)}

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        _, _, h, w = image_shape(x.shape)
        half = torch.tensor([w, h], dtype=torch.float32) / 2
        matrix = torch.cat([torch.diag_embed(draws["scale"]), (draws["place"] * half)[:, :, None]], dim=2)
        return affine(x, matrix)


@dataclass(frozen=True, kw_only=True)
class Grey(View):
    """With probability `p`, every channel becomes the mean of all."""

    p: float = 0.2
    """Probability."""

    def __post_init__(self) -> None:
        check.in_range("p", self.p, low=0, high=1)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        return {"grey": torch.rand(image_shape(shape)[0], generator=generator) < self.p}

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
        size = tuple(shape)
        return {
            "noise": torch.randn(size, generator=generator) * self.deviation,
            "keep": torch.rand(size, generator=generator) >= self.drop,
        }

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        return torch.where(draws["keep"].to(x.device), x + draws["noise"].to(x), torch.zeros((), dtype=x.dtype, device=x.device))
