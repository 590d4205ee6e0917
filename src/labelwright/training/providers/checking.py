"""The check that a teacher speaks of the classes of the data, in their order, and knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.intervals import Measure, wilson
from labelwright.stats.matching import assign
from labelwright.training.evaluation import predict_logits

__all__ = ["TeacherCheck", "check_teacher"]

GAIN = 0.1  # a reordering of classes that gains more accuracy than this is no accident


@dataclass(frozen=True, kw_only=True)
class TeacherCheck:
    """What a teacher's check found: `accuracy` with its 95 % interval on `n` real examples, the share of the most frequent class."""

    accuracy: Measure
    n: int
    majority: float


def check_teacher(
    teacher: nn.Module | Callable[[Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    *,
    names: Sequence[str],
    teacher_names: Sequence[str] | None = None,
    what: str = "The teacher",
) -> TeacherCheck:
    """Make sure, on real validation data, that a teacher speaks of these classes in this order, and knows them.

    Parameters
    ----------
    teacher
        A network, or inputs to logits.
    inputs, labels
        Validation examples as the teacher takes them, float32 (n, …), and their classes int64 (n,), -1 where unknown.
    names
        The C classes in the order of the labels.
    teacher_names
        The teacher's own classes in the order of its outputs, where they are known.

    Raises
    ------
    InputError
        If its classes are others, or in another order (also when only its answers show it), its outputs are not finite, or it
        is no better than always naming the most frequent class.
    """
    if teacher_names is not None and tuple(teacher_names) != tuple(names):
        _other_names(tuple(teacher_names), tuple(names), what)
    known = labels >= 0
    n = check.same_length(inputs=inputs, labels=labels)
    if not int(known.sum()):
        raise InputError(f"{what} cannot be checked: none of {n:,} validation labels is known.")
    if isinstance(teacher, nn.Module):
        logits = predict_logits(teacher, inputs)
    else:
        with torch.no_grad():
            logits = torch.cat([teacher(part).float().cpu() for part in inputs.split(512)])
    if logits.ndim != 2 or logits.shape[1] != len(names):
        raise InputError(
            f"{what} gives outputs of shape {tuple(logits.shape)}, but there are {len(names)} classes.",
            hint="It was trained on other classes; train one on this data.",
        )
    check.finite(f"{what}'s outputs", logits)
    truth, said = labels[known].cpu().numpy(), logits.argmax(1)[known.cpu()].numpy()
    table = np.bincount(truth * len(names) + said, minlength=len(names) ** 2).reshape(len(names), len(names))
    right, total = int(np.trace(table)), int(table.sum())
    rows, columns = assign(table, maximise=True)
    best = int(table[rows, columns].sum())
    if best - right > GAIN * total:
        moved = [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if r != c and table[r, c]]
        shown = ", ".join(f"output {c} ({names[c]!r}) answers for {names[r]!r}" for r, c in moved[:3])
        raise InputError(
            f"{what}'s classes are in another order: {right / total:.1%} right as they stand, {best / total:.1%} after reordering; {shown}.",
            hint="Sort its outputs to the order of the dataset's classes.",
        )
    measure, majority = wilson(right, total), float(table.sum(1).max() / total)
    if measure.low <= majority:
        raise InputError(
            f"{what} is right on {right / total:.1%} of {total:,} validation examples, no better than always naming the most frequent class ({majority:.1%}).",
            hint="Is its preprocessing that of the data? Train it longer, or give another one.",
        )
    return TeacherCheck(accuracy=measure, n=total, majority=majority)


def _other_names(theirs: tuple[str, ...], ours: tuple[str, ...], what: str) -> None:
    missing, extra = [n for n in ours if n not in theirs], [n for n in theirs if n not in ours]
    if missing or extra:
        said = f"lacks {', '.join(map(repr, missing[:3]))}" if missing else f"knows {', '.join(map(repr, extra[:3]))} besides"
        raise InputError(f"{what} was trained on other classes: it {said}.", hint="Train one on this data.")
    place = next(j for j, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b)
    raise InputError(
        f"{what}'s classes are in another order: output {place} is {theirs[place]!r}, class {place} of the data is {ours[place]!r}.",
        hint="Sort its outputs to the order of the dataset's classes.",
    )
