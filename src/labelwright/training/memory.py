"""Per-example state of a method: a table addressed by dataset row, saved in checkpoints, gathered over processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from labelwright import check

if TYPE_CHECKING:
    from labelwright.training.engine import Engine

__all__ = ["ExampleTable", "Gathered"]


@runtime_checkable
class Gathered(Protocol):
    """State that processes bring together after every epoch; the loop calls ``sync`` on each such module inside `memory`."""

    def sync(self, engine: Engine) -> None: ...


class ExampleTable(nn.Module):
    """A row of `width` numbers for each of `size` examples, all `fill` at first.

    Hand it to ``train(memory=…)``, alone or inside another module: its values then move to the run's
    device and travel with the checkpoint. After every epoch, rows that other processes wrote are merged
    in: each process visits its own part of every batch, so with one pass an epoch (``streams=1``) every
    process then holds exactly the table a single process would hold. A row that several processes wrote
    becomes the mean of what they wrote.

    Attributes
    ----------
    values
        (`size`, `width`) in `dtype`.
    touched
        bool (`size`,): rows written since the last ``sync``; not saved.
    """

    values: Tensor
    touched: Tensor

    def __init__(self, size: int, width: int, *, fill: float = 0.0, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        check.integer("size", size, low=1)
        check.integer("width", width, low=1)
        self.register_buffer("values", torch.full((size, width), fill, dtype=dtype))
        self.register_buffer("touched", torch.zeros(size, dtype=torch.bool), persistent=False)

    def read(self, index: Tensor) -> Tensor:
        """Rows at `index` int64 (B,): a copy (B, width), without gradient."""
        return self.values[index]

    @torch.no_grad()
    def write(self, index: Tensor, rows: Tensor) -> None:
        """Set the rows at `index` int64 (B,), distinct, to `rows` (B, width); they are detached and converted."""
        self.values.index_copy_(0, index, rows.detach().to(self.values.dtype))
        self.touched[index] = True

    @torch.no_grad()
    def sync(self, engine: Engine) -> None:
        """Merge the rows written by each process since the last call, and forget which they were."""
        if engine.world > 1:
            count = engine.sum(self.touched.to(torch.float32))
            # a row written by one process is a sum of itself and zeros: exact; half precision adds up in float32
            wide = torch.promote_types(self.values.dtype, torch.float32)
            written = torch.where(self.touched[:, None], self.values.to(wide), torch.zeros((), dtype=wide, device=self.values.device))
            total = engine.sum(written)
            merged = (total / count.clamp_min(1)[:, None]).to(self.values.dtype)
            self.values.copy_(torch.where(count[:, None] > 0, merged, self.values))
        self.touched.zero_()
