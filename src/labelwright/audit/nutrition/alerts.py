"""Alerts: what in the data asks for attention, each with severity, affected use and a way to mend it.

Rules of the sheet, item 11. Thresholds are the constants below; every alert carries the number that raised it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from labelwright.audit.nutrition.codes import Coded
from labelwright.audit.nutrition.pairs import entropy, joint_strip
from labelwright.audit.nutrition.questionnaire import UNKNOWN, Metadata
from labelwright.audit.nutrition.table import Table
from labelwright.stats.tests import benjamini_hochberg

__all__ = [
    "SEVERITIES",
    "Alert",
    "column_alerts",
    "document_alerts",
    "imbalance_alerts",
    "leakage_alerts",
    "missingness_alerts",
    "representation_alerts",
]

SEVERITIES = ("low", "medium", "high")
MISSING_SOME, MISSING_MOST = 5.0, 50.0  # percent
BALANCE = 0.5  # entropy / log k below which classes are imbalanced
LEAK = 0.95  # dependence on the label above which a column is taken for a copy of it
MASK_Q, MASK_V = 0.01, 0.1  # false discovery rate and least effect of missingness that goes with another column
GAP = 0.10  # representation gap as a share
STALE_YEARS = 5


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alert. `value` is the number that raised it, in the unit the text names."""

    code: str
    severity: str
    text: str
    module: str
    tag: str
    columns: tuple[str, ...] = ()
    value: float | None = None
    affects: str = UNKNOWN
    mitigation: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "columns": list(self.columns)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Alert:
        return cls(**{**values, "columns": tuple(values["columns"])})


def column_alerts(table: Table) -> list[Alert]:
    """Missing cells, constant and identifier-like columns, duplicated rows."""
    made = []
    for column in table.columns:
        s = column.statistics
        share = 100 * s.missing / s.rows if s.rows else 0.0
        if share > MISSING_SOME:
            made.append(
                Alert(
                    code="missing",
                    severity="high" if share > MISSING_MOST else "medium",
                    text=f"{share:.2f}% of {column.name} is missing.",
                    module="statistics",
                    tag="completeness",
                    columns=(column.name,),
                    value=share,
                    affects="any model that uses this column",
                    mitigation="Find out why it is missing before dropping or imputing.",
                )
            )
        constant = s.moments.n > 0 and s.moments.low == s.moments.high if column.numeric else s.counted and s.frequencies.unique() == 1
        if constant and s.rows > 1:
            made.append(
                Alert(
                    code="constant",
                    severity="low",
                    text=f"{column.name} has a single value.",
                    module="statistics",
                    tag="composition",
                    columns=(column.name,),
                    value=1.0,
                    mitigation="Drop it, or check whether a filter removed the other values.",
                )
            )
        if column.identifier:
            made.append(
                Alert(
                    code="identifier",
                    severity="medium",
                    text=f"{column.name} looks like an identifier: {s.frequencies.unique():,} values in {s.present:,} rows.",
                    module="statistics",
                    tag="privacy",
                    columns=(column.name,),
                    value=s.frequencies.unique() / s.present if s.present else None,
                    affects="models memorise it; it may name persons",
                    mitigation="Leave it out of models, and out of what is published if it names persons.",
                )
            )
    if table.duplicate_rows:
        share = 100 * table.duplicate_rows / table.rows
        made.append(
            Alert(
                code="duplicate-rows",
                severity="high" if share > MISSING_SOME else "medium",
                text=f"{table.duplicate_rows:,} rows ({share:.2f}%) repeat an earlier row in every column.",
                module="statistics",
                tag="composition",
                value=share,
                affects="train and test may share rows; repeated rows weigh more",
                mitigation="Drop the copies, or keep a count column; split only afterwards.",
            )
        )
    return made


def imbalance_alerts(coded: Mapping[str, Coded], watched: tuple[str, ...]) -> list[Alert]:
    """Entropy of the label or of a group column, relative to log k, below 0.5."""
    made = []
    for name in watched:
        column = coded.get(name)
        if column is None or column.is_numeric:
            continue
        counts = np.bincount(column.codes, minlength=column.size + 1)[: column.size]
        k = int((counts > 0).sum())
        if k < 2:
            continue
        balance = entropy(counts) / float(np.log(k))
        if balance < BALANCE:
            made.append(
                Alert(
                    code="imbalance",
                    severity="medium",
                    text=f"{name} is imbalanced: {100 * counts.max() / counts.sum():.1f}% are {column.labels[int(counts.argmax())]} (relative entropy {balance:.2f}).",
                    module="statistics",
                    tag="composition",
                    columns=(name,),
                    value=balance,
                    affects="accuracy hides errors on the rare values",
                    mitigation="Report balanced measures; collect or weight the rare values.",
                )
            )
    return made


def leakage_alerts(label: str, measures: Mapping[str, tuple[str, float]]) -> list[Alert]:
    """Columns that all but tell the label: `measures` is column → (name of the measure, its value)."""
    return [
        Alert(
            code="leakage",
            severity="high",
            text=f"{name} all but determines the label {label} ({measure} {value:.3f}).",
            module="pair plots",
            tag="composition",
            columns=(name, label),
            value=value,
            affects=f"prediction of {label}",
            mitigation="Check that it is known before the label is; otherwise leave it out.",
        )
        for name, (measure, value) in measures.items()
        if value > LEAK
    ]


def missingness_alerts(coded: Mapping[str, Coded]) -> list[Alert]:
    """Columns whose missing cells go with the values of another column: a G-test a pair, Benjamini-Hochberg, and a least effect.

    The mutual information of the mask with the other column is G / (2 n).
    """
    columns = list(coded.values())
    masks = [c for c in columns if 0 < c.missing.sum() < len(c.codes)]
    rows: list[tuple[str, str, float, float, float]] = []
    for column in masks:
        others = [c for c in columns if c.name != column.name and c.size > 1]
        if not others:
            continue
        strip = joint_strip(np.stack([column.missing.astype(np.int16), *(c.codes for c in others)]).T, [2, *(c.size for c in others)], 0)
        effects = strip.cramers_v()[1:]
        for j, other in enumerate(others):
            block = strip.block(j + 1)
            block = block[:, block.sum(0) > 0]
            n = block.sum()
            if block.shape[1] < 2 or (block.sum(1) == 0).any():
                continue
            expected = block.sum(1, keepdims=True) * block.sum(0) / n
            g = 2 * float(np.where(block > 0, block * np.log(np.maximum(block, 1) / expected), 0.0).sum())
            rows.append((column.name, other.name, g / (2 * n), float(chi2.sf(g, block.shape[1] - 1)), float(np.nan_to_num(effects[j]))))
    q = benjamini_hochberg(np.array([r[3] for r in rows]))
    best: dict[str, tuple[str, float, float]] = {}
    for (name, goes_with, information, _, effect), value in zip(rows, q, strict=True):
        if value < MASK_Q and effect > MASK_V and effect > best.get(name, ("", 0.0, 0.0))[2]:
            best[name] = (goes_with, information, effect)
    return [
        Alert(
            code="missing-not-at-random",
            severity="medium",
            text=f"{name} is not missing completely at random: whether it is missing goes with {goes_with} (V {effect:.2f}, {information:.3f} nats).",
            module="pair plots",
            tag="collection",
            columns=(name, goes_with),
            value=information,
            affects="complete-case analysis and mean imputation are biased",
            mitigation="Model the missingness, or impute from the columns it goes with.",
        )
        for name, (goes_with, information, effect) in best.items()
    ]


def representation_alerts(representation: list[dict[str, Any]]) -> list[Alert]:
    """Groups whose share differs from the reference by more than 10 points."""
    made = []
    for entry in representation:
        for row in entry["groups"]:
            if abs(row["gap"]) > GAP:
                word = "under" if row["gap"] < 0 else "over"
                made.append(
                    Alert(
                        code="representation",
                        severity="high",
                        text=f"{entry['column']} = {row['group']} is {word}-represented: {100 * row['share']:.1f}% here, {100 * row['reference']:.1f}% in the reference.",
                        module="ground truth correlations",
                        tag="bias",
                        columns=(entry["column"],),
                        value=100 * row["gap"],
                        affects=f"results for {row['group']}",
                        mitigation="Collect more of the smaller group, or weight by reference shares.",
                    )
                )
    return made


def document_alerts(metadata: Metadata, undocumented: tuple[str, ...], as_of: str) -> list[Alert]:
    """No licence, variables without a definition, data older than five years at `as_of` (not checked when that is empty)."""
    made = []
    if undocumented:
        shown = ", ".join(undocumented[:8]) + (" …" if len(undocumented) > 8 else "")
        how_many = "1 variable has" if len(undocumented) == 1 else f"{len(undocumented)} variables have"
        made.append(
            Alert(
                code="undocumented",
                severity="low",
                text=f"{how_many} no definition: {shown}.",
                module="variables",
                tag="description",
                columns=undocumented,
                value=float(len(undocumented)),
                mitigation="Say in a sentence what each holds, with its unit.",
            )
        )
    if metadata.license in ("", UNKNOWN):
        made.append(
            Alert(
                code="no-license",
                severity="medium",
                text="No licence is stated.",
                module="metadata",
                tag="provenance",
                affects="any use beyond reading",
                mitigation="Ask the source; state the licence with its URL.",
            )
        )
    if as_of and metadata.range_to not in ("", UNKNOWN):
        age = (_day(as_of) - _day(metadata.range_to)).days / 365.25
        if age > STALE_YEARS:
            made.append(
                Alert(
                    code="stale",
                    severity="medium",
                    text=f"The data end at {metadata.range_to}, {age:.1f} years before {as_of}.",
                    module="metadata",
                    tag="collection",
                    value=age,
                    affects="predictions about the present",
                    mitigation="Check for drift on recent data.",
                )
            )
    return made


def _day(text: str) -> datetime.date:
    """The last day that a date, month or year names."""
    if len(text) == 4:
        return datetime.date(int(text), 12, 31)
    if len(text) == 7:
        year, month = int(text[:4]), int(text[5:])
        return datetime.date(year + month // 12, month % 12 + 1, 1) - datetime.timedelta(days=1)
    return datetime.date.fromisoformat(text[:10])
