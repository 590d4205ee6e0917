"""Answers on disk: what was asked once is not asked again, also after a kill.

One SQLite file (write-ahead log), to which answers are only added, each in a transaction of its own: a killed run loses
what was under way and nothing else, several processes may use the file at a time, and every answer keeps what its
probabilities were read from. Answers that failed for a passing reason are not stored.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import InputError, OutputError
from labelwright.files import plain, writing
from labelwright.judges.base import Answer, Judge, Takes, item_key

if TYPE_CHECKING:
    from labelwright.judges.budget import Budget

__all__ = ["Cached", "stored"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    judge TEXT NOT NULL, item TEXT NOT NULL,
    probs TEXT, reason TEXT NOT NULL, stated REAL, raw TEXT,
    calls INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost REAL NOT NULL,
    PRIMARY KEY (judge, item)
) WITHOUT ROWID
"""
APPLICATION = 0x6C777267
"""Written into the header of the file, so that no other program's database is taken for a cache."""
BUSY = 60.0
"""Seconds to wait for another process that is writing."""
ASK = 500
"""Items looked up by one query, below SQLite's bound on parameters of old builds (999)."""


@dataclass(frozen=True, kw_only=True)
class Cached(Judge):
    """A judge whose answers are kept in a file, and asked for once only.

    The file is found by the judge's fingerprint (model, revision, wording, decoding) and the item's content. Equal items
    within one call are asked once. A `budget` is for new answers; with a budget of zero only stored ones are used.

    Raises
    ------
    InputError
        When asked, if the file is no cache, or is damaged.
    OutputError
        When asked, if the disk does not take an answer.
    """

    inner: Judge
    """Who answers what is not stored."""
    path: Path
    """The file; made, with its folders, when it is first needed."""
    budget: Budget | None = None
    """For new answers, unless a call brings its own."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.inner.name

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.inner.classes

    @property
    def takes(self) -> Takes:  # type: ignore[override]
        return self.inner.takes

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    def answers(self, items: Sequence[Any], *, budget: Budget | None = None) -> Iterator[tuple[int, Answer]]:
        places: dict[str, list[int]] = {}
        for i, item in enumerate(items):
            places.setdefault(item_key(item), []).append(i)
        with closing(_open(self.path)) as db:
            for key, answer in _found(db, self.path, self.fingerprint, list(places), len(self.classes)):
                for i in places.pop(key):
                    yield i, answer
            keys = list(places)
            if not keys:
                return
            asked = [items[places[key][0]] for key in keys]
            for j, answer in self.inner.answers(asked, budget=self.budget if budget is None else budget):
                first, *others = places[keys[j]]
                if answer.lasting:
                    _store(db, self.path, self.fingerprint, keys[j], answer)
                yield first, answer
                for i in others:  # a failure was paid for once too, but is no answer that was found
                    yield i, replace(answer, cached=answer.lasting, calls=0, tokens=(0, 0), cost=0.0)


def stored(path: str | Path) -> dict[str, dict[str, float]]:
    """What a cache holds: for each judge's fingerprint its answers, how many are unknown, and the calls, tokens and money they took.

    Raises
    ------
    InputError
        If there is no such file, or it is no cache, or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no cache {path}.")
    query = "SELECT judge, COUNT(*), SUM(probs IS NULL), SUM(calls), SUM(tokens_in), SUM(tokens_out), SUM(cost) FROM answers GROUP BY judge"
    names = ("answers", "unknown", "calls", "tokens_in", "tokens_out", "cost")
    with closing(_open(path)) as db, _readable(path):
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in db.execute(query)}


def _open(path: Path) -> sqlite3.Connection:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        db = sqlite3.connect(path, timeout=BUSY, isolation_level=None)  # every statement its own transaction
    except sqlite3.Error as err:
        raise InputError(f"The cache {path} cannot be opened: {err}.", hint="Name another file.") from err
    try:
        mark = db.execute("PRAGMA application_id").fetchone()[0]
        if mark == 0 and not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(SCHEMA)
            db.execute(f"PRAGMA application_id={APPLICATION}")
        elif mark != APPLICATION and not _has_answers(db):
            raise InputError(f"{path} is a database, but no cache of judges.", hint="Name another file.")
        db.execute("PRAGMA synchronous=NORMAL")  # with the log, a kill loses nothing; a power cut may lose the last answers, never the file
    except sqlite3.Error as err:
        db.close()
        raise _unusable(path, err) from err
    except InputError:
        db.close()
        raise
    return db


def _unusable(path: Path, err: Exception) -> InputError:
    return InputError(f"The cache {path} cannot be used: {err}.", hint="Name another file, or remove this one.")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Damage that shows only when rows are read, in words."""
    try:
        yield
    except (sqlite3.Error, ValueError) as err:  # a damaged page, or a damaged answer in a sound one
        raise _unusable(path, err) from err


def _has_answers(db: sqlite3.Connection) -> bool:
    """Whether the table is there: another process may be between making it and marking the file."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone() is not None


def _found(db: sqlite3.Connection, path: Path, judge: str, keys: list[str], num_classes: int) -> Iterator[tuple[str, Answer]]:
    for start in range(0, len(keys), ASK):
        part = keys[start : start + ASK]
        marks = ",".join("?" * len(part))
        query = f"SELECT item, probs, reason, stated, raw FROM answers WHERE judge = ? AND item IN ({marks})"
        with _readable(path):
            found = [(key, _answer(*rest)) for key, *rest in db.execute(query, [judge, *part])]
        for key, answer in found:
            if answer.probs is None or answer.probs.shape == (num_classes,):  # else not what this judge could have said: ask again
                yield key, answer


def _answer(probs: str | None, reason: str, stated: float | None, raw: str | None) -> Answer:
    return Answer(
        probs=None if probs is None else np.array(json.loads(probs), dtype=np.float64),
        reason=reason,
        stated=float("nan") if stated is None else stated,
        raw=None if raw is None else json.loads(raw),
        cached=True,
    )


def _store(db: sqlite3.Connection, path: Path, judge: str, key: str, answer: Answer) -> None:
    row = (
        judge,
        key,
        None if answer.probs is None else json.dumps(answer.probs.tolist()),  # 17 digits: floats come back as they were
        answer.reason,
        None if np.isnan(answer.stated) else answer.stated,
        None if answer.raw is None else json.dumps(plain(answer.raw), ensure_ascii=True),
        answer.calls,
        *answer.tokens,
        answer.cost,
    )
    try:
        # whoever came first stays: answers are added, never changed
        db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    except sqlite3.Error as err:
        raise OutputError(f"The cache {path} takes no answer: {err}.", hint="Free some space, or name another file.") from err
