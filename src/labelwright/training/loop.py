"""The one training loop: ``train(net, step, data, fit=…, seed=…)``.

A learner supplies ``step(net, batch) -> Step``; the loop owns order, device, optimiser, schedule,
validation, the epoch that is kept, checkpoints and progress. Several networks are one module (an
``nn.ModuleDict``, say): their parameters are disjoint, a step that leaves some without a gradient
leaves them alone, so one optimiser over all equals one optimiser each. Per-example state lives in
`memory`, a module whose buffers travel with the checkpoint.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from labelwright.data.augment import named
from labelwright.data.batch import Augment, Batch, Order, TensorData, batches, shuffled, steps_in, two_streams
from labelwright.errors import ResourceError, TrainingError
from labelwright.nn.factories import seeded
from labelwright.progress import track
from labelwright.training.checkpoint import Checkpoint, Progress
from labelwright.training.engine import Engine, engine_for
from labelwright.training.evaluation import accuracy, predict_logits
from labelwright.training.fit import Fit, learning_rate, optimizer_for
from labelwright.training.memory import Gathered

__all__ = ["EpochEnd", "Run", "Step", "train", "validation_accuracy"]


@dataclass(frozen=True)
class Step:
    """What one step gives: `loss`, the mean over the batch with a graph behind it, and `metrics`, detached means to be logged."""

    loss: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """What a callback sees after an epoch: `epoch` from 0, the live `net`, this epoch's `row` of the history."""

    epoch: int
    net: nn.Module
    row: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished training: `net` with the kept weights, `history` (one row an epoch), `best_epoch` (kept one, from 0),
    `stopped` early or not, `steps` made, `seconds` of wall time in this process.

    Two runs are equal if they measured the same; neither the module object nor the clock counts.
    """

    net: nn.Module = field(compare=False)
    history: tuple[dict[str, float], ...]
    best_epoch: int
    stopped: bool
    seconds: float = field(compare=False)
    steps: int


StepFunction = Callable[[nn.Module, Batch], Step]
Validate = Callable[[nn.Module, TensorData], Mapping[str, float]]


def validation_accuracy(net: nn.Module, val: TensorData) -> dict[str, float]:
    """The default validation: accuracy against the labels of `val`, noisy as they may be."""
    return {"val_accuracy": accuracy(predict_logits(net, val.inputs), val.labels.cpu())}


def train(
    net: nn.Module,
    step: StepFunction,
    data: TensorData,
    *,
    fit: Fit,
    seed: int,
    val: TensorData | None = None,
    memory: nn.Module | None = None,
    unlabelled: TensorData | None = None,
    mu: float = 1.0,
    streams: int = 1,
    order: Order = shuffled,
    augment: Augment | None = None,
    validate: Validate = validation_accuracy,
    on_step: Callable[[nn.Module, int], None] | None = None,
    on_epoch: Sequence[Callable[[EpochEnd], bool | None]] = (),
    mode: Callable[[nn.Module], Any] = nn.Module.train,
    label: str = "training",
    key: str = "",
) -> Run:
    """Train `net` in place and return it with the weights of the kept epoch.

    Parameters
    ----------
    net
        One module; it moves to the recipe's device.
    step
        ``step(net, batch) -> Step``; the loss is a mean over the batch.
    data, val
        Training and (noisy) validation examples.
    memory
        Per-example state: a module with buffers, saved in checkpoints, gathered over processes by its
        ``sync(engine)`` if it has one (see :class:`~labelwright.training.memory.ExampleTable`).
    unlabelled, mu
        A second stream: each batch then carries ``batch.other``, `mu` times as many examples of `unlabelled`. An epoch is as
        long as the longer stream; the shorter one is passed through again.
    streams
        Passes over the data in each epoch, each in its own order, told apart by ``batch.stream``.
    order
        Visiting order, a function of (data, seed, epoch, stream) alone: ``shuffled`` or ``balanced``.
    augment
        Random views; overrides ``fit.augment``.
    validate
        ``validate(net, val) -> {"val_…": value, …}``; the *first* value is the score that ``fit.keep == "best"`` maximises.
    on_step, on_epoch
        Called after every optimiser step (weight averaging) and every epoch; an ``on_epoch`` that returns True stops training.
    mode
        Sets training mode before each epoch (``net.train()`` by default; :func:`labelwright.nn.modes.freeze_batchnorm` goes here).
    key
        Identifies the run in its checkpoint, beside recipe, seed and data; runs that share a folder need one each.

    Raises
    ------
    TrainingError
        If the loss of an epoch is not finite, or the checkpoint belongs to another run.
    ResourceError
        If the device is absent or its memory exhausted.
    """
    if augment is None and fit.augment is not None:
        augment = named(fit.augment)
    engine = engine_for(fit)
    checkpoint = Checkpoint.open(fit, seed=seed, net=net, parts=(data, val, unlabelled), key=key)
    job = _Job(
        net=net, step=step, data=data, fit=fit, seed=seed, val=val, memory=memory, unlabelled=unlabelled, mu=mu, streams=streams,
        order=order, augment=augment, validate=validate, on_step=on_step, on_epoch=tuple(on_epoch), mode=mode, label=label,
    )  # fmt: skip
    try:
        return _Trainer(job, engine, checkpoint).run()
    except (MemoryError, RuntimeError) as err:
        # CUDA has an exception of its own (a RuntimeError); the CPU's and MPS's allocators only have their words
        words = ("can't allocate memory", "out of memory")
        if isinstance(err, (torch.OutOfMemoryError, MemoryError)) or any(w in str(err) for w in words):
            hint = "Use a smaller --batch-size or network, or --device cpu."
            raise ResourceError(f"The memory of {engine.device} is exhausted.", hint=hint) from err
        raise


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What :func:`train` was asked, in one value."""

    net: nn.Module
    step: StepFunction
    data: TensorData
    fit: Fit
    seed: int
    val: TensorData | None
    memory: nn.Module | None
    unlabelled: TensorData | None
    mu: float
    streams: int
    order: Order
    augment: Augment | None
    validate: Validate
    on_step: Callable[[nn.Module, int], None] | None
    on_epoch: tuple[Callable[[EpochEnd], bool | None], ...]
    mode: Callable[[nn.Module], Any]
    label: str


class _Trainer:
    """One run of a job: the state that changes from epoch to epoch, and the few acts that change it."""

    def __init__(self, job: _Job, engine: Engine, checkpoint: Checkpoint | None) -> None:
        self.job, self.engine, self.checkpoint = job, engine, checkpoint
        self.data = job.data.to(engine.device)
        self.unlabelled = None if job.unlabelled is None else job.unlabelled.to(engine.device)
        if job.memory is not None:
            job.memory.to(engine.device)
        self.net = job.net.to(engine.device)
        engine.broadcast(self.net)
        self.optimizer = optimizer_for(self.net, job.fit)
        size = job.fit.batch_size
        length = len(job.order(job.data, seed=job.seed, epoch=0, stream=0))
        self.per_pass = steps_in(length, size, drop_last=job.fit.drop_last)
        if job.unlabelled is not None:
            self.per_pass = max(self.per_pass, steps_in(len(job.unlabelled), round(size * job.mu), drop_last=job.fit.drop_last))
        self.progress = Progress()

    def run(self) -> Run:
        """Resume, train epoch after epoch, put the kept weights back."""
        begin = time.perf_counter()
        job, progress = self.job, self.progress
        if self.checkpoint is not None:
            self.checkpoint.restore(progress, net=self.net, optimizer=self.optimizer, memory=job.memory, engine=self.engine)
        done = len(progress.history)
        for epoch in track(range(done, job.fit.epochs if not progress.stopped else done), job.label):
            self._finish(epoch, self._epoch(epoch))
            if self.checkpoint is not None and self.engine.rank == 0:
                self.checkpoint.write(progress, net=self.net, optimizer=self.optimizer, memory=job.memory, engine=self.engine)
            if progress.stopped:
                break
        if progress.best_state is not None:
            self.net.load_state_dict(progress.best_state)
        self.net.eval()
        return Run(
            net=self.net,
            history=tuple(progress.history),
            best_epoch=progress.best_epoch,
            stopped=progress.stopped,
            seconds=time.perf_counter() - begin,
            steps=len(progress.history) * self.per_pass * job.streams,
        )

    def _epoch(self, epoch: int) -> dict[str, float]:
        """Train for one epoch; its learning rate and means of loss and metrics.

        Nothing in the loop below waits for the device: sums stay tensors until the epoch ends.
        """
        job = self.job
        totals: dict[str, Tensor] = {}
        seen = 0
        job.mode(self.net)
        with seeded(_epoch_seed(job.seed, epoch, self.engine.rank)):
            for batch, size in self._feed(epoch):
                seen += len(batch)
                self._update(batch, size, totals)
        self.engine.average_buffers(self.net)
        for module in () if job.memory is None else job.memory.modules():
            if isinstance(module, Gathered):
                module.sync(self.engine)
        rate = float(self.optimizer.param_groups[0]["lr"])
        row = {"epoch": float(epoch), "lr": rate} | self.engine.means(totals, seen)
        if not abs(row["loss"]) < float("inf"):  # NaN fails every comparison
            kept = f" The last good state is kept in {job.fit.checkpoint}." if self.checkpoint is not None and epoch else ""
            raise TrainingError(
                f"The loss is not finite in epoch {epoch + 1} (learning rate {rate:.3g}).",
                hint="Use a smaller learning rate, check the inputs for outliers, or train with precision 32." + kept,
            )
        return row

    def _feed(self, epoch: int) -> Iterator[tuple[Batch, int]]:
        """Batches of one epoch, stream after stream, each with the size of the global batch."""
        job, engine = self.job, self.engine
        for stream in range(job.streams):
            first = (epoch * job.streams + stream) * self.per_pass
            common: dict[str, Any] = {
                "batch_size": job.fit.batch_size, "seed": job.seed, "epoch": epoch, "stream": stream, "first_step": first,
                "drop_last": job.fit.drop_last, "augment": job.augment, "order": job.order, "rank": engine.rank, "world": engine.world,
            }  # fmt: skip
            if self.unlabelled is None:
                yield from batches(self.data, **common)
            else:
                yield from two_streams(self.data, self.unlabelled, mu=job.mu, **common)

    def _update(self, batch: Batch, size: int, totals: dict[str, Tensor]) -> None:
        """One optimiser step on `batch`, a part of a global batch of `size` examples; sums of loss and metrics go to `totals`."""
        job, engine, optimizer = self.job, self.engine, self.optimizer
        rate = learning_rate(job.fit, batch.step, steps_per_epoch=self.per_pass * job.streams)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with engine.autocast():
            out = job.step(self.net, batch)
        # here, not before the forward pass: with the gradients still in place, the allocator reuses the activations' memory
        # instead of giving it back and faulting it in again, 4 % of a step on the CPU
        optimizer.zero_grad(set_to_none=True)
        # the engine averages gradients over processes; this factor makes that the mean over the global batch
        scale = len(batch) * engine.world / size
        engine.backward(out.loss if scale == 1 else out.loss * scale, optimizer)
        if job.fit.clip:
            engine.clip(optimizer, job.fit.clip)
        engine.step(optimizer)
        if job.on_step is not None:
            job.on_step(self.net, batch.step)
        for name, value in (("loss", out.loss), *out.metrics.items()):
            part = value.detach().float() * len(batch)
            totals[name] = totals[name].add_(part) if name in totals else part

    def _finish(self, epoch: int, row: dict[str, float]) -> None:
        """Validate, keep the weights if they are the best yet, ask the callbacks, decide whether to stop."""
        job, progress = self.job, self.progress
        score = float(epoch)
        if job.val is not None:
            scores = dict(job.validate(self.net, job.val))
            row |= scores
            score = self.engine.agree(next(iter(scores.values()), score))
        progress.history.append(row)
        if job.val is None or job.fit.keep == "last":
            # the last weights are kept; patience still follows the score
            if job.val is None or progress.improved(score):
                progress.best_score, progress.patient_since = score, epoch
            progress.best_epoch = epoch
        elif progress.improved(score):
            progress.best_score, progress.best_epoch, progress.patient_since = score, epoch, epoch
            progress.best_state = copy.deepcopy(self.net.state_dict())
        asked = [bool(callback(EpochEnd(epoch=epoch, net=self.net, row=row))) for callback in job.on_epoch]
        waited = job.fit.patience and epoch - progress.patient_since >= job.fit.patience
        progress.stopped = any(asked) or bool(waited)


def _epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Seed of torch's global generator (dropout) in one epoch: a resumed run draws what an unbroken one draws."""
    return (1_000_003 * seed + 7_919 * epoch + rank) & 0x7FFFFFFF
