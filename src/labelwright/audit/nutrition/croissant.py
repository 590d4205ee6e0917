"""Croissant 1.1 with the RAI 1.0 vocabulary: export of a label, import of what people said, validation with mlcroissant.

The JSON-LD is written here; ``mlcroissant`` is only asked to validate it, when it is installed. A statement that is ``unknown`` is
written as that word where the specification requires the key and left out elsewhere; ``datePublished`` must be a date, so it is
left out when nobody gave one (`missing_required` names what is absent or unknown).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from labelwright.audit.nutrition.questionnaire import UNKNOWN, Metadata, Party, Provenance, Questionnaire
from labelwright.errors import InputError, require

if TYPE_CHECKING:
    from labelwright.audit.nutrition.label import Label

__all__ = ["CONFORMS", "CONTEXT", "REQUIRED", "from_croissant", "missing_required", "to_croissant", "validate_croissant"]

CONFORMS = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
REQUIRED = ("@context", "@type", "conformsTo", "name", "description", "license", "url", "creator", "datePublished")
RECORDS = "records"
ROW_COUNT = "wd:Q4049983"
MEAN, MAXIMUM = "ddi:7975ed0", "ddi:8321e79"
ENCODING = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".parquet": "application/x-parquet",
    ".zip": "application/zip",
}

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "annotation": "cr:annotation",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "ddi": "http://rdf-vocabulary.ddialliance.org/cv/SummaryStatisticType/2.1.2/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "wd": "http://www.wikidata.org/entity/",
}

RAI = {
    "dataCollection": "collection_method",
    "dataCollectionType": "collection_type",
    "dataCollectionMissingData": "missing_data",
    "dataCollectionRawData": "raw_data_kept",
    "dataCollectionTimeframe": "collection_timeframe",
    "dataImputationProtocol": "imputation",
    "dataManipulationProtocol": "manipulation",
    "dataPreprocessingProtocol": "preprocessing",
    "dataAnnotationProtocol": "annotation_protocol",
    "dataAnnotationPlatform": "annotation_platform",
    "dataAnnotationAnalysis": "annotation_analysis",
    "annotationsPerItem": "annotations_per_item",
    "annotatorDemographics": "annotator_demographics",
    "machineAnnotationTools": "machine_annotation_tools",
    "dataReleaseMaintenancePlan": "maintenance_plan",
    "personalSensitiveInformation": "personal_information",
    "dataSocialImpact": "social_impact",
    "dataBiases": "known_biases",
    "dataLimitations": "known_limitations",
    "dataUseCases": "intended_uses",
}
"""RAI term → field of the questionnaire."""
DATED = {"collection_timeframe"}  # RAI asks for dates there; words go to dataCollection


def _said(value: Any) -> bool:
    return value not in (None, "", UNKNOWN, [], ())


def _data_type(dtype: str) -> str:
    if dtype.startswith(("Int", "UInt")):
        return "sc:Integer"
    if dtype.startswith(("Float", "Decimal")):
        return "sc:Float"
    if dtype.startswith("Datetime"):
        return "sc:DateTime"
    return {"Boolean": "sc:Boolean", "Date": "sc:Date", "Time": "sc:Time"}.get(dtype, "sc:Text")


def _annotation(at: str, name: str, value: Any, data_type: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": f"{at}/{name}", "name": name, "value": value, "dataType": data_type}


def _ids(names: Sequence[str]) -> dict[str, str]:
    """Column → @id without white space, unique."""
    made: dict[str, str] = {}
    for name in names:
        word = re.sub(r"[^\w.-]+", "-", name).strip("-") or "column"
        while f"{RECORDS}/{word}" in made.values():
            word += "-"
        made[name] = f"{RECORDS}/{word}"
    return made


def _party(party: Mapping[str, Any]) -> dict[str, Any]:
    made = {"@type": "sc:Organization", "name": party["name"]}
    return made | {k: party[k] for k in ("url", "email") if _said(party[k])}


def _fields(label: Label, file_id: str) -> list[dict[str, Any]]:
    statistics = label.module("statistics").data
    rows = {row["name"]: row for group in statistics.get("groups", {}).values() for row in group}
    made = []
    variables = label.module("variables").data.get("variables", [])
    ids = _ids([v["name"] for v in variables])
    for variable in variables:
        name, at = variable["name"], ids[variable["name"]]
        entry: dict[str, Any] = {"@type": "cr:Field", "@id": at, "name": name, "dataType": _data_type(variable["dtype"])}
        entry["source"] = {"fileObject": {"@id": file_id}, "extract": {"column": name}}
        if _said(variable["definition"]):
            entry["description"] = variable["definition"]
        row = rows.get(name, {})
        notes = [_annotation(at, k, row[k], t) for k, t in (("mean", MEAN), ("max", MAXIMUM)) if row.get(k) is not None]
        entry |= {"annotation": notes} if notes else {}
        made.append(entry)
    return made


def _file(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The file the columns come from; "data" with unknown content where none was named."""
    name = meta["filename"] if _said(meta["filename"]) else "data"
    encoding = ENCODING.get(PurePath(name).suffix.lower(), "application/octet-stream")
    entry = {
        "@type": "cr:FileObject",
        "@id": re.sub(r"\s+", "-", name),
        "name": name,
        "contentUrl": meta["filename"],
        "encodingFormat": encoding,
    }
    return entry | ({"sha256": meta["sha256"]} if _said(meta["sha256"]) else {"sha256": UNKNOWN})


def to_croissant(label: Label) -> dict[str, Any]:
    """The label as JSON-LD. Tables whose file is named get a ``cr:FileObject`` with the columns extracted from it."""
    meta, provenance = label.module("metadata").data, label.module("provenance").data
    answers = label.module("dataset info").data["answers"]
    author = provenance["author"] if _said(provenance["author"]["name"]) else provenance["source"]
    made: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS),
        "name": label.name,
        "description": meta["description"],
        "license": meta["license"],
        "url": meta["url"],
        "creator": _party(author),
    }
    if _said(meta["released"]):
        made["datePublished"] = meta["released"]
    if _said(meta["version"]):
        made["version"] = meta["version"]
    if meta["keywords"]:
        made["keywords"] = list(meta["keywords"])
    made["distribution"] = [_file(meta)]
    made["recordSet"] = [
        {
            "@type": "cr:RecordSet",
            "@id": RECORDS,
            "name": RECORDS,
            "annotation": [_annotation(RECORDS, "count", meta["rows"], ROW_COUNT)],
            "field": _fields(label, made["distribution"][0]["@id"]),
        }
    ]
    if provenance["derived_from"]:
        made["prov:wasDerivedFrom"] = [{"@id": source} for source in provenance["derived_from"]]
    if _said(provenance["generated_by"]):
        made["prov:wasGeneratedBy"] = provenance["generated_by"]
    if _said(provenance["source"]["name"]):
        made["prov:wasAttributedTo"] = _party(provenance["source"])
    return made | _rai(answers, meta)


def _rai(answers: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for term, name in RAI.items():
        value = answers[name]
        if name == "intended_uses":
            value = [case["use"] for case in value if case["intended"]]
        elif name in DATED:
            value = [day for day in (meta["range"]["from"], meta["range"]["to"]) if _said(day)]
        if _said(value):
            made[f"rai:{term}"] = value
    if _said(answers["collection_timeframe"]):
        text = made.get("rai:dataCollection")
        made["rai:dataCollection"] = " ".join(t for t in (text, f"Timeframe: {answers['collection_timeframe']}") if t)
    return made


def missing_required(document: Mapping[str, Any]) -> list[str]:
    """Required keys that are absent or unknown."""

    def name_of(value: Any) -> Any:
        return value.get("name") if isinstance(value, Mapping) else value

    return [key for key in REQUIRED if not _said(name_of(document[key]) if key == "creator" and key in document else document.get(key))]


def _text(value: Any) -> str:
    """A literal of JSON-LD as text: plain, language-tagged, a value object or a list of these."""
    if isinstance(value, Mapping):
        if "@value" in value:
            return str(value["@value"])
        return _text(value.get("name") or value.get("en") or next(iter(value.values()), ""))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(_text(v) for v in value)
    return UNKNOWN if value is None else str(value)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _read_party(value: Any) -> Party:
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, Mapping):
        return Party(name=_text(first))
    return Party(**{k: _text(first.get(k)) for k in ("name", "url", "email")})


def from_croissant(document: Mapping[str, Any] | str) -> dict[str, Any]:
    """What a Croissant file says, as the keyword arguments ``metadata``, ``provenance``, ``variables`` and ``questionnaire`` of ``make_label``.

    Raises
    ------
    InputError
        If it is not a Croissant document.
    """
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except json.JSONDecodeError as err:
            raise InputError(f"The Croissant file is not valid JSON: {err}.") from err
    if not isinstance(document, Mapping) or not str(document.get("@type", "")).endswith("Dataset"):
        raise InputError("This is not a Croissant document: its @type is not sc:Dataset.")

    def rai(term: str) -> Any:
        return document.get(f"rai:{term}", document.get(term))  # older files map the terms in their context

    times = sorted(_text(t)[:10] for t in _listed(rai("dataCollectionTimeframe")))
    files = [f for f in _listed(document.get("distribution")) if isinstance(f, Mapping) and str(f.get("@type", "")).endswith("FileObject")]
    metadata = Metadata(
        name=_text(document.get("name")),
        filename=_text(files[0].get("name")) if files else UNKNOWN,
        format=_text(files[0].get("encodingFormat")) if files else UNKNOWN,
        sha256=_text(files[0].get("sha256")) if files else UNKNOWN,
        url=_text(document.get("url")),
        keywords=tuple(_text(k) for k in _listed(document.get("keywords"))),
        license=_text(document.get("license")),
        released=_text(document.get("datePublished"))[:10],
        version=_text(document.get("version")),
        range_from=times[0] if len(times) > 1 else UNKNOWN,
        range_to=times[-1] if times else UNKNOWN,
        description=_text(document.get("description")),
    )
    source = document.get("prov:wasAttributedTo")
    provenance = Provenance(
        source=Party() if source is None else _read_party(source),
        author=_read_party(document.get("creator")),
        derived_from=tuple(
            str(d.get("@id", _text(d))) if isinstance(d, Mapping) else str(d) for d in _listed(document.get("prov:wasDerivedFrom"))
        ),
        generated_by=_text(document.get("prov:wasGeneratedBy")),
    )
    variables = {}
    for record_set in _listed(document.get("recordSet")):
        for entry in _listed(record_set.get("field")):
            if entry.get("description"):
                variables[_text(entry.get("name"))] = _text(entry["description"])
    answers: dict[str, Any] = {name: _text(rai(term)) for term, name in RAI.items() if name != "intended_uses" and name not in DATED}
    answers["intended_uses"] = tuple(_text(use) for use in _listed(rai("dataUseCases")))
    return {"metadata": metadata, "provenance": provenance, "variables": variables, "questionnaire": Questionnaire(**answers)}


def validate_croissant(document: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Errors and warnings that mlcroissant finds.

    Raises
    ------
    MissingExtra
        If mlcroissant is not installed.
    """
    mlcroissant = require("mlcroissant", extra="dev", feature="Validation of Croissant files")
    # its own logger repeats every warning on stderr; they are returned instead
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        found = mlcroissant.Dataset(jsonld=json.loads(json.dumps(document))).metadata.ctx.issues
    except mlcroissant.ValidationError as err:
        return [str(err)], []
    finally:
        logger.setLevel(level)
    return sorted(found.errors), sorted(found.warnings)
