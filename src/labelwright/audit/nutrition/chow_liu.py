"""A tree-shaped model of rows: the default probabilistic back-end.

Reference: Chow, Liu. Approximating discrete probability distributions with dependence trees. IEEE Trans. Inf. Theory 14 (1968).

    tree   = maximum spanning tree over I_alpha(A, B), the mutual information of (n_ab + alpha) / (n + alpha k_a k_b)
    P(b|a) = (n_ab + alpha) / (n_a + alpha k_b)
    P(x)   = P(x_root) prod_edges P(x_child | x_parent)

Numbers are cut at quantiles into at most 20 bins, a missing cell is a state of its own. Conditionals are exact (belief propagation on
the tree), draws are ancestral from the exact posterior. States never seen keep probability in `logpdf`, but are never drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from labelwright import check
from labelwright.audit.nutrition.codes import Coded, code_column, encode
from labelwright.audit.nutrition.models import check_query, decode, dependence_probability, given_codes
from labelwright.audit.nutrition.pairs import JointCounts, joint_counts
from labelwright.audit.nutrition.table import Column
from labelwright.errors import InputError

__all__ = ["ChowLiuTree", "fit_chow_liu", "smoothed_information"]

ALPHA = 0.5
BINS = 20
CATEGORIES = 30


def smoothed_information(joint: JointCounts, alpha: float) -> np.ndarray:
    """Mutual information of the Laplace-smoothed joint distributions, (m, m) in nats."""
    m = len(joint.sizes)
    out = np.zeros((m, m))
    for a in range(m):
        for b in range(a, m):
            p = joint.block(a, b) + alpha
            p = p / p.sum()
            out[a, b] = out[b, a] = float((p * np.log(p / (p.sum(1, keepdims=True) * p.sum(0, keepdims=True)))).sum())
    return out


@dataclass(frozen=True, eq=False)
class ChowLiuTree:
    """A fitted tree. `order` visits parents before children; `parents` (m,) is -1 at the root; `tables` P(child | parent), the root's first."""

    columns: tuple[Coded, ...]
    order: np.ndarray
    parents: np.ndarray
    tables: tuple[np.ndarray, ...]
    seen: tuple[np.ndarray, ...]
    information: np.ndarray
    resamples: int = 64
    permutations: int = 20
    seed: int = 0
    _kept: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    def edges(self) -> list[tuple[str, str]]:
        """(parent, child) pairs of the tree."""
        return [(self.names[p], self.names[c]) for c, p in enumerate(self.parents) if p >= 0]

    def _upward(self, evidence: Mapping[int, int], *, draw: bool) -> list[np.ndarray]:
        """Message of each column's subtree to itself: weight of each state given the evidence at and below it."""
        weights = []
        for j, table in enumerate(self.tables):
            weight = self.seen[j].astype(float) if draw else np.ones(table.shape[1])
            if j in evidence:
                only = np.zeros_like(weight)
                only[evidence[j]] = 1.0
                weight = only
            weights.append(weight)
        for j in self.order[:0:-1]:
            message = self.tables[j] @ weights[j]
            # messages shrink with depth; only ratios matter
            weights[self.parents[j]] = weights[self.parents[j]] * (message / max(message.max(), np.finfo(float).tiny))
        return weights

    def simulate(self, targets: Sequence[str], given: Mapping[str, Any], n: int, *, seed: int) -> pl.DataFrame:
        """`n` draws of `targets` given the values of other columns, exact under the tree."""
        check_query(self.names, targets, given, n)
        rng = np.random.default_rng(seed)
        weights = self._upward(given_codes(self.columns, given), draw=True)
        states: dict[int, np.ndarray] = {}
        for j in self.order:
            p = self.tables[j] * weights[j]
            total = p.sum(1, keepdims=True)
            cumulative = np.cumsum(p / np.where(total > 0, total, 1.0), axis=1)
            rows = cumulative[np.zeros(n, dtype=np.intp) if self.parents[j] < 0 else states[int(self.parents[j])]]
            drawn = (rng.random((n, 1)) * rows[:, -1:] >= rows).sum(1)
            states[int(j)] = np.minimum(drawn, p.shape[1] - 1)
        place = {name: i for i, name in enumerate(self.names)}
        return pl.DataFrame([decode(self.columns[place[t]], states[place[t]], rng) for t in targets])

    def conditional(self, target: str, given: Mapping[str, Any]) -> dict[str, float]:
        """Exact P(target | given) over the states of `target`; the key ``missing value`` stands for a missing cell."""
        check_query(self.names, [target], given, 1)
        evidence = given_codes(self.columns, given)
        weights = self._upward(evidence, draw=True)
        j = self.names.index(target)
        path = [j]
        while self.parents[path[-1]] >= 0:
            path.append(int(self.parents[path[-1]]))
        belief = self.tables[path[-1]][0] * weights[path[-1]]
        for node in reversed(path[:-1]):
            step = self.tables[node] * weights[node]
            total = step.sum(1)
            belief = belief / belief.sum() @ (step / np.where(total > 0, total, 1.0)[:, None])
        belief = belief / belief.sum()
        labels = (*self.columns[j].labels, "missing value")
        return {labels[k]: float(p) for k, p in enumerate(belief) if self.seen[j][k]}

    def logpdf(self, rows: pl.DataFrame) -> np.ndarray:
        """Log density of each row, (N,) in nats; `rows` needs every column. Binned numbers are uniform within their bin.

        Raises
        ------
        InputError
            If a column is absent.
        """
        for name in self.names:
            check.known_word("column", name, rows.columns, place="the rows")
        total = np.zeros(rows.height)
        codes = []
        for column in self.columns:
            code = encode(column, rows.get_column(column.name))
            codes.append(code)
            if column.edges is not None:
                width = np.diff(column.edges)
                here = code < column.size
                total[here] -= np.log(width[code[here]])
        for j, table in enumerate(self.tables):
            parent = np.zeros(rows.height, dtype=np.intp) if self.parents[j] < 0 else codes[self.parents[j]]
            total += np.log(table[parent, codes[j]])
        return total

    def dependence(self) -> np.ndarray:
        """Dependence probability of all pairs by half-samples and permutations, (m, m); computed once."""
        if "dependence" not in self._kept:
            codes = np.stack([c.codes for c in self.columns]).T
            self._kept["dependence"] = dependence_probability(
                codes, [c.size for c in self.columns], resamples=self.resamples, permutations=self.permutations, seed=self.seed
            )
        return self._kept["dependence"]


def fit_chow_liu(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    *,
    alpha: float = ALPHA,
    bins: int = BINS,
    categories: int = CATEGORIES,
    resamples: int = 64,
    permutations: int = 20,
    seed: int = 0,
) -> ChowLiuTree:
    """Fit the tree on all rows of `frame`.

    Raises
    ------
    InputError
        If there is no column or no row.
    """
    if not columns or not frame.height:
        raise InputError("The tree model needs at least one column and one row.")
    check.in_range("alpha", alpha, low=0, closed="neither")
    coded = tuple(code_column(c, frame.get_column(c.name), bins=bins, categories=categories, quantiles=True, spare=True) for c in columns)
    # a missing cell is one more state: sizes are one larger, and nothing is left out
    sizes = [c.size + 1 for c in coded]
    joint = joint_counts(np.stack([c.codes for c in coded]).T, sizes)
    information = smoothed_information(joint, alpha)
    m = len(coded)
    if m > 1:
        cost = information.max() + 1.0 - information
        np.fill_diagonal(cost, 0.0)
        tree = minimum_spanning_tree(cost)
        order, parents = breadth_first_order(tree + tree.T, 0, directed=False)
    else:
        order, parents = np.array([0]), np.array([-1])
    parents = np.where(parents < 0, -1, parents).astype(np.intp)
    tables, seen = [], []
    for j in range(m):
        counts = joint.block(j, j).diagonal()
        seen.append(counts > 0)
        block = counts[None, :] if parents[j] < 0 else joint.block(int(parents[j]), j)
        tables.append((block + alpha) / (block + alpha).sum(1, keepdims=True))
    return ChowLiuTree(
        columns=coded,
        order=np.asarray(order),
        parents=parents,
        tables=tuple(tables),
        seen=tuple(seen),
        information=information,
        resamples=resamples,
        permutations=permutations,
        seed=seed,
    )
