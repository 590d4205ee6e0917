"""Indexed tensor batches: whole-tensor gathers, an order that is a function of (seed, epoch) alone.

Every training example carries the row it has in the caller's dataset, so per-example state (ELR's
targets, training dynamics) is addressed by that row and never by a place in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from labelwright import check

__all__ = ["Augment", "Batch", "TensorData", "batches", "epoch_order", "step_generator"]

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""``(inputs (B, …), generator) -> inputs``: random views of a whole batch."""


@dataclass(frozen=True, kw_only=True)
class TensorData:
    """Examples as tensors.

    Attributes
    ----------
    inputs
        float32 (N, …).
    labels
        int64 (N,), -1 where unknown; or float (N, C) targets.
    index
        int64 (N,): row of each example in the caller's dataset, which has `size` rows.
    weights
        float32 (N,), non-negative.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor
    weights: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def of(cls, inputs: Tensor, labels: Tensor, *, weights: Tensor | None = None) -> TensorData:
        """All rows of a dataset, in order."""
        n = check.same_length(inputs=inputs, labels=labels, weights=weights)
        return cls(
            inputs=inputs,
            labels=labels,
            index=torch.arange(n),
            weights=torch.ones(n) if weights is None else weights.float(),
            size=n,
        )

    def take(self, rows: Tensor) -> TensorData:
        """The examples at positions `rows` (int64 or a boolean mask); they keep their index."""
        return replace(self, inputs=self.inputs[rows], labels=self.labels[rows], index=self.index[rows], weights=self.weights[rows])

    def to(self, device: torch.device | str) -> TensorData:
        """The same on another device."""
        moved: dict[str, Any] = {k: getattr(self, k).to(device) for k in ("inputs", "labels", "index", "weights")}
        return replace(self, **moved)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a step sees: `inputs` (B, …) augmented, `clean` the same without augmentation, `labels`, `index`, `weights` (B,),
    where it is (`epoch`, `step` from 0 over the whole run, `stream`) and a `generator` for the step's own draws."""

    inputs: Tensor
    clean: Tensor
    labels: Tensor
    index: Tensor
    weights: Tensor
    epoch: int
    step: int
    stream: int
    generator: torch.Generator

    def __len__(self) -> int:
        return len(self.inputs)


def epoch_order(n: int, *, seed: int, epoch: int, stream: int = 0) -> Tensor:
    """Visiting order of one epoch: a permutation of 0..n-1, a function of its arguments alone."""
    return torch.randperm(n, generator=_generator(seed, epoch, stream, 0))


def step_generator(*, seed: int, epoch: int, stream: int, step: int) -> torch.Generator:
    """Generator of one step's random draws, on the CPU, a function of its arguments alone."""
    return _generator(seed, epoch, stream, step + 1)


def _generator(*key: int) -> torch.Generator:
    # SplitMix64-style mixing: neighbouring keys give unrelated states, unlike a weighted sum of them
    state = 0x9E3779B97F4A7C15
    for part in key:
        state = (state ^ (part & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return torch.Generator().manual_seed(state & 0x7FFFFFFFFFFFFFFF)


def batches(
    data: TensorData,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    stream: int = 0,
    first_step: int = 0,
    drop_last: bool = False,
    augment: Augment | None = None,
    rank: int = 0,
    world: int = 1,
) -> Iterator[tuple[Batch, int]]:
    """One epoch of batches, each with the size of the global batch it is a part of.

    With `world` processes, rank r gets rows r, r + world, … of each global batch; orders and
    augmentation draws are made for the global batch, so the union over ranks equals a single process.
    A last batch of fewer examples than processes is left out.
    """
    n, device = len(data), data.inputs.device
    order = epoch_order(n, seed=seed, epoch=epoch, stream=stream).to(device)
    stop = n - n % batch_size if drop_last and n >= batch_size else n
    for number, start in enumerate(range(0, stop, batch_size)):
        rows = order[start : min(start + batch_size, stop)]
        if len(rows) < world:
            continue
        generator = step_generator(seed=seed, epoch=epoch, stream=stream, step=number)
        clean = data.inputs[rows]
        inputs = clean if augment is None else augment(clean, generator)
        mine = slice(rank, None, world)
        local = rows[mine]
        yield (
            Batch(
                inputs=inputs[mine],
                clean=clean[mine],
                labels=data.labels[local],
                index=data.index[local],
                weights=data.weights[local],
                epoch=epoch,
                step=first_step + number,
                stream=stream,
                generator=generator,
            ),
            len(rows),
        )
