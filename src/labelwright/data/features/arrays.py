"""Vectors, sequences and images: each channel (axis 1) standardised with its training mean and deviation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.data.features.base import Featuriser, require_finite
from labelwright.data.inputs import Images, LazyInputs
from labelwright.errors import InputError

if TYPE_CHECKING:
    import torch

    from labelwright.data.dataset import Dataset

__all__ = ["ImageFeaturiser", "SequenceFeaturiser", "VectorFeaturiser"]

BLOCK_VALUES = 4_000_000  # values handled at a time: 32 MB in float64
MIXED_SIDE = 64  # longest side that images of different sizes are brought to
COMMON_SIDE = 224  # longest side kept when all images share one size: what standard networks take
SAMPLE = 4_096  # lazily decoded images that decide size, channels, mean and deviation
OVERSIZE = 2  # a large JPEG is decoded to at least this many times the fitted size, then filtered down
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's conversion to grey


def _blocks(array: Any) -> Iterator[tuple[int, torch.Tensor]]:
    """(start, rows) over an array or tensor, a bounded number of values at a time."""
    import torch

    step = max(1, BLOCK_VALUES // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), step):
        rows = array[start : start + step]
        yield start, torch.from_numpy(np.ascontiguousarray(rows)) if isinstance(rows, np.ndarray) else rows.detach().cpu()


def _moments(blocks: Iterator[tuple[int, torch.Tensor]], *, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (population) of each channel, float64 (C,), of blocks (n, C, …).

    One pass, block by block (Chan, Golub, LeVeque 1979), so that a large offset costs no digits and nothing is decoded twice.
    """
    count = 0
    mean: Any = 0.0
    square: Any = 0.0
    for start, block in blocks:
        require_finite(block, start=start, what=what)
        x = block.double().transpose(0, 1).flatten(1)
        n, own = x.shape[1], x.mean(1)
        delta = own - mean
        square = square + ((x - own[:, None]) ** 2).sum(1) + delta**2 * (count * n / (count + n))
        mean, count = mean + delta * (n / (count + n)), count + n
    return np.asarray(mean), np.sqrt(np.asarray(square) / count)


def _scale(std: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """1 / std, and 0 for constant channels: rounding leaves a deviation of about eps |mean| there."""
    constant = std <= 1e-12 + 1e-12 * np.abs(mean)
    return np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, std))


def _standardise(x: torch.Tensor, mean: np.ndarray, scale: np.ndarray) -> torch.Tensor:
    import torch

    tail = (1, -1, *([1] * (x.ndim - 2)))
    return (x - torch.from_numpy(mean).to(x.dtype).view(tail)) * torch.from_numpy(scale).to(x.dtype).view(tail)


def _unstandardise(x: torch.Tensor, mean: np.ndarray, scale: np.ndarray) -> torch.Tensor:
    """The inverse of :func:`_standardise`; channels that were constant get their mean."""
    import torch

    tail = (1, -1, *([1] * (x.ndim - 2)))
    std = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    return x * torch.from_numpy(std).to(x.dtype).view(tail) + torch.from_numpy(mean).to(x.dtype).view(tail)


@dataclass(frozen=True, kw_only=True, eq=False)
class _ArrayFeaturiser(Featuriser):
    """`mean` and `scale` float64, one value a channel; `shape` of one example; `names` of the features, where known."""

    mean: np.ndarray
    scale: np.ndarray
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "names", tuple(self.names))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.shape

    @classmethod
    def fit(cls, data: Dataset) -> _ArrayFeaturiser:
        """Statistics over all rows of an (N, D) or (N, C, …) array."""
        array = data.inputs
        if isinstance(array, LazyInputs) or array.ndim < 2:
            what = type(array).__name__ if isinstance(array, LazyInputs) else f"an array of shape {tuple(array.shape)}"
            raise InputError(
                f"There is no default featuriser for {what}.", hint="Turn each example into a vector (N, D) or an image (N, C, H, W) first."
            )
        if not len(array):
            raise InputError("The dataset is empty; nothing can be fitted.")
        mean, std = _moments(_blocks(array), what="inputs")
        return cls(mean=mean, scale=_scale(std, mean), shape=tuple(array.shape[1:]), names=data.info.feature_names)

    def _transform(self, data: Dataset) -> torch.Tensor:
        import torch

        shape = tuple(data.inputs.shape[1:])
        if shape != self.shape:
            raise InputError(f"The model takes inputs of shape {self.shape} an example; these have {shape}.{self._missing(data)}")
        if self.names and data.info.feature_names and tuple(data.info.feature_names) != self.names:
            raise InputError(
                f"The features are not those of the training data.{self._missing(data)}", hint="Bring them into the same order."
            )
        out = torch.empty((len(data), *self.shape), dtype=torch.float32)
        for start, x in _blocks(data.inputs):
            # float64 until the mean is gone: a time stamp in float32 has no seconds left
            rows = _standardise(x.double(), self.mean, self.scale)
            require_finite(rows, start=start, what="inputs")
            out[start : start + len(rows)] = rows
        return out

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        return _unstandardise(values.double(), self.mean, self.scale)

    def _missing(self, data: Dataset) -> str:
        given = data.info.feature_names
        absent = [n for n in self.names if n not in given]
        if not given or not absent:
            return ""
        return f" Feature {absent[0]!r} is missing.{check.nearest(absent[0], given)}"

    def _spec(self) -> dict[str, Any]:
        return {"names": list(self.names)}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean, "scale": self.scale}

    @classmethod
    def _restore(cls, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Featuriser:
        return cls(mean=arrays["mean"], scale=arrays["scale"], shape=tuple(spec["input_shape"]), names=tuple(spec["names"]))


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorFeaturiser(_ArrayFeaturiser, kind="vectors"):
    """(N, D): each column to mean 0 and deviation 1; constant columns to 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SequenceFeaturiser(_ArrayFeaturiser, kind="sequence"):
    """(N, C, L) and other arrays of equal examples: each channel to mean 0 and deviation 1 over examples and places."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageFeaturiser(Featuriser, kind="images"):
    """Images to (N, C, H, W): decoded, brought to `channels` and `size`, scaled to [0, 1], each channel standardised.

    `mean` and `scale` float64 (C,), of values in [0, 1]; `size` is (H, W).
    """

    mean: np.ndarray
    scale: np.ndarray
    size: tuple[int, int]
    channels: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.channels, *self.size)

    @classmethod
    def fit(cls, data: Dataset, *, seed: int, image_size: int | tuple[int, int] | None = None) -> ImageFeaturiser:
        """Size, channels and statistics; of lazily decoded images a seeded sample is looked at."""
        inputs = data.inputs
        if not len(data):
            raise InputError("The dataset is empty; nothing can be fitted.")
        rng = np.random.default_rng(seed)
        if isinstance(inputs, Images):
            sample = np.sort(rng.permutation(len(inputs))[:SAMPLE])
            inputs = inputs.take(sample)
            size, channels = _look(inputs)
        else:
            size, channels = tuple(inputs.shape[2:]), int(inputs.shape[1])
        if image_size is not None:
            wanted = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
            size = tuple(check.integer("image_size", s, low=1) for s in wanted)  # type: ignore[assignment]
        blank = cls(mean=np.zeros(channels), scale=np.ones(channels), size=size, channels=channels)  # type: ignore[arg-type]
        mean, std = _moments(blank._unit(inputs), what="images")
        return cls(mean=mean, scale=_scale(std, mean), size=blank.size, channels=channels)

    def _transform(self, data: Dataset) -> torch.Tensor:
        import torch

        out = torch.empty((len(data), *self.input_shape), dtype=torch.float32)
        for start, x in self._unit(data.inputs):
            rows = _standardise(x, self.mean, self.scale)
            require_finite(rows, start=start, what="images")
            out[start : start + len(rows)] = rows
        return out

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        return _unstandardise(values.float(), self.mean, self.scale)

    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        low, high = (torch.from_numpy((edge - self.mean) * self.scale).float().view(-1, 1, 1) for edge in (0, 1))
        return low, high

    def _unit(self, inputs: Any) -> Iterator[tuple[int, torch.Tensor]]:
        """Blocks of float32 (n, C, H, W) in [0, 1]."""
        import torch

        if isinstance(inputs, Images):
            step = max(1, BLOCK_VALUES // int(np.prod(self.input_shape)))
            for start in range(0, len(inputs), step):
                stop = min(start + step, len(inputs))
                block = np.empty((stop - start, *self.input_shape), dtype=np.uint8)
                for i in range(start, stop):
                    block[i - start] = self._decode(inputs, i)
                yield start, torch.from_numpy(block).float().div_(255)
            return
        for start, x in _blocks(inputs):
            yield start, self._fitted(_unit_range(x))

    def _decode(self, images: Images, i: int) -> np.ndarray:
        from PIL import Image

        image = images.picture(i, side=OVERSIZE * max(self.size))
        mode = "L" if self.channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        height, width = self.size
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        array = np.asarray(image)
        return array[None] if self.channels == 1 else array.transpose(2, 0, 1)

    def _fitted(self, x: torch.Tensor) -> torch.Tensor:
        """Channels and size as fitted."""
        import torch

        if x.shape[1] != self.channels:
            if (x.shape[1], self.channels) == (1, 3):
                x = x.expand(-1, 3, -1, -1)
            elif (x.shape[1], self.channels) == (3, 1):
                x = (x * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
            else:
                raise InputError(
                    f"The model takes images with {self.channels} channels; these have {x.shape[1]}.",
                    hint="Images are (N, C, H, W); is the channel axis last?",
                )
        if tuple(x.shape[2:]) != self.size:
            x = torch.nn.functional.interpolate(x, size=self.size, mode="bilinear", antialias=True)
        return x

    def _spec(self) -> dict[str, Any]:
        return {"size": list(self.size), "channels": self.channels}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean, "scale": self.scale}

    @classmethod
    def _restore(cls, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Featuriser:
        return cls(mean=arrays["mean"], scale=arrays["scale"], size=tuple(spec["size"]), channels=int(spec["channels"]))


def _unit_range(x: torch.Tensor) -> torch.Tensor:
    """Float32 in [0, 1] from uint8 (or uint16) and floats."""
    import torch

    if x.dtype in (torch.uint8, torch.uint16):
        return x.float().div_(255 if x.dtype == torch.uint8 else 65535)
    if x.dtype == torch.bool or x.is_floating_point():
        return x.float()
    raise InputError(
        f"Image arrays must be uint8 (0..255) or float (0..1); got {str(x.dtype).removeprefix('torch.')}.",
        hint="Convert with .astype('uint8').",
    )


def _look(images: Images) -> tuple[tuple[int, int], int]:
    """Size (H, W) and channels from the headers of a sample."""
    headers = [images.header(i) for i in range(len(images))]
    sizes = np.array([(height, width) for width, height, _ in headers], dtype=np.float64)
    common = bool((sizes == sizes[0]).all())
    height, width = np.median(sizes, axis=0)
    shrink = min(1.0, (COMMON_SIDE if common else MIXED_SIDE) / max(height, width))
    grey = all(mode in Images.GREY for _, _, mode in headers)
    return (max(1, round(height * shrink)), max(1, round(width * shrink))), 1 if grey else 3
