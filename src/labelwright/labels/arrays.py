"""Label kinds that are one array with a row an example."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.labels.base import UNKNOWN, Labels, default_names, frozen, positions

__all__ = ["BagProportions", "ClassLabels", "MultiLabels", "SoftLabels", "Targets", "Votes"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Array(Labels):
    """Labels that are one array with a row an example."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: Any) -> Self:
        return self._replace(values=self.values[positions(index, len(self))])

    def _replace(self, **changes: Any) -> Self:
        return type(self)(**({f.name: getattr(self, f.name) for f in fields(self)} | changes))

    def _columns(self) -> dict[str, Any]:
        if self.values.ndim == 1:
            return {"label": self.values}
        return {f"{j}": self.values[:, j] for j in range(self.values.shape[1])}

    @classmethod
    def _from_columns(cls, columns: dict[str, Any], meta: dict[str, Any]) -> Self:
        if set(columns) == {"label"}:
            values = columns["label"].to_numpy(zero_copy_only=False)
        else:
            values = np.stack([columns[f"{j}"].to_numpy(zero_copy_only=False) for j in range(len(columns))], axis=1)
        return cls(values=values, names=meta["names"])


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClassLabels(_Array, kind="class-labels"):
    """One class an example: clean, noisy, scarce or long-tailed.

    `values`: int64 (N,), in 0..C-1, or :data:`UNKNOWN`. `names`: C class names; without them,
    "0", "1", … up to the largest value.
    """

    def __post_init__(self) -> None:
        raw = np.asarray(self.values)
        if not len(self.names) and np.issubdtype(raw.dtype, np.number) and raw.ndim == 1:
            size = int(raw.max(initial=UNKNOWN)) + 1
        else:
            size = len(self.names)
        object.__setattr__(self, "names", default_names(self.names, size, what="ClassLabels"))
        object.__setattr__(self, "values", frozen(check.class_index("labels", raw, num_classes=size, unknown=UNKNOWN)))

    @classmethod
    def encode(cls, values: Iterable[Any], names: Sequence[str] = ()) -> ClassLabels:
        """From class *words*: None, NaN and "" are unknown. Without `names`, sorted order numbers the classes.

        Integer words sort by number, all others by string.

        Raises
        ------
        InputError
            If a word is not among the `names` given.
        """
        raw = values.tolist() if isinstance(values, np.ndarray) else list(values)
        words = [None if v is None or v == "" or v != v else str(v) for v in raw]
        found = {w for w in words if w is not None}
        if not len(names):
            integral = all(re.fullmatch(r"-?\d+", w) for w in found)
            names = sorted(found, key=lambda w: (int(w), w)) if integral else sorted(found)
        place = {str(n): j for j, n in enumerate(names)}
        for row, w in enumerate(words):
            if w is not None and w not in place:
                raise InputError(f"label {w!r} (row {row}) is not one of the {len(names)} classes.{check.nearest(w, place)}")
        codes = np.fromiter((UNKNOWN if w is None else place[w] for w in words), dtype=np.int64, count=len(words))
        return cls(values=codes, names=names)

    @property
    def known(self) -> np.ndarray:
        return self.values != UNKNOWN

    @property
    def num_classes(self) -> int:
        """C, classes without examples included."""
        return len(self.names)

    def counts(self) -> np.ndarray:
        """Examples of each class, (C,)."""
        return np.bincount(self.values[self.known], minlength=self.num_classes)

    def words(self) -> np.ndarray:
        """Class names (N,), object dtype; None where unknown."""
        table = np.array([*self.names, None], dtype=object)
        return table[self.values]

    def _facts(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "counts": dict(zip(self.names, self.counts().tolist(), strict=True))}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MultiLabels(_Array, kind="multi-labels"):
    """Any number of classes an example. `values`: int8 (N, C): 1 present, 0 absent, UNKNOWN not annotated."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2 or not values.shape[1]:
            raise InputError(f"MultiLabels values must have shape (N, C), C >= 1; got {values.shape}.")
        bad = ~np.isin(values, (0, 1, UNKNOWN))
        if bad.any():
            row, col = (int(i[0]) for i in np.nonzero(bad))
            raise InputError(
                f"MultiLabels values must be 1, 0 or {UNKNOWN} (unknown); row {row}, column {col} is {values[row, col].item()!r}."
            )
        object.__setattr__(self, "values", frozen(values, np.int8))
        object.__setattr__(self, "names", default_names(self.names, values.shape[1], what="MultiLabels"))

    @property
    def known(self) -> np.ndarray:
        return self.values != UNKNOWN

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def _facts(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "positives": dict(zip(self.names, (self.values == 1).sum(0).tolist(), strict=True))}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SoftLabels(_Array, kind="soft-labels"):
    """A distribution over classes for each example. `values`: float (N, C), rows on the simplex; a row of NaN is unknown."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
            raise InputError(f"SoftLabels values must be floats of shape (N, C); got {values.dtype} {values.shape}.")
        known = ~np.isnan(values).all(1)
        check.probabilities("soft labels", values[known])
        object.__setattr__(self, "values", frozen(values))
        object.__setattr__(self, "names", default_names(self.names, values.shape[1], what="SoftLabels"))

    @property
    def known(self) -> np.ndarray:
        return ~np.isnan(self.values).all(1)

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def harden(self) -> ClassLabels:
        """The most probable class of each row; unknown rows stay unknown."""
        values = np.where(self.known, np.nan_to_num(self.values).argmax(1), UNKNOWN)
        return ClassLabels(values=values, names=self.names)

    def _facts(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BagProportions(_Array, kind="proportions"):
    """Class shares of bags of examples.

    `values`: int64 (N,), the bag of each example, or UNKNOWN; `proportions`: float (B, C), rows on the simplex.
    """

    proportions: np.ndarray

    def __post_init__(self) -> None:
        proportions = np.asarray(self.proportions, dtype=np.float64)
        check.probabilities("proportions", proportions)
        object.__setattr__(self, "proportions", frozen(proportions))
        bags = check.class_index("bags", self.values, num_classes=len(proportions), unknown=UNKNOWN)
        object.__setattr__(self, "values", frozen(bags))
        object.__setattr__(self, "names", default_names(self.names, proportions.shape[1], what="BagProportions"))

    @property
    def known(self) -> np.ndarray:
        return self.values != UNKNOWN

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def _meta(self) -> dict[str, Any]:
        return {"proportions": self.proportions.tolist()}

    @classmethod
    def _from_columns(cls, columns: dict[str, Any], meta: dict[str, Any]) -> Self:
        values = columns["label"].to_numpy(zero_copy_only=False)
        proportions = np.asarray(meta["proportions"], dtype=np.float64).reshape(-1, len(meta["names"]))
        return cls(values=values, names=meta["names"], proportions=proportions)

    def _facts(self) -> dict[str, Any]:
        return {"bags": len(self.proportions), "num_classes": self.num_classes}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Votes(_Array, kind="votes"):
    """Labels by several annotators. `values`: int64 (N, R), a class index or UNKNOWN; `names`: C classes; `annotators`: R names."""

    annotators: Sequence[str] = ()

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2 or not values.shape[1]:
            raise InputError(f"Votes values must have shape (N, R), R >= 1; got {values.shape}.")
        size = len(self.names) or int(values.max(initial=UNKNOWN)) + 1
        object.__setattr__(self, "names", default_names(self.names, size, what="Votes"))
        flat = check.class_index("votes", values.reshape(-1), num_classes=size, unknown=UNKNOWN)
        object.__setattr__(self, "values", frozen(flat.reshape(values.shape)))
        object.__setattr__(self, "annotators", default_names(self.annotators, values.shape[1], what="Votes"))

    @property
    def known(self) -> np.ndarray:
        return self.values != UNKNOWN

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def counts(self) -> np.ndarray:
        """Votes for each class, int64 (N, C)."""
        n, c = len(self), self.num_classes
        flat = (np.arange(n)[:, None] * c + self.values)[self.known]
        return np.bincount(flat, minlength=n * c).reshape(n, c)

    def _meta(self) -> dict[str, Any]:
        return {"annotators": list(self.annotators)}

    @classmethod
    def _from_columns(cls, columns: dict[str, Any], meta: dict[str, Any]) -> Self:
        values = np.stack([columns[f"{j}"].to_numpy(zero_copy_only=False) for j in range(len(columns))], axis=1)
        return cls(values=values, names=meta["names"], annotators=meta["annotators"])

    def _facts(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "annotators": len(self.annotators)}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Targets(_Array, kind="targets"):
    """Real values for several tasks. `values`: float (N, T), NaN where unmeasured; `names`: T task names."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != 2 or not values.shape[1]:
            raise InputError(f"Targets values must have shape (N, T), T >= 1; got {values.shape}.")
        if np.isinf(values).any():
            raise InputError(f"Targets must be finite or NaN; row {int(np.isinf(values).any(1).argmax())} is infinite.")
        object.__setattr__(self, "values", frozen(values))
        object.__setattr__(self, "names", default_names(self.names, values.shape[1], what="Targets"))

    @property
    def known(self) -> np.ndarray:
        return ~np.isnan(self.values)
