"""Registration of methods, and the seven abstract classes they derive from.

``@register`` stands beside each class and is the only place where a method's facts are written:
the command line, the lazy exports, the docs tables and ``labelwright methods`` come from
``_index.py``, which ``python -m labelwright._generate`` writes from these entries. This module and
the index import nothing heavy, so listing methods costs no torch.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from labelwright.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from labelwright.data import Dataset
    from labelwright.nn import NetFactory
    from labelwright.results import Annotation, Audit, Certificate, Condensed, Forgotten, Learned, Selection
    from labelwright.signals import Signals
    from labelwright.training import Fit

__all__ = [
    "RESERVED",
    "VERBS",
    "Annotator",
    "Auditor",
    "Certifier",
    "Condenser",
    "Entry",
    "Flaw",
    "Forgetter",
    "Have",
    "Learner",
    "Method",
    "Selector",
    "Want",
    "find",
    "methods",
    "register",
]

VERBS = ("audit", "annotate", "select", "condense", "learn", "forget", "certify")
RESERVED = frozenset({"correct", "compare", "text", "mark", "verify", "sets"})
"""Words the command line uses itself; no method may be called so."""


class Have(StrEnum):
    """What labels the user has."""

    CLASS_LABELS = "class-labels"
    MULTI_LABELS = "multi-labels"
    SOFT_LABELS = "soft-labels"
    PROPORTIONS = "proportions"
    VOTES = "votes"
    TARGETS = "targets"
    SPANS = "spans"
    BOXES = "boxes"
    POINTS = "points"
    MASKS = "masks"
    CAPTIONS = "captions"
    NONE = "none"


class Flaw(StrEnum):
    """What is wrong with them."""

    NOISE = "noise"
    SCARCITY = "scarcity"
    PARTIAL = "partial"
    WEAK = "weak"
    IMBALANCE = "imbalance"
    SIZE = "size"
    LEAK = "leak"
    PRIVATE = "private"
    SHIFT = "shift"


class Want(StrEnum):
    """What the user wants to end with."""

    FINDINGS = "findings"
    REPORT = "report"
    LABELS = "labels"
    SELECTION = "selection"
    CONDENSED = "condensed"
    CLASSIFIER = "classifier"
    SEGMENTER = "segmenter"
    DETECTOR = "detector"
    TAGGER = "tagger"
    SEPARATOR = "separator"
    ENCODER = "encoder"
    FORGETTING = "forgetting"
    CERTIFICATE = "certificate"


class Method(ABC):
    """A configured method: a frozen keyword-only dataclass with one public verb."""

    verb: ClassVar[str]
    entry: ClassVar[Entry]

    def fields(self) -> dict[str, Any]:
        """The configuration as plain values, defaults included."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]


class Auditor(Method):
    """Answers: what is wrong with my data?"""

    verb = "audit"

    @abstractmethod
    def audit(self, data: Dataset, *, signals: Signals | None = None, seed: int) -> Audit: ...


class Annotator(Method):
    """Answers: what should the labels be?"""

    verb = "annotate"

    @abstractmethod
    def annotate(self, data: Dataset, *, signals: Signals | None = None, seed: int) -> Annotation: ...


class Selector(Method):
    """Answers: which examples are worth keeping, or labelling next?"""

    verb = "select"

    @abstractmethod
    def select(self, data: Dataset, *, keep: float, signals: Signals | None = None, seed: int) -> Selection: ...


class Condenser(Method):
    """Answers: what small set can stand in for it?"""

    verb = "condense"

    @abstractmethod
    def condense(self, data: Dataset, net: NetFactory, *, per_class: int, fit: Fit | None = None, seed: int) -> Condensed: ...


class Learner(Method):
    """Answers: what model can these labels support?"""

    verb = "learn"

    def recipe(self, general: Fit) -> Fit:
        """How the command line trains by default: `general` suits the data; a method with a recipe of its own gives that instead."""
        return general

    @abstractmethod
    def learn(self, data: Dataset, net: NetFactory, *, val: Dataset | None = None, fit: Fit | None = None, seed: int) -> Learned: ...


class Forgetter(Method):
    """Answers: how do I take data back out of a model?"""

    verb = "forget"

    @abstractmethod
    def forget(self, model: Learned, data: Dataset, *, ids: np.ndarray, fit: Fit | None = None, seed: int) -> Forgotten: ...


class Certifier(Method):
    """Answers: what can I prove?"""

    verb = "certify"

    @abstractmethod
    def certify(self, data: Dataset, *, model: Learned | None = None, seed: int) -> Certificate: ...


BASES: dict[str, type[Method]] = {c.verb: c for c in (Auditor, Annotator, Selector, Condenser, Learner, Forgetter, Certifier)}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One field of a method as the command line shows it. `type` is the annotation itself, never a string to evaluate."""

    name: str
    type: Any
    default: Any
    help: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the registry. `target` is ``module:Class``, empty while the method is planned."""

    name: str
    verb: str
    sheet: str | None
    title: str
    has: tuple[str, ...]
    flaw: tuple[str, ...]
    gives: tuple[str, ...]
    paper: str
    summary: str = ""
    domain: str | None = None
    target: str = ""
    options: tuple[Option, ...] = ()

    @property
    def state(self) -> str:
        """``available`` or ``planned``."""
        return "available" if self.target else "planned"

    def to_dict(self) -> dict[str, Any]:
        """The line of ``labelwright methods --json``."""
        keys = ("name", "verb", "sheet", "state", "has", "flaw", "gives", "paper")
        return {k: list(v) if isinstance(v := getattr(self, k), tuple) else v for k in keys}


REGISTERED: dict[tuple[str, str], type[Method]] = {}
"""(verb, name) → class, for the modules imported so far."""

M = TypeVar("M", bound=type[Method])


def _tuple(values: Any, kind: type[StrEnum]) -> tuple[str, ...]:
    return tuple(kind(v).value for v in ((values,) if isinstance(values, str) else values))


def register(
    name: str,
    *,
    sheet: str | None,
    has: Have | Iterable[Have],
    flaw: Flaw | Iterable[Flaw] = (),
    gives: Want | Iterable[Want],
    paper: str,
    domain: str | None = None,
) -> Callable[[M], M]:
    """Enter a method class under `name`, unique within its verb.

    Parameters
    ----------
    name
        Kebab-case; the word on the command line.
    sheet
        Slug shared by the method's benchmark and docs page, or None for baselines.
    has, flaw, gives
        What labels it takes, what is wrong with them, what it returns.
    paper
        Reference, with an arXiv number or DOI where there is one.
    domain
        The field it belongs to (a folder of ``domains``), or None for any.
    """

    def enter(cls: M) -> M:
        verb = cls.verb
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or name in RESERVED:
            raise InputError(f"method name {name!r} must be kebab-case and none of {sorted(RESERVED)}.")
        if REGISTERED.get((verb, name), cls).__qualname__ != cls.__qualname__:
            raise InputError(f"{verb} already has a method called {name!r}.")
        if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise InputError(f"{cls.__name__} must be a frozen dataclass to be registered.")
        cls.entry = Entry(
            name=name,
            verb=verb,
            sheet=sheet,
            title=cls.__name__,
            has=_tuple(has, Have),
            flaw=_tuple(flaw, Flaw),
            gives=_tuple(gives, Want),
            paper=paper,
            summary=(inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " "),
            domain=domain,
            target=f"{cls.__module__}:{cls.__name__}",
        )
        REGISTERED[verb, name] = cls
        return cls

    return enter


def methods(*, have: str | None = None, flaw: str | None = None, want: str | None = None, verb: str | None = None) -> list[Entry]:
    """Entries of the registry, available ones first, filtered by every condition given; third-party entries included.

    Raises
    ------
    InputError
        If a word is outside the vocabulary.
    """
    from labelwright._index import METHODS
    from labelwright._planned import PLANNED

    for word, kind, allowed in (
        (have, "--have", list(Have)),
        (flaw, "--flaw", list(Flaw)),
        (want, "--want", list(Want)),
        (verb, "--verb", list(VERBS)),
    ):
        if word is not None and word not in allowed:
            from labelwright import check  # imports NumPy, which listing methods should not cost

            check.one_of(kind, word, [w.value if isinstance(w, StrEnum) else w for w in allowed])
    rows = [*METHODS, *_third_party(), *PLANNED]
    return [
        e
        for e in rows
        if (have is None or have in e.has)
        and (flaw is None or flaw in e.flaw)
        and (want is None or want in e.gives)
        and (verb is None or e.verb == verb)
    ]


def _third_party() -> list[Entry]:
    """Entries of the entry-point group ``labelwright.methods``; each point loads a module whose classes are registered."""
    from importlib.metadata import entry_points

    points = entry_points(group="labelwright.methods")
    if not points:
        return []
    from labelwright._index import METHODS

    for point in points:
        point.load()
    own = {(e.verb, e.name) for e in METHODS}
    return [cls.entry for key, cls in REGISTERED.items() if key not in own and not cls.__module__.startswith("labelwright.")]


def find(verb: str, name: str) -> type[Method]:
    """The class of an available method.

    Raises
    ------
    InputError
        If the verb has no such method (the nearest name is suggested) or it is only planned.
    """
    from importlib import import_module

    from labelwright import check

    entries = {e.name: e for e in methods(verb=verb)}
    if name not in entries:
        raise InputError(
            f"{verb} has no method {name!r}.{check.nearest(name, entries)}", hint=f"See them with: labelwright methods --verb {verb}"
        )
    entry = entries[name]
    if not entry.target:
        raise InputError(f"{verb} {name} is planned, not yet available.", hint="See what is available with: labelwright methods")
    module, _, attribute = entry.target.partition(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]
