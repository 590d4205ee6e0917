"""The network a user gets without naming one."""

from __future__ import annotations

from labelwright.nn.factories import NetFactory
from labelwright.nn.networks import MLP, ConvNet

__all__ = ["default_net"]


def default_net(input_shape: tuple[int, ...]) -> NetFactory:
    """ConvNet-D3 of width 32 with GroupNorm for images (C, H, W), else a perceptron with two hidden layers of 256.

    GroupNorm, because batches of a small dataset are small and evaluation is then a function of the example alone.
    """
    return ConvNet() if len(input_shape) == 3 else MLP()
