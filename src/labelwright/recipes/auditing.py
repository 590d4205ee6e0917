"""The work of ``audit``: probabilities from files where given, the auditor, limits, findings, summary and report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels
from labelwright.recipes.perform import Written, method_of
from labelwright.recipes.session import Session, write_json, writing
from labelwright.recipes.sources import load_data, signals_from
from labelwright.recipes.steps import WHOLE_AUDIT

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.recipes.steps import Step
    from labelwright.registry import Method
    from labelwright.results import Audit
    from labelwright.signals import Signals

LABELS_ONLY, NUTRITION = "label-errors", "nutrition-label"
HEADLINES = ("score", "groups", "collapsed", "warnings", "alerts")
"""Facts worth printing for an auditor that judges the dataset as a whole."""
FOLDS, LEAST_LABELLED = 5, 20
"""Of the cross-validation; below so many labelled rows the auditors say that nothing can be said."""

__all__ = ["audit", "parse_limits", "summary_of"]


def audit(run: Session) -> Written:
    """Audit the dataset of the step; see the command line's contract for the files and the summary."""
    from labelwright.training.fit import resolve_device

    step, method = run.step, method_of(run.step)
    limits = parse_limits(step.values["fail_on"])
    for issue in limits if issues_of(method) else ():
        check.known_word("--fail-on issue", issue, issues_of(method), place="what this audit looks for")
    resolve_device(step.values["device"])
    data, signals = signals_from(step, load_data(step))
    judged = "label_error" in issues_of(method)
    if judged and data.labels is None and "label_error" in limits:
        raise InputError("--fail-on label_error needs labels; none were found.", hint="Name the label column with --labels COLUMN.")
    if judged:
        check_classes(data, method)
    run.begin(data=data)
    modelled = judged and getattr(method, "needs_probs", True)
    if modelled and data.kind == "images" and (signals is None or signals.probs is None) and int(data.known.sum()) >= LEAST_LABELLED:
        signals = trained_signals(run, data, signals, folds=getattr(method, "folds", FOLDS))
    result: Audit = method.audit(data, signals=signals, seed=step.seed)  # type: ignore[attr-defined]
    summary = summary_of(result, len(data))
    exceeded = over(limits, summary)
    from labelwright.annotate.review import write_review

    with writing(run.partial):
        result.write(run.partial)
        write_json(run.partial / "summary.json", summary)
        write_pages(result, data, run, summary)
        if summary["issues"].get("label_error", {}).get("flagged") and not bare(data):
            (run.partial / "review.csv").unlink(missing_ok=True)  # of an attempt that stopped while writing
            write_review(result, data, run.partial / "review.csv")
        if "judges" in result.facts and not bare(data):
            ask_experts(result, data, run)
    lines = lines_of(result, summary)
    lines = (*lines[:-1], *lines_of_judges(result), lines[-1])
    if judged and data.labels is None:
        lines = (*lines, "No labels were found, so none were judged. Name their column with --labels COLUMN.")
    return Written(summary=summary, lines=lines, exceeded=exceeded, status=str(result.status))


def ask_experts(result: Audit, data: Dataset, run: Session) -> None:
    """``experts.csv``: what judges dispute and a random check of the rest, for experts to answer blindly."""
    import polars as pl

    from labelwright.audit.judge_ensemble.experts import blind_questions
    from labelwright.judges import write_questions

    issue = "judge_disagreement" if run.step.method == WHOLE_AUDIT else "label_error"
    disputed = result.findings.filter((pl.col("issue") == issue) & pl.col("suggested").is_not_null() & pl.col("given").is_not_null())
    wanted = [*disputed.get_column("id").to_list(), *result.facts["judges"]["random_check"]]
    ids, items = blind_questions(data, wanted, second=run.step.values.get("second"), seed=run.step.seed)
    (run.partial / "experts.csv").unlink(missing_ok=True)  # of an attempt that stopped while writing
    write_questions(run.partial / "experts.csv", ids, items, result.facts["judges"]["classes"])


def lines_of_judges(result: Audit) -> tuple[str, ...]:
    """What the judges answered and what it cost, for people; nothing where no judge was asked."""
    if "judges" not in result.facts:
        return ()
    section = result.facts["judges"]
    if section["stand_in"]:
        return (
            "No judges were named: a cross-validated model of the labels stands in for them. Name judges with --judges FILE or --votes FILE.",
        )
    members, cost = section["members"], section["cost"]
    answered = sum(m["answered"] for m in members)
    money = f", {cost['money']:.4g} money" if cost["money"] else ""
    spent = (
        f" {cost['calls']:,} calls{money}; {cost['without_call']:,} answers without a call."
        if cost["calls"] or cost["without_call"]
        else ""
    )
    lines = [f"Judges: {len(members)}; {answered:,} of {cost['judgements']:,} questions answered.{spent}"]
    reasons: dict[str, int] = {}
    for why, count in (pair for m in members for pair in m["reasons"].items()):
        reasons[why] = reasons.get(why, 0) + count
    lines += [f"  unknown: {count:,} {why}" for why, count in sorted(reasons.items(), key=lambda kv: -kv[1])[:3]]
    if cost["saved_judgements"]:
        lines.append(f"  the first judge settled the rest: {cost['saved_share']:.1%} of all questions were not asked")
    if section["scale"] != "nominal":
        lines.append(f"  order of the classes: {' < '.join(section['classes'])}")
    if not section["judged"]:
        lines.append("  No label was judged: nothing is known about any of them.")
    return tuple(lines)


def issues_of(method: Method) -> tuple[str, ...]:
    """What an auditor looks for, where that is known before it has run."""
    return tuple(getattr(method, "issues", ("label_error",) if method.entry.name == LABELS_ONLY else ()))


def bare(data: Dataset) -> bool:
    """Whether nothing but labels is known of the examples."""
    return isinstance(data.inputs, np.ndarray) and data.inputs.ndim == 2 and data.inputs.shape[1] == 0


def check_classes(data: Dataset, method: Method) -> None:
    """Refuse class labels that cannot be judged, before hours of cross-validation: one class only, classes without an example.

    (Without any labels the whole audit still makes its other checks.)
    """
    if not isinstance(data.labels, ClassLabels):
        return
    labels = data.class_labels()
    empty = [name for name, count in zip(labels.names, labels.counts(), strict=True) if count == 0]
    if empty and not getattr(method, "allow_empty", False):
        shown = ", ".join(repr(n) for n in empty[:8]) + (", …" if len(empty) > 8 else "")
        raise InputError(
            f"{len(empty)} of the {labels.num_classes} classes are empty: no example is labelled {shown}.",
            hint="Leave these classes (and their columns of probabilities) out, or accept them: labelwright audit label-errors --allow-empty.",
        )


def trained_signals(run: Session, data: Dataset, have: Signals | None, *, folds: int) -> Signals | None:
    """Cross-validated probabilities of images, made here so that ``--device`` holds and a run that stops resumes fold by fold."""
    from labelwright.signals import compute
    from labelwright.signals.models import signal_fit

    if not isinstance(data.labels, (ClassLabels, MultiLabels)):
        return have
    rows = int(data.known.sum()) * (folds - 1) // folds
    fit = replace(signal_fit(rows, side=max(data.inputs[0].shape[-2:])), device=run.step.values["device"], checkpoint=str(run.checkpoints))
    return compute(data, ("probs",), seed=run.step.seed, folds=folds, fit=fit, have=have)


def summary_of(result: Audit, n: int) -> dict[str, Any]:
    """``{"n", "issues": {issue: {"flagged", "share"}}}``; issues that were looked for and not found are there with 0."""
    counts = dict.fromkeys(result.facts.get("checked", ()), 0) | result.counts()
    return {"n": n, "issues": {issue: {"flagged": k, "share": round(k / n, 6) if n else 0.0} for issue, k in counts.items()}}


def parse_limits(words: tuple[str, ...]) -> dict[str, float]:
    """``ISSUE=RATE`` words as numbers in [0, 1].

    Raises
    ------
    InputError
        If a word has another form.
    """
    limits = {}
    for word in words:
        issue, equals, rate = word.partition("=")
        try:
            value = float(rate.rstrip("%")) / (100 if rate.endswith("%") else 1)
        except ValueError:
            value = -1.0
        if not equals or not issue or not 0 <= value <= 1:
            raise InputError(f"--fail-on {word}: write ISSUE=RATE with a rate in [0, 1].", hint="Example: --fail-on label_error=0.02")
        limits[issue.replace("-", "_")] = value
    return limits


def over(limits: Mapping[str, float], summary: Mapping[str, Any]) -> tuple[str, ...]:
    """A line for each limit that is exceeded.

    Raises
    ------
    InputError
        If the audit did not look for the issue.
    """
    lines = []
    for issue, rate in limits.items():
        check.known_word("--fail-on issue", issue, summary["issues"], place="what this audit looked for")
        flagged, n = summary["issues"][issue]["flagged"], summary["n"]
        if n and flagged / n > rate:
            lines.append(f"Limit exceeded: {issue} {flagged:,} of {n:,} ({flagged / n:.2%}) > {rate:.2%}.")
    return tuple(lines)


def lines_of(result: Audit, summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The summary for people, most frequent issue first."""
    n = summary["n"]
    if not summary["issues"]:
        from labelwright.report.common import fact_rows

        facts = fact_rows({k: v for k, v in result.facts.items() if k in HEADLINES})
        return (f"{n:,} examples audited:", *(f"  {name}: {text}" for name, text in facts), "Report: {out}/report.html")
    rows = sorted(summary["issues"].items(), key=lambda kv: -kv[1]["flagged"])
    found = [
        f"  {issue.replace('_', ' '):<24}{facts['flagged']:>9,}  {facts['flagged'] / max(n, 1):7.2%}"
        for issue, facts in rows
        if facts["flagged"]
    ]
    clean = [issue.replace("_", " ") for issue, facts in rows if not facts["flagged"]]
    head = f"{n:,} examples audited" + (":" if found else "; nothing was flagged.")
    lines = [head, *found]
    if clean and found:
        lines.append(f"  nothing found: {', '.join(clean)}")
    return (*lines, "Report: {out}/report.html")


def write_pages(result: Audit, data: Dataset, run: Session, summary: Mapping[str, Any]) -> None:
    """``report.html`` and ``croissant.json``; a nutrition label brings its own, and ``label.json`` and ``label.md`` besides."""
    from labelwright.report import audit_page, croissant, result_page

    command = run.step.command()
    if run.step.method == NUTRITION:
        from labelwright.audit.nutrition.label import Label

        label = Label.from_dict(result.facts["label"])
        page, record = label.to_html(), label.to_croissant()
        (run.partial / "label.json").write_text(label.to_json(), encoding="utf-8")
        (run.partial / "label.md").write_text(label.to_markdown(), encoding="utf-8")
    else:
        record = croissant(data, run.partial / "findings.parquet", summary)
        if run.step.method in (WHOLE_AUDIT, LABELS_ONLY) or "judges" in result.facts or result.findings.height:
            page = audit_page(result, data=data, command=command, next=next_steps(result, run))
        else:
            verdict = "; ".join(line.strip() for line in lines_of(result, summary)[1:-1]) + "."
            page = result_page(result, data=data, command=command, verdict=verdict, next=next_steps(result, run))
    (run.partial / "report.html").write_text(page, encoding="utf-8")
    write_json(run.partial / "croissant.json", record)


def next_steps(result: Audit, run: Session) -> tuple[tuple[str, str], ...]:
    """Commands that follow an audit."""
    folder, step = run.out.name, run.step
    if step.values["data"].endswith(".npy"):
        return (("Repeat the audit.", f"labelwright rerun {folder}"),)
    source = shlex.join([step.values["data"], *_reading(step)])
    rows = []
    if result.counts().get("label_error"):
        corrected = f"{folder}-corrected"
        rows += [
            (
                "Take the suggested labels (or --how drop, --how weight; with --review what a person decided).",
                f"labelwright annotate correct {source} --findings {folder} --out {corrected}",
            ),
            ("Train on the corrected data.", f"labelwright learn cross-entropy {corrected} --test TEST_DATA"),
            ("Or learn in spite of the wrong labels.", f"labelwright learn elr {source} --test TEST_DATA"),
        ]
    if result.counts().get("judge_disagreement"):
        command = (
            f"labelwright annotate correct {source} --findings {folder} --issue judge_disagreement --threshold 0.95 --out {folder}-judged"
        )
        rows.append(("Take what the judges say with a confidence of 0.95 or more.", command))
    if "judges" in result.facts and "rate" not in result.facts["judges"]:
        given = [n for n in ("judges", "judge_url", "judge_model", "second") if step.values.get(n)]
        flags = [w for n in given for w in ("--" + n.replace("_", "-"), str(step.values[n]))]
        own = step.command() if step.method != WHOLE_AUDIT else f"labelwright audit judge-ensemble {source} {shlex.join(flags)}"
        again = f"{own} --gold {folder}/experts.csv --out {folder}-measured"
        rows.append(("Let experts fill in experts.csv (column label), then measure precision and the error rate.", again))
    return (*rows, ("Repeat the audit and compare its figures.", f"labelwright rerun {folder}"))


def _reading(step: Step) -> list[str]:
    """The options that say how to read the dataset."""
    names = ("labels", "inputs", "ids", "split")
    return [w for n in names if step.values.get(n) is not None for w in (f"--{n}", str(step.values[n]))]
