"""Steps chained into one output folder and one report: demo, advise, run, and the single step they are made of."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Step": "steps",
    "advise": "advice",
    "demo": "demonstration",
    "rerun": "repeating",
    "run": "chain",
}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"labelwright.recipes.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
