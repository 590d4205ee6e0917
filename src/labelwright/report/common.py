"""What every page shares: provenance, facts as rows, rows of examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labelwright.report.examples import Showcase, Shown
from labelwright.report.page import compact, words

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.results import Result

__all__ = ["Commands", "Example", "data_name", "examples_of", "fact_rows", "provenance"]

Commands = tuple[tuple[str, str], ...]
"""(what for, command line)."""
WIDE_KINDS = ("texts", "table", "vectors")


@dataclass(frozen=True)
class Example:
    """One card of a gallery."""

    id: str
    score: float
    given: str | None
    suggested: str | None
    reason: str | None
    shown: Shown


def examples_of(rows: Iterable[Mapping[str, Any]], showcase: Showcase) -> list[Example]:
    """Cards for rows of findings."""
    return [
        Example(
            id=str(r["id"]),
            score=float(r["score"]),
            given=r.get("given"),
            suggested=r.get("suggested"),
            reason=None if r.get("reason") is None else compact(r["reason"], 170),
            shown=showcase(int(r["index"])),
        )
        for r in rows
    ]


def is_wide(data: Dataset | None) -> bool:
    """Whether examples need wide cards."""
    return data is None or data.kind in WIDE_KINDS


def data_name(data: Dataset | None) -> str:
    """What to call the dataset."""
    if data is None:
        return "dataset"
    return data.info.name or (data.info.source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if data.info.source else "dataset")


def fact_rows(facts: Mapping[str, Any], *, skip: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Plain facts as (name, text), long ones shortened."""
    left = set(skip)
    return [(words(k).capitalize(), compact(v, 220)) for k, v in facts.items() if k not in left and v not in (None, {}, [], "")]


def provenance(result: Result, data: Dataset | None, *, command: str) -> dict[str, Any]:
    """Rows about method, data and versions, and the command that repeats the run."""
    p = result.provenance
    fields = ", ".join(f"{k} = {compact(v, 40)}" for k, v in p.fields.items())
    rows = [("Method", f"{p.verb} {p.method}"), ("Settings", fields or "none"), ("Seed", str(p.seed))]
    if data is not None:
        rows.append(("Data", f"{data_name(data)}: {len(data):,} {data.kind}"))
        if data.info.license:
            rows.append(("Licence of the data", data.info.license))
    rows += [("Fingerprint", p.fingerprint or "–"), ("Versions", ", ".join(f"{k} {v}" for k, v in p.versions.items()))]
    return {"rows": rows, "command": command}
