"""The registry as text."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from labelwright.errors import InputError
from labelwright.registry import Entry, methods

__all__ = ["citations", "table"]

NARROW = 60


def table(entries: Sequence[Entry]) -> str:
    """One line a method: verb, name, state, what it takes, mends and gives; fits the terminal."""
    if not entries:
        return "No method fits. Fewer conditions show more: labelwright methods"
    width = max(NARROW, shutil.get_terminal_size((120, 24)).columns)
    head = ("verb", "name", "state", "has", "flaw", "gives")
    rows = [(e.verb, e.name, e.state, " ".join(e.has), " ".join(e.flaw), " ".join(e.gives)) for e in entries]
    sizes = [max(len(r[j]) for r in (head, *rows)) for j in range(len(head))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip()[:width] for row in (head, *rows)]
    lines.insert(1, "  ".join("-" * size for size in sizes)[:width])
    available = sum(bool(e.target) for e in entries)
    return "\n".join([*lines, "", f"{len(entries)} methods, {available} available. How to use one: labelwright VERB NAME --help"])


def citations(name: str) -> list[Entry]:
    """Entries called `name`, under whatever verb; ``verb/name`` picks one.

    Raises
    ------
    InputError
        If there is none; the nearest is suggested.
    """
    verb, _, word = name.rpartition("/")
    every = methods()
    found = [e for e in every if e.name == word and verb in ("", e.verb)]
    if not found:
        from labelwright import check

        raise InputError(
            f"There is no method {name!r}.{check.nearest(word, (e.name for e in every))}", hint="See them with: labelwright methods"
        )
    return found
