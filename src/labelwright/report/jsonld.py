"""Croissant 1.1 (JSON-LD) beside a report: the audited dataset and its findings table, described for machines."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelwright.data import Dataset

__all__ = ["croissant"]

FIELDS = {
    "id": ("sc:Text", "Id of the example."),
    "index": ("sc:Integer", "Row of the example in the audited dataset, from 0."),
    "issue": ("sc:Text", "What may be wrong with it."),
    "score": ("sc:Float", "In [0, 1], higher = more likely an issue."),
    "flagged": ("sc:Boolean", "Whether the audit calls it an issue."),
    "given": ("sc:Text", "Its given label."),
    "suggested": ("sc:Text", "The label the audit suggests instead."),
    "reason": ("sc:Text", "Why."),
}
UNSTATED = "unknown"
"""What Croissant requires and nobody said."""


def croissant(data: Dataset, findings: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """JSON-LD for the findings of an audit of `data`, written at `findings` (Parquet).

    What the dataset does not say about itself (licence, address) is written as ``unknown``, never guessed.
    """
    from labelwright.audit.nutrition.croissant import CONFORMS, CONTEXT

    name = data.info.name or "dataset"
    issues = ", ".join(f"{issue} {facts['flagged']}" for issue, facts in summary["issues"].items())
    file_id = findings.name
    integral = data.ids.dtype.kind in "iu"
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"findings/{column}",
            "name": column,
            "description": text,
            "dataType": "sc:Integer" if column == "id" and integral else kind,
            "source": {"fileObject": {"@id": file_id}, "extract": {"column": column}},
        }
        for column, (kind, text) in FIELDS.items()
    ]
    about = f"{data.info.description} " if data.info.description else ""
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS[0],
        "name": f"{name}-audit",
        "description": f"{about}Findings of a labelwright audit of {len(data)} examples ({data.kind}); flagged: {issues or 'nothing'}.",
        "license": data.info.license or UNSTATED,
        "url": data.info.source if data.info.source.startswith(("http://", "https://")) else UNSTATED,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file_id,
                "name": file_id,
                "contentUrl": file_id,
                "encodingFormat": "application/x-parquet",
                "sha256": hashlib.sha256(findings.read_bytes()).hexdigest(),
            }
        ],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "findings", "name": "findings", "field": fields}],
    }
