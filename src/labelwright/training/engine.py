"""Where the loop runs: one device in plain torch, or several, or mixed precision, through Lightning Fabric."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from labelwright.training.fit import Fit, resolve_device

__all__ = ["Engine", "engine_for", "is_first"]


def is_first() -> bool:
    """Whether this process is the one that writes results: True but in the further processes of a distributed run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


class Engine:
    """One process on one device in float32."""

    rank = 0
    world = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def autocast(self) -> AbstractContextManager[Any]:
        """Arithmetic of the forward pass."""
        return nullcontext()

    def backward(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Gradients of `loss` for the parameters of `optimizer`, averaged over all processes."""
        loss.backward()

    def clip(self, optimizer: torch.optim.Optimizer, norm: float) -> None:
        """Scale the gradients of `optimizer` down to a common norm of at most `norm`."""
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], norm)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Move the weights."""
        optimizer.step()

    def sum(self, value: Tensor) -> Tensor:
        """Sum of a tensor over all processes."""
        return value

    def agree(self, value: float) -> float:
        """The first process's `value`, in all processes."""
        return value

    def broadcast(self, net: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""

    def average_buffers(self, net: nn.Module) -> None:
        """Average floating buffers (BatchNorm statistics) over all processes."""

    def state(self) -> dict[str, Any]:
        """What the arithmetic has to remember between steps (the scale of half-precision losses), as plain values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state that :meth:`state` gave."""

    def means(self, totals: dict[str, Tensor], count: int) -> dict[str, float]:
        """Means of sums over all processes, read from the device in one go."""
        if not totals:
            return {}
        stacked = torch.stack([*(total.to(self.device) for total in totals.values()), torch.tensor(float(count), device=self.device)])
        *sums, number = self.sum(stacked).tolist()
        return {name: value / max(number, 1.0) for name, value in zip(totals, sums, strict=True)}


def engine_for(fit: Fit) -> Engine:
    """The engine a recipe asks for; Fabric is imported only for several devices or mixed precision.

    Raises
    ------
    ResourceError
        If the device is absent or there are not enough of them.
    MissingExtra
        If Lightning is needed and not installed.
    """
    device = resolve_device(fit.device)
    if fit.devices == 1 and fit.precision == "32":
        return Engine(device)
    from labelwright.training.fabric import FabricEngine

    return FabricEngine(device, devices=fit.devices, precision=fit.precision)
