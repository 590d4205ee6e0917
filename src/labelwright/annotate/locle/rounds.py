"""The rounds: choose, ask, train, and let the network and the judge correct one another.

First, ``B_1 = round(eps B)`` nodes are chosen by the subspace of their smoothed features and asked about; a share of the
answers is left out of training. Then, in stages s = 1..S,

    train from scratch on (V_L, y);  P = mixture of all stages' outputs;  s = S ends here
    critical nodes: asked about, about (B - B_1) / (S - 1) a stage, and their answers join V_L
    confident nodes (from stage 2 on): join V_L with argmax P
    a fresh network on a rewired graph, which has not learned from the new answers, overrules some of them

No question is asked in the last stage, whose answers nothing would learn from: the budget is never passed. No true label is seen
anywhere: the network of the last epoch and the mixture of the last stage are what is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from scipy import sparse

from labelwright.annotate.locle.answers import Ledger
from labelwright.annotate.locle.rewiring import Rewired, Scorer, overruled, rewire
from labelwright.annotate.locle.subspace import Rows, choose, closeness, leading_subspace, smoothing
from labelwright.annotate.locle.uncertainty import dropped_first, ensemble, extremes
from labelwright.errors import InputError
from labelwright.judges import Judge
from labelwright.labels import UNKNOWN
from labelwright.stats.graphs import normalised

__all__ = ["Finished", "Fitted", "Plan", "Round", "Train", "first_nodes", "rounds"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the rounds do; the fields are those of :class:`labelwright.annotate.Locle`, explained there."""

    stages: int = 5
    first_share: float = 0.5
    first: Literal["subspace", "random"] = "subspace"
    rank: int = 128
    clusters_per_class: float = 0.0
    hops: int = 2
    smoothing: float = 1.0
    rows: Rows = "unit"
    per_cluster: bool = True
    drop: float = 0.2
    confident: int = 60
    critical: Literal["both", "margin"] = "both"
    decay: float = 0.5
    refine: Literal["held-out", "all", "none"] = "held-out"
    floor: float = 0.7
    neighbours: int = 3
    remove: float = 0.05
    add: float = 0.05
    max_edges: float = 4.0
    energy: float = 1e-2
    size: float = 1e-6
    scorer: Scorer = "inner"
    represent: Literal["predictions", "features"] = "predictions"
    keep_rewired: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A trained network: its probabilities float (V, C) and, opaque here, the network."""

    probs: np.ndarray
    net: Any = None


class Train(Protocol):
    """Trains a network from scratch on `nodes` int64 (M,) with `labels` int64 (M,), on a graph; `repair` is the one that judges answers."""

    def __call__(self, adjacency: sparse.csr_matrix, nodes: np.ndarray, labels: np.ndarray, *, repair: bool, seed: int) -> Fitted: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """One stage: `trained_on` nodes, `probs` of its own network and `mixed` with earlier ones (V, C), the `critical` and `confident`
    nodes drawn from them, those whose new answer was `overruled`, and the rewired graph."""

    stage: int
    trained_on: np.ndarray
    probs: np.ndarray
    mixed: np.ndarray
    critical: np.ndarray
    confident: np.ndarray
    answered: np.ndarray
    overruled: np.ndarray
    rewired: Rewired | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """All rounds: class of each training node `used` int64 (V,), -1 elsewhere; `trust` float64 (V,) in it; which answers were
    `dropped` from training or `refined` by the network, bool (V,); the final `probs` (V, C) and the networks of all stages."""

    used: np.ndarray
    trust: np.ndarray
    dropped: np.ndarray
    refined: np.ndarray
    probs: np.ndarray
    rounds: tuple[Round, ...]
    nets: tuple[Any, ...]


def first_nodes(
    adjacency: sparse.csr_matrix, features: np.ndarray, count: int, classes: int, plan: Plan, *, allowed: np.ndarray, seed: int
) -> np.ndarray:
    """The nodes asked about first, int64 (count,), best first, all of them `allowed` bool (V,)."""
    places = np.flatnonzero(allowed)
    if plan.first == "random":
        return np.sort(np.random.default_rng(seed).permutation(places)[:count])
    smooth = smoothing(normalised(adjacency.astype(np.float64)), features, hops=plan.hops, alpha=plan.smoothing)
    vectors = leading_subspace(smooth, plan.rank, seed=seed, rows=plan.rows)
    groups = round(plan.clusters_per_class * classes) or count
    scores, labels = closeness(vectors, max(1, min(groups, len(vectors))), seed=seed)
    return places[choose(scores[places], labels[places], count, per_cluster=plan.per_cluster)]


def rounds(
    adjacency: sparse.csr_matrix,
    features: np.ndarray,
    ledger: Ledger,
    judges: Callable[[int], Judge],
    train: Train,
    plan: Plan,
    *,
    seed: int,
    allowed: np.ndarray | None = None,
) -> Finished:
    """Run all stages on a clean adjacency (V, V) and dense features (V, F); ``judges(stage)`` is who is asked, stage 1 being the first choice.

    Nodes that are not `allowed` bool (V,) are neither asked about nor trained on.

    Raises
    ------
    InputError
        If no answer gave a label, or all name one class: there is nothing to tell apart then.
    """
    nodes, classes = adjacency.shape[0], len(ledger.classes)
    allowed = np.ones(nodes, dtype=bool) if allowed is None else allowed
    total = min(ledger.budget, int(allowed.sum()))
    later = plan.stages - 1
    first = total if later == 0 else min(total, max(1, round(plan.first_share * total)))
    answered = ledger.ask(judges(1), first_nodes(adjacency, features, first, classes, plan, allowed=allowed, seed=seed), stage=1)
    _something_to_learn(ledger)
    used, trust = np.full(nodes, UNKNOWN, dtype=np.int64), np.full(nodes, np.nan)
    dropped, refined = np.zeros(nodes, dtype=bool), np.zeros(nodes, dtype=bool)
    gone = dropped_first(ledger.confidence[answered], ledger.label[answered], share=plan.drop)
    dropped[answered[gone]] = True
    kept = answered[~gone]
    used[kept], trust[kept] = ledger.label[kept], ledger.confidence[kept]

    done: list[Round] = []
    nets: list[Any] = []
    graph = adjacency
    for stage in range(1, plan.stages + 1):
        trained = np.flatnonzero(used != UNKNOWN)
        fitted = train(graph, trained, used[trained], repair=False, seed=seed + stage)
        nets.append(fitted.net)
        mixed = ensemble([r.probs for r in done] + [fitted.probs], decay=plan.decay)
        none = np.empty(0, dtype=np.int64)
        here = Round(
            stage=stage, trained_on=trained, probs=fitted.probs, mixed=mixed, critical=none, confident=none, answered=none, overruled=none
        )
        if stage < plan.stages:
            share = -(-(total - int(ledger.asked.sum())) // (plan.stages - stage))  # what is left, in equal parts
            free = allowed & (used == UNKNOWN) & ~ledger.asked
            critical, confident = extremes(
                mixed, graph, free, critical=share, confident=plan.confident if stage > 1 else 0, by_margin=plan.critical == "margin"
            )
            answered = ledger.ask(judges(stage + 1), critical, stage=stage + 1)
            used[answered], trust[answered] = ledger.label[answered], ledger.confidence[answered]
            used[confident], trust[confident] = mixed[confident].argmax(1), mixed[confident].max(1)
            here = replace(here, critical=critical, confident=confident, answered=answered)
            if plan.refine != "none" and len(answered):
                here = _repair(here, graph, features, used, trust, ledger, train, plan, seed=seed + 10_007 * stage)
                refined[here.overruled] = True
                if plan.keep_rewired and here.rewired is not None:
                    graph = here.rewired.adjacency
        done.append(here)
    return Finished(used=used, trust=trust, dropped=dropped, refined=refined, probs=done[-1].mixed, rounds=tuple(done), nets=tuple(nets))


def _repair(
    here: Round,
    graph: sparse.csr_matrix,
    features: np.ndarray,
    used: np.ndarray,
    trust: np.ndarray,
    ledger: Ledger,
    train: Train,
    plan: Plan,
    *,
    seed: int,
) -> Round:
    """Let a fresh network on a rewired graph overrule new answers: writes to `used` and `trust`.

    Trained on the answers it judges, a network repeats them. It learns from all others, therefore, unless the plan wants it as published.
    """
    labelled = np.flatnonzero(used != UNKNOWN)
    vectors = here.mixed if plan.represent == "predictions" else features
    changed = rewire(
        graph, vectors, labelled, per_node=plan.neighbours, remove=plan.remove, add=plan.add, max_edges=plan.max_edges,
        a1=plan.energy, a2=plan.size, scorer=plan.scorer, seed=seed,
    )  # fmt: skip
    nodes = here.answered
    taught = np.setdiff1d(labelled, nodes) if plan.refine == "held-out" else labelled
    probs = train(changed.adjacency, taught, used[taught], repair=True, seed=seed).probs
    over = nodes[overruled(ledger.confidence[nodes], probs[nodes].max(1), floor=plan.floor)]
    used[over], trust[over] = probs[over].argmax(1), probs[over].max(1)
    return replace(here, overruled=over, rewired=changed)


def _something_to_learn(ledger: Ledger) -> None:
    """Refuse to train where the first answers leave nothing to tell apart."""
    found = np.unique(ledger.label[ledger.label != UNKNOWN])
    asked = int(ledger.asked.sum())
    if not len(found):
        raise InputError(
            f"The judge gave no label for any of the {asked:,} nodes asked about first ({ledger.complaints()}).",
            hint="Check the judge and its classes on a few nodes.",
        )
    if len(found) == 1:
        raise InputError(
            f"The judge named one class only, {ledger.classes[found[0]]!r}, for the {asked:,} nodes asked about first.",
            hint="Ask more nodes at once (--budget, --first-share), spread them (--per-cluster), or check the judge.",
        )
