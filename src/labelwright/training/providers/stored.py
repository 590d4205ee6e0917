"""Labels that are a row an example: hard classes, and logits that are mixed as the images are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from labelwright import check
from labelwright.data.batch import Batch
from labelwright.data.record import narrow
from labelwright.errors import InputError
from labelwright.training.providers.base import LabelProvider, load_tensors
from labelwright.training.providers.packed import Packed

__all__ = ["HardLabels", "StaticLogits"]

FILE = "labels.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class HardLabels(LabelProvider, kind="hard"):
    """One class an example: `values` int64 (M,). A batch carries its classes itself; the values are what is stored."""

    values: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        found = check.class_index("labels", self.values, num_classes=len(self.names))
        object.__setattr__(self, "values", torch.from_numpy(np.array(found)))

    def _labels(self, batch: Batch, inputs: Tensor, lam: Tensor, mate: Tensor) -> dict[str, Tensor]:
        return {}

    def _files(self) -> Mapping[str, Mapping[str, Tensor]]:
        return {FILE: {"labels": narrow(self.values)}}

    @classmethod
    def _restore(cls, folder: Path, names: tuple[str, ...], facts: dict[str, Any], given: Mapping[str, Any]) -> Self:
        return cls(names=names, values=load_tensors(folder / FILE)["labels"].long())


@dataclass(frozen=True, kw_only=True, eq=False)
class StaticLogits(LabelProvider, kind="static"):
    """Logits of each clean example, stored once and mixed *as logits* in the proportions of the images.

    They know nothing of crops and flips, so views should be mild (padded crop and flip). Build it with :meth:`of`.
    """

    parts: Mapping[str, Tensor]
    packed: Packed

    @classmethod
    def of(cls, logits: Tensor, *, names: tuple[str, ...], dtype: torch.dtype = torch.float16, top: int | None = None) -> StaticLogits:
        """From logits (M, C) of the expanded examples, in their order.

        Parameters
        ----------
        dtype
            float16 or float32.
        top
            Keep the `top` largest logits of a row and one value for the others; all without.

        Raises
        ------
        InputError
            If the width is not that of the classes or a value is not finite.
        """
        if logits.ndim != 2 or logits.shape[1] != len(names):
            raise InputError(f"logits must have shape (M, {len(names)}), a column a class; got {tuple(logits.shape)}.")
        packed = Packed(len(names), dtype, top)
        return cls(names=names, parts=packed.pack(logits), packed=packed)

    def __len__(self) -> int:
        return len(self.parts["logits"])

    def logits(self, index: Tensor | None = None) -> Tensor:
        """Logits float32 of the examples at `index`, of all without."""
        parts = self.parts if index is None else {k: v[index.to(v.device)] for k, v in self.parts.items()}
        return self.packed.unpack(parts)

    def _labels(self, batch: Batch, inputs: Tensor, lam: Tensor, mate: Tensor) -> dict[str, Tensor]:
        if len(batch) and int(batch.index.max()) >= len(self):
            raise InputError(f"There are labels for {len(self):,} examples; the batch asks for number {int(batch.index.max())}.")
        z = self.logits(batch.index).to(inputs.device)
        return {"logits": lam * z + (1 - lam) * z[mate]}

    def _facts(self) -> dict[str, Any]:
        return self.packed.spec()

    def _files(self) -> Mapping[str, Mapping[str, Tensor]]:
        return {FILE: self.parts}

    @classmethod
    def _restore(cls, folder: Path, names: tuple[str, ...], facts: dict[str, Any], given: Mapping[str, Any]) -> Self:
        packed = Packed.restore(len(names), facts)
        return cls(names=names, parts=load_tensors(folder / FILE), packed=packed)
