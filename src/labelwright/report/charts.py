"""Plots as inline SVG: sizes in CSS pixels of a viewBox, colours from the page's CSS variables, so dark mode and print follow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

__all__ = ["heat_map", "histogram", "lines", "ticks"]

WIDTH, HEIGHT = 560, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 40
MOST_CLASSES = 20
"""Classes a heat map shows: those with most off its diagonal."""


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover [low, high], about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count - 1)
    size = 10 ** math.floor(math.log10(raw))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw * 0.999)
    first = math.ceil(low / step - 1e-9) * step
    return [round(first + k * step, 12) for k in range(int((high - first) / step + 1e-9) + 1)]


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def _svg(parts: list[str], label: str, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    body = "".join(parts)
    return Markup(
        f'<svg class="chart" style="max-width:{width}px" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{body}</svg>'
    )


def _axes(x: Sequence[tuple[float, str]], y: Sequence[tuple[float, str]], x_label: str, y_label: str) -> list[str]:
    """Grid lines and labels at given positions."""
    bottom = HEIGHT - BOTTOM
    out = [f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{p:.1f}" y2="{p:.1f}"/>' for p, _ in y]
    out += [f'<text class="tick" x="{LEFT - 6}" y="{p + 4:.1f}" text-anchor="end">{escape(t)}</text>' for p, t in y]
    out += [f'<text class="tick" x="{p:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(t)}</text>' for p, t in x]
    out.append(f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    if y_label:
        out.append(
            f'<text class="axis" transform="translate(11 {(TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
        )
    return out


def histogram(values: np.ndarray, flagged: np.ndarray, *, x_label: str, bins: int = 40) -> Markup:
    """Counts of scores in [0, 1], flagged ones on top. The scale is the square root, so that few stay visible beside many."""
    edges = np.linspace(0, 1, bins + 1)
    every = np.histogram(values, edges)[0]
    marked = np.histogram(values[flagged], edges)[0]
    top = max(1, int(every.max(initial=0)))
    bottom, span, height = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM - TOP

    def up(count: float) -> float:
        return math.sqrt(count / top) * height

    levels = sorted({0, *(round(top * f) for f in (0.05, 0.25, 0.55, 1.0))})
    parts = _axes(
        [(LEFT + span * t, f"{t:g}") for t in (0, 0.25, 0.5, 0.75, 1)], [(bottom - up(c), _text(c)) for c in levels], x_label, "examples"
    )
    wide = span / bins
    for k in range(bins):
        x = LEFT + k * wide
        rest, hit = int(every[k] - marked[k]), int(marked[k])
        whole, base = up(every[k]), up(rest)
        title = f"<title>{edges[k]:.3g} to {edges[k + 1]:.3g}: {rest + hit:,} examples, {hit:,} flagged</title>"
        if rest:
            parts.append(
                f'<rect class="bar" x="{x + 0.5:.1f}" y="{bottom - base:.1f}" width="{wide - 1:.1f}" height="{base:.1f}">{title}</rect>'
            )
        if hit:
            parts.append(
                f'<rect class="bar hot" x="{x + 0.5:.1f}" y="{bottom - whole:.1f}" width="{wide - 1:.1f}" height="{whole - base:.1f}">{title}</rect>'
            )
    return _svg(parts, f"Histogram of {x_label}: {int(flagged.sum())} of {len(values)} flagged")


def heat_map(matrix: np.ndarray, names: Sequence[str], *, row_label: str, column_label: str, as_percent: bool = True) -> Markup:
    """A square matrix with a row a given class and a column a likely true one; the diagonal is shown pale, so that errors stand out."""
    keep = np.arange(len(names))
    if len(names) > MOST_CLASSES:
        off = matrix - np.diag(np.diag(matrix))
        keep = np.sort(np.argsort(-(off.sum(0) + off.sum(1)), kind="stable")[:MOST_CLASSES])
    part = np.asarray(matrix, dtype=np.float64)[np.ix_(keep, keep)]
    shown = [str(names[k]) for k in keep.tolist()]
    longest = max((len(n) for n in shown), default=1)
    cell = 34 if len(shown) <= 12 else 26
    margin = min(150, 20 + 6.2 * min(longest, 18))
    size = len(shown) * cell
    slanted = longest > 3
    low = margin if slanted else 20
    width, height = int(margin + size + 30), int(size + low + 34)
    off = part - np.diag(np.diag(part))
    top = max(float(off.max(initial=0)), 1e-12)
    out = []
    for i, name in enumerate(shown):
        short = escape(name if len(name) <= 18 else name[:17] + "…")
        y = 24 + i * cell
        out.append(f'<text class="tick" x="{margin - 5:.0f}" y="{y + cell / 2 + 4:.0f}" text-anchor="end">{short}</text>')
        x = margin + i * cell + cell / 2
        if slanted:
            out.append(
                f'<text class="tick" transform="translate({x + 4:.0f} {24 + size + 8:.0f}) rotate(-55)" text-anchor="end">{short}</text>'
            )
        else:
            out.append(f'<text class="tick" x="{x:.0f}" y="{24 + size + 15:.0f}" text-anchor="middle">{short}</text>')
        for j in range(len(shown)):
            value = part[i, j]
            share = 1.0 if i == j else value / top
            text = "" if value <= 0 else (f"{value * 100:.0f}" if as_percent else _text(value))
            if text == "0":
                text = "·"
            tone = "same" if i == j else "hot"
            opacity = min(0.16, value) if i == j else (0.06 + 0.94 * share if value > 0 else 0)
            dark = " strong" if i != j and share > 0.55 else ""
            tip = (
                f"given {escape(name)}, likely {escape(shown[j])}: {value:.1%}"
                if as_percent
                else f"given {escape(name)}, likely {escape(shown[j])}: {_text(value)}"
            )
            out.append(
                f'<g><title>{tip}</title><rect class="cell {tone}" x="{margin + j * cell:.0f}" y="{y}" width="{cell - 2}" height="{cell - 2}" '
                f'rx="3" style="fill-opacity:{opacity:.3f}"/><text class="cellText{dark}" x="{margin + j * cell + cell / 2 - 1:.0f}" '
                f'y="{y + cell / 2 + 3:.0f}" text-anchor="middle">{text}</text></g>'
            )
    out.append(
        f'<text class="axis" x="{margin:.0f}" y="14">{escape(row_label)} (rows) → {escape(column_label)} (columns){", %" if as_percent else ""}</text>'
    )
    return _svg(out, f"{row_label} against {column_label}", max(width, 440), height)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str, y_label: str = "") -> Markup:
    """Curves over a common axis, each with its name at the end; up to four."""
    points = [p for curve in series.values() for p in curve if math.isfinite(p[1])]
    if not points:
        return Markup("")
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    left, right = min(xs), max(max(xs), min(xs) + 1)
    low, high = min(ys), max(ys)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    marks = ticks(low, high, 7)
    low, high = min([low, *marks]), max([high, *marks])
    bottom, span, height = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM - TOP

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (x - left) / (right - left) * span, bottom - (y - low) / (high - low) * height

    across = [t for t in ticks(left, right, 7) if t == int(t)]
    parts = _axes([(at(t, low)[0], _text(t)) for t in across], [(at(left, t)[1], _text(t)) for t in marks], x_label, y_label)
    for k, (name, curve) in enumerate(series.items()):
        path = " ".join(
            f"{'M' if i == 0 else 'L'}{at(x, y)[0]:.1f},{at(x, y)[1]:.1f}"
            for i, (x, y) in enumerate(p for p in curve if math.isfinite(p[1]))
        )
        parts.append(f'<path class="line s{k % 4}" d="{path}"><title>{escape(name)}</title></path>')
        if len(curve) == 1:
            x, y = at(*curve[0])
            parts.append(f'<circle class="dot s{k % 4}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    return _svg(parts, f"{', '.join(series)} by {x_label}")
