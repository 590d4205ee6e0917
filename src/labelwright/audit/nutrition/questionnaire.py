"""What only people know of a dataset: metadata, provenance, and the questionnaire of the second-generation label.

References: Holland et al. arXiv:1805.03677 (modules metadata and provenance); Chmielinski et al. The Dataset Nutrition Label (2nd Gen).
arXiv:2201.03954 (description, composition, provenance, collection, management; use cases and alerts). Every answer may be ``unknown``.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import MISSING as NO_DEFAULT, dataclass, field, fields
from typing import Any, TypeVar

from labelwright import check
from labelwright.errors import InputError

__all__ = ["UNKNOWN", "Metadata", "Party", "Provenance", "Questionnaire", "UseCase", "from_plain"]

UNKNOWN = "unknown"

T = TypeVar("T")


def from_plain(cls: type[T], values: Any, *, what: str) -> T:
    """A dataclass of this module from itself, None or a mapping with its field names.

    Raises
    ------
    InputError
        If a key is no field of it (the nearest is suggested).
    """
    if isinstance(values, cls):
        return values
    if values is None:
        return cls()
    if not isinstance(values, Mapping):
        raise InputError(f"{what} must be a mapping or a {cls.__name__}; got {type(values).__name__}.")
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        check.known_word(f"{what} field", key, names, place=cls.__name__)
    return cls(**values)


def _date(name: str, value: str) -> None:
    if value in ("", UNKNOWN):
        return
    try:
        datetime.date.fromisoformat(value[:10] if len(value) > 7 else f"{value}-01" if len(value) == 7 else f"{value}-01-01")
    except ValueError as err:
        raise InputError(f"{name} must be a date like 2026-03-01, 2026-03 or 2026; got {value!r}.") from err


@dataclass(frozen=True, kw_only=True)
class Party:
    """A person or an organisation."""

    name: str = UNKNOWN
    url: str = UNKNOWN
    email: str = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Module 1. What can be counted (format, rows, columns, missing) is filled in when a label is made."""

    name: str = UNKNOWN
    filename: str = UNKNOWN
    format: str = UNKNOWN
    url: str = UNKNOWN
    domain: str = UNKNOWN
    keywords: tuple[str, ...] = ()
    type: str = UNKNOWN
    license: str = UNKNOWN
    released: str = UNKNOWN
    range_from: str = UNKNOWN
    range_to: str = UNKNOWN
    description: str = UNKNOWN
    version: str = UNKNOWN
    sha256: str = UNKNOWN

    def __post_init__(self) -> None:
        object.__setattr__(self, "keywords", tuple(str(k) for k in self.keywords))
        for name in ("released", "range_from", "range_to"):
            _date(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Module 2. `source` produced the raw data, `author` published this version."""

    source: Party = field(default_factory=Party)
    author: Party = field(default_factory=Party)
    derived_from: tuple[str, ...] = ()
    generated_by: str = UNKNOWN

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", from_plain(Party, self.source, what="source"))
        object.__setattr__(self, "author", from_plain(Party, self.author, what="author"))
        object.__setattr__(self, "derived_from", tuple(self.derived_from))


@dataclass(frozen=True, kw_only=True)
class UseCase:
    """An intended or discouraged use of the data and what to watch for."""

    use: str
    intended: bool = True
    prediction: str = UNKNOWN
    risk: str = UNKNOWN
    mitigation: str = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Questionnaire:
    """The dataset-info pane of the second generation, one answer a field; ``unknown`` where nobody said."""

    # description
    purpose: str = UNKNOWN
    funding: str = UNKNOWN
    intended_uses: tuple[UseCase, ...] = ()
    known_limitations: str = UNKNOWN
    social_impact: str = UNKNOWN
    # composition
    instances: str = UNKNOWN
    is_sample: str = UNKNOWN
    represents: str = UNKNOWN
    groups: str = UNKNOWN
    known_biases: str = UNKNOWN
    personal_information: str = UNKNOWN
    sensitive_content: str = UNKNOWN
    labels_meaning: str = UNKNOWN
    # provenance
    upstream_sources: str = UNKNOWN
    licensing_of_sources: str = UNKNOWN
    # collection
    collection_method: str = UNKNOWN
    collection_type: str = UNKNOWN
    collection_timeframe: str = UNKNOWN
    raw_data_kept: str = UNKNOWN
    missing_data: str = UNKNOWN
    consent: str = UNKNOWN
    ethical_review: str = UNKNOWN
    # preparation and annotation
    preprocessing: str = UNKNOWN
    manipulation: str = UNKNOWN
    imputation: str = UNKNOWN
    annotation_protocol: str = UNKNOWN
    annotation_platform: str = UNKNOWN
    annotation_analysis: str = UNKNOWN
    annotations_per_item: str = UNKNOWN
    annotator_demographics: str = UNKNOWN
    machine_annotation_tools: str = UNKNOWN
    # management
    maintainer: str = UNKNOWN
    maintenance_plan: str = UNKNOWN
    update_frequency: str = UNKNOWN
    contact: str = UNKNOWN

    def __post_init__(self) -> None:
        cases: Sequence[Any] = self.intended_uses
        made = tuple(UseCase(use=c) if isinstance(c, str) else from_plain(UseCase, c, what="intended_uses") for c in cases)
        object.__setattr__(self, "intended_uses", made)

    def answered(self) -> tuple[int, int]:
        """How many fields say something, of how many."""
        own = fields(self)
        return sum(getattr(self, f.name) != (f.default if f.default is not NO_DEFAULT else ()) for f in own), len(own)


SECTIONS: dict[str, tuple[str, ...]] = {
    "description": ("purpose", "funding", "intended_uses", "known_limitations", "social_impact"),
    "composition": (
        "instances",
        "is_sample",
        "represents",
        "groups",
        "known_biases",
        "personal_information",
        "sensitive_content",
        "labels_meaning",
    ),
    "provenance": ("upstream_sources", "licensing_of_sources"),
    "collection": (
        "collection_method",
        "collection_type",
        "collection_timeframe",
        "raw_data_kept",
        "missing_data",
        "consent",
        "ethical_review",
    ),
    "preparation and annotation": (
        "preprocessing",
        "manipulation",
        "imputation",
        "annotation_protocol",
        "annotation_platform",
        "annotation_analysis",
        "annotations_per_item",
        "annotator_demographics",
        "machine_annotation_tools",
    ),
    "management": ("maintainer", "maintenance_plan", "update_frequency", "contact"),
}
"""Panes of the questionnaire → its fields."""
