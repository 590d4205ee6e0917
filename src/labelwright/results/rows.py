"""Results with a row an example: audits, annotations, selections."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check, labels as label_kinds
from labelwright.errors import InputError
from labelwright.files import write_parquet
from labelwright.labels import ClassLabels, Labels
from labelwright.results.base import Result, id_array

if TYPE_CHECKING:
    import polars as pl

    from labelwright.data import Dataset
    from labelwright.results.learned import Learned

__all__ = ["FINDING_COLUMNS", "Annotation", "Audit", "Selection"]

FINDING_COLUMNS = ("id", "index", "issue", "score", "flagged", "given", "suggested", "reason")


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit(Result, kind="audit"):
    """What is wrong with the data.

    `findings` has the columns id, index (0-based input row), issue, score (float64 in [0, 1], higher = more
    likely an issue), flagged, given, suggested (class names or null) and reason. `facts` hold what
    concerns the dataset as a whole.
    """

    findings: pl.DataFrame

    def __post_init__(self) -> None:
        missing = [c for c in FINDING_COLUMNS if c not in self.findings.columns]
        if missing:
            raise InputError(f"findings lack the columns {missing}.")
        scores = self.findings.get_column("score").to_numpy()
        if len(scores) and not ((scores >= 0) & (scores <= 1)).all():
            raise InputError("findings must have scores in [0, 1].")

    @staticmethod
    def findings_frame(
        data: Dataset, issue: str, *, index: Any, score: Any, flagged: Any, given: Any = None, suggested: Any = None, reason: Any = None
    ) -> pl.DataFrame:
        """Rows of `findings` for one issue; `index` are row positions in `data`, scalars are repeated."""
        import polars as pl

        index = np.asarray(index, dtype=np.int64)
        n = len(index)

        def words(values: Any) -> list[str | None]:
            return [values] * n if values is None or isinstance(values, str) else [None if v is None else str(v) for v in values]

        return pl.DataFrame(
            {
                "id": data.ids[index],
                "index": index,
                "issue": [issue] * n,
                "score": np.broadcast_to(np.clip(np.asarray(score, dtype=np.float64), 0, 1), n),
                "flagged": np.broadcast_to(np.asarray(flagged, dtype=bool), n),
                "given": words(given),
                "suggested": words(suggested),
                "reason": words(reason),
            },
            schema_overrides={"issue": pl.String, "given": pl.String, "suggested": pl.String, "reason": pl.String},
        )

    def to_frame(self) -> pl.DataFrame:
        return self.findings

    def flagged(self, issue: str) -> np.ndarray:
        """Ids flagged for `issue`, worst first."""
        import polars as pl

        rows = self.findings.filter((pl.col("issue") == issue) & pl.col("flagged")).sort("score", descending=True)
        return id_array(rows.get_column("id"))

    def counts(self) -> dict[str, int]:
        """Flagged examples by issue, zeros included."""
        import polars as pl

        rows = self.findings.group_by("issue", maintain_order=True).agg(pl.col("flagged").sum()).sort("issue")
        return dict(zip(rows.get_column("issue").to_list(), rows.get_column("flagged").to_list(), strict=True))

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        write_parquet(self.findings, folder / "findings.parquet")
        return {}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        import polars as pl

        try:
            return {"findings": pl.read_parquet(folder / "findings.parquet")}
        except pl.exceptions.ComputeError as err:
            raise InputError(f"{folder / 'findings.parquet'} cannot be read: {err}.") from err


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotation(Result, kind="annotation"):
    """What the labels should be: `labels`, `confidence` float (N,) in [0, 1], `abstained` bool (N,), `reasons` (N,) strings; by `ids` (N,).

    `model` is the network a method trained on the way, saved in the folder ``model`` that ``labelwright predict`` reads. None where
    there is none, and after reading one with a network of the caller's own, which ``Learned.load(folder / "model", net=…)`` reads.
    """

    ids: np.ndarray
    labels: Labels
    confidence: np.ndarray
    abstained: np.ndarray
    reasons: np.ndarray
    model: Learned | None = None

    def __post_init__(self) -> None:
        check.same_length(ids=self.ids, labels=self.labels, confidence=self.confidence, abstained=self.abstained, reasons=self.reasons)

    def to_frame(self) -> pl.DataFrame:
        import polars as pl

        columns: dict[str, Any] = {"id": self.ids}
        if isinstance(self.labels, ClassLabels):
            columns["label"] = self.labels.words().tolist()
        columns |= {"confidence": self.confidence, "abstained": self.abstained, "reason": [str(r) for r in self.reasons]}
        return pl.DataFrame(columns)

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        write_parquet(self.to_frame(), folder / "annotation.parquet")
        self.labels.save(folder / "labels.parquet")
        if self.model is not None:
            (folder / "model").mkdir()
            self.model.write(folder / "model")
        return {}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        import polars as pl

        frame = pl.read_parquet(folder / "annotation.parquet")
        return {
            "model": _model(folder / "model"),
            "ids": id_array(frame.get_column("id")),
            "labels": label_kinds.load(folder / "labels.parquet"),
            "confidence": frame.get_column("confidence").to_numpy(),
            "abstained": frame.get_column("abstained").to_numpy(),
            "reasons": frame.get_column("reason").to_numpy(),
        }


def _model(folder: Path) -> Learned | None:
    from labelwright.results.learned import Learned

    if not folder.is_dir() or json.loads((folder / "learned.json").read_text(encoding="utf-8"))["parts"]["net"] is None:
        return None
    return Learned.load(folder)


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection(Result, kind="selection"):
    """What to keep: `ids` (M,) in order of preference, `weights` (M,) summing to M, `scores` (N,) over all examples (higher kept first)
    with `all_ids` (N,) naming them, `reasons` (N,) strings."""

    ids: np.ndarray
    weights: np.ndarray
    all_ids: np.ndarray
    scores: np.ndarray
    reasons: np.ndarray

    def __post_init__(self) -> None:
        check.same_length(ids=self.ids, weights=self.weights)
        check.same_length(all_ids=self.all_ids, scores=self.scores, reasons=self.reasons)

    def to_frame(self) -> pl.DataFrame:
        import polars as pl

        every = pl.DataFrame({"id": self.all_ids, "score": self.scores, "reason": [str(r) for r in self.reasons]})
        kept = pl.DataFrame({"id": self.ids, "rank": np.arange(len(self.ids)), "weight": self.weights})
        return every.join(kept, on="id", how="left", maintain_order="left").with_columns(selected=pl.col("rank").is_not_null())

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        write_parquet(self.to_frame(), folder / "selection.parquet")
        return {}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        import polars as pl

        frame = pl.read_parquet(folder / "selection.parquet")
        kept = frame.filter("selected").sort("rank")
        return {
            "ids": id_array(kept.get_column("id")),
            "weights": kept.get_column("weight").to_numpy(),
            "all_ids": id_array(frame.get_column("id")),
            "scores": frame.get_column("score").to_numpy(),
            "reasons": frame.get_column("reason").to_numpy(),
        }
