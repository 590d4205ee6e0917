"""How to train: one frozen recipe, and the learning rate it gives at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from labelwright import check
from labelwright.data.augment import named
from labelwright.errors import InputError, ResourceError

__all__ = ["Fit", "learning_rate", "optimizer_for", "resolve_device"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A training recipe. Every learner has one of its own; pass another to override it."""

    epochs: int = 20
    """Passes over the training set, over all stages of a method."""
    batch_size: int = 128
    """Examples a step, over all processes."""
    optimizer: Literal["sgd", "adam", "adamw", "amsgrad"] = "sgd"
    """Optimiser; amsgrad is Adam with the largest second moment seen so far."""
    lr: float = 0.02
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    """Nesterov momentum."""
    weight_decay: float = 1e-3
    """Weight decay (decoupled for adamw)."""
    schedule: Literal["constant", "cosine", "multistep", "warm-restarts"] = "cosine"
    """Course of the learning rate."""
    milestones: tuple[int, ...] = ()
    """Epochs at which multistep multiplies the rate by `gamma`."""
    gamma: float = 0.1
    """Factor of multistep."""
    min_lr: float = 0.0
    """Lowest rate of cosine and warm-restarts."""
    restart: int = 10
    """Epochs a cycle of warm-restarts."""
    warmup: int = 0
    """Steps of linear warm-up before the schedule starts."""
    augment: str | None = None
    """Random views of images: crop-flip, crop, shift, … (see labelwright.data.augment), or None."""
    drop_last: bool = False
    """Leave out an incomplete last batch."""
    keep: Literal["last", "best"] = "best"
    """Which epoch's weights to return: the last, or the best on the (noisy) validation split."""
    patience: int = 0
    """Stop after this many epochs without a better validation score; 0 = never."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 = no clipping."""
    device: str = "auto"
    """auto (CUDA where present), cpu, cuda, cuda:1, mps."""
    precision: Literal["32", "16-mixed", "bf16-mixed"] = "32"
    """Arithmetic; mixed precision goes through Lightning Fabric."""
    devices: int = 1
    """Processes, one a device; more than one goes through Lightning Fabric (DDP)."""
    checkpoint: str | None = None
    """Folder for a checkpoint after every epoch; a run with the same data and settings resumes from it exactly."""

    def __post_init__(self) -> None:
        check.integer("epochs", self.epochs, low=1)
        check.integer("batch_size", self.batch_size, low=1)
        check.one_of("optimizer", self.optimizer, ("sgd", "adam", "adamw", "amsgrad"))
        check.one_of("schedule", self.schedule, ("constant", "cosine", "multistep", "warm-restarts"))
        check.one_of("keep", self.keep, ("last", "best"))
        check.one_of("precision", self.precision, ("32", "16-mixed", "bf16-mixed"))
        check.in_range("lr", self.lr, low=0, closed="neither")
        check.in_range("momentum", self.momentum, low=0, high=1, closed="left")
        check.in_range("weight_decay", self.weight_decay, low=0)
        check.in_range("min_lr", self.min_lr, low=0, high=self.lr)
        check.in_range("clip", self.clip, low=0)
        for name in ("warmup", "patience"):
            check.integer(name, getattr(self, name), low=0)
        check.integer("restart", self.restart, low=1)
        check.integer("devices", self.devices, low=1)
        if self.augment is not None:
            named(self.augment)
        if self.milestones and self.schedule != "multistep":
            raise InputError(f"milestones have no effect with schedule {self.schedule!r}.", hint="Use schedule='multistep'.")


def learning_rate(fit: Fit, step: int, *, steps_per_epoch: int) -> float:
    """The rate at `step` (from 0). Linear warm-up comes first; the schedule then runs over what is left, in epochs as the field states it."""
    if step < fit.warmup:
        return fit.lr * (step + 1) / fit.warmup
    epoch = (step - fit.warmup) // steps_per_epoch
    total = max(1.0, fit.epochs - fit.warmup / steps_per_epoch)
    if fit.schedule == "multistep":
        return fit.lr * fit.gamma ** sum(epoch >= m for m in fit.milestones)
    if fit.schedule == "constant":
        return fit.lr
    if fit.schedule == "warm-restarts":
        phase = (epoch % fit.restart) / fit.restart
    else:
        # by step, so that short runs anneal as smoothly as long ones
        phase = min(1.0, (step - fit.warmup) / (total * steps_per_epoch))
    return fit.min_lr + (fit.lr - fit.min_lr) * 0.5 * (1 + math.cos(math.pi * phase))


def optimizer_for(net: nn.Module, fit: Fit) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that want a gradient."""
    params = [p for p in net.parameters() if p.requires_grad]
    if not params:
        raise InputError(f"{type(net).__name__} has no parameters to train.")
    if fit.optimizer == "sgd":
        return torch.optim.SGD(params, lr=fit.lr, momentum=fit.momentum, weight_decay=fit.weight_decay, nesterov=fit.nesterov)
    if fit.optimizer == "amsgrad":
        return torch.optim.Adam(params, lr=fit.lr, weight_decay=fit.weight_decay, amsgrad=True)
    cls = torch.optim.Adam if fit.optimizer == "adam" else torch.optim.AdamW
    return cls(params, lr=fit.lr, weight_decay=fit.weight_decay)


def resolve_device(name: str) -> torch.device:
    """The device called `name`; ``auto`` takes CUDA where present.

    Raises
    ------
    ResourceError
        If the device is unknown or absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise ResourceError(f"device {name!r} is unknown.", hint="Use auto, cpu, cuda, cuda:0, mps.") from err
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ResourceError(f"device {name!r} is not available: torch {torch.__version__} sees no CUDA GPU.", hint="Use --device cpu.")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise ResourceError(f"device {name!r} does not exist; there are {torch.cuda.device_count()} GPUs.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ResourceError("device 'mps' is not available on this machine.", hint="Use --device cpu.")
    return device
