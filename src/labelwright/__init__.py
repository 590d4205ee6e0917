"""labelwright: state what labels you have and what you want; it takes you there.

Seven verbs (``audit``, ``annotate``, ``select``, ``condense``, ``learn``, ``forget``, ``certify``), one
vocabulary of labels (``labelwright.labels``), one dataset (``labelwright.data``). Importing this package
imports nothing heavy; submodules load on first use.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_MODULES = frozenset(
    (
        "annotate",
        "audit",
        "certify",
        "check",
        "condense",
        "data",
        "errors",
        "forget",
        "labels",
        "learn",
        "nn",
        "recipes",
        "registry",
        "report",
        "results",
        "select",
        "signals",
        "sklearn",
        "stats",
        "training",
    )
)

__all__ = ["__version__", *sorted(_MODULES)]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"labelwright.{name}")
    raise AttributeError(f"module 'labelwright' has no attribute {name!r}")
