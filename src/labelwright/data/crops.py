"""Views that move parts of images: random resized crops (also inside one tile of a mosaic), circular shifts, shuffled patches.

Like all views their draws are values, recorded and replayed; all are differentiable in the image and one gather or one
sampling for the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright import check
from labelwright.data.views import Draws, View, image_shape, uniform
from labelwright.errors import InputError

__all__ = ["BoxCrop", "PatchShuffle", "Roll", "divided"]

TRIES = 10  # boxes tried before the whole tile is taken, as in the usual recipe


def divided(height: int, width: int, factor: int) -> tuple[int, int]:
    """Size of a tile when an image is divided into `factor` x `factor`.

    Raises
    ------
    InputError
        If the sides are not multiples of `factor`.
    """
    if height % factor or width % factor:
        raise InputError(f"Images of {height} x {width} cannot be divided into {factor} x {factor} tiles.", hint="Resize them first.")
    return height // factor, width // factor


@dataclass(frozen=True, kw_only=True)
class BoxCrop(View):
    """Random resized crop: a box of random area and shape, brought back to the size of the image (bilinear).

    With `tiles` f > 1 each image is a mosaic of f x f tiles: one is drawn for each image and the box lies inside it. Samples
    never mix with pixels outside the box.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest area, as shares of the image's (or the tile's)."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width over height."""
    flip: float = 0.0
    """Probability of mirroring the crop."""
    together: bool = False
    """One box for the whole batch."""
    tiles: int = 1
    """Tiles along each side."""

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            check.in_range(f"{name}[0]", low, low=0, high=high, closed="right")
            object.__setattr__(self, name, (float(low), float(high)))
        check.in_range("scale[1]", self.scale[1], high=1)
        check.in_range("flip", self.flip, low=0, high=1)
        check.integer("tiles", self.tiles, low=1)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        b, _, h, w = image_shape(shape)
        rows, device = 1 if self.together else b, generator.device
        height, width = divided(h, w, self.tiles)
        area = uniform(*self.scale, (rows, TRIES), generator) * (height * width)
        shape_ = uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), (rows, TRIES), generator).exp()
        tall, wide = (area / shape_).sqrt().round().long(), (area * shape_).sqrt().round().long()
        fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
        first = fits.long().argmax(1, keepdim=True)
        none = ~fits.any(1)
        whole_tall, whole_wide = self._fallback(height, width)
        tall = torch.where(none, whole_tall, tall.gather(1, first)[:, 0])
        wide = torch.where(none, whole_wide, wide.gather(1, first)[:, 0])
        place = torch.rand((rows, 2), generator=generator, device=device)
        top, left = (place[:, 0] * (height - tall + 1)).long(), (place[:, 1] * (width - wide + 1)).long()
        if self.tiles > 1:
            tile = torch.randint(0, self.tiles**2, (rows,), generator=generator, device=device)
            top, left = top + tile // self.tiles * height, left + tile % self.tiles * width
        draws = {"box": torch.stack([top, left, tall, wide], 1)}
        if self.flip:
            draws["flip"] = torch.rand((rows,), generator=generator, device=device) < self.flip
        return draws

    def _fallback(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the largest box of an allowed shape."""
        if width / height < self.ratio[0]:
            return max(1, round(width / self.ratio[0])), width
        if width / height > self.ratio[1]:
            return height, max(1, round(height * self.ratio[1]))
        return height, width

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        b, _, h, w = image_shape(x.shape)
        top, left, tall, wide = draws["box"].to(x).expand(b, 4).T
        rows = top[:, None] + _spread(tall, h)
        columns = left[:, None] + _spread(wide, w)
        if "flip" in draws:
            mirrored = draws["flip"].to(x.device).expand(b)
            columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        # grid_sample counts from -1 at the outer edge of the first pixel to 1 at that of the last
        grid = torch.stack(
            [((2 * columns + 1) / w - 1)[:, None, :].expand(b, h, w), ((2 * rows + 1) / h - 1)[:, :, None].expand(b, h, w)], dim=3
        )
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _spread(length: Tensor, pixels: int) -> Tensor:
    """Places (B, pixels) in 0..length-1 of the centres of `pixels` output pixels over `length` (B,) input ones; the ends are held."""
    centres = (torch.arange(pixels, dtype=length.dtype, device=length.device) + 0.5) / pixels
    places = centres[None] * length[:, None] - 0.5
    return torch.minimum(places.clamp_min(0), (length - 1)[:, None])


@dataclass(frozen=True, kw_only=True)
class Roll(View):
    """Circular shift of the whole batch by two integers from 0 to `pixels`, both included: nothing is lost or filled in."""

    pixels: int = 4
    """Largest shift down and to the right."""

    def __post_init__(self) -> None:
        check.integer("pixels", self.pixels, low=0)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        image_shape(shape)
        row, column = torch.randint(0, self.pixels + 1, (2, 1), generator=generator, device=generator.device)
        return {"row": row, "column": column}

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        return x.roll((int(draws["row"]), int(draws["column"])), (2, 3))


@dataclass(frozen=True, kw_only=True)
class PatchShuffle(View):
    """Put the `factor` x `factor` patches of each image into a random order (RDED's students)."""

    factor: int = 2
    """Patches along each side."""

    def __post_init__(self) -> None:
        check.integer("factor", self.factor, low=1)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        b, _, h, w = image_shape(shape)
        divided(h, w, self.factor)
        return {"order": torch.rand((b, self.factor**2), generator=generator, device=generator.device).argsort(1)}

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        b, c, h, w = image_shape(x.shape)
        f = self.factor
        height, width = divided(h, w, f)
        patches = x.view(b, c, f, height, f, width).permute(0, 2, 4, 1, 3, 5).reshape(b, f * f, c, height, width)
        order = draws["order"].to(x.device)[:, :, None, None, None].expand_as(patches)
        moved = patches.gather(1, order).view(b, f, f, c, height, width)
        return moved.permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)
