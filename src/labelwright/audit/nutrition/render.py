"""The label as one self-contained page: no script, no request, light and dark, readable on a phone."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, Template

from labelwright.audit.nutrition import svg
from labelwright.audit.nutrition.questionnaire import SECTIONS, UNKNOWN

if TYPE_CHECKING:
    from labelwright.audit.nutrition.label import Label

__all__ = ["number", "share", "to_html", "value_text"]

MOST_ROWS = 400  # rows of a table that are shown; the JSON beside the page has all


def number(x: Any) -> str:
    """A number as people read it: thousands separated, four significant digits for what is no integer."""
    if x is None:
        return "–"
    if isinstance(x, bool):
        return "yes" if x else "no"
    if isinstance(x, int) or (isinstance(x, float) and x.is_integer() and abs(x) < 1e15):
        return f"{int(x):,}"
    if isinstance(x, float):
        return f"{x:,.2f}" if 0.1 <= abs(x) < 1e6 else f"{x:.3g}"
    return str(x)


def percent(x: Any) -> str:
    """Percent with two decimals, "0%" when none: the prototype's format."""
    return "–" if x is None else "0%" if x == 0 else f"{x:.2f}%"


def share(x: Any) -> str:
    """A share in [0, 1] as percent."""
    return "–" if x is None else percent(100 * x)


def value_text(end: Any) -> str:
    """Most or least frequent value as text: ``value (count)``, or the words that stand for none."""
    return f"{end['value']} ({end['count']:,})" if isinstance(end, dict) else str(end)


def _heading(name: str) -> str:
    return {"url": "URL", "sha256": "SHA-256"}.get(name, name.replace("_", " ").capitalize())


def _is_link(text: Any) -> bool:
    """Only web addresses become links; a javascript: address stays text."""
    return isinstance(text, str) and text.startswith(("https://", "http://"))


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "percent": percent, "share": share, "value_text": value_text, "heading": _heading}
    environment.tests["link"] = _is_link
    environment.globals |= {
        "histogram": svg.histogram,
        "heat_map": svg.heat_map,
        "joint": svg.joint,
        "bar": svg.bar,
        "sections": SECTIONS,
        "unknown": UNKNOWN,
        "most": MOST_ROWS,
    }
    text = resources.files("labelwright.audit.nutrition").joinpath("template.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)


def _correlation_tables(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Reference variables by measure as matrices, counts and fractions apart."""
    rows = (data.get("join") or {}).get("correlations", [])
    tables = []
    for kind in ("fraction", "count"):
        own = [r for r in rows if r["kind"] == kind]
        measures, variables = (list(dict.fromkeys(r[k] for r in own)) for k in ("measure", "variable"))
        if own:
            cells = {(r["variable"], r["measure"]): r["r"] for r in own}
            matrix = [[cells.get((v, m)) for m in measures] for v in variables]
            tables.append({"kind": kind, "measures": measures, "variables": variables, "matrix": matrix, "rows": own})
    return tables


def to_html(label: Label) -> str:
    """The page of `label`."""
    modules = {m.name: m for m in label.modules}
    text = _template().render(
        label=label,
        m=modules,
        overview=label.overview(),
        alerts=label.alerts,
        correlations=_correlation_tables(dict(modules["ground truth correlations"].data)),
        results={
            name: json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)
            for name, facts in modules["results"].data.get("results", {}).items()
        },
    )
    return text if text.endswith("\n") else text + "\n"
