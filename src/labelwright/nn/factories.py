"""Network factories: what methods take instead of modules, so that fresh weights come from a seed.

A factory is any callable ``(num_classes, input_shape) -> nn.Module``. Ours are frozen dataclasses
entered under a name with :func:`network`; such a factory can be written to JSON (:func:`spec_of`)
and built again (:func:`factory_from`), also when one factory holds another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.errors import InputError

__all__ = ["NETS", "NetFactory", "factory_from", "join_head", "net_named", "network", "seeded", "spec_of", "split_head"]


class NetFactory(Protocol):
    """Builds a fresh network that maps float32 (B, *input_shape) to logits (B, num_classes)."""

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module: ...


NETS: dict[str, type[Any]] = {}
F = TypeVar("F", bound=type[Any])


def network(name: str) -> Callable[[F], F]:
    """Enter a factory class (a frozen dataclass with ``__call__``) under `name`."""

    def enter(cls: F) -> F:
        NETS[name] = cls
        cls.net_name = name
        return cls

    return enter


def net_named(name: str, **arguments: Any) -> NetFactory:
    """The factory registered as `name` with the given arguments.

    Raises
    ------
    InputError
        If there is no such network or it has no such argument; the nearest is suggested.
    """
    check.known_word("network", name, NETS, place="the registered networks")
    cls = NETS[name]
    known = [f.name for f in dataclasses.fields(cls)]
    for argument in arguments:
        check.known_word("argument", argument, known, place=f"the arguments of network {name!r}")
    return cls(**arguments)  # type: ignore[no-any-return]


def spec_of(factory: Any) -> dict[str, Any] | None:
    """``{"net": name, "args": {…}}`` for a registered factory, None for a caller's own callable."""
    name = getattr(type(factory), "net_name", None)
    if name is None:
        return None
    args = {}
    for f in dataclasses.fields(factory):
        value = getattr(factory, f.name)
        if callable(value):
            value = spec_of(value)
            if value is None:
                return None
        args[f.name] = list(value) if isinstance(value, tuple) else value
    return {"net": name, "args": args}


def factory_from(spec: Mapping[str, Any]) -> NetFactory:
    """The factory that :func:`spec_of` described."""
    if not isinstance(spec, Mapping) or "net" not in spec:
        raise InputError(f"A network description must hold 'net' and 'args'; got {spec!r}.")
    args = {}
    for key, value in dict(spec.get("args", {})).items():
        if isinstance(value, Mapping) and "net" in value:
            value = factory_from(value)
        args[key] = tuple(value) if isinstance(value, list) else value
    return net_named(spec["net"], **args)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws from torch's global generators inside this block depend on `seed` alone; the caller's state is restored.

    The only place that touches global random state: torch ties weight initialisation and dropout to it.
    """
    # the current GPU only, and only once CUDA is in use: touching the others would open a context on each
    cuda = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    with torch.random.fork_rng(devices=cuda):
        torch.random.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        if mps is not None:
            torch.mps.manual_seed(seed)
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)


def split_head(net: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The network without its last linear layer, and that layer: features (B, D) and the head of (C, D) weights.

    Works on any network whose last linear layer is its output; `net` itself is taken apart (the layer
    is replaced by the identity), so pass a fresh one.

    Raises
    ------
    InputError
        If the network has no linear layer.
    """
    name, head = _last_linear(net)
    parent_name, _, attribute = name.rpartition(".")
    if not attribute:
        return nn.Identity(), head
    parent = net.get_submodule(parent_name) if parent_name else net
    setattr(parent, attribute, nn.Identity())
    return net, head


def join_head(net: nn.Module, body: nn.Module, weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    """`net`, a fresh network of the same make, with the parameters of `body` and a head of `weight` (C, D) and `bias` (C,), zeros
    where None: what :func:`split_head` took apart, as one network again."""
    name, head = _last_linear(net)
    prefix = f"{name}." if name else ""
    own = {f"{prefix}weight": weight}
    if head.bias is not None:
        own[f"{prefix}bias"] = torch.zeros(len(weight)) if bias is None else bias
    elif bias is not None:
        raise InputError(f"The head of {type(net).__name__} has no bias to set.")
    net.load_state_dict({**body.state_dict(), **{k: v.detach() for k, v in own.items()}})
    return net


def _last_linear(net: nn.Module) -> tuple[str, nn.Linear]:
    linear = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError(f"{type(net).__name__} has no linear output layer to split off.", hint="Its last layer must be nn.Linear.")
    return linear[-1]
