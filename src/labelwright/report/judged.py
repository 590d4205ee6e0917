"""The section of a report about a panel of judges: members and cost, disagreement by confidence, error rates, agreement, scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelwright.report.page import number, percent

__all__ = ["judge_section"]

MOST_MATRIX = 16
"""Raters shown as a matrix; of more, the figures of the groups say enough."""


def judge_section(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the template shows, or None where no judge was asked. Text only: numbers are formatted here."""
    section = facts.get("judges")
    if not isinstance(section, Mapping):
        return None
    seconds = facts.get("judge_seconds", {})
    return {
        "tiles": _tiles(section),
        "members": [_member(m, seconds.get(m["name"])) for m in section["members"]],
        "money": any(m["cost"] for m in section["members"]),
        "cost": _cost(section["cost"]),
        "stand_in": section.get("stand_in", False),
        "theta": number(section["theta"]),
        "order": " < ".join(section["classes"]) if section["scale"] != "nominal" else "",
        "bins": [_bin(b) for b in section["bins"] if b["disagree"]],
        "ordinal": any("closer" in b for b in section["bins"]),
        "rate": _rate(section.get("rate")),
        "detection": section.get("detection"),
        "groups": [(name, g) for name, g in section["agreement"]["groups"].items() if g["raters"] > 1],
        "level": section["agreement"]["level"],
        "matrix": _matrix(section["agreement"]),
        "balance": section["balance"] if any(r["given"] != r["filtered"] for r in section["balance"]) else [],
        "curve": section.get("curve") or [],
        "models": section.get("models") or [],
    }


def interval(measure: Mapping[str, Any] | None) -> str:
    """``12.0 % [8.1 %, 17.0 %]``; the share alone where it is exact or has no interval, a dash where nothing is known."""
    if not measure or measure.get("value") is None:
        return "–"
    if measure.get("low") is None or measure["low"] == measure["high"]:
        return percent(measure["value"])
    return f"{percent(measure['value'])} [{percent(measure['low'])}, {percent(measure['high'])}]"


def _tiles(s: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = [
        ("Judges", number(len(s["members"])), f"{number(s['judged'])} labels judged, {number(s['abstained'])} answered by nobody"),
        ("Disputed", number(s["disagree"]), interval(s["disagree_rate"])),
    ]
    if s.get("rate"):
        rows.append(("Error rate", percent(s["rate"]["estimate"]["value"]), interval(s["rate"]["estimate"])))
    return rows


def _member(m: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
    reasons = "; ".join(f"{number(k)} {why}" for why, k in list(m["reasons"].items())[:3])
    return dict(m) | {"seconds": seconds, "why": reasons}


def _cost(cost: Mapping[str, Any]) -> str:
    parts = [
        f"{number(cost['judgements'])} questions",
        f"{number(cost['calls'])} calls",
        f"{number(cost['without_call'])} answers without a call",
    ]
    if any(cost["tokens"]):
        parts.append(f"{number(cost['tokens'][0])} tokens in, {number(cost['tokens'][1])} out")
    if cost["money"]:
        parts.append(f"{number(float(cost['money']))} money")
    if cost["saved_judgements"]:
        parts.append(f"{percent(cost['saved_share'])} of all questions not asked, since the first judge was sure")
    return ", ".join(parts) + "."


def _bin(b: Mapping[str, Any]) -> dict[str, Any]:
    row = {"range": f"{number(b['low'])} to {number(b['high'])}", "disagree": b["disagree"], "reviewed": b["reviewed"]}
    closer = b.get("closer")
    return row | {
        "precision": interval(b["precision"]),
        "closer": closer and (interval(closer["ensemble"]), percent(closer["given"]), percent(closer["tie"])),
    }


def _rate(rate: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not rate:
        return None
    return dict(rate) | {"confirmed": interval(rate["confirmed"]), "estimate": interval(rate["estimate"])}


def _matrix(agreement: Mapping[str, Any]) -> dict[str, Any] | None:
    names = agreement.get("names")
    if not names or not 2 < len(names) <= MOST_MATRIX:
        return None
    return {"names": names, "pairwise": agreement["pairwise"], "f1": agreement["f1"]}
