"""Experts' answers from a table, and the blind questions that ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import InputError
from labelwright.judges.review import read_labels
from labelwright.labels import UNKNOWN, ClassLabels

if TYPE_CHECKING:
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
    answers = {name: word for name, word in read_labels(path, labels.names, what="gold file").items() if word}
    if not answers:
        raise InputError(f"{path} holds no answers: column label is empty in every row.")
    places = {str(name): i for i, name in enumerate(data.ids.tolist())}
    numbers = {name: j for j, name in enumerate(labels.names)}
    gold = np.full(len(data), UNKNOWN, dtype=np.int64)
    for name, word in answers.items():
        if name not in places:
            raise InputError(f"{path}: id {name!r} is not in the dataset.", hint="Was the dataset read with other --ids?")
        gold[places[name]] = numbers[word]
    return gold
