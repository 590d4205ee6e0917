"""Texts beside the inputs, definitions of the classes, and their embeddings in one space."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.data import Dataset
from labelwright.data.formats.tabular import read_table
from labelwright.data.inputs import Texts
from labelwright.errors import InputError
from labelwright.signals.embed import embed

if TYPE_CHECKING:
    from labelwright.labels import ClassLabels, MultiLabels

__all__ = ["TextEncoder", "clean_texts", "column_of", "definitions_of", "embedded", "unit_rows", "vectors_of"]

TextEncoder = str | Callable[[list[str]], Any]
DEFAULT_COLUMNS = ("text", "caption")
CLASS_COLUMNS = ("class", "label", "name", "category")
TEXT_COLUMNS = ("definition", "text", "description", "caption")
SUFFIXES = "jpe?g|png|gif|webp|bmp|tiff?|svg|html?|php|aspx?|pdf"
WEB_WORDS = "http|https|www|com|net|org|html|htm|php|amp|nbsp|quot|jpg|jpeg|png|gif|img|src|href"
STEPS = (
    (r"(?s)<[^>]*>", " "),  # tags
    (r"&#?\w+;", " "),  # entities
    (r"(https?://|www\.)\S+", " "),
    (rf"\.({SUFFIXES})\b", " "),
    (r"[^\p{L}\p{M}\s]+", " "),  # digits, signs, underscores
    (r"\b\p{Latin}{1,2}\b", " "),  # two signs of Chinese are a word
    (rf"\b({WEB_WORDS})\b", " "),
    (r"\s+", " "),
)
"""What cleaning takes out of a lower-case text, in order."""


def clean_texts(texts: list[str]) -> list[str]:
    """Lower-case words alone: no tags, addresses, file suffixes, digits, words of one or two Latin letters, or words of web pages.

    A text without any other word becomes the empty one.
    """
    import polars as pl

    column = pl.Series("text", texts, dtype=pl.String).str.to_lowercase()
    for pattern, instead in STEPS:
        column = column.str.replace_all(pattern, instead)
    return column.str.strip_chars().to_list()


def column_of(data: Dataset, name: str | None) -> list[str] | np.ndarray:
    """The side information of each example: strings, "" where missing, or float32 (N, E) vectors.

    Raises
    ------
    InputError
        If the column is absent, holds something else, or every text is empty.
    """
    if name is None:
        name = next((c for c in DEFAULT_COLUMNS if c in data.columns), None)
    if name is None or not data.columns:
        wanted = f"column {name!r}" if name else "column 'text' or 'caption'"
        raise InputError(
            f"There is no {wanted} with the texts of the examples; columns beside inputs and labels: {', '.join(data.columns) or 'none'}.",
            hint="Name it with --text-column, or keep it out of the inputs with --inputs.",
        )
    check.known_word("text column", name, data.columns, place="the dataset's columns")
    values = data.columns[name]
    if values.ndim == 2 and values.dtype.kind in "fiu":
        return check.finite(f"column {name!r}", np.asarray(values, dtype=np.float32))  # type: ignore[no-any-return]
    if values.ndim != 1 or values.dtype.kind not in "OU":
        raise InputError(f"Column {name!r} must hold texts (or vectors of numbers); it holds {values.dtype} of shape {values.shape}.")
    texts = ["" if v is None or v != v else str(v) for v in values.tolist()]
    if not any(t.strip() for t in texts):
        raise InputError(f"All {len(texts):,} texts of column {name!r} are empty.", hint="Is this the right column?")
    return texts


def definitions_of(given: str | Mapping[str, Any] | None, labels: ClassLabels | MultiLabels) -> list[str]:
    """The text of each class in order of its number: from a mapping, from a CSV, TOML or JSON file, or its own name.

    Classes that never occur may be left out; their name stands in.

    Raises
    ------
    InputError
        If a file cannot be read, a class that occurs has no definition, or a definition is of no class.
    """
    names = [str(n) for n in labels.names]
    if given is None:
        return names
    place = "definitions" if isinstance(given, Mapping) else str(given)
    found = dict(given) if isinstance(given, Mapping) else _file(given)
    if stray := [k for k in found if k not in names]:
        raise InputError(
            f"{place} defines {stray[0]!r}, which is no class.{check.nearest(stray[0], names)}", hint=f"Classes: {', '.join(names[:12])}."
        )
    occurs = np.bincount(labels.values[labels.known], minlength=len(names)) if labels.values.ndim == 1 else (labels.values == 1).sum(0)
    missing = [n for n, count in zip(names, occurs, strict=True) if count and not str(found.get(n) or "").strip()]
    if missing:
        raise InputError(
            f"{place} defines no class {missing[0]!r}{f' (and {len(missing) - 1} more)' if len(missing) > 1 else ''}.",
            hint=f"It defines {', '.join(list(found)[:12]) or 'none'}; a CSV file needs a header line, like class,definition.",
        )
    return [str(found.get(n) or n) for n in names]


def _file(source: str) -> dict[str, str]:
    path = check.path_exists("definitions", source)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".parquet"):
        frame = read_table(path).frame
        if frame.width < 2:
            raise InputError(f"{path} must have a column of classes and one of definitions; it has {', '.join(frame.columns)}.")
        lower = {c.lower(): c for c in frame.columns}
        words = next((lower[c] for c in TEXT_COLUMNS if c in lower), frame.columns[1])
        key = next((lower[c] for c in CLASS_COLUMNS if c in lower and lower[c] != words), frame.columns[0])
        classes = ["" if v is None else str(v) for v in frame.get_column(key).to_list()]
        check.unique(f"classes of {path}", np.array(classes))
        return dict(zip(classes, ("" if v is None else str(v) for v in frame.get_column(words).to_list()), strict=True))
    if suffix in (".json", ".toml"):
        return _mapping(path, suffix)
    raise InputError(f"definitions {path} must be a .csv, .tsv, .parquet, .toml or .json file.")


def _mapping(path: Path, suffix: str) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if suffix == ".json" else tomllib.loads(text)
    except (ValueError, OSError) as err:  # JSON, TOML and UTF-8 errors are ValueErrors
        raise InputError(f"{path} cannot be read: {err}.", hint='It should map classes to texts, like "cat" = "a small animal".') from err
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise InputError(f"{path} must map each class to one text.")
    return values


def vectors_of(path: str, *, rows: int, what: str) -> np.ndarray:
    """A matrix float32 (`rows`, E) from a ``.npy`` file, never unpickled.

    Raises
    ------
    InputError
        If the file is none, or its shape or values are wrong.
    """
    place = check.path_exists(what, path)
    try:
        values = np.load(place, allow_pickle=False)
    except (ValueError, EOFError, OSError) as err:
        raise InputError(f"{place} cannot be read as a NumPy array: {err}.", hint="Write it with numpy.save.") from err
    if not isinstance(values, np.ndarray) or values.ndim != 2 or len(values) != rows or values.dtype.kind not in "fiu":
        shape = getattr(values, "shape", "no single array")
        raise InputError(f"{what} {place} must hold numbers of shape ({rows}, E), in the order of the rows; got {shape}.")
    return check.finite(str(place), values.astype(np.float32))  # type: ignore[no-any-return]


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Rows float32 of length 1; a row of zeros stays."""
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values, dtype=np.float32), where=length > 0)


def embedded(texts: list[str], definitions: list[str], *, encoder: TextEncoder, clean: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the texts (N, E) and of the definitions (C, E), in one space.

    Parameters
    ----------
    encoder
        ``"tfidf"``: TF-IDF and truncated SVD of both together, offline. Another string: a sentence-transformers or Hugging Face
        model by id or folder, mean-pooled. Or a function ``list of M strings -> (M, E)``.
    clean
        Whether :func:`clean_texts` comes first.

    Raises
    ------
    InputError
        If no text or some definition has a word left, the model cannot be read, or the function gives another shape.
    """
    both = [*texts, *definitions]
    if clean:
        both = clean_texts(both)
        if not any(both[: len(texts)]):
            raise InputError("No text holds a word once addresses, digits and short words are taken out.", hint="Use --no-clean-text.")
    blank = [d for d, left in zip(definitions, both[len(texts) :], strict=True) if not left.strip()]
    if blank:
        raise InputError(
            f"The definition {blank[0]!r} holds no word to compare texts with.", hint="Say what each class is: --definitions FILE."
        )
    if callable(encoder):
        values = np.asarray(encoder(both), dtype=np.float32)
        if values.ndim != 2 or len(values) != len(both):
            raise InputError(f"The text encoder must give one vector a text, shape ({len(both)}, E); got {values.shape}.")
        check.finite("the text encoder's vectors", values)
    else:
        values, _ = embed(
            Dataset(inputs=Texts(both)), encoder=None if encoder == "tfidf" else _model(encoder), model=None, fit=None, seed=seed
        )
    values = unit_rows(values)
    return values[: len(texts)], values[len(texts) :]


def _model(encoder: str) -> str:
    return encoder if encoder.startswith("hf:") else f"hf:{encoder}"
