"""Compute the modules of a label from a table, each when it is first asked for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from labelwright.audit.nutrition.alerts import (
    Alert,
    column_alerts,
    document_alerts,
    imbalance_alerts,
    leakage_alerts,
    missingness_alerts,
    representation_alerts,
)
from labelwright.audit.nutrition.chow_liu import ChowLiuTree, fit_chow_liu
from labelwright.audit.nutrition.codes import Coded, code_column
from labelwright.audit.nutrition.crosscat import ROWS as CROSSCAT_ROWS, fit_crosscat
from labelwright.audit.nutrition.ground_truth import Reference, ground_truth_module
from labelwright.audit.nutrition.models import RowModel
from labelwright.audit.nutrition.pairs import correlation_ratio, histogram, information_and_v, joint_strip, spearman, suppress
from labelwright.audit.nutrition.questionnaire import UNKNOWN, Metadata, Provenance, Questionnaire
from labelwright.audit.nutrition.settings import Settings
from labelwright.audit.nutrition.statistics import frequency_row, number_row
from labelwright.audit.nutrition.table import Column, Table
from labelwright.results import plain

__all__ = ["Builder", "Documents"]

PAIR_COLUMNS, MODEL_COLUMNS = 100, 60  # more columns are left out of pairs and model, and the label says so
CONDITIONS, CONDITION_VALUES, TARGET_VALUES = 6, 8, 12
FEW_VALUES = 12  # a target or condition of the probabilistic module has no more values


@dataclass(frozen=True, kw_only=True)
class Documents:
    """What the user said of the data, beside the data."""

    metadata: Metadata = field(default_factory=Metadata)
    provenance: Provenance = field(default_factory=Provenance)
    variables: Mapping[str, str] = field(default_factory=dict)
    questionnaire: Questionnaire = field(default_factory=Questionnaire)
    reference: Reference | None = None
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    label_column: str = ""
    sensitive: tuple[str, ...] = ()
    as_of: str = ""


@dataclass(frozen=True)
class Builder:
    """Makes the data of each module. Codes, dependence and the model are computed once and shared."""

    table: Table
    documents: Documents
    settings: Settings
    seed: int

    @cached_property
    def usable(self) -> tuple[Column, ...]:
        """Columns of pairs and model: no identifiers, and not more than fit."""
        kept = [c for c in self.table.columns if not c.identifier or c.name == self.documents.label_column]
        return tuple(c for c in kept if c.statistics.present)

    @cached_property
    def paired(self) -> tuple[Column, ...]:
        kept = list(self.usable[:PAIR_COLUMNS])
        kept += [c for c in self.usable[PAIR_COLUMNS:] if c.name == self.documents.label_column]
        return tuple(kept)

    @cached_property
    def coded(self) -> dict[str, Coded]:
        s = self.settings
        sample = self.table.sample
        return {c.name: code_column(c, sample.get_column(c.name), bins=s.bins, categories=s.categories) for c in self.paired}

    @cached_property
    def codes(self) -> np.ndarray:
        columns = list(self.coded.values())
        return np.stack([c.codes for c in columns]).T if columns else np.zeros((self.table.sample.height, 0), np.int16)

    @cached_property
    def sizes(self) -> list[int]:
        return [c.size for c in self.coded.values()]

    @cached_property
    def information(self) -> tuple[np.ndarray, np.ndarray]:
        """Mutual information and Cramer's V of all pairs."""
        return information_and_v(self.codes, self.sizes)

    @cached_property
    def ranks(self) -> np.ndarray:
        """Spearman's rho of all pairs, NaN where a column is not numeric."""
        out = np.full((len(self.coded),) * 2, np.nan)
        numeric = [i for i, c in enumerate(self.coded.values()) if c.is_numeric]
        if numeric:
            out[np.ix_(numeric, numeric)] = spearman([c.values for c in self.coded.values() if c.values is not None])
        return out

    @cached_property
    def ratios(self) -> np.ndarray:
        """Correlation ratio of numeric column b (second axis) given categories a (first axis); NaN elsewhere."""
        columns = list(self.coded.values())
        out = np.full((len(columns),) * 2, np.nan)
        for j, b in enumerate(columns):
            values = b.values
            if values is not None:
                for i, a in enumerate(columns):
                    if not a.is_numeric:
                        out[i, j] = correlation_ratio(a.codes, values, a.size)
        return out

    # The modules -------------------------------------------------------------------------------------------------------------------

    def metadata(self) -> tuple[dict[str, Any], list[Alert], bool]:
        table, given = self.table, self.documents.metadata
        gaps = [c for c in table.columns if c.statistics.missing]
        cells = table.rows * len(table.columns)
        data = plain(given) | {
            "rows": table.rows,
            "columns": len(table.columns),
            "missing_cells": table.missing_cells,
            "missing_share_of_all_cells": table.missing_cells / cells if cells else 0.0,
            "missing_share_of_columns_with_gaps": table.missing_cells / (table.rows * len(gaps)) if gaps and table.rows else 0.0,
            "columns_with_gaps": len(gaps),
            "duplicate_rows": table.duplicate_rows,
        }
        data["range"] = {"from": data.pop("range_from"), "to": data.pop("range_to")}
        alerts = [a for a in document_alerts(given, (), self.documents.as_of) if a.module == "metadata"]
        return data, alerts, UNKNOWN not in (given.license, given.description, given.url, given.released)

    def provenance(self) -> tuple[dict[str, Any], list[Alert], bool]:
        given = self.documents.provenance
        return plain(given), [], UNKNOWN not in (given.source.name, given.author.name)

    def variables(self) -> tuple[dict[str, Any], list[Alert], bool]:
        said = self.documents.variables
        names = [c.name for c in self.table.columns]
        without = tuple(n for n in names if not said.get(n))
        rows = [
            {
                "name": c.name,
                "definition": said.get(c.name) or UNKNOWN,
                "dtype": c.dtype,
                "scale": c.scale,
                "identifier": c.identifier,
                "role": "label" if c.name == self.documents.label_column else "sensitive" if c.name in self.documents.sensitive else "",
            }
            for c in self.table.columns
        ]
        alerts = [a for a in document_alerts(self.documents.metadata, without, "") if a.module == "variables"]
        return {"variables": rows}, alerts, not without

    def statistics(self) -> tuple[dict[str, Any], list[Alert], bool]:
        groups: dict[str, list[dict[str, Any]]] = {"ordinal": [], "nominal": [], "continuous": [], "discrete": []}
        for c in self.table.columns:
            hidden = self.settings.floor if c.name in self.documents.sensitive else 0
            row = number_row(c.statistics, ddof=self.settings.ddof) if c.numeric else frequency_row(c.statistics, floor=hidden)
            if c.numeric and hidden:  # the extremes of a sensitive number belong to single persons
                row |= {"min": None, "max": None, "suppressed": ["min", "max"]}
            groups[c.scale].append({"name": c.name} | row)
        watched = tuple(n for n in (self.documents.label_column, *self.documents.sensitive) if n)
        alerts = column_alerts(self.table) + imbalance_alerts(self.coded, watched)
        return {"ddof": self.settings.ddof, "groups": groups}, alerts, True

    def _label_measures(self) -> dict[str, tuple[str, float]]:
        """Strongest dependence of every other column on the label, with its name."""
        names, label = list(self.coded), self.documents.label_column
        if label not in names:
            return {}
        j, found = names.index(label), {}
        for i, name in enumerate(names):
            if i == j:
                continue
            measures = {
                "Cramer's V": self.information[1][i, j],
                "correlation ratio": max(np.nan_to_num(self.ratios[i, j]), np.nan_to_num(self.ratios[j, i])),
                "Spearman |rho|": abs(self.ranks[i, j]),
            }
            if self.coded[label].is_numeric and self.coded[name].is_numeric:
                del measures["Cramer's V"]  # of bins: it follows the rank correlation
            best = max(measures, key=lambda m: float(np.nan_to_num(measures[m])))
            found[name] = (best, float(np.nan_to_num(measures[best])))
        return found

    def pair_alerts(self) -> list[Alert]:
        return leakage_alerts(self.documents.label_column, self._label_measures()) + missingness_alerts(self.coded)

    def pairs(self) -> tuple[dict[str, Any], list[Alert], bool]:
        names, floor = list(self.coded), self.settings.floor
        information, v = self.information
        data = {
            "columns": names,
            "left_out": [c.name for c in self.table.columns if c.name not in self.coded],
            "rows": self.table.sample.height,
            "sampled": self.table.sampled,
            "floor": floor,
            "marginals": {n: histogram(c, floor=floor) for n, c in self.coded.items()},
            "dependence": {
                "mutual_information": plain(information),
                "cramers_v": plain(v),
                "correlation_ratio": plain(self.ratios),
                "spearman": plain(self.ranks),
            },
            "plots": [self.plot(names[a], names[b]) for a, b in self._most_dependent()],
        }
        return data, self.pair_alerts(), True

    def _most_dependent(self) -> list[tuple[int, int]]:
        """Pairs by bias-corrected V, strongest first; pairs with the label come first among equals."""
        names, v = list(self.coded), self.information[1]
        label = self.documents.label_column
        pairs = list(itertools.combinations(range(len(names)), 2))
        pairs.sort(key=lambda p: (-round(float(np.nan_to_num(v[p])), 6), label not in (names[p[0]], names[p[1]]), p))
        return pairs[: self.settings.plots]

    def plot(self, a: str, b: str) -> dict[str, Any]:
        """Joint histogram of two columns, rows of `a` by columns of `b` (its transpose is the plot of b by a); cells under the floor are None."""
        first, second = self.coded[a], self.coded[b]
        codes = np.stack([first.codes, second.codes]).T
        counts = joint_strip(codes, [first.size, second.size], 0).block(1)
        i, j = list(self.coded).index(a), list(self.coded).index(b)
        return {
            "a": a,
            "b": b,
            "counts": suppress(counts, self.settings.floor),
            "cramers_v": plain(float(self.information[1][i, j])),
            "mutual_information": plain(float(self.information[0][i, j])),
        }

    @cached_property
    def model_frame(self) -> pl.DataFrame:
        sample = self.table.sample
        if sample.height <= self.settings.model_rows:
            return sample
        keys = np.random.default_rng(self.seed + 1).random(sample.height)
        return sample[np.sort(np.argsort(keys, kind="stable")[: self.settings.model_rows])]

    @cached_property
    def model(self) -> RowModel:
        """The probabilistic model of rows."""
        columns = self.paired[:MODEL_COLUMNS]
        if self.settings.back_end == "crosscat":
            return fit_crosscat(self.model_frame, columns, seed=self.seed)
        s = self.settings
        return fit_chow_liu(self.model_frame, columns, resamples=s.resamples, permutations=s.permutations, seed=self.seed)

    def probabilistic(self) -> tuple[dict[str, Any], list[Alert], bool]:
        model = self.model
        rows = self.model_frame.height if self.settings.back_end == "chow-liu" else min(CROSSCAT_ROWS, self.model_frame.height)
        data: dict[str, Any] = {
            "back_end": self.settings.back_end,
            "columns": list(model.names),
            "rows": rows,
            "sampled": rows < self.table.rows,
            "dependence": plain(model.dependence()),
            "simulations": self.settings.simulations,
            "floor": self.settings.floor,
            "conditions": [self.condition(t, g) for t, g in self._conditions(model)],
        }
        if isinstance(model, ChowLiuTree):
            data["tree"] = [list(edge) for edge in model.edges()]
        return data, [], True

    def _conditions(self, model: RowModel) -> list[tuple[str, str]]:
        """(target, given) pairs of columns with few values: the label given others first, then the most dependent pairs."""
        few = [n for n, c in self.coded.items() if n in model.names and not c.is_numeric and not c.has_other and 2 <= c.size <= FEW_VALUES]
        names, v = list(self.coded), self.information[1]
        pairs = [(a, b) for a, b in itertools.permutations(few, 2)]
        label, sensitive = self.documents.label_column, self.documents.sensitive

        def rank(pair: tuple[str, str]) -> tuple[Any, ...]:
            strength = float(np.nan_to_num(v[names.index(pair[0]), names.index(pair[1])]))
            return pair[0] != label, pair[1] not in sensitive, -round(strength, 6), pair

        chosen = sorted(pairs, key=rank)
        # without a label each pair is asked once
        chosen = [p for p in chosen if (p[0] == label if label in few else p[0] < p[1])]
        return chosen[:CONDITIONS]

    def condition(self, target: str, given: str) -> dict[str, Any]:
        """Simulated P(target | given = v) for the values v of `given` that enough rows have; cells under the floor are None."""
        wanted, condition, floor = self.coded[target], self.coded[given], self.settings.floor
        counts = joint_strip(np.stack([condition.codes, wanted.codes]).T, [condition.size, wanted.size], 0).block(1)
        rows, too_few = [], 0
        for k, value in enumerate(condition.labels[:CONDITION_VALUES]):
            n = int(counts[k].sum())
            if n < max(floor, 1):
                too_few += 1
                continue
            drawn = self.model.simulate([target], {given: value}, self.settings.simulations, seed=self.seed + 7 * k)
            shares = dict(drawn.get_column(target).value_counts(name="count").iter_rows())
            cells = []
            for j, word in enumerate(wanted.labels[:TARGET_VALUES]):
                hidden = 0 < counts[k, j] < floor
                cells.append(
                    {
                        "value": word,
                        "simulated": None if hidden else shares.get(word, 0) / self.settings.simulations,
                        "observed": None if hidden else float(counts[k, j] / n),
                    }
                )
            rows.append({"value": value, "n": n, "cells": cells})
        return {"target": target, "given": given, "rows": rows, "suppressed_conditions": too_few}

    def ground_truth(self) -> tuple[dict[str, Any], list[Alert], bool]:
        reference = self.documents.reference
        if reference is None:
            return {}, [], False
        frame = self.table.frame if self.table.frame is not None else self.table.sample
        data = plain(ground_truth_module(frame, reference))
        alerts = representation_alerts(data["representation"])
        floor = self.settings.floor
        for entry in data["representation"]:
            for row in entry["groups"]:
                if 0 < row["count"] < floor:
                    row["count"] = None
        return data | {"rows": frame.height}, alerts, True

    def dataset_info(self) -> tuple[dict[str, Any], list[Alert], bool]:
        answered, asked = self.documents.questionnaire.answered()
        return {"answered": answered, "asked": asked, "answers": plain(self.documents.questionnaire)}, [], answered == asked

    def results(self) -> tuple[dict[str, Any], list[Alert], bool]:
        return {"results": plain(self.documents.results)}, [], True
