"""How stored images become training examples: as they are, tile by tile, or with shared perturbations added.

What is stored is small; what is trained on is made from it on demand, some rows at a time. Stored images are uint8 pixels
of the original range, or real values (float16, float32) as the featuriser gives them; `decode` turns either into float32 as
the featuriser gives them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from labelwright import check
from labelwright.data.tiles import enlarged, tiles_of
from labelwright.errors import InputError

__all__ = ["EXPANSIONS", "Expansion", "Shared", "Stored", "Tiled"]

Decode = Callable[[Tensor], Tensor]
"""Stored rows (B, …) to float32 (B, …) in the featuriser's units."""
Bounds = tuple[Tensor, Tensor]
EXPANSIONS: dict[str, type[Expansion]] = {}
STORED = (torch.uint8, torch.float16, torch.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Expansion(ABC):
    """`images` (S, …): what is stored. ``len()`` is M, the number of examples they expand to."""

    kind: ClassVar[str]
    images: Tensor

    def __init_subclass__(cls, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = kind
        EXPANSIONS[kind] = cls

    def __post_init__(self) -> None:
        if self.images.dtype not in STORED:
            raise InputError(f"Stored images must be uint8, float16 or float32; got {str(self.images.dtype).removeprefix('torch.')}.")
        if self.images.ndim < 2 or not len(self.images):
            raise InputError(f"Stored images must have shape (S, …) with S > 0; got {tuple(self.images.shape)}.")

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def source(self, index: Tensor) -> Tensor:
        """The stored image (B,) that each of the examples at `index` int64 (B,) comes from: it has that image's label."""

    @abstractmethod
    def rows(self, index: Tensor, decode: Decode, bounds: Bounds | None = None) -> Tensor:
        """The examples at `index` int64 (B,), float32 (B, …) in the featuriser's units; `bounds` are its limits of valid images."""

    def generators(self) -> dict[str, Tensor]:
        """What is stored beside the images to make examples from them."""
        return {}

    def spec(self) -> dict[str, Any]:
        """Everything but tensors, as JSON holds it."""
        return {"kind": self.kind}

    @staticmethod
    def restore(spec: Mapping[str, Any], images: Tensor, generators: Mapping[str, Tensor]) -> Expansion:
        """The expansion that gave `spec` and tensors.

        Raises
        ------
        InputError
            If its kind is unknown.
        """
        kind = spec.get("kind")
        if kind not in EXPANSIONS:
            raise InputError(f"There is no expansion {kind!r}.", hint="The file may come from a newer version.")
        rest = {k: v for k, v in spec.items() if k != "kind"}
        return EXPANSIONS[kind](images=images, **rest, **generators)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored(Expansion, kind="stored"):
    """Every stored image is an example."""

    def __len__(self) -> int:
        return len(self.images)

    def source(self, index: Tensor) -> Tensor:
        return index

    def rows(self, index: Tensor, decode: Decode, bounds: Bounds | None = None) -> Tensor:
        return decode(self.images[index])


@dataclass(frozen=True, kw_only=True, eq=False)
class Tiled(Expansion, kind="tiled"):
    """Stored images are mosaics of `factor` x `factor` tiles; each tile, enlarged to full size, is an example: S factor^2 of them.

    To train on crops inside one tile instead, take the mosaics (:class:`Stored`) and the view ``BoxCrop(tiles=factor)``.
    """

    factor: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer("factor", self.factor, low=1)
        if self.images.ndim != 4:
            raise InputError(f"Mosaics must be images (S, C, H, W); got {tuple(self.images.shape)}.")
        tiles_of(self.images[:1], self.factor)  # refuses sides that do not divide

    def __len__(self) -> int:
        return len(self.images) * self.factor**2

    def source(self, index: Tensor) -> Tensor:
        return index // self.factor**2

    def rows(self, index: Tensor, decode: Decode, bounds: Bounds | None = None) -> Tensor:
        count = self.factor**2
        mosaic, place = self.source(index).unique(return_inverse=True)
        tiles = tiles_of(decode(self.images[mosaic]), self.factor)
        return enlarged(tiles[place * count + index % count], (self.images.shape[2], self.images.shape[3]))

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "factor": self.factor}


@dataclass(frozen=True, kw_only=True, eq=False)
class Shared(Expansion, kind="shared"):
    """Base images and perturbations that all images of a group share: each base image as it is, and once with each perturbation.

    `perturbations` (K, J, …), float: J for each of K groups of S / K consecutive base images. M = S (J + 1): first all base
    images, then all with the first perturbation of their group, and so on. Sums are clamped to the limits of valid images
    here, at the last moment: clamping before would lose what a perturbation says near the border.
    """

    perturbations: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        shape, images = tuple(self.perturbations.shape), tuple(self.images.shape)
        if len(shape) != len(images) + 1 or shape[2:] != images[1:] or not shape[0] or images[0] % shape[0]:
            raise InputError(
                f"perturbations must have shape (K, J, {', '.join(map(str, images[1:]))}) with K a divisor of the {images[0]} images; got {shape}."
            )
        if not self.perturbations.is_floating_point():
            raise InputError("perturbations must be real values.")

    def __len__(self) -> int:
        return len(self.images) * (self.perturbations.shape[1] + 1)

    def source(self, index: Tensor) -> Tensor:
        return index % len(self.images)

    def rows(self, index: Tensor, decode: Decode, bounds: Bounds | None = None) -> Tensor:
        base, copy = self.source(index), index // len(self.images)
        group = base // (len(self.images) // len(self.perturbations))
        x = decode(self.images[base])
        added = self.perturbations[group, (copy - 1).clamp_min(0)].to(x)
        moved = x + added
        if bounds is not None:
            moved = torch.maximum(torch.minimum(moved, bounds[1].to(x)), bounds[0].to(x))
        return torch.where((copy > 0).view(-1, *[1] * (x.ndim - 1)), moved, x)

    def generators(self) -> dict[str, Tensor]:
        return {"perturbations": self.perturbations}
