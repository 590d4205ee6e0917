"""The review table: what an audit suggests, written for a person to decide about, and read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.data import Dataset
from labelwright.errors import InputError, OutputError
from labelwright.files import write_csv, write_parquet
from labelwright.labels import UNKNOWN, ClassLabels

if TYPE_CHECKING:
    import polars as pl

    from labelwright.results import Audit

__all__ = ["ACTIONS", "Decision", "read_review", "write_review"]

ACTIONS = ("keep", "relabel", "drop")
REQUIRED = ("id", "action")
LONGEST = 300
"""Characters of a text shown to the person who decides."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a person decided about one example: `action`, the class index it ends with (`label`), and a `note`."""

    action: Literal["keep", "relabel", "drop"]
    label: int
    note: str = ""


def write_review(audit: Audit, data: Dataset, path: str | Path) -> None:
    """Write a table (``.csv`` or ``.parquet``) of the labels the audit flagged, worst first, for a person to fill in.

    Columns to fill: ``action`` (keep, relabel, drop; empty: as the audit says), ``label`` (with relabel; empty: the suggested one),
    ``note``. The others (``id``, ``given``, ``suggested``, ``score``, ``reason``, ``excerpt`` of texts) are to read.

    Raises
    ------
    InputError
        If the path ends in something else.
    OutputError
        If the file exists already (it may hold a person's work) or cannot be written.
    """
    import polars as pl

    path = Path(path)
    _suffix(path)
    if path.exists():
        raise OutputError(f"{path} exists; it may hold decisions.", hint="Name another file or remove it first.")
    rows = audit.findings.filter((pl.col("issue") == "label_error") & pl.col("flagged")).sort("score", descending=True, maintain_order=True)
    frame = rows.select(
        "id",
        pl.lit("").alias("action"),
        pl.lit("").alias("label"),
        pl.lit("").alias("note"),
        "given",
        "suggested",
        pl.col("score").round(4),
        "reason",
    )
    if data.kind == "texts":
        places = data.positions(rows.get_column("id").to_numpy())
        frame = frame.with_columns(excerpt=pl.Series([" ".join(data.inputs[int(i)].split())[:LONGEST] for i in places], dtype=pl.String))
    write_csv(frame, path) if path.suffix == ".csv" else write_parquet(frame, path)


def _suffix(path: Path) -> str:
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"The review file must end in .csv or .parquet; got {path.name!r}.")
    return path.suffix


def read_review(path: str | Path, data: Dataset, labels: ClassLabels, suggested: np.ndarray) -> dict[int, Decision]:
    """Decisions by row position of `data`; rows of the table without an action are left out.

    Parameters
    ----------
    suggested
        int64 (N,): the class the audit suggests, -1 where none; taken for ``relabel`` without a label.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or a row (numbered from 1, without the header) names an unknown id, action or
        label, gives a label to an action that takes none, or contradicts an earlier row.
    """
    path = check.path_exists("review file", path)
    frame = _read(path)
    for column in REQUIRED:
        check.known_word("column", column, frame.columns, place=f"the review file {path.name}")
    cells = {name: _strings(frame, name) for name in ("id", "action", "label", "note")}
    numbers = {name: j for j, name in enumerate(labels.names)}
    places = {str(name): i for i, name in enumerate(data.ids.tolist())}
    decisions: dict[int, Decision] = {}
    seen: dict[int, int] = {}
    for row, (name, action, label, note) in enumerate(zip(*cells.values(), strict=True), start=1):
        where = f"{path.name}, row {row}"
        if not action:
            if label:
                raise InputError(f"{where}: label {label!r} without an action.", hint="Write relabel in column action.")
            continue
        if name not in places:
            raise InputError(f"{where}: id {name!r} is not in the dataset.{check.nearest(name, places) if len(places) <= 10_000 else ''}")
        made = _decision(where, action.lower(), label, note, i := places[name], labels, suggested, numbers)
        if i in decisions and (made.action, made.label) != (decisions[i].action, decisions[i].label):
            raise InputError(f"{where}: id {name!r} is decided otherwise in row {seen[i]}.", hint="Leave one of the two rows.")
        decisions[i], seen[i] = made, seen.get(i, row)
    return decisions


def _decision(
    where: str, action: str, label: str, note: str, i: int, labels: ClassLabels, suggested: np.ndarray, numbers: dict[str, int]
) -> Decision:
    if action not in ACTIONS:
        raise InputError(f"{where}: action must be one of {', '.join(ACTIONS)}; got {action!r}.{check.nearest(action, ACTIONS)}")
    if action != "relabel":
        if label and label != labels.words()[i]:
            raise InputError(f"{where}: label {label!r} contradicts the action {action}.", hint="Write relabel, or leave the label empty.")
        return Decision(action=action, label=int(labels.values[i]), note=note)  # type: ignore[arg-type]
    if label and label not in numbers:
        raise InputError(f"{where}: label {label!r} is not one of the {len(numbers)} classes.{check.nearest(label, numbers)}")
    value = numbers[label] if label else int(suggested[i])
    if value == UNKNOWN:
        raise InputError(f"{where}: relabel needs a label; the audit suggests none.", hint="Write the right class in column label.")
    return Decision(action="relabel", label=value, note=note)


def _read(path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        if _suffix(path) == ".csv":
            return pl.read_csv(path, infer_schema=False, encoding="utf8")
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as err:
        raise InputError(f"{path} cannot be read as {path.suffix[1:]}: {err}.", hint="Save it again, as UTF-8.") from err


def _strings(frame: Any, name: str) -> list[str]:
    """A column as stripped strings, "" for missing cells and columns; whole floats lose the ``.0`` that spreadsheets give them."""
    if name not in frame.columns:
        return [""] * frame.height
    values = frame.get_column(name).to_list()
    return ["" if v is None else str(int(v)) if isinstance(v, float) and v.is_integer() else str(v).strip() for v in values]
