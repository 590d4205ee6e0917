"""All validation of users' input: name, rule, value, place, remedy.

Each function returns its argument (converted where that is safe), so a check reads as an
assignment, and raises :class:`~labelwright.errors.InputError` with one sentence otherwise.
Array checks accept NumPy arrays and torch tensors alike and never import torch themselves.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from labelwright.errors import InputError

__all__ = [
    "class_index",
    "finite",
    "in_range",
    "integer",
    "known_word",
    "nearest",
    "one_of",
    "path_exists",
    "probabilities",
    "same_length",
    "same_shape",
    "unique",
]

ROW_SUM_TOLERANCE = 1e-3  # float16 and CSV files with three decimals pass; logits and percentages do not


def in_range(
    name: str,
    value: float,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    closed: Literal["both", "left", "right", "neither"] = "both",
) -> float:
    """A finite number in the interval from `low` to `high`; `closed` says which ends belong to it."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not math.isfinite(value):
        raise InputError(f"{name} must be a finite number; got {_shown(value)}.")
    above = value >= low if closed in ("both", "left") else value > low
    below = value <= high if closed in ("both", "right") else value < high
    if not (above and below):
        left, right = "[" if closed in ("both", "left") else "(", "]" if closed in ("both", "right") else ")"
        raise InputError(f"{name} must lie in {left}{low:g}, {high:g}{right}; got {_shown(value)}.")
    return value


def integer(name: str, value: int, *, low: int | None = None, high: int | None = None) -> int:
    """An integer (no bool) in [`low`, `high`]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(f"{name} must be an integer; got {_shown(value)}.")
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f">= {low}" if high is None else f"<= {high}" if low is None else f"between {low} and {high}"
        raise InputError(f"{name} must be {bounds}; got {value}.")
    return int(value)


def nearest(word: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the closest of `known`, or the empty string."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    """One of the words `allowed`."""
    if value not in allowed:
        words = ", ".join(repr(a) for a in allowed)
        raise InputError(f"{name} must be one of {words}; got {value!r}.{nearest(value, allowed)}")
    return value


def known_word(name: str, value: str, known: Iterable[str], *, place: str) -> str:
    """A `value` that occurs in `place` (a file's columns, say); suggests the nearest one otherwise."""
    words = [str(k) for k in known]
    if value not in words:
        shown = ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
        raise InputError(f"{name} {value!r} is not in {place}.{nearest(value, words)} There are: {shown}.")
    return value


def path_exists(name: str, path: str | Path) -> Path:
    """An existing path; names the first part that is missing otherwise."""
    path = Path(path).expanduser()
    if not path.exists():
        parent = path
        while not parent.exists() and parent != parent.parent:
            missing, parent = parent.name, parent.parent
        near = nearest(missing, (p.name for p in parent.iterdir())) if parent.is_dir() else ""
        raise InputError(f"{name} does not exist: {path}. {str(parent)!r} has no {missing!r}.{near}")
    return path


def same_length(**arrays: Any) -> int:
    """All arguments have one length, which is returned."""
    lengths = {name: len(array) for name, array in arrays.items() if array is not None}
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"Lengths differ: {', '.join(f'{k} has {v:,}' for k, v in lengths.items())}. They must describe the same examples."
        )
    return next(iter(lengths.values()), 0)


def same_shape(**arrays: Any) -> tuple[int, ...]:
    """All arguments have one shape, which is returned: guards pure functions against silent broadcasting."""
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"Shapes differ: {', '.join(f'{k} is {v}' for k, v in shapes.items())}.")
    return next(iter(shapes.values()))


def finite(name: str, values: Any) -> Any:
    """An array or tensor without NaN or infinity; names the first bad row otherwise."""
    bad = ~np.isfinite(_as_numpy(values))
    if bad.any():
        rows = bad.reshape(len(bad), -1).any(1)
        raise InputError(
            f"{name} must be finite: {int(rows.sum()):,} of {len(rows):,} rows hold NaN or infinity, first row {int(rows.argmax())}."
        )
    return values


def probabilities(name: str, probs: Any, *, atol: float = ROW_SUM_TOLERANCE, num_classes: int | None = None) -> Any:
    """Rows of an (N, C) array or tensor: finite, in [0, 1], summing to 1 within `atol`.

    Works through the rows in blocks, so a memory-mapped array larger than memory passes too.
    """
    shape = tuple(probs.shape)
    if len(shape) != 2 or shape[1] < 1:
        raise InputError(f"{name} must have shape (N, C); got {shape}.")
    if num_classes is not None and shape[1] != num_classes:
        raise InputError(f"{name} has {shape[1]} columns, but there are {num_classes} classes.", hint="Column j must be class j.")
    block, count, first = max(1, 4_000_000 // shape[1]), 0, None
    for start in range(0, shape[0], block):
        rows = _as_numpy(probs[start : start + block])
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, which the conditions below catch
            total = rows.sum(1, dtype=np.float64)
        low, high = rows.min(1), rows.max(1)
        # NaN fails every comparison, so the conditions are stated positively and negated
        bad = ~((low >= -atol) & (high <= 1 + atol) & (np.abs(total - 1) <= atol))
        if bad.any():
            count += int(bad.sum())
            if first is None:
                i = int(bad.argmax())
                first = (start + i, total[i], low[i])
    if first is not None:
        row, total, low = first
        raise InputError(
            f"{name} must be probabilities (finite, in [0, 1], rows summing to 1): {count:,} of {shape[0]:,} rows are not, "
            f"first row {row} (sum {total:.4g}, min {low:.4g}).",
            hint="If these are logits, apply softmax first; if they are counts, divide each row by its sum.",
        )
    return probs


def class_index(name: str, labels: Any, *, num_classes: int, unknown: int | None = None) -> np.ndarray:
    """Integer class indices (N,), each in [0, `num_classes`) or equal to `unknown` where that is allowed; int64."""
    values = _as_numpy(labels)
    if values.ndim != 1:
        raise InputError(f"{name} must have shape (N,); got {values.shape}.")
    if not np.issubdtype(values.dtype, np.integer):
        rounded = np.asarray(values, dtype=np.float64) if np.issubdtype(values.dtype, np.floating) or values.dtype == bool else None
        if rounded is None or not np.array_equal(rounded, np.round(rounded)):
            raise InputError(f"{name} must be integer class indices; got dtype {values.dtype}.")
        values = rounded
    values = values.astype(np.int64, copy=False)
    bad = (values < 0) | (values >= num_classes)
    if unknown is not None:
        bad &= values != unknown
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"{name} must lie in 0..{num_classes - 1}: {int(bad.sum()):,} of {len(values):,} do not, first row {row} (label {values[row]}).",
            hint=f"Either the label is wrong or more than {num_classes} classes exist.",
        )
    return values


def unique(name: str, values: np.ndarray) -> np.ndarray:
    """Values without repetition; names the first repeated one otherwise."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    same = ordered[1:] == ordered[:-1]
    if same.any():
        later = order[1:][same]
        first = int(later.min())
        raise InputError(f"{name} must be unique: {len(later):,} repeat an earlier one, first {_shown(values[first])} at row {first}.")
    return values


def _shown(value: Any) -> str:
    """The value as a user wrote it: NumPy's scalars print as ``np.int64(2)`` otherwise."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _as_numpy(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values)
