"""Probabilistic models of rows behind one interface, and the dependence between columns by half-samples and permutations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl

from labelwright import check
from labelwright.audit.nutrition.codes import Coded, encode
from labelwright.audit.nutrition.pairs import mutual_information
from labelwright.errors import InputError

__all__ = ["RowModel", "check_query", "decode", "dependence_probability", "given_codes"]

NULL_LEVEL = 0.95
PER_NULL = 32  # resamples that share one set of permutations: a set each would cost 21 tables a resample instead of 1.6


class RowModel(Protocol):
    """A joint distribution over the columns of a table."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""

    def simulate(self, targets: Sequence[str], given: Mapping[str, Any], n: int, *, seed: int) -> pl.DataFrame:
        """`n` draws of `targets` given values of other columns."""

    def logpdf(self, rows: pl.DataFrame) -> np.ndarray:
        """Log density of each row over the columns it has, (N,) in nats."""

    def dependence(self) -> np.ndarray:
        """Probability that two columns depend on each other, (m, m), diagonal 1."""


def dependence_probability(codes_Nm: np.ndarray, sizes: Sequence[int], *, resamples: int, permutations: int, seed: int) -> np.ndarray:
    """Share of half-samples in which the mutual information of two columns exceeds the 95 % quantile of its permutations, (m, m).

    `codes_Nm` integer (N, m) with code == size for missing, which counts as a state of its own. Both sides are corrected by the mean
    over permutations, which cancels. Resamples are drawn without replacement and hold N // 2 rows: a bootstrap repeats rows, and
    repeated rows look dependent, so that independent columns would be called dependent far more often than the level of the test.
    Each permutation shuffles every column of a half-sample of its own; all pairs are counted at once.
    """
    n, m = codes_Nm.shape
    half = max(1, n // 2)
    states = [s + 1 for s in sizes]
    rng = np.random.default_rng(seed)
    codes_mN = np.ascontiguousarray(codes_Nm.T)

    def sample() -> np.ndarray:
        return codes_mN[:, rng.permutation(n)[:half]]

    def information(codes_mH: np.ndarray) -> np.ndarray:
        return mutual_information(codes_mH.T, states)

    passed = np.zeros((m, m))
    for first in range(0, resamples, PER_NULL):
        null = np.stack([information(rng.permuted(sample(), axis=1)) for _ in range(permutations)])
        # "higher" makes the test exact: with 20 permutations the threshold is their maximum, passed with probability 1 / 21
        threshold = np.quantile(null, NULL_LEVEL, axis=0, method="higher")
        for _ in range(min(PER_NULL, resamples - first)):
            passed += information(sample()) > threshold + 1e-12  # equal values differ by rounding alone
    share = passed / resamples
    np.fill_diagonal(share, 1.0)
    return share


def check_query(names: Sequence[str], targets: Sequence[str], given: Mapping[str, Any], n: int) -> None:
    """Targets and conditions are columns of the model and do not overlap.

    Raises
    ------
    InputError
        If not, or if `n` is not positive.
    """
    check.integer("n", n, low=1)
    for name in (*targets, *given):
        check.known_word("column", name, names, place="the model")
    both = set(targets) & set(given)
    if both:
        raise InputError(f"{sorted(both)} are both asked for and given.")


def given_codes(columns: Sequence[Coded], given: Mapping[str, Any]) -> dict[int, int]:
    """Position of a column → code of its given value (None: missing).

    Raises
    ------
    InputError
        If a word was never seen in its column.
    """
    place = {c.name: i for i, c in enumerate(columns)}
    made = {}
    for name, value in given.items():
        column = columns[place[name]]
        if value is None:
            made[place[name]] = column.size
            continue
        if not column.is_numeric:
            check.known_word(f"value of {name!r}", str(value), column.labels, place="the column")
        made[place[name]] = int(encode(column, pl.Series([float(value) if column.is_numeric else str(value)]))[0])
    return made


def decode(column: Coded, codes: np.ndarray, rng: np.random.Generator) -> pl.Series:
    """Values for codes: words, own values, or a uniform draw within the bin; null for missing."""
    missing = codes >= column.size
    if not column.is_numeric:
        return pl.Series(column.name, [None if m else column.labels[c] for c, m in zip(codes, missing, strict=True)], dtype=pl.String)
    if column.points is not None:
        values = column.points[np.minimum(codes, column.size - 1)].astype(float)
    elif column.edges is not None:
        at = np.minimum(codes, column.size - 1)
        values = column.edges[at] + rng.random(len(codes)) * (column.edges[at + 1] - column.edges[at])
    else:
        values = np.zeros(len(codes))
    return pl.Series(column.name, np.where(missing, np.nan, values), dtype=pl.Float64).fill_nan(None)
