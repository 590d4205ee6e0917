"""Confident learning over batches, for data that does not fit into memory.

The thresholds need every example once, the confident joint needs the thresholds, and the pruning filters need the joint:
so two passes for ``confident_learning`` and ``predicted_neq_given``, a third one for the pruning filters. Between batches
only O(C^2) counts and the flagged examples are held; for pruning, the best candidates so far of each count, whose number
is the number of examples to prune (at most twice that, plus one batch's worth before the first clearing).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwright import check
from labelwright.audit import _confident as core
from labelwright.audit.label_errors import Collisions, FilterBy, Score, as_probs, check_counts, check_options, noise_rate
from labelwright.errors import InputError

__all__ = ["FlaggedErrors", "label_errors_streaming"]


@dataclass(frozen=True, eq=False)
class FlaggedErrors:
    """The flagged examples of a stream, in its order, and the estimates over all of it.

    `index` int64 (F,): position in the stream; `given`, `suggested` int64 (F,); `score` float64 (F,), higher = more likely
    wrong; `n`: examples read; `thresholds`, `pairs`, `joint` as in :class:`~labelwright.audit.label_errors.LabelErrors`.
    """

    index: np.ndarray
    given: np.ndarray
    suggested: np.ndarray
    score: np.ndarray
    n: int
    thresholds: np.ndarray = field(repr=False)
    pairs: np.ndarray = field(repr=False)
    joint: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def noise_rate(self) -> float:
        """Estimated share of wrong labels."""
        return noise_rate(self.joint)


@dataclass
class _Stream:
    """The batches with their checks; knows where each one starts."""

    batches: Iterable[tuple[Any, Any]]
    num_classes: int = 0
    dtype: Any = None
    n: int = -1

    def read(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, core.Rows]]:
        """(position of the first row, labels, probs, rows) of each batch.

        Raises
        ------
        InputError
            If a batch is malformed, or a later pass brings another number of examples.
        """
        start = 0
        for number, batch in enumerate(self.batches):
            if not isinstance(batch, (tuple, list)) or len(batch) != 2:
                raise InputError(f"batch {number} must be a pair (labels, probs); got {type(batch).__name__}.")
            probs = as_probs(batch[1])
            if self.dtype is None:
                self.num_classes, self.dtype = probs.shape[1], probs.dtype
            if probs.shape[1] != self.num_classes:
                raise InputError(f"batch {number} has {probs.shape[1]} columns of probabilities, the first one {self.num_classes}.")
            probs = probs.astype(self.dtype, copy=False)
            labels = check.class_index(f"labels of batch {number}", batch[0], num_classes=self.num_classes)
            check.same_length(labels=labels, probs=probs)
            if len(labels):
                yield start, labels, probs, core.read_rows(labels, probs, name=f"probs of batch {number}")
            start += len(labels)
        if self.n >= 0 and start != self.n:
            raise InputError(
                f"The batches held {self.n:,} examples when first read and {start:,} later.",
                hint="Pass something that can be read again from the start (a list, or an object whose __iter__ reopens the files), not a generator.",
            )
        self.n = start


class _Best:
    """The `wanted[g]` entries of largest value of each group g, ties to the smaller index, over batches."""

    def __init__(self, wanted: np.ndarray, dtype: Any) -> None:
        self.wanted = wanted
        self.cut = np.where(wanted > 0, -np.inf, np.inf).astype(dtype)  # what an entry must reach to count
        self.group, self.index = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        self.value = np.empty(0, dtype=dtype)
        self.limit = 2 * int(wanted.sum())

    def add(self, group: np.ndarray, value: np.ndarray, index: np.ndarray) -> None:
        self.group, self.value, self.index = (
            np.concatenate([old, new]) for old, new in ((self.group, group), (self.value, value), (self.index, index))
        )
        if len(self.group) > self.limit:
            self.clear()

    def clear(self) -> None:
        """Keep the best of each group and raise its cut where it is full."""
        order = np.lexsort((self.index, -self.value, self.group))
        self.group, self.value, self.index = self.group[order], self.value[order], self.index[order]
        rank = np.arange(len(order)) - np.searchsorted(self.group, self.group)
        keep, full = rank < self.wanted[self.group], rank == self.wanted[self.group] - 1
        self.cut[self.group[full]] = self.value[full]
        self.group, self.value, self.index = self.group[keep], self.value[keep], self.index[keep]


def label_errors_streaming(
    batches: Iterable[tuple[Any, Any]],
    *,
    filter_by: FilterBy = "prune_by_noise_rate",
    score: Score = "self_confidence",
    collisions: Collisions = "overall",
    min_examples: int = 1,
    allow_empty: bool = False,
) -> FlaggedErrors:
    """:func:`~labelwright.audit.find_label_errors` over batches, in memory that does not grow with their number.

    Parameters
    ----------
    batches
        Pairs (labels int (B,), probs float (B, C)) that can be iterated more than once, in the same order each time.
    filter_by, score, collisions, min_examples, allow_empty
        As in :func:`~labelwright.audit.find_label_errors`, with the same flags.

    Raises
    ------
    InputError
        As there; and if the batches cannot be read twice.
    """
    check_options(filter_by, score, collisions, min_examples)
    if iter(batches) is batches:
        raise InputError(
            "batches can be read only once (a generator or iterator), but two or three passes are needed.",
            hint="Pass a list, or an object whose __iter__ starts again.",
        )
    stream = _Stream(batches)
    thresholds, counts = _first_pass(stream)
    check_counts(counts, allow_empty=allow_empty)
    limits, overall = core.limits_of(thresholds, stream.dtype), collisions == "overall"
    c, found = stream.num_classes, _Found()
    pairs = np.zeros((c, c), dtype=np.int64)
    for start, given, probs, rows in stream.read():
        guess = core.confident_class(rows, probs, limits, overall=overall)
        pairs += core.count_pairs(given, guess, c)
        if filter_by in ("confident_learning", "predicted_neq_given"):
            mask = core.disagrees(given, rows)
            if filter_by == "confident_learning":
                mask &= (guess >= 0) & (guess != given)
            found.add(start, np.flatnonzero(mask), given, probs, rows, score)
    joint = core.calibrate(pairs, counts)
    if filter_by in ("prune_by_class", "prune_by_noise_rate", "both"):
        found = _prune(stream, counts, core.prune_counts(joint, min_examples), min_examples, filter_by, score)
    return FlaggedErrors(**found.columns(), n=stream.n, thresholds=thresholds, pairs=pairs, joint=joint)


def _first_pass(stream: _Stream) -> tuple[np.ndarray, np.ndarray]:
    totals, counts = np.zeros(0), np.zeros(0, dtype=np.int64)
    for _, given, _, rows in stream.read():
        if not len(counts):
            totals, counts = np.zeros(stream.num_classes), np.zeros(stream.num_classes, dtype=np.int64)
        totals += np.bincount(given, weights=rows.given_prob, minlength=len(counts))
        counts += np.bincount(given, minlength=len(counts))
    return core.class_thresholds(totals, counts), counts


class _Found:
    """Facts of examples that are or may be flagged."""

    def __init__(self) -> None:
        self.parts: list[tuple[np.ndarray, ...]] = []

    def add(self, start: int, at: np.ndarray, given: np.ndarray, probs: np.ndarray, rows: core.Rows, score: str) -> None:
        if len(at):
            chosen = core.Rows(rows.top[at], rows.top_prob[at], rows.given_prob[at])
            scores = core.error_scores(given[at], probs[at], chosen, score)
            self.parts.append((start + at, given[at], rows.top[at].astype(np.int64), scores))

    def columns(self) -> dict[str, np.ndarray]:
        empty = (np.empty(0, dtype=np.int64),) * 3 + (np.empty(0),)
        columns = [np.concatenate(p) for p in zip(*(self.parts or [empty]), strict=True)]
        return dict(zip(("index", "given", "suggested", "score"), columns, strict=True))

    def only(self, index: np.ndarray) -> None:
        """Forget all but the sorted `index`."""
        columns = tuple(self.columns().values())
        keep = np.isin(columns[0], index, assume_unique=True)
        self.parts = [tuple(x[keep] for x in columns)]


def _prune(stream: _Stream, counts: np.ndarray, prune: np.ndarray, min_examples: int, filter_by: str, score: str) -> _Found:
    """The third pass: the best candidates of each class, of each pair of classes, or of both."""
    c = stream.num_classes
    large = counts > min_examples
    off = np.where(large[:, None], prune, 0)
    np.fill_diagonal(off, 0)
    by_class = _Best(np.where(large, counts - prune.diagonal(), 0).clip(min=0), stream.dtype)
    by_pair = _Best(off.reshape(-1), stream.dtype)
    use_class, use_pair = filter_by != "prune_by_noise_rate", filter_by != "prune_by_class"
    found, held = _Found(), 0

    def flagged() -> np.ndarray:
        for best in (by_class, by_pair):
            best.clear()
        if filter_by == "both":
            return np.intersect1d(by_class.index, by_pair.index)
        return np.unique((by_class if use_class else by_pair).index)

    for start, given, probs, rows in stream.read():
        open_ = core.disagrees(given, rows)
        chosen = np.zeros(len(given), dtype=bool)
        if use_class:
            value = -rows.given_prob
            at = np.flatnonzero(value >= by_class.cut[given])
            by_class.add(given[at], value[at], start + at)
            chosen[at] = True
        if use_pair:
            cut = by_pair.cut.reshape(c, c)
            for part in core.blocks(len(given), c * probs.itemsize):
                margin = probs[part] - rows.given_prob[part, None]
                row, column = np.nonzero(margin >= cut[given[part]])
                by_pair.add(given[part][row] * c + column, margin[row, column], start + part.start + row)
                chosen[part.start + row] = True
        # an example that agrees with its label competes for a place, but is never flagged: its facts need not be held
        at = np.flatnonzero(chosen & open_)
        found.add(start, at, given, probs, rows, score)
        held += len(at)
        if held > by_class.limit + by_pair.limit + len(given):
            candidates = np.union1d(by_class.index, by_pair.index)
            found.only(candidates)
            held = len(found.parts[0][0])
    found.only(flagged())
    return found
