"""The container that carries signals between verbs, and says where each of them comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from labelwright import check
from labelwright.errors import InputError

__all__ = ["KnnGraph", "Signals"]

ROW_AXIS = ("probs", "embeddings", "losses")
"""Fields that hold a row an example."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KnnGraph:
    """Nearest neighbours of each example, itself left out.

    `indices` int64 (N, K), row positions; `distances` float32 (N, K), ascending along a row. `metric` names the distance.
    """

    indices: np.ndarray
    distances: np.ndarray
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        check.same_shape(indices=self.indices, distances=self.distances)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def k(self) -> int:
        """Neighbours an example, K."""
        return int(self.indices.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
    """What models say about each example, computed once and shared by the verbs (``signals=``).

    Attributes
    ----------
    probs
        float (N, C), rows on the simplex (independent columns in [0, 1] for multi-labels), or None. Kept as given, a memory
        map too, where the type is float32 or float64; otherwise float32.
    out_of_sample
        Whether no row of `probs` comes from a model that was trained on that row.
    probs_source
        In words: "cross-validated convnet, 5 folds", "declared by the caller: probs.npy".
    embeddings, embeddings_source
        float32 (N, D) and how they were made.
    knn
        :class:`KnnGraph` over `embeddings`.
    losses
        float32 (N,): cross-entropy of the given label under `probs`; NaN where the label is unknown.
    dynamics
        What training did with each example, epoch by epoch (:mod:`labelwright.training.dynamics`).

    Raises
    ------
    InputError
        If lengths differ or values are not finite.
    """

    probs: np.ndarray | None = None
    out_of_sample: bool = False
    probs_source: str = ""
    embeddings: np.ndarray | None = None
    embeddings_source: str = ""
    knn: KnnGraph | None = None
    losses: np.ndarray | None = None
    dynamics: Any = None

    def __post_init__(self) -> None:
        for name in ROW_AXIS:
            values = getattr(self, name)
            if values is not None:
                # float64 stays: rounding it would move labels across a threshold; a memory map stays on disk
                array = np.asanyarray(values)
                array = (array if name == "probs" and array.dtype == np.float64 else array.astype(np.float32, copy=False)).view()
                array.flags.writeable = False
                object.__setattr__(self, name, array)
        check.same_length(probs=self.probs, embeddings=self.embeddings, knn=self.knn, losses=self.losses)
        if self.probs is not None and self.probs.ndim != 2:
            raise InputError(f"probs must have shape (N, C); got {self.probs.shape}.")
        if self.embeddings is not None:
            if self.embeddings.ndim != 2:
                raise InputError(f"embeddings must have shape (N, D); got {self.embeddings.shape}.")
            check.finite("embeddings", self.embeddings)

    def __len__(self) -> int:
        return check.same_length(probs=self.probs, embeddings=self.embeddings, knn=self.knn, losses=self.losses)

    @classmethod
    def from_probs(cls, probs: Any, *, out_of_sample: bool, source: str, embeddings: Any = None) -> Signals:
        """Signals from predicted probabilities of the caller's own.

        Parameters
        ----------
        probs
            (N, C), finite, in [0, 1], rows summing to 1.
        out_of_sample
            True if no row was predicted by a model trained on it. Auditors refuse probabilities where this is False.
        source
            Where they come from, for the report.
        """
        return cls(
            probs=check.probabilities("probs", np.asarray(probs)),
            out_of_sample=out_of_sample,
            probs_source=source,
            embeddings=embeddings,
            embeddings_source="" if embeddings is None else source,
        )

    def has(self) -> tuple[str, ...]:
        """Names of the signals that are there."""
        return tuple(f.name for f in fields(self) if f.name in SIGNALS and getattr(self, f.name) is not None)

    def require(self, name: str) -> Any:
        """The signal called `name`.

        Raises
        ------
        InputError
            If it is absent.
        """
        check.one_of("signal", name, SIGNALS)
        value = getattr(self, name)
        if value is None:
            raise InputError(
                f"The signals hold no {name}.", hint=f"Compute them with labelwright.signals.compute(data, ({name!r},), seed=0)."
            )
        return value

    def require_out_of_sample(self) -> np.ndarray:
        """`probs`, if they are out-of-sample.

        Raises
        ------
        InputError
            If they are absent or come from a model that was trained on the same rows: it has memorised wrong labels
            and would call them right.
        """
        probs: np.ndarray = self.require("probs")
        if not self.out_of_sample:
            raise InputError(
                f"The probabilities are in-sample ({self.probs_source or 'no source given'}): the model has seen the labels it would judge.",
                hint="Use held-out predictions (sklearn's cross_val_predict, or labelwright.signals.compute) and pass out_of_sample=True.",
            )
        return probs

    def take(self, index: Any) -> Self:
        """Signals of the rows at `index` (positions or a mask). The kNN graph and the dynamics speak of all rows, so they are left out."""
        index = np.asarray(index)
        rows = {name: value[index] for name in ROW_AXIS if (value := getattr(self, name)) is not None}
        return replace(self, **rows, knn=None, dynamics=None)

    def with_(self, **changes: Any) -> Self:
        """The same signals with some added or replaced."""
        return replace(self, **changes)


SIGNALS = ("probs", "embeddings", "knn", "losses", "dynamics")
"""Names that ``compute`` and ``require`` take."""


def known_signals(names: Iterable[str]) -> tuple[str, ...]:
    """`names` in the order they are computed in, each a known signal."""
    asked = {check.one_of("signal", name, SIGNALS) for name in names}
    return tuple(name for name in SIGNALS if name in asked)
