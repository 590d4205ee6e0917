"""The work of ``annotate correct``: apply findings and a person's review, write a dataset folder that ``learn`` reads."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from labelwright import check
from labelwright.errors import InputError
from labelwright.recipes.perform import Written
from labelwright.recipes.session import Session, writing
from labelwright.recipes.sources import load_data

__all__ = ["correct"]

ANNOTATION = "annotation"
"""Subfolder with the annotation of every original row; the folder itself is the dataset."""


def correct(run: Session) -> Written:
    """Correct the dataset of the step. Weights, where asked for, are in its column ``weight``."""
    from labelwright.annotate.correct import correct as apply
    from labelwright.data.store import write
    from labelwright.report import result_page
    from labelwright.results import Audit

    step = run.step
    folder = check.path_exists("--findings", step.values["findings"])
    if not (Path(folder) / "audit.json").exists():
        raise InputError(f"--findings {folder} is no folder written by labelwright audit.", hint="Run labelwright audit DATA first.")
    data, audit = load_data(step), Audit.load(folder)
    corrected, annotation = apply(
        data,
        audit,
        how=step.values["how"],
        threshold=step.values["threshold"],
        review=step.values["review"],
        held_out=step.values["held_out"],
        issue=step.values["issue"],
    )
    run.begin(data=data)
    counts = dict(annotation.facts)
    summary: dict[str, Any] = {"how": step.values["how"], "n": len(data), "kept": len(corrected), **counts}
    words = f"{counts['relabelled']:,} labels changed, {counts['dropped']:,} examples dropped, {counts['weighted']:,} weighted down; {len(corrected):,} of {len(data):,} kept"
    next_steps = (("Train on the corrected data.", f"labelwright learn cross-entropy {shlex.quote(run.out.name)} --test TEST_DATA"),)
    with writing(run.partial):
        write(corrected, run.partial)
        (run.partial / ANNOTATION).mkdir(exist_ok=True)
        annotation.write(run.partial / ANNOTATION)
        page = result_page(annotation, data=data, command=step.command(), verdict=words + ".", next=next_steps)
        (run.partial / "report.html").write_text(page, encoding="utf-8")
    return Written(summary=summary, lines=(words, "Learn from it: labelwright learn cross-entropy {out} --test DATA"))
