"""Experts' answers from a table, and the blind questions that ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels

if TYPE_CHECKING:
    import polars as pl

    from labelwright.data import Dataset

__all__ = ["blind_questions", "random_check", "read_gold"]

STREAM = 0x60D
"""Sets the draw of the random check apart from other draws with the same seed."""


def random_check(agrees: Any, count: int, *, seed: int) -> np.ndarray:
    """Positions of `count` of the agreeing examples bool (N,) (all, if there are fewer), drawn at random, ascending: int64."""
    rows = np.flatnonzero(agrees)
    return np.sort(np.random.default_rng([seed, STREAM]).permutation(rows)[:count])


def blind_questions(data: Dataset, ids: Any, *, second: str | None = None, seed: int) -> tuple[np.ndarray, list[Any]]:
    """What experts are asked: the `ids` in random order, and their texts (pairs with the column `second`; nothing where inputs are no texts).

    No given and no suggested label goes with them: an expert who sees which label is disputed, and how, tends to agree with one side.
    """
    wanted = np.asarray(ids, dtype=data.ids.dtype)
    wanted = wanted[np.random.default_rng([seed, STREAM]).permutation(len(wanted))]
    place = data.positions(wanted)
    texts = [str(data.inputs[int(i)]) if data.kind == "texts" else "" for i in place]
    if second is None or second not in data.columns:
        return wanted, texts
    return wanted, list(zip(texts, (str(v) for v in data.columns[second][place]), strict=True))


def read_gold(path: str, data: Dataset, labels: ClassLabels) -> np.ndarray:
    """Experts' answers, int64 (N,), -1 where there is none: a CSV or Parquet file with columns ``id`` and ``label``; empty labels are none.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, names an unknown id or class, or answers an id in two ways.
    """
    frame = _table(path)
    for column in ("id", "label"):
        check.known_word("column", column, frame.columns, place=path)
    numbers = {name: j for j, name in enumerate(labels.names)}
    places = {str(name): i for i, name in enumerate(data.ids.tolist())}
    gold = np.full(len(data), UNKNOWN, dtype=np.int64)
    for row, (name, word) in enumerate(zip(_words(frame, "id"), _words(frame, "label"), strict=True), start=1):
        if not word:
            continue
        where = f"{path}, row {row}"
        if name not in places:
            raise InputError(f"{where}: id {name!r} is not in the dataset.", hint="Was the dataset read with other --ids?")
        if word not in numbers:
            raise InputError(f"{where}: label {word!r} is none of the {len(numbers)} classes.{check.nearest(word, numbers)}")
        i = places[name]
        if gold[i] not in (UNKNOWN, numbers[word]):
            raise InputError(
                f"{where}: id {name!r} was {labels.names[gold[i]]!r} in an earlier row and is {word!r} here.",
                hint="Experts must agree on one answer first; leave one of the rows.",
            )
        gold[i] = numbers[word]
    if not (gold >= 0).any():
        raise InputError(f"{path} holds no answers: column label is empty in every row.")
    return gold


def _words(frame: pl.DataFrame, column: str) -> list[str]:
    import polars as pl

    return [w.strip() for w in frame.get_column(column).cast(pl.String).fill_null("").to_list()]


def _table(path: str) -> pl.DataFrame:
    import polars as pl

    place = check.path_exists("gold", path)
    if place.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"gold must be a .csv or .parquet file; got {path}.")
    try:
        if place.suffix.lower() == ".parquet":
            return pl.read_parquet(place)
        return pl.read_csv(place, infer_schema=False, encoding="utf8")
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as err:
        raise InputError(f"{path} cannot be read as a table: {str(err).splitlines()[0]}.", hint="Save it as UTF-8 CSV or Parquet.") from err
