"""What a label is made with: one frozen set of fields, shared by ``make_label`` and the registered method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from labelwright import check

__all__ = ["EXPOSURES", "SCALES", "BackEnd", "Exposure", "Scale", "Settings"]

Scale = Literal["nominal", "ordinal", "discrete", "continuous"]
Exposure = Literal["low", "medium", "high"]
BackEnd = Literal["chow-liu", "crosscat", "none"]
SCALES: tuple[Scale, ...] = ("nominal", "ordinal", "discrete", "continuous")
EXPOSURES: tuple[Exposure, ...] = ("low", "medium", "high")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to make a label; every default is the sheet's."""

    ddof: int = 0
    """Degrees of freedom taken off in standard deviations: 0 (population, as in the prototype) or 1."""
    floor: int = 5
    """k-anonymity floor: cells of pair plots and simulations that rest on fewer rows are suppressed; 0 shows all."""
    exposure: Literal["low", "medium", "high"] = "high"
    """Highest exposure a module may have; modules that show more of the rows are switched off."""
    bins: int = 50
    """Most bins of a numeric axis (Freedman-Diaconis decides below that), 2 to 200."""
    categories: int = 30
    """Categories shown of a nominal column; the rest become "other"."""
    plots: int = 12
    """Pairs whose joint histogram is stored, most dependent first; dependence measures cover all pairs."""
    pair_rows: int = 100_000
    """Rows used for pairs: a uniform sample when there are more."""
    back_end: Literal["chow-liu", "crosscat", "none"] = "chow-liu"
    """Probabilistic model of rows: a Chow-Liu tree, CrossCat (slower), or none."""
    model_rows: int = 20_000
    """Rows used by the probabilistic model: a uniform sample when there are more. CrossCat takes at most 500 of them."""
    simulations: int = 500
    """Draws for each hypothetical condition."""
    resamples: int = 64
    """Half-samples behind a dependence probability."""
    permutations: int = 20
    """Permutations that give its null distribution."""
    missing_values: tuple[str, ...] = ("",)
    """Strings that mean "missing", besides null and NaN."""

    def __post_init__(self) -> None:
        check.integer("ddof", self.ddof, low=0, high=1)
        check.integer("floor", self.floor, low=0)
        check.one_of("exposure", self.exposure, EXPOSURES)
        check.integer("bins", self.bins, low=2, high=200)
        check.integer("categories", self.categories, low=1, high=200)
        check.integer("plots", self.plots, low=0)
        check.integer("pair_rows", self.pair_rows, low=10)
        check.one_of("back_end", self.back_end, ("chow-liu", "crosscat", "none"))
        check.integer("model_rows", self.model_rows, low=10)
        check.integer("simulations", self.simulations, low=1)
        check.integer("resamples", self.resamples, low=1)
        check.integer("permutations", self.permutations, low=1)
        object.__setattr__(self, "missing_values", tuple(str(v) for v in self.missing_values))
