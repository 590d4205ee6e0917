"""Label errors by an ensemble of judges: language models, classifiers or people that never saw the given label.

Reference: Nahum, Calderon, Keller, Szpektor, Reichart. Are LLMs Better than Reported? Detecting Label Errors and Mitigating
Their Effect on Model Performance. EMNLP 2025. arXiv:2410.18889.

    P_i = mean_j p_ij          over the judges j that answered; where none did, the ensemble abstains
    yhat_i = argmax_c P_ic     c_i = max_c P_ic
    D_i = [yhat_i != y_i]      ordinal labels: [|yhat_i - y_i| > gap], adjacent grades are no error
    flagged: D_i and c_i >= theta; reviewed from the largest c_i down

The score of a label is ``max P_ic`` over the classes that would make it wrong: c_i where the ensemble disagrees, less elsewhere. What differs
from the paper: examples some judges do not answer are judged by the others; a tie is no disagreement; a random check of agreeing
examples makes the lower bound of the error rate an estimate; the first judge alone can settle easy examples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.audit.judge_ensemble import panel as panels
from labelwright.audit.judge_ensemble.ensemble import combine, temper, temperatures
from labelwright.audit.judge_ensemble.experts import random_check, read_gold
from labelwright.audit.judge_ensemble.outcome import Outcome
from labelwright.errors import InputError
from labelwright.judges.base import Judge
from labelwright.labels import UNKNOWN, ClassLabels, Votes
from labelwright.registry import Auditor, Flaw, Have, Want, register
from labelwright.results import Audit, Provenance
from labelwright.stats.crowd import aggregate, experienced

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.signals import Signals

__all__ = ["JudgeEnsemble", "provenance_of", "together"]

ISSUE = "label_error"
STAND_IN = "cross-validated model"
CACHE = "judges.cache.sqlite"


@register(
    "judge-ensemble",
    sheet="llm-label-errors",
    has=(Have.CLASS_LABELS, Have.VOTES),
    flaw=Flaw.NOISE,
    gives=(Want.FINDINGS, Want.LABELS, Want.REPORT),
    paper="Nahum et al. Are LLMs Better than Reported? EMNLP 2025. arXiv:2410.18889",
)
@dataclass(frozen=True, kw_only=True)
class JudgeEnsemble(Auditor):
    """Wrong labels by a panel of judges: language models, classifiers, people, or files of what they said.

    The panel is what `judges` and `votes` name together. Without any of them, the annotators of a dataset of votes are the panel,
    else a single model that is cross-validated on the labels themselves (or the probabilities given with ``--probs``). Probabilities given
    besides judges are one more judge.
    """

    judges: str | tuple[Judge, ...] | None = None
    """YAML file that describes the judges and their budget; in Python also the judges themselves."""
    judge_url: str | None = None
    """Address of an OpenAI-compatible server to ask about texts without a judges file; its key is read from the environment (LABELWRIGHT_JUDGE_KEY)."""
    judge_model: str | None = None
    """Model to ask there. Answers are stored in judges.cache.sqlite."""
    votes: tuple[str, ...] = ()
    """Files of what judges said: probabilities (.npy, .npz, .csv; one judge each) or votes (a labels.parquet; an annotator is a judge)."""
    second: str | None = None
    """Column with the second text, where judges compare pairs of texts."""
    theta: float = 0.8
    """Flag disagreements of this confidence at least, >= 0. 0.8 suits a review by people; take 0.95 where nobody looks before labels change."""
    scale: Literal["nominal", "ordinal"] = "nominal"
    """Whether the classes have an order (grades, 1 to 5): as the judges list them, else numbers ascending and words by alphabet."""
    gap: int = 1
    """On an ordinal scale, labels are wrong that are more than this far from the ensemble's, >= 0."""
    crowd: Literal["majority", "strict", "median"] = "majority"
    """How several votes make the label that is judged: most votes, one voice for `alarm` is enough, or the median of an ordinal scale."""
    alarm: str | None = None
    """The class for which one vote is enough under crowd strict."""
    least_votes: int = 0
    """Leave out annotators of a dataset of votes who gave fewer votes than this, >= 0: agreement with experts rises with experience."""
    gold: str | None = None
    """CSV or Parquet file with columns id and label: what experts say. Gives precision by confidence, error rates and scores of judges."""
    check_agreeing: int = 0
    """Besides all disagreements, list so many randomly drawn agreeing examples for experts, >= 0: without them errors that judges share stay hidden."""
    population: int | None = None
    """Size of the whole set, where this dataset is a random sample of it; for the interval of the error rate."""
    calibrate: bool = False
    """Fit a temperature for each judge to the gold labels (20 at least) before averaging: one over-confident judge dominates a mean."""
    sure: float | None = None
    """Ask the first judge first, and the others only where it disagrees with the label or is less confident than this, in [0, 1]."""
    models: tuple[str, ...] = ()
    """Files of models' probabilities for these examples, to score under given and gold labels."""

    def __post_init__(self) -> None:
        if isinstance(self.judges, (list, tuple)):
            object.__setattr__(self, "judges", tuple(self.judges) or None)
        check.in_range("theta", self.theta, low=0)
        check.one_of("scale", self.scale, ("nominal", "ordinal"))
        check.integer("gap", self.gap, low=0)
        check.one_of("crowd", self.crowd, ("majority", "strict", "median"))
        check.integer("least_votes", self.least_votes, low=0)
        check.integer("check_agreeing", self.check_agreeing, low=0)
        if self.population is not None:
            check.integer("population", self.population, low=1)
        if self.sure is not None:
            check.in_range("sure", self.sure, low=0, high=1)
        if (self.crowd == "strict") != (self.alarm is not None):
            raise InputError(
                "crowd strict needs the class of the alarm, and no other rule takes one.", hint="Give both: --crowd strict --alarm CLASS."
            )
        if self.scale == "nominal" and (self.gap != 1 or self.crowd == "median"):
            raise InputError("gap and crowd median need classes with an order.", hint="Add --scale ordinal.")
        together(self.judge_url, self.judge_model)
        for name in ("calibrate", "models"):
            if getattr(self, name) and self.gold is None:
                raise InputError(f"{name} needs gold labels.", hint="Give them with --gold FILE.")

    @property
    def issues(self) -> tuple[str, ...]:
        """What is looked for."""
        return (ISSUE,)

    @property
    def needs_probs(self) -> bool:
        """Whether a cross-validated model has to stand in for judges (unless the labels are votes)."""
        return self.judges is None and self.judge_url is None and not self.votes

    def audit(self, data: Dataset, *, signals: Signals | None = None, seed: int) -> Audit:
        """One row for every example, issue ``label_error``: score, and the ensemble's class where it disagrees.

        Facts: ``judges`` holds the members with their answers, disagreement with the labels by confidence, agreement, cost,
        classes before and after filtering or flipping, ids of a random check; with gold labels precision, error rates, scores and the
        curve over the size of the panel. ``judge_seconds`` is what each took.

        Raises
        ------
        InputError
            If the labels are of another kind, judges' classes do not fit them, a file is wrong, or a judge cannot be asked at all.
        """
        if len(data) == 0:
            raise InputError("There are no examples (N = 0).", hint="Check the file or the filter that made the dataset.")
        outcome = self.outcome(data, signals=signals, seed=seed)
        own = outcome.votes.names if outcome.votes is not None else data.require_labels(ClassLabels).names
        findings = Audit.findings_frame(data, ISSUE, index=np.arange(len(data)), **outcome.rows(own))
        section = outcome.facts() | {"cost": cost_of(outcome), "stand_in": outcome.members[0].name == STAND_IN}
        agrees = outcome.judged & ~outcome.disagrees
        section["random_check"] = data.ids[random_check(agrees, self.check_agreeing, seed=seed)].tolist()
        if self.gold is not None:
            files = {Path(f).stem: panels.probabilities(f, data, outcome.labels, what="models") for f in self.models}
            section["models"] = outcome.rescored(files)
        facts = {
            "n": len(data),
            "flagged": section["flagged"],
            "judges": section,
            "judge_seconds": {m.name: round(m.seconds, 3) for m in outcome.members},
        }
        return Audit(findings=findings, facts=facts, provenance=provenance_of(self, data, self.judges, seed=seed))

    def outcome(self, data: Dataset, *, signals: Signals | None = None, seed: int) -> Outcome:
        """The panel's verdicts and the labels they are about: what :meth:`audit` reports on."""
        votes = self._votes(data)
        labels = self._given(data, votes)
        judges = self._judges(labels)
        if self.sure is not None and len(judges) < 2:
            raise InputError("sure needs two judges at least: one that is asked first, and one to spare.")
        labels = panels.on_classes(labels, panels.common_classes(judges, labels)) if judges else labels
        if self.population is not None and self.population < int(labels.known.sum()):
            raise InputError(
                f"population {self.population:,} is smaller than this sample of it, which has {int(labels.known.sum()):,} labelled examples.",
                hint="Give the size of the whole set, or leave it out if this is all there is.",
            )
        gap = self.gap if self.scale == "ordinal" else 0
        if gap >= labels.num_classes - 1:
            raise InputError(f"gap {gap} leaves nothing to find: the {labels.num_classes} classes are never further apart.")
        expert = np.full(len(data), UNKNOWN, dtype=np.int64) if self.gold is None else read_gold(self.gold, data, labels)
        members = [m for f in self.votes for m in panels.from_file(f, data, labels)]
        members = panels.ask(judges, data, labels, second=self.second, sure=self.sure, gap=gap) + members
        members += self._stand_in(data, labels, signals, votes, alone=not members, seed=seed)
        members = panels.distinct(members)
        probs = np.stack([m.probs for m in members])
        temperature = temperatures(probs, expert) if self.calibrate else np.ones(len(members))
        probs = temper(probs, temperature) if self.calibrate else probs
        return Outcome(
            labels=labels,
            members=members,
            probs=probs,
            ensemble=combine(probs),
            expert=expert,
            temperature=temperature,
            theta=self.theta,
            ordinal=self.scale == "ordinal",
            gap=gap,
            population=self.population,
            votes=votes,
        )

    def _votes(self, data: Dataset) -> Votes | None:
        """The votes of a dataset that has them, without annotators who gave too few."""
        if not isinstance(data.labels, Votes):
            if self.least_votes:
                data.require_labels(Votes)
            return None
        votes = data.labels
        kept = experienced(votes.values, least=self.least_votes)
        if not kept.any():
            most = int((votes.values != UNKNOWN).sum(0).max())
            raise InputError(f"No annotator gave {self.least_votes:,} votes; the most is {most:,}.", hint="Lower --least-votes.")
        names = [name for name, keep in zip(votes.annotators, kept, strict=True) if keep]
        return Votes(values=votes.values[:, kept], names=votes.names, annotators=names)

    def _judges(self, labels: ClassLabels) -> list[Judge]:
        """The judges; a file that names no classes takes those of the labels."""
        from labelwright.judges import Cached, HTTPJudge, classify, load_judges

        judges = load_judges(self.judges, classes=labels.names) if isinstance(self.judges, str) else list(self.judges or ())
        if self.judge_url is not None and self.judge_model is not None:
            if self.second is not None:
                raise InputError("judge_url asks about single texts.", hint="Describe a judge of pairs in a file: --judges FILE.")
            asked = HTTPJudge(url=self.judge_url, model=self.judge_model, prompt=classify(labels.names))
            judges.append(Cached(inner=asked, path=Path(CACHE)))
        return judges

    def _given(self, data: Dataset, votes: Votes | None) -> ClassLabels:
        """The labels that are judged: the dataset's own, or what its votes amount to."""
        if votes is None:
            if self.crowd != "majority":
                data.require_labels(Votes)
            return data.class_labels()
        alarm = 0
        if self.alarm is not None:
            check.known_word("alarm", self.alarm, votes.names, place="the classes")
            alarm = list(votes.names).index(self.alarm)
        return ClassLabels(values=aggregate(votes.values, votes.num_classes, how=self.crowd, alarm=alarm), names=votes.names)

    def _stand_in(
        self, data: Dataset, labels: ClassLabels, signals: Signals | None, votes: Votes | None, *, alone: bool, seed: int
    ) -> list[panels.Member]:
        """Annotators or a model of the labels where there are no judges; probabilities that were given in any case."""
        if alone and votes is not None:
            return panels.from_votes(votes, labels.names)
        have = signals is not None and signals.probs is not None
        if not have and not alone:
            return []
        from labelwright import signals as makers

        used = signals if have and signals is not None else makers.compute(data, ("probs",), seed=seed, have=signals)
        rows = np.asarray(used.require_out_of_sample(), dtype=np.float64)
        check.same_length(data=data, probs=rows)
        own = data.class_labels().names if votes is None else votes.names
        if rows.shape[1] != len(own):
            raise InputError(f"The probabilities have {rows.shape[1]} columns, but the labels have {len(own)} classes.")
        probs = np.zeros((len(data), labels.num_classes))
        probs[:, [list(labels.names).index(name) for name in own]] = rows / rows.sum(1, keepdims=True)
        name = "given probabilities" if have else STAND_IN
        return [panels.Member(name=name, probs=probs, asked=np.ones(len(data), dtype=bool))]


def together(url: str | None, model: str | None) -> None:
    """Refuse an address without a model, and the reverse."""
    if (url is None) != (model is None):
        raise InputError("judge_url and judge_model belong together.", hint="Give both: --judge-url ADDRESS --judge-model NAME.")


def provenance_of(method: Auditor, data: Dataset, judges: str | tuple[Judge, ...] | None, *, seed: int) -> Provenance:
    """Provenance of a method with a field `judges`: judges made in Python go by name and fingerprint; what is inside them
    (endpoints, functions) is not for records."""
    if judges is None or isinstance(judges, str):
        return Provenance.of(method, data, seed=seed)
    made = Provenance.of(replace(method, judges=None), data, seed=seed)  # type: ignore[type-var, misc]
    return replace(made, fields={**made.fields, "judges": [{"name": j.name, "fingerprint": j.fingerprint} for j in judges]})


def cost_of(outcome: Outcome) -> dict[str, Any]:
    """What the judgements cost together, and the share of judgements that were never asked for."""
    members = outcome.members
    possible, asked = len(members) * len(outcome.given), sum(int(m.asked.sum()) for m in members)
    return {
        "judgements": asked,
        "calls": sum(m.calls for m in members),
        "without_call": sum(m.cached for m in members),
        "tokens": [sum(m.tokens[k] for m in members) for k in (0, 1)],
        "money": sum(m.cost for m in members),
        "saved_judgements": possible - asked,
        "saved_share": (possible - asked) / possible,
    }
