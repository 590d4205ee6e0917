"""Strong views: colour changes, random affine maps, RandAugment-like sequences.

Inputs may be standardised, so no operation assumes pixels in [0, 1]: what needs a range (posterise,
solarise, autocontrast) takes each image's own minimum and maximum. Every operation is differentiable
in the image wherever the mathematics allows, and works on the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright import check
from labelwright.data.views import Draws, View, image_shape, uniform

__all__ = [
    "Affine",
    "ColourJitter",
    "RandAugment",
    "affine",
    "autocontrast",
    "brightness",
    "contrast",
    "posterise",
    "saturation",
    "sharpness",
    "solarise",
]

PIXELS = (1, 2, 3)  # all dimensions of an image but the first


def brightness(x: Tensor, amount: Tensor) -> Tensor:
    """Add `amount` (B, 1, 1, 1)."""
    return x + amount


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Distance to the image's mean times `factor`."""
    mean = x.mean(PIXELS, keepdim=True)
    return mean + (x - mean) * factor


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Distance to the pixel's mean over channels times `factor`; grey images stay as they are."""
    grey = x.mean(1, keepdim=True)
    return grey + (x - grey) * factor


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Distance to the 3x3 mean times `factor`: below 1 blurs, above 1 sharpens."""
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return blurred + (x - blurred) * factor


def _range(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.amin(PIXELS, keepdim=True), x.amax(PIXELS, keepdim=True)


def posterise(x: Tensor, levels: Tensor) -> Tensor:
    """Round to `levels` values between the image's minimum and maximum."""
    low, high = _range(x)
    span = (high - low).clamp_min(torch.finfo(x.dtype).tiny)
    return low + ((x - low) / span * (levels - 1)).round() / (levels - 1) * span


def solarise(x: Tensor, threshold: Tensor) -> Tensor:
    """Mirror values above `threshold` (a share of the image's range) within the range."""
    low, high = _range(x)
    return torch.where(x > low + threshold * (high - low), low + high - x, x)


def autocontrast(x: Tensor) -> Tensor:
    """Stretch each channel to the range of the whole image."""
    low, high = _range(x)
    least, most = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    span = (most - least).clamp_min(torch.finfo(x.dtype).tiny)
    return torch.where(most > least, low + (x - least) / span * (high - low), x)


def affine(x: Tensor, matrix: Tensor) -> Tensor:
    """Images pulled back through `matrix` (B or 1, 2, 3) in pixel coordinates about the centre, bilinear, 0 outside.

    The output at pixel offset v from the centre is the input at ``matrix[:, :2] @ v + matrix[:, 2]``, (x, y) order.
    """
    b, _, h, w = image_shape(x.shape)
    size = torch.tensor([w, h], dtype=x.dtype, device=x.device)
    matrix = matrix.to(x).expand(b, 2, 3)
    # grid_sample counts in half sides
    turned = torch.cat([matrix[:, :, :2] * size / size[:, None], (matrix[:, :, 2] * 2 / size)[:, :, None]], dim=2)
    grid = F.affine_grid(turned, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _matrices(angle: Tensor, scale_x: Tensor, scale_y: Tensor, shear_x: Tensor, shear_y: Tensor, move: Tensor) -> Tensor:
    """Pull-back matrices (B, 2, 3): turn by `angle` (radians), enlarge by the scales, shear, move by `move` (B, 2) pixels."""
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    one = torch.ones_like(angle)
    shear = torch.stack([torch.stack([one, shear_x], 1), torch.stack([shear_y, one], 1)], 1)
    linear = shear @ turn / torch.stack([scale_x, scale_y], 1)[:, :, None]
    return torch.cat([linear, -(linear @ move[:, :, None])], dim=2)


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.to(x).view(-1, 1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class ColourJitter(View):
    """Random brightness, contrast and saturation, in this order."""

    brightness: float = 0.4
    """Largest amount added, in units of the inputs' standard deviation (standardised inputs)."""
    contrast: float = 0.4
    """Factors lie in [1 - contrast, 1 + contrast]."""
    saturation: float = 0.4
    """Factors lie in [1 - saturation, 1 + saturation]."""

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            check.in_range(name, getattr(self, name), low=0)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        b = (image_shape(shape)[0],)
        return {
            "brightness": uniform(-self.brightness, self.brightness, b, generator),
            "contrast": uniform(max(0.0, 1 - self.contrast), 1 + self.contrast, b, generator),
            "saturation": uniform(max(0.0, 1 - self.saturation), 1 + self.saturation, b, generator),
        }

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        x = brightness(x, _column(draws["brightness"], x))
        x = contrast(x, _column(draws["contrast"], x))
        return saturation(x, _column(draws["saturation"], x))


@dataclass(frozen=True, kw_only=True)
class Affine(View):
    """Random rotation, scale, shear and shift in one resampling."""

    degrees: float = 15.0
    """Largest rotation either way, in degrees."""
    scale: float = 0.2
    """Scales lie in [1 / (1 + scale), 1 + scale], drawn for each axis."""
    shear: float = 0.0
    """Largest shear."""
    move: float = 0.0
    """Largest shift, as a share of the side."""

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        b, _, h, w = image_shape(shape)
        turn = math.radians(self.degrees)
        angle = uniform(-turn, turn, (b,), generator)
        stretch = uniform(-math.log1p(self.scale), math.log1p(self.scale), (2, b), generator).exp()
        shear = uniform(-self.shear, self.shear, (2, b), generator)
        move = uniform(-self.move, self.move, (b, 2), generator) * torch.tensor([w, h])
        return {"matrix": _matrices(angle, stretch[0], stretch[1], shear[0], shear[1], move)}

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        return affine(x, draws["matrix"])


GEOMETRIC = ("rotate", "shear-x", "shear-y", "move-x", "move-y")
COLOUR: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda x, m: x,
    "autocontrast": lambda x, m: autocontrast(x),
    "brightness": lambda x, m: brightness(x, m),
    "contrast": lambda x, m: contrast(x, 1 + 0.9 * m),
    "saturation": lambda x, m: saturation(x, 1 + 0.9 * m),
    "sharpness": lambda x, m: sharpness(x, 1 + 0.9 * m),
    "posterise": lambda x, m: posterise(x, (16 - 12 * m.abs()).round()),
    "solarise": lambda x, m: solarise(x, 1 - m.abs()),
}
"""Operations by name; each takes the images and a signed magnitude in [-1, 1] of shape (B, 1, 1, 1)."""
OPERATIONS = (*COLOUR, *GEOMETRIC)


@dataclass(frozen=True, kw_only=True)
class RandAugment(View):
    """`rounds` random operations an image, each at a random strength up to `strength` (in the manner of Cubuk et al. 2020).

    Differs from the paper: fourteen operations on 8-bit images become thirteen on real tensors (equalise
    is left out), the strength is uniform in [0, strength] as in FixMatch, and what needs the range of
    pixels reads it from the image.
    """

    rounds: int = 2
    """Operations an image."""
    strength: float = 1.0
    """Largest magnitude, in (0, 1]: rotation 30°, shear 0.3, shift 30 % of the side, factors 0.1 to 1.9."""

    def __post_init__(self) -> None:
        check.integer("rounds", self.rounds, low=1)
        check.in_range("strength", self.strength, low=0, high=1, closed="right")

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        size = (image_shape(shape)[0], self.rounds)
        return {
            "operation": torch.randint(0, len(OPERATIONS), size, generator=generator),
            "magnitude": uniform(-self.strength, self.strength, size, generator),
        }

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        for operation, magnitude in zip(draws["operation"].T.cpu(), draws["magnitude"].T.cpu(), strict=True):
            x = self._round(x, operation, magnitude)
        return x

    def _round(self, x: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
        """One operation an image: a pass over the operations, never over the images. Row sets are known on the CPU: nothing waits."""
        out = x.clone()
        for number, name in enumerate(COLOUR):
            rows = (operation == number).nonzero().flatten()
            if len(rows) and name != "identity":
                place = rows.to(x.device)
                out = out.index_copy(0, place, COLOUR[name](x[place], _column(magnitude[rows], x)))
        rows = (operation >= len(COLOUR)).nonzero().flatten()
        if len(rows):
            place = rows.to(x.device)
            strength = magnitude[rows] * (operation[rows, None] == torch.arange(len(COLOUR), len(OPERATIONS))).T
            turn, shear_x, shear_y, move_x, move_y = strength * torch.tensor([math.pi / 6, 0.3, 0.3, 0.3, 0.3])[:, None]
            one = torch.ones_like(turn)
            move = torch.stack([move_x * x.shape[3], move_y * x.shape[2]], 1)
            out = out.index_copy(0, place, affine(x[place], _matrices(turn, one, one, shear_x, shear_y, move)))
        return out
