"""Lazy exports of the verbs' packages, from the generated index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def exports(verb: str, **further: str) -> tuple[Callable[[str], object], list[str]]:
    """``__getattr__`` and ``__all__`` of a verb's package: its registered classes, and `further` names → module that holds them."""

    def table() -> Mapping[str, str]:
        from labelwright._index import METHODS

        return {e.title: e.target.partition(":")[0] for e in METHODS if e.verb == verb} | further

    def get(name: str) -> object:
        modules = table() if not name.startswith("__") else {}
        if name in modules:
            return getattr(import_module(modules[name]), name)
        raise AttributeError(f"module 'labelwright.{verb}' has no attribute {name!r}")

    return get, sorted(table())
