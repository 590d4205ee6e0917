"""Progress of long work: silent in the library, a bar on standard error when the caller shows one.

The command line wraps its work in :func:`shown`; everything below calls :func:`track` and never
prints itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = ["shown", "track"]

T = TypeVar("T")
_BARS: ContextVar[Any] = ContextVar("labelwright_progress", default=None)


@contextmanager
def shown(enabled: bool = True) -> Iterator[None]:
    """Show bars on standard error inside this block, if `enabled` and it is a terminal."""
    if not enabled:
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        token = _BARS.set(bars)
        try:
            yield
        finally:
            _BARS.reset(token)


def track(items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
    """Iterate over `items`, advancing a bar called `label` where bars are shown."""
    bars = _BARS.get()
    if bars is None:
        yield from items
        return
    size = len(items) if isinstance(items, Sized) else None
    task = bars.add_task(label, total=size if total is None else total)
    try:
        for item in items:
            yield item
            bars.advance(task)
    finally:
        bars.remove_task(task)
