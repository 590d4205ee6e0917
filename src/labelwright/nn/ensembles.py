"""Several networks as one: members of equal architecture whose logits, or whose probabilities, are averaged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.errors import InputError
from labelwright.nn.factories import NetFactory, network

__all__ = ["Ensemble", "EnsembleNet", "Mixture", "MixtureNet"]


class EnsembleNet(nn.Module):
    """Mean of the members' *logits* (their softmax is a geometric mean of probabilities).

    ``net(x, member=k)`` calls one member only: a method that trains several networks gives the whole
    ensemble to the loop, whose validation then sees the averaged prediction.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not len(self.members):
            raise InputError("An ensemble needs at least one member.")

    def forward(self, x: Tensor, member: int | None = None) -> Tensor:
        """Logits (B, C) of one `member`, or their mean over all."""
        if member is not None:
            logits: Tensor = self.members[member](x)
            return logits
        return torch.stack([net(x) for net in self.members]).mean(0)


@network("ensemble")
@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """`size` fresh networks of one factory, their logits averaged."""

    base: NetFactory
    size: int = 2

    def __post_init__(self) -> None:
        if not callable(self.base):
            raise InputError(f"base must be a network factory; got {self.base!r}.", hint="Build one with labelwright.nn.net_named('mlp').")
        check.integer("size", self.size, low=1)

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> EnsembleNet:
        return EnsembleNet(self.base(num_classes, input_shape) for _ in range(self.size))


class MixtureNet(nn.Module):
    """Weighted mean of the members' *probabilities*, as logits: ``log sum_k w_k softmax(net_k(x))``, whose softmax is the mixture."""

    log_weights: Tensor

    def __init__(self, members: Iterable[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        check.same_length(members=self.members, weights=weights)
        shares = torch.tensor(list(weights), dtype=torch.float64)
        self.register_buffer("log_weights", (shares / shares.sum()).log().float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities (B, C)."""
        logs = torch.stack([net(x).log_softmax(1) for net in self.members])
        return torch.logsumexp(logs + self.log_weights[:, None, None], dim=0)


@network("mixture")
@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Fresh networks of one factory, one for each of `weights`, their probabilities averaged by weight."""

    base: NetFactory
    weights: tuple[float, ...] = (0.5, 0.5)

    def __post_init__(self) -> None:
        if not callable(self.base):
            raise InputError(f"base must be a network factory; got {self.base!r}.", hint="Build one with labelwright.nn.net_named('mlp').")
        if not self.weights:
            raise InputError("A mixture needs at least one weight.")
        for weight in self.weights:
            check.in_range("weights", weight, low=0, closed="neither")

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> MixtureNet:
        return MixtureNet([self.base(num_classes, input_shape) for _ in self.weights], self.weights)
