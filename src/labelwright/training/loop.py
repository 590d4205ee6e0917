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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from labelwright.data.batch import Augment, Batch, TensorData, batches
from labelwright.errors import ResourceError, TrainingError
from labelwright.nn.factories import seeded
from labelwright.progress import track
from labelwright.training.checkpoint import Checkpoint
from labelwright.training.engine import Engine, engine_for
from labelwright.training.evaluation import accuracy, predict_logits
from labelwright.training.fit import Fit, learning_rate, optimizer_for

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
    `stopped` early or not, `seconds` of wall time in this process, `steps` made."""

    net: nn.Module
    history: tuple[dict[str, float], ...]
    best_epoch: int
    stopped: bool
    seconds: float
    steps: int


StepFunction = Callable[[nn.Module, Batch], Step]


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
    streams: int = 1,
    augment: Augment | None = None,
    validate: Callable[[nn.Module, TensorData], Mapping[str, float]] = validation_accuracy,
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
        Per-example state: a module with buffers, saved in checkpoints, gathered over processes by its ``sync(engine)`` if it has one.
    streams
        Passes over the data in each epoch, each in its own order, told apart by ``batch.stream``.
    augment
        Random views; overrides ``fit.augment``.
    validate
        ``validate(net, val) -> {"val_…": value, …}``; the *first* value is the score that ``fit.keep == "best"`` maximises.
    on_step, on_epoch
        Called after every optimiser step (weight averaging) and every epoch; an ``on_epoch`` that returns True stops training.
    mode
        Sets training mode before each epoch (``net.train()`` by default; frozen BatchNorm goes here).
    key
        Identifies the run in its checkpoint, beside recipe, seed and data.

    Raises
    ------
    TrainingError
        If the loss of an epoch is not finite, or the checkpoint belongs to another run.
    ResourceError
        If the device is absent or its memory exhausted.
    """
    if augment is None and fit.augment is not None:
        from labelwright.data.augment import named

        augment = named(fit.augment)
    engine = engine_for(fit)
    try:
        return _train(net, step, data, fit, seed, val, memory, streams, augment, validate, on_step, on_epoch, mode, label, key, engine)
    except torch.OutOfMemoryError as err:
        raise ResourceError(
            f"The memory of {engine.device} is exhausted.", hint="Use a smaller --batch-size or network, or --device cpu."
        ) from err


def _train(
    net: nn.Module,
    step: StepFunction,
    data: TensorData,
    fit: Fit,
    seed: int,
    val: TensorData | None,
    memory: nn.Module | None,
    streams: int,
    augment: Augment | None,
    validate: Callable[[nn.Module, TensorData], Mapping[str, float]],
    on_step: Callable[[nn.Module, int], None] | None,
    on_epoch: Sequence[Callable[[EpochEnd], bool | None]],
    mode: Callable[[nn.Module], Any],
    label: str,
    key: str,
    engine: Engine,
) -> Run:
    begin = time.perf_counter()
    data = data.to(engine.device)
    if memory is not None:
        memory.to(engine.device)
    net.to(engine.device)
    optimizer = optimizer_for(net, fit)
    live, optimizer = engine.setup(net, optimizer)
    per_pass = max(1, len(data) // fit.batch_size if fit.drop_last else -(-len(data) // fit.batch_size))
    checkpoint = Checkpoint.open(fit, seed=seed, data=data, key=key)
    history: list[dict[str, float]] = []
    best: tuple[float, int, dict[str, Tensor] | None] = (-float("inf"), -1, None)
    state = checkpoint.read(engine.device) if checkpoint is not None else None
    if state is not None:
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        if memory is not None:
            memory.load_state_dict(state["memory"])
        history, best = state["history"], tuple(state["best"])  # type: ignore[assignment]
    steps, stopped = len(history) * per_pass * streams, bool(state and state["stopped"])
    for epoch in track(range(len(history), fit.epochs), label, total=fit.epochs - len(history)):
        if stopped:
            break
        total: dict[str, Tensor] = {}
        seen = 0
        mode(live)
        with seeded(_epoch_seed(seed, epoch, engine.rank)):
            for stream in range(streams):
                feed = batches(
                    data,
                    batch_size=fit.batch_size,
                    seed=seed,
                    epoch=epoch,
                    stream=stream,
                    first_step=steps,
                    drop_last=fit.drop_last,
                    augment=augment,
                    rank=engine.rank,
                    world=engine.world,
                )
                for batch, size in feed:
                    rate = learning_rate(fit, batch.step, steps_per_epoch=per_pass * streams)
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    optimizer.zero_grad(set_to_none=True)
                    with engine.autocast():
                        out = step(live, batch)
                    # the engine averages over processes; this factor makes that the mean over the global batch
                    scale = len(batch) * engine.world / size
                    engine.backward(out.loss if scale == 1 else out.loss * scale)
                    if fit.clip:
                        engine.clip(live, optimizer, fit.clip)
                    optimizer.step()
                    if on_step is not None:
                        on_step(net, batch.step)
                    for name, value in (("loss", out.loss), *out.metrics.items()):
                        part = value.detach().float() * len(batch)
                        total[name] = total[name] + part if name in total else part
                    seen += len(batch)
                steps += per_pass
        if memory is not None and hasattr(memory, "sync"):
            memory.sync(engine)
        row = {"epoch": float(epoch), "lr": rate} | engine.means(total, seen)
        if not torch.isfinite(torch.tensor(row["loss"])):
            raise TrainingError(
                f"The loss is not finite in epoch {epoch + 1} (learning rate {rate:.3g}).",
                hint="Use a smaller learning rate, check the inputs for outliers, or train with precision 32."
                + (f" The last good state is kept in {fit.checkpoint}." if fit.checkpoint else ""),
            )
        score = float(epoch)
        if val is not None:
            row |= (scores := dict(validate(net, val)))
            score = next(iter(scores.values()), score)
        history.append(row)
        if fit.keep == "last" or val is None:
            best = (score, epoch, None)
        elif score > best[0]:
            best = (score, epoch, copy.deepcopy(net.state_dict()))
        asked = [bool(callback(EpochEnd(epoch=epoch, net=net, row=row))) for callback in on_epoch]
        stopped = any(asked) or bool(fit.patience and val is not None and epoch - best[1] >= fit.patience)
        if checkpoint is not None and engine.rank == 0:
            checkpoint.write(net=net, optimizer=optimizer, memory=memory, history=history, best=best, stopped=stopped)
    if best[2] is not None:
        net.load_state_dict(best[2])
    net.eval()
    return Run(net=net, history=tuple(history), best_epoch=best[1], stopped=stopped, seconds=time.perf_counter() - begin, steps=steps)


def _epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Seed of torch's global generator (dropout) in one epoch: a resumed run draws what an unbroken one draws."""
    return (1_000_003 * seed + 7_919 * epoch + rank) & 0x7FFFFFFF
