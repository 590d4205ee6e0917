"""Random views of image batches whose draws are values: made once, recorded, applied again bit by bit.

A view has two pure functions, ``draw(shape, generator) -> Draws`` and ``apply(x, draws) -> x``, and a
call ``view(x, generator)`` that does both. Draws are named tensors with a row an image (or a single
row for all), made where the generator is: the loop's are on the CPU, so they are the same on every
device. They fit into a safetensors file.
Images are float (B, C, H, W), usually standardised: what is filled in is 0, the training mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright import check
from labelwright.errors import InputError

__all__ = ["Compose", "Crop", "CropFlip", "Cutout", "Draws", "Flip", "Shift", "View", "WeakStrong", "image_shape", "uniform"]

Draws = dict[str, Tensor]
"""Recorded randomness: name → tensor with a leading dimension of B (or 1, the same draw for all images)."""


class View(ABC):
    """A random view of image batches."""

    @abstractmethod
    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        """The random numbers for a batch of `shape` (B, C, H, W), from `generator` alone."""

    @abstractmethod
    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        """The view that `draws` describe of images `x`; `x` is left alone."""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.apply(x, self.draw(x.shape, generator))


def image_shape(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """`shape` as (B, C, H, W).

    Raises
    ------
    InputError
        If these are no images.
    """
    if len(shape) != 4:
        raise InputError(f"Views need images of shape (B, C, H, W); the inputs have shape {tuple(shape)}.", hint="Use augment=None.")
    return shape[0], shape[1], shape[2], shape[3]


def uniform(low: float, high: float, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform float32 draws from [`low`, `high`) on the generator's device."""
    return torch.rand(size, generator=generator, device=generator.device) * (high - low) + low


Padding = Literal["constant", "reflect", "replicate"]


def _window(x: Tensor, pad: int, padding: Padding, top: Tensor, left: Tensor, flip: Tensor | None) -> Tensor:
    """Windows of the padded images at (`top`, `left`) (B,), mirrored where `flip` (B,): one gather for the whole batch."""
    b, c, h, w = image_shape(x.shape)
    padded = F.pad(x, (pad,) * 4, mode=padding) if pad else x
    columns = torch.arange(w).expand(b, w)
    if flip is not None:
        columns = torch.where(flip[:, None], w - 1 - columns, columns)
    rows = top[:, None] + torch.arange(h)
    place = rows[:, :, None] * (w + 2 * pad) + (left[:, None] + columns)[:, None, :]
    place = place.view(b, 1, h * w).to(x.device).expand(b, c, h * w)
    return padded.reshape(b, c, -1).gather(2, place).view(b, c, h, w)


@dataclass(frozen=True, kw_only=True)
class Crop(View):
    """Pad, then cut out a window of the original size at a random place."""

    pad: int | None = None
    """Pixels on each side; None is an eighth of the shorter side (4 for 32, as in the CIFAR recipes)."""
    padding: Padding = "constant"
    """What is around the image: constant (0), reflect or replicate."""

    def __post_init__(self) -> None:
        if self.pad is not None:
            check.integer("pad", self.pad, low=0)
        check.one_of("padding", self.padding, ("constant", "reflect", "replicate"))

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        b, _, h, w = image_shape(shape)
        pad = max(1, min(h, w) // 8) if self.pad is None else self.pad
        top, left = torch.randint(0, 2 * pad + 1, (2, b), generator=generator)
        return {"top": top - pad, "left": left - pad}

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        return _shifted(x, draws, self.padding, flip=None)


@dataclass(frozen=True, kw_only=True)
class Shift(View):
    """Move by up to `pixels` in each direction; the border is repeated. For small images (digits of 8x8)."""

    pixels: int = 1
    """Largest shift."""

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        return Crop(pad=self.pixels).draw(shape, generator)

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        return _shifted(x, draws, "replicate", flip=None)


@dataclass(frozen=True, kw_only=True)
class Flip(View):
    """Mirror left and right with probability `p`."""

    p: float = 0.5
    """Probability of mirroring."""

    def __post_init__(self) -> None:
        check.in_range("p", self.p, low=0, high=1)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        return {"flip": torch.rand(image_shape(shape)[0], generator=generator) < self.p}

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        return torch.where(draws["flip"].to(x.device)[:, None, None, None], x.flip(3), x)


@dataclass(frozen=True, kw_only=True)
class CropFlip(View):
    """The usual recipe for natural images: padded random crop and mirroring, in one gather."""

    pad: int | None = None
    """As in `Crop`."""
    p: float = 0.5
    """Probability of mirroring."""
    padding: Padding = "constant"
    """As in `Crop`."""

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        return Crop(pad=self.pad).draw(shape, generator) | Flip(p=self.p).draw(shape, generator)

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        return _shifted(x, draws, self.padding, flip=draws["flip"])


def _shifted(x: Tensor, draws: Draws, padding: Padding, *, flip: Tensor | None) -> Tensor:
    top, left = draws["top"], draws["left"]
    pad = int(max(top.abs().max(), left.abs().max())) if len(top) else 0
    return _window(x, pad, padding, top + pad, left + pad, flip)


@dataclass(frozen=True, kw_only=True)
class Cutout(View):
    """Set a random square to 0. Its centre is anywhere in the image, so it may reach over the border (DeVries and Taylor 2017)."""

    size: float = 0.5
    """Side of the square as a share of the shorter side."""

    def __post_init__(self) -> None:
        check.in_range("size", self.size, low=0, high=1, closed="right")

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        b, _, h, w = image_shape(shape)
        return {
            "row": torch.randint(0, h, (b,), generator=generator),
            "column": torch.randint(0, w, (b,), generator=generator),
        }

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        _, _, h, w = image_shape(x.shape)
        side = max(1, round(self.size * min(h, w)))
        inside = []
        for centre, length in ((draws["row"], h), (draws["column"], w)):
            low = (centre - side // 2).to(x.device)[:, None]
            place = torch.arange(length, device=x.device)
            inside.append((place >= low) & (place < low + side))
        rows, columns = inside
        return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


@dataclass(frozen=True)
class Compose(View):
    """Views one after another; the draws of the k-th are named ``k.…``."""

    views: tuple[View, ...]

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        return {f"{k}.{name}": value for k, view in enumerate(self.views) for name, value in view.draw(shape, generator).items()}

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        for k, view in enumerate(self.views):
            x = view.apply(x, {name.partition(".")[2]: value for name, value in draws.items() if name.partition(".")[0] == str(k)})
        return x


@dataclass(frozen=True, kw_only=True)
class WeakStrong:
    """A weak and a strong view of the same images: ``weak, strong = WeakStrong(weak=…, strong=…)(x, generator)``."""

    weak: View
    strong: View

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        """Draws of both, named ``0.…`` and ``1.…``."""
        return Compose((self.weak, self.strong)).draw(shape, generator)

    def apply(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Both views of `x`, each of the original."""
        split = [{k.partition(".")[2]: v for k, v in draws.items() if k.partition(".")[0] == part} for part in ("0", "1")]
        return self.weak.apply(x, split[0]), self.strong.apply(x, split[1])

    def __call__(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.apply(x, self.draw(x.shape, generator))
