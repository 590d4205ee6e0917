"""What a dataset holds for each example: arrays, or lazily decoded images, texts, table rows.

Arrays (NumPy or torch) stay what they are: (N, D) vectors, (N, C, H, W) images. Everything else
is a :class:`LazyInputs`: it knows its kind, its length, how to give one example, how to take a
subset without decoding, and how to digest itself for the fingerprint.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from labelwright.errors import InputError

if TYPE_CHECKING:
    import polars as pl
    import torch

    from labelwright.data.features.base import Featuriser

__all__ = ["Images", "InputKind", "Inputs", "LazyInputs", "Preprocessed", "TableRows", "Texts", "digest", "kind_of", "take"]

InputKind = Literal["vectors", "images", "texts", "table", "sequence", "nodes"]


class LazyInputs(ABC):
    """Inputs that are decoded one example at a time."""

    kind: InputKind

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, i: int) -> Any: ...

    @abstractmethod
    def take(self, index: np.ndarray) -> Self:
        """The examples at integer positions `index`, undecoded."""

    @abstractmethod
    def digest(self, hasher: hashlib.blake2b) -> None:
        """Feed the content to `hasher`."""


class Preprocessed(LazyInputs):
    """Examples that a featuriser has transformed already, and that carry it: a learner takes it up instead of fitting its own,
    so that test data go through the same statistics."""

    featuriser: Featuriser

    @abstractmethod
    def values(self) -> torch.Tensor:
        """All examples as `featuriser` gives them, float32 (N, *input_shape)."""

    def raw(self) -> np.ndarray:
        """All examples in the original units.

        Raises
        ------
        InputError
            If the featuriser has no way back.
        """
        array: np.ndarray = self.featuriser.inverse(self.values()).numpy()
        return array


class Texts(LazyInputs):
    """Documents in memory. Indexing gives `str`."""

    kind = "texts"

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)
        for row, text in enumerate(self.texts):
            if not isinstance(text, str):
                raise InputError(f"texts must be strings; row {row} is {type(text).__name__}.")

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> str:
        return self.texts[i]

    def take(self, index: np.ndarray) -> Texts:
        return Texts([self.texts[i] for i in index])

    def digest(self, hasher: hashlib.blake2b) -> None:
        for text in self.texts:
            raw = text.encode("utf-8", "surrogatepass")
            hasher.update(len(raw).to_bytes(8, "little"))
            hasher.update(raw)


class Images(LazyInputs):
    """Encoded image files or byte strings, decoded on access. Indexing gives uint8 (C, H, W), C = 1 or 3."""

    kind = "images"

    def __init__(self, sources: Sequence[Path | bytes], *, names: Sequence[str] | None = None) -> None:
        self.sources = list(sources)
        self.names = (
            list(names) if names is not None else [s.name if isinstance(s, Path) else f"image {i}" for i, s in enumerate(self.sources)]
        )

    def __len__(self) -> int:
        return len(self.sources)

    GREY = frozenset({"1", "L", "I", "F", "I;16", "I;16B", "I;16L"})
    """Pillow modes with a single channel of brightness; all others become RGB."""

    def open(self, i: int) -> Any:
        """The `i`-th image as a loaded PIL image with its orientation applied.

        Raises
        ------
        InputError
            If the bytes are not an image, or are truncated.
        """
        return self._read(i, header=False)

    def header(self, i: int) -> tuple[int, int, str]:
        """(width, height, Pillow mode) of the `i`-th image without decoding its pixels; orientation is not applied."""
        image = self._read(i, header=True)
        return (*image.size, image.mode)

    def _read(self, i: int, *, header: bool, side: int | None = None) -> Any:
        import io

        from PIL import Image, ImageOps, UnidentifiedImageError

        source = self.sources[i]
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                if header:
                    return image
                if side is not None:
                    image.draft(None, (side, side))  # JPEG only: decodes straight to 1/2, 1/4 or 1/8, no smaller than asked
                image.load()
                return ImageOps.exif_transpose(image)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
            where = self.names[i] if isinstance(source, bytes) else str(source)
            reason = "it is not an image" if isinstance(err, UnidentifiedImageError) else str(err)
            raise InputError(f"Image {i} ({where}) cannot be read: {reason}.", hint="Replace or remove it.") from err

    def encoded(self, i: int) -> bytes:
        """The bytes of the `i`-th image file, undecoded.

        Raises
        ------
        InputError
            If the file cannot be read.
        """
        source = self.sources[i]
        if isinstance(source, bytes):
            return source
        try:
            return source.read_bytes()
        except OSError as err:
            raise InputError(f"Image {i} ({source}) cannot be read: {err.strerror or err}.", hint="Was it moved?") from err

    def picture(self, i: int, *, side: int | None = None) -> Any:
        """The `i`-th image as PIL ``L`` or ``RGB``, 8 bits; deeper grey images are scaled by their range, not clipped.

        With `side`, a JPEG may come smaller, both sides at least `side` (or as they are): several times faster for thumbnails.
        """
        image = self._read(i, header=False, side=side)
        if image.mode in ("L", "RGB"):
            return image
        if image.mode in self.GREY - {"1"}:
            return _eight_bit(image)
        return image.convert("L" if image.mode == "1" else "RGB")

    def __getitem__(self, i: int) -> np.ndarray:
        array = np.asarray(self.picture(i))
        return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))

    def take(self, index: np.ndarray) -> Images:
        return Images([self.sources[i] for i in index], names=[self.names[i] for i in index])

    def digest(self, hasher: hashlib.blake2b) -> None:
        for i in range(len(self)):
            raw = self.encoded(i)
            hasher.update(len(raw).to_bytes(8, "little"))
            hasher.update(raw)


def _eight_bit(image: Any) -> Any:
    """A deeper grey image as 8-bit: integers by the full scale of 16 bits, floats by 1 where all lie in [0, 1], else by 255.

    Pillow's own conversion clips at 255, which turns a microscopy image white.
    """
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    full = 65535.0 if image.mode != "F" else 1.0 if values.max(initial=0.0) <= 1 else 255.0
    return Image.fromarray(np.rint(values / full * 255).clip(0, 255).astype(np.uint8))


class TableRows(LazyInputs):
    """Rows of a table with mixed columns. Indexing gives a dict; `frame` is the Polars frame."""

    kind = "table"

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return self.frame.height

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.frame.row(i, named=True)

    def take(self, index: np.ndarray) -> TableRows:
        return TableRows(self.frame[np.asarray(index)])

    def digest(self, hasher: hashlib.blake2b) -> None:
        for name in self.frame.columns:
            column = self.frame.get_column(name)
            hasher.update(f"{name}:{column.dtype}".encode())
            hasher.update(column.hash(seed=0).to_numpy().tobytes())


Inputs = "np.ndarray | torch.Tensor | LazyInputs"


def kind_of(inputs: Any) -> InputKind:
    """``vectors`` for (N, D), ``images`` for (N, C, H, W), ``sequence`` for other arrays, else what the inputs say."""
    if isinstance(inputs, LazyInputs):
        return inputs.kind
    return {2: "vectors", 4: "images"}.get(inputs.ndim, "sequence")  # type: ignore[return-value]


def take(inputs: Any, index: np.ndarray) -> Any:
    """The examples at integer positions `index`."""
    if isinstance(inputs, LazyInputs):
        return inputs.take(index)
    if isinstance(inputs, np.ndarray):
        return inputs[index]
    import torch

    return inputs[torch.from_numpy(np.ascontiguousarray(index)).to(inputs.device)]


def digest(inputs: Any, hasher: hashlib.blake2b) -> None:
    """Feed the content of any inputs to `hasher`."""
    if isinstance(inputs, LazyInputs):
        inputs.digest(hasher)
        return
    array = inputs if isinstance(inputs, np.ndarray) else inputs.detach().cpu().numpy()
    hasher.update(f"{array.dtype}{array.shape}".encode())
    hasher.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
