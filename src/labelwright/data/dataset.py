"""The dataset: inputs, labels, stable ids, named columns and where it all comes from. Immutable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from labelwright import check
from labelwright.data import inputs as _inputs
from labelwright.data.inputs import InputKind
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, Labels
from labelwright.labels.base import positions

__all__ = ["Dataset", "Info"]

L = TypeVar("L", bound=Labels)


@dataclass(frozen=True, kw_only=True)
class Info:
    """Where a dataset comes from and what its columns mean; empty strings where nobody said."""

    name: str = ""
    source: str = ""
    license: str = ""
    description: str = ""
    feature_names: tuple[str, ...] = ()
    label_name: str = "label"
    extra: Mapping[str, Any] = field(default_factory=dict)


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Examples with imperfect labels.

    Attributes
    ----------
    inputs
        Array or tensor with a row an example ((N, D) vectors, (N, C, H, W) images), or a
        :class:`~labelwright.data.LazyInputs` (images, texts, table rows).
    labels
        One of the label kinds, of the same length; None when there are none at all.
    ids
        (N,) unique integers or strings; 0..N-1 when left out. Every result speaks of examples by id.
    columns
        Further facts a row, name → (N,) array: ``group``, ``domain``, ``split``, ``weight``, ….
    info
        Name, source, licence, names of features.

    Raises
    ------
    InputError
        If lengths differ or ids repeat.
    """

    inputs: Any
    labels: Labels | None = None
    ids: Any = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    info: Info = field(default_factory=Info)

    def __post_init__(self) -> None:
        n = len(self.inputs)
        ids = np.arange(n) if self.ids is None else np.asarray(self.ids)
        if ids.dtype.kind not in "iu":
            ids = ids.astype(str)
        columns = {str(k): _read_only(np.asarray(v)) for k, v in self.columns.items()}
        check.same_length(inputs=self.inputs, labels=self.labels, ids=ids, **{f"column {k!r}": v for k, v in columns.items()})
        check.unique("ids", ids)
        object.__setattr__(self, "ids", _read_only(ids))
        object.__setattr__(self, "columns", MappingProxyType(columns))

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        labels = "no labels" if self.labels is None else f"{self.labels.kind} ({len(self.labels.names)})"
        return f"Dataset({self.info.name or 'unnamed'}: {len(self):,} {self.kind}, {labels}{', columns ' + ', '.join(self.columns) if self.columns else ''})"

    @property
    def kind(self) -> InputKind:
        """``vectors``, ``images``, ``texts``, ``table``, ``nodes`` or ``sequence``."""
        return _inputs.kind_of(self.inputs)

    @property
    def num_classes(self) -> int:
        """C, for labels that have classes."""
        return len(self.require_labels(Labels).names)

    @property
    def known(self) -> np.ndarray:
        """Which examples have a label: (N,) bool; False everywhere without labels."""
        if self.labels is None:
            return np.zeros(len(self), dtype=bool)
        known = self.labels.known
        return known if known.ndim == 1 else np.asarray(known.any(1))

    @property
    def weights(self) -> np.ndarray:
        """Column ``weight`` as float64 (N,), ones without it."""
        if "weight" not in self.columns:
            return np.ones(len(self))
        weights = np.asarray(self.columns["weight"], dtype=np.float64)
        check.finite("column 'weight'", weights)
        if (weights < 0).any():
            raise InputError(f"column 'weight' must not be negative; row {int((weights < 0).argmax())} is {weights.min():g}.")
        return weights

    def require_labels(self, kind: type[L]) -> L:
        """The labels, if they are of `kind`.

        Raises
        ------
        InputError
            If there are none or they are of another kind.
        """
        if self.labels is None:
            raise InputError("The dataset has no labels.", hint="Name the label column with --labels COLUMN (labels= in Python).")
        if not isinstance(self.labels, kind):
            raise InputError(f"This needs {kind.kind}; the dataset has {self.labels.kind}.")
        return self.labels

    def class_labels(self, *, complete: bool = False) -> ClassLabels:
        """The labels as :class:`ClassLabels` with at least two classes observed; with `complete`, all known.

        Raises
        ------
        InputError
            If there are none, fewer than two classes occur, or some are unknown and `complete` is asked.
        """
        labels = self.require_labels(ClassLabels)
        present = int((labels.counts() > 0).sum())
        if present < 2:
            only = f" ({labels.names[int(labels.counts().argmax())]!r})" if present else ""
            raise InputError(f"At least two classes must occur; the labels hold {present}{only}.", hint="Is this the right label column?")
        if complete and not labels.known.all():
            raise InputError(
                f"{int((~labels.known).sum()):,} of {len(labels):,} labels are unknown, first row {int((~labels.known).argmax())}; all are needed here."
            )
        return labels

    def take(self, index: Any) -> Dataset:
        """The examples at `index` (integer positions or a boolean mask), in that order."""
        index = positions(index, len(self))
        return Dataset(
            inputs=_inputs.take(self.inputs, index),
            labels=None if self.labels is None else self.labels.take(index),
            ids=self.ids[index],
            columns={k: v[index] for k, v in self.columns.items()},
            info=self.info,
        )

    def positions(self, ids: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Row positions of `ids`, int64.

        Raises
        ------
        InputError
            If an id is not in the dataset.
        """
        wanted = np.asarray(ids)
        if self.ids.dtype.kind == "U":
            wanted = wanted.astype(str)
        elif len(wanted) and wanted.dtype.kind not in "iu":
            raise InputError(f"The ids of the dataset are integers; {wanted[0]!s} is none.", hint="Are these ids of another dataset?")
        order = np.argsort(self.ids, kind="stable")
        place = np.searchsorted(self.ids, wanted, sorter=order)
        found = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(wanted), dtype=np.int64)
        bad = self.ids[found] != wanted if len(order) else np.ones(len(wanted), dtype=bool)
        if bad.any():
            raise InputError(
                f"{int(bad.sum()):,} of {len(wanted):,} ids are not in the dataset, first {wanted[int(bad.argmax())].item()!r}."
            )
        return found.astype(np.int64)

    def with_labels(self, labels: Labels | None) -> Dataset:
        """The same examples with other labels."""
        return replace(self, labels=labels)

    def with_columns(self, **columns: Any) -> Dataset:
        """The same examples with further or replaced columns."""
        return replace(self, columns={**self.columns, **columns})

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over inputs, labels, ids and columns: equal data, equal fingerprint."""
        hasher = hashlib.blake2b(digest_size=16)
        _inputs.digest(self.inputs, hasher)
        _inputs.digest(self.ids if self.ids.dtype.kind in "iu" else np.char.encode(self.ids, "utf-8"), hasher)
        if self.labels is not None:
            hasher.update(repr((self.labels.kind, tuple(self.labels.names))).encode())
            for name, values in sorted(vars(self.labels).items()):
                for part in values if isinstance(values, tuple) else (values,):
                    if isinstance(part, np.ndarray) and part.dtype != object:
                        hasher.update(name.encode())
                        _inputs.digest(part, hasher)
                    else:
                        hasher.update(repr(part if not isinstance(part, np.ndarray) else part.tolist()).encode())
        for name in sorted(self.columns):
            column = self.columns[name]
            hasher.update(name.encode())
            hasher.update(repr(column.tolist()).encode() if column.dtype == object else np.ascontiguousarray(column).tobytes())
        return hasher.hexdigest()

    # Construction from other libraries and files, splitting and saving live in sibling modules;
    # these are the names users look for first.

    def split(self, fraction: float, *, seed: int, stratify: bool = True) -> tuple[Dataset, Dataset]:
        """Two disjoint parts, the second with about `fraction` of the examples; see :func:`labelwright.data.split`."""
        from labelwright.data.splits import split

        return split(self, fraction, seed=seed, stratify=stratify)

    def save(self, folder: Any) -> None:
        """Write a dataset folder that :func:`labelwright.data.load` reads back exactly."""
        from labelwright.data.store import save

        save(self, folder)
