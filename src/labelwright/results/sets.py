"""Results that are datasets: condensed ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check, labels as label_kinds
from labelwright.files import plain, writing
from labelwright.labels import Labels
from labelwright.results.base import Result

if TYPE_CHECKING:
    import polars as pl

    from labelwright.data import Dataset

__all__ = ["Condensed"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Condensed(Result, kind="condensed"):
    """A small set that stands in for a large one: `inputs` float32 (M, …), `labels` (hard or soft), `preprocessing` plain values
    that were applied to the originals, `nbytes` by part."""

    inputs: np.ndarray
    labels: Labels
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    nbytes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check.same_length(inputs=self.inputs, labels=self.labels)

    def as_dataset(self) -> Dataset:
        """The condensed examples as a dataset with ids 0..M-1."""
        from labelwright.data import Dataset

        return Dataset(inputs=self.inputs, labels=self.labels)

    def to_frame(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame({"part": list(self.nbytes), "bytes": list(self.nbytes.values())}, schema={"part": pl.String, "bytes": pl.Int64})

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        with writing(folder / "condensed.safetensors"):
            save_file({"inputs": np.ascontiguousarray(self.inputs)}, folder / "condensed.safetensors")
        self.labels.save(folder / "labels.parquet")
        return {"preprocessing": plain(self.preprocessing), "nbytes": plain(self.nbytes)}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        from safetensors.numpy import load_file

        arrays = load_file(folder / "condensed.safetensors")
        return {
            "inputs": arrays["inputs"],
            "labels": label_kinds.load(folder / "labels.parquet"),
            "preprocessing": parts["preprocessing"],
            "nbytes": parts["nbytes"],
        }
