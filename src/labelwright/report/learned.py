"""The page of a trained model: test figures, curves, doubted labels, settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.labels import ClassLabels
from labelwright.report.charts import lines
from labelwright.report.common import Commands, data_name, examples_of, fact_rows, is_wide, provenance
from labelwright.report.examples import Showcase
from labelwright.report.page import compact, render, words

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.results import Learned

__all__ = ["learned_page"]

DOUBTED = 24
NOT_CURVES = frozenset({"epoch", "lr", "stage", "step", "seconds"})
SHOWN_ELSEWHERE = frozenset({"fit", "n_train", "n_val"})


def learned_page(
    learned: Learned,
    summary: Mapping[str, Any],
    *,
    command: str,
    data: Dataset | None = None,
    val: Dataset | None = None,
    next: Commands = (),
) -> str:
    """HTML of a model. `summary` is what ``learn --json`` prints; `data` the training data, for pictures of doubted labels."""
    facts = dict(learned.facts)
    suspects = _doubted(learned, data)
    where = "the validation data given" if val is not None else "a split of the training data, with labels as noisy as the rest"
    return render(
        "learned.html.j2",
        title=f"{summary['method']} on {data_name(data)}",
        kind="trained model",
        test=summary.get("test"),
        epochs=summary["epochs"],
        kept=f"status: {learned.status}",
        n_train=facts.get("n_train", 0 if data is None else len(data)),
        val_note=f"{facts['n_val']:,} more for validation" if facts.get("n_val") else "",
        val_words=where,
        curves=_curves(learned),
        suspects=suspects,
        suspect_note=_suspect_note(facts),
        wide=is_wide(data),
        settings=[*_recipe_rows(facts.get("fit")), *fact_rows(facts, skip=SHOWN_ELSEWHERE)],
        next=next,
        provenance=provenance(learned, data, command=command),
    )


def _suspect_note(facts: Mapping[str, Any]) -> str:
    how = facts.get("label_scores")
    note = "The labels its training contradicts most, worst first."
    return f"{note} Score: {how}." if isinstance(how, str) else note


def _recipe_rows(fit: Any) -> list[tuple[str, str]]:
    if not isinstance(fit, Mapping):
        return []
    return [("Recipe", compact({k: v for k, v in fit.items() if v not in (None, [], ())}, 600))]


def _curves(learned: Learned) -> list[dict[str, Any]]:
    """One plot for losses, one for shares (accuracies): at most four curves each, stages one after another."""
    if not learned.history:
        return []
    names = [k for k in dict.fromkeys(k for row in learned.history for k in row) if k not in NOT_CURVES]
    plots = []
    for title, chosen in (("loss", [n for n in names if "loss" in n]), ("accuracy", [n for n in names if "acc" in n])):
        series = {
            words(n): [(float(i + 1), float(row[n])) for i, row in enumerate(learned.history) if isinstance(row.get(n), (int, float))]
            for n in chosen[:4]
        }
        series = {n: curve for n, curve in series.items() if curve}
        if series:
            plots.append({"svg": lines(series, x_label="epoch", y_label=title), "names": list(series)})
    return plots


def _doubted(learned: Learned, data: Dataset | None) -> list[Any]:
    if learned.label_scores is None or data is None or learned.ids is None or not isinstance(data.labels, ClassLabels):
        return []
    scores = np.where(data.known, np.nan_to_num(learned.label_scores), -1)
    given = data.labels.words()
    new = learned.labels.words() if isinstance(learned.labels, ClassLabels) else np.full(len(scores), None, dtype=object)
    order = [int(i) for i in np.argsort(-scores, kind="stable")[:DOUBTED] if scores[i] > 0.5]
    rows = [{"id": data.ids[i], "index": i, "score": scores[i], "given": given[i], "suggested": new[i], "reason": None} for i in order]
    return examples_of(rows, Showcase(data))
