"""The label as Markdown: for a repository's README or a code review."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from labelwright.audit.nutrition.questionnaire import SECTIONS
from labelwright.audit.nutrition.render import number, percent, share, value_text

if TYPE_CHECKING:
    from labelwright.audit.nutrition.label import Label, Module

__all__ = ["to_markdown"]

TOP_PAIRS = 20
SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"})


def _safe(value: Any) -> str:
    return str(value).replace("\n", " ").translate(SPECIAL)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    body = ["| " + " | ".join(_safe(c) for c in row) + " |" for row in rows]
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *body, ""] if body else []


def _statistics(data: Any) -> list[str]:
    lines = []
    for scale in ("ordinal", "nominal"):
        rows = data["groups"][scale]
        if rows:
            lines += [f"### {scale.capitalize()}", ""]
            lines += _table(
                ("variable", "count", "unique", "most frequent", "least frequent", "missing"),
                (
                    (
                        r["name"],
                        number(r["count"]),
                        ("" if r["exact"] else "≈ ") + number(r["unique"]) + (" including missing" if r["unique_includes_missing"] else ""),
                        value_text(r["most_frequent"]),
                        value_text(r["least_frequent"]),
                        percent(r["missing_percent"]),
                    )
                    for r in rows
                ),
            )
    for scale in ("continuous", "discrete"):
        rows = data["groups"][scale]
        if rows:
            lines += [f"### {scale.capitalize()}", ""]
            keys = ("count", "min", "median", "max", "mean", "sd")
            lines += _table(
                ("variable", *keys, "missing", "zeros"),
                ((r["name"], *(number(r[k]) for k in keys), percent(r["missing_percent"]), percent(r["zeros_percent"])) for r in rows),
            )
    return lines


def _pairs(data: Any) -> list[str]:
    names, v, i = data["columns"], data["dependence"]["cramers_v"], data["dependence"]["mutual_information"]
    pairs = [(names[a], names[b], v[a][b], i[a][b]) for a in range(len(names)) for b in range(a + 1, len(names)) if v[a][b] is not None]
    pairs.sort(key=lambda p: -p[2])
    rows = ((a, b, f"{x:.3f}", f"{y:.3f}") for a, b, x, y in pairs[:TOP_PAIRS])
    return _table(("a", "b", "Cramér's V (bias-corrected)", "mutual information, nats"), rows)


def _model(data: Any) -> list[str]:
    lines = [f"{data['back_end']} on {data['rows']:,} rows; {data['simulations']} draws for each condition.", ""]
    for c in data["conditions"]:
        lines += [f"### {_safe(c['target'])} given {_safe(c['given'])}", ""]
        rows = ((r["value"], x["value"], share(x["simulated"]), share(x["observed"])) for r in c["rows"] for x in r["cells"])
        lines += _table((_safe(c["given"]), _safe(c["target"]), "simulated", "observed"), rows)
    return lines


def _truth(data: Any) -> list[str]:
    lines = [data["caveat"], ""]
    if data["join"]:
        j = data["join"]
        lines += [f"{j['units_joined']} of {j['units']} units joined by {_safe(j['key'])}, {share(j['row_coverage'])} of the rows.", ""]
        for kind in ("fraction", "count"):
            own = [r for r in j["correlations"] if r["kind"] == kind and r["r"] is not None]
            table = (
                (r["measure"], r["variable"], f"{r['r']:.3f}", f"{r['low']:.3f} to {r['high']:.3f}", r["n"], f"{r['q']:.3g}") for r in own
            )
            lines += ([f"### Correlation with {kind}s", ""] if own else []) + _table(
                ("measure", "variable", "r", "95% interval", "n", "q"), table
            )
    for e in data["representation"]:
        lines += [f"### Representation: {_safe(e['column'])} (total variation {e['total_variation']:.3f})", ""]
        rows = ((g["group"], share(g["share"]), share(g["reference"]), f"{100 * g['gap']:+.1f}") for g in e["groups"])
        lines += _table(("group", "here", "reference", "gap, points"), rows)
    return lines


def _facts(data: Any, prefix: str = "") -> list[str]:
    """Nested plain values as a list of lines."""
    lines = []
    for key, value in sorted(data.items()):
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            lines += _facts(value, f"{name} ")
        else:
            shown = (
                ", ".join(_safe(v) for v in value)
                if isinstance(value, (list, tuple))
                else _safe(number(value) if isinstance(value, float) else value)
            )
            lines.append(f"- {_safe(name)}: {shown or 'unknown'}")
    return lines


def _info(data: Any) -> list[str]:
    lines = [f"{data['answered']} of {data['asked']} questions answered.", ""]
    for title, names in SECTIONS.items():
        lines += [f"### {title.capitalize()}", ""]
        for name in names:
            value = data["answers"][name]
            text = (
                "; ".join(u["use"] + ("" if u["intended"] else " (discouraged)") for u in value)
                if isinstance(value, (list, tuple))
                else value
            )
            lines.append(f"- {_safe(name.replace('_', ' '))}: {_safe(text or 'unknown')}")
        lines.append("")
    return lines


def _body(module: Module) -> list[str]:
    if module.status == "off":
        return ["Switched off in this label.", ""]
    if module.status == "absent":
        return ["Nothing was given for this module.", ""]
    data = module.data
    if module.name == "variables":
        rows = (
            (v["name"], v["definition"], v["dtype"], v["scale"], v["role"] or ("identifier" if v["identifier"] else ""))
            for v in data["variables"]
        )
        return _table(("variable", "definition", "type", "scale", "role"), rows)
    makers = {
        "statistics": _statistics,
        "pair plots": _pairs,
        "probabilistic model": _model,
        "ground truth correlations": _truth,
        "dataset info": _info,
    }
    return makers[module.name](data) if module.name in makers else [*_facts(data), ""]


def to_markdown(label: Label) -> str:
    """The text of `label`: facts, alerts and all modules."""
    o = label.overview()
    lines = [f"# {_safe(label.name)}: dataset nutrition label", ""]
    lines += [
        f"{o['rows']:,} rows, {o['columns']:,} columns, {share(o['missing_share'])} of all cells missing, licence {_safe(o['license'])}.",
        "",
        "## Alerts",
        "",
    ]
    lines += [f"- **{a.severity}** {_safe(a.text)} {_safe(a.mitigation)}".rstrip() for a in label.alerts] or ["None."]
    for module in label.modules:
        lines += ["", f"## {module.name.capitalize()}", "", *_body(module)]
    return "\n".join(lines).rstrip() + "\n"
