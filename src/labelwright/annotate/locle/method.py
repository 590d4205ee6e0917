"""Locle: labels for the nodes of a graph nobody has labelled, from a budget of answers by a judge and rounds of self-training.

Reference: Zhang, Yang, Lai, Yan, Ye, Fan. Leveraging Large Language Models for Effective Label-free Node Classification in
Text-Attributed Graphs. SIGIR 2025. arXiv:2412.11983.

The rounds are in :mod:`labelwright.annotate.locle.rounds`, the formulas in the modules beside it. What differs from the released
code, which looks at true labels in three places:

* the network that overrules answers sees neither true labels nor the answers it judges; the last epoch of every network and the last
  stage count;
* no question is asked in the last stage, so the budget is kept; an answer that failed is spent and never asked for again;
* smoothing is a power series and the rows that are clustered are unit vectors (:mod:`~labelwright.annotate.locle.subspace`), probabilities are averaged and not logits
  (:mod:`~labelwright.annotate.locle.uncertainty`), edges are scored by likeness and not by a random network
  (:mod:`~labelwright.annotate.locle.rewiring`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.annotate.locle.answers import Ledger
from labelwright.annotate.locle.networks import Trainer, encoded, mixture_of
from labelwright.annotate.locle.outcome import annotation_of, facts_of
from labelwright.annotate.locle.rewiring import Scorer
from labelwright.annotate.locle.rounds import Finished, Plan, rounds
from labelwright.data.graphs import graph_of
from labelwright.errors import InputError
from labelwright.judges import Answer, CallableJudge, Judge, items_for
from labelwright.labels import ClassLabels
from labelwright.nn import net_named
from labelwright.registry import Annotator, Flaw, Have, Want, register
from labelwright.results import Annotation, Learned, Provenance
from labelwright.training import Fit

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.data.featurise import Featuriser
    from labelwright.nn import NetFactory
    from labelwright.signals import Signals

__all__ = ["Locle", "Work", "carried_out"]

GNNS = ("gcn", "gat", "sage", "gcnii")


@register(
    "locle",
    sheet="locle",
    has=Have.NONE,
    flaw=(Flaw.SCARCITY, Flaw.WEAK),
    gives=(Want.LABELS, Want.CLASSIFIER),
    paper="Zhang et al., Leveraging Large Language Models for Effective Label-free Node Classification in Text-Attributed Graphs, "
    "SIGIR 2025, arXiv:2412.11983",
    domain="graphs",
)
@dataclass(frozen=True, kw_only=True)
class Locle(Annotator):
    """Labels for every node of a graph without labels: a judge is asked about a few nodes, networks on the graph do the rest.

    Labels the dataset has are never looked at, only their class names. The annotation says of each node whether its label was
    ``asked`` for, ``refined`` (the network overruled the judge) or ``predicted``; ``facts["queries"]`` lists every node asked about with
    the judge's answer, its confidence and the label it ended with, ``facts["stages"]`` what happened in each. ``model`` is the
    mixture of all stages' networks, which predicts on this graph and others like it.

    The judge gives one answer a node: a first file entry (or judge) for the first choice and, where there is a second, that one for
    later stages. Nodes need features or texts; ``signals.embeddings`` take their place. Isolated nodes are labelled by their own
    features; self-loops are ignored.
    """

    judges: str | tuple[Judge, ...] | None = None
    """YAML file that describes the judge, or two: the first for the first stage, the second for later ones; in Python also the judges
    themselves. Without it, probabilities that were predicted before (--probs) answer."""
    budget: int = 200
    """Nodes to ask about, >= 1, in all stages together. Paper: 150 to 400."""
    stages: int = 5
    """Rounds of training, >= 1; questions are asked before all of them. Paper: 5; 1 asks once and trains once."""
    first_share: float = 0.5
    """Share of the budget for the first choice, in (0, 1]. Paper: 0.5, 0.25 on DBLP."""
    first: Literal["subspace", "random"] = "subspace"
    """The first choice: nodes nearest to the centres of clusters in the leading subspace, or any."""
    rank: int = 128
    """Dimensions of the subspace, >= 1. Paper: 64 to 256."""
    clusters_per_class: float = 0.0
    """Clusters a class, >= 0; 0 for a cluster a question (paper: on DBLP), which spreads the questions most. Paper: 1 to 16 elsewhere."""
    hops: int = 2
    """Steps of smoothing of the features before the subspace, >= 0."""
    smoothing: float = 1.0
    """Weight of a further step of smoothing, > 0. Paper: 1 to 1.2."""
    rows: Literal["unit", "raw"] = "unit"
    """What is clustered: directions of the nodes in the subspace, or (as published) their rows of the singular vectors."""
    per_cluster: bool = True
    """Take the first choice from all clusters in turn. Without it (as published) the highest scores win, which may all lie in one."""
    drop: float = 0.2
    """Share of the first answers left out of training, in [0, 1): doubtful ones of crowded classes. Paper: 0 to 0.3."""
    confident: int = 60
    """Nodes a stage that join training with the networks' own label, >= 0, from stage 2 on. Paper: 20 to 80."""
    critical: Literal["both", "margin"] = "both"
    """What makes a node worth asking about: entropy and disharmony with its neighbours, or a low largest probability."""
    decay: float = 0.5
    """Weight of a stage against the next in the mixture, in (0, 1)."""
    refine: Literal["held-out", "all", "none"] = "held-out"
    """Whether a network on a rewired graph may overrule later answers: one that has not learned from them, one that has learned from
    all (as published; it mostly repeats them), or none."""
    floor: float = 0.7
    """Answers less confident than this are always overruled. Paper: 0.7; 0 on PubMed and DBLP. Above 1: all are."""
    neighbours: int = 3
    """Labelled nodes most like a node that it may be joined to, >= 0. Paper: 3 to 5."""
    remove: float = 0.05
    """Share of edges the rewired graph loses, in [0, 1]. Paper: 0 to 0.1."""
    add: float = 0.05
    """Share of candidate edges it gains, in [0, 1]. Paper: 0 to 0.3."""
    max_edges: float = 4.0
    """Most edges of the rewired graph for a node, > 0. Paper: 4 to 6."""
    energy: float = 1e-2
    """Weight of the Dirichlet energy, >= 0, in what a random scorer's graphs are compared by. Paper: 1e-4 to 2e-2."""
    size: float = 1e-6
    """Weight of the Laplacian's norm in the same, >= 0. Paper: 5e-7 to 1e-6."""
    scorer: Literal["inner", "distance", "random-mlp"] = "inner"
    """How edges are ranked: inner product, minus the squared distance, or (as released) a random network."""
    represent: Literal["predictions", "features"] = "predictions"
    """What nodes are alike in when edges are ranked."""
    keep_rewired: bool = False
    """Use the rewired graph in the stages that follow."""
    gnn: Literal["gcn", "gat", "sage", "gcnii"] = "gcn"
    """Network."""
    hidden: int = 64
    """Its width, >= 1."""
    dropout: float = 0.5
    """Its dropout, in [0, 1)."""
    net: NetFactory | None = None
    """Python only: a factory of your own in place of `gnn`, `hidden` and `dropout`."""
    epochs: int = 30
    """Epochs of a stage's network, >= 1. Paper: 15 to 30."""
    repair_epochs: int = 30
    """Epochs of the network that overrules, >= 1. Paper: 20 to 30."""
    lr: float = 0.01
    """Learning rate (Adam) of a stage's network, > 0. Paper: 0.01, 0.1 on DBLP."""
    repair_lr: float = 0.01
    """Learning rate of the network that overrules, > 0. Paper: 0.05 to 0.1."""
    weight_decay: float = 5e-4
    """Weight decay of both, >= 0."""
    encoder: str | None = None
    """Reader of the nodes' texts: hf:owner/name or hf:FOLDER. Without it the nodes' features, else TF-IDF of their texts."""

    def __post_init__(self) -> None:
        if isinstance(self.judges, (list, tuple)):
            object.__setattr__(self, "judges", tuple(self.judges) or None)
        for name in ("budget", "stages", "rank", "hidden", "epochs", "repair_epochs"):
            check.integer(name, getattr(self, name), low=1)
        for name in ("hops", "confident", "neighbours"):
            check.integer(name, getattr(self, name), low=0)
        check.in_range("first_share", self.first_share, low=0, high=1, closed="right")
        for name in ("drop", "dropout"):
            check.in_range(name, getattr(self, name), low=0, high=1, closed="left")
        for name in ("remove", "add"):
            check.in_range(name, getattr(self, name), low=0, high=1)
        check.in_range("decay", self.decay, low=0, high=1, closed="neither")
        for name in ("clusters_per_class", "floor", "energy", "size", "weight_decay"):
            check.in_range(name, getattr(self, name), low=0)
        for name in ("smoothing", "max_edges", "lr", "repair_lr"):
            check.in_range(name, getattr(self, name), low=0, closed="neither")
        for name, words in _WORDS.items():
            check.one_of(name, getattr(self, name), words)
        if self.net is not None and (self.gnn, self.hidden, self.dropout) != ("gcn", 64, 0.5):
            raise InputError("gnn, hidden and dropout have no effect beside a network of your own (net=).", hint="Leave them out.")

    @property
    def plan(self) -> Plan:
        """The settings of the rounds."""
        return Plan(**{f.name: getattr(self, f.name) for f in fields(Plan)})

    def annotate(self, data: Dataset, *, signals: Signals | None = None, seed: int) -> Annotation:
        """Labels of all nodes of `data`.

        Raises
        ------
        InputError
            If `data` holds no nodes, they have neither features nor texts, there is no judge, judges have different classes, or the
            first answers give no label or name one class only.
        """
        work = carried_out(self, data, signals=signals, seed=seed)
        provenance = _provenance(self, data, work.judges, seed=seed)
        net, spec = mixture_of(work.base, work.done.nets, self.decay, work.factor)
        model = Learned(
            provenance=provenance, facts={"fit": _plain_fit(work.fit), "stages": self.stages}, net=net, net_spec=spec,
            featuriser=work.featuriser, names=work.ledger.classes, input_shape=work.featuriser.input_shape, history=tuple(work.history),
        )  # fmt: skip
        facts = facts_of(data, work.ledger, work.done, work.judges, self)
        return annotation_of(data, work.ledger, work.done, provenance=provenance, facts=facts, model=model)

    def _judges(self, data: Dataset, signals: Signals | None) -> Sequence[Judge]:
        """Who is asked: the first judge in stage 1, the second (or the first) in later ones."""
        probs = None if signals is None else signals.probs
        own = data.labels.names if isinstance(data.labels, ClassLabels) else None
        if self.judges is None:
            if probs is None:
                raise InputError(
                    "Locle asks a judge about some nodes, and there is none.",
                    hint="Describe one in a file (--judges judges.yaml), or give answers that were predicted before (--probs FILE).",
                )
            return [_recorded(data, np.asarray(probs), own)]
        if probs is not None:
            raise InputError("Judges and probabilities are given; which of them answers?", hint="Leave out --judges or --probs.")
        if isinstance(self.judges, str):
            from labelwright.judges.loading import load_judges

            judges: Sequence[Judge] = load_judges(self.judges, classes=own)
        else:
            judges = self.judges
        if len(judges) > 2:
            raise InputError(f"Locle asks one judge first and one later; there are {len(judges)}.", hint="Name one or two.")
        for judge in judges[1:]:
            if set(judge.classes) != set(judges[0].classes):
                raise InputError(f"Judges {judges[0].name!r} and {judge.name!r} have different classes.")
        return judges


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What an annotation is made of: the answers, the rounds, and what the networks read."""

    ledger: Ledger
    done: Finished
    judges: Sequence[Judge]
    base: NetFactory
    fit: Fit
    featuriser: Featuriser
    factor: float
    history: Sequence[dict[str, float]]


def carried_out(method: Locle, data: Dataset, *, signals: Signals | None = None, seed: int) -> Work:
    """Ask, train and repair as `method` says; :meth:`Locle.annotate` makes an annotation of it. Raises as that does."""
    graph = graph_of(data, need="Locle")
    if len(data) == 0:
        raise InputError("There are no nodes to label (N = 0).", hint="Check the file or the filter that made the dataset.")
    judges = method._judges(data, signals)
    names = tuple(judges[0].classes)
    inputs, featuriser, factor = encoded(data, signals, method.encoder, seed=seed)
    row = np.full(len(graph), -1, dtype=np.int64)
    row[data.inputs.nodes] = np.arange(len(data))
    ledger = Ledger(
        nodes=len(graph), classes=names, budget=method.budget, items=lambda judge, asked: items_for(judge, data.take(row[asked]))
    )
    history: list[dict[str, float]] = []
    base = method.net or net_named(method.gnn, hidden=method.hidden, dropout=method.dropout)
    fit = Fit(epochs=method.epochs, optimizer="adam", lr=method.lr, weight_decay=method.weight_decay, schedule="constant", keep="last")
    trainer = Trainer(
        inputs=inputs, factory=base, num_classes=len(names), fit=fit,
        repair=replace(fit, epochs=method.repair_epochs, lr=method.repair_lr),
        on_history=lambda rows: history.extend({"stage": float(len(history) // method.epochs + 1)} | r for r in rows),
    )  # fmt: skip
    done = rounds(
        graph.adjacency, inputs.graph.features.numpy(), ledger, lambda stage: judges[min(stage, len(judges)) - 1], trainer, method.plan,
        seed=seed, allowed=row >= 0,
    )  # fmt: skip
    return Work(ledger=ledger, done=done, judges=judges, base=base, fit=fit, featuriser=featuriser, factor=factor, history=history)


_WORDS: dict[str, Sequence[str]] = {
    "first": ("subspace", "random"),
    "rows": ("unit", "raw"),
    "refine": ("held-out", "all", "none"),
    "critical": ("both", "margin"),
    "scorer": Scorer.__args__,  # type: ignore[attr-defined]
    "represent": ("predictions", "features"),
    "gnn": GNNS,
}


def _recorded(data: Dataset, probs: np.ndarray, names: Sequence[str] | None) -> Judge:
    """Probabilities of all nodes as a judge: read only where it is asked, a row of NaN where it does not know."""
    classes = tuple(names) if names is not None else tuple(str(j) for j in range(probs.shape[1]))
    if len(classes) != probs.shape[1]:
        raise InputError(f"The probabilities have {probs.shape[1]} columns for {len(classes)} classes.")
    place = {value: i for i, value in enumerate(data.ids.tolist())}

    def answer(node: Any) -> Answer:
        row = probs[place[node]]
        return Answer.unknown("no probabilities of this node") if np.isnan(row).any() else Answer.of(row)

    return CallableJudge(name="recorded", classes=classes, function=answer, each=True, takes="ids")


def _provenance(method: Locle, data: Dataset, judges: Sequence[Judge], *, seed: int) -> Provenance:
    """Judges made in Python go by name and fingerprint: what is inside them is not for records."""
    if method.judges is None or isinstance(method.judges, str):
        return Provenance.of(method, data, seed=seed)
    made = Provenance.of(replace(method, judges=None), data, seed=seed)
    return replace(made, fields={**made.fields, "judges": [{"name": j.name, "fingerprint": j.fingerprint} for j in judges]})


def _plain_fit(fit: Fit) -> dict[str, Any]:
    return {f.name: getattr(fit, f.name) for f in fields(fit) if f.name not in ("checkpoint", "device")}
