"""Seeded partitions of a dataset: two parts, or folds for cross-validation. Classes are spread evenly, groups stay whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labelwright import check
from labelwright.data.dataset import Dataset
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, Labels

__all__ = ["HELD_OUT", "folds", "held_out", "split", "split_positions"]

HELD_OUT = frozenset({"val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation", "holdout", "held-out"})
"""Words in column ``split`` that mark rows of validation and test splits."""

STREAM = 0x5B117
"""Sets the draws of splits apart from those that corrupt labels: with one seed for both, the held-out part would be the corrupted one."""


def held_out(data: Dataset) -> np.ndarray:
    """Rows of validation and test splits by column ``split``, bool (N,); none without that column."""
    column = data.columns.get("split")
    if column is None:
        return np.zeros(len(data), dtype=bool)
    return np.array([str(word).strip().lower() in HELD_OUT for word in column], dtype=bool)


def split(data: Dataset, fraction: float, *, seed: int, stratify: bool = True, groups: str | None = "group") -> tuple[Dataset, Dataset]:
    """Two disjoint parts that cover `data`, each in its order: the first with about 1 - `fraction` of the examples, the second with `fraction`.

    Parameters
    ----------
    fraction
        Share of the second part, in (0, 1).
    seed
        Same seed, same parts.
    stratify
        Spread each class (and the unknown labels) over both parts in proportion. The larger part gets at least one
        example of every class. Without class labels it has no effect.
    groups
        Name of a column whose values must not be torn apart (patients, pages, …); used if the column exists. With
        groups, whole groups are dealt out and class shares are met as well as those allow.

    Raises
    ------
    InputError
        If a part would be empty.
    """
    first, second = split_positions(data, fraction, seed=seed, stratify=stratify, groups=groups)
    return data.take(first), data.take(second)


def split_positions(
    data: Dataset, fraction: float, *, seed: int, stratify: bool = True, groups: str | None = "group"
) -> tuple[np.ndarray, np.ndarray]:
    """Row positions of the two parts of :func:`split`, each ascending, int64."""
    check.in_range("fraction", fraction, low=0, high=1, closed="neither")
    rng = np.random.default_rng([seed, STREAM])
    strata = _strata(data) if stratify else np.zeros(len(data), dtype=np.int64)
    column = data.columns.get(groups) if groups else None
    if column is not None and len(np.unique(_words(column))) < len(data):
        second = _group_part(strata, np.unique(_words(column), return_inverse=True)[1], fraction, rng)
    else:
        second = _part(strata, fraction, rng)
    if not 0 < second.sum() < len(data):
        raise InputError(
            f"A part of {fraction:g} of {len(data):,} examples{f' in groups by {groups!r}' if column is not None else ''} leaves one part empty.",
            hint="Take another fraction or more data.",
        )
    return np.flatnonzero(~second), np.flatnonzero(second)


def folds(data: Dataset | Labels | int, k: int, *, seed: int, groups: str | None = "group") -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`k` pairs (rest, held out) of row positions, ascending; every row is held out exactly once.

    Classes are dealt over the folds one after the other, each starting where the last one ended: the counts of a
    class in two folds differ by one at most, and so do the sizes of the folds. A class with fewer than `k` examples is
    absent from some held-out folds; one with a single example is absent from one training part, which a caller
    that needs all classes must allow for. Groups (of a dataset with such a column) stay whole.

    Parameters
    ----------
    data
        A dataset, labels, or just the number of rows.
    k
        Number of folds, from 2 to the number of rows.
    """
    n = data if isinstance(data, int) else len(data)
    check.integer("k", k, low=2)
    if k > n:
        raise InputError(f"{n} examples cannot make {k} folds.", hint=f"Take at most {n}.")
    rng = np.random.default_rng([seed, STREAM])
    strata = np.zeros(n, dtype=np.int64) if isinstance(data, int) else _strata(data)
    column = data.columns.get(groups) if groups and isinstance(data, Dataset) else None
    if column is not None:
        group = np.unique(_words(column), return_inverse=True)[1]
        if group.max() + 1 < k:
            raise InputError(f"{group.max() + 1} groups (column {groups!r}) cannot make {k} folds.", hint="Take fewer folds.")
        fold = _group_folds(strata, group, k, rng)
    else:
        order = rng.permutation(n)
        order = order[np.argsort(strata[order], kind="stable")]
        fold = np.empty(n, dtype=np.int64)
        fold[order] = np.arange(n) % k
    for j in range(k):
        yield np.flatnonzero(fold != j), np.flatnonzero(fold == j)


def _strata(data: Dataset | Labels) -> np.ndarray:
    """Class of each row, the unknown ones as a stratum of their own; zeros without class labels."""
    labels = data.labels if isinstance(data, Dataset) else data
    if not isinstance(labels, ClassLabels):
        return np.zeros(len(data), dtype=np.int64)
    return np.where(labels.known, labels.values, labels.num_classes)


def _words(column: np.ndarray) -> np.ndarray:
    return column.astype(str) if column.dtype == object else column


def _part(strata: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Mask of the second part."""
    small = _small_part(strata, min(fraction, 1 - fraction), rng)
    return small if fraction <= 0.5 else ~small


def _small_part(strata: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Mask of a part of at most one half: largest-remainder shares of every stratum, so that the total is right too; all but one at most."""
    counts = np.bincount(strata)
    exact = counts * fraction
    share = np.floor(exact).astype(np.int64)
    left = max(1, round(len(strata) * fraction)) - int(share.sum())
    # ties of the remainders are broken by chance, else the first classes would always lose
    order = np.lexsort((rng.random(len(counts)), share - exact))
    order = order[share[order] < counts[order] - 1]
    share[order[: max(0, left)]] += 1
    if not share.any() and len(strata) > 1:  # only classes of one example: one of them must go over
        share[int(rng.choice(np.flatnonzero(counts)))] = 1
    part = np.zeros(len(strata), dtype=bool)
    shuffled = rng.permutation(len(strata))
    shuffled = shuffled[np.argsort(strata[shuffled], kind="stable")]
    rank = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
    part[shuffled] = rank < np.repeat(share, counts)
    return part


def _group_part(strata: np.ndarray, group: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Mask of the second part made of whole groups, added greedily while they bring its class counts nearer to their target."""
    table = np.zeros((group.max() + 1, strata.max() + 1))
    np.add.at(table, (group, strata), 1)
    target = table.sum(0) * fraction
    held = np.zeros(table.shape[1])
    taken = np.zeros(len(table), dtype=bool)
    # large groups first: the small ones then fill the gaps
    for g in sorted(rng.permutation(len(table)).tolist(), key=lambda g: -table[g].sum()):
        if taken.sum() == len(table) - 1:
            break
        if np.abs(held + table[g] - target).sum() < np.abs(held - target).sum():
            held, taken[g] = held + table[g], True
    if not taken.any():
        taken[int(table.sum(1).argmin())] = True
    return taken[group]


def _group_folds(strata: np.ndarray, group: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each row: groups, large ones first, go where they keep class counts most even."""
    table = np.zeros((group.max() + 1, strata.max() + 1))
    np.add.at(table, (group, strata), 1)
    weight = 1.0 / np.maximum(table.sum(0), 1)
    held = np.zeros((k, table.shape[1]))
    fold = np.empty(len(table), dtype=np.int64)
    for rank, g in enumerate(sorted(rng.permutation(len(table)).tolist(), key=lambda g: -table[g].sum())):
        if rank < k:
            place = rank  # every fold gets a group
        else:
            load = ((held + table[g]) ** 2 * weight).sum(1) - (held**2 * weight).sum(1)
            place = int(load.argmin())
        fold[g] = place
        held[place] += table[g]
    return fold[group]
