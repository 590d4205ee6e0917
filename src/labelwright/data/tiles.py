"""Mosaics: several images of a class, made smaller and laid side by side in one (RDED, PCA)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from labelwright.data.crops import divided
from labelwright.data.views import image_shape
from labelwright.errors import InputError

__all__ = ["enlarged", "mosaics", "shrunk", "tiles_of"]


def shrunk(images: Tensor, factor: int) -> Tensor:
    """Images (N, C, H, W) at 1 / `factor` of their sides, bilinear with antialiasing; a constant image stays constant."""
    _, _, h, w = image_shape(images.shape)
    if factor == 1:
        return images
    return F.interpolate(images, size=divided(h, w, factor), mode="bilinear", antialias=True, align_corners=False)


def enlarged(tiles: Tensor, size: tuple[int, int]) -> Tensor:
    """Tiles (N, C, h, w) at `size` (H, W), bilinear."""
    if tuple(tiles.shape[2:]) == tuple(size):
        return tiles
    return F.interpolate(tiles, size=size, mode="bilinear", align_corners=False)


def mosaics(images: Tensor, factor: int) -> Tensor:
    """Images (N, C, H, W), `factor`^2 after `factor`^2 of them, each shrunk into its place row by row: (N / factor^2, C, H, W).

    Raises
    ------
    InputError
        If N or the sides do not divide.
    """
    n, c, h, w = image_shape(images.shape)
    if n % factor**2:
        raise InputError(f"{n:,} images do not fill mosaics of {factor}x{factor}.", hint=f"Choose a multiple of {factor**2} a class.")
    small = shrunk(images, factor).view(n // factor**2, factor, factor, c, h // factor, w // factor)
    return small.permute(0, 3, 1, 4, 2, 5).reshape(-1, c, h, w)


def tiles_of(images: Tensor, factor: int) -> Tensor:
    """The tiles of mosaics (N, C, H, W), row by row, mosaic after mosaic: (N factor^2, C, H / factor, W / factor)."""
    n, c, h, w = image_shape(images.shape)
    height, width = divided(h, w, factor)
    return images.reshape(n, c, factor, height, factor, width).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, height, width)
