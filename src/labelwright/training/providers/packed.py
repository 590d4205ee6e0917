"""Rows of logits as they are stored: in half precision, and cut down to the largest where there are many classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from labelwright import check
from labelwright.errors import InputError

__all__ = ["Packed"]


@dataclass(frozen=True)
class Packed:
    """How rows of logits (M, C) are stored: in `dtype`, all of them, or the `top` largest and one value for all others.

    The one value spreads what probability the others have over them evenly, so the large probabilities stay what they were.
    """

    classes: int
    dtype: torch.dtype = torch.float16
    top: int | None = None
    widths: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        if self.dtype not in (torch.float16, torch.float32):
            raise InputError("Logits are stored as float16 or float32.")
        if self.top is not None:
            check.integer("top", self.top, low=1, high=self.classes - 1)
        object.__setattr__(
            self, "widths", {"logits": self.classes} if self.top is None else {"logits": self.top, "classes": self.top, "rest": 1}
        )

    @property
    def class_dtype(self) -> torch.dtype:
        """The smallest unsigned type that holds a class index; int32 beyond 32,767 (torch reads uint16 only in part)."""
        return torch.uint8 if self.classes <= 256 else torch.int16 if self.classes <= 32_767 else torch.int32

    def shapes(self, rows: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtypes and shapes of the tensors that hold `rows` rows."""
        return {name: (self.class_dtype if name == "classes" else self.dtype, (rows, width)) for name, width in self.widths.items()}

    def pack(self, logits: Tensor) -> dict[str, Tensor]:
        """Tensors by name, each with a row an example.

        Raises
        ------
        InputError
            If a value is not finite, or too large for the type.
        """
        logits = logits.detach().float().cpu()
        parts: dict[str, Tensor] = {}
        if self.top is None:
            parts["logits"] = logits.to(self.dtype)
        else:
            values, classes = logits.topk(self.top, dim=1)
            others = logits.scatter(1, classes, float("-inf"))
            rest = others.logsumexp(1, keepdim=True) - torch.tensor(float(self.classes - self.top)).log()
            parts = {"logits": values.to(self.dtype), "classes": classes.to(self.class_dtype), "rest": rest.to(self.dtype)}
        bad = ~(parts["logits"].isfinite().all(1) & (parts["rest"].isfinite().all(1) if self.top else torch.ones((), dtype=torch.bool)))
        if bad.any():
            raise InputError(
                f"{int(bad.sum()):,} rows of logits are not finite in {str(self.dtype).removeprefix('torch.')}, first row {int(bad.int().argmax())}.",
                hint="Store float32, or look at the teacher.",
            )
        return parts

    def unpack(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Logits float32 (B, C)."""
        if self.top is None:
            return parts["logits"].float()
        dense = parts["rest"].float().expand(-1, self.classes).clone()
        return dense.scatter_(1, parts["classes"].long(), parts["logits"].float())

    def spec(self) -> dict[str, Any]:
        """Plain values."""
        return {"dtype": str(self.dtype).removeprefix("torch."), "top": self.top}

    @classmethod
    def restore(cls, classes: int, spec: Mapping[str, Any]) -> Packed:
        """What :meth:`spec` described."""
        check.one_of("dtype", spec["dtype"], ("float16", "float32"))
        return cls(classes, getattr(torch, spec["dtype"]), spec["top"])
