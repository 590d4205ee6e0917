"""Terms of the loss that pixels are optimised by: what frozen networks say of a batch of synthetic images.

A term is a function of a :class:`Look` to a scalar. References: DeepInversion (Yin et al. 2020) for BatchNorm statistics, distribution
matching (Zhao and Bilen 2023) for mean features, gradient matching (Zhao et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelwright import check
from labelwright.errors import InputError
from labelwright.nn.hooks import BatchNormTap

__all__ = ["Look", "Term", "batchnorm", "cross_entropy", "feature_means", "gradient_match", "gradient_of"]

UNIT_FLOOR = 1e-12  # rows of a gradient may vanish


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a network `net` made of a batch.

    Attributes
    ----------
    inputs
        float32 (B, …), augmented, with a graph back to the pixels.
    labels
        int64 (B,), or targets float (B, C).
    logits
        (B, C).
    statistics
        The tap of its BatchNorm layers, where a term asked for it.
    features
        Inputs of the layers that terms asked for, by name.
    """

    net: nn.Module
    inputs: Tensor
    labels: Tensor
    logits: Tensor
    statistics: BatchNormTap | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Term:
    """A named term of the loss, times `weight`; `batchnorm` and `layers` say what it wants to look at."""

    name: str
    value: Callable[[Look], Tensor]
    weight: float = 1.0
    batchnorm: bool = False
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check.in_range(f"weight of {self.name}", self.weight, low=0)


def cross_entropy(weight: float = 1.0) -> Term:
    """Mean cross-entropy of the logits to the labels (classes or soft targets)."""
    return Term(name="cross-entropy", value=lambda look: F.cross_entropy(look.logits.float(), look.labels), weight=weight)


def batchnorm(weight: float, *, first: float = 10.0, divide: float = 1.0) -> Term:
    """R, the distance of the batch's statistics to the running ones; the first layer's times `first`.

    The scale of R differs between networks by orders: `divide` by the number of layers, or by the value at the start.
    The batch should hold many classes: the running statistics are those of all.
    """
    check.in_range("first", first, low=0)
    check.in_range("divide", divide, low=0, closed="neither")

    def value(look: Look) -> Tensor:
        if look.statistics is None:
            raise InputError("The term batchnorm needs the BatchNorm statistics of the network.")
        return look.statistics.penalty(first=first) / divide

    return Term(name="batchnorm", value=value, weight=weight, batchnorm=True)


def feature_means(layer: str, targets: Tensor, weight: float = 1.0) -> Term:
    """``sum_c || mean of features of class c - targets_c ||^2`` over the classes in the batch: features are inputs of `layer`.

    `targets` float (C, D): mean features of the real images of each class, in the same network and augmentation.
    """

    def value(look: Look) -> Tensor:
        features = look.features[layer].flatten(1)
        if features.shape[1] != targets.shape[1] or look.labels.ndim != 1:
            raise InputError(f"targets must have shape (C, {features.shape[1]}) and labels be classes; got {tuple(targets.shape)}.")
        classes, place = look.labels.unique(return_inverse=True)
        sums = torch.zeros(len(classes), features.shape[1], dtype=features.dtype, device=features.device).index_add(0, place, features)
        means = sums / torch.bincount(place, minlength=len(classes))[:, None]
        return (means - targets.to(features)[classes]).square().sum()

    return Term(name="features", value=value, weight=weight, layers=(layer,))


def gradient_of(net: nn.Module, inputs: Tensor, labels: Tensor, *, graph: bool = False) -> list[Tensor]:
    """Gradient of the mean cross-entropy in each parameter of `net`, in order, which is left alone; differentiable in the inputs with `graph`."""
    params = {name: p.detach().requires_grad_() for name, p in net.named_parameters()}
    loss = F.cross_entropy(torch.func.functional_call(net, params, (inputs,)), labels)
    return list(torch.autograd.grad(loss, list(params.values()), create_graph=graph))


def gradient_match(targets: Sequence[Tensor], weight: float = 1.0) -> Term:
    """``sum over layers and output units of 1 - cos`` between the gradient on the batch and that on real images, `targets`
    (:func:`gradient_of`). Vectors (biases, scales) are left out, as by the authors."""

    def value(look: Look) -> Tensor:
        own = gradient_of(look.net, look.inputs, look.labels, graph=True)
        check.same_length(gradients=own, targets=targets)
        parts = [
            1 - F.cosine_similarity(a.flatten(1), b.to(a).flatten(1), dim=1, eps=UNIT_FLOOR)
            for a, b in zip(own, targets, strict=True)
            if a.ndim > 1
        ]
        return torch.cat(parts).sum()

    return Term(name="gradients", value=value, weight=weight)
