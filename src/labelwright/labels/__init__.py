"""The label kinds: the vocabulary of the whole package.

A closed family of frozen dataclasses, validated on construction. Each has a length (examples),
`known` (boolean mask of what is observed), `names` (of classes, annotators or tasks), ``take``,
``summary`` and ``save``/``load`` (Parquet). On arrays the unknown is :data:`UNKNOWN` (-1), NaN
for real values; code outside this package asks `known` instead of comparing with either.

Arrays are stored as read-only views: labels are values, a change makes a new object.
"""

from labelwright.labels.arrays import BagProportions, ClassLabels, MultiLabels, SoftLabels, Targets, Votes
from labelwright.labels.base import KINDS, UNKNOWN, Labels, load
from labelwright.labels.marks import Boxes, Captions, Masks, Points, Spans

__all__ = [
    "KINDS",
    "UNKNOWN",
    "BagProportions",
    "Boxes",
    "Captions",
    "ClassLabels",
    "Labels",
    "Masks",
    "MultiLabels",
    "Points",
    "SoftLabels",
    "Spans",
    "Targets",
    "Votes",
    "load",
]
