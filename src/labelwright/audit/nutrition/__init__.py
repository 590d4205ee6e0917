"""The dataset nutrition label: seven modules, alerts, questionnaire, renderers, Croissant, difference and check.

>>> label = make_label(frame, metadata={"name": "visits", "license": "CC-BY-4.0"}, label_column="outcome", seed=0)
>>> write_label(label, "visits-label")
>>> check(label, {"max_missing_percent": 20, "forbid_alerts": ["leakage"]}).failures
"""

from __future__ import annotations

from labelwright.audit.nutrition.alerts import Alert
from labelwright.audit.nutrition.compare import Check, Difference, check, diff
from labelwright.audit.nutrition.croissant import from_croissant, missing_required, validate_croissant
from labelwright.audit.nutrition.ground_truth import Reference, shares_of
from labelwright.audit.nutrition.label import Label, Module, write_label
from labelwright.audit.nutrition.make import make_label
from labelwright.audit.nutrition.method import NutritionLabel
from labelwright.audit.nutrition.questionnaire import Metadata, Party, Provenance, Questionnaire, UseCase
from labelwright.audit.nutrition.settings import Settings

__all__ = [
    "Alert",
    "Check",
    "Difference",
    "Label",
    "Metadata",
    "Module",
    "NutritionLabel",
    "Party",
    "Provenance",
    "Questionnaire",
    "Reference",
    "Settings",
    "UseCase",
    "check",
    "diff",
    "from_croissant",
    "make_label",
    "missing_required",
    "shares_of",
    "validate_croissant",
    "write_label",
]
