"""Indexed tensor batches: whole-tensor gathers, an order that is a function of (seed, epoch) alone.

Every training example carries the row it has in the caller's dataset, so per-example state (ELR's
targets, training dynamics) is addressed by that row and never by a place in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from labelwright import check
from labelwright.errors import InputError

__all__ = [
    "Augment",
    "Batch",
    "Order",
    "TensorData",
    "balanced",
    "balanced_order",
    "batches",
    "epoch_order",
    "shuffled",
    "step_generator",
    "steps_in",
    "two_streams",
]

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""``(inputs (B, …), generator) -> inputs``: random views of a whole batch."""

SECOND = 1 << 32
"""Added to a stream's number for the order and draws of its unlabelled companion, so that the two are unrelated."""


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
    where it is (`epoch`, `step` from 0 over the whole run, `stream`), a `generator` for the step's own draws, and `other`,
    the unlabelled batch beside it when there are two streams."""

    inputs: Tensor
    clean: Tensor
    labels: Tensor
    index: Tensor
    weights: Tensor
    epoch: int
    step: int
    stream: int
    generator: torch.Generator
    other: Batch | None = None

    def __len__(self) -> int:
        return len(self.inputs)


class Order(Protocol):
    """Visiting order of one epoch: int64 positions in `data`, a function of the arguments alone, of one length in all epochs."""

    def __call__(self, data: TensorData, *, seed: int, epoch: int, stream: int) -> Tensor: ...


def epoch_order(n: int, *, seed: int, epoch: int, stream: int = 0) -> Tensor:
    """Visiting order of one epoch: a permutation of 0..n-1, a function of its arguments alone."""
    return torch.randperm(n, generator=_generator(seed, epoch, stream, 0))


def balanced_order(labels: Tensor, *, seed: int, epoch: int, stream: int = 0, size: int | None = None) -> Tensor:
    """An order in which all classes come equally often: int64 (`size`,), as long as `labels` by default.

    Classes take turns in a fresh random sequence each round, so any window of C positions holds every
    class at most twice. Within a class, examples follow random permutations of it, one after the
    other: rare ones repeat, and no example comes a second time before all of its class have come once.
    Rows with an unknown label are left out.

    Raises
    ------
    InputError
        If no label is known.
    """
    labels = labels.cpu()
    generator = _generator(seed, epoch, stream, 0)
    classes = labels[labels >= 0].unique()
    if not len(classes):
        raise InputError("A class-balanced order needs known labels; there are none.")
    length = len(labels) if size is None else size
    rounds = -(-length // len(classes))
    columns = []
    for c in classes:
        members = (labels == c).nonzero().flatten()
        passes = -(-rounds // len(members))
        columns.append(torch.cat([members[torch.randperm(len(members), generator=generator)] for _ in range(passes)])[:rounds])
    table = torch.stack(columns, dim=1)
    turns = torch.rand(table.shape, generator=generator).argsort(dim=1)
    return table.gather(1, turns).flatten()[:length]


def shuffled(data: TensorData, *, seed: int, epoch: int, stream: int) -> Tensor:
    """Every example once, in random order."""
    return epoch_order(len(data), seed=seed, epoch=epoch, stream=stream)


def balanced(data: TensorData, *, seed: int, epoch: int, stream: int) -> Tensor:
    """All classes equally often; see :func:`balanced_order`."""
    return balanced_order(data.labels, seed=seed, epoch=epoch, stream=stream)


def step_generator(*, seed: int, epoch: int, stream: int, step: int) -> torch.Generator:
    """Generator of one step's random draws, on the CPU, a function of its arguments alone."""
    return _generator(seed, epoch, stream, step + 1)


def steps_in(n: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Batches in one pass over `n` examples; at least one."""
    return max(1, n // batch_size if drop_last else -(-n // batch_size))


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
    order: Order = shuffled,
    rank: int = 0,
    world: int = 1,
) -> Iterator[tuple[Batch, int]]:
    """One epoch of batches, each with the size of the global batch it is a part of.

    With `world` processes, rank r gets rows r, r + world, … of each global batch; orders and
    augmentation draws are made for the global batch, so the union over ranks equals a single process.
    A last batch of fewer examples than processes is left out.
    """
    visit = order(data, seed=seed, epoch=epoch, stream=stream).to(data.inputs.device)
    n = len(visit)
    stop = n - n % batch_size if drop_last and n >= batch_size else n
    for number, start in enumerate(range(0, stop, batch_size)):
        rows = visit[start : min(start + batch_size, stop)]
        if len(rows) < world:
            continue
        generator = step_generator(seed=seed, epoch=epoch, stream=stream, step=number)
        place = {"epoch": epoch, "step": first_step + number, "stream": stream}
        yield _gather(data, rows, augment, generator, rank, world, place), len(rows)


def two_streams(
    labelled: TensorData,
    unlabelled: TensorData,
    *,
    mu: float,
    batch_size: int,
    seed: int,
    epoch: int,
    stream: int = 0,
    first_step: int = 0,
    drop_last: bool = False,
    augment: Augment | None = None,
    order: Order = shuffled,
    rank: int = 0,
    world: int = 1,
) -> Iterator[tuple[Batch, int]]:
    """One epoch of labelled batches of `batch_size`, each with `other`: round(`mu` · `batch_size`) unlabelled examples.

    The epoch is as long as the longer of the two passes. The shorter stream is passed through again,
    each time in a fresh order, and its batches run on over the seam, so all batches of a stream but the
    longer one's last have the same size. Everything is a function of (seed, epoch, stream).

    Raises
    ------
    InputError
        If a stream is empty or `mu` gives an empty batch.
    """
    other_size = round(batch_size * mu)
    check.integer("mu * batch_size", other_size, low=1)
    for name, part in (("labelled", labelled), ("unlabelled", unlabelled)):
        if not len(part):
            raise InputError(f"There are no {name} examples; two streams need both.")
    visits = order(labelled, seed=seed, epoch=epoch, stream=stream)
    lengths = steps_in(len(visits), batch_size, drop_last=drop_last), steps_in(len(unlabelled), other_size, drop_last=drop_last)
    total = max(lengths)
    first = _cycle(labelled, order, visits, batch_size * total, whole=lengths[0] == total, seed=seed, epoch=epoch, stream=stream)
    start = shuffled(unlabelled, seed=seed, epoch=epoch, stream=stream + SECOND)
    second = _cycle(
        unlabelled, shuffled, start, other_size * total, whole=lengths[1] == total, seed=seed, epoch=epoch, stream=stream + SECOND
    )
    first, second = first.to(labelled.inputs.device), second.to(unlabelled.inputs.device)
    for number in range(total):
        rows = first[number * batch_size : (number + 1) * batch_size]
        mates = second[number * other_size : (number + 1) * other_size]
        if min(len(rows), len(mates)) < world:
            continue
        place = {"epoch": epoch, "step": first_step + number, "stream": stream}
        generator = step_generator(seed=seed, epoch=epoch, stream=stream + SECOND, step=number)
        other = _gather(unlabelled, mates, augment, generator, rank, world, place)
        generator = step_generator(seed=seed, epoch=epoch, stream=stream, step=number)
        yield replace(_gather(labelled, rows, augment, generator, rank, world, place), other=other), len(rows)


def _cycle(data: TensorData, order: Order, first: Tensor, length: int, *, whole: bool, seed: int, epoch: int, stream: int) -> Tensor:
    """`first`, followed by further passes until `length` positions are there; the longer stream (`whole`) passes once."""
    if whole:
        return first[:length]
    parts, have = [first], len(first)
    while have < length:
        parts.append(order(data, seed=seed, epoch=epoch, stream=stream + SECOND * 2 * len(parts)))
        have += len(parts[-1])
    return torch.cat(parts)[:length]


def _gather(
    data: TensorData, rows: Tensor, augment: Augment | None, generator: torch.Generator, rank: int, world: int, place: dict[str, Any]
) -> Batch:
    clean = data.inputs[rows]
    inputs = clean if augment is None else augment(clean, generator)
    if world > 1:
        rows, clean, inputs = rows[rank::world], clean[rank::world], inputs[rank::world]
    return Batch(
        inputs=inputs,
        clean=clean,
        labels=data.labels[rows],
        index=data.index[rows],
        weights=data.weights[rows],
        generator=generator,
        **place,
    )
