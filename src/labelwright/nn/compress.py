"""Compression of features: nested dropout and dropout layers, and classifiers with a compressed head.

Reference: Chen, Hu, Shen, Ai, Suykens. Compressing Features for Learning with Noisy Labels. IEEE TNNLS
2022. arXiv:2206.13140. Nested dropout: Rippel, Gelbart, Adams. ICML 2014.

    P(k) = exp(-((k - mu) / sigma)^2) / sum_j exp(-((j - mu) / sigma)^2),   k in {1..D}
    z~   = z * (1,…,1,0,…,0) with k ones; no rescaling

There is no factor 1/2 in the exponent: `sigma` is sqrt(2) times the one of a normal density.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelwright import check
from labelwright.errors import InputError
from labelwright.nn.factories import NetFactory, network, split_head
from labelwright.nn.networks import ConvNet

__all__ = ["Compressed", "CompressedClassifier", "FeatureDropout", "NestedDropout", "channel_probs", "default_sigma", "survival"]

MEDIAN = 0.4769362762044699  # erfinv(1/2): the median of k over sigma for mu = 0, up to rounding to whole channels


def channel_probs(dim: int, sigma: float, *, mu: float = 0.0) -> Tensor:
    """``P(k)`` for k = 1..dim: float64 (dim,), sums to 1."""
    check.integer("dim", dim, low=1)
    check.in_range("sigma", sigma, low=0, closed="neither")
    k = torch.arange(1, dim + 1, dtype=torch.float64)
    # softmax over the exponents: tiny sigma would underflow every term of the plain quotient
    return torch.softmax(-(((k - mu) / sigma) ** 2), dim=0)


def default_sigma(num_classes: int, dim: int) -> float:
    """The width at which half of the batches keep at most twice as many channels as there are classes, at most `dim`.

    The paper's own widths (10 for 10 classes, 100 for 100) are about four times stronger and go with hundreds of
    epochs; a short run under them does not learn to the end.
    """
    return min(2 * num_classes / MEDIAN, float(dim))


def survival(probs: Tensor) -> Tensor:
    """``S(j) = sum_{k >= j} P(k)``: the chance that channel j is kept, (dim,)."""
    return probs.flip(0).cumsum(0).flip(0)


class NestedDropout(nn.Module):
    """Keeps the first k of `dim` channels, k drawn from :func:`channel_probs` for each batch (or each example) in training.

    In evaluation mode all channels pass, or the first K inside ``with layer.truncate(K)``. Channels
    become ordered by importance. Draws come from torch's global generator unless `k` is passed.
    """

    probs: Tensor

    def __init__(self, dim: int, sigma: float, *, mu: float = 0.0, per_example: bool = False) -> None:
        super().__init__()
        self.dim, self.sigma, self.mu, self.per_example = dim, sigma, mu, per_example
        self.register_buffer("probs", channel_probs(dim, sigma, mu=mu).float(), persistent=False)
        self.kept: int | None = None

    def draw(self, count: int = 1, *, generator: torch.Generator | None = None) -> Tensor:
        """`count` draws of k, int64 (count,), on the CPU."""
        return torch.multinomial(self.probs.cpu(), count, replacement=True, generator=generator) + 1

    @contextmanager
    def truncate(self, channels: int) -> Iterator[NestedDropout]:
        """Keep exactly the first `channels` inside this block, in training as in evaluation."""
        before, self.kept = self.kept, check.integer("channels", channels, low=1, high=self.dim)
        try:
            yield self
        finally:
            self.kept = before

    def forward(self, features: Tensor, k: Tensor | int | None = None) -> Tensor:
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise InputError(f"NestedDropout({self.dim}) takes features of shape (B, {self.dim}); got {tuple(features.shape)}.")
        if self.kept is not None:
            k = self.kept
        elif k is None:
            if not self.training:
                return features
            k = self.draw(len(features) if self.per_example else 1)
        limit = torch.as_tensor(k, device=features.device).reshape(-1, 1)
        return features * (torch.arange(self.dim, device=features.device) < limit).to(features.dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.dim}, sigma={self.sigma:g}" + (f", mu={self.mu:g}" if self.mu else "") + (", per_example" if self.per_example else "")
        )


class FeatureDropout(nn.Module):
    """Ordinary inverted dropout on features, drawn from an explicit generator where one is given."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = check.in_range("rate", rate, low=0, high=1, closed="left")

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not self.training or self.rate == 0:
            return features
        if generator is None:
            return F.dropout(features, self.rate)
        kept = torch.rand(features.shape, generator=generator) >= self.rate
        return features * kept.to(features.device, features.dtype) / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"{self.rate:g}"


class CompressedClassifier(nn.Module):
    """``head(compress(body(x)))`` with a linear head WITHOUT bias: with few channels a bias alone would predict the class prior.

    The buffer `keep` says how many leading channels evaluation uses; it is saved with the weights. With a
    second nested layer (`inner`, on the body's own features, before a hidden layer), a fair coin decides
    in each training batch which of the two is masked (alternate training); K is searched on the last.
    """

    keep: Tensor

    def __init__(
        self, body: nn.Module, compress: nn.Module, head: nn.Linear, *, inner: NestedDropout | None = None, hidden: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.body, self.compress, self.head = body, compress, head
        self.inner, self.hidden = inner, hidden
        self.register_buffer("keep", torch.tensor(head.in_features))

    @property
    def dim(self) -> int:
        """D, channels before the head."""
        return self.head.in_features

    def features(self, x: Tensor, *, inner_k: int | None = None) -> Tensor:
        """Features before compression, (B, D); `inner_k` channels of the inner layer, all when None."""
        z = self.body(x)
        if self.hidden is None:
            return z  # type: ignore[no-any-return]
        if inner_k is not None and self.inner is not None:
            z = self.inner(z, inner_k)
        return self.hidden(z)  # type: ignore[no-any-return]

    def logits(self, features: Tensor, channels: int | None = None) -> Tensor:
        """Logits (B, C) from the first `channels` (all when None). Slices: the same gradient as a mask, at less work."""
        if channels is None or channels >= self.dim:
            return F.linear(features, self.head.weight)
        return F.linear(features[:, :channels], self.head.weight[:, :channels])

    def draw(self, generator: torch.Generator | None = None) -> tuple[int | None, int | None]:
        """This batch's (inner k, k) for nested compression; None where a layer is not masked."""
        if not isinstance(self.compress, NestedDropout):
            return None, None
        if self.inner is not None and bool(torch.rand((), generator=generator) < 0.5):
            return int(self.inner.draw(generator=generator)), None
        return None, int(self.compress.draw(generator=generator))

    def compressed(
        self, x: Tensor, generator: torch.Generator | None = None, *, draw: tuple[int | None, int | None] | None = None
    ) -> Tensor:
        """Training logits of one batch under a random mask (drawn from `generator`, or given as `draw`)."""
        if isinstance(self.compress, FeatureDropout):
            return self.logits(self.compress(self.features(x), generator))
        if isinstance(self.compress, NestedDropout) and self.compress.per_example:
            z = self.features(x)
            return self.logits(self.compress(z, self.compress.draw(len(z), generator=generator)))
        inner_k, k = self.draw(generator) if draw is None else draw
        return self.logits(self.features(x, inner_k=inner_k), k)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.compressed(x)
        return self.logits(self.features(x), int(self.keep))


@network("compressed")
@dataclass(frozen=True, kw_only=True)
class Compressed:
    """A base network whose features are compressed before a bias-free linear head.

    `sigma` (nested) of 0 means :func:`default_sigma`.
    `hidden` > 0 adds a hidden layer of that width after the base's features and a nested layer on both sides of it.
    """

    base: NetFactory = field(default_factory=ConvNet)
    kind: Literal["nested", "dropout", "none"] = "nested"
    sigma: float = 0.0
    rate: float = 0.3
    per_example: bool = False
    hidden: int = 0

    def __post_init__(self) -> None:
        check.one_of("kind", self.kind, ("nested", "dropout", "none"))
        check.in_range("sigma", self.sigma, low=0)
        check.in_range("rate", self.rate, low=0, high=1, closed="left")
        check.integer("hidden", self.hidden, low=0)
        if self.hidden and self.kind != "nested":
            raise InputError(f"hidden has no effect with kind {self.kind!r}.", hint="Use kind='nested' or leave hidden at 0.")

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> CompressedClassifier:
        body, old = split_head(self.base(num_classes, input_shape))
        if old.out_features != num_classes:
            raise InputError(
                f"The last linear layer has {old.out_features} outputs, not {num_classes}: it is not the network's output layer."
            )
        inner = hidden = None
        dim = old.in_features
        if self.hidden:
            inner = NestedDropout(dim, self.sigma or default_sigma(num_classes, dim))
            hidden, dim = nn.Sequential(nn.Linear(dim, self.hidden), nn.ReLU(inplace=True)), self.hidden
        compress: nn.Module = nn.Identity()
        if self.kind == "nested":
            compress = NestedDropout(dim, self.sigma or default_sigma(num_classes, dim), per_example=self.per_example)
        elif self.kind == "dropout":
            compress = FeatureDropout(self.rate)
        return CompressedClassifier(body, compress, nn.Linear(dim, num_classes, bias=False), inner=inner, hidden=hidden)
