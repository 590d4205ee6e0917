"""Run one step into its output folder: load, call the method, write result, report and ``run.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.progress import shown
from labelwright.recipes.session import Session, read_run, session
from labelwright.recipes.steps import CORRECT, Step

if TYPE_CHECKING:
    from labelwright.registry import Method

__all__ = ["Outcome", "Written", "perform"]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a step left in the partial folder: its JSON `summary`, `lines` for people, figures for ``run.json``, limits `exceeded`."""

    summary: Mapping[str, Any]
    lines: tuple[str, ...] = ()
    figures: Mapping[str, Any] | None = None
    exceeded: tuple[str, ...] = ()
    status: str = "complete"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished step: its folder, the summary ``--json`` prints, lines for people, and limits of ``--fail-on`` that were exceeded."""

    folder: Path
    summary: Mapping[str, Any]
    lines: tuple[str, ...] = ()
    exceeded: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


Worker = Callable[[Session], Written]


def perform(step: Step, out: str | Path, *, show: bool = False) -> Outcome:
    """Run `step` into folder `out`; `show` progress bars on standard error.

    Raises
    ------
    LabelwrightError
        Whatever is wrong with input, folder, machine or training. No folder `out` appears then; ``out.partial``
        stays only where it can be resumed.
    """
    with session(out, step) as run, shown(show):
        written = worker_of(step)(run)
        figures = dict(written.summary if written.figures is None else written.figures)
        folder = run.finish(figures, status=written.status)
    lines = tuple(line.replace("{out}", str(folder)) for line in written.lines)
    return Outcome(folder=folder, summary=written.summary, lines=lines, exceeded=written.exceeded, figures=figures)


def perform_once(step: Step, out: Path) -> Outcome:
    """Like :func:`perform`, inside a longer run: a step that is complete from an earlier attempt is not repeated."""
    if (out / "run.json").exists():
        record = read_run(out)
        if Step.restore(record, out).stored(out) == step.stored(out):
            return Outcome(folder=out, summary=record["figures"], figures=record["figures"])
    return perform(step, out)


def worker_of(step: Step) -> Worker:
    """The function that does the work of a step, imported when needed."""
    if step.verb == "audit":
        from labelwright.recipes.auditing import audit

        return audit
    if (step.verb, step.method) == ("annotate", CORRECT):
        from labelwright.recipes.correcting import correct

        return correct
    if step.verb == "learn":
        from labelwright.recipes.learning import learn

        return learn
    if step.verb == "demo":
        from labelwright.recipes.demonstration import work

        return work
    if step.verb == "run":
        from labelwright.recipes.chain import work as chained

        return chained
    from labelwright.recipes.others import WORKERS

    return WORKERS[step.verb]


def method_of(step: Step) -> Method:
    """The configured method of a step."""
    from labelwright.registry import find

    return find(step.verb, step.method)(**step.method_fields())
