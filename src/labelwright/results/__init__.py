"""What the verbs return: frozen dataclasses that know where they come from and how to leave.

Each holds `status` and `provenance`, gives a Polars frame (``to_frame()``; ``.to_pandas()`` from
there) and saves to a folder: ``run.json`` with the provenance and plain facts, Parquet for tables,
safetensors for arrays, never a pickle. ``load`` inverts ``save`` exactly. A folder appears only
complete: it is written beside its place and renamed.
"""

from labelwright.files import plain, whole_folder
from labelwright.results.base import Provenance, Result, Status, load, versions, with_facts
from labelwright.results.learned import Forgotten, Learned
from labelwright.results.proofs import Certificate
from labelwright.results.rows import Annotation, Audit, Selection
from labelwright.results.sets import Condensed

__all__ = [
    "Annotation",
    "Audit",
    "Certificate",
    "Condensed",
    "Forgotten",
    "Learned",
    "Provenance",
    "Result",
    "Selection",
    "Status",
    "load",
    "plain",
    "versions",
    "whole_folder",
    "with_facts",
]
