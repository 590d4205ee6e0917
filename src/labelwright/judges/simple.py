"""Judges that are no language model: a function of yours, and a fitted scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.judges.base import Answer, Judge, Takes, afford, class_names, digest

if TYPE_CHECKING:
    from labelwright.judges.budget import Budget

__all__ = ["CallableJudge", "ClassifierJudge"]


@dataclass(frozen=True, kw_only=True)
class CallableJudge(Judge):
    """A function as a judge: ``function(items) -> (N, C)`` probabilities, a row of NaN where it does not know.

    For simulators and for models of your own. With `each` the function is given one item and returns an :class:`Answer`,
    a (C,) row, a class name, or None (unknown).
    """

    name: str
    """Shown in reports."""
    classes: tuple[str, ...]
    """Names of the C classes, in the order of its columns."""
    function: Callable[[Any], Any]
    """Items → float (N, C); with `each`, one item → answer."""
    each: bool = False
    """Whether the function takes one item at a time."""
    takes: Takes = "texts"
    """What it is given: texts, ids or inputs."""
    revision: str = ""
    """Change it when the function changes: stored answers are found by name, classes and revision."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", class_names(self.classes))
        check.one_of("takes", self.takes, ("texts", "ids", "inputs"))

    @property
    def fingerprint(self) -> str:
        return digest("callable", self.name, self.revision, *self.classes)

    def answers(self, items: Sequence[Any], *, budget: Budget | None = None) -> Iterator[tuple[int, Answer]]:
        def ask(places: list[int]) -> Iterator[tuple[int, Answer]]:
            if self.each:
                for i in places:
                    yield i, _answer(self.function(items[i]), self)
            elif places:
                rows = np.asarray(self.function([items[i] for i in places]), dtype=np.float64)
                yield from zip(places, _answers_of(rows, len(places), self), strict=True)

        return afford(items, budget, ask)


def _answers_of(rows: np.ndarray, n: int, judge: Judge) -> Iterator[Answer]:
    if rows.shape != (n, len(judge.classes)):
        raise InputError(f"Judge {judge.name!r} must give probabilities of shape ({n}, {len(judge.classes)}); got {rows.shape}.")
    for row in rows:
        yield Answer.unknown("the judge does not know", calls=1) if np.isnan(row).all() else Answer.of(row, calls=1)


def _answer(said: Any, judge: Judge) -> Answer:
    if isinstance(said, Answer):
        return said
    if said is None:
        return Answer.unknown("the judge does not know", calls=1)
    if isinstance(said, str):
        if said not in judge.classes:
            return Answer.unknown(f"answer outside the classes: {said[:60]!r}", raw=said, calls=1)
        return Answer.of(np.array([name == said for name in judge.classes], dtype=np.float64), raw=said, calls=1)
    return next(_answers_of(np.asarray(said, dtype=np.float64)[None], 1, judge))


@dataclass(frozen=True, kw_only=True)
class ClassifierJudge(Judge):
    """A fitted scikit-learn classifier (a pipeline on texts, say) with ``predict_proba``.

    Its ``classes_`` are matched with `classes` by name; without `names`, they are taken as they are. A class the
    classifier never saw gets probability 0. It must have been fitted on *other* data than it judges.
    """

    name: str
    """Shown in reports."""
    classifier: Any
    """Fitted, with ``predict_proba`` and ``classes_``."""
    classes: tuple[str, ...] = ()
    """Names of the classes in the order wanted; empty: the classifier's own."""
    names: tuple[str, ...] = ()
    """Names of the classifier's ``classes_``, in their order, where those are numbers; empty: their text."""
    takes: Takes = "texts"
    """What it was fitted on: texts, or inputs (rows of numbers)."""
    batch: int = 1024
    """Items a call of ``predict_proba``, >= 1."""
    order: np.ndarray = field(init=False, repr=False, compare=False)
    """int64: the column of `classes` for each of the classifier's."""
    digest: str = field(init=False, repr=False, compare=False)
    """Hash of the fitted classifier and its classes."""

    def __post_init__(self) -> None:
        check.one_of("takes", self.takes, ("texts", "inputs"))
        check.integer("batch", self.batch, low=1)
        own = getattr(self.classifier, "classes_", None)
        if own is None or not hasattr(self.classifier, "predict_proba"):
            raise InputError(
                f"Judge {self.name!r} needs a fitted classifier with classes_ and predict_proba; got {type(self.classifier).__name__}.",
                hint="Fit it first; wrap one without probabilities in CalibratedClassifierCV.",
            )
        if self.names and len(self.names) != len(own):
            raise InputError(f"names must name the {len(own)} classes of the classifier; got {len(self.names)}.")
        mine = tuple(self.names) or tuple(str(c) for c in np.asarray(own).tolist())
        classes = class_names(self.classes or mine)
        for word in mine:
            check.known_word(f"class of the classifier of judge {self.name!r}", word, classes, place="the classes")
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "order", np.array([classes.index(word) for word in mine]))
        object.__setattr__(self, "digest", _hash(self))

    @property
    def fingerprint(self) -> str:
        return self.digest

    def answers(self, items: Sequence[Any], *, budget: Budget | None = None) -> Iterator[tuple[int, Answer]]:
        def ask(places: list[int]) -> Iterator[tuple[int, Answer]]:
            for start in range(0, len(places), self.batch):
                part = places[start : start + self.batch]
                given: Any = [items[i] for i in part]
                if self.takes == "inputs":
                    given = np.stack([np.asarray(x).reshape(-1) for x in given])
                rows = np.zeros((len(part), len(self.classes)))
                rows[:, self.order] = self.classifier.predict_proba(given)
                yield from zip(part, _answers_of(rows, len(part), self), strict=True)

        return afford(items, budget, ask)


def _hash(judge: ClassifierJudge) -> str:
    import joblib  # a dependency of scikit-learn

    return digest("classifier", joblib.hash(judge.classifier), *judge.classes, *(str(j) for j in judge.order))
