"""Correction: apply the findings of an audit, and what a person decided about them, to a dataset.

A label is a *candidate* for change where the audit flagged it (or, with a threshold, scored it at least so high) and suggests
another class. What happens to candidates:

- ``relabel``: they take the suggested class;
- ``drop``: they leave the dataset;
- ``weight``: they stay as they are with the weight ``w = 1 - score``, where score in [0, 1] is the audit's (with its default
  score, w is the out-of-sample probability of the given label); a column ``weight`` that is there already is multiplied by w.

A review table decides about single examples, whatever the audit says. Rows of held-out splits are only changed if asked
(or reviewed): a test set whose labels a model has rewritten measures agreement with that model.

The corrected dataset keeps the original labels in column ``given_label`` and says in ``reason`` why a row changed ("" where it
did not).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.annotate.review import Decision, read_review, write_review
from labelwright.data import Dataset
from labelwright.data.splits import HELD_OUT, held_out as rows_held_out
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels
from labelwright.results import Annotation, Provenance

if TYPE_CHECKING:
    from labelwright.results import Audit

__all__ = ["HELD_OUT", "How", "correct", "read_review", "write_review"]

How = Literal["relabel", "drop", "weight"]
HOW: tuple[str, ...] = ("relabel", "drop", "weight")
ISSUES = ("label_error", "judge_disagreement")
"""Findings that suggest other labels."""


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """What an audit says about the labels of a dataset's N rows, in its order: `score` float64, `flagged` bool, `suggested` int64 (-1 none)."""

    score: np.ndarray
    flagged: np.ndarray
    suggested: np.ndarray


@dataclass(kw_only=True)
class _Outcome:
    """What becomes of each of N rows while candidates and decisions are gone through: arrays of N, changed in place."""

    labels: ClassLabels
    values: np.ndarray
    weights: np.ndarray
    dropped: np.ndarray
    confidence: np.ndarray
    reasons: np.ndarray

    @classmethod
    def of(cls, labels: ClassLabels, judged: _Judged) -> _Outcome:
        """Nothing changed yet."""
        n = len(labels)
        return cls(
            labels=labels, values=labels.values.copy(), weights=np.ones(n), dropped=np.zeros(n, dtype=bool),
            confidence=np.where(labels.known, 1 - judged.score, 0.0), reasons=np.full(n, "", dtype=object),
        )  # fmt: skip

    def word(self, value: int) -> str:
        """The name of a class, for reasons."""
        return "no label" if value == UNKNOWN else self.labels.names[value]

    def follow(self, how: How, candidate: np.ndarray, judged: _Judged) -> None:
        """Do to the candidates, bool (N,), what was asked."""
        for i in np.flatnonzero(candidate).tolist():
            score, other = float(judged.score[i]), int(judged.suggested[i])
            said = f"score {score:.3f}"
            if how == "relabel":
                self.reasons[i] = f"relabelled from {self.word(self.values[i])} to {self.word(other)} by the audit ({said})"
                self.values[i], self.confidence[i] = other, score
            elif how == "drop":
                self.dropped[i] = True
                self.reasons[i] = f"dropped by the audit ({said}; it suggests {self.word(other)})"
            else:
                self.weights[i] = 1 - score
                self.reasons[i] = f"weight {1 - score:.3f} by the audit ({said}; it suggests {self.word(other)})"

    def obey(self, decisions: Mapping[int, Decision]) -> None:
        """A person's word overrules the audit's."""
        for i, decision in decisions.items():
            self.values[i], self.weights[i], self.dropped[i] = decision.label, 1.0, decision.action == "drop"
            self.confidence[i] = 1.0
            self.reasons[i] = _by_a_person(decision, self.word(self.labels.values[i]), self.word(decision.label))


def correct(
    data: Dataset,
    audit: Audit,
    *,
    how: How = "relabel",
    threshold: float | None = None,
    review: str | Path | None = None,
    held_out: bool = False,
    issue: str = "label_error",
) -> tuple[Dataset, Annotation]:
    """The corrected dataset, and an annotation of every original row.

    Parameters
    ----------
    data
        The audited dataset, with class labels.
    audit
        Its findings; rows of one `issue` count.
    how
        What happens to candidates: see the module's docstring.
    threshold
        Score from which a label is a candidate, in [0, 1]; without it, those the audit flagged.
    review
        CSV or Parquet file with columns ``id``, ``action`` (keep, relabel, drop, or empty to follow `how`), ``label`` and ``note``;
        :func:`write_review` writes one to fill in.
    held_out
        Change candidates of validation and test splits (column ``split``) too.
    issue
        Whose findings are followed: ``label_error``, or ``judge_disagreement`` for those of the judges of a whole audit.

    Returns
    -------
    Dataset, Annotation
        The annotation has a row for each row of `data`: the label it ends with, `confidence` in that label (1 where a person decided,
        the audit's score for a suggested label, one minus the score for a kept one), `abstained` for dropped rows and those
        without a label, and the reason.

    Raises
    ------
    InputError
        If the audit is of other data, has no findings about labels, the review contradicts itself or names unknown ids or labels (with
        its row number), or nothing would be left.
    """
    check.one_of("how", how, HOW)
    check.one_of("issue", issue, ISSUES)
    if threshold is not None:
        check.in_range("threshold", threshold, low=0, high=1)
    labels = data.require_labels(ClassLabels)
    judged = _judged(audit, data, labels, issue)
    candidate = judged.flagged if threshold is None else judged.score >= threshold
    candidate = candidate & (judged.suggested != UNKNOWN) & (judged.suggested != labels.values) & labels.known
    spared = rows_held_out(data) & candidate if not held_out else np.zeros(len(data), dtype=bool)
    candidate &= ~spared
    decisions = {} if review is None else read_review(review, data, labels, judged.suggested)

    after = _Outcome.of(labels, judged)
    after.follow(how, candidate, judged)
    after.obey(decisions)
    values, weights, dropped = after.values, after.weights, after.dropped
    if dropped.all():
        raise InputError("Every example would be dropped.", hint="Raise the threshold or use how='relabel'.")
    changed = (values != labels.values) & ~dropped
    counts = {
        "relabelled": int(changed.sum()),
        "dropped": int(dropped.sum()),
        "weighted": int((weights < 1).sum()),
        "reviewed": len(decisions),
        "spared_in_held_out_splits": int(spared.sum()),
        "unchanged": int((~changed & ~dropped & (weights == 1)).sum()),
    }
    corrected = labels._replace(values=values)
    columns: dict[str, Any] = {"given_label": _original(data, labels), "reason": after.reasons.astype(str)}
    if how == "weight" or "weight" in data.columns:
        columns["weight"] = weights * data.weights
    annotation = Annotation(
        provenance=_provenance(audit, data, how=how, threshold=threshold, review=review, held_out=held_out),
        ids=data.ids,
        labels=corrected,
        confidence=np.clip(after.confidence, 0, 1),
        abstained=dropped | (values == UNKNOWN),
        reasons=after.reasons,
        facts=counts,
    )
    return data.with_labels(corrected).with_columns(**columns).take(~dropped), annotation


def _judged(audit: Audit, data: Dataset, labels: ClassLabels, issue: str) -> _Judged:
    """Findings about labels, in the order of `data`; rows the audit does not mention are fine."""
    import polars as pl

    rows = audit.findings.filter(pl.col("issue") == issue)
    if not rows.height:
        what, mend = ("", "without --skip label_error") if issue == ISSUES[0] else (" by judges", "--judges FILE, or leave --issue out")
        raise InputError(
            f"The findings ({audit.provenance.method or 'audit'}) say nothing about labels{what}.",
            hint=f"Run labelwright audit DATA {mend}.",
        )
    try:
        place = data.positions(rows.get_column("id").to_numpy())
    except InputError as err:
        raise InputError(f"The findings are about other data: {err}", hint="Pass the dataset that was audited.") from err
    score, flagged, suggested = np.zeros(len(data)), np.zeros(len(data), dtype=bool), np.full(len(data), UNKNOWN, dtype=np.int64)
    given = np.array(rows.get_column("given").to_list(), dtype=object)
    other = given != labels.words()[place]
    if other.any():
        first = int(other.argmax())
        raise InputError(
            f"The findings are about other labels: {int(other.sum()):,} of {len(other):,} differ, first id {data.ids[place[first]]} "
            f"({given[first]!r} when audited, now {labels.words()[place[first]]!r}).",
            hint="Audit the dataset again, or pass the one that was audited.",
        )
    numbers = {name: j for j, name in enumerate(labels.names)}
    suggestions = rows.get_column("suggested").to_list()
    for word in set(suggestions) - {None}:
        check.known_word("suggested label", word, numbers, place="the classes of the dataset")
    score[place] = rows.get_column("score").to_numpy()
    flagged[place] = rows.get_column("flagged").to_numpy()
    suggested[place] = [UNKNOWN if w is None else numbers[w] for w in suggestions]
    return _Judged(score=score, flagged=flagged, suggested=suggested)


def _original(data: Dataset, labels: ClassLabels) -> np.ndarray:
    """The labels as they first were: a dataset that is corrected twice keeps those of the first time."""
    if "given_label" in data.columns:
        return np.asarray(data.columns["given_label"])
    return np.array(["" if word is None else word for word in labels.words()], dtype=str)


def _by_a_person(decision: Decision, before: str, after: str) -> str:
    did = {"keep": f"kept as {before}", "relabel": f"relabelled from {before} to {after}", "drop": "dropped"}[decision.action]
    return f"{did} in review" + (f": {decision.note}" if decision.note else "")


def _provenance(audit: Audit, data: Dataset, *, review: str | Path | None, **options: Any) -> Provenance:
    return Provenance(
        verb="annotate",
        method="correct",
        fields={**options, "review": None if review is None else Path(review).name, "findings": audit.provenance.fingerprint},
        seed=audit.provenance.seed,
        versions=audit.provenance.versions,
        fingerprint=data.fingerprint,
    )
