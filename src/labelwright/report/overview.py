"""The page over several steps: a recipe's or the demonstration's, with tables of figures and links to each step's own page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labelwright.report.common import Commands
from labelwright.report.page import render

__all__ = ["Line", "StepRow", "Table", "overview_page"]


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table: the first column is text, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Line, ...]
    lead: str = ""
    note: str = ""


@dataclass(frozen=True)
class StepRow:
    """One step: its name, its outcome in words, its folder and a relative link to its page."""

    name: str
    text: str
    folder: str
    link: str = ""


def overview_page(
    *,
    title: str,
    verdict: str,
    kind: str,
    command: str,
    rows: Sequence[tuple[str, str]],
    tiles: Sequence[tuple[str, str, str]] = (),
    tables: Sequence[Table] = (),
    steps: Sequence[StepRow] = (),
    steps_lead: str = "",
    next: Commands = (),
) -> str:
    """HTML of an overview. `rows`: provenance as (name, text)."""
    return render(
        "overview.html.j2",
        title=title,
        kind=kind,
        verdict=verdict,
        tiles=tiles,
        tables=tables,
        steps=steps,
        steps_lead=steps_lead,
        next=next,
        provenance={"rows": list(rows), "command": command},
    )
