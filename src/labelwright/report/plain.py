"""The page of any other result: its facts and the first rows of its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from labelwright.report.charts import lines
from labelwright.report.common import Commands, data_name, fact_rows, provenance
from labelwright.report.page import compact, number, render, words

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.results import Result

__all__ = ["result_page"]

ROWS, COLUMNS, TILES = 20, 8, 4


def result_page(result: Result, *, command: str, data: Dataset | None = None, verdict: str = "", next: Commands = ()) -> str:
    """HTML of a result of whatever kind."""
    facts = dict(result.facts)
    plain_numbers = [
        (words(k).capitalize(), number(v)) for k, v in facts.items() if isinstance(v, (int, float)) and not isinstance(v, bool)
    ]
    frame = result.to_frame()
    columns = frame.columns[:COLUMNS]
    title, plot = _plot(facts.get("plot"))
    return render(
        "plain.html.j2",
        title=f"{words(result.provenance.method).capitalize()}: {data_name(data)}",
        kind=result.kind,
        verdict=verdict or f"{frame.height:,} rows.",
        tiles=plain_numbers[:TILES],
        plot=plot,
        plot_title=title,
        facts=fact_rows(facts, skip=("plot",)),
        columns=columns if frame.height else [],
        rows=frame.select(columns).head(ROWS).rows() if frame.height else [],
        next=next,
        provenance=provenance(result, data, command=command),
    )


def _plot(value: Any) -> tuple[str, Markup | str]:
    """A curve from a fact ``{kind: curve, title, x, y (axis labels), points}``; nothing otherwise."""
    if not isinstance(value, Mapping) or value.get("kind") != "curve" or not value.get("points"):
        return "", ""
    curve = [(float(a), float(b)) for a, b in value["points"]]
    return compact(value.get("title", "Curve")), lines({"": curve}, x_label=str(value.get("x", "")), y_label=str(value.get("y", "")))
