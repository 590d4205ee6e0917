"""What experts' answers say about the ensemble and the labels: precision by confidence, error rates, scores of models, size of the ensemble.

Expert answers int (N,), -1 where nobody looked. Discrepant-resolution bias: where only disagreements are looked at, errors that ensemble
and label share stay hidden, and whatever resembles the ensemble is favoured. The confirmed share is therefore a *lower bound*; a random
sample of the agreeing examples makes :func:`audited_rate` an unbiased estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright import check
from labelwright.audit.judge_ensemble.ensemble import TIE, Ensemble, disagreements
from labelwright.errors import InputError
from labelwright.stats.agreement import weighted_f1
from labelwright.stats.bins import Bin, bin_of, binned_share
from labelwright.stats.intervals import Measure, finite_population, stratified
from labelwright.stats.metrics import auroc, confusion

__all__ = [
    "Closer",
    "Score",
    "audited_rate",
    "closer_by_bin",
    "confirmed_rate",
    "detection",
    "gold_labels",
    "precision_by_bin",
    "rescore",
    "size_curve",
]


def gold_labels(given: Any, disagrees: Any, expert: Any, *, trust_agreeing: bool = True) -> np.ndarray:
    """Gold int64 (N,): the given label where the ensemble agrees, the expert's answer where not, -1 where that is missing.

    With ``trust_agreeing=False`` an expert's answer also counts on agreeing examples (where a random sample of them was looked at).
    """
    y, d, e = np.asarray(given), np.asarray(disagrees, dtype=bool), np.asarray(expert)
    check.same_shape(given=y, disagrees=d, expert=e)
    asked = d if trust_agreeing else d | (e >= 0)
    return np.where(asked, e, y)


def precision_by_bin(ensemble: Ensemble, given: Any, expert: Any, edges: Any, *, gap: int = 0, draws: int = 100, seed: int) -> list[Bin]:
    """Share of the disagreements, by confidence, in which the expert sides with the ensemble; interval from `draws` resamples of the bin.

    Disagreements nobody looked at are left out.
    """
    d = disagreements(ensemble.probs, given, gap=gap) & (np.asarray(expert) >= 0)
    return binned_share((np.asarray(expert) == ensemble.prediction)[d], ensemble.confidence[d], edges, draws=draws, seed=seed)


@dataclass(frozen=True)
class Closer:
    """Disagreements on an ordinal scale with confidence in [`low`, `high`): who is closer to the expert, as shares that sum to 1."""

    low: float
    high: float
    ensemble: Measure
    given: float
    tie: float


def closer_by_bin(ensemble: Ensemble, given: Any, expert: Any, edges: Any, *, gap: int = 1, draws: int = 100, seed: int) -> list[Closer]:
    """Ordinal labels: by bin, how often the ensemble, the given label or neither is closer to the expert."""
    y, e = np.asarray(given), np.asarray(expert)
    d = disagreements(ensemble.probs, y, gap=gap) & (e >= 0)
    ours, theirs = np.abs(ensemble.prediction - e)[d], np.abs(y - e)[d]
    confidence = ensemble.confidence[d]
    place = bin_of(confidence, edges)
    made = []
    for b, row in enumerate(binned_share(ours < theirs, confidence, edges, draws=draws, seed=seed)):
        here = place == b
        other = float((theirs < ours)[here].mean()) if here.any() else np.nan
        made.append(Closer(row.low, row.high, row.share, other, 1 - row.share.value - other))
    return made


def confirmed_rate(given: Any, disagrees: Any, expert: Any, *, gap: int = 0, population: int | None = None) -> Measure:
    """Share of labels an expert found wrong among *all* that were judged, a lower bound of the error rate.

    Clopper and Pearson's interval with the finite-population correction for a set of `population` examples from which these were
    drawn at random (None: these are all there are, and the share is exact).
    """
    y, e = np.asarray(given), np.asarray(expert)
    n = int((y >= 0).sum())
    wrong = int((np.asarray(disagrees, dtype=bool) & _wrong(y, e, gap)).sum())
    return finite_population(wrong, n, n if population is None else population, method="clopper_pearson")


def audited_rate(strata: Any, given: Any, expert: Any, *, gap: int = 0) -> Measure:
    """Error rate of the judged labels, estimated from expert answers on random samples of the strata int (N,) (-1: left out).

    Each stratum counts by its size, so unequal shares looked at do no harm: ``share_dis err_dis + share_agree err_agree`` for the two strata
    of the ensemble's opinion. See :func:`labelwright.stats.intervals.stratified` for strata nobody looked at.
    """
    s, y, e = np.asarray(strata), np.asarray(given), np.asarray(expert)
    check.same_shape(strata=s, given=y, expert=e)
    use = (s >= 0) & (y >= 0)
    size = int(s.max(initial=-1)) + 1
    wrong, seen = _wrong(y, e, gap) & use, use & (e >= 0)
    return stratified(*(np.bincount(s[m], minlength=size).tolist() for m in (wrong, seen, use)))


def _wrong(given: np.ndarray, expert: np.ndarray, gap: int) -> np.ndarray:
    return (given >= 0) & (expert >= 0) & (np.abs(given - expert) > gap)


def detection(flagged: Any, wrong: Any) -> dict[str, float]:
    """Precision, recall and F1 of flags bool (..., N) for labels that are `wrong` bool (N,); F1 is 0 where there is nothing right."""
    f, w = np.asarray(flagged, dtype=bool), np.asarray(wrong, dtype=bool)
    hits, named, all_wrong = (f & w).sum(-1), f.sum(-1), w.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = {
            "precision": hits / named,
            "recall": hits / all_wrong,
            "f1": np.where(named + all_wrong > 0, 2 * hits / (named + all_wrong), 0.0),
        }
    return rows


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a model does against one set of labels: area under the ROC curve (macro over classes), weighted F1, accuracy, on `n` examples."""

    auroc: float
    f1: float
    accuracy: float
    n: int


def rescore(models: Mapping[str, Any], original: Any, gold: Any) -> list[dict[str, Any]]:
    """Each model's :class:`Score` under original and gold labels, with its rank by ROC area under both and the change (positive: it rises).

    `models`: name → probabilities (N, C), rows of NaN unknown. Only examples with both labels count, so the two scores differ by
    the labels alone.
    """
    y, g = np.asarray(original), np.asarray(gold)
    check.same_shape(original=y, gold=g)
    both = (y >= 0) & (g >= 0)
    rows: list[dict[str, Any]] = []
    for name, probs in models.items():
        p = np.asarray(probs, dtype=np.float64)
        check.same_length(**{f"model {name}": p, "labels": y})
        use = both & ~np.isnan(p).any(1)
        if not use.any():
            raise InputError(f"Model {name!r} has no example with both labels.")
        rows.append({"name": name, "original": _score(p[use], y[use]), "gold": _score(p[use], g[use])})
    for kind in ("original", "gold"):
        areas = np.array([row[kind].auroc for row in rows])
        for row, rank in zip(rows, _ranks(areas), strict=True):
            row[f"rank_{kind}"] = rank
    return [row | {"rise": row["rank_original"] - row["rank_gold"]} for row in rows]


def _ranks(values: np.ndarray) -> list[int]:
    """1 for the largest; equal values share the better rank; NaN comes last."""
    filled = np.where(np.isnan(values), -np.inf, values)
    return [int((filled > v).sum()) + 1 for v in filled]


def _score(probs: np.ndarray, truth: np.ndarray) -> Score:
    predicted = probs.argmax(1)
    table = confusion(truth, predicted, probs.shape[1])
    return Score(auroc=macro_auroc(probs, truth), f1=float(weighted_f1(table)), accuracy=float((predicted == truth).mean()), n=len(truth))


def macro_auroc(probs: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the classes that occur (and are not all) of the area under one-against-rest ROC curves; for two classes the usual area."""
    columns = [1] if probs.shape[1] == 2 else range(probs.shape[1])
    areas = [auroc(truth == c, probs[:, c]).value for c in columns if 0 < (truth == c).sum() < len(truth)]
    return float(np.mean(areas)) if areas else float("nan")


def size_curve(
    probs: Any, given: Any, gold: Any, *, gap: int = 0, permutations: int = 20, area: bool = True, seed: int
) -> list[dict[str, Any]]:
    """Quality of ensembles of 1, 2, … J judges, over random orders of the judges: a row a size with mean and spread.

    Each order gives all sizes at once, by cumulative sums. `f1`: detection of wrong labels by every disagreement; `auroc`: of the
    ensemble against gold. Examples without a gold label do not count. `permutations` orders; with fewer than that possible, some repeat.
    """
    p, y, g = np.asarray(probs, dtype=np.float64), np.asarray(given), np.asarray(gold)
    check.integer("permutations", permutations, low=1)
    use = (y >= 0) & (g >= 0)
    if not use.any():
        raise InputError("No example has both a given and a gold label.")
    p, y, g = p[:, use], y[use], g[use]
    judges, _, classes = p.shape
    known = np.asarray(~np.isnan(p).any(2))
    filled = np.where(known[:, :, None], p, 0.0)
    wrong = _wrong(y, g, gap)
    rng = np.random.default_rng(seed)
    f1, areas = np.zeros((permutations, judges)), np.full((permutations, judges), np.nan)
    for t in range(permutations):
        total, answered = np.zeros((len(y), classes)), np.zeros(len(y))
        for size, j in enumerate(rng.permutation(judges)):
            total += filled[j]
            answered += known[j]
            with np.errstate(invalid="ignore"):
                mean = total / answered[:, None]
            f1[t, size] = detection(disagreements(mean, y, gap=gap), wrong)["f1"]
            seen = answered > 0
            if area and seen.any():
                areas[t, size] = macro_auroc(mean[seen], g[seen])
    rows = []
    for size in range(judges):
        row: dict[str, Any] = {"size": size + 1}
        for name, values in {"f1": f1, **({"auroc": areas} if area else {})}.items():
            row[name], row[f"{name}_sd"] = _mean_and_spread(values[:, size])
        rows.append(row)
    return rows


def _mean_and_spread(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation without NaN; values that differ by rounding alone have no spread."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.nan, np.nan
    return float(known.mean()), 0.0 if np.ptp(known) < TIE else float(known.std())
