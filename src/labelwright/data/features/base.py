"""What every featuriser is: fitted once on training data, then a pure map from datasets to tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from labelwright.data.inputs import Preprocessed
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

    @property
    def takes(self) -> str:
        """The kind of inputs it transforms."""
        return self.kind

    def same_as(self, other: Featuriser) -> bool:
        """Whether both give bit-equal outputs: equal specifications, equal arrays."""
        mine, theirs = self.arrays(), other.arrays()
        return (
            self.spec() == other.spec()
            and mine.keys() == theirs.keys()
            and all(np.array_equal(v, theirs[name]) for name, v in mine.items())
        )

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        """From outputs (N, *input_shape) back to the original units: images float (N, C, H, W) in [0, 1] and beyond, arrays as they were.

        What a featuriser loses (sizes of images, constant channels, the type of numbers) does not come back.

        Raises
        ------
        InputError
            If there is no way back (texts, tables).
        """
        raise InputError(f"Features of {self.takes} cannot be turned back into {self.takes}.")

    def bounds(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Smallest and largest output of a valid image, both broadcasting over (N, C, H, W); None where the inputs have no range of their own."""
        return None

    def transform(self, data: Dataset) -> torch.Tensor:
        """Float32 (N, *input_shape), finite. What this very featuriser has transformed already is given as it is.

        Raises
        ------
        InputError
            If `data` is of another kind, width or column set than the training data, or an example cannot be decoded.
        """
        if data.kind != self.takes:
            raise InputError(
                f"The model was trained on {self.takes}; this dataset holds {data.kind}.",
                hint="Read it the same way as the training data (same file format, same inputs column).",
            )
        if isinstance(data.inputs, Preprocessed):
            if data.inputs.featuriser.same_as(self):
                return data.inputs.values()
            data = replace(data, inputs=data.inputs.raw())
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
