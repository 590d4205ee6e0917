"""Where the loop runs: one device in plain torch, or several, or mixed precision, through Lightning Fabric."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from labelwright.training.fit import Fit, resolve_device

__all__ = ["Engine", "engine_for"]


class Engine:
    """One process on one device in float32."""

    rank = 0
    world = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def setup(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The module to call in steps and the optimiser to step."""
        return net, optimizer

    def autocast(self) -> AbstractContextManager[Any]:
        """Arithmetic of the forward pass."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Gradients of `loss`."""
        loss.backward()

    def clip(self, net: nn.Module, optimizer: torch.optim.Optimizer, norm: float) -> None:
        """Scale gradients down to `norm`."""
        nn.utils.clip_grad_norm_(net.parameters(), norm)

    def sum(self, value: Tensor) -> Tensor:
        """Sum of a tensor over all processes."""
        return value

    def means(self, totals: dict[str, Tensor], count: int) -> dict[str, float]:
        """Means of sums over all processes."""
        number = float(self.sum(torch.tensor(float(count), device=self.device)))
        return {name: float(self.sum(total)) / max(number, 1.0) for name, total in totals.items()}


def engine_for(fit: Fit) -> Engine:
    """The engine a recipe asks for."""
    return Engine(resolve_device(fit.device))
