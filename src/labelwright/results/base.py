"""What all results share: status, provenance, and a folder to save to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from labelwright import check
from labelwright.errors import InputError
from labelwright.files import plain, whole_folder, write_json

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from labelwright.data import Dataset
    from labelwright.registry import Method

__all__ = ["Provenance", "Result", "Status", "id_array", "load", "versions", "with_facts"]


class Status(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    STOPPED_EARLY = "stopped-early"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"


@cache
def versions() -> dict[str, str]:
    """Versions of Python and the packages results depend on."""
    import platform
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        **{p: version(p) for p in ("labelwright", "numpy", "scipy", "scikit-learn", "torch", "polars")},
    }


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Enough to repeat a run: method and its fields, seed, versions, fingerprint of the data."""

    verb: str
    method: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""

    @classmethod
    def of(cls, method: Method, data: Dataset | None, *, seed: int) -> Provenance:
        """Provenance of ``method`` applied to ``data``."""
        name = method.entry.name if hasattr(type(method), "entry") else type(method).__name__
        fingerprint = "" if data is None else data.fingerprint
        return cls(verb=method.verb, method=name, fields=plain(method.fields()), seed=seed, versions=versions(), fingerprint=fingerprint)


RESULTS: dict[str, type[Result]] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Base of the results. `facts` are plain values that hold for the whole run."""

    kind: ClassVar[str]
    provenance: Provenance
    status: Status = Status.COMPLETE
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __init_subclass__(cls, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = kind
        RESULTS[kind] = cls

    def to_frame(self) -> pl.DataFrame:
        """The result as a Polars frame, one row an example or fact."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def save(self, folder: str | Path) -> None:
        """Write a folder that ``load`` reads back. The folder must be absent or empty.

        Raises
        ------
        OutputError
            If it is taken or cannot be written; nothing is left behind then.
        """
        with whole_folder(folder) as partial:
            self.write(partial)

    def write(self, folder: Path) -> None:
        """Write the files into an existing folder (used by the command line, which owns the folder)."""
        head = {
            "result": self.kind,
            "status": self.status,
            "provenance": self.provenance,
            "facts": self.facts,
            "parts": self._write_parts(folder),
        }
        write_json(folder / f"{self.kind}.json", head)

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        raise TypeError(f"{type(self).__name__} is abstract")

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        raise TypeError(f"{cls.__name__} is abstract")

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> Self:
        """Read a folder written by ``save``.

        Raises
        ------
        InputError
            If the folder is absent, holds another result, or its files are damaged.
        """
        folder = check.path_exists("result folder", folder)
        path = folder / f"{cls.kind}.json"
        if not path.exists():
            kinds = [k for k in RESULTS if k and (folder / f"{k}.json").exists()]
            held = f"holds a result of kind {kinds[0]!r}" if kinds else "is not a result folder"
            raise InputError(f"{folder} {held}; expected {cls.kind!r} (file {path.name}).")
        try:
            head = json.loads(path.read_text(encoding="utf-8"))
            provenance, status = Provenance(**head["provenance"]), Status(head["status"])
            parts = cls._read_parts(folder, head["parts"] | options)
        except (KeyError, ValueError, TypeError, OSError) as err:
            if isinstance(err, InputError):
                raise
            raise InputError(
                f"{folder} cannot be read as {cls.kind}: {err}.", hint="Its files may be damaged; run the step again."
            ) from err
        return cls(provenance=provenance, status=status, facts=head["facts"], **parts)


def load(folder: str | Path) -> Result:
    """Read a result folder of whatever kind."""
    folder = check.path_exists("result folder", folder)
    for kind, cls in RESULTS.items():
        if kind and (folder / f"{kind}.json").exists():
            return cls.load(folder)
    raise InputError(f"{folder} is not a result folder.", hint=f"It should hold one of {', '.join(f'{k}.json' for k in RESULTS if k)}.")


def id_array(values: pl.Series) -> np.ndarray:
    array = values.to_numpy()
    return array.astype(str) if array.dtype == object else array


def with_facts(result: Any, **facts: Any) -> Any:
    """The same result with further facts."""
    return replace(result, facts={**result.facts, **facts})
