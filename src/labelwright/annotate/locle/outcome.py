"""From finished rounds to the annotation: a label and a reason for every node, and the table of questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.annotate.locle.answers import Ledger
from labelwright.annotate.locle.rounds import Finished, Round
from labelwright.labels import UNKNOWN, ClassLabels
from labelwright.results import Annotation, Learned, Provenance

if TYPE_CHECKING:
    from labelwright.annotate.locle.method import Locle
    from labelwright.data import Dataset
    from labelwright.judges import Judge

__all__ = ["annotation_of", "facts_of", "queries"]


def annotation_of(
    data: Dataset, ledger: Ledger, done: Finished, *, provenance: Provenance, facts: Mapping[str, Any], model: Learned
) -> Annotation:
    """Labels of the nodes of `data`: the judge's where it was asked and not overruled, else the network's.

    ``confidence`` is the judge's for asked nodes, else the largest probability of the network that gave the label.
    """
    labels, trust = done.probs.argmax(1), done.probs.max(1)
    taken = ledger.asked & (ledger.label != UNKNOWN) & ~done.dropped
    labels[taken], trust[taken] = done.used[taken], done.trust[taken]
    reasons = np.full(len(labels), "predicted", dtype=object)
    reasons[taken] = "asked"
    for node in np.flatnonzero(done.refined).tolist():
        reasons[node] = f"refined: the judge said {ledger.classes[ledger.label[node]]}"
    for node in np.flatnonzero(done.dropped).tolist():
        reasons[node] = f"predicted: the answer {ledger.classes[ledger.label[node]]} was left out as doubtful"
    for node, why in ledger.why.items():
        reasons[node] = f"predicted: the judge gave no label ({why})"
    rows = data.inputs.nodes
    return Annotation(
        provenance=provenance,
        ids=data.ids,
        labels=ClassLabels(values=labels[rows], names=ledger.classes),
        confidence=np.clip(trust[rows], 0, 1),
        abstained=np.zeros(len(rows), dtype=bool),
        reasons=reasons[rows],
        facts=facts,
        model=model,
    )


def queries(data: Dataset, ledger: Ledger, done: Finished) -> list[dict[str, Any]]:
    """A row a node asked about, in order of stage and id: the judge's answer and confidence, the label it ended with, what became of it."""
    row = {int(node): i for i, node in enumerate(data.inputs.nodes)}
    table = []
    for node in sorted(np.flatnonzero(ledger.asked).tolist(), key=lambda v: (ledger.stage[v], row[v])):
        said, final = int(ledger.label[node]), int(done.used[node])
        what = "failed" if said == UNKNOWN else "left out" if done.dropped[node] else "refined" if done.refined[node] else "kept"
        table.append(
            {
                "id": data.ids[row[node]].item(),
                "stage": int(ledger.stage[node]),
                "answer": None if said == UNKNOWN else ledger.classes[said],
                "confidence": None if said == UNKNOWN else round(float(ledger.confidence[node]), 4),
                "label": None if final == UNKNOWN else ledger.classes[final],
                "outcome": what,
            }
        )
    return table


def facts_of(data: Dataset, ledger: Ledger, done: Finished, judges: Sequence[Judge], method: Locle) -> dict[str, Any]:
    """What was asked and what it took, and what happened in each stage."""
    graph = data.inputs.graph
    return {
        "asked": int(ledger.asked.sum()),
        "budget": ledger.budget,
        "refined": int(done.refined.sum()),
        "left_out": int(done.dropped.sum()),
        "failed": len(ledger.why),
        "why_failed": {why: list(ledger.why.values()).count(why) for why in sorted(set(ledger.why.values()))},
        "judges": [{"name": judge.name, "fingerprint": judge.fingerprint} for judge in judges],
        "calls": ledger.spent.calls,
        "cached": ledger.spent.cached,
        "tokens": list(ledger.spent.tokens),
        "cost": ledger.spent.cost,
        "nodes": len(graph),
        "edges": graph.num_edges,
        "isolated": int(graph.isolated.sum()),
        "network": method.gnn if method.net is None else getattr(method.net, "__name__", type(method.net).__name__),
        "stages": [_stage(here, done) for here in done.rounds],
        "queries": queries(data, ledger, done),
    }


def _stage(here: Round, done: Finished) -> dict[str, Any]:
    changed = here.rewired
    return {
        "stage": here.stage,
        "trained_on": len(here.trained_on),
        "mean_confidence": float(here.mixed.max(1).mean()),
        "asked_after": len(here.critical),
        "answered": len(here.answered),
        "refined": len(here.overruled),
        "confident": len(here.confident),
        "edges_removed": 0 if changed is None else changed.removed,
        "edges_added": 0 if changed is None else changed.added,
        "energy": None if changed is None else [changed.before, changed.after],
    }
