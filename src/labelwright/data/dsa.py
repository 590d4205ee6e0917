"""Differentiable siamese augmentation (DSA): colour, crop, cutout, flip, scale and rotation of whole batches.

Reference: Zhao, Bilen. Dataset Condensation with Differentiable Siamese Augmentation. ICML 2021. arXiv:2102.08259.

All geometric operations of an image are one affine map, so it is resampled once:

    out(v) = cut(colour(x))(F S R v + t)      v: pixel offset from the centre, (x, y) order

with R the rotation, S the scales of both axes, F the mirror and t the shift of the crop. Differs from the authors'
code: there each operation resamples anew (scale and rotation blur twice, and what a crop has cut off does not come back
when the image shrinks afterwards); rotations are in pixels, so they do not skew images that are not square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from labelwright import check
from labelwright.data.strong import affine, brightness, contrast, saturation
from labelwright.data.views import Draws, View, image_shape, uniform
from labelwright.errors import InputError

__all__ = ["DSA", "OPERATIONS"]

OPERATIONS = ("colour", "crop", "cutout", "flip", "scale", "rotate")
GEOMETRIC = frozenset({"crop", "flip", "scale", "rotate"})


@dataclass(frozen=True, kw_only=True)
class DSA(View):
    """Differentiable siamese augmentation.

    With `siamese`, one draw serves all images of a batch, so the same draws apply to real and synthetic
    batches of any size: draw once, apply to both. Draws are made on the generator's device.
    """

    operations: tuple[str, ...] = OPERATIONS
    """Which operations there are; leave out "flip" for digits and other images that a mirror changes."""
    pick: Literal["one", "all"] = "one"
    """One operation a call, drawn for the whole batch (the authors' setting), or all of them."""
    brightness: float = 1.0
    """Brightness is moved by up to half of it."""
    saturation: float = 2.0
    """Factors lie in [0, saturation]."""
    contrast: float = 0.5
    """Factors lie in [contrast, 1 + contrast]."""
    crop: float = 0.125
    """Largest shift, as a share of the side."""
    cutout: float = 0.5
    """Side of the cut square as a share of the image's."""
    scale: float = 0.2
    """Scales of each axis lie in [1 / (1 + scale), 1 + scale]."""
    degrees: float = 15.0
    """Largest rotation."""
    flip: float = 0.5
    """Probability of mirroring."""
    siamese: bool = True
    """One draw for the whole batch."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        for name in self.operations:
            check.one_of("operations", name, OPERATIONS)
        if not self.operations:
            raise InputError("DSA needs at least one operation.", hint=f"There are {', '.join(OPERATIONS)}.")
        check.one_of("pick", self.pick, ("one", "all"))
        check.in_range("flip", self.flip, low=0, high=1)
        check.in_range("cutout", self.cutout, low=0, high=1, closed="right")
        for name in ("brightness", "saturation", "contrast", "crop", "scale", "degrees"):
            check.in_range(name, getattr(self, name), low=0)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        b, _, h, w = image_shape(shape)
        rows, device = 1 if self.siamese else b, generator.device

        def whole(low: int, high: int) -> Tensor:
            """Integers from `low` to `high`, both included."""
            return torch.randint(low, high + 1, (rows,), generator=generator, device=device)

        draws: Draws = {}
        if self.pick == "one":
            place = torch.randint(0, len(self.operations), (1,), generator=generator, device=device)
            known = torch.tensor([OPERATIONS.index(name) for name in self.operations], device=device)
            draws["operation"] = known[place].repeat(rows)
        turn, high, wide = math.radians(self.degrees), _share(self.crop, h), _share(self.crop, w)
        least, most = 1 / (1 + self.scale), 1 + self.scale
        return draws | {
            "brightness": uniform(-0.5, 0.5, (rows,), generator) * self.brightness,
            "saturation": uniform(0, self.saturation, (rows,), generator),
            "contrast": uniform(self.contrast, 1 + self.contrast, (rows,), generator),
            "top": whole(-high, high),
            "left": whole(-wide, wide),
            # an even square has its centre between pixels: one place more
            "row": whole(0, h - _share(self.cutout, h) % 2),
            "column": whole(0, w - _share(self.cutout, w) % 2),
            "flip": torch.rand((rows,), generator=generator, device=device) < self.flip,
            "stretch": uniform(least, most, (rows, 2), generator),
            "angle": uniform(-turn, turn, (rows,), generator),
        }

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        b, _, h, w = image_shape(x.shape)
        active = self._active(draws)
        draws = {name: value.to(x.device).expand(b, *value.shape[1:]) for name, value in draws.items()}
        if "colour" in active:
            x = brightness(x, _column(draws["brightness"], x))
            x = saturation(x, _column(draws["saturation"], x))
            x = contrast(x, _column(draws["contrast"], x))
        if "cutout" in active:
            # the square lies in the cropped image, the pixels are masked in the one before: hence the shift
            shift = ("top", "left") if "crop" in active else (None, None)
            inside = [
                _inside(draws[centre], side, _share(self.cutout, side), None if name is None else draws[name])
                for centre, side, name in zip(("row", "column"), (h, w), shift, strict=True)
            ]
            x = x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)
        if active & GEOMETRIC:
            x = affine(x, self.matrix(draws, x, active))
        return x

    def _active(self, draws: Draws) -> frozenset[str]:
        if "operation" not in draws:
            return frozenset(self.operations)
        return frozenset({OPERATIONS[int(draws["operation"][0])]})

    @staticmethod
    def matrix(draws: Draws, like: Tensor, active: frozenset[str]) -> Tensor:
        """The maps ``[F S R | t]`` (B, 2, 3) of the `active` operations, in dtype and on the device of `like`."""
        angle = draws["angle"].to(like)
        linear = torch.eye(2, dtype=like.dtype, device=like.device).expand(len(angle), 2, 2)
        if "rotate" in active:
            cos, sin = angle.cos(), angle.sin()
            linear = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
        if "scale" in active:
            linear = draws["stretch"].to(like)[:, :, None] * linear
        if "flip" in active:
            sign = 1 - 2 * draws["flip"].to(like)
            linear = torch.stack([sign[:, None] * linear[:, 0], linear[:, 1]], 1)
        shift = torch.stack([draws["left"], draws["top"]], 1).to(like)
        return torch.cat([linear, (shift if "crop" in active else torch.zeros_like(shift))[:, :, None]], dim=2)


def _share(ratio: float, side: int) -> int:
    """Pixels that are `ratio` of `side`, rounded as the authors do."""
    return int(side * ratio + 0.5)


def _inside(centre: Tensor, length: int, side: int, shift: Tensor | None) -> Tensor:
    """Which of `length` places lie in the square's extent about `centre` (B,): bool (B, length)."""
    low = (centre - side // 2)[:, None]
    place = torch.arange(length, device=centre.device)[None]
    if shift is not None:
        low = low + shift[:, None]
    return (place >= low) & (place < low + side)


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.to(x).view(-1, 1, 1, 1)
