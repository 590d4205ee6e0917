"""The auditor of label errors: :mod:`~labelwright.audit.label_errors` on a dataset, with its reasons in words.

Probabilities come with the signals, and must be out-of-sample; without signals they are made here by cross-validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.audit._confident_multi import find_multilabel_errors
from labelwright.audit.label_errors import LabelErrors, check_options, find_label_errors
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels
from labelwright.registry import Auditor, Flaw, Have, Want, register
from labelwright.results import Audit, Provenance

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.signals import Signals

__all__ = ["LabelErrorFinder"]

ISSUE = "label_error"
SHOWN_PAIRS = 20
"""Pairs of classes named in the facts, most confused first."""
SHOWN_MATRIX = 100
"""Up to so many classes, the facts hold the whole noise-rate matrix."""


@register(
    "label-errors",
    sheet=None,
    has=(Have.CLASS_LABELS, Have.MULTI_LABELS),
    flaw=Flaw.NOISE,
    gives=(Want.FINDINGS, Want.LABELS),
    paper="Northcutt, Jiang, Chuang. Confident learning. JAIR 2021. arXiv:1911.00068",
)
@dataclass(frozen=True, kw_only=True)
class LabelErrorFinder(Auditor):
    """Find wrong labels from out-of-sample predicted probabilities, by confident learning."""

    filter_by: Literal["prune_by_class", "prune_by_noise_rate", "both", "confident_learning", "predicted_neq_given"] = "prune_by_noise_rate"
    """Which labels are flagged: the least probable of each class, the clearest of each pair of classes, those of both, those counted as errors, or all that the model contradicts."""
    score: Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"] = "self_confidence"
    """What ranks them: the probability of the given label, its lead over the best other class, or that probability against the entropy."""
    collisions: Literal["overall", "confident"] = "overall"
    """Where several classes are likely enough: count the most probable of all classes, or (as in the paper) of those."""
    min_examples: int = 1
    """Leave at least so many examples of each class unflagged, >= 0."""
    allow_empty: bool = False
    """Accept classes that no example is labelled with; without this they are an error."""

    def __post_init__(self) -> None:
        check_options(self.filter_by, self.score, self.collisions, self.min_examples)

    def audit(self, data: Dataset, *, signals: Signals | None = None, seed: int) -> Audit:
        """One row for every example, issue ``label_error``; examples without a label have score 0 and are not flagged.

        The facts hold the estimated noise rate, the most confused pairs of classes, and for up to 100 classes the matrices
        P(given | true) and P(true | given).

        Raises
        ------
        InputError
            If the labels are of another kind or only one class occurs, a class is empty (without `allow_empty`), the
            probabilities are not out-of-sample, or do not fit the data.
        """
        if not isinstance(data.labels, (ClassLabels, MultiLabels)):
            data.require_labels(ClassLabels)  # says what is wrong
        if len(data) == 0:
            raise InputError("There are no examples (N = 0).", hint="Check the file or the filter that made the dataset.")
        if isinstance(data.labels, ClassLabels) and data.known.any():
            self._check_classes(data.class_labels())
        if signals is None or signals.probs is None:
            from labelwright import signals as makers

            signals = makers.compute(data, ("probs",), seed=seed, have=signals)
        probs = signals.require_out_of_sample()
        check.same_length(data=data, probs=probs)
        if probs.shape[1] != data.num_classes:
            raise InputError(
                f"The probabilities have {probs.shape[1]} columns, but the labels have {data.num_classes} classes.",
                hint="Column j must be class j.",
            )
        rows, facts = (self._multi if isinstance(data.labels, MultiLabels) else self._single)(data, probs)
        findings = Audit.findings_frame(data, ISSUE, index=np.arange(len(data)), **rows)
        facts = {"n": len(data), "flagged": int(np.sum(rows["flagged"])), "probabilities": signals.probs_source, **facts}
        return Audit(findings=findings, facts=facts, provenance=Provenance.of(self, data, seed=seed))

    def _check_classes(self, labels: ClassLabels) -> None:
        """Empty classes are known before hours of cross-validation, and by name."""
        empty = [name for name, count in zip(labels.names, labels.counts(), strict=True) if count == 0]
        if empty and not self.allow_empty:
            shown = ", ".join(repr(n) for n in empty[:8]) + (", …" if len(empty) > 8 else "")
            raise InputError(
                f"{len(empty)} of the {labels.num_classes} classes are empty: no example is labelled {shown}.",
                hint="Leave these classes out, or allow them with allow_empty=True (--allow-empty).",
            )

    def _single(self, data: Dataset, probs: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        labels = data.class_labels()
        # a slice copies nothing: probabilities that are mapped from a file stay there
        known: Any = slice(None) if labels.known.all() else np.flatnonzero(labels.known)
        found = find_label_errors(
            labels.values[known],
            probs[known],
            filter_by=self.filter_by,
            score=self.score,
            collisions=self.collisions,
            min_examples=self.min_examples,
            allow_empty=self.allow_empty,
        )
        flagged, score = np.zeros(len(data), dtype=bool), np.zeros(len(data))
        flagged[known], score[known] = found.mask, found.score
        top = probs.argmax(1)
        names = np.array(labels.names, dtype=object)
        suggested = np.where(top != labels.values, names[top], None)
        reasons = np.full(len(data), None, dtype=object)
        given, best = labels.values[flagged], top[flagged]
        share = found.true_if_given
        reasons[flagged] = [
            f"probability {p:.3f} for {names[g]}, {q:.3f} for {names[s]}; of labels {names[g]}, an estimated {share[g, s]:.1%} are {names[s]}"
            for g, s, p, q in zip(given, best, probs[flagged, given], probs[flagged, best], strict=True)
        ]
        reasons[~labels.known] = "no label"
        return {"score": score, "flagged": flagged, "given": labels.words(), "suggested": suggested, "reason": reasons}, _facts(
            found, labels.names
        )

    def _multi(self, data: Dataset, probs: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        labels = data.require_labels(MultiLabels)
        found = find_multilabel_errors(
            labels.values,
            probs,
            filter_by=self.filter_by,
            score=self.score,
            collisions=self.collisions,
            min_examples=self.min_examples,
        )
        names = np.array(labels.names, dtype=object)
        reasons = np.full(len(data), None, dtype=object)
        suggested = np.full(len(data), None, dtype=object)
        for i in np.flatnonzero(found.mask):
            cells = np.flatnonzero(found.cells[i])
            cells = cells[np.argsort(-found.cell_scores[i, cells], kind="stable")]
            reasons[i] = "; ".join(
                f"{names[j]} {'absent' if found.suggested[i, j] == 0 else 'present'}: probability {probs[i, j]:.3f}" for j in cells
            )
            suggested[i] = _present(names, found.suggested[i])
        known = data.known
        reasons[~known] = "no label"
        given = [_present(names, row) if k else None for row, k in zip(labels.values, known, strict=True)]
        rates = found.noise_rates
        facts = {
            "noise_rate": float(found.joint[:, [0, 1], [1, 0]].sum() / max(1, found.joint.sum())),
            "noise_rates": dict(zip(labels.names, rates.tolist(), strict=True)),
            "flagged_by_class": dict(zip(labels.names, found.cells.sum(0).tolist(), strict=True)),
        }
        return {"score": found.score, "flagged": found.mask, "given": given, "suggested": suggested, "reason": reasons}, facts


def _present(names: np.ndarray, row: np.ndarray) -> str:
    return ", ".join(names[row == 1])


def _facts(found: LabelErrors, names: Any) -> dict[str, Any]:
    """Estimates about the dataset as a whole, as plain values."""
    c = len(names)
    off = found.joint.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:SHOWN_PAIRS]
    share, rate = found.true_if_given, found.given_if_true
    pairs = [
        {
            "given": names[i],
            "true": names[j],
            "examples": int(off[i, j]),
            "true_if_given": float(share[i, j]),
            "given_if_true": float(rate[i, j]),
        }
        for i, j in (divmod(int(cell), c) for cell in order)
        if off[i, j] > 0
    ]
    facts: dict[str, Any] = {"noise_rate": found.noise_rate, "confused_pairs": pairs}
    if c <= SHOWN_MATRIX:
        facts |= {"classes": list(names), "given_if_true": rate.tolist(), "true_if_given": share.tolist()}
    return facts
