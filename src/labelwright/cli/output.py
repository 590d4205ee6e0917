"""What commands print: a summary for people, or one JSON value, on standard output."""

from __future__ import annotations

import json as _json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelwright.recipes.perform import Outcome

__all__ = ["bars", "emit", "emit_json", "emit_lines"]

EXCEEDED = 1


def bars(quiet: bool) -> bool:
    """Whether to show progress: not when asked to be quiet, and not into a file, where a bar is noise."""
    return not quiet and sys.stderr.isatty()


def emit_json(value: Any) -> None:
    """One JSON value."""
    from labelwright.results import plain

    sys.stdout.write(_json.dumps(plain(value), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def emit_lines(lines: list[str] | tuple[str, ...]) -> None:
    """Lines of text."""
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def emit(outcome: Outcome, *, json: bool, quiet: bool) -> int:
    """The outcome of a step, and its exit code: 1 if a limit of ``--fail-on`` was exceeded."""
    if json:
        emit_json(outcome.summary)
    elif not quiet:
        emit_lines(outcome.lines)
    for line in outcome.exceeded:
        print(line, file=sys.stderr)
    return EXCEEDED if outcome.exceeded else 0
