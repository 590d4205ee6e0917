"""Plots of a label as inline SVG that follows the page's light or dark colours. Every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

__all__ = ["bar", "heat_map", "histogram", "joint"]

LEVELS = 8  # shades of a joint histogram; one path a shade keeps the page small
CELLS = 25  # bins of a joint histogram that are drawn along an axis; neighbours are added up beyond
MOST_NAMES = 40  # columns of a heat map that are drawn


def _n(x: float) -> str:
    return f"{x:.1f}".rstrip("0").rstrip(".")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def histogram(hist: Mapping[str, Any], *, title: str, width: int = 260, height: int = 70) -> Markup:
    """Marginal histogram: a bar a bin or category, hatched where the count is suppressed; hovering names it."""
    counts = hist["counts"]
    if not counts:
        return Markup("")
    top = max((c for c in counts if c), default=1)
    step = width / len(counts)
    gap = 0 if hist["kind"] == "numbers" else min(2.0, step * 0.2)
    bars = []
    for k, (count, label) in enumerate(zip(counts, hist["labels"], strict=True)):
        tall = 3 if count is None else height * count / top
        name, shown = escape(label), "suppressed" if count is None else f"{count:,}"
        css = ' class="hidden"' if count is None else ""
        x, y, w = _n(k * step), _n(height - tall), _n(max(step - gap, 0.5))
        bars.append(f'<rect{css} x="{x}" y="{y}" width="{w}" height="{_n(tall)}"><title>{name}: {shown}</title></rect>')
    return Markup(
        f'<svg class="hist" role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}" preserveAspectRatio="none">{"".join(bars)}</svg>'
    )


def heat_map(names: Sequence[str], matrix: Sequence[Sequence[float | None]], *, title: str, columns: Sequence[str] | None = None) -> Markup:
    """Matrix of values in [-1, 1] by colour, negative ones in another; the columns carry the rows' numbers unless named."""
    shown, cell, top = list(names)[:MOST_NAMES], 18, 20
    left = 30 + 6 * max((min(len(n), 20) for n in shown), default=0)
    across = shown if columns is None else list(columns)[:MOST_NAMES]
    width, height = left + cell * len(across) + 6, top + cell * len(shown) + 6
    parts = []
    for i, name in enumerate(shown):
        number = f"{i + 1} " if columns is None else ""
        y = top + i * cell + 13
        parts.append(
            f'<text x="{left - 6}" y="{y}" text-anchor="end">{escape(number + _short(name, 20))}<title>{escape(name)}</title></text>'
        )
    for j, name in enumerate(across):
        x = left + j * cell + cell / 2
        text = str(j + 1)
        parts.append(f'<text x="{_n(x)}" y="14" text-anchor="middle">{text}<title>{escape(name)}</title></text>')
    for i, row_name in enumerate(shown):
        for j, column_name in enumerate(across):
            value = matrix[i][j]
            x, y = left + j * cell, top + i * cell
            told = "not defined" if value is None else f"{value:.3f}"
            css = "void" if value is None else "minus" if value < 0 else "plus"
            fill = "" if value is None else f' fill-opacity="{min(1.0, abs(value)):.2f}"'
            tip = f"<title>{escape(row_name)}, {escape(column_name)}: {told}</title>"
            parts.append(f'<rect class="{css}" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}"{fill}>{tip}</rect>')
    return Markup(
        f'<svg class="heat" role="img" aria-label="{escape(title)}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
    )


def _pooled(counts: Sequence[Sequence[int | None]], most: int) -> list[list[tuple[int, bool]]]:
    """Counts added up to at most `most` rows and columns; each cell with whether something in it is suppressed."""
    rows, columns = len(counts), len(counts[0]) if counts else 0
    by_row, by_column = math.ceil(rows / most) or 1, math.ceil(columns / most) or 1
    out = []
    for i in range(0, rows, by_row):
        line = []
        for j in range(0, columns, by_column):
            cells = [c for row in counts[i : i + by_row] for c in row[j : j + by_column]]
            line.append((sum(c or 0 for c in cells), any(c is None for c in cells)))
        out.append(line)
    return out


def joint(plot: Mapping[str, Any], *, size: int = 220) -> Markup:
    """Joint histogram as shaded cells, a upwards and b to the right; cells with suppressed counts are hatched when nothing else is in them."""
    pooled = _pooled(plot["counts"], CELLS)
    if not pooled or not pooled[0]:
        return Markup("")
    top = max((c for line in pooled for c, _ in line), default=0)
    w, h = size / len(pooled[0]), size / len(pooled)
    paths: dict[int, list[str]] = {}
    for i, line in enumerate(pooled):
        for j, (count, hidden) in enumerate(line):
            if not count and not hidden:
                continue
            level = math.ceil(LEVELS * math.sqrt(count / top)) if count else 0
            box = f"M{_n(j * w)} {_n(size - (i + 1) * h)}h{_n(w)}v{_n(h)}h-{_n(w)}z"
            paths.setdefault(level, []).append(box)
    drawn = []
    for shade, boxes in sorted(paths.items()):
        look = 'class="hidden"' if shade == 0 else f'class="plus" fill-opacity="{shade / LEVELS:.2f}"'
        drawn.append(f'<path {look} d="{"".join(boxes)}"/>')
    title = f"joint histogram of {plot['a']} and {plot['b']}"
    frame = f'<rect class="frame" x="0" y="0" width="{size}" height="{size}"/>'
    return Markup(f'<svg class="joint" role="img" aria-label="{escape(title)}" viewBox="0 0 {size} {size}">{frame}{"".join(drawn)}</svg>')


def bar(share: float | None, *, other: float | None = None) -> Markup:
    """A share in [0, 1] as a bar, a second one as a mark on it."""
    if share is None:
        return Markup('<span class="muted">suppressed</span>')
    mark = "" if other is None else f'<rect class="mark" x="{_n(100 * other)}" y="0" width="1.5" height="10"/>'
    return Markup(
        f'<svg class="bar" role="img" aria-label="{100 * share:.1f}%" viewBox="0 0 101.5 10" preserveAspectRatio="none">'
        f'<rect class="track" width="101.5" height="10"/><rect class="plus" y="1" width="{_n(100 * share)}" height="8"/>{mark}</svg>'
    )
