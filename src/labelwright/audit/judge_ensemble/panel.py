"""Who judges, and what they said: judges that are asked now, and files of probabilities or votes, as one array."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check, labels as label_kinds
from labelwright.audit.judge_ensemble.ensemble import TIE, combine, disagreements
from labelwright.data.formats.matrix import read_matrix, rows_of
from labelwright.errors import InputError
from labelwright.judges.base import items_for
from labelwright.labels import ClassLabels, Votes

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.judges.base import Judge, Verdicts

__all__ = ["Member", "as_member", "ask", "common_classes", "distinct", "from_file", "from_votes", "on_classes"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One judge and its verdicts: `probs` float64 (N, C), rows of NaN unknown; `asked` bool (N,); what it cost."""

    name: str
    probs: np.ndarray
    asked: np.ndarray
    reasons: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    cached: int = 0
    tokens: tuple[int, int] = (0, 0)
    cost: float = 0.0
    seconds: float = 0.0
    fingerprint: str = ""

    @property
    def known(self) -> np.ndarray:
        """bool (N,): where it said something."""
        return ~np.isnan(self.probs).any(1)

    def facts(self) -> dict[str, Any]:
        """Plain values for reports."""
        known = int(self.known.sum())
        return {
            "name": self.name,
            "asked": int(self.asked.sum()),
            "answered": known,
            "unknown": int(self.asked.sum()) - known,
            "reasons": self.reasons,
            "calls": self.calls,
            "cached": self.cached,
            "tokens": list(self.tokens),
            "cost": self.cost,
            "seconds": self.seconds,
            "fingerprint": self.fingerprint,
        }


def common_classes(judges: Sequence[Judge], labels: ClassLabels) -> tuple[str, ...]:
    """The classes of all judges, in the order of the first; looked at before anything is asked, since asking may cost money.

    Raises
    ------
    InputError
        If judges have different classes, or a label that occurs is none of theirs.
    """
    first = judges[0]
    for judge in judges[1:]:
        if set(judge.classes) != set(first.classes):
            odd = sorted(set(judge.classes) ^ set(first.classes))[0]
            raise InputError(
                f"Judges {first.name!r} and {judge.name!r} have different classes: {_list(first.classes)} and {_list(judge.classes)} "
                f"({odd!r} is in one of them only).",
                hint="All judges of a panel must choose among the same classes.",
            )
    _covers(first.classes, labels, f"judge {first.name!r}")
    return tuple(first.classes)


def _covers(classes: Sequence[str], labels: ClassLabels, place: str) -> None:
    """Refuse classes that lack a label of the data."""
    strange = [labels.names[j] for j in np.flatnonzero(labels.counts()).tolist() if labels.names[j] not in classes]
    if strange:
        row = int(np.argmax(labels.values == list(labels.names).index(strange[0])))
        raise InputError(
            f"label {strange[0]!r} (row {row}) is no class of {place}, which knows {_list(classes)}.{check.nearest(strange[0], classes)}",
            hint="Give judges the class names of the data (classes:), or name another label column with --labels.",
        )


def on_classes(labels: ClassLabels, classes: Sequence[str]) -> ClassLabels:
    """The same labels, numbered in the order of `classes`, which contain all that occur."""
    if tuple(labels.names) == tuple(classes):
        return labels
    place = {name: j for j, name in enumerate(classes)}
    table = np.array([*(place.get(name, -1) for name in labels.names), -1], dtype=np.int64)
    return ClassLabels(values=table[labels.values], names=tuple(classes))


def ask(judges: Sequence[Judge], data: Dataset, labels: ClassLabels, *, second: str | None, sure: float | None, gap: int) -> list[Member]:
    """Ask every judge about every example of `data`; `labels` are numbered by the judges' classes.

    With `sure`, the first judge is asked first, and the others only about examples on which it knows nothing, disagrees with the given
    label, is less confident than `sure`, or there is no label.
    """
    rows = np.ones(len(data), dtype=bool)
    members: list[Member] = []
    for judge in judges:
        members.append(_ask_one(judge, data, rows, labels.names, second))
        if sure is not None and len(members) == 1:
            rows = _unsettled(members[0].probs, labels.values, sure, gap)
    return members


def _unsettled(probs: np.ndarray, given: np.ndarray, sure: float, gap: int) -> np.ndarray:
    one = combine(probs[None])
    return (given < 0) | one.abstained | disagreements(one.probs, given, gap=gap) | (one.confidence < sure - TIE)


def _ask_one(judge: Judge, data: Dataset, rows: np.ndarray, classes: Sequence[str], second: str | None) -> Member:
    part = data if rows.all() else data.take(rows)
    start = time.perf_counter()
    said = judge.judge(items_for(judge, part, second=second))
    return as_member(said, rows, classes, seconds=time.perf_counter() - start, fingerprint=judge.fingerprint)


def as_member(said: Verdicts, rows: np.ndarray, classes: Sequence[str], *, seconds: float = 0.0, fingerprint: str = "") -> Member:
    """Verdicts about the examples `rows` bool (N,) as a member of the panel on all N."""
    said = said.aligned(classes)
    probs = np.full((len(rows), len(classes)), np.nan)
    probs[rows] = said.probs
    return Member(
        name=said.judge,
        probs=probs,
        asked=rows.copy(),
        reasons=said.reasons(),
        calls=said.calls,
        cached=said.cached,
        tokens=said.tokens,
        cost=said.cost,
        seconds=seconds,
        fingerprint=fingerprint,
    )


def distinct(members: Sequence[Member]) -> list[Member]:
    """The members with different names: repeated ones are numbered."""
    seen: dict[str, int] = {}
    made = []
    for member in members:
        seen[member.name] = seen.get(member.name, 0) + 1
        made.append(member if seen[member.name] == 1 else replace(member, name=f"{member.name} ({seen[member.name]})"))
    return made


def from_votes(votes: Votes, classes: Sequence[str]) -> list[Member]:
    """Annotators as judges that are certain of what they say."""
    place = {name: j for j, name in enumerate(classes)}
    for name in votes.names:
        check.known_word("class of the votes", name, place, place="the classes of the labels")
    table = np.array([*(place[name] for name in votes.names), -1], dtype=np.int64)
    made = []
    for r, name in enumerate(votes.annotators):
        said = table[votes.values[:, r]]
        probs = np.where((said >= 0)[:, None], np.eye(len(classes))[said], np.nan)
        made.append(Member(name=str(name), probs=probs, asked=np.ones(len(said), dtype=bool), reasons=_silent(said < 0)))
    return made


def _silent(unknown: np.ndarray) -> dict[str, int]:
    return {"no vote": int(unknown.sum())} if unknown.any() else {}


def from_file(path: str, data: Dataset, labels: ClassLabels) -> list[Member]:
    """Judges from a file: a label file with votes (``labels.parquet``: a judge an annotator), or a matrix of probabilities (one judge).

    Column j of a matrix is class j; a header of a CSV or an array ``classes`` of an archive names the columns instead. A row of NaN is unknown.

    Raises
    ------
    InputError
        If the file cannot be read, is about other examples, or its classes are others.
    """
    place = check.path_exists("votes", path)
    if place.suffix.lower() == ".parquet":
        votes = label_kinds.load(place)
        if not isinstance(votes, Votes):
            raise InputError(f"{path} holds {votes.kind}, not votes.")
        check.same_length(examples=data, votes=votes)
        return from_votes(votes, labels.names)
    return [
        Member(name=Path(path).stem, probs=probs, asked=np.ones(len(data), dtype=bool)) for probs in [probabilities(path, data, labels)]
    ]


def probabilities(path: str, data: Dataset, labels: ClassLabels, *, what: str = "votes") -> np.ndarray:
    """Probabilities (N, C) of the file an option `what` names, in the order of the examples and of the classes; rows of NaN are unknown."""
    matrix = read_matrix(path, what=what, n=len(data))
    names = matrix.names if matrix.names is not None else tuple(labels.names)
    width = matrix.values.shape[1]
    if width != len(labels.names) or len(names) != width:
        raise InputError(
            f"{path} has {width} columns, but there are {len(labels.names)} classes: {_list(labels.names)}.",
            hint="Column j must be class j; a CSV header or an npz array 'classes' names the columns.",
        )
    for name in names:
        check.known_word(f"column of {path}", name, labels.names, place="the classes")
    probs = np.asarray(rows_of(matrix, data, path), dtype=np.float64)[:, [names.index(name) for name in labels.names]]
    blank = np.isnan(probs).all(1)
    check.probabilities(path, probs[~blank])
    probs[~blank] /= probs[~blank].sum(1, keepdims=True)
    return probs


def _list(words: Sequence[str]) -> str:
    return ", ".join(repr(w) for w in words[:8]) + (", …" if len(words) > 8 else "")
