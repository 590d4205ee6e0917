"""CrossCat: columns in views, rows of each view in clusters. The faithful, slower probabilistic back-end.

References: Mansinghka, Shafto, Jonas, Petschulat, Gasner, Tenenbaum. CrossCat: A fully Bayesian nonparametric method for analyzing
heterogeneous, high dimensional data. JMLR 17 (2016). Neal. Markov chain sampling methods for Dirichlet process mixture models.
JCGS 9 (2000), algorithms 3 (rows) and 8 with one auxiliary view (columns).

    rows:    P(z_i = k) ∝ n_k prod_{c in view} p(x_ic | cluster k);   a new cluster: alpha_v prod_c p(x_ic)
    columns: P(view_c = v) ∝ m_v prod_k marginal(x_c in cluster k of v);   a new view: alpha_c, its rows drawn from the CRP

Words are Dirichlet-categorical, numbers (standardised) Normal-Inverse-Gamma; a missing cell is left out. All chains advance in lockstep:
one step moves row i in every view of every chain, so a sweep is n array operations over (chains, columns, clusters). Hyperparameters
are fixed. Simulation weighs the chains by how well they explain the evidence, so that it agrees with `logpdf`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import logsumexp

from labelwright import check
from labelwright.audit.nutrition.codes import Coded, code_column, encode
from labelwright.audit.nutrition.crosscat_parts import BETA, Numbers, Words, crp_partitions
from labelwright.audit.nutrition.models import check_query, given_codes
from labelwright.audit.nutrition.table import Column
from labelwright.errors import InputError

__all__ = ["ROWS", "CrossCat", "fit_crosscat"]

ROWS = 500  # a sweep is one step a row; more rows are sampled down, and the label says so
CHAINS = 16
SWEEPS = 100
CATEGORIES = 30


@dataclass(eq=False)
class CrossCat:
    """Chains of CrossCat after their sweeps. `view` (S, m) the view of each column, `z` (S, V, n) the cluster of each row."""

    columns: tuple[Coded, ...]
    words: Words
    numbers: Numbers
    centre: np.ndarray
    spread: np.ndarray
    view: np.ndarray
    z: np.ndarray
    sizes: np.ndarray
    alpha_views: float
    alpha_rows: float

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    # Gibbs ------------------------------------------------------------------------------------------------------------------------

    def _grow_clusters(self) -> None:
        clusters = self.sizes.shape[2] * 2
        self.sizes = np.pad(self.sizes, ((0, 0), (0, 0), (0, clusters - self.sizes.shape[2])))
        self.words.grow(clusters)
        self.numbers.grow(clusters)

    def _by_view(self, log_ScK: np.ndarray) -> np.ndarray:
        """Sum of columns' log likelihoods in each view: (S, m, K) → (S, V, K)."""
        member = (self.view[:, None, :] == np.arange(self.z.shape[1])[:, None]).astype(float)
        return member @ log_ScK

    def _row_likelihood(self, words: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        log = np.zeros((len(self.view), len(self.columns), self.sizes.shape[2]))
        log[:, self.words.where] = self.words.predictive(words)
        log[:, self.numbers.where] = self.numbers.predictive(numbers)
        return log

    def _log_prior(self) -> np.ndarray:
        """log n_k, and log alpha at the first empty cluster of each view; -inf at further empty ones: (S, V, K)."""
        with np.errstate(divide="ignore"):
            prior = np.log(self.sizes)
        first = (self.sizes == 0).argmax(2)
        np.put_along_axis(prior, first[..., None], math.log(self.alpha_rows), axis=2)
        return prior

    def sweep_rows(self, rng: np.random.Generator) -> None:
        """Reassign every row in every view of every chain."""
        chains = np.arange(len(self.view))[:, None]
        views = np.arange(self.z.shape[1])
        for i in range(self.z.shape[2]):
            now = self.z[:, :, i]
            self._move(i, chains, views, now, -1)
            if not (self.sizes == 0).any(2).all():
                self._grow_clusters()
            log = self._by_view(self._row_likelihood(np.where(self.words.present[i], self.words.x[i], -1), self._number_row(i)))
            log += self._log_prior()
            new = (log - np.log(rng.standard_exponential(log.shape))).argmax(2)  # Gumbel-max draw
            self.z[:, :, i] = new
            self._move(i, chains, views, new, 1)

    def _number_row(self, i: int) -> np.ndarray:
        return np.where(self.numbers.present[i], self.numbers.x[i], np.nan)

    def _move(self, i: int, chains: np.ndarray, views: np.ndarray, cluster_SV: np.ndarray, sign: int) -> None:
        self.sizes[chains, views, cluster_SV] += sign
        of_column = np.take_along_axis(cluster_SV, self.view, axis=1)
        self.words.remove_or_add(i, chains, of_column[:, self.words.where], sign)
        self.numbers.remove_or_add(i, chains, of_column[:, self.numbers.where], sign)

    def sweep_columns(self, rng: np.random.Generator) -> None:
        """Reassign every column to a view of its chain, or to a new one."""
        chains, m = self.view.shape
        n = self.z.shape[2]
        fresh = crp_partitions(chains * m, n, self.alpha_rows, rng).reshape(chains, m, n)
        while fresh.max() + 1 >= self.sizes.shape[2]:
            self._grow_clusters()
        every = np.arange(chains)
        for c in range(m):
            others = np.stack([(np.delete(self.view, c, axis=1) == v).sum(1) for v in range(self.z.shape[1])], axis=1)
            own = self.view[:, c]
            alone = others[every, own] == 0
            if ((others > 0).all(1) & ~alone).any():  # a chain without an empty view: make room for one
                self.z = np.concatenate([self.z, self.z[:, :1]], axis=1)
                self.sizes = np.concatenate([self.sizes, self.sizes[:, :1]], axis=1)
                others = np.pad(others, ((0, 0), (0, 1)))
            auxiliary = np.where(alone, own, (others == 0).argmax(1))
            renew = every[~alone]
            self.z[renew, auxiliary[renew]] = fresh[renew, c]
            for s in renew:
                self.sizes[s, auxiliary[s]] = np.bincount(fresh[s, c], minlength=self.sizes.shape[2])
            part, place = self._component(c)
            log, statistics = part.of_partitions(place, self.z, self.sizes.shape[2])
            with np.errstate(divide="ignore"):
                weight = np.log(others.astype(float))
            weight[every, auxiliary] = math.log(self.alpha_views)
            new = (log + weight - np.log(rng.standard_exponential(log.shape))).argmax(1)
            self.view[:, c] = new
            part.put(place, statistics[every, new])

    def compact(self) -> None:
        """Number the views of each chain 0, 1, … in order of their first column, and drop slots that no chain uses."""
        for s, view in enumerate(self.view):
            _, first = np.unique(view, return_index=True)
            used = view[np.sort(first)]
            order = np.concatenate([used, np.setdiff1d(np.arange(self.z.shape[1]), used)])
            place = np.empty_like(order)
            place[order] = np.arange(len(order))
            self.z[s], self.sizes[s], self.view[s] = self.z[s, order], self.sizes[s, order], place[view]
        slots = min(int(self.view.max()) + 2, self.z.shape[1])
        self.z, self.sizes = self.z[:, :slots].copy(), self.sizes[:, :slots].copy()

    def _component(self, c: int) -> tuple[Any, int]:
        part: Words | Numbers = self.numbers if self.columns[c].is_numeric else self.words
        return part, int(np.flatnonzero(part.where == c)[0])

    # Questions --------------------------------------------------------------------------------------------------------------------

    def dependence(self) -> np.ndarray:
        """Share of chains with two columns in one view, (m, m)."""
        return (self.view[:, :, None] == self.view[:, None, :]).mean(0)

    def _evidence(self, given: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        words, numbers = np.full(len(self.words.where), -1), np.full(len(self.numbers.where), np.nan)
        codes = given_codes(self.columns, {k: v for k, v in given.items() if v is not None})
        for position, code in codes.items():
            part, place = self._component(position)
            if part is self.words:
                words[place] = code
            else:
                numbers[place] = (float(given[self.names[position]]) - self.centre[place]) / self.spread[place]
        return words, numbers

    def _cluster_posterior(self, words: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log weight of each cluster of each view given one row's evidence (S, V, K), and its log likelihood in each chain (S,)."""
        total = self.z.shape[2] + self.alpha_rows
        log = self._by_view(self._row_likelihood(words, numbers)) + self._log_prior() - math.log(total)
        norm = logsumexp(log, axis=2)
        return log - norm[..., None], norm.sum(1)

    def simulate(self, targets: Sequence[str], given: Mapping[str, Any], n: int, *, seed: int) -> pl.DataFrame:
        """`n` draws of `targets` given the values of other columns."""
        check_query(self.names, targets, given, n)
        rng = np.random.default_rng(seed)
        if not (self.sizes == 0).any(2).all():
            self._grow_clusters()
        log, evidence = self._cluster_posterior(*self._evidence(given))
        chain = rng.choice(len(self.view), size=n, p=np.exp(evidence - logsumexp(evidence)))
        cluster = (log[chain] - np.log(rng.standard_exponential((n, *log.shape[1:])))).argmax(2)
        drawn = []
        for name in targets:
            position = self.names.index(name)
            part, place = self._component(position)
            statistics = part.counts[chain, place, cluster[np.arange(n), self.view[chain, position]]]
            if part is self.words:
                p = (statistics + BETA)[:, : self.words.sizes[place]]
                edges = np.cumsum(p / p.sum(1, keepdims=True), axis=1)
                codes = np.minimum((rng.random((n, 1)) >= edges).sum(1), p.shape[1] - 1)
                drawn.append(pl.Series(name, [self.columns[position].labels[k] for k in codes], dtype=pl.String))
            else:
                kappa, mean, a, b = self.numbers.posterior(statistics)
                value = mean + np.sqrt(b * (kappa + 1) / (a * kappa)) * rng.standard_t(2 * a)
                drawn.append(pl.Series(name, value * self.spread[place] + self.centre[place]))
        return pl.DataFrame(drawn)

    def logpdf(self, rows: pl.DataFrame) -> np.ndarray:
        """Log density of each row over the columns it has, (N,) in nats, averaged over chains."""
        for name in rows.columns:
            check.known_word("column", name, self.names, place="the model")
        if not (self.sizes == 0).any(2).all():
            self._grow_clusters()
        words, numbers = _rows_of(self.columns, self.words, self.numbers, rows, self.centre, self.spread)
        out = np.empty(rows.height)
        for i in range(rows.height):
            out[i] = logsumexp(self._cluster_posterior(words[i], numbers[i])[1]) - math.log(len(self.view))
        return out - (np.isfinite(numbers) * np.log(self.spread)).sum(1)


def _rows_of(
    columns: Sequence[Coded], words: Words, numbers: Numbers, rows: pl.DataFrame, centre: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N, words), -1 missing, and standardised numbers (N, numbers), NaN missing; absent columns are missing."""
    x, y = np.full((rows.height, len(words.where)), -1), np.full((rows.height, len(numbers.where)), np.nan)
    for j, position in enumerate(words.where):
        if columns[position].name in rows.columns:
            codes = encode(columns[position], rows.get_column(columns[position].name))
            x[:, j] = np.where(codes < columns[position].size, codes, -1)
    for j, position in enumerate(numbers.where):
        if columns[position].name in rows.columns:
            values = rows.get_column(columns[position].name).cast(pl.Float64).fill_null(math.nan).to_numpy()
            y[:, j] = np.where(np.isfinite(values), (values - centre[j]) / spread[j], np.nan)
    return x, y


def fit_crosscat(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    *,
    chains: int = CHAINS,
    sweeps: int = SWEEPS,
    rows: int = ROWS,
    alpha_views: float = 1.0,
    alpha_rows: float = 1.0,
    seed: int = 0,
) -> CrossCat:
    """Run the chains on a uniform sample of at most `rows` rows.

    Raises
    ------
    InputError
        If there is no column or no row.
    """
    if not columns or not frame.height:
        raise InputError("CrossCat needs at least one column and one row.")
    rng = np.random.default_rng(seed)
    if frame.height > rows:
        frame = frame[np.sort(rng.permutation(frame.height)[:rows])]
    coded = tuple(code_column(c, frame.get_column(c.name), bins=2, categories=CATEGORIES) for c in columns)
    is_number = np.array([c.is_numeric for c in coded])
    where_words, where_numbers = np.flatnonzero(~is_number), np.flatnonzero(is_number)
    n = frame.height
    y = np.stack([np.asarray(coded[j].values) for j in where_numbers], axis=1) if len(where_numbers) else np.zeros((n, 0))
    y = np.where(np.isfinite(y), y, np.nan)
    centre = np.array([np.nanmean(col) if np.isfinite(col).any() else 0.0 for col in y.T])
    spread = np.array([np.nanstd(col) if np.isfinite(col).any() else 1.0 for col in y.T])
    spread[spread == 0] = 1.0
    x = (
        np.stack([np.where(coded[j].missing, -1, coded[j].codes) for j in where_words], axis=1)
        if len(where_words)
        else np.zeros((n, 0), dtype=np.int64)
    )
    sizes = np.array([coded[j].size for j in where_words], dtype=np.int64)
    # every column starts in a view of its own: started together, unrelated columns settle on the product of their clusters, which
    # no move of a single column leaves
    view = np.tile(np.arange(len(coded)), (chains, 1))
    slots = len(coded) + 1
    z = crp_partitions(chains * slots, n, alpha_rows, rng).reshape(chains, slots, n)
    clusters = int(z.max()) + 2
    model = CrossCat(
        columns=coded,
        words=Words(where_words, x.astype(np.int64), sizes, chains),
        numbers=Numbers(where_numbers, (y - centre) / spread, chains),
        centre=centre,
        spread=spread,
        view=view,
        z=z,
        sizes=np.stack([[np.bincount(z[s, v], minlength=clusters) for v in range(slots)] for s in range(chains)]).astype(float),
        alpha_views=alpha_views,
        alpha_rows=alpha_rows,
    )
    model.words.grow(clusters)
    model.numbers.grow(clusters)
    for c in range(len(coded)):
        part, place = model._component(c)
        part.put(place, part.of_partitions(place, z, clusters)[1][np.arange(chains), view[:, c]])
    for _ in range(sweeps):
        model.sweep_rows(rng)
        model.sweep_columns(rng)
        model.compact()
    return model
