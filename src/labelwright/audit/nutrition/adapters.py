"""Anything a label can be made of, as a table: frames of other libraries, datasets of vectors, images and texts.

An image becomes a row of size, shape and exposure; a text a row of lengths, script and language, and whether it repeats an earlier
one. What other steps found (toxicity, contamination, label errors) is given to ``make_label(results=)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from labelwright.data import Dataset
from labelwright.data.inputs import Images, TableRows, Texts
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, Targets

__all__ = ["Source", "as_table", "image_table", "text_table"]

DARK, BRIGHT = 0.05, 0.95  # luminance below and above which a pixel counts as dark or blown out
LUMA = np.array([0.299, 0.587, 0.114])
IMAGE_BLOCK = 256
LANGUAGE_CHARS = 4000  # of a text are looked at to name its language

SCRIPTS = {
    "cyrillic": r"\p{Cyrillic}",
    "greek": r"\p{Greek}",
    "arabic": r"\p{Arabic}",
    "hebrew": r"\p{Hebrew}",
    "devanagari": r"\p{Devanagari}",
    "han": r"\p{Han}",
    "kana": r"[\p{Hiragana}\p{Katakana}]",
    "hangul": r"\p{Hangul}",
    "thai": r"\p{Thai}",
    "latin": r"\p{Latin}",
}
SCRIPT_LANGUAGE = {"greek": "el", "hebrew": "he", "han": "zh", "kana": "ja", "hangul": "ko", "thai": "th"}
STOPWORDS = {
    "en": "the and of to is that for with was are this have from not",
    "de": "der die und das ist nicht mit ein eine den von zu auf für sich",
    "fr": "les des est une dans que qui pour pas sur avec plus sont ce",
    "es": "los las una que del por con para como más pero sus está",
    "it": "che della per non una sono con del più anche gli nel alla",
    "pt": "que não uma para com os dos mais como foi ao das pelo",
    "nl": "het een van en niet dat zijn voor met ook maar aan",
}
"""Frequent words that tell seven languages of Latin script apart; others are named by script alone."""

TEXT_VARIABLES = {
    "characters": "Number of characters.",
    "words": "Number of words (runs without white space).",
    "lines": "Number of lines.",
    "mean_word_length": "Characters per word, white space aside.",
    "non_ascii_share": "Share of characters outside ASCII.",
    "script": "Script of most letters.",
    "language": "Language guessed from frequent words or script; unknown where neither tells.",
    "repeats_earlier": "Whether the text equals an earlier one, case and white space aside.",
}
IMAGE_VARIABLES = {
    "width": "Width in pixels.",
    "height": "Height in pixels.",
    "channels": "1 grey, 3 colour.",
    "aspect": "Width divided by height.",
    "brightness": "Mean luminance, 0 black to 1 white.",
    "contrast": "Standard deviation of luminance.",
    "dark_share": "Share of pixels with luminance below 0.05.",
    "bright_share": "Share of pixels with luminance above 0.95.",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table and what its origin says of it. `frames` is one frame or an iterable of frames."""

    frames: pl.DataFrame | Iterable[pl.DataFrame]
    kind: str = "table"
    label_column: str = ""
    scales: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


def as_table(data: Any) -> Source:
    """Recognise `data`; see ``make_label``.

    Raises
    ------
    InputError
        If it is none of the known kinds.
    """
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    if isinstance(data, pl.DataFrame):
        return Source(frames=_without_row_numbers(data), metadata={"type": "table"})
    if isinstance(data, Dataset):
        return _of_dataset(data)
    if isinstance(data, (str, Path)):
        from labelwright.data.readers import load

        return _of_dataset(load(data))
    module = type(data).__module__.partition(".")[0]
    if module == "pandas":
        return _of_pandas(data)
    if module == "pyarrow":
        frame = pl.from_arrow(data)
        if isinstance(frame, pl.DataFrame):
            return Source(frames=_without_row_numbers(frame), metadata={"type": "table"})
    if isinstance(data, Mapping):
        return Source(frames=pl.DataFrame(dict(data)), metadata={"type": "table"})
    if isinstance(data, Iterable) and not isinstance(data, np.ndarray):
        return Source(frames=_chunks(data), kind="stream", metadata={"type": "table"})
    raise InputError(
        f"A label cannot be made of {type(data).__name__}.",
        hint="Pass a Dataset, a Polars, pandas or Arrow table, or an iterable of Polars frames.",
    )


def _chunks(frames: Iterable[Any]) -> Iterable[pl.DataFrame]:
    for number, frame in enumerate(frames):
        if not isinstance(frame, pl.DataFrame):
            raise InputError(f"chunks must be Polars frames; chunk {number} is {type(frame).__name__}.")
        yield frame


def _without_row_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Drop an unnamed first column that only numbers the rows, as spreadsheets and pandas write it; name any other unnamed column."""
    first = frame.columns[0] if frame.width > 1 else None
    if first in ("", "Unnamed: 0", "__index_level_0__") and frame.height:
        numbers = frame.get_column(first).cast(pl.Int64, strict=False)
        steps = numbers.diff().drop_nulls()
        if numbers.null_count() == 0 and numbers[0] in (0, 1) and bool((steps == 1).all()):
            return frame.drop(first)
    return frame.rename({"": _free("unnamed", frame.columns)}) if "" in frame.columns else frame


def _of_pandas(data: Any) -> Source:
    frame = pl.from_pandas(data)
    scales = {str(name): "ordinal" for name, dtype in data.dtypes.items() if getattr(dtype, "ordered", False) is True}
    return Source(frames=_without_row_numbers(frame), scales=scales, metadata={"type": "table"})


def _free(name: str, taken: Iterable[str]) -> str:
    used = set(taken)
    while name in used:
        name += "_"
    return name


def _of_dataset(data: Dataset) -> Source:
    kind, variables = data.kind, {}
    if isinstance(data.inputs, TableRows):
        frame = _without_row_numbers(data.inputs.frame)
    elif isinstance(data.inputs, Texts):
        frame, variables = text_table(data.inputs.texts), dict(TEXT_VARIABLES)
    elif kind == "images":
        frame, variables = image_table(data.inputs), dict(IMAGE_VARIABLES)
    else:
        frame = _vector_table(data)
    for name, values in data.columns.items():
        series = pl.Series(name, values.tolist() if values.dtype == object else values, strict=False)
        frame = frame.with_columns(series.alias(_free(name, frame.columns)))
    label = ""
    if isinstance(data.labels, ClassLabels):
        label = _free(data.info.label_name or "label", frame.columns)
        words = [str(w) if k else None for w, k in zip(data.labels.words().tolist(), data.labels.known, strict=True)]
        frame, variables = frame.with_columns(pl.Series(label, words, dtype=pl.String)), {**variables, label: "The given label."}
    elif isinstance(data.labels, Targets):
        names = [_free(str(n), frame.columns) for n in data.labels.names]
        frame = frame.with_columns([pl.Series(n, data.labels.values[:, j]) for j, n in enumerate(names)])
        label = names[0] if len(names) == 1 else ""
    elif data.labels is not None:
        known = data.labels.known
        counts = known.astype(np.int64) if known.ndim == 1 else known.sum(1)
        frame = frame.with_columns(pl.Series(_free("known_labels", frame.columns), counts))
    info = data.info
    said = {"name": info.name, "url": info.source, "license": info.license, "description": info.description, "type": kind}
    return Source(frames=frame, kind=kind, label_column=label, metadata={k: str(v) for k, v in said.items() if v}, variables=variables)


def _vector_table(data: Dataset) -> pl.DataFrame:
    inputs = data.inputs.detach().cpu().numpy() if hasattr(data.inputs, "detach") else np.asarray(data.inputs)
    if inputs.ndim == 1:
        inputs = inputs[:, None]
    if inputs.ndim == 2:
        names = data.info.feature_names if len(data.info.feature_names) == inputs.shape[1] else [f"x{j}" for j in range(inputs.shape[1])]
        return pl.DataFrame({str(n): inputs[:, j] for j, n in enumerate(names)})
    flat = inputs.reshape(len(inputs), -1).astype(np.float64)
    made = {"mean": flat.mean(1), "sd": flat.std(1), "min": flat.min(1), "max": flat.max(1), "length": np.full(len(flat), inputs.shape[1])}
    return pl.DataFrame(made)


def _exposure(luminance: np.ndarray) -> dict[str, float]:
    return {
        "brightness": float(luminance.mean()),
        "contrast": float(luminance.std()),
        "dark_share": float((luminance < DARK).mean()),
        "bright_share": float((luminance > BRIGHT).mean()),
    }


def image_table(images: Any) -> pl.DataFrame:
    """One row an image: width, height, channels, aspect, brightness, contrast, dark and bright share.

    `images`: an array or tensor (N, C, H, W), uint8 or float in [0, 1], or lazily decoded ``Images`` (decoded one at a time).
    """
    if isinstance(images, Images):
        rows = []
        for i in range(len(images)):
            pixels = images[i].astype(np.float32) / 255
            c, h, w = pixels.shape
            luminance = pixels[0] if c == 1 else np.tensordot(LUMA, pixels[:3], axes=1)
            rows.append({"width": w, "height": h, "channels": c, "aspect": w / h, **_exposure(luminance)})
        return pl.DataFrame(rows, schema_overrides={"width": pl.Int64, "height": pl.Int64, "channels": pl.Int64})
    array = images.detach().cpu().numpy() if hasattr(images, "detach") else np.asarray(images)
    n, c, h, w = array.shape
    parts: dict[str, list[np.ndarray]] = {"brightness": [], "contrast": [], "dark_share": [], "bright_share": []}
    for first in range(0, n, IMAGE_BLOCK):
        block = array[first : first + IMAGE_BLOCK]
        block = block.astype(np.float32) / 255 if block.dtype == np.uint8 else block.astype(np.float32)
        light = (np.tensordot(block[:, :3], LUMA, axes=([1], [0])) if c >= 3 else block[:, 0]).reshape(len(block), -1)
        parts["brightness"].append(light.mean(1, dtype=np.float64))
        parts["contrast"].append(light.std(1, dtype=np.float64))
        parts["dark_share"].append((light < DARK).mean(1))
        parts["bright_share"].append((light > BRIGHT).mean(1))
    sizes = {"width": np.full(n, w), "height": np.full(n, h), "channels": np.full(n, c), "aspect": np.full(n, w / h)}
    return pl.DataFrame(sizes | {k: np.concatenate(v) if v else np.zeros(0) for k, v in parts.items()})


def text_table(texts: Iterable[str]) -> pl.DataFrame:
    """One row a text: lengths, share outside ASCII, script, language and whether it repeats an earlier text."""
    frame = pl.DataFrame({"text": pl.Series(list(texts), dtype=pl.String)})
    text, head = pl.col("text"), pl.col("text").str.slice(0, LANGUAGE_CHARS)
    normal = text.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    counts = frame.select(
        characters=text.str.len_chars().cast(pl.Int64),
        words=text.str.count_matches(r"\S+").cast(pl.Int64),
        lines=pl.when(text.str.len_chars() == 0).then(0).otherwise(text.str.count_matches("\n") + 1).cast(pl.Int64),
        letters=text.str.count_matches(r"\S").cast(pl.Int64),
        non_ascii=text.str.count_matches(r"[^\x00-\x7F]").cast(pl.Int64),
        repeats_earlier=~normal.is_first_distinct(),
        **{f"script {k}": head.str.count_matches(p) for k, p in SCRIPTS.items()},
        **{f"language {k}": head.str.count_matches(rf"(?i)\b(?:{'|'.join(w.split())})\b") for k, w in STOPWORDS.items()},
    )
    scripts = counts.select(pl.col(r"^script .*$")).to_numpy()
    languages = counts.select(pl.col(r"^language .*$")).to_numpy()
    script = np.where(scripts.sum(1) > 0, np.array(list(SCRIPTS))[scripts.argmax(1)], "none")
    latin = np.where(languages.sum(1) > 0, np.array(list(STOPWORDS))[languages.argmax(1)], "unknown")
    by_script = np.array([SCRIPT_LANGUAGE.get(s, "unknown") for s in script.tolist()], dtype=str)
    # a Japanese text mixes kana with Han: any kana decides
    language = np.where(script == "latin", latin, np.where(scripts[:, list(SCRIPTS).index("kana")] > 0, "ja", by_script))
    return counts.select(
        "characters",
        "words",
        "lines",
        mean_word_length=pl.when(pl.col("words") > 0).then(pl.col("letters") / pl.col("words")),
        non_ascii_share=pl.when(pl.col("characters") > 0).then(pl.col("non_ascii") / pl.col("characters")),
        script=pl.Series(script.astype(str), dtype=pl.String),
        language=pl.Series(language.astype(str), dtype=pl.String),
        repeats_earlier=pl.col("repeats_earlier"),
    )
