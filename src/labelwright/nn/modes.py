"""Modes of networks other than ``net.train()`` and ``net.eval()``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["batch_statistics", "batchnorm_layers", "evaluation", "freeze_batchnorm"]


def batchnorm_layers(net: nn.Module) -> list[tuple[str, nn.modules.batchnorm._BatchNorm]]:
    """The BatchNorm layers of `net` with their names, in order of definition."""
    return [(name, m) for name, m in net.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def freeze_batchnorm(net: nn.Module) -> nn.Module:
    """Training mode with every BatchNorm layer as in evaluation: running statistics and affine parameters stay as they are.

    The parameters may already be with an optimiser: without a gradient it leaves them alone, weight decay included.
    """
    net.train()
    for _, module in batchnorm_layers(net):
        module.eval()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
    return net


@contextmanager
def evaluation(net: nn.Module) -> Iterator[nn.Module]:
    """`net` in evaluation mode; each module's own mode is restored. Gradients are left as they are, so outputs may enter a loss."""
    modes = [(m, m.training) for m in net.modules()]
    net.eval()
    try:
        yield net
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def batch_statistics(net: nn.Module) -> Iterator[nn.Module]:
    """`net` in evaluation mode, but for its BatchNorm layers, which normalise by the batch at hand.

    Running statistics are neither read nor moved, and dropout stays off: what ``net.train()`` would get wrong. All modes
    are restored.
    """
    layers = [(m, m.track_running_stats) for _, m in batchnorm_layers(net)]
    with evaluation(net):
        for layer, _ in layers:
            layer.training, layer.track_running_stats = True, False
        try:
            yield net
        finally:
            for layer, tracked in layers:
                layer.track_running_stats = tracked
