"""The dataset nutrition label as an audit.

Reference: Holland, Hosny, Newman, Joseph, Chmielinski. The Dataset Nutrition Label: A Framework To Drive Higher Data Quality
Standards. arXiv:1805.03677; questionnaire after Chmielinski et al. arXiv:2201.03954; carrier: MLCommons Croissant 1.1 with RAI 1.0.

Findings are the alerts that concern single rows (rows that repeat an earlier one); everything else is a fact: the whole label, from
which ``Label.from_dict(audit.facts["label"])`` gives the object with its renderers. ``make_label`` takes what only people know
(provenance, definitions, a reference population) besides.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from labelwright import check
from labelwright.audit.nutrition.label import Label
from labelwright.audit.nutrition.make import make_label
from labelwright.audit.nutrition.settings import Settings
from labelwright.errors import InputError
from labelwright.registry import Auditor, Have, Want, register
from labelwright.results import Audit, Provenance

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.signals import Signals

__all__ = ["NutritionLabel"]


@register("nutrition-label", sheet="nutrition-label", has=Have.NONE, gives=(Want.REPORT, Want.FINDINGS), paper="arXiv:1805.03677")
@dataclass(frozen=True, kw_only=True)
class NutritionLabel(Settings, Auditor):
    """A standard "ingredients" report of any dataset: seven modules, alerts, HTML, Markdown, JSON and Croissant."""

    sensitive: tuple[str, ...] = ()
    """Columns with groups to watch (sex, age group, …): balance is checked, rare values are not named."""
    as_of: str = ""
    """Date at which the age of the data is judged, like 2026-03-01; empty: not judged."""

    def audit(self, data: Dataset, *, signals: Signals | None = None, seed: int) -> Audit:
        """Make the label of `data`; `signals` are not used.

        Raises
        ------
        InputError
            If the dataset is empty or a sensitive column is absent.
        """
        del signals
        if not len(data):
            raise InputError("The dataset is empty; there is nothing to describe.")
        check.integer("seed", seed, low=0)
        label = self._label(data, seed)
        repeated = label.builder.table.duplicates() if label.builder is not None else np.empty(0, dtype=np.int64)
        findings = Audit.findings_frame(
            data, "duplicate_row", index=repeated, score=1.0, flagged=True, reason="repeats an earlier row in every column"
        )
        facts = {"label": label.to_dict(), "alerts": [a.to_dict() for a in label.alerts], "overview": label.overview()}
        return Audit(provenance=Provenance.of(self, data, seed=seed), findings=findings.sort("index"), facts=facts)

    def _label(self, data: Dataset, seed: int) -> Label:
        settings = Settings(**{f.name: getattr(self, f.name) for f in fields(Settings)})
        return make_label(data, sensitive=self.sensitive, as_of=self.as_of, settings=settings, seed=seed)
