"""Pair plots and dependence of all pairs of columns, from one table of joint counts.

With every column coded 0..k-1 (missing aside), the joint counts of all pairs are the blocks of one matrix; mutual information,
Cramer's V and the correlation ratio of all pairs are block sums of it. A pair uses the rows where both columns are present.

    MI(A, B) = sum p_ij log(p_ij / p_i p_j)  in nats;  MI(A, A) = H(A)
    V^2 = max(0, phi^2 - (k-1)(r-1)/(n-1)) / min(k' - 1, r' - 1),  k' = k - (k-1)^2/(n-1)   (Bergsma 2013)
    eta^2(A → y) = sum_a n_a (mean_a - mean)^2 / sum (y - mean)^2
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.audit.nutrition.codes import Coded

__all__ = [
    "JointCounts",
    "Strip",
    "correlation_ratio",
    "entropy",
    "histogram",
    "information_and_v",
    "joint_counts",
    "joint_strip",
    "joint_strips",
    "mutual_information",
    "spearman",
    "suppress",
]

BLOCK_CELLS = 500_000  # entries of one temporary: 4 MB


@dataclass(frozen=True)
class Strip:
    """Joint counts of one column (rows, its states) with several columns side by side (`starts`, `sizes` of their states)."""

    counts: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    def block(self, b: int) -> np.ndarray:
        """Joint counts with the b-th of the columns."""
        return self.counts[:, self.starts[b] : self.starts[b] + self.sizes[b]]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over each column's states along the last axis: (…, S) → (…, m); 0 for a column without states."""
        out = np.zeros((*values.shape[:-1], len(self.sizes)))
        filled = self.sizes > 0
        if filled.any():
            out[..., filled] = np.add.reduceat(values, self.starts[filled], axis=-1)
        return out

    def expected(self) -> np.ndarray:
        """Counts if the column were independent of each other one on their common rows."""
        row, owner = self.sums(self.counts), np.repeat(np.arange(len(self.sizes)), self.sizes)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(row[:, owner] * self.counts.sum(0) / row.sum(0)[owner])

    def information(self) -> np.ndarray:
        """Mutual information with each column in nats, (m,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(self.counts > 0, self.counts * np.log(self.counts / self.expected()), 0.0)
            return np.maximum(np.nan_to_num(self.sums(terms.sum(0)) / self.sums(self.counts.sum(0))), 0.0)

    def cramers_v(self) -> np.ndarray:
        """Bias-corrected Cramer's V with each column, (m,); NaN where one of the two has fewer than two values on the common rows."""
        expected, margin = self.expected(), self.counts.sum(0)
        n = self.sums(margin)
        k, r = (self.sums(self.counts) > 0).sum(0), self.sums((margin > 0).astype(float))
        with np.errstate(divide="ignore", invalid="ignore"):
            phi2 = self.sums(np.where(expected > 0, (self.counts - expected) ** 2 / expected, 0.0).sum(0)) / n
            room = np.minimum(k - (k - 1) ** 2 / (n - 1), r - (r - 1) ** 2 / (n - 1)) - 1
            v = np.sqrt(np.maximum(0.0, phi2 - (k - 1) * (r - 1) / (n - 1)) / room)
        v[(k < 2) | (r < 2) | ~(room > 0)] = np.nan
        return np.minimum(v, 1.0)


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)


def joint_strips(codes_Nm: np.ndarray, sizes: Sequence[int], which: Iterable[int] | None = None) -> Iterator[Strip]:
    """For each column a (or those of `which`): its joint counts with the columns a, a + 1, …

    `codes_Nm` integer (N, m), code == size is missing and left out. One ``bincount`` over (code of a, code of b) for all b together,
    in blocks of rows: no loop over rows or pairs. Column after column, so that the cells of a pair stay in cache; codes whose
    transpose is contiguous are not copied.
    """
    codes_mN, size = np.ascontiguousarray(codes_Nm.T), np.asarray(sizes, dtype=np.int64)
    n, m = codes_Nm.shape
    small = codes_mN.size <= BLOCK_CELLS
    whole = codes_mN.astype(np.int64) if small else None
    for a in range(m) if which is None else which:
        right = size[a:]
        padded = right + 1  # room for the missing state, dropped at the end
        starts, width = _offsets(padded), int(padded.sum())
        counts = np.zeros(padded[0] * width, dtype=np.int64)
        rows = n if small else max(1, BLOCK_CELLS // len(right))
        for first in range(0, n, max(rows, 1)):
            part = codes_mN[a:, first : first + rows].astype(np.int64) if whole is None else whole[a:]
            flat = part + (part[0] * width)
            flat += starts[:, None]
            counts += np.bincount(flat.ravel(), minlength=len(counts))
        kept = np.ones(width, dtype=bool)
        kept[starts + right] = False
        yield Strip(counts.reshape(padded[0], width)[: right[0], kept].astype(np.float64), _offsets(right), right)


def joint_strip(codes_Nm: np.ndarray, sizes: Sequence[int], a: int) -> Strip:
    """Joint counts of column `a` with the columns a, a + 1, …"""
    return next(joint_strips(codes_Nm, sizes, [a]))


@dataclass(frozen=True)
class JointCounts:
    """`counts` (S, S) float64, block (a, b) the joint counts of columns a and b; `starts` (m,) first state of each column; `sizes` (m,)."""

    counts: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    def block(self, a: int, b: int) -> np.ndarray:
        """Joint counts (size_a, size_b)."""
        i, j = self.starts[a], self.starts[b]
        return self.counts[i : i + self.sizes[a], j : j + self.sizes[b]]


def joint_counts(codes_Nm: np.ndarray, sizes: Sequence[int]) -> JointCounts:
    """Joint counts of all pairs at once, O(S^2) memory for S states in all."""
    size = np.asarray(sizes, dtype=np.int64)
    starts = _offsets(size)
    counts = np.zeros((int(size.sum()),) * 2)
    for a, one in enumerate(joint_strips(codes_Nm, sizes)):
        strip = one.counts
        rows = slice(starts[a], starts[a] + size[a])
        counts[rows, starts[a] :] = strip
        counts[starts[a] :, rows] = strip.T
    return JointCounts(counts, starts, size)


def _symmetric(rows: list[np.ndarray]) -> np.ndarray:
    out = np.zeros((len(rows), len(rows)))
    for a, row in enumerate(rows):
        out[a, a:] = out[a:, a] = row
    return out


def mutual_information(codes_Nm: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Mutual information of all pairs in nats, (m, m); the diagonal is the entropy."""
    return _symmetric([strip.information() for strip in joint_strips(codes_Nm, sizes)])


def information_and_v(codes_Nm: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mutual information and bias-corrected Cramer's V of all pairs, (m, m) each; a strip of counts at a time."""
    strips = [(s.information(), s.cramers_v()) for s in joint_strips(codes_Nm, sizes)]
    return _symmetric([i for i, _ in strips]), _symmetric([v for _, v in strips])


def correlation_ratio(codes: np.ndarray, values: np.ndarray, size: int) -> float:
    """eta in [0, 1] of `values` (N,) given `codes` (N,); code == size or NaN leaves the row out; NaN for a constant."""
    present = np.isfinite(values) & (codes < size)
    y, a = values[present], codes[present]
    if len(y) < 2:
        return float("nan")
    y = y - y.mean()
    total = float(y @ y)
    if total <= 0 or not size:
        return float("nan")
    n = np.bincount(a, minlength=size)
    sums = np.bincount(a, weights=y, minlength=size)
    between = float((sums[n > 0] ** 2 / n[n > 0]).sum())
    return float(np.sqrt(min(1.0, between / total)))


def entropy(counts: np.ndarray) -> float:
    """Entropy in nats of the distribution proportional to `counts` (k,)."""
    p = counts[counts > 0] / counts.sum() if counts.sum() else counts[:0]
    return float(-(p * np.log(p)).sum())


def _dense(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Dense order codes 0..U-1 of the finite values, -1 elsewhere, int32 (N,), and U."""
    codes = np.full(len(values), -1, dtype=np.int32)
    finite = np.isfinite(values)
    distinct, inverse = np.unique(values[finite], return_inverse=True)
    codes[finite] = inverse
    return codes, len(distinct)


def _ranks(codes: np.ndarray, size: int) -> np.ndarray:
    """Average ranks less their mean, from dense order codes without sorting again."""
    n = np.bincount(codes, minlength=size)
    rank = np.cumsum(n) - (n - 1) / 2
    return (rank - (len(codes) + 1) / 2)[codes]


def spearman(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Spearman's rho of all pairs of numeric columns (M of (N,)), NaN cells left out pair by pair; (M, M), NaN where undefined.

    Each column is sorted once; the ranks on the rows that a pair has in common follow from its dense codes in O(N).
    """
    m = len(columns)
    out = np.full((m, m), np.nan)
    dense = [_dense(values) for values in columns]
    whole = [bool((codes >= 0).all()) for codes, _ in dense]
    for a in range(m):
        x_all = _ranks(*dense[a]) if whole[a] else None
        for b in range(a, m):
            if x_all is not None and whole[b]:
                x, y = x_all, _ranks(*dense[b])
            else:
                both = (dense[a][0] >= 0) & (dense[b][0] >= 0)
                x, y = _ranks(dense[a][0][both], dense[a][1]), _ranks(dense[b][0][both], dense[b][1])
            scale = np.sqrt((x @ x) * (y @ y))
            if scale > 0:
                out[a, b] = out[b, a] = x @ y / scale
    return np.clip(out, -1, 1)


def suppress(counts: np.ndarray, floor: int) -> list[Any]:
    """Counts as lists of integers; None where 0 < count < floor."""
    values = counts.astype(int)
    hidden = (values > 0) & (values < floor)
    shown = values.astype(object)
    shown[hidden] = None
    return shown.tolist()  # type: ignore[no-any-return]


def histogram(coded: Coded, *, floor: int) -> dict[str, Any]:
    """Marginal histogram as plain values: labels (bins with edges for numbers), counts, missing, kind."""
    counts = np.bincount(coded.codes, minlength=coded.size + 1)
    return {
        "kind": "numbers" if coded.is_numeric else "categories",
        "labels": list(coded.labels),
        "edges": None if coded.edges is None else coded.edges.tolist(),
        "counts": suppress(counts[: coded.size], floor),
        "missing": suppress(counts[coded.size : coded.size + 1], floor)[0],
    }
