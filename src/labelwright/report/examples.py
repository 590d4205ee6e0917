"""What a page shows of one example: a thumbnail, an excerpt of its text, its row; within a budget of bytes."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import InputError
from labelwright.report.page import compact

if TYPE_CHECKING:
    from labelwright.data import Dataset

__all__ = ["BUDGET", "Showcase", "Shown"]

BUDGET = 1_800_000
"""Bytes of thumbnails a page may hold, before base64 adds a third; the page stays below 3 MB."""
SIDE = 112
"""Longest side of a thumbnail, pixels; smaller images are enlarged by whole factors without smoothing."""
EXCERPT = 280
ROW_FIELDS = 8


@dataclass(frozen=True)
class Shown:
    """One of `image` (data URI), `text`, `fields` (name, value); all empty where nothing can be shown."""

    image: str = ""
    text: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    note: str = ""


@dataclass
class Showcase:
    """Shows examples of `data` by row until the budget is spent. Labels alone (inputs of width 0) show nothing."""

    data: Dataset | None
    left: int = BUDGET
    _made: dict[int, Shown] = field(default_factory=dict)

    def __call__(self, row: int) -> Shown:
        """What to show of row `row`; the same row costs its bytes once only in time, but each use is written out."""
        if self.data is None:
            return Shown()
        if row not in self._made:
            self._made[row] = self._make(row)
        shown = self._made[row]
        if shown.image:
            if self.left < len(shown.image):
                return Shown(note="image left out to keep the page small")
            self.left -= len(shown.image)
        return shown

    def _make(self, row: int) -> Shown:
        data = self.data
        if data is None:
            return Shown()
        if data.kind == "images":
            return self._image(row)
        if data.kind == "texts":
            return _excerpt(str(data.inputs[row]))
        if data.kind == "nodes":
            node = data.inputs[row]
            if "text" in node:
                return _excerpt(node["text"])
            near = node["neighbours"]
            return Shown(fields=(("neighbours", str(len(near))), ("among them", ", ".join(str(i) for i in near[:ROW_FIELDS]) or "none")))
        if data.kind == "table":
            values = data.inputs[row]
            return Shown(fields=tuple((str(k), compact(v, 60)) for k, v in list(values.items())[:ROW_FIELDS]))
        if data.kind == "vectors":
            vector = np.asarray(data.inputs[row], dtype=np.float64).ravel()
            if not len(vector):
                return Shown()
            names = data.info.feature_names if len(data.info.feature_names) == len(vector) else [f"x{j}" for j in range(len(vector))]
            return Shown(fields=tuple((str(n), compact(float(v))) for n, v in list(zip(names, vector, strict=True))[:ROW_FIELDS]))
        return Shown()

    def _image(self, row: int) -> Shown:
        try:
            return Shown(image=thumbnail(picture_of(self.data, row)))
        except InputError as err:  # one unreadable image must not cost the page; the audit has said so already
            return Shown(note=compact(str(err), 90))


def _excerpt(words: str) -> Shown:
    """The beginning of a text, on one line."""
    text = " ".join(words.split())
    return Shown(text=text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…")


def picture_of(data: Any, row: int) -> Any:
    """Row `row` of an image dataset as a PIL image, ``L`` or ``RGB``."""
    from PIL import Image

    from labelwright.data import Images

    if isinstance(data.inputs, Images):
        return data.inputs.picture(row)
    array = data.inputs[row]
    array = np.asarray(array.detach().cpu().numpy() if hasattr(array, "detach") else array)
    if array.dtype != np.uint8:
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    if array.shape[0] not in (1, 3):
        array = array[:1]
    return Image.fromarray(array[0] if array.shape[0] == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def thumbnail(picture: Any, side: int = SIDE) -> str:
    """A data URI: JPEG for photographs, PNG for what is small enough to be enlarged pixel by pixel."""
    from PIL import Image

    longest = max(picture.size)
    out = io.BytesIO()
    if longest * 2 <= side:
        picture.save(out, "PNG", optimize=True)  # the page enlarges it without smoothing
        kind = "png"
    else:
        picture = picture.copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        picture.save(out, "JPEG", quality=78, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
