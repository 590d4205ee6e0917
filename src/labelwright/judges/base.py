"""What a judge is, and what it says.

A judge looks at items (a text, a pair of texts, or whatever it takes) and gives each a probability for every class, or
says that it does not know and why: a call that failed, an answer outside the classes and a budget that is spent are
all *unknown*, never a silent "no".
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.data.graphs import GraphNodes
from labelwright.errors import InputError
from labelwright.judges.verdicts import Answer, Verdicts
from labelwright.progress import track

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.judges.budget import Budget

__all__ = ["Answer", "Judge", "Takes", "Verdicts", "afford", "class_names", "digest", "item_key", "items_for"]

Takes = Literal["texts", "ids", "inputs"]
"""What a judge wants for each example: its text (or pair of texts), its id, or its input as the dataset holds it."""


class Judge(ABC):
    """Anything that gives items a class with a probability, or says that it does not know.

    A judge implements :meth:`answers`; :meth:`judge` collects them. It has a ``name`` (shown in reports), its ``classes``
    (names, in the order of its probabilities), and a ``fingerprint``: equal for two judges exactly where they give the same
    answers (model, revision, wording, decoding), since stored answers are found by it.
    """

    takes: Takes = "texts"
    name: str
    classes: tuple[str, ...]

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What the answers depend on besides the item: model, revision, wording, decoding."""

    @abstractmethod
    def answers(self, items: Sequence[Any], *, budget: Budget | None = None) -> Iterator[tuple[int, Answer]]:
        """Yield (place, answer) for each of `items` once, in the order in which they come in."""

    def judge(self, items: Sequence[Any], *, budget: Budget | None = None) -> Verdicts:
        """Judge N items.

        Parameters
        ----------
        items
            Texts, pairs of texts, or what the judge takes (:attr:`takes`).
        budget
            What may be spent; items it leaves over are unknown.

        Raises
        ------
        InputError
            If an item is of the wrong kind, or the judge cannot be asked at all (a wrong key, an unknown model).
        """
        said = track(self.answers(items, budget=budget), self.name, total=len(items))
        return Verdicts.gather(said, len(items), self.classes, judge=self.name)


def class_names(classes: Iterable[str]) -> tuple[str, ...]:
    """At least two different, non-empty names."""
    if isinstance(classes, str):
        raise InputError(f"classes must be a list of names; got the text {classes!r}.")
    names = tuple(classes)
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"A class must have a name, as text; got {name!r}.", hint="Put numbers and yes/no into quotes.")
    if len(names) < 2:
        raise InputError(f"A judge needs at least two classes; got {len(names)}.")
    check.unique("classes", np.array(names, dtype=object))
    return names


def afford(
    items: Sequence[Any], budget: Budget | None, ask: Callable[[list[int]], Iterator[tuple[int, Answer]]]
) -> Iterator[tuple[int, Answer]]:
    """For judges whose calls cost no money: ask those of `items` the budget allows one call each, the rest is unknown."""
    if budget is None:
        yield from ask(list(range(len(items))))
        return
    places: list[int] = []
    refused: list[tuple[int, str]] = []
    for i in range(len(items)):
        why = "" if refused else budget.reserve()
        if refused or why:
            refused.append((i, why or refused[0][1]))
            continue
        budget.settle()
        places.append(i)
    budget.refused += max(0, len(refused) - 1)  # the budget saw the first of them only
    yield from ask(places)
    for i, why in refused:
        yield i, Answer.unknown(why, lasting=False)


def digest(*parts: str | bytes) -> str:
    """A short hash of texts, each with its length, so that ("ab", "c") differs from ("a", "bc")."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        hasher.update(len(raw).to_bytes(8, "little") + raw)
    return hasher.hexdigest()


def item_key(item: Any) -> str:
    """Hash of an item's content: a text, a tuple of texts, a number or an array.

    Raises
    ------
    InputError
        If the item is something else.
    """
    if isinstance(item, str):
        return digest("text", item)
    if isinstance(item, (tuple, list)) and all(isinstance(part, str) for part in item):
        return digest("texts", *item)
    if isinstance(item, (bool, int, float, np.integer, np.floating)):
        return digest("number", repr(item.item() if isinstance(item, np.generic) else item))
    if hasattr(item, "detach"):
        item = item.detach().cpu().numpy()
    if isinstance(item, np.ndarray) and not item.dtype.hasobject:
        return digest("array", str(item.dtype), str(item.shape), np.ascontiguousarray(item).tobytes())
    raise InputError(f"Items must be texts, pairs of texts, numbers or arrays to be stored; got {type(item).__name__}.")


def items_for(judge: Judge, data: Dataset, *, second: str | None = None) -> Sequence[Any]:
    """What `judge` is asked about the examples of `data`: N texts, those of the nodes for a graph (pairs with the column `second`), ids, or inputs.

    Raises
    ------
    InputError
        If the judge wants texts and the dataset holds none, or there is no such column.
    """
    if judge.takes == "ids":
        return list(data.ids.tolist())
    if judge.takes == "inputs":
        return [data.inputs[i] for i in range(len(data))]
    if isinstance(data.inputs, GraphNodes) and data.inputs.graph.texts is not None:
        texts = [data.inputs.graph.texts[node] for node in data.inputs.nodes]
    elif data.kind == "texts":
        texts = [str(data.inputs[i]) for i in range(len(data))]
    else:
        bare = data.kind == "nodes"
        raise InputError(
            f"Judge {judge.name!r} reads texts; this dataset holds {'nodes without texts' if bare else data.kind}.",
            hint="Load a graph whose nodes have texts." if bare else "Name the column of the texts when loading it.",
        )
    if second is None:
        return texts
    check.known_word("column", second, data.columns, place="the dataset")
    return list(zip(texts, (str(v) for v in data.columns[second].tolist()), strict=True))
