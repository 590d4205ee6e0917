"""Low-rank additions to frozen layers (LoRA): a few numbers that turn one network into another.

Reference: Hu et al. LoRA: Low-Rank Adaptation of Large Language Models. ICLR 2022. arXiv:2106.09685.

    linear:       y = W x + b + A B x                  A (out, r), B (r, in):           r (in + out) numbers
    convolution:  y = conv(x, W) + conv1x1(conv(x, B), A)    B (r, in, k, k), A (out, r, 1, 1):   r (k k in + out) numbers

A is zero at first, so the adapted network starts as the frozen one. There is no scale and no dropout: what is saved is
what is added. In plain torch, for encoders of any origin.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelwright import check
from labelwright.errors import InputError

__all__ = ["LowRankConv2d", "LowRankLinear", "adapt", "adapter_state", "load_adapter", "merged"]


class LowRankLinear(nn.Module):
    """A linear layer, frozen, plus ``A B`` of rank `rank`."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        check.integer("rank", rank, low=1)
        self.layer = layer.requires_grad_(False)
        like = layer.weight
        self.down = nn.Parameter(torch.empty(rank, layer.in_features, dtype=like.dtype, device=like.device))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank, dtype=like.dtype, device=like.device))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out + F.linear(F.linear(x, self.down), self.up)

    def weight(self) -> Tensor:
        """``W + A B``."""
        return self.layer.weight + self.up @ self.down


class LowRankConv2d(nn.Module):
    """A convolution, frozen, plus one through `rank` channels.

    Raises
    ------
    InputError
        If the convolution is grouped.
    """

    def __init__(self, layer: nn.Conv2d, rank: int) -> None:
        super().__init__()
        check.integer("rank", rank, low=1)
        if layer.groups != 1:
            raise InputError("A grouped convolution has no low-rank addition here.", hint="Leave it out.")
        self.layer = layer.requires_grad_(False)
        like = layer.weight
        self.down = nn.Parameter(torch.empty(rank, layer.in_channels, *layer.kernel_size, dtype=like.dtype, device=like.device))
        self.up = nn.Parameter(torch.zeros(layer.out_channels, rank, 1, 1, dtype=like.dtype, device=like.device))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        # the layer's own routine, so that padding modes and strides are its own
        inner = self.layer._conv_forward(x, self.down, None)
        return out + F.conv2d(inner, self.up)

    def weight(self) -> Tensor:
        """The kernel of both together, (out, in, k, k)."""
        return self.layer.weight + torch.einsum("or,rikl->oikl", self.up[:, :, 0, 0], self.down)


LowRank = LowRankLinear | LowRankConv2d


def adapt(net: nn.Module, ranks: Mapping[str, int] | int, *, where: Callable[[str, nn.Module], bool] | None = None) -> nn.Module:
    """Freeze `net` and add low-rank factors to its linear layers and convolutions, in place; it is returned.

    Parameters
    ----------
    ranks
        One rank for all layers, or ranks by layer name.
    where
        Which layers, by name and module; all by default. Grouped convolutions are left as they are.

    Raises
    ------
    InputError
        If no layer is left, or a named one is absent.
    """
    layers = {n: m for n, m in net.named_modules() if isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.groups == 1)}
    if isinstance(ranks, Mapping):
        for name in ranks:
            check.known_word("layer", name, layers, place=f"the linear layers and convolutions of {type(net).__name__}")
        wanted = dict(ranks)
    else:
        wanted = {n: ranks for n, m in layers.items() if where is None or where(n, m)}
    if not wanted or "" in wanted:
        raise InputError(f"{type(net).__name__} has no layer inside it to adapt.")
    net.requires_grad_(False)
    for name, rank in wanted.items():
        layer = layers[name]
        parent, _, attribute = name.rpartition(".")
        setattr(
            net.get_submodule(parent), attribute, LowRankLinear(layer, rank) if isinstance(layer, nn.Linear) else LowRankConv2d(layer, rank)
        )  # type: ignore[arg-type]
    return net


def adapter_state(net: nn.Module) -> dict[str, Tensor]:
    """The factors only, by name: what has to be stored beside the frozen network."""
    found = {}
    for name, module in net.named_modules():
        if isinstance(module, LowRank):
            found[f"{name}.up"], found[f"{name}.down"] = module.up.detach(), module.down.detach()
    return found


@torch.no_grad()
def load_adapter(net: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Adapt `net` by stored factors: ranks and layers are read from them.

    Raises
    ------
    InputError
        If the factors do not fit the network.
    """
    ranks = {name.removesuffix(".down"): int(value.shape[0]) for name, value in state.items() if name.endswith(".down")}
    adapt(net, ranks)
    for name in ranks:
        module = net.get_submodule(name)
        for part in ("up", "down"):
            check.same_shape(network=getattr(module, part), file=state[f"{name}.{part}"])
            getattr(module, part).copy_(state[f"{name}.{part}"])
    return net


@torch.no_grad()
def merged(net: nn.Module) -> nn.Module:
    """A copy with plain layers whose weights are the sums: the same function without the extra products."""
    plain = copy.deepcopy(net)
    for name, module in list(plain.named_modules()):
        if isinstance(module, LowRank):
            module.layer.weight.copy_(module.weight())
            parent, _, attribute = name.rpartition(".")
            setattr(plain.get_submodule(parent), attribute, module.layer)
    return plain
