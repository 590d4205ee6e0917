"""Two labels side by side, and rules a label must pass before data are used (for CI)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from labelwright import check as checks
from labelwright.audit.nutrition.alerts import SEVERITIES
from labelwright.audit.nutrition.label import Label
from labelwright.errors import InputError

__all__ = ["Check", "Difference", "check", "diff"]

RULES = (
    "max_missing_percent",
    "max_duplicate_rows",
    "min_rows",
    "max_rows",
    "columns",
    "require",
    "require_license",
    "require_definitions",
    "max_severity",
    "forbid_alerts",
    "max_alerts",
    "max_representation_gap",
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What changed from one label to another: rows of (module, column, item, before, after)."""

    rows: tuple[tuple[str, str, str, Any, Any], ...]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def to_frame(self) -> pl.DataFrame:
        """module, column, item, before, after; values as text."""
        names = ("module", "column", "item", "before", "after")
        columns = {n: [None if r[i] is None else str(r[i]) for r in self.rows] for i, n in enumerate(names)}
        return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))

    def to_markdown(self) -> str:
        """The differences as a table, or one sentence when there are none."""
        if not self.rows:
            return "The labels agree.\n"
        lines = ["| module | column | item | before | after |", "|---|---|---|---|---|"]
        for row in self.rows:
            cells = ("" if v is None else f"{v:.6g}" if isinstance(v, float) else str(v) for v in row)
            lines.append("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |")
        return "\n".join(lines) + "\n"


def _changes(module: str, column: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str, Any, Any]]:
    """Items of two mappings that differ, nested ones by dotted name."""
    out = []
    for key in sorted({*a, *b}):
        before, after = a.get(key), b.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            out += [(m, c, f"{key}.{item}", x, y) for m, c, item, x, y in _changes(module, column, before, after)]
        elif before != after:
            out.append((module, column, key, before, after))
    return out


def _statistics(label: Label) -> dict[str, dict[str, Any]]:
    groups = label.module("statistics").data.get("groups", {})
    return {row["name"]: {"scale": scale} | {k: v for k, v in row.items() if k != "name"} for scale, rows in groups.items() for row in rows}


def diff(label_a: Label, label_b: Label) -> Difference:
    """Changes from `label_a` to `label_b` in metadata, provenance, definitions, statistics, dependence probabilities, answers and alerts.

    Numbers are compared exactly: two labels of the same data, settings and seed have no difference.
    """
    rows: list[tuple[str, str, str, Any, Any]] = []
    for name in ("metadata", "provenance"):
        rows += _changes(name, "", label_a.module(name).data, label_b.module(name).data)
    before, after = ({v["name"]: v for v in lab.module("variables").data["variables"]} for lab in (label_a, label_b))
    for column in [*before, *(c for c in after if c not in before)]:
        if column not in after or column not in before:
            rows.append(
                ("variables", column, "column", "present" if column in before else "absent", "present" if column in after else "absent")
            )
        else:
            rows += _changes("variables", column, before[column], after[column])
    stats_a, stats_b = _statistics(label_a), _statistics(label_b)
    for column in stats_a:
        if column in stats_b:
            rows += _changes("statistics", column, stats_a[column], stats_b[column])
    rows += _dependence_changes(label_a, label_b)
    rows += _changes("dataset info", "", label_a.module("dataset info").data["answers"], label_b.module("dataset info").data["answers"])
    alerts_a, alerts_b = ({(a.code, a.columns): a.text for a in lab.alerts} for lab in (label_a, label_b))
    for key in sorted({*alerts_a, *alerts_b}):
        if (key in alerts_a) != (key in alerts_b):
            rows.append(("alerts", ", ".join(key[1][:3]), key[0], alerts_a.get(key), alerts_b.get(key)))
    return Difference(rows=tuple(rows))


def _dependence_changes(label_a: Label, label_b: Label) -> list[tuple[str, str, str, Any, Any]]:
    a, b = (lab.module("probabilistic model").data for lab in (label_a, label_b))
    if not a or not b:
        return []
    place_a, place_b = ({n: i for i, n in enumerate(d["columns"])} for d in (a, b))
    both = [n for n in place_a if n in place_b]
    out = []
    for i, x in enumerate(both):
        for y in both[i + 1 :]:
            before, after = a["dependence"][place_a[x]][place_a[y]], b["dependence"][place_b[x]][place_b[y]]
            if before != after:
                out.append(("probabilistic model", f"{x}, {y}", "dependence", before, after))
    return out


@dataclass(frozen=True, kw_only=True)
class Check:
    """Whether a label passes. `failures` say which rule, what was found and what was asked."""

    passed: bool
    failures: tuple[str, ...]
    checked: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.passed


def check(label: Label, rules: Mapping[str, Any]) -> Check:
    """Hold a label against rules.

    Parameters
    ----------
    rules
        Any of ``max_missing_percent`` (a number for every column, or column → number), ``max_duplicate_rows``, ``min_rows``,
        ``max_rows``, ``columns`` (exactly these), ``require`` (at least these), ``require_license``, ``require_definitions`` (bool),
        ``max_severity`` (no alert above it), ``forbid_alerts`` (codes), ``max_alerts``, ``max_representation_gap`` (percentage points).

    Raises
    ------
    InputError
        If a rule is unknown (the nearest is suggested), or the label lacks what a rule needs: a check that cannot be made is not passed.
    """
    failures: list[str] = []
    for rule, asked in rules.items():
        checks.known_word("rule", rule, RULES, place="the rules")
        failures += [f"{rule}: {text}" for text in _apply(label, rule, asked)]
    return Check(passed=not failures, failures=tuple(failures), checked=tuple(rules))


def _needs(label: Label, name: str, rule: str) -> Mapping[str, Any]:
    module = label.module(name)
    if module.status in ("off", "absent"):
        raise InputError(f"rule {rule!r} needs the module {name!r}, which is {module.status} in this label.")
    return module.data


def _apply(label: Label, rule: str, asked: Any) -> Sequence[str]:
    meta = label.module("metadata").data
    names = [v["name"] for v in label.module("variables").data["variables"]]
    if rule == "max_missing_percent":
        _needs(label, "statistics", rule)
        shares = {n: float(row["missing_percent"]) for n, row in _statistics(label).items()}
        limits = (
            {checks.known_word("column", c, names, place="the label"): v for c, v in asked.items()} if isinstance(asked, Mapping) else None
        )
        limits = limits if limits is not None else dict.fromkeys(names, asked)
        return [f"{n} has {shares[n]:.2f}% missing, at most {v:g}% allowed" for n, v in limits.items() if shares[n] > v]
    if rule == "max_duplicate_rows":
        found = meta["duplicate_rows"]
        if found is None:
            raise InputError("duplicates were not counted in this label: the stream was too long.")
        return [f"{found:,} duplicated rows, at most {asked:,} allowed"] if found > asked else []
    if rule in ("min_rows", "max_rows"):
        bad = meta["rows"] < asked if rule == "min_rows" else meta["rows"] > asked
        return [f"{meta['rows']:,} rows, asked for {'at least' if rule == 'min_rows' else 'at most'} {asked:,}"] if bad else []
    if rule in ("columns", "require"):
        absent = [c for c in asked if c not in names]
        extra = [c for c in names if c not in asked] if rule == "columns" else []
        return [f"absent: {', '.join(absent)}"] * bool(absent) + [f"unexpected: {', '.join(extra)}"] * bool(extra)
    if rule == "require_license":
        return ["no licence is stated"] if asked and meta["license"] in ("", "unknown") else []
    if rule == "require_definitions":
        without = [v["name"] for v in label.module("variables").data["variables"] if v["definition"] == "unknown"]
        return [f"no definition of {', '.join(without)}"] if asked and without else []
    if rule == "max_severity":
        limit = SEVERITIES.index(checks.one_of("max_severity", asked, SEVERITIES))
        return [f"{a.severity} alert {a.code}: {a.text}" for a in label.alerts if SEVERITIES.index(a.severity) > limit]
    if rule == "forbid_alerts":
        codes = (asked,) if isinstance(asked, str) else asked
        return [f"{a.code}: {a.text}" for a in label.alerts if a.code in codes]
    if rule == "max_alerts":
        return [f"{len(label.alerts)} alerts, at most {asked} allowed"] if len(label.alerts) > asked else []
    groups = [(e["column"], g) for e in _needs(label, "ground truth correlations", rule)["representation"] for g in e["groups"]]
    return [f"{c} = {g['group']} is {100 * g['gap']:+.1f} points off" for c, g in groups if abs(100 * g["gap"]) > asked]
