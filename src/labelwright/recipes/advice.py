"""Look at a dataset and name the methods that fit, why, and the commands to run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.labels import ClassLabels, MultiLabels, SoftLabels
from labelwright.recipes.steps import WHOLE_AUDIT
from labelwright.registry import Entry, methods

if TYPE_CHECKING:
    from labelwright.data import Dataset

__all__ = ["Advice", "Suggestion", "advise", "estimate_noise"]

SAMPLE, FOLDS, COMPONENTS = 3_000, 3, 64
"""Of the quick estimate of noise: examples, folds, principal components of the features."""
NOISY, SCARCE, UNEQUAL, FEW = 0.03, 0.2, 5.0, 50
"""A flaw is named above this noise rate, this unknown share, this ratio of the largest to the smallest class, below so many labels a class."""
FIELDS = {"nodes": "graphs"}
"""Field of a kind of inputs that has methods of its own."""
NEEDS_TEXT = frozenset({"cross-modal-prototypes"})
"""Methods that read a column of texts beside inputs and labels; of no use without one."""
TEXTS = ("text", "caption")
ORDER = {"audit": 0, "annotate": 1, "select": 2, "learn": 3}
MOST = 8


@dataclass(frozen=True)
class Suggestion:
    """A method that fits, why, and the command."""

    verb: str
    method: str
    state: str
    why: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What a dataset looks like (`facts`), what is wrong with its labels (`flaws`, word → evidence), and what fits."""

    source: str
    facts: Mapping[str, Any]
    flaws: Mapping[str, str]
    suggestions: tuple[Suggestion, ...]
    planned: tuple[Suggestion, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        rows = [vars(s) for s in self.suggestions]
        return {
            "data": self.source,
            "facts": dict(self.facts),
            "flaws": dict(self.flaws),
            "suggestions": rows,
            "planned": [vars(s) for s in self.planned],
        }

    def lines(self) -> list[str]:
        """Text for people."""
        out = [f"{self.source}: {self.facts['n']:,} {self.facts['kind']}, labels: {self.facts['labels']}"]
        out += [f"  {flaw}: {evidence}" for flaw, evidence in self.flaws.items()] or ["  no flaw of the labels stands out"]
        for s in self.suggestions:
            out += ["", f"{s.verb} {s.method}: {s.why}", f"  {s.command}"]
        if self.planned:
            out += ["", "Planned, not yet available: " + ", ".join(f"{s.verb} {s.method}" for s in self.planned)]
        return out


def advise(source: str, *, labels: str | None = None, inputs: str | None = None, seed: int = 0) -> Advice:
    """Read a dataset, look at its labels, and name what fits.

    Raises
    ------
    InputError
        If the dataset cannot be read.
    """
    from labelwright.data.graphs import GraphNodes, rows_of
    from labelwright.data.readers import load

    data = load(source, labels=labels, inputs=inputs)
    facts = _facts(data)
    flaws = _flaws(data, facts, seed)
    options = [w for name, value in (("labels", labels), ("inputs", inputs)) if value is not None for w in (f"--{name}", value)]
    have = "none" if data.labels is None else data.labels.kind
    fitting = [e for e in _fitting(have, flaws, FIELDS.get(data.kind)) if e.name not in NEEDS_TEXT or set(TEXTS) & set(data.columns)]
    test = "TEST_DATA"
    if isinstance(data.inputs, GraphNodes):
        marked = rows_of(data, "test")
        test = source if marked is not None and marked.any() else test  # one graph trains and tests: see data.graphs
        if data.inputs.graph.features is None and data.inputs.graph.texts is None:
            fitting = [e for e in fitting if e.verb != "learn" and e.name != "locle"]  # networks have nothing to read
    rows = [_suggest(e, source, options, flaws, test=test) for e in fitting]
    ready = [r for r in rows if r.state == "available"][:MOST]
    return Advice(
        source=source, facts=facts, flaws=flaws, suggestions=tuple(ready), planned=tuple(r for r in rows if r.state != "available")[:MOST]
    )


def _facts(data: Dataset) -> dict[str, Any]:
    facts: dict[str, Any] = {"n": len(data), "kind": data.kind, "labels": "none" if data.labels is None else data.labels.kind}
    if data.labels is None:
        return facts
    facts["unknown_share"] = float(1 - data.known.mean()) if len(data) else 0.0
    if isinstance(data.labels, ClassLabels):
        counts = data.labels.counts()
        present = counts[counts > 0]
        facts |= {
            "classes": data.num_classes,
            "smallest_class": int(present.min()) if len(present) else 0,
            "largest_class": int(counts.max(initial=0)),
            "imbalance": float(present.max() / present.min()) if len(present) else 1.0,
        }
    return facts


def _flaws(data: Dataset, facts: dict[str, Any], seed: int) -> dict[str, str]:
    """Flaws in words of the registry, each with its evidence."""
    flaws: dict[str, str] = {}
    if data.labels is None:
        return {"scarcity": "there are no labels"}
    if isinstance(data.labels, ClassLabels) and int((data.labels.counts() > 0).sum()) >= 2:
        rate = estimate_noise(data, seed=seed)
        facts["noise_rate_estimate"] = rate
        if rate >= NOISY:
            flaws["noise"] = (
                f"about {rate:.0%} of the labels look wrong (quick estimate: {FOLDS}-fold linear model on up to {SAMPLE:,} examples)"
            )
    unknown = facts["unknown_share"]
    if isinstance(data.labels, MultiLabels):
        cells = float(1 - data.labels.known.mean())
        if cells > 0:
            flaws["partial"] = f"{cells:.0%} of the label cells are unknown"
    elif unknown >= SCARCE:
        flaws["scarcity"] = f"{unknown:.0%} of the examples have no label"
    elif "smallest_class" in facts and facts["largest_class"] < FEW:
        flaws["scarcity"] = f"no class has {FEW} labels"
    if facts.get("imbalance", 1.0) >= UNEQUAL:
        flaws["imbalance"] = f"the largest class has {facts['imbalance']:.0f} times the examples of the smallest"
    if data.labels.kind in ("proportions", "votes", "spans", "points", "captions"):
        flaws["weak"] = f"labels are {data.labels.kind}"
    return flaws


def estimate_noise(data: Dataset, *, seed: int) -> float:
    """A quick estimate of the share of wrong labels: cross-validated logistic regression on a sample, then confident learning.

    Crude on purpose: what a linear model cannot learn counts as noise too, so hard data look noisier than they are.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from labelwright.audit.label_errors import find_label_errors
    from labelwright.data.splits import folds
    from labelwright.signals.compute import compute

    labels = data.labels.harden() if isinstance(data.labels, SoftLabels) else data.class_labels()
    counts = labels.counts()
    usable = np.flatnonzero(labels.known & (counts[np.maximum(labels.values, 0)] >= FOLDS))
    if len(usable) > SAMPLE:
        # folds are stratified, so one of them is a sample with the shares of the whole
        parts = -(-len(usable) // SAMPLE)
        usable = usable[next(iter(folds(labels.take(usable), parts, seed=seed)))[1]]
    classes = np.unique(labels.values[usable])
    if len(classes) < 2:
        return 0.0
    place = {int(c): j for j, c in enumerate(classes)}
    values = np.array([place[int(v)] for v in labels.values[usable]])
    part = data.take(usable).with_labels(ClassLabels(values=values, names=[labels.names[int(c)] for c in classes]))
    model = LogisticRegression(max_iter=200, C=0.1)
    signals = compute(part, ("probs",), seed=seed, folds=FOLDS, model=make_pipeline(StandardScaler(), model) if _plain(part) else model)
    return float(find_label_errors(values, signals.probs).noise_rate)


def _plain(data: Dataset) -> bool:
    """Whether the raw inputs are a matrix, which a pipeline takes as it is."""
    return data.kind == "vectors"


def _fitting(have: str, flaws: Mapping[str, str], field: str | None = None) -> list[Entry]:
    """Entries that take these labels and mend a flaw, or mend none in particular; of those for one field only the data's own `field`."""
    fields = (None, field)
    rows = [e for e in methods(have=have) if e.domain in fields and (not e.flaw or set(e.flaw) & set(flaws) or e.name == WHOLE_AUDIT)]
    rows += [
        e
        for e in methods(have="none")
        if e.domain in fields and e.verb == "audit" and e not in rows and (set(e.flaw) & set(flaws) or e.name == WHOLE_AUDIT)
    ]

    def rank(e: Entry) -> tuple[int, bool, int, int]:
        return (0 if e.name == WHOLE_AUDIT else 1, e.domain is None, ORDER.get(e.verb, 9), -len(set(e.flaw) & set(flaws)))

    return sorted(rows, key=rank)


def _suggest(entry: Entry, source: str, options: list[str], flaws: Mapping[str, str], *, test: str = "TEST_DATA") -> Suggestion:
    mends = [f for f in entry.flaw if f in flaws]
    words = ["labelwright", entry.verb] + ([] if entry.name == WHOLE_AUDIT else [entry.name]) + [source, *options]
    if entry.verb == "learn":
        words += ["--test", test]
    if entry.verb == "select":
        words += ["--keep", "0.5"]
    if entry.verb == "condense":
        words += ["--per-class", "10"]
    because = f"fits {' and '.join(mends)}" if mends else "a baseline to compare with" if entry.verb == "learn" else "the place to start"
    why = f"{because}. {entry.summary}" if entry.summary else f"{because}."
    return Suggestion(verb=entry.verb, method=entry.name, state=entry.state, why=why, command=shlex.join(words))
