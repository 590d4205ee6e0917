"""What an audit by judges says: rows of findings, and the facts its report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.audit.judge_ensemble import evaluation
from labelwright.audit.judge_ensemble.ensemble import Ensemble, default_edges, disagreements, error_scores, flags
from labelwright.audit.judge_ensemble.panel import Member
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels, Votes
from labelwright.stats.agreement import Level, fleiss_kappa, krippendorff_alpha, pairwise_agreement, weighted_f1_matrix
from labelwright.stats.bins import bin_of
from labelwright.stats.intervals import finite_population

if TYPE_CHECKING:
    from labelwright.stats.intervals import Measure

__all__ = ["Outcome", "agreement_report"]

SHOWN_RATERS = 40
"""Up to so many annotators the facts hold matrices of every pair."""
PERMUTATIONS = 20
DRAWS = 100
"""Bootstrap resamples a bin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """One panel, its ensemble, and the labels it judged.

    `labels` are numbered by the panel's classes; `expert` int (N,) are experts' answers, -1 unknown; `temperature` float (J,).
    """

    labels: ClassLabels
    members: Sequence[Member]
    probs: np.ndarray
    ensemble: Ensemble
    expert: np.ndarray
    temperature: np.ndarray
    theta: float
    ordinal: bool
    gap: int
    population: int | None = None
    votes: Votes | None = None

    @property
    def given(self) -> np.ndarray:
        """Given labels int64 (N,)."""
        return self.labels.values

    @property
    def disagrees(self) -> np.ndarray:
        """bool (N,)."""
        return disagreements(self.ensemble.probs, self.given, gap=self.gap)

    @property
    def flagged(self) -> np.ndarray:
        """bool (N,): disagreements of confidence theta at least."""
        return flags(self.ensemble.probs, self.given, theta=self.theta, gap=self.gap)

    @property
    def judged(self) -> np.ndarray:
        """bool (N,): labelled, and at least one judge answered."""
        return (self.given >= 0) & ~self.ensemble.abstained

    def rows(self, known_names: Sequence[str]) -> dict[str, Any]:
        """Columns of the findings, a row an example. A class that is none of `known_names`, the dataset's own, is told but not suggested."""
        names = np.array([*self.labels.names, None], dtype=object)
        disagrees, score = self.disagrees, error_scores(self.ensemble.probs, self.given, gap=self.gap)
        told = disagrees | ((self.given < 0) & ~self.ensemble.abstained)
        allowed = np.isin(names[self.ensemble.prediction].astype(str), list(known_names))
        suggested = np.where(told & allowed, names[self.ensemble.prediction], None)
        return {
            "score": score,
            "flagged": self.flagged,
            "given": names[self.given],
            "suggested": suggested,
            "reason": self._reasons(disagrees),
        }

    def _reasons(self, disagrees: np.ndarray) -> np.ndarray:
        names, e = self.labels.names, self.ensemble
        reasons = np.full(len(e), None, dtype=object)
        own = np.where(np.isnan(self.probs).any(2), UNKNOWN, np.nan_to_num(self.probs, nan=-1.0).argmax(2))
        behind = (own == e.prediction[None, :]).sum(0)
        for i in np.flatnonzero(disagrees).tolist():
            best, y = int(e.prediction[i]), int(self.given[i])
            reasons[i] = (
                f"{behind[i]} of {e.answered[i]} judges say {names[best]}; mean probability {e.probs[i, best]:.3f}, "
                f"against {e.probs[i, y]:.3f} for {names[y]}"
            )
        reasons[(self.given < 0) & ~e.abstained] = "no label"
        reasons[e.abstained] = "no judge answered"
        return reasons

    def facts(self) -> dict[str, Any]:
        """Everything the report shows, as plain values."""
        judged, disagrees = self.judged, self.disagrees
        n = int(judged.sum())
        made: dict[str, Any] = {
            "n": len(self.given),
            "classes": list(self.labels.names),
            "judged": n,
            "abstained": int(self.ensemble.abstained.sum()),
            "unlabelled": int((self.given < 0).sum()),
            "disagree": int(disagrees.sum()),
            "disagree_rate": _measure(
                finite_population(int(disagrees.sum()), n, max(n, self.population or n, 1), method="clopper_pearson")
            ),
            "flagged": int(self.flagged.sum()),
            "theta": self.theta,
            "scale": f"ordinal, more than {self.gap} apart" if self.ordinal else "nominal",
            "members": self.member_rows(),
            "bins": self.bin_rows(),
            "agreement": self.agreement(),
            "balance": self.balance(),
        }
        if (self.expert >= 0).any():
            made |= self.expert_facts()
        return made

    def member_rows(self) -> list[dict[str, Any]]:
        """Each judge: what it was asked and cost, and how often it gives the given label."""
        rows = []
        for member, probs, t in zip(self.members, self.probs, self.temperature, strict=True):
            both = member.known & (self.given >= 0)
            same = float((probs.argmax(1) == self.given)[both].mean()) if both.any() else None
            rows.append(member.facts() | {"agrees_with_given": same, "temperature": float(t)})
        return rows

    def edges(self) -> tuple[float, ...]:
        """Edges of the confidence bins."""
        return default_edges(self.labels.num_classes, ordinal=self.ordinal)

    def bin_rows(self) -> list[dict[str, Any]]:
        """Disagreements by confidence, and who was right where experts looked."""
        edges, d = self.edges(), self.disagrees
        place = bin_of(np.where(d, self.ensemble.confidence, np.nan), edges)
        counts = np.bincount(place[d], minlength=len(edges) - 1)
        rows: list[dict[str, Any]] = [
            {"low": low, "high": high, "disagree": int(k)} for low, high, k in zip(edges, edges[1:], counts, strict=False)
        ]
        found = evaluation.precision_by_bin(self.ensemble, self.given, self.expert, edges, gap=self.gap, draws=DRAWS, seed=0)
        for row, b in zip(rows, found, strict=True):
            row |= {"reviewed": b.n, "precision": _measure(b.share)}
        if self.ordinal:
            closer = evaluation.closer_by_bin(self.ensemble, self.given, self.expert, edges, gap=self.gap, draws=DRAWS, seed=0)
            for row, c in zip(rows, closer, strict=True):
                row["closer"] = {"ensemble": _measure(c.ensemble), "given": _known(c.given), "tie": _known(c.tie)}
        return rows

    def agreement(self) -> dict[str, Any]:
        """Agreement of the judges, of the annotators where there are some, and of everybody with everybody."""
        own = np.where(np.isnan(self.probs).any(2), UNKNOWN, np.nan_to_num(self.probs, nan=-1.0).argmax(2)).T
        level: Level = "ordinal" if self.ordinal else "nominal"
        size = self.labels.num_classes
        groups = {"judges": agreement_report(own, size, level=level)}
        names = [m.name for m in self.members]
        people = self.votes is not None and names != [str(a) for a in self.votes.annotators]  # else the annotators are the panel
        columns = [own]
        if self.votes is not None and people:
            place = np.array([*(list(self.labels.names).index(w) for w in self.votes.names), UNKNOWN])
            votes = place[self.votes.values]
            groups["annotators"] = agreement_report(votes, size, level=level)
            columns.append(votes)
            names += [str(a) for a in self.votes.annotators]
        columns += [self.ensemble.prediction[:, None], self.given[:, None]]
        names += ["ensemble", "given label"]
        if (self.expert >= 0).any():
            columns.append(self.expert[:, None])
            names.append("experts")
        made: dict[str, Any] = {"level": level, "groups": groups}
        if len(names) <= SHOWN_RATERS:
            every = np.concatenate(columns, axis=1)
            made |= {"names": names, "pairwise": _table(pairwise_agreement(every, size)), "f1": _table(weighted_f1_matrix(every, size))}
        return made

    def balance(self) -> list[dict[str, Any]]:
        """Examples by class as given, and after filtering or flipping what is flagged: errors are seldom spread evenly."""
        flagged = self.flagged
        flipped = np.where(flagged, self.ensemble.prediction, self.given)
        counts = [np.bincount(v[v >= 0], minlength=self.labels.num_classes) for v in (self.given, self.given[~flagged], flipped)]
        return [
            {"class": name, "given": int(a), "filtered": int(b), "flipped": int(c)}
            for name, a, b, c in zip(self.labels.names, *counts, strict=True)
        ]

    def expert_facts(self) -> dict[str, Any]:
        """What experts' answers allow: error rates, and how the size of the panel matters."""
        judged, d, expert = self.judged, self.disagrees, np.where(self.judged, self.expert, UNKNOWN)
        strata = np.where(judged, np.where(d, 1 + bin_of(self.ensemble.confidence, self.edges()), 0), -1)
        seen = expert >= 0
        given = np.where(judged, self.given, UNKNOWN)
        gold = evaluation.gold_labels(given, d, expert, trust_agreeing=False)
        wrong = (gold >= 0) & (np.abs(gold - given) > self.gap)
        rate = {
            "disagree": int(d.sum()),
            "disagree_reviewed": int((d & seen).sum()),
            "agree_reviewed": int((~d & seen).sum()),
            "confirmed": _measure(evaluation.confirmed_rate(given, d, expert, gap=self.gap, population=self.population)),
            "estimate": _measure(evaluation.audited_rate(strata, given, expert, gap=self.gap)),
        }
        known = gold >= 0
        quality = {k: _known(float(v)) for k, v in evaluation.detection(self.flagged[known], wrong[known]).items()}
        made: dict[str, Any] = {"rate": rate, "detection": quality}
        if len(self.members) > 1:
            made["curve"] = evaluation.size_curve(self.probs, given, gold, gap=self.gap, permutations=PERMUTATIONS, seed=0)
        return made

    def rescored(self, models: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """Models, judges and the ensemble under given and gold labels."""
        given = np.where(self.judged, self.given, UNKNOWN)
        gold = evaluation.gold_labels(given, self.disagrees, self.expert, trust_agreeing=False)
        every = models | {m.name: p for m, p in zip(self.members, self.probs, strict=True) if m.known.any()}
        if len(self.members) > 1:
            every["ensemble"] = self.ensemble.probs
        if not ((given >= 0) & (gold >= 0)).any():
            raise InputError("No example has both a given and a gold label; models cannot be scored under both.")
        return [row | {k: asdict(row[k]) for k in ("original", "gold")} for row in evaluation.rescore(every, given, gold)]


def agreement_report(votes: np.ndarray, num_classes: int, *, level: Level = "nominal") -> dict[str, Any]:
    """Agreement of raters (N, R): Krippendorff's alpha, Fleiss' kappa on the examples all rated, mean pairwise agreement, and how many examples."""
    made: dict[str, Any] = {"raters": votes.shape[1], "n": int((votes >= 0).any(1).sum()), "kappa": None, "alpha": None, "pairwise": None}
    if votes.shape[1] < 2:
        return made
    full = (votes >= 0).all(1)
    shares = pairwise_agreement(votes, num_classes)[np.triu_indices(votes.shape[1], 1)]
    made["alpha"] = _known(krippendorff_alpha(votes, num_classes, level=level))
    made["kappa"] = _known(fleiss_kappa(votes[full], num_classes)) if full.any() else None
    made["kappa_n"] = int(full.sum())
    made["pairwise"] = float(np.nanmean(shares)) if not np.isnan(shares).all() else None
    return made


def _measure(measure: Measure) -> dict[str, Any]:
    return measure.to_dict()


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _table(values: np.ndarray) -> list[list[float | None]]:
    return [[_known(v) for v in row] for row in values.tolist()]
