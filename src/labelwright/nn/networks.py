"""The networks of the field at the sizes of small images, and the multilayer perceptron for vectors.

Every network is a :class:`Classifier`: ``head(body(x))`` with pooled features (B, D) between, so
methods that work on features need no surgery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.data.node_batches import NodeShape
from labelwright.errors import InputError
from labelwright.nn.factories import network

__all__ = ["MLP", "Classifier", "ConvNet", "PreActResNet", "ResNet", "WideResNet"]

Norm = Literal["batch", "group", "instance", "none"]


class Classifier(nn.Module):
    """``head(body(x))``; `body` gives features (B, D)."""

    def __init__(self, body: nn.Module, features: int, num_classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


def norm_layer(kind: Norm, channels: int) -> nn.Module:
    """A normalisation layer by name. ``group``: 8 channels a group where that divides; ``instance``: one channel a group, affine."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group":
        return nn.GroupNorm(max(1, channels // 8) if channels % max(1, channels // 8) == 0 else 1, channels)
    if kind == "instance":
        return nn.GroupNorm(channels, channels)
    return nn.Identity()


def _image_shape(name: str, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(input_shape) != 3:
        raise InputError(f"{name} takes images of shape (C, H, W); the inputs have shape {input_shape}.", hint="Use the network 'mlp'.")
    return input_shape  # type: ignore[return-value]


@network("mlp")
@dataclass(frozen=True, kw_only=True)
class MLP:
    """Fully connected network; images are flattened. `hidden`: width of each layer; a single number is one layer."""

    hidden: tuple[int, ...] = (256, 256)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        widths = (self.hidden,) if isinstance(self.hidden, int) else self.hidden  # one layer: ``--net mlp:hidden=128``
        if not isinstance(widths, tuple) or not all(isinstance(width, int) and width > 0 for width in widths):
            raise InputError(f"hidden must be positive widths; got {self.hidden!r}.", hint="Example: --net mlp:hidden=256x128")
        object.__setattr__(self, "hidden", widths)

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        if isinstance(input_shape, NodeShape):
            raise InputError("The network 'mlp' reads vectors; these inputs are the nodes of a graph.", hint="Use --net gcn, gat or sage.")
        size = 1
        for side in input_shape:
            size *= side
        layers: list[nn.Module] = [nn.Flatten()]
        for width in self.hidden:
            layers += [nn.Linear(size, width), nn.ReLU(inplace=True)]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            size = width
        return Classifier(nn.Sequential(*layers), size, num_classes)


@network("convnet")
@dataclass(frozen=True, kw_only=True)
class ConvNet:
    """ConvNet-D: `depth` blocks of 3x3 convolution, norm, ReLU and 2x2 average pooling, then a linear layer.

    Pooling stops where a side would fall below 2 pixels, so small images are fine.
    """

    depth: int = 3
    width: int = 32
    norm: Norm = "group"

    def __post_init__(self) -> None:
        check.integer("depth", self.depth, low=1)
        check.integer("width", self.width, low=1)
        check.one_of("norm", self.norm, ("batch", "group", "instance", "none"))

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        channels, height, width = _image_shape("convnet", input_shape)
        layers: list[nn.Module] = []
        for _ in range(self.depth):
            layers += [nn.Conv2d(channels, self.width, 3, padding=1), norm_layer(self.norm, self.width), nn.ReLU(inplace=True)]
            if min(height, width) >= 4:
                layers.append(nn.AvgPool2d(2))
                height, width = height // 2, width // 2
            channels = self.width
        return Classifier(nn.Sequential(*layers, nn.Flatten()), channels * height * width, num_classes)


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; `pre` puts norm and ReLU before each convolution (He et al. 2016b)."""

    def __init__(self, inner: int, outer: int, stride: int, *, norm: Norm, pre: bool) -> None:
        super().__init__()
        self.pre = pre
        self.conv1 = nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.norm1 = norm_layer(norm, inner if pre else outer)
        self.norm2 = norm_layer(norm, outer)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            convolution = nn.Conv2d(inner, outer, 1, stride=stride, bias=False)
            self.shortcut = convolution if pre else nn.Sequential(convolution, norm_layer(norm, outer))

    def forward(self, x: Tensor) -> Tensor:
        if self.pre:
            y = self.norm1(x).relu()
            short = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(y)
            return short + self.conv2(self.norm2(self.conv1(y)).relu())  # type: ignore[no-any-return]
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return (y + self.shortcut(x)).relu()  # type: ignore[no-any-return]


def _residual(channels: int, stem: int, widths: tuple[int, ...], blocks: tuple[int, ...], *, norm: Norm, pre: bool) -> nn.Sequential:
    """CIFAR-style trunk: a 3x3 stem without pooling, stages at full, half, quarter, … resolution, global average pooling."""
    layers: list[nn.Module] = [nn.Conv2d(channels, stem, 3, padding=1, bias=False)]
    if not pre:
        layers += [norm_layer(norm, stem), nn.ReLU(inplace=True)]
    inner = stem
    for stage, (outer, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            layers.append(_BasicBlock(inner, outer, 2 if block == 0 and stage > 0 else 1, norm=norm, pre=pre))
            inner = outer
    if pre:
        layers += [norm_layer(norm, inner), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


@network("resnet")
@dataclass(frozen=True, kw_only=True)
class ResNet:
    """ResNet-18 or -34 with the CIFAR stem. `width` 64 is the standard one."""

    depth: int = 18
    width: int = 64
    norm: Norm = "batch"
    pre: bool = False

    def __post_init__(self) -> None:
        if self.depth not in STAGES:
            raise InputError(f"depth must be one of {list(STAGES)}; got {self.depth}.")

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        channels = _image_shape("resnet", input_shape)[0]
        widths = tuple(self.width * 2**k for k in range(4))
        return Classifier(
            _residual(channels, self.width, widths, STAGES[self.depth], norm=self.norm, pre=self.pre), widths[-1], num_classes
        )


@network("preact-resnet")
@dataclass(frozen=True, kw_only=True)
class PreActResNet:
    """PreActResNet-18 with the CIFAR stem."""

    depth: int = 18
    width: int = 64
    norm: Norm = "batch"

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        return ResNet(depth=self.depth, width=self.width, norm=self.norm, pre=True)(num_classes, input_shape)


@network("wide-resnet")
@dataclass(frozen=True, kw_only=True)
class WideResNet:
    """WRN-d-k (default WRN-28-2): three pre-activation stages of (d - 4) / 6 blocks, widths 16k, 32k, 64k."""

    depth: int = 28
    widen: int = 2
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        if self.depth < 10 or (self.depth - 4) % 6:
            raise InputError(f"depth of a wide-resnet must be 6n + 4; got {self.depth}.")

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        channels = _image_shape("wide-resnet", input_shape)[0]
        widths = tuple(16 * self.widen * 2**k for k in range(3))
        body = _residual(channels, 16, widths, ((self.depth - 4) // 6,) * 3, norm=self.norm, pre=True)
        net = Classifier(body, widths[-1], num_classes)
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        with torch.no_grad():
            net.head.bias.zero_()
        return net
