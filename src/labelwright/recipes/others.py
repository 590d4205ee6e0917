"""The work of the verbs whose methods need nothing special: call, write the result, write its page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.recipes.learning import fit_of, net_of
from labelwright.recipes.perform import Worker, Written, method_of
from labelwright.recipes.session import Session, writing
from labelwright.recipes.sources import load_data, signals_from

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.recipes.steps import Step
    from labelwright.results import Learned, Result

__all__ = ["WORKERS"]

FEW_CLASSES = 4  # up to so many are counted in the verdict


def annotate(run: Session) -> Written:
    """Annotate the dataset of the step."""
    step, method = run.step, method_of(run.step)
    data, signals = signals_from(step, load_data(step))
    run.begin(data=data)
    result = method.annotate(data, signals=signals, seed=step.seed)  # type: ignore[attr-defined]
    figures: dict[str, Any] = {"n": len(data), "abstained": int(result.abstained.sum()), "mean_confidence": float(result.confidence.mean())}
    counts = ""
    if isinstance(result.labels, ClassLabels):
        figures["labels"] = dict(zip(result.labels.names, result.labels.counts().tolist(), strict=True))
        if len(result.labels.names) <= FEW_CLASSES:
            counts = ": " + ", ".join(f"{count:,} {name}" for name, count in figures["labels"].items())
    return written(run, result, data, figures, f"{figures['n']:,} examples annotated{counts}, {figures['abstained']:,} left open.")


def select(run: Session) -> Written:
    """Select from the dataset of the step."""
    step, method = run.step, method_of(run.step)
    keep = check.in_range("keep", step.values["keep"], low=0, high=1, closed="right")
    data, signals = signals_from(step, load_data(step))
    run.begin(data=data)
    result = method.select(data, keep=keep, signals=signals, seed=step.seed)  # type: ignore[attr-defined]
    return written(run, result, data, {"n": len(data), "kept": len(result.ids)}, f"{len(result.ids):,} of {len(data):,} examples kept.")


def condense(run: Session) -> Written:
    """Condense the dataset of the step."""
    step, method = run.step, method_of(run.step)
    per_class = check.integer("per_class", step.values["per_class"], low=1)
    data = load_data(step)
    fit = fit_of(step, data, None, checkpoint=str(run.checkpoints))
    run.begin(data=data)
    result = method.condense(data, net_of(step.values.get("net")), per_class=per_class, fit=fit, seed=step.seed)  # type: ignore[attr-defined]
    sizes = result.nbytes
    figures = {"n": len(data), "condensed": len(result.labels), "expanded": len(result), "bytes": sizes}
    verdict = f"{len(data):,} examples condensed to {len(result.labels):,} ({sum(sizes.values()) / 1000:,.1f} kB with labels)."
    return written(run, result, data, figures, verdict)


def forget(run: Session) -> Written:
    """Take examples out of a model."""
    step, method = run.step, method_of(run.step)
    model, data = _model(step.values["model"]), load_data(step)
    ids = _ids(step, data)
    fit = fit_of(step, data, None, checkpoint=str(run.checkpoints)) if step.fit_fields() else None
    run.begin(data=data)
    result = method.forget(model, data, ids=ids, fit=fit, seed=step.seed)  # type: ignore[attr-defined]
    figures = {"n": len(data), "forgotten": len(ids), "gap": result.gap, "attack_auroc": result.attack_auroc}
    return written(run, result, data, figures, f"{len(ids):,} examples forgotten.")


def certify(run: Session) -> Written:
    """Certify data or a model."""
    step, method = run.step, method_of(run.step)
    model = None if step.values["model"] is None else _model(step.values["model"])
    data = load_data(step)
    run.begin(data=data)
    result = method.certify(data, model=model, seed=step.seed)  # type: ignore[attr-defined]
    figures = {"statement": result.statement, "statistic": result.statistic, "p_value": result.p_value, "level": result.level}
    return written(run, result, data, figures, result.statement)


def written(run: Session, result: Result, data: Dataset, figures: dict[str, Any], verdict: str) -> Written:
    """Write a result and its page."""
    from labelwright.report import result_page

    summary = {"method": run.step.method, "seed": run.step.seed, **figures}
    with writing(run.partial):
        result.write(run.partial)
        page = result_page(result, data=data, command=run.step.command(), verdict=verdict)
        (run.partial / "report.html").write_text(page, encoding="utf-8")
    return Written(summary=summary, lines=(verdict, "Report: {out}/report.html"), status=str(result.status))


def _model(folder: str) -> Learned:
    from labelwright.results import Learned

    return Learned.load(folder)


def _ids(step: Step, data: Dataset) -> np.ndarray:
    """Ids from a text file, one a line, in the type of the dataset's."""
    path: Path = check.path_exists("--ids", step.values["ids"])
    words = [w for line in path.read_text(encoding="utf-8").splitlines() if (w := line.strip())]
    if not words:
        raise InputError(f"{path} holds no ids.")
    if data.ids.dtype.kind not in "iu":
        ids: np.ndarray = np.array(words)
    else:
        wrong = next((k for k, w in enumerate(words) if not w.lstrip("-").isdecimal()), None)
        if wrong is not None:
            raise InputError(f"{path}, line {wrong + 1}: {words[wrong]!r} is no integer id.")
        ids = np.array([int(w) for w in words], dtype=np.int64)
    data.positions(ids)  # says which are unknown
    return ids


WORKERS: dict[str, Worker] = {"annotate": annotate, "select": select, "condense": condense, "forget": forget, "certify": certify}
