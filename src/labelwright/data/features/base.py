"""What every featuriser is: fitted once on training data, then a pure map from datasets to tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from labelwright.errors import InputError

if TYPE_CHECKING:
    import torch

    from labelwright.data.dataset import Dataset

__all__ = ["FEATURISERS", "Featuriser"]

FEATURISERS: dict[str, type[Featuriser]] = {}
"""Featurisers by the kind of inputs they take."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Featuriser(ABC):
    """Turns a dataset like the one it was fitted on into a float32 tensor (N, *input_shape).

    ``spec()`` (plain JSON) and ``arrays()`` (NumPy) together are the whole state: ``Featuriser.restore``
    gives back one whose output is bit-equal. Fitting sees training data only, so test data are
    standardised with training statistics.
    """

    kind: ClassVar[str]

    def __init_subclass__(cls, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if kind:
            cls.kind = kind
            FEATURISERS[kind] = cls

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example after ``transform``."""

    def transform(self, data: Dataset) -> torch.Tensor:
        """Float32 (N, *input_shape), finite.

        Raises
        ------
        InputError
            If `data` is of another kind, width or column set than the training data, or an example cannot be decoded.
        """
        if data.kind != self.kind:
            raise InputError(
                f"The model was trained on {self.kind}; this dataset holds {data.kind}.",
                hint="Read it the same way as the training data (same file format, same inputs column).",
            )
        return self._transform(data)

    @abstractmethod
    def _transform(self, data: Dataset) -> torch.Tensor: ...

    @abstractmethod
    def _spec(self) -> dict[str, Any]: ...

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """The fitted numbers, by name."""

    @classmethod
    @abstractmethod
    def _restore(cls, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Featuriser: ...

    def spec(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON holds it."""
        return {"kind": self.kind, "input_shape": list(self.input_shape), **self._spec()}

    @staticmethod
    def restore(spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Featuriser:
        """The featuriser that gave `spec` and `arrays`.

        Raises
        ------
        InputError
            If the kind is unknown or parts are missing.
        """
        kind = spec.get("kind")
        if kind not in FEATURISERS:
            raise InputError(
                f"No featuriser for {kind!r}; there are {', '.join(FEATURISERS)}.", hint="The file may come from a newer version."
            )
        try:
            return FEATURISERS[kind]._restore(spec, arrays)
        except KeyError as err:
            raise InputError(f"The saved featuriser lacks {err}.", hint="Its files may be damaged; train again.") from err


def require_finite(block: torch.Tensor, *, start: int, what: str) -> None:
    """Refuse rows with NaN or infinity; `start` is the position of the first row of `block` in the dataset."""
    bad = ~block.isfinite().flatten(1).all(1)
    if bad.any():
        raise InputError(
            f"{what} must be finite: row {start + int(bad.nonzero()[0])} holds NaN or infinity.",
            hint="Fill or drop missing values, or load the data as a table (CSV, Parquet), where they are imputed.",
        )
