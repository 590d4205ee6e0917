"""A network as a pure function of one parameter vector: what trajectories of weights are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.errors import InputError
from labelwright.nn.modes import batchnorm_layers

__all__ = ["FlatNet", "refuse_buffers"]


def refuse_buffers(net: nn.Module, *, what: str) -> None:
    """Refuse a network whose output depends on more than its parameters.

    Raises
    ------
    InputError
        If it has BatchNorm layers with running statistics, or dropout.
    """
    for name, layer in batchnorm_layers(net):
        if layer.running_mean is not None:
            raise InputError(
                f"{what} needs a network without BatchNorm; layer {name!r} is {type(layer).__name__}: its running statistics are "
                "no weights, so no trajectory of weights holds them.",
                hint="Use norm='instance' or 'group', for example --net convnet:norm=instance.",
            )
    dropout = [name for name, m in net.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
    if dropout:
        raise InputError(f"{what} needs a network without dropout; layer {dropout[0]!r} drops at random.", hint="Set dropout=0.")


class FlatNet:
    """``flat(theta, x)``: the output of `net` with the parameter vector `theta` (P,) in place of its own parameters.

    Differentiable in both, any number of times. `net` itself is never changed; its mode (train, eval) holds.

    Attributes
    ----------
    size
        P.
    shapes
        Names and shapes of the parameters, in the order of the vector.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.shapes = {name: tuple(p.shape) for name, p in net.named_parameters()}
        self.lengths = [p.numel() for p in net.parameters()]
        self.size = sum(self.lengths)
        if not self.size:
            raise InputError(f"{type(net).__name__} has no parameters.")

    def vector(self, net: nn.Module | None = None) -> Tensor:
        """The parameters of `net` (of the own network without) as one detached vector (P,): a copy.

        Raises
        ------
        InputError
            If `net` is built otherwise.
        """
        net = self.net if net is None else net
        found = {name: tuple(p.shape) for name, p in net.named_parameters()}
        if found != self.shapes:
            other = next((n for n in {**self.shapes, **found} if self.shapes.get(n) != found.get(n)), "the order")
            raise InputError(f"The networks are built differently: {other!r} is {found.get(other)}, not {self.shapes.get(other)}.")
        return torch.cat([p.detach().reshape(-1) for p in net.parameters()])

    def split(self, theta: Tensor) -> dict[str, Tensor]:
        """Views of `theta` by parameter name."""
        if theta.shape != (self.size,):
            raise InputError(f"theta must have shape ({self.size},); got {tuple(theta.shape)}.")
        parts = theta.split(self.lengths)
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def __call__(self, theta: Tensor, *inputs: Any) -> Tensor:
        out: Tensor = torch.func.functional_call(self.net, self.split(theta), inputs)
        return out

    @torch.no_grad()
    def fill(self, theta: Tensor, net: nn.Module | None = None) -> nn.Module:
        """Copy `theta` into the parameters of `net` (of the own network without), which is returned."""
        net = self.net if net is None else net
        parts = self.split(theta)
        for name, parameter in net.named_parameters():
            check.same_shape(parameter=parameter, theta=parts[name])
            parameter.copy_(parts[name])
        return net
