"""A person as a judge: a table to fill in, with a row an example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError, OutputError
from labelwright.files import write_csv, write_parquet
from labelwright.judges.base import Answer, Judge, Takes, class_names, digest

if TYPE_CHECKING:
    import polars as pl

    from labelwright.judges.budget import Budget

__all__ = ["ReviewJudge", "write_questions"]

COLUMNS = ("id", "label", "note")


def write_questions(path: str | Path, ids: Sequence[Any] | np.ndarray, items: Sequence[Any], classes: Sequence[str]) -> None:
    """Write a table (``.csv`` or ``.parquet``) for a person: ``id``, ``label`` and ``note`` to fill in, the texts, the ``classes``.

    The person writes one of the classes into ``label`` and leaves it blank where they cannot say.

    Parameters
    ----------
    ids
        (N,) unique ids.
    items
        N texts, or tuples of texts (columns ``text``, or ``text_1``, ``text_2``, …).

    Raises
    ------
    InputError
        If lengths differ, ids repeat, or the path ends in something else.
    OutputError
        If the file exists (it may hold a person's work) or cannot be written.
    """
    import polars as pl

    path = Path(path)
    _suffix(path)
    names = class_names(classes)
    n = check.same_length(ids=ids, items=items)
    check.unique("ids", np.asarray(ids).astype(str))
    if path.exists():
        raise OutputError(f"{path} exists; it may hold answers.", hint="Name another file or remove it first.")
    parts = [(item,) if isinstance(item, str) else tuple(item) for item in items]
    width = max((len(p) for p in parts), default=1)
    heads = ["text"] if width == 1 else [f"text_{j + 1}" for j in range(width)]
    blank = pl.Series([""] * n, dtype=pl.String)
    columns = {"id": pl.Series(np.asarray(ids).tolist()), "label": blank, "note": blank}
    texts = {h: pl.Series([str(p[j]) if j < len(p) else "" for p in parts], dtype=pl.String) for j, h in enumerate(heads)}
    frame = pl.DataFrame(columns | texts | {"classes": pl.Series([" | ".join(names)] * n, dtype=pl.String)})
    write_csv(frame, path) if path.suffix == ".csv" else write_parquet(frame, path)


@dataclass(frozen=True, kw_only=True)
class ReviewJudge(Judge):
    """What a person wrote into a table (``.csv`` or ``.parquet``) with the columns ``id`` and ``label``.

    It is asked by id. A blank label, and an id the table has not, are unknown. The file is read when the judge is asked,
    so it may be filled in little by little.

    Raises
    ------
    InputError
        When asked, if the file cannot be read, lacks a column, names a label outside the classes, or gives an id two labels.
    """

    path: Path
    """The table."""
    classes: tuple[str, ...]
    """Names of the classes."""
    name: str = "review"
    """Shown in reports."""
    takes: Takes = field(default="ids", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        object.__setattr__(self, "classes", class_names(self.classes))
        _suffix(self.path)

    @property
    def fingerprint(self) -> str:
        return digest("review", check.path_exists("review file", self.path).read_bytes(), *self.classes)

    def answers(self, items: Sequence[Any], *, budget: Budget | None = None) -> Iterator[tuple[int, Answer]]:
        # nothing is asked of anyone now, so no budget is touched
        labels = read_labels(self.path, self.classes)
        for i, item in enumerate(items):
            label = labels.get(_word(item))
            if label:
                yield i, Answer.of([name == label for name in self.classes], raw=label)
            else:
                yield i, Answer.unknown("left blank" if label == "" else "not in the review file", lasting=False)


def read_labels(path: str | Path, classes: Sequence[str], *, what: str = "review file") -> dict[str, str]:
    """Label by id, as text; '' where it was left blank. Rows without both are passed over; `what` the file is called in errors.

    Raises
    ------
    InputError
        As :class:`ReviewJudge`; rows are numbered from 1, without the header.
    """
    path = check.path_exists(what, path)
    _suffix(path, what)
    frame = _read(path)
    for column in ("id", "label"):
        check.known_word("column", column, frame.columns, place=f"the {what} {path.name}")
    found: dict[str, str] = {}
    folded = {name.casefold(): name for name in classes}
    for row, (who, said) in enumerate(zip(*(frame.get_column(c).to_list() for c in ("id", "label")), strict=True), start=1):
        name, label = _word(who), _word(said)
        if not name and not label:
            continue
        if not name:
            raise InputError(f"{path.name}, row {row}: no id.")
        if label:
            if label not in classes and label.casefold() not in folded:
                raise InputError(
                    f"{path.name}, row {row}: label {label!r} is none of the {len(classes)} classes.{check.nearest(label, classes)}"
                )
            label = label if label in classes else folded[label.casefold()]
        if label and found.get(name, "") not in ("", label):
            raise InputError(
                f"{path.name}, row {row}: id {name!r} is {found[name]!r} in an earlier row.", hint="Leave one of the two rows."
            )
        found[name] = label or found.get(name, "")
    return found


def _read(path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        if path.suffix == ".csv":
            return pl.read_csv(path, infer_schema=False, encoding="utf8")
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as err:
        raise InputError(f"{path} cannot be read as {path.suffix[1:]}: {err}.", hint="Save it again, as UTF-8.") from err


def _suffix(path: Path, what: str = "review file") -> None:
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"The {what} must end in .csv or .parquet; got {path.name!r}.")


def _word(value: Any) -> str:
    """A cell as text; whole floats lose the ``.0`` that spreadsheets give them."""
    if value is None:
        return ""
    value = value.item() if isinstance(value, np.generic) else value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
