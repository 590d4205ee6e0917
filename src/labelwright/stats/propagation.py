"""Labels and mass spread over a graph: sparse operator times dense block, on NumPy arrays and torch tensors alike.

Every function takes an operator P (V, V), a SciPy CSR matrix or a torch sparse CSR tensor (see
:func:`labelwright.stats.graphs.normalised` and :func:`~labelwright.stats.graphs.to_torch`), and values Y (V, C) of the
same library. Nothing (V, V) and dense is ever made: a step costs O(E C).

    lazy      Y <- (1 - keep) P Y + keep Y           a node keeps a share of its *current* row
    restart   Y <- (1 - back) P Y + back Y0          a share of the *first* rows comes back
    clamped   Y <- P Y;  Y_i <- Y0_i where known     known rows never change
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.graphs import degrees

__all__ = ["clamped", "lazy", "pagerank", "restart"]


def _checked(operator: Any, values: Any, steps: int) -> None:
    check.integer("steps", steps, low=0)
    if operator.shape[1] != values.shape[0]:
        raise InputError(f"The operator is for {operator.shape[1]} nodes; values have {values.shape[0]} rows.")


def lazy(operator: Any, values: Any, *, steps: int, keep: float) -> Any:
    """`steps` times ``Y <- (1 - keep) P Y + keep Y``, Y (V, C), not modified.

    With a column-normalised P the sum of every column of Y stays, as long as no node with mass is isolated; the rows of
    isolated nodes shrink by `keep` a step. `keep` = 1 and `steps` = 0 are the identity.
    """
    check.in_range("keep", keep, low=0, high=1)
    _checked(operator, values, steps)
    for _ in range(steps if keep < 1 else 0):
        values = (1 - keep) * (operator @ values) + keep * values
    return values


def restart(operator: Any, values: Any, *, steps: int, back: float, clip: bool = False) -> Any:
    """`steps` times ``Y <- (1 - back) P Y + back Y0``; with `clip`, kept in [0, 1] after each step."""
    check.in_range("back", back, low=0, high=1)
    _checked(operator, values, steps)
    first = back * values
    for _ in range(steps):
        values = (1 - back) * (operator @ values) + first
        if clip:
            values = values.clip(0, 1)
    return values


def clamped(operator: Any, values: Any, *, known: Any, steps: int) -> Any:
    """`steps` times ``Y <- P Y`` with the rows of `known` bool (V,) put back to what they were."""
    _checked(operator, values, steps)
    first = values[known]
    for _ in range(steps):
        values = operator @ values
        values[known] = first
    return values


def pagerank(
    adj: sparse.csr_matrix, start: np.ndarray, *, damping: float = 0.85, tolerance: float = 1e-10, max_steps: int = 1000
) -> np.ndarray:
    """Personalised PageRank by power iteration: p = (1 - damping) s + damping A D^-1 p, float64.

    Parameters
    ----------
    adj
        Clean adjacency (V, V), possibly weighted.
    start
        Non-negative (V,), or a block (V, S) of S personalisations; each is scaled to sum to 1.
    damping
        Probability to go on, in [0, 1).
    tolerance
        Stop when no entry moves by more than this.

    Returns
    -------
    np.ndarray
        Like `start`, each column summing to 1. What reaches a node without neighbours goes back to the start.

    Raises
    ------
    InputError
        If a personalisation is negative or empty.
    """
    check.in_range("damping", damping, low=0, high=1, closed="left")
    begin = np.asarray(start, dtype=np.float64)
    total = begin.sum(0)
    if begin.shape[0] != adj.shape[0] or (begin < 0).any() or not np.all(total > 0):
        raise InputError(f"start must hold {adj.shape[0]} non-negative numbers with a positive sum; got shape {begin.shape}.")
    begin = begin / total
    d = degrees(adj)
    alone = d == 0
    send = sparse.csr_matrix(adj @ sparse.diags(1 / np.where(alone, 1.0, d)))
    p = begin
    for _ in range(max_steps):
        after = damping * (send @ p + begin * p[alone].sum(0)) + (1 - damping) * begin
        moved = np.abs(after - p).max(initial=0.0)
        p = after
        if moved <= tolerance:
            break
    return p
