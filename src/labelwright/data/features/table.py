"""Tables with mixed columns: numbers imputed and standardised, categories one-hot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.data.features.base import Featuriser
from labelwright.errors import InputError

if TYPE_CHECKING:
    import polars as pl
    import torch

    from labelwright.data.dataset import Dataset

__all__ = ["ColumnPlan", "TableFeaturiser"]

TOP = 100  # categories with a column of their own
ID_SHARE = 0.5  # a text column with more distinct values than this share of its rows says nothing about others
ID_LEAST = 50  # … provided there are at least so many distinct values


@dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """How one column is encoded. `use`: ``number``, ``time``, ``category`` or ``dropped`` (then `note` says why).

    A number gives one column, and a second one (1 = missing) if training data had gaps; a category one
    column for each of `categories`, one for any other value and one for missing.
    """

    name: str
    use: Literal["number", "time", "category", "dropped"]
    categories: tuple[str, ...] = ()
    gaps: bool = False
    note: str = ""

    @property
    def width(self) -> int:
        return {"dropped": 0, "category": len(self.categories) + 2}.get(self.use, 1 + self.gaps)

    @property
    def feature_names(self) -> list[str]:
        if self.use == "category":
            return [f"{self.name}={c}" for c in self.categories] + [f"{self.name}: other", f"{self.name}: missing"]
        return [] if self.use == "dropped" else [self.name, *([f"{self.name}: missing"] if self.gaps else [])]


@dataclass(frozen=True, kw_only=True, eq=False)
class TableFeaturiser(Featuriser, kind="table"):
    """Rows to (N, D). `median`, `mean`, `scale`: float64, one value a numeric column (0 where the plan is no number)."""

    plans: tuple[ColumnPlan, ...]
    median: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (sum(p.width for p in self.plans),)

    @property
    def feature_names(self) -> list[str]:
        """What each of the D columns holds."""
        return [name for p in self.plans for name in p.feature_names]

    @classmethod
    def fit(cls, data: Dataset) -> TableFeaturiser:
        """Plans and statistics from all rows."""
        frame: pl.DataFrame = data.inputs.frame
        if not frame.height:
            raise InputError("The dataset is empty; nothing can be fitted.")
        plans, statistics = [], np.zeros((3, frame.width))
        for j, name in enumerate(frame.columns):
            plan = _plan(frame.get_column(name))
            if plan.use in ("number", "time"):
                values = _numbers(frame.get_column(name), name)
                median = float(np.nanmedian(values))
                filled = np.where(np.isnan(values), median, values)
                mean, std = filled.mean(), filled.std()
                constant = std <= 1e-12 + 1e-12 * abs(mean)
                statistics[:, j] = median, mean, 0.0 if constant else 1.0 / std
            plans.append(plan)
        if not sum(p.width for p in plans):
            reasons = "; ".join(f"{p.name!r}: {p.note}" for p in plans[:5])
            raise InputError(f"No column of the table can be used as an input ({reasons}).", hint="Name the inputs with inputs=.")
        return cls(plans=tuple(plans), median=statistics[0], mean=statistics[1], scale=statistics[2])

    def _transform(self, data: Dataset) -> torch.Tensor:
        import torch

        frame: pl.DataFrame = data.inputs.frame
        wanted = [p.name for p in self.plans if p.use != "dropped"]
        absent = [name for name in wanted if name not in frame.columns]
        if absent:
            others = [c for c in frame.columns if c not in wanted]
            raise InputError(
                f"The table lacks {len(absent)} of the {len(wanted)} columns the model was trained on, first {absent[0]!r}."
                f"{check.nearest(absent[0], others)} It has: {', '.join(frame.columns[:12])}{', …' if frame.width > 12 else ''}."
            )
        out = np.zeros((frame.height, *self.input_shape), dtype=np.float32)
        at = 0
        for j, plan in enumerate(self.plans):
            if plan.use == "dropped":
                continue
            column, block = frame.get_column(plan.name), out[:, at : at + plan.width]
            if plan.use == "category":
                block[np.arange(frame.height), _codes(column, plan)] = 1
            else:
                values = _numbers(column, plan.name)
                missing = np.isnan(values)
                block[:, 0] = (np.where(missing, self.median[j], values) - self.mean[j]) * self.scale[j]
                if plan.gaps:
                    block[:, 1] = missing
            at += plan.width
        return torch.from_numpy(out)

    def _spec(self) -> dict[str, Any]:
        return {"columns": [asdict(p) | {"categories": list(p.categories)} for p in self.plans]}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"median": self.median, "mean": self.mean, "scale": self.scale}

    @classmethod
    def _restore(cls, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Featuriser:
        plans = tuple(ColumnPlan(**(p | {"categories": tuple(p["categories"])})) for p in spec["columns"])
        return cls(plans=plans, **{k: arrays[k] for k in ("median", "mean", "scale")})


def _plan(column: pl.Series) -> ColumnPlan:
    import polars as pl

    name, dtype = column.name, column.dtype
    if column.null_count() == len(column):
        return ColumnPlan(name=name, use="dropped", note="no value at all")
    if dtype.is_temporal() or dtype.is_numeric() or dtype == pl.Boolean:
        gaps = bool(np.isnan(_numbers(column, name)).any())
        if gaps and np.isnan(_numbers(column, name)).all():
            return ColumnPlan(name=name, use="dropped", note="no finite value at all")
        return ColumnPlan(name=name, use="time" if dtype.is_temporal() else "number", gaps=gaps)
    if dtype == pl.String or isinstance(dtype, (pl.Categorical, pl.Enum)):
        words = column.cast(pl.String)
        counts = words.drop_nulls().value_counts().sort(["count", name], descending=[True, False])
        if counts.height >= ID_LEAST and counts.height > ID_SHARE * (len(words) - words.null_count()):
            return ColumnPlan(name=name, use="dropped", note=f"{counts.height:,} distinct words: an identifier or free text")
        return ColumnPlan(name=name, use="category", categories=tuple(counts.get_column(name)[:TOP].to_list()))
    return ColumnPlan(name=name, use="dropped", note=f"type {dtype} is neither number, time nor word")


def _numbers(column: pl.Series, name: str) -> np.ndarray:
    """Float64 with NaN for missing and infinite values; times become seconds."""
    import polars as pl

    dtype = column.dtype
    if dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if isinstance(column.dtype, (pl.Datetime, pl.Duration)):
        column = column.dt.cast_time_unit("us").to_physical() / 1e6
    elif column.dtype == pl.Time:
        column = column.to_physical() / 1e9
    try:
        values = column.cast(pl.Float64, strict=True).fill_null(float("nan")).to_numpy()
    except pl.exceptions.PolarsError as err:
        sample = next((v for v in column.to_list() if v is not None), None)
        raise InputError(f"Column {name!r} held numbers in the training data; here it holds {sample!r}.") from err
    return np.where(np.isfinite(values), values, np.nan)


def _codes(column: pl.Series, plan: ColumnPlan) -> np.ndarray:
    """Position of each value's one-hot column: its category, then other, then missing."""
    import polars as pl

    words = column.cast(pl.String)
    size = len(plan.categories)
    table = pl.DataFrame({"word": list(plan.categories), "code": np.arange(size)}, schema={"word": pl.String, "code": pl.Int64})
    codes = words.to_frame("word").join(table, on="word", how="left", maintain_order="left").get_column("code").fill_null(size).to_numpy()
    return np.where(words.is_null().to_numpy(), size + 1, codes)
