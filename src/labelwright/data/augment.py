"""Batched augmentation: views by name (``Fit(augment="crop-flip")``), and one place to import all of them from."""

from __future__ import annotations

from labelwright import check
from labelwright.data.crops import BoxCrop, PatchShuffle, Roll
from labelwright.data.disturb import Grey, Noise
from labelwright.data.dsa import DSA
from labelwright.data.mix import CutMix, Mixed, Mixup, blend
from labelwright.data.strong import Affine, ColourJitter, RandAugment
from labelwright.data.views import Compose, Crop, CropFlip, Cutout, Draws, Flip, Shift, View, WeakStrong

__all__ = [
    "DSA",
    "VIEWS",
    "Affine",
    "BoxCrop",
    "ColourJitter",
    "Compose",
    "Crop",
    "CropFlip",
    "CutMix",
    "Cutout",
    "Draws",
    "Flip",
    "Grey",
    "Mixed",
    "Mixup",
    "Noise",
    "PatchShuffle",
    "RandAugment",
    "Roll",
    "Shift",
    "View",
    "WeakStrong",
    "blend",
    "named",
]

VIEWS: dict[str, View] = {
    "affine": Affine(),
    "colour": ColourJitter(),
    "crop": Crop(),
    "crop-flip": CropFlip(),
    "cutout": Cutout(),
    "dsa": DSA(siamese=False),
    "flip": Flip(),
    "randaugment": RandAugment(),
    "resized-crop": BoxCrop(flip=0.5),
    "shift": Shift(),
    "strong": Compose((CropFlip(), RandAugment(), Cutout())),
    "web-strong": Compose((BoxCrop(scale=(0.2, 1.0), flip=0.5), Grey(), ColourJitter())),
    "web-weak": BoxCrop(scale=(0.8, 1.0), flip=0.5),
}
"""Views by the word that recipes and the command line use."""


def named(name: str) -> View:
    """The view called `name`.

    Raises
    ------
    InputError
        If there is none; the nearest is suggested.
    """
    check.known_word("augment", name, VIEWS, place="the views")
    return VIEWS[name]
