"""What judges say: an answer an item, and the verdicts of one judge on many."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Answer", "Verdicts"]


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


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
