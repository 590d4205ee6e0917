"""ZCA whitening on top of another featuriser: inputs of unit covariance that still look like images, and the way back.

    W = U diag(1 / sqrt(s + eps)) U^T,   z = (x - mean) W          U, s: eigenvectors and -values of the training covariance

Reference: Krizhevsky 2009; with eps = 0.1 as in trajectory matching (Cazenavette et al. 2022), on standardised inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.data.features.base import Featuriser
from labelwright.errors import InputError

if TYPE_CHECKING:
    import torch

    from labelwright.data.dataset import Dataset

__all__ = ["LARGEST", "WhitenedFeaturiser", "whitened"]

LARGEST = 8192
"""Most values an example may have: the matrix has this many squared entries (256 MB in float32)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WhitenedFeaturiser(Featuriser, kind="whitened"):
    """Outputs of `inner`, whitened: `mean` float64 (D,) and the symmetric `matrix` float32 (D, D) over flattened examples."""

    inner: Featuriser
    mean: np.ndarray
    matrix: np.ndarray

    @property
    def takes(self) -> str:
        return self.inner.takes

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.inner.input_shape

    def _transform(self, data: Dataset) -> torch.Tensor:
        import torch

        x = self.inner.transform(data)
        return self._through(x, torch.from_numpy(self.matrix), before=True)

    def _through(self, x: torch.Tensor, matrix: torch.Tensor, *, before: bool) -> torch.Tensor:
        import torch

        mean = torch.from_numpy(self.mean).float()
        flat = x.flatten(1)
        out = (flat - mean) @ matrix if before else flat @ matrix + mean
        return out.reshape(x.shape)

    @cached_property
    def _back(self) -> torch.Tensor:
        import torch

        # a square root's inverse: in float64, since 1 / sqrt(s + eps) spans several orders
        return torch.linalg.inv(torch.from_numpy(self.matrix).double()).float()

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        return self.inner.inverse(self._through(values.float(), self._back, before=False))

    def _spec(self) -> dict[str, Any]:
        return {"inner": self.inner.spec()}

    def arrays(self) -> dict[str, np.ndarray]:
        inner = {f"inner.{name}": value for name, value in self.inner.arrays().items()}
        return inner | {"mean": self.mean, "matrix": self.matrix}

    @classmethod
    def _restore(cls, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Featuriser:
        inner = {name.removeprefix("inner."): value for name, value in arrays.items() if name.startswith("inner.")}
        return cls(inner=Featuriser.restore(spec["inner"], inner), mean=arrays["mean"], matrix=arrays["matrix"])


def whitened(inner: Featuriser, data: Dataset, *, eps: float = 0.1) -> WhitenedFeaturiser:
    """`inner` followed by ZCA, fitted on training `data`.

    Parameters
    ----------
    inner
        A fitted featuriser; its outputs are whitened.
    eps
        Added to the eigenvalues; without it directions that hardly vary are blown up. Not below 0.

    Raises
    ------
    InputError
        If an example has more than :data:`LARGEST` values or there are fewer than two.
    """
    import torch

    check.in_range("eps", eps, low=0)
    size = int(np.prod(inner.input_shape))
    if size > LARGEST:
        raise InputError(
            f"Whitening inputs of {size:,} values takes a matrix of {size:,} squared; at most {LARGEST:,} are allowed.",
            hint="Use smaller images, or leave whitening out.",
        )
    if len(data) < 2:
        raise InputError("Whitening needs at least two examples.")
    x = inner.transform(data).flatten(1).double()
    mean = x.mean(0)
    x = x - mean
    values, vectors = torch.linalg.eigh(x.T @ x / (len(x) - 1))
    least = torch.finfo(torch.float32).tiny  # constant directions at eps = 0 stay finite
    root = (values.clamp_min(0) + max(eps, least)).rsqrt()
    matrix = (vectors * root) @ vectors.T
    return WhitenedFeaturiser(inner=inner, mean=mean.numpy(), matrix=matrix.float().numpy())
