"""Weight averaging with a stated policy for buffers, and the ramps that averaged teachers use.

A running average of the weights is one line; what goes wrong is the rest: BatchNorm statistics that
belong to neither network, and a fixed decay that remembers random initial weights for thousands of
steps. So the copy starts from the network's own weights, and `buffers` is a word one has to choose.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.errors import InputError

__all__ = ["Buffers", "Decay", "WeightAverage", "constant", "early_ramp", "recompute_batchnorm", "sigmoid_ramp"]

Buffers = Literal["copy", "average", "recompute"]
Decay = Callable[[int], float]
"""``decay(step)``: share of the old average kept at `step` (from 0)."""


def constant(gamma: float) -> Decay:
    """Always `gamma`, in [0, 1]."""
    check.in_range("gamma", gamma, low=0, high=1)
    return lambda step: gamma


def sigmoid_ramp(gamma: float, steps: int) -> Decay:
    """``gamma exp(-5 (1 - min(s + 1, S0) / S0)²)`` with S0 = `steps`: ELR+ on CIFAR (S0 = 40,000), mean teacher.

    Near 0 at first, so that the average follows the network while it moves fast.
    """
    check.in_range("gamma", gamma, low=0, high=1)
    check.integer("steps", steps, low=1)
    return lambda step: gamma * math.exp(-5 * (1 - min(step + 1, steps) / steps) ** 2)


def early_ramp(gamma: float) -> Decay:
    """``min(1 - 1 / (s + 1), gamma)``: the plain mean of all weights so far until `gamma` takes over."""
    check.in_range("gamma", gamma, low=0, high=1)
    return lambda step: min(1 - 1 / (step + 1), gamma)


class WeightAverage(nn.Module):
    """A running average of a network's weights: ``average <- decay(s) average + (1 - decay(s)) weights``.

    Call :meth:`update` after every optimiser step (``train(on_step=average.update)``), and the average
    like the network itself. It is a module: inside the trained network (an ``nn.ModuleDict``, say) it
    travels with checkpoints and with the kept epoch; as `memory` with checkpoints alone. Its parameters
    ask for no gradient, so no optimiser touches them.

    Parameters
    ----------
    net
        The network; its present weights are the start.
    decay
        A number in [0, 1], or a ramp.
    buffers
        What becomes of the averaged network's buffers (BatchNorm statistics). ``copy``: the network's
        present ones; ``average``: averaged like weights (integers are copied); ``recompute``: left as they
        are until :func:`recompute_batchnorm` is called, after which they belong to the averaged weights.
    """

    steps: Tensor

    def __init__(self, net: nn.Module, *, decay: float | Decay, buffers: Buffers) -> None:
        super().__init__()
        check.one_of("buffers", buffers, ("copy", "average", "recompute"))
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.decay = decay if callable(decay) else constant(decay)
        self.policy = buffers
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    @torch.no_grad()
    def update(self, net: nn.Module, step: int | None = None) -> None:
        """Move towards the weights of `net`; `step` is the run's step, or the number of updates so far."""
        if step is None:
            step = int(self.steps)
        keep = self.decay(step)
        mine, theirs = list(self.net.parameters()), [p.detach() for p in net.parameters()]
        if len(mine) != len(theirs):
            raise InputError(f"The average has {len(mine)} parameters, the network {len(theirs)}: they must be built alike.")
        _lerp(mine, theirs, 1 - keep)
        if self.policy != "recompute":
            own, new = list(self.net.buffers()), list(net.buffers())
            real = [a.is_floating_point() and self.policy == "average" for a in own]
            _lerp([a for a, r in zip(own, real, strict=True) if r], [b for b, r in zip(new, real, strict=True) if r], 1 - keep)
            for a, b, r in zip(own, new, real, strict=True):
                if not r:
                    a.copy_(b)
        self.steps += 1


def _lerp(average: Sequence[Tensor], values: Sequence[Tensor], share: float) -> None:
    """``average += share (values - average)``; equal tensors stay equal bit by bit, share 1 gives `values` exactly."""
    if share == 1:
        for a, b in zip(average, values, strict=True):
            a.copy_(b)
    elif average:
        torch._foreach_lerp_(list(average), list(values), share)


@torch.no_grad()
def recompute_batchnorm(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give every BatchNorm layer of `net` the plain mean of its statistics over `batches` of inputs; modes are restored.

    Raises
    ------
    InputError
        If there is no batch.
    """
    layers = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    modes = [(m, m.training) for m in net.modules()]
    momenta = [layer.momentum for layer in layers]
    net.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative mean
        layer.train()
    try:
        count = 0
        for inputs in batches:
            net(inputs)
            count += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, training in modes:
            module.training = training
    if not count:
        raise InputError("BatchNorm statistics need at least one batch.")
