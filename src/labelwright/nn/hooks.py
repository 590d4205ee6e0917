"""Looking inside a forward pass: statistics of what enters BatchNorm layers, and outputs of named layers.

Reference for the statistics term: Yin et al. Dreaming to Distill (DeepInversion), CVPR 2020, arXiv:1912.08795.

    R = sum_l k_l ( ||var_B(z_l) - rv_l||_2 + ||mean_B(z_l) - rm_l||_2 )      z_l: input of BatchNorm layer l

with biased variances over images and pixels, running statistics rv and rm, k_0 = 10 for the first layer and 1 for the others.
The norms are not squared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn

from labelwright.errors import InputError
from labelwright.nn.modes import batchnorm_layers

__all__ = ["BatchNormTap", "LayerTap", "head_of"]

FLOOR = 1e-12  # inside the root: a norm has no gradient at exact equality, and two equal batches do occur


class _Tap:
    """Hooks that are in place while the object is open (``with tap: net(x)``)."""

    def __init__(self) -> None:
        self.hooks: list[Any] = []

    def _open(self) -> None:
        """Place the hooks."""

    def clear(self) -> None:
        """Forget what was caught."""

    def __enter__(self) -> Self:
        self.clear()
        self._open()
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []


class BatchNormTap(_Tap):
    """While open, catches mean and biased variance of the input of every BatchNorm layer in each forward pass of `net`.

    ::

        with BatchNormTap(net.eval()) as tap:
            logits = net(x)
            loss = ce + 0.01 * tap.penalty()

    `skip_points` leaves out layers whose input is a single pixel (behind squeeze-and-excite branches), whose statistics say
    little. The graph reaches back to the inputs. Each forward pass begins anew.

    Raises
    ------
    InputError
        If `net` has no BatchNorm layer with running statistics.
    """

    def __init__(self, net: nn.Module, *, skip_points: bool = False) -> None:
        super().__init__()
        self.net, self.skip_points = net, skip_points
        self.layers = [(name, layer) for name, layer in batchnorm_layers(net) if layer.running_mean is not None]
        if not self.layers:
            raise InputError(
                f"{type(net).__name__} has no BatchNorm layer with running statistics to match.",
                hint="Use a network with norm='batch' here.",
            )
        self.clear()

    def clear(self) -> None:
        """Forget what was caught."""
        self.seen: list[nn.modules.batchnorm._BatchNorm] = []
        self.means: list[Tensor] = []
        self.variances: list[Tensor] = []

    def _open(self) -> None:
        self.hooks = [self.net.register_forward_pre_hook(lambda *_: self.clear())]
        self.hooks += [layer.register_forward_pre_hook(self._catch) for _, layer in self.layers]

    def _catch(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        if self.skip_points and x.ndim > 2 and x.shape[2:].numel() == 1:
            return
        # one pass over the activations for both; statistics in float32 at least
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        variance, mean = torch.var_mean(wide, [0, *range(2, x.ndim)], correction=0)
        self.seen.append(layer)  # type: ignore[arg-type]
        self.means.append(mean)
        self.variances.append(variance)

    def distances(self) -> Tensor:
        """``||var - rv|| + ||mean - rm||`` of each layer, in order of the pass: (L,), differentiable.

        Raises
        ------
        InputError
            If no forward pass was caught.
        """
        if not self.seen:
            raise InputError("No forward pass was caught.", hint="Call the network inside the with block.")
        parts = []
        for layer, mean, variance in zip(self.seen, self.means, self.variances, strict=True):
            running_mean, running_var = layer.running_mean, layer.running_var
            parts.append(_norm(mean - running_mean.to(mean)) + _norm(variance - running_var.to(variance)))  # type: ignore[union-attr]
        return torch.stack(parts)

    def penalty(self, *, first: float = 10.0) -> Tensor:
        """R: the sum of the distances, the first layer's times `first`."""
        found = self.distances()
        return found.sum() + (first - 1) * found[0]


def _norm(values: Tensor) -> Tensor:
    return (values.square().sum() + FLOOR).sqrt()


class LayerTap(_Tap):
    """While open, catches what goes into and comes out of named layers of `net`: ``tap.inputs[name]``, ``tap.outputs[name]``.

    The last pass counts; nothing is detached.

    Raises
    ------
    InputError
        If `net` has no layer of that name.
    """

    def __init__(self, net: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        known = dict(net.named_modules())
        self.layers = {}
        for name in names:
            if name not in known:
                raise InputError(f"{type(net).__name__} has no layer {name!r}.", hint=f"It has {', '.join(n for n in known if n)[:300]}.")
            self.layers[name] = known[name]
        self.clear()

    def clear(self) -> None:
        """Forget what was caught."""
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    def _open(self) -> None:
        for name, layer in self.layers.items():

            def catch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                self.inputs[name], self.outputs[name] = inputs[0], output

            self.hooks.append(layer.register_forward_hook(catch))


def head_of(net: nn.Module, num_classes: int | None = None) -> tuple[str, nn.Linear]:
    """Name and module of the last linear layer (of `num_classes` outputs, if given): its input are the features.

    Raises
    ------
    InputError
        If there is none.
    """
    found = [
        (name, m) for name, m in net.named_modules() if isinstance(m, nn.Linear) and (num_classes is None or m.out_features == num_classes)
    ]
    if not found:
        raise InputError(f"{type(net).__name__} has no linear output layer.", hint="Its last layer must be nn.Linear.")
    return found[-1]
