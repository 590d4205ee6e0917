"""What a judge is, and what it says.

A judge looks at items (a text, a pair of texts, or whatever it takes) and gives each a probability for every class, or
says that it does not know and why: a call that failed, an answer outside the classes and a budget that is spent are
all *unknown*, never a silent "no".
"""

from __future__ import annotations

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN
from labelwright.progress import track

if TYPE_CHECKING:
    import polars as pl

    from labelwright.data import Dataset
    from labelwright.judges.budget import Budget

__all__ = ["Answer", "Judge", "Takes", "Verdicts", "afford", "class_names", "digest", "item_key", "items_for"]

Takes = Literal["texts", "ids", "inputs"]
"""What a judge wants for each example: its text (or pair of texts), its id, or its input as the dataset holds it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a judge says about one item, or why it says nothing."""

    probs: np.ndarray | None
    """float64 (C,), on the simplex; None where unknown."""
    reason: str = ""
    """Why unknown; '' where known."""
    stated: float = float("nan")
    """Confidence in [0, 1] the judge put into words about its most probable class; NaN where it stated none."""
    raw: Any = None
    """What the probabilities were read from (log-probabilities, answers), as plain JSON values."""
    calls: int = 0
    """Requests sent for it, repeated ones included."""
    tokens: tuple[int, int] = (0, 0)
    """Tokens of prompt and of answer that were counted."""
    cost: float = 0.0
    """Money spent on it."""
    cached: bool = False
    """Whether it was read from a store, and cost nothing now."""
    lasting: bool = True
    """Whether the same question would get the same again, so that it may be stored: false for a call that failed."""

    @classmethod
    def of(cls, probs: Any, **more: Any) -> Self:
        """A known answer from non-negative `probs` (C,), which are scaled to sum to 1."""
        values = np.asarray(probs, dtype=np.float64)
        total = values.sum()
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or not total > 0:
            return cls.unknown(f"the judge gave no probabilities: {_short(values.tolist())}", **more)
        return cls(probs=values / total, **more)

    @classmethod
    def unknown(cls, reason: str, **more: Any) -> Self:
        """An unknown answer."""
        return cls(probs=None, reason=reason or "unknown", **more)


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdicts:
    """What one judge says about N items."""

    classes: tuple[str, ...]
    """Names of the C classes, in the order of the columns of `probs`."""
    probs: np.ndarray
    """float64 (N, C): rows on the simplex, or all NaN where unknown."""
    reason: np.ndarray
    """object (N,) of str: why unknown; '' where known."""
    stated: np.ndarray
    """float64 (N,): confidence in [0, 1] put into words, NaN where none was."""
    raw: tuple[Any, ...] = ()
    """What the probabilities were read from, item by item; empty if it was not kept."""
    judge: str = ""
    """Name of the judge."""
    calls: int = 0
    """Requests sent, repeated ones included."""
    cached: int = 0
    """Items answered without a request: stored before, or a repetition of another item."""
    tokens: tuple[int, int] = (0, 0)
    """Tokens of prompts and of answers."""
    cost: float = 0.0
    """Money spent."""

    def __post_init__(self) -> None:
        n, c = len(self.reason), len(self.classes)
        if self.probs.shape != (n, c) or self.stated.shape != (n,) or (self.raw and len(self.raw) != n):
            raise InputError(f"Verdicts of {n} items and {c} classes: probs {self.probs.shape}, stated {self.stated.shape}.")
        blank = np.isnan(self.probs).all(1)
        check.probabilities("probs", self.probs[~blank])
        if bool(((self.reason == "") == blank).any()):
            raise InputError("A reason is given exactly where the verdict is unknown (a row of NaN).")

    def __len__(self) -> int:
        return len(self.reason)

    @property
    def known(self) -> np.ndarray:
        """bool (N,): where the judge said something."""
        known: np.ndarray = self.reason == ""
        return known

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,): the most probable class (the first of equals), -1 where unknown."""
        return np.where(self.known, np.nan_to_num(self.probs, nan=-1.0).argmax(1), UNKNOWN)

    @property
    def confidence(self) -> np.ndarray:
        """float64 (N,) in [0, 1]: the stated confidence where there is one, else the largest probability; NaN where unknown."""
        return np.where(np.isnan(self.stated), self.probs.max(1, initial=-np.inf), self.stated)

    def reasons(self) -> dict[str, int]:
        """How many items are unknown for which reason, most frequent first."""
        found, count = np.unique(self.reason[~self.known].astype(str), return_counts=True)
        order = np.argsort(-count, kind="stable")
        return {str(found[i]): int(count[i]) for i in order}

    def aligned(self, classes: Sequence[str]) -> Verdicts:
        """The same with the columns in the order of `classes`.

        Raises
        ------
        InputError
            If the judge does not know exactly these classes.
        """
        wanted = tuple(classes)
        if wanted == self.classes:
            return self
        for name in wanted:
            check.known_word("class", name, self.classes, place=f"the classes of judge {self.judge!r}")
        for name in self.classes:
            check.known_word(f"judge {self.judge!r}: class", name, wanted, place="the classes of the labels")
        order = [self.classes.index(name) for name in wanted]
        return replace(self, classes=wanted, probs=self.probs[:, order])

    def summary(self) -> str:
        """What happened, in one or two sentences."""
        known = int(self.known.sum())
        money = f", {self.cost:.4g} money" if self.cost else ""
        text = f"{self.judge}: {known:,} of {len(self):,} judged ({self.cached:,} without a call; {self.calls:,} calls{money})."
        return text + "".join(f" {n:,} unknown: {why}." for why, n in itertools.islice(self.reasons().items(), 3))

    def to_frame(self, ids: Sequence[Any] | np.ndarray | None = None) -> pl.DataFrame:
        """A row an item: id, label (null where unknown), confidence, reason and ``p_<class>``."""
        import polars as pl

        names = np.array([*self.classes, None], dtype=object)  # index -1, unknown, is the last
        columns: dict[str, Any] = {
            "id": pl.Series(np.arange(len(self)) if ids is None else np.asarray(ids)),
            "label": pl.Series(names[self.labels].tolist(), dtype=pl.String),
            "confidence": pl.Series(self.confidence).fill_nan(None),
            "reason": pl.Series(self.reason.tolist(), dtype=pl.String),
        }
        return pl.DataFrame(columns | {f"p_{name}": pl.Series(self.probs[:, j]).fill_nan(None) for j, name in enumerate(self.classes)})

    @classmethod
    def gather(cls, answers: Iterable[tuple[int, Answer]], n: int, classes: tuple[str, ...], *, judge: str = "") -> Verdicts:
        """Collect (place, answer) pairs in any order; places nobody answered are unknown."""
        probs = np.full((n, len(classes)), np.nan)
        reason = np.full(n, "no answer came", dtype=object)
        stated = np.full(n, np.nan)
        raw: list[Any] = [None] * n
        calls = cached = tokens_in = tokens_out = 0
        cost = 0.0
        for i, answer in answers:
            reason[i], raw[i] = answer.reason, answer.raw
            if answer.probs is not None:
                if answer.probs.shape != (len(classes),):
                    raise InputError(f"Judge {judge!r} gives {answer.probs.size} probabilities for {len(classes)} classes.")
                probs[i], stated[i] = answer.probs, answer.stated
            if answer.cached:
                cached += 1
                continue
            calls += answer.calls
            cost += answer.cost
            tokens_in, tokens_out = tokens_in + answer.tokens[0], tokens_out + answer.tokens[1]
        return cls(
            classes=classes,
            probs=probs,
            reason=reason,
            stated=stated,
            raw=tuple(raw) if any(r is not None for r in raw) else (),
            judge=judge,
            calls=calls,
            cached=cached,
            tokens=(tokens_in, tokens_out),
            cost=cost,
        )


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
    """What `judge` is asked about the examples of `data`: N texts (pairs with the column `second`), ids, or inputs.

    Raises
    ------
    InputError
        If the judge wants texts and the dataset holds none, or there is no such column.
    """
    if judge.takes == "ids":
        return list(data.ids.tolist())
    if judge.takes == "inputs":
        return [data.inputs[i] for i in range(len(data))]
    if data.kind != "texts":
        raise InputError(
            f"Judge {judge.name!r} reads texts; this dataset holds {data.kind}.", hint="Name the column of the texts when loading it."
        )
    texts = [str(data.inputs[i]) for i in range(len(data))]
    if second is None:
        return texts
    check.known_word("column", second, data.columns, place="the dataset")
    return list(zip(texts, (str(v) for v in data.columns[second].tolist()), strict=True))


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
