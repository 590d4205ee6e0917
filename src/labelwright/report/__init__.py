"""Pages from results: one self-contained HTML file each, light and dark, readable offline and on a phone."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "audit_page": "audits",
    "croissant": "jsonld",
    "learned_page": "learned",
    "overview_page": "overview",
    "result_page": "plain",
}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module = import_module(f"labelwright.report.{_LAZY[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
