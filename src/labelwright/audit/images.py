"""Odd images: dark, blank, blurred, of an unusual shape. One decode an image, shared by all checks and by the search for duplicates.

Every image is seen as grey in [0, 1] on a square of `side` pixels (the median shorter side, 8 to 64). From it, whole
batches at a time:

    brightness  the 99th percentile of grey: how bright the brightest parts are
    contrast    standard deviation of grey
    sharpness   standard deviation of the Laplacian over that of grey: 0 for a flat blur, sqrt(20) for white noise; it
                does not change when grey is scaled or shifted
    thumbnail   at most 12 x 12, mean 0 and unit length, so that dot products are correlations
    hash        signs of the 63 lowest frequencies (without the mean) of the discrete cosine transform of 32 x 32 pixels,
                about their median (the "perceptual hash" of Zauner 2010)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from labelwright.audit.found import Found, half_life
from labelwright.data import Dataset, Images
from labelwright.data.featurise import ImageFeaturiser
from labelwright.progress import track

__all__ = ["Look", "blank", "blurred", "dark", "look_at", "measures", "odd_aspect"]

LEAST_SIDE, MOST_SIDE, SIDE_SAMPLE = 8, 64, 1_000
THUMB, HASHED = 12, 32
BLOCK = 1_024
BRIGHT_SHARE = 0.99
SHARP_SIDE = 16
"""Below so many pixels a side nothing can be said about blur."""
DARK, BLANK, BLURRED, ODD = 0.25, 0.02, 0.15, 3.0
"""Default thresholds of brightness, contrast, sharpness, and of the factor between an image's aspect and the usual one."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is kept of N images: `brightness`, `contrast`, `sharpness`, `aspect` (width / height) float64 (N,), `thumbs` float32
    (N, P), `hashes` uint64 (N,), the `side` they were seen at, `ranged`: whether values lay in [0, 1]."""

    brightness: np.ndarray
    contrast: np.ndarray
    sharpness: np.ndarray
    aspect: np.ndarray
    thumbs: np.ndarray
    hashes: np.ndarray
    side: int
    ranged: bool

    def __len__(self) -> int:
        return len(self.brightness)


def look_at(data: Dataset) -> Look:
    """See every image of `data` once.

    Raises
    ------
    InputError
        If an image cannot be read; the message names it.
    """
    n = len(data)
    if isinstance(data.inputs, Images):
        shapes = [data.inputs.header(i)[:2] for i in range(n)]
        aspect = np.array([w / h for w, h in shapes])
        side = int(np.median([min(s) for s in shapes[:SIDE_SAMPLE]]))
        low, high = 0.0, 1.0
    else:
        height, width = data.inputs.shape[2:]
        aspect, side = np.full(n, width / height), min(height, width)
        low, high = _range(data.inputs)
    side = int(np.clip(side, LEAST_SIDE, MOST_SIDE))
    parts: list[tuple[Tensor, ...]] = []
    for start in track(range(0, n, BLOCK), "looking at images", total=-(-n // BLOCK)):
        grey = _grey(data.take(np.arange(start, min(start + BLOCK, n))), side)
        parts.append(measures((grey - low) / (high - low)))
    brightness, contrast, sharpness, thumbs, hashes = (torch.cat(p).numpy() for p in zip(*parts, strict=True))
    return Look(
        brightness=brightness.astype(np.float64),
        contrast=contrast.astype(np.float64),
        sharpness=sharpness.astype(np.float64),
        aspect=aspect,
        thumbs=thumbs,
        hashes=np.packbits(hashes, axis=1).view(np.uint64)[:, 0],
        side=side,
        ranged=(low, high) == (0.0, 1.0),
    )


def _range(array: np.ndarray | Tensor) -> tuple[float, float]:
    """(0, 1) for uint8 and for floats that lie there; the lowest and highest value of other floats, so that hashes still work."""
    if str(array.dtype).rpartition(".")[2] in ("uint8", "uint16", "bool"):
        return 0.0, 1.0
    low, high = float(array.min()), float(array.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, max(high, low + 1e-12))


def _grey(data: Dataset, side: int) -> Tensor:
    """float32 (B, side, side)."""
    if not isinstance(data.inputs, Images) and data.inputs.shape[1] not in (1, 3):
        x = torch.as_tensor(data.inputs)
        scale = 255.0 if x.dtype == torch.uint8 else 1.0
        data = replace(data, inputs=(x.float() / scale).mean(1, keepdim=True))
    plain = ImageFeaturiser(mean=np.zeros(1), scale=np.ones(1), size=(side, side), channels=1)
    return plain.transform(data)[:, 0]


def measures(grey: Tensor) -> tuple[Tensor, ...]:
    """(brightness, contrast, sharpness (B,), thumbs (B, P), hash bits uint8 (B, 64)) of grey images float (B, S, S)."""
    flat = grey.flatten(1)
    brightness = flat.kthvalue(max(1, int(np.ceil(BRIGHT_SHARE * flat.shape[1]))), dim=1).values
    contrast = flat.std(dim=1, correction=0)
    inner = grey[:, 1:-1, 1:-1]
    laplacian = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * inner
    sharpness = laplacian.flatten(1).std(dim=1, correction=0) / contrast.clamp_min(1e-6)
    small = _resized(grey, min(THUMB, grey.shape[1])).flatten(1)
    thumbs = torch.nn.functional.normalize(small - small.mean(1, keepdim=True), dim=1)
    cosines = _cosines().to(grey.dtype)
    waves = (cosines @ _resized(grey, HASHED) @ cosines.T).flatten(1)[:, 1:]
    bits = torch.nn.functional.pad((waves > waves.median(1, keepdim=True).values).to(torch.uint8), (1, 0))
    return brightness, contrast, sharpness, thumbs, bits


def _resized(grey: Tensor, side: int) -> Tensor:
    if grey.shape[1] == side:
        return grey
    return torch.nn.functional.interpolate(grey[:, None], size=(side, side), mode="bilinear", antialias=True)[:, 0]


def _cosines() -> Tensor:
    """The first 8 rows of the discrete cosine transform (type II) of length 32."""
    place = torch.arange(HASHED, dtype=torch.float64) + 0.5
    return torch.cos(torch.pi / HASHED * torch.arange(8, dtype=torch.float64)[:, None] * place)


def _small(issue: str, values: np.ndarray, threshold: float, words: str) -> Found:
    """Rows whose value lies below `threshold`."""
    index = np.flatnonzero(values < threshold)
    return Found(
        issue=issue,
        index=index,
        score=half_life(values[index], threshold),
        flagged=np.ones(len(index), dtype=bool),
        reason=[words.format(v) for v in values[index]],
    )


def dark(look: Look, threshold: float = DARK) -> Found:
    """Images whose brightest hundredth is darker than `threshold` (0 black, 1 white)."""
    return _small(
        "dark", look.brightness, threshold, f"99 % of the picture is no brighter than {{:.2f}} (threshold {threshold:g}; 0 black, 1 white)"
    )


def blank(look: Look, threshold: float = BLANK) -> Found:
    """Images without content: grey varies less than `threshold`."""
    return _small(
        "blank", look.contrast, threshold, f"nearly one colour: grey has a standard deviation of {{:.3f}} (threshold {threshold:g})"
    )


def blurred(look: Look, threshold: float = BLURRED) -> Found:
    """Images without fine structure, blank ones aside."""
    values = np.where(look.contrast >= BLANK, look.sharpness, np.inf)
    return _small(
        "blurred", values, threshold, f"no fine structure: sharpness {{:.3f}} (threshold {threshold:g}) at {look.side} pixels a side"
    )


def odd_aspect(look: Look, factor: float = ODD) -> Found:
    """Images whose width over height differs from the median one by more than `factor`, either way."""
    usual = float(np.exp(np.median(np.log(look.aspect))))
    ratio = np.exp(np.abs(np.log(look.aspect / usual)))
    index = np.flatnonzero(ratio > factor)
    return Found(
        issue="odd_aspect",
        index=index,
        score=1 - half_life(np.log(ratio[index]), float(np.log(factor))),
        flagged=np.ones(len(index), dtype=bool),
        reason=[
            f"width / height is {look.aspect[i]:.2f}, usually {usual:.2f} (factor {ratio[i]:.1f}, threshold {factor:g})" for i in index
        ],
        facts={"usual_aspect": usual},
    )
