"""The frame of every page: templates with autoescape, formats of numbers, and a limit on the page's size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2

from labelwright import __version__

__all__ = ["LIMIT", "compact", "number", "percent", "render", "words"]

LIMIT = 3_000_000
"""Bytes a page may have; thumbnails are left out beyond `BUDGET`."""


@cache
def environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("labelwright.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    env.filters |= {"number": number, "percent": percent, "words": words, "compact": compact}
    return env


def render(template: str, **context: Any) -> str:
    """The page that `template` makes of `context`; all text in it is escaped."""
    return environment().get_template(template).render(version=__version__, **context)


def number(value: Any, digits: int = 3) -> str:
    """A number as people read it: thousands separated, `digits` significant digits; a dash for what is unknown."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, int):
        return f"{value:,}"
    return (
        f"{value:,.{digits}g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )


def percent(value: Any, digits: int = 1) -> str:
    """A share as percentage; below the last digit ``< 0.1 %``."""
    if value is None or not math.isfinite(value):
        return "–"
    smallest = 10.0**-digits
    if 0 < value * 100 < smallest:
        return f"< {smallest:g} %"
    return f"{value * 100:.{digits}f} %"


def words(name: str) -> str:
    """``near_duplicate`` as ``near duplicate``."""
    return str(name).replace("_", " ").replace("-", " ")


def compact(value: Any, limit: int = 160) -> str:
    """Any plain value on one short line."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{words(k)}: {compact(v, 60)}" for k, v in value.items())
    elif isinstance(value, (list, tuple)):
        text = ", ".join(compact(v, 60) for v in value)
    elif isinstance(value, (int, float)):
        return number(value)
    else:
        text = "–" if value is None else " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
