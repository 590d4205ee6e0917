"""An augmentation as a value: a view, then a mixture; written to JSON, its draws of a whole epoch packed into a few tensors.

Views and mixtures share one protocol, ``draw(shape, generator) -> Draws`` and ``apply(x, draws) -> x``. Here they become one
object that names its draws (``view.top``, ``mix.lam``, …), can be built again from plain values, and knows which draws have a
row an image and which belong to the batch, so that the draws of many batches are stored end to end and read back bit by bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from labelwright.data import augment
from labelwright.data.augment import Compose, CutMix, Draws, Mixup, View
from labelwright.errors import InputError

__all__ = ["PLAIN", "Augmentation", "Layout", "pack", "unpack"]

KNOWN: dict[str, type[Any]] = {
    name: kind
    for name in augment.__all__
    if isinstance(kind := getattr(augment, name), type)
    and dataclasses.is_dataclass(kind)
    and (issubclass(kind, View) or kind in (CutMix, Mixup))
}
"""Views and mixtures by the names of their classes: what a saved augmentation may consist of."""
INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A `view` of each image, then a mixture (`mix`) of pairs of them; either may be absent."""

    view: View | None = None
    mix: Mixup | CutMix | None = None

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        """The draws of both for a batch of `shape` (B, …), named ``view.…`` and ``mix.…``."""
        parts = (("view", self.view), ("mix", self.mix))
        return {f"{name}.{k}": v for name, part in parts if part is not None for k, v in part.draw(shape, generator).items()}

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        """Viewed and mixed images; differentiable in `x`, which is left alone."""
        for name, part in (("view", self.view), ("mix", self.mix)):
            if part is not None:
                x = part.apply(x, {k.removeprefix(f"{name}."): v for k, v in draws.items() if k.startswith(f"{name}.")})
        return x

    def pairs(self, draws: Draws, n: int) -> tuple[Tensor, Tensor]:
        """The share () of each first image and the position (n,) of its mate; 1 and the image itself where nothing is mixed."""
        if self.mix is None:
            return torch.ones(()), torch.arange(n)
        return draws["mix.lam"], draws["mix.mate"]

    def spec(self) -> dict[str, Any]:
        """The augmentation as JSON holds it.

        Raises
        ------
        InputError
            If a part is of a class that cannot be named in a file.
        """
        return {"view": _spec(self.view), "mix": _spec(self.mix)}

    @classmethod
    def restore(cls, spec: Mapping[str, Any]) -> Augmentation:
        """The augmentation that gave `spec`.

        Raises
        ------
        InputError
            If it names an unknown view or field.
        """
        return cls(view=_restore(spec.get("view")), mix=_restore(spec.get("mix")))

    def layout(self, shape: Sequence[int]) -> Layout:
        """How the draws for images of `shape` (C, H, W), or vectors (D,), are laid out."""
        return _layout(self, tuple(shape))


PLAIN = Augmentation()
"""No augmentation."""


def _spec(part: Any) -> dict[str, Any] | None:
    if part is None:
        return None
    name = type(part).__name__
    if KNOWN.get(name) is not type(part):
        raise InputError(f"{name} cannot be written to a file.", hint=f"Use the library's own views: {', '.join(sorted(KNOWN))}.")
    if isinstance(part, Compose):
        return {"class": name, "views": [_spec(view) for view in part.views]}
    return {"class": name, **dataclasses.asdict(part)}


def _restore(spec: Mapping[str, Any] | None) -> Any:
    if spec is None:
        return None
    name = spec.get("class")
    if name not in KNOWN:
        raise InputError(f"There is no view or mixture called {name!r}.", hint="The file may come from a newer version.")
    if KNOWN[name] is Compose:
        return Compose(tuple(_restore(view) for view in spec["views"]))
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k != "class"}
    unknown = fields.keys() - {f.name for f in dataclasses.fields(KNOWN[name])}
    if unknown:
        raise InputError(f"{name} has no field {sorted(unknown)[0]!r}.", hint="The file may come from a newer version.")
    return KNOWN[name](**fields)


@dataclass(frozen=True)
class Layout:
    """For each draw: its dtype, its shape without the leading dimension of images, and whether it has that dimension (`each`)."""

    dtypes: dict[str, torch.dtype]
    shapes: dict[str, tuple[int, ...]]
    each: dict[str, bool]

    def nbytes(self, n: int, batches: int) -> int:
        """Most bytes that the packed draws of `n` images in `batches` batches can take, integers up to 32 bits."""
        total = 0
        for name, dtype in self.dtypes.items():
            size = min(dtype.itemsize, 4) if dtype in INTEGERS else dtype.itemsize
            total += int(torch.Size(self.shapes[name]).numel()) * size * (n if self.each[name] else batches)
        return total


@lru_cache(maxsize=64)
def _layout(augmentation: Augmentation, shape: tuple[int, ...]) -> Layout:
    """Draws for two and for three images tell which of them have a row an image."""
    two, three = (augmentation.draw((b, *shape), torch.Generator().manual_seed(0)) for b in (2, 3))
    each = {k: v.shape[:1] == (2,) and three[k].shape[:1] == (3,) for k, v in two.items()}
    shapes = {k: tuple(v.shape[1:]) if each[k] else tuple(v.shape) for k, v in two.items()}
    return Layout({k: v.dtype for k, v in two.items()}, shapes, each)


def pack(draws: Sequence[Draws], layout: Layout) -> dict[str, Tensor]:
    """The draws of consecutive batches as one tensor each: rows end to end, or a row a batch; integers in the fewest bytes."""
    packed = {}
    for name in layout.dtypes:
        values = [d[name].cpu() for d in draws]
        joined = torch.cat(values) if layout.each[name] else torch.stack(values)
        packed[name] = narrow(joined)
    return packed


def unpack(packed: Mapping[str, Any], layout: Layout, *, batch: int, start: int, stop: int) -> Draws:
    """The draws of batch number `batch`, whose images are rows `start` to `stop`; `packed` are tensors or slices of a file."""
    found = {}
    for name, dtype in layout.dtypes.items():
        rows = packed[name][start:stop] if layout.each[name] else packed[name][batch : batch + 1][0]
        found[name] = rows.to(dtype)
    return found


def narrow(values: Tensor) -> Tensor:
    """Integers in the smallest signed type that holds them all; anything else as it is."""
    if values.dtype not in INTEGERS or not values.numel():
        return values.contiguous()
    low, high = int(values.min()), int(values.max())
    fits = next(t for t in INTEGERS if torch.iinfo(t).min <= low and high <= torch.iinfo(t).max)
    return values.to(fits).contiguous()
