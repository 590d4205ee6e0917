"""Training modes other than ``net.train()``, for the loop's `mode`."""

from __future__ import annotations

from torch import nn

__all__ = ["freeze_batchnorm"]


def freeze_batchnorm(net: nn.Module) -> nn.Module:
    """Training mode with every BatchNorm layer as in evaluation: running statistics and affine parameters stay as they are.

    The parameters may already be with an optimiser: without a gradient it leaves them alone, weight decay included.
    """
    net.train()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(False)
    return net
