"""k-reciprocal re-ranking: distances that ask whether two points have each other as neighbours.

Reference: Zhong, Zheng, Cao, Li. Re-ranking Person Re-identification with k-reciprocal Encoding. CVPR 2017, eq. 3-12.

    d_ij   = |x_i - x_j|^2 / max_m |x_i - x_m|^2
    R(i)   = {j among the k1 nearest of i : i among the k1 nearest of j} and i itself; R'(j) the same with round(k1 / 2)
    R*(i)  = R(i) and every R'(j), j in R(i), of which more than two thirds lie in R(i)
    V_ij   = exp(-d_ij) on R*(i), rows scaled to sum 1; then V_i <- mean of V over the k2 nearest of i (i itself the first)
    d_J    = 1 - s / (2 - s),  s = sum_m min(V_im, V_jm)
    d*     = (1 - lam) d_J + lam d

One point set, many pairs: :func:`k_reciprocal` keeps V sparse (a row holds some k1 times k2 entries) and forms the sums on
its non-zeros only, so a set of n points needs a few hundred n numbers beside blocks of distances, not n^2. A short list for
each query, re-ranked within itself as the authors' code does: :func:`rerank_lists`, many lists at a time in dense batches.
Equal distances are ordered by index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.neighbours import top_k

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["k_reciprocal", "rerank_lists"]

OVERLAP = 2 / 3  # share of R'(j) that must lie in R(i) before it joins
BLOCK_ELEMENTS = 4_000_000
"""Numbers of a dense block at a time: 16 MB in float32."""
PAIRS = 50_000
"""Pairs whose sums of minima are formed at a time; a row of V has some hundred entries."""


def _settings(k1: int, k2: int, lam: float) -> None:
    check.integer("k1", k1, low=1)
    check.integer("k2", k2, low=1)
    check.in_range("lam", lam, low=0, high=1)


def k_reciprocal(points: Any, first: Any, second: Any, *, k1: int = 20, k2: int = 6, lam: float = 0.3) -> np.ndarray:
    """d* of the pairs (`first`, `second`) within the set of `points`: float32 (P,), in [0, 1]; 0 for a point and itself.

    Parameters
    ----------
    points
        Float (N, D), at least two rows.
    first, second
        int (P,) rows; d is scaled by the largest distance of `first`.
    k1, k2
        Neighbours of the reciprocal test and of the averaging; cut to what there is.
    lam
        Weight of the plain distance: 1 keeps the original order.

    Raises
    ------
    InputError
        If shapes or settings are wrong or values are not finite.
    """
    _settings(k1, k2, lam)
    x = torch.as_tensor(np.asarray(points, dtype=np.float32)) if not isinstance(points, Tensor) else points.detach().float()
    first, second = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    check.same_length(first=first, second=second)
    if x.ndim != 2 or len(x) < 2:
        raise InputError(f"points must have shape (N, D) with N >= 2; got {tuple(x.shape)}.")
    farthest = _farthest(x)
    plain = _squared(x, first, second) / farthest[first]
    if lam == 1:
        return plain
    code = _encode(x, farthest, k1=min(k1, len(x) - 1), k2=min(k2, len(x)))
    jaccard = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), PAIRS):
        part = slice(start, start + PAIRS)
        shared = np.asarray(code[first[part]].minimum(code[second[part]]).sum(1)).ravel()
        jaccard[part] = 1 - shared / (2 - shared)
    return (1 - lam) * np.clip(jaccard, 0, 1) + np.float32(lam) * plain


def _farthest(x: Tensor) -> np.ndarray:
    """Largest squared distance of each point, (N,); 1 where all points are the same, so that 0 / 1 is 0."""
    centred = x - x.mean(0)
    square = centred.square().sum(1)
    step = max(1, BLOCK_ELEMENTS // len(x))
    parts = [
        (torch.addmm(square, centred[s : s + step], centred.T, alpha=-2).amax(1) + square[s : s + step]) for s in range(0, len(x), step)
    ]
    found = torch.cat(parts).clamp_min(0)
    return torch.where(found > 0, found, torch.ones(())).numpy()


def _squared(x: Tensor, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared distances of pairs from the differences, in blocks: float32 (P,)."""
    out = np.empty(len(first), dtype=np.float32)
    step = max(1, BLOCK_ELEMENTS // x.shape[1])
    i, j = torch.from_numpy(first), torch.from_numpy(second)
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        out[part] = (x[i[part]] - x[j[part]]).square_().sum(1).numpy()
    return out


def _encode(x: Tensor, farthest: np.ndarray, *, k1: int, k2: int) -> csr_matrix:
    """V after local averaging, CSR float32 (N, N), rows summing to 1."""
    from scipy.sparse import csr_matrix

    n = len(x)
    near, _ = top_k(x, x, min(n - 1, max(k1, k2 - 1)), same=True)
    near = np.concatenate([np.arange(n)[:, None], near], axis=1)  # each point is its own nearest
    wide, narrow = _reciprocal(near, k1), _reciprocal(near, min(k1, round(k1 / 2)))
    expanded = _expanded(wide, narrow)
    rows, cols = expanded.nonzero()
    code = csr_matrix((np.exp(-_squared(x, rows.astype(np.int64), cols.astype(np.int64)) / farthest[rows]), (rows, cols)), shape=(n, n))
    code = _row_scaled(code)
    if k2 == 1:
        return code
    mean = csr_matrix((np.full(n * k2, 1 / k2, dtype=np.float32), near[:, :k2].ravel(), np.arange(0, n * k2 + 1, k2)), shape=(n, n))
    return (mean @ code).tocsr()


def _reciprocal(near: np.ndarray, k: int) -> csr_matrix:
    """Which pairs have each other among the `k` nearest, the diagonal included: CSR of ones."""
    from scipy.sparse import csr_matrix

    n = len(near)
    forward = csr_matrix((np.ones(n * (k + 1), dtype=np.float32), near[:, : k + 1].ravel(), np.arange(0, n * (k + 1) + 1, k + 1)), (n, n))
    both = forward.multiply(forward.T).tocsr()
    both.sort_indices()
    return both


def _expanded(wide: csr_matrix, narrow: csr_matrix) -> csr_matrix:
    """R* from R and R': the support of `wide`, and of the rows of `narrow` that overlap it enough."""
    sizes = np.asarray(narrow.sum(1)).ravel()
    overlap = wide.multiply(wide @ narrow.T).tocoo()
    joins = overlap.data > OVERLAP * sizes[overlap.col]
    from scipy.sparse import csr_matrix

    chosen = csr_matrix((np.ones(int(joins.sum()), dtype=np.float32), (overlap.row[joins], overlap.col[joins])), shape=wide.shape)
    return (wide + chosen @ narrow).tocsr()


def _row_scaled(matrix: csr_matrix) -> csr_matrix:
    from scipy.sparse import diags

    return (diags(1 / np.asarray(matrix.sum(1)).ravel()).astype(np.float32) @ matrix).tocsr()


def rerank_lists(points: Any, candidates: Any, *, k1: int = 20, k2: int = 6, lam: float = 0.3) -> np.ndarray:
    """d* of each query to its own candidates, where the set is the query and those candidates alone (the authors' form).

    Parameters
    ----------
    points
        Float (N, D); row i of `candidates` int (N, M) belongs to query i.
    k1, k2, lam
        As in :func:`k_reciprocal`. A list no longer than k1 makes the reciprocal test trivial: every candidate then passes,
        and only the averaging over k2 tells them apart. The global :func:`k_reciprocal` does not have this flaw.

    Returns
    -------
    float32 (N, M), in the order of `candidates`.
    """
    _settings(k1, k2, lam)
    x = torch.as_tensor(points).detach().float()
    index = torch.as_tensor(np.asarray(candidates, dtype=np.int64))
    if x.ndim != 2 or index.ndim != 2 or len(index) != len(x) or not index.shape[1]:
        raise InputError(f"points (N, D) and candidates (N, M) must describe the same queries; got {tuple(x.shape)}, {tuple(index.shape)}.")
    size = index.shape[1] + 1
    out = torch.empty(index.shape, dtype=torch.float32)
    step = max(1, BLOCK_ELEMENTS // (size * max(size, x.shape[1])))
    for start in range(0, len(x), step):
        rows = torch.arange(start, min(start + step, len(x)))
        members = torch.cat([rows[:, None], index[rows]], dim=1)
        out[rows] = _dense(x[members], k1=min(k1, size - 1), k2=min(k2, size), lam=lam)
    return out.numpy()


def _dense(x: Tensor, *, k1: int, k2: int, lam: float) -> Tensor:
    """d* (B, M) of the first point of each set (B, M + 1, D) to the others."""
    square = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    size = x.shape[1]
    farthest = square.amax(2, keepdim=True)
    d = square / torch.where(farthest > 0, farthest, torch.ones(()))
    itself = torch.eye(size, dtype=torch.bool)
    order = square.masked_fill(itself, -1.0).sort(dim=2, stable=True).indices
    wide, narrow = _dense_reciprocal(order, k1), _dense_reciprocal(order, min(k1, round(k1 / 2)))
    joins = wide.bool() & (wide @ narrow.mT > OVERLAP * narrow.sum(2)[:, None, :])
    expanded = (wide + joins.float() @ narrow) > 0
    code = torch.where(expanded, torch.exp(-d), torch.zeros(()))
    code = code / code.sum(2, keepdim=True)
    if k2 > 1:
        mean = torch.zeros_like(d).scatter_(2, order[:, :, :k2], 1 / k2)
        code = mean @ code
    shared = torch.minimum(code[:, :1], code[:, 1:]).sum(2)
    return (1 - lam) * (1 - shared / (2 - shared)).clamp(0, 1) + lam * d[:, 0, 1:]


def _dense_reciprocal(order: Tensor, k: int) -> Tensor:
    near = torch.zeros(order.shape).scatter_(2, order[:, :, : k + 1], 1.0)
    return near * near.mT
