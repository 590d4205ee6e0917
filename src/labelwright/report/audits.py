"""The page of an audit: headline numbers, findings by issue, scores, noise matrix, the most suspicious examples, and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.labels import ClassLabels
from labelwright.report.charts import heat_map, histogram
from labelwright.report.common import Commands, data_name, examples_of, fact_rows, is_wide, provenance
from labelwright.report.examples import Showcase
from labelwright.report.judged import judge_section
from labelwright.report.page import compact, render, words

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.results import Audit

__all__ = ["MEANING", "audit_page"]

SUSPECTS, SAMPLES, MORE = 36, 8, 200
"""Cards of the most suspicious labels; cards an other issue; rows in the list that follows the cards."""
MEANING = {
    "label_error": "The given label contradicts what a model that never saw it predicts.",
    "judge_disagreement": "Judges who did not see the label prefer another class.",
    "exact_duplicate": "The same content occurs more than once.",
    "near_duplicate": "Almost the same content occurs more than once.",
    "split_leak": "The same or almost the same content is in more than one split.",
    "outlier": "Far from its nearest neighbours, against how far neighbours usually are.",
    "class_imbalance": "Belongs to a class with far fewer examples than the average class.",
    "dark": "Even its brightest parts are dark.",
    "blank": "Nearly one colour.",
    "blurred": "No fine structure.",
    "odd_aspect": "Of another shape than the other images.",
    "missing_values": "Many of its columns are empty.",
}
LABEL = "label_error"
JUDGES = "judge-ensemble"
OWN_SECTION = frozenset(
    {
        "noise_rate",
        "given_if_true",
        "true_if_given",
        "classes",
        "confused_pairs",
        "probabilities",
        "checked",
        "n",
        "flagged",
        "label_error",
        "label_errors",
        "overlapping_classes",
        "groups",
        "skipped",
        "columns",
        "judges",
        "judge_seconds",
    }
)


def audit_page(audit: Audit, *, command: str, data: Dataset | None = None, next: Commands = ()) -> str:
    """HTML of an audit; `data` for thumbnails, excerpts and rows, `command` repeats the run, `next` are commands that follow."""
    counts = dict.fromkeys(audit.facts.get("checked", ()), 0) | audit.counts()
    n = len(data) if data is not None else int(audit.facts.get("n", 0))
    about = label_facts(audit.facts)
    showcase = Showcase(data)
    labels = audit.findings.filter(audit.findings.get_column("issue") == LABEL)
    flagged = int(counts.get(LABEL, 0))
    return render(
        "audit.html.j2",
        title=data_name(data),
        kind="audit",
        n=n,
        looked=LABEL in counts,
        flagged=flagged,
        noise_rate=about.get("noise_rate"),
        issues=_issue_rows(counts, n),
        others=sum(k for issue, k in counts.items() if issue != LABEL),
        other_kinds=sum(1 for issue, k in counts.items() if issue != LABEL and k),
        source=_source(about, audit),
        declared="declared" in str(about.get("probabilities", "")),
        scores=_scores(labels),
        matrix=_matrix(about, labels, data),
        pairs=_pairs(about),
        overlap=_dicts(audit.facts.get("overlapping_classes"), ("a", "b", "overlap", "examples")),
        suspects=examples_of(_worst(labels, SUSPECTS), showcase),
        more=_worst(labels, SUSPECTS + MORE)[SUSPECTS:],
        wide=is_wide(data),
        judges=judge_section(audit.facts),
        modelled=LABEL in counts and audit.provenance.method != JUDGES,
        sections=_sections(audit, counts, showcase),
        classes=_class_rows(data, labels),
        groups=_groups(audit.facts.get("groups")),
        skipped=_skipped(audit.facts.get("skipped")),
        facts=fact_rows(audit.facts, skip=OWN_SECTION),
        next=next,
        provenance=provenance(audit, data, command=command),
    )


def label_facts(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts about label errors, whether they are an audit's own or a part of a whole audit's."""
    for key in (LABEL, "label_errors"):
        if isinstance(facts.get(key), Mapping):
            return {k: v for k, v in facts.items() if k == "probabilities"} | dict(facts[key])
    return facts


def _issue_rows(counts: Mapping[str, int], n: int) -> list[dict[str, Any]]:
    top = max([*counts.values(), 1])
    rows = sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))
    return [
        {
            "name": words(k),
            "meaning": MEANING.get(k, ""),
            "flagged": v,
            "share": v / n if n else 0.0,
            "width": round(100 * v / top, 1),
            "anchor": k,
        }
        for k, v in rows
    ]


def _source(about: Mapping[str, Any], audit: Audit) -> str:
    return str(about.get("probabilities") or audit.facts.get("probabilities") or "")


def _worst(labels: Any, count: int) -> list[dict[str, Any]]:
    flagged = labels.filter(labels.get_column("flagged")).sort("score", descending=True, maintain_order=True)
    return flagged.head(count).to_dicts()  # type: ignore[no-any-return]


def _scores(labels: Any) -> Any:
    if not labels.height:
        return None
    return histogram(
        labels.get_column("score").to_numpy(), labels.get_column("flagged").to_numpy(), x_label="error score of the given label"
    )


def _matrix(about: Mapping[str, Any], labels: Any, data: Dataset | None) -> dict[str, Any] | None:
    """The estimated P(true | given), or where that is not stated, how many flagged labels of a class are suggested another."""
    if about.get("true_if_given") and about.get("classes"):
        values = np.asarray(about["true_if_given"], dtype=np.float64)
        svg = heat_map(values, about["classes"], row_label="given label", column_label="likely true label")
        return {"svg": svg, "note": "Estimated by confident learning: of 100 labels of a row, how many truly belong to the column."}
    if data is None or not isinstance(data.labels, ClassLabels):
        return None
    names = tuple(data.labels.names)
    place = {name: j for j, name in enumerate(names)}
    values = np.zeros((len(names), len(names)))
    for row in _worst(labels, labels.height):
        if row["given"] in place and row["suggested"] in place:
            values[place[row["given"]], place[row["suggested"]]] += 1
    if not values.any():
        return None
    svg = heat_map(values, names, row_label="given label", column_label="suggested label", as_percent=False)
    return {"svg": svg, "note": "Flagged examples by given and suggested label."}


def _pairs(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = about.get("confused_pairs") or []
    return [dict(r) for r in rows if isinstance(r, Mapping) and {"given", "true", "examples"} <= set(r)][:10]


def _dicts(value: Any, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    return [dict(r) for r in value if isinstance(r, Mapping) and set(keys) <= set(r)][:10] if isinstance(value, list) else []


def _sections(audit: Audit, counts: Mapping[str, int], showcase: Showcase) -> list[dict[str, Any]]:
    """One section an issue other than label errors that flagged something: what it means and its worst examples."""
    import polars as pl

    made = []
    for issue, count in sorted(counts.items(), key=lambda kv: -kv[1]):
        if issue == LABEL or not count:
            continue
        rows = audit.findings.filter((pl.col("issue") == issue) & pl.col("flagged")).sort("score", descending=True, maintain_order=True)
        own = audit.facts.get(issue)
        made.append(
            {
                "anchor": issue,
                "name": words(issue).capitalize(),
                "meaning": MEANING.get(issue, ""),
                "count": count,
                "examples": examples_of(rows.head(SAMPLES).to_dicts(), showcase),
                "facts": fact_rows(own) if isinstance(own, Mapping) else [],
            }
        )
    return made


def _class_rows(data: Dataset | None, labels: Any) -> list[dict[str, Any]]:
    if data is None or not isinstance(data.labels, ClassLabels):
        return []
    flagged = labels.filter(labels.get_column("flagged")).get_column("given").value_counts() if labels.height else None
    hits = dict(zip(*(flagged.get_column(c).to_list() for c in flagged.columns), strict=True)) if flagged is not None else {}
    counts = data.labels.counts()
    top = max(int(counts.max(initial=1)), 1)
    rows = [
        {
            "name": name,
            "count": int(c),
            "width": round(100 * int(c) / top, 1),
            "flagged": hits.get(name, 0),
            "share": hits.get(name, 0) / int(c) if c else None,
        }
        for name, c in zip(data.labels.names, counts, strict=True)
    ]
    return rows if len(rows) <= 40 else sorted(rows, key=lambda r: -r["flagged"])[:40]


def _groups(value: Any) -> list[dict[str, Any]]:
    """Label quality by group: one table a column."""
    if not isinstance(value, Mapping):
        return []
    return [{"name": str(k), "rows": [dict(r) for r in rows[:20]]} for k, rows in value.items() if isinstance(rows, list) and rows]


def _skipped(value: Any) -> list[tuple[str, str]]:
    """What could not be looked for, and why: never reported as nothing found."""
    if isinstance(value, Mapping):
        return [(words(k), compact(v)) for k, v in value.items()]
    return [(words(str(v)), "") for v in value] if isinstance(value, (list, tuple)) else []
