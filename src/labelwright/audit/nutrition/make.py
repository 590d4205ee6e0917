"""Make a label of any data: read once, say what is known, compute modules when they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from labelwright import check
from labelwright.audit.nutrition.adapters import as_table
from labelwright.audit.nutrition.alerts import Alert
from labelwright.audit.nutrition.build import Builder, Documents
from labelwright.audit.nutrition.ground_truth import Reference
from labelwright.audit.nutrition.label import MODULES, Label, Module
from labelwright.audit.nutrition.questionnaire import Metadata, Provenance, Questionnaire, from_plain
from labelwright.audit.nutrition.settings import EXPOSURES, Settings
from labelwright.audit.nutrition.table import read_table
from labelwright.errors import InputError
from labelwright.results import plain

__all__ = ["make_label"]


def _makers(builder: Builder) -> dict[str, Callable[[], Module]]:
    work: dict[str, Callable[[], tuple[dict[str, Any], list[Alert], bool]]] = {
        "metadata": builder.metadata,
        "provenance": builder.provenance,
        "variables": builder.variables,
        "statistics": builder.statistics,
        "pair plots": builder.pairs,
        "probabilistic model": builder.probabilistic,
        "ground truth correlations": builder.ground_truth,
        "dataset info": builder.dataset_info,
        "results": builder.results,
    }
    highest = EXPOSURES.index(builder.settings.exposure)

    def maker(name: str) -> Callable[[], Module]:
        kind = MODULES[name]
        attributes = {k: v for k, v in asdict(kind).items() if k not in ("name", "kind")}

        def make() -> Module:
            too_open = EXPOSURES.index(kind.exposure) > highest
            if too_open or (name == "probabilistic model" and builder.settings.back_end == "none"):
                # alerts say little of single rows and are kept where a module's data are not shown
                alerts = {"pair plots": builder.pair_alerts, "statistics": lambda: builder.statistics()[1]}.get(name, list)()
                return Module(name=name, kind=kind.kind, status="off", alerts=tuple(alerts), attributes=attributes)
            if not builder.usable and name in ("pair plots", "probabilistic model"):
                return Module(name=name, kind=kind.kind, status="absent", attributes=attributes)
            data, alerts, complete = work[name]()
            empty = (name == "results" and not data["results"]) or (name == "ground truth correlations" and not data)
            status = "absent" if empty else "complete" if complete else "incomplete"
            return Module(name=name, kind=kind.kind, status=status, data=data, alerts=tuple(alerts), attributes=attributes)

        return make

    return {name: maker(name) for name in MODULES}


def make_label(
    data: Any,
    *,
    metadata: Metadata | Mapping[str, Any] | None = None,
    provenance: Provenance | Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    questionnaire: Questionnaire | Mapping[str, Any] | None = None,
    reference: Reference | None = None,
    results: Mapping[str, Any] | None = None,
    scales: Mapping[str, str] | None = None,
    label_column: str | None = None,
    sensitive: Sequence[str] = (),
    as_of: str = "",
    settings: Settings | None = None,
    seed: int,
) -> Label:
    """A label of `data`.

    Parameters
    ----------
    data
        A Polars, pandas or Arrow table, an iterable of Polars frames (read once, in bounded memory), or a
        :class:`~labelwright.data.Dataset` (tables, vectors, images, texts: see ``adapters``).
    metadata, provenance, questionnaire
        Their dataclasses or mappings with the same field names; what is left out is ``unknown``.
    variables
        Column → definition.
    reference
        Ground truth to compare with.
    results
        Name → a result of another verb (an ``Audit``, say) or a mapping of plain facts, shown in the module ``results``.
    scales
        Column → nominal, ordinal, discrete or continuous, overruling the inference.
    label_column, sensitive
        The column to predict; columns with the groups to watch.
    as_of
        Date at which age is judged; without it nothing is called stale, so that a label does not depend on the day it is made.
    seed
        Of samples, permutations and simulations.

    Raises
    ------
    InputError
        If a named column is absent, a field unknown or a value outside its range.
    """
    settings = settings or Settings()
    source = as_table(data)
    known = source.label_column if label_column is None else label_column
    table = read_table(source.frames, scales={**source.scales, **(scales or {})}, settings=settings, seed=seed)
    names = [c.name for c in table.columns]
    for what, used in (("label column", [known] if known else []), ("sensitive column", sensitive), ("variable", variables or {})):
        for name in used:
            check.known_word(what, name, names, place="the table")
    meta = from_plain(Metadata, metadata, what="metadata")
    meta = Metadata(**{**source.metadata, **{k: v for k, v in vars(meta).items() if v != getattr(Metadata(), k)}})
    documents = Documents(
        metadata=meta,
        provenance=from_plain(Provenance, provenance, what="provenance"),
        variables={**source.variables, **(variables or {})},
        questionnaire=from_plain(Questionnaire, questionnaire, what="questionnaire"),
        reference=reference,
        results={str(k): _facts_of(v) for k, v in (results or {}).items()},
        label_column=known or "",
        sensitive=tuple(sensitive),
        as_of=as_of,
    )
    builder = Builder(table, documents, settings, seed)
    head = {
        "name": meta.name if meta.name != "unknown" else "dataset",
        "source_kind": source.kind,
        "seed": seed,
        "settings": plain(settings),
        "label_column": documents.label_column,
        "sensitive": list(documents.sensitive),
        "as_of": as_of,
    }
    return Label(head, _makers(builder), builder=builder)


def _facts_of(result: Any) -> dict[str, Any]:
    """Plain facts of a result of another verb: its counts by issue and its own facts; a mapping is taken as it is."""
    if isinstance(result, Mapping):
        return dict(result)
    if not hasattr(result, "provenance") or not hasattr(result, "facts"):
        raise InputError(f"results must be results of a verb or mappings; got {type(result).__name__}.")
    made: dict[str, Any] = {"method": result.provenance.method, "verb": result.provenance.verb}
    if hasattr(result, "counts"):
        made["flagged"] = result.counts()
    return made | {k: v for k, v in result.facts.items() if isinstance(v, (str, int, float, bool))}
