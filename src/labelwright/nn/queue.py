"""A dictionary of recent keys for contrastive learning (He et al. 2020), each with numbers of its own beside it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelwright import check

__all__ = ["KeyQueue", "gathered"]


def gathered(rows: Tensor) -> Tensor:
    """The `rows` (b, …) of all processes, in order of rank; the same tensor in a run of one process. Without gradient.

    Processes may hold different numbers of rows.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return rows.detach()
    world = torch.distributed.get_world_size()
    rows = rows.detach().contiguous()
    size = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.zeros_like(size) for _ in range(world)]
    torch.distributed.all_gather(sizes, size)
    longest = max(int(s) for s in sizes)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    parts = [torch.zeros_like(padded) for _ in range(world)]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([part[: int(s)] for part, s in zip(parts, sizes, strict=True)])


class KeyQueue(nn.Module):
    """The last `size` keys, first in, first out: unit vectors (`size`, `dim`), and `beside` (`size`, `width`), what was stored with each.

    Places fill from 0 and wrap around. All state is in buffers, so it travels with checkpoints; nothing waits for the device.
    In a distributed run, push what :func:`gathered` gives: then all processes hold one queue.
    """

    keys: Tensor
    beside: Tensor
    pushed: Tensor

    def __init__(self, size: int, dim: int, width: int = 0) -> None:
        super().__init__()
        check.integer("size", size, low=1)
        check.integer("dim", dim, low=1)
        check.integer("width", width, low=0)
        self.register_buffer("keys", torch.zeros(size, dim))
        self.register_buffer("beside", torch.zeros(size, width))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def filled(self) -> Tensor:
        """Which places hold a key: bool (`size`,)."""
        return torch.arange(len(self.keys), device=self.keys.device) < self.pushed

    @torch.no_grad()
    def push(self, keys: Tensor, beside: Tensor | None = None) -> Tensor:
        """Store `keys` (b, `dim`), normalised here, and `beside` (b, `width`); the oldest make room. Their places, int64.

        Of more keys than there are places, the last ones stay.
        """
        skip = max(0, len(keys) - len(self))
        place = (self.pushed + torch.arange(skip, len(keys), device=self.keys.device)) % len(self)
        self.keys.index_copy_(0, place, F.normalize(keys[skip:].detach().to(self.keys.dtype), dim=1))
        if beside is not None:
            check.same_length(keys=keys, beside=beside)
            self.beside.index_copy_(0, place, beside[skip:].detach().to(self.beside.dtype))
        self.pushed += len(keys)
        return place

    @torch.no_grad()
    def clear(self) -> None:
        """Forget all keys."""
        for buffer in (self.keys, self.beside, self.pushed):
            buffer.zero_()

    def contrast(self, query: Tensor, positive: Tensor, *, temperature: float) -> Tensor:
        """InfoNCE (B,) of unit vectors `query` with `positive` (both (B, `dim`)) against the keys held now; 0 while there are none."""
        check.same_shape(query=query, positive=positive)
        agree = (query * positive).sum(1, keepdim=True)
        # a copy: the step pushes new keys before it goes backwards
        others = (query @ self.keys.clone().T).masked_fill(~self.filled, float("-inf"))
        return -(torch.cat([agree, others], dim=1) / temperature).log_softmax(1)[:, 0]
