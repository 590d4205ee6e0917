"""Results that are statements: certificates."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.files import plain
from labelwright.results.base import Result

if TYPE_CHECKING:
    import polars as pl


__all__ = ["Certificate"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Certificate(Result, kind="certificate"):
    """What can be proved: a `statement` in words, its `statistic`, the `p_value` or the `level` it holds at, and under which `assumptions`."""

    statement: str
    statistic: float
    p_value: float | None = None
    level: float | None = None
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "assumptions", tuple(self.assumptions))

    def to_frame(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame(
            {"statement": [self.statement], "statistic": [self.statistic], "p_value": [self.p_value], "level": [self.level]}
        )

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        own = {f.name for f in fields(Certificate)} - {f.name for f in fields(Result)}
        return {name: plain(getattr(self, name)) for name in own}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        return dict(parts)
