"""Part 3 of `llm_label_errors.py`: labels of people, BEGIN with classifiers as judges and the workers of the XSum annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

import _harness as bench
from labelwright.audit.judge_ensemble import JudgeEnsemble
from labelwright.audit.judge_ensemble.evaluation import precision_by_bin
from labelwright.data import Dataset
from labelwright.data.corrupt import symmetric
from labelwright.judges import ClassifierJudge
from labelwright.labels import ClassLabels
from labelwright.stats.agreement import fleiss_kappa, krippendorff_alpha, pairwise_agreement
from labelwright.stats.crowd import majority, strict
from labelwright.stats.intervals import bootstrap, wilson

__all__ = ["EDGES", "noisy", "part_people"]

EDGES = (0.5, 0.65, 0.8, 0.95, 1.0)


def noisy(data: Dataset, rate: float, seed: int) -> tuple[Dataset, np.ndarray]:
    """The dataset with `rate` of its labels replaced by another class at random, and which."""
    made, _ = symmetric(data, rate, seed=seed)
    return made, made.labels.values != data.labels.values


def begin(name: str) -> pl.DataFrame:
    """Responses of dialogue systems with the knowledge they should be grounded in; the six 'Generic' ones count as not attributable."""
    frame = pl.read_csv(bench.data_root("text/begin") / f"text/begin/begin_{name}_wow.tsv", separator="\t", quote_char=None)
    return frame.with_columns(
        label=pl.when(pl.col("begin_label") == "Fully attributable").then(pl.lit("attributable")).otherwise(pl.lit("not attributable"))
    )


def overlap(knowledge: list[str], response: list[str]) -> np.ndarray:
    """How a response relates to its knowledge, float (N, 7): words and word pairs in common, lengths, new words, common characters."""
    import re
    from itertools import pairwise

    rows = []
    for k, r in zip(knowledge, response, strict=True):
        a, b = (re.findall(r"[a-z0-9']+", t.lower()) for t in (k, r))
        sa, sb = set(a), set(b)
        pa, pb = (set(pairwise(w)) for w in (a, b))
        ta, tb = ({t[i : i + 4] for i in range(len(t) - 3)} for t in (k.lower(), r.lower()))
        long = [w for w in sb if len(w) > 4]
        rows.append([len(sa & sb) / max(1, len(sb)), len(pa & pb) / max(1, len(pb)), len(ta & tb) / max(1, len(tb)), sum(w in sa for w in long) / max(1, len(long)),
                     np.log1p(len(a)), np.log1p(len(b)), sum(w.isdigit() and w not in sa for w in sb)])  # fmt: skip
    return np.array(rows)


def begin_judges(seed: int) -> tuple[ClassifierJudge, ...]:
    """Six classifiers of the overlap, each on its own half of the 430 development examples."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    dev = begin("dev")
    x, y = overlap(dev["knowledge"].to_list(), dev["response"].to_list()), dev["label"].to_numpy()
    rng = np.random.default_rng(seed)
    makers: dict[str, Callable[[], Any]] = {
        "logistic": lambda: LogisticRegression(),
        "trees": lambda: ExtraTreesClassifier(200, min_samples_leaf=5, random_state=seed),
        "neighbours": lambda: KNeighborsClassifier(25),
        "bayes": lambda: GaussianNB(),
    }
    made = []
    for name, make in makers.items():
        rows = rng.permutation(len(y))[: int(0.7 * len(y))]
        made.append(ClassifierJudge(name=name, classifier=make_pipeline(StandardScaler(), make()).fit(x[rows], y[rows]), takes="inputs"))
    return tuple(made)


def begin_run(seed: int) -> dict[str, Any]:
    """Judges on the test labels with 10 % more of them turned: are the turned ones found, and do judges dispute people's own labels?"""
    test = begin("test")
    features = overlap(test["knowledge"].to_list(), test["response"].to_list())
    data = Dataset(inputs=features, labels=ClassLabels.encode(test["label"].to_list()))
    judges = begin_judges(seed)
    people = JudgeEnsemble(judges=judges).outcome(data, seed=seed)
    turned, wrong = noisy(data, 0.10, seed)
    outcome = JudgeEnsemble(judges=judges).outcome(turned, seed=seed)
    expert = np.where(wrong, data.labels.values, turned.labels.values)
    bins = precision_by_bin(outcome.ensemble, turned.labels.values, expert, EDGES, seed=seed)
    facts = people.agreement()["groups"]["judges"]
    d = outcome.disagrees
    return {
        "disputed_of_people": float(people.disagrees.mean()),
        "kappa_judges": facts["kappa"],
        "alpha_judges": facts["alpha"],
        "accuracy_to_people": float((people.ensemble.prediction == data.labels.values).mean()),
        "share_turned": float(wrong.mean()),
        "share_turned_among_disputed": float(wrong[d].mean()),
        "recall_of_turned": float(d[wrong].mean()),
    } | {f"turned_{b.low:g}": b.share.value for b in bins}


def xsum_votes() -> np.ndarray:
    """Answers of three workers to "is it factual", int (N, 3): 1 yes, 0 no, -1 none; a row a summary."""
    frame = pl.read_csv(bench.data_root("text/xsum") / "text/xsum/factuality_annotations_xsum_summaries.csv")
    wide = frame.pivot("worker_id", index=["bbcid", "system"], values="is_factual", aggregate_function="first").select(
        "wid_0", "wid_1", "wid_2"
    )
    return np.stack([np.array([{"yes": 1, "no": 0}.get(v, -1) for v in wide.get_column(c)]) for c in wide.columns], axis=1)


def xsum_run(seed: int) -> dict[str, Any]:
    """Agreement of the workers with bootstrap intervals over summaries, and what the aggregation rules make of their votes."""
    votes = xsum_votes()
    full = votes[(votes >= 0).all(1)]
    most, alarm = majority(votes, 2), strict(votes, 2, alarm=0)
    loo = [
        (votes[:, r] == majority(np.delete(votes, r, axis=1), 2))[
            (votes[:, r] >= 0) & (majority(np.delete(votes, r, axis=1), 2) >= 0)
        ].mean()
        for r in range(3)
    ]
    rng = np.random.default_rng(seed)
    chance = np.stack(
        [rng.permutation(full[:, r]) for r in range(3)], axis=1
    )  # workers who know the shares of yes and no, and nothing else
    return {
        "summaries": len(votes),
        "kappa": bootstrap(lambda v: fleiss_kappa(v, 2), full, draws=300, seed=seed).to_dict(),
        "alpha": bootstrap(lambda v: krippendorff_alpha(v, 2), votes, draws=300, seed=seed).to_dict(),
        "kappa_of_chance": fleiss_kappa(chance, 2),
        "pairwise": float(np.nanmean(pairwise_agreement(votes, 2)[np.triu_indices(3, 1)])),
        "factual_by_majority": wilson(int((most == 1).sum()), int((most >= 0).sum())).to_dict(),
        "factual_by_strict": wilson(int((alarm == 1).sum()), int((alarm >= 0).sum())).to_dict(),
        "rules_differ": wilson(int((most != alarm)[most >= 0].sum()), int((most >= 0).sum())).to_dict(),
        "least_worker_to_others": float(min(loo)),
    }


def part_people(record: bench.Record, seeds: int) -> None:
    """Check 3 of the sheet."""
    setting = {"part": "BEGIN, judges from 430 development examples"}
    for seed in range(seeds):
        record.run("classifiers", seed, lambda seed=seed: begin_run(seed), setting=setting)
    share = [record.measure("classifiers", f"turned_{e:g}", setting=setting).value for e in EDGES[:-1]]
    lift = bench.paired_difference(
        record.values("classifiers", "share_turned_among_disputed", setting=setting),
        record.values("classifiers", "share_turned", setting=setting),
    )
    record.claim(
        "BEGIN: labels that were turned are more frequent among disputed ones than among all, and more so the surer the judges",
        holds=bool(lift.low > 0 and share[-1] > share[0]),
        ours=f"lift {lift}; share of turned labels by confidence " + " / ".join(f"{v:.3f}" for v in share),
    )
    disputed = record.measure("classifiers", "disputed_of_people", setting=setting)
    record.claim(
        "BEGIN: judges dispute a share of people's own labels like that of the paper's (34.4 %), within 10 points",
        holds=abs(disputed.value - 0.344) <= 0.1,
        ours=f"{disputed}",
        paper="34.4 %",
        paper_setting="GPT-4 and PaLM2, 4 prompts each, 160 examples",
    )
    setting = {"part": "XSum, three workers a summary"}
    found = record.run("workers", 0, lambda: xsum_run(0), setting=setting)
    if found:
        record.claim(
            "XSum: workers agree more than workers who know the shares only, and strict aggregation finds fewer factual summaries than the majority",
            holds=bool(
                found["kappa"]["low"] > found["kappa_of_chance"] and found["rules_differ"]["low"] > 0
            ),  # strict only ever takes a yes away
            ours=f"kappa {found['kappa']['value']:.3f} [{found['kappa']['low']:.3f}, {found['kappa']['high']:.3f}], shuffled {found['kappa_of_chance']:.3f}; "
            f"factual {found['factual_by_majority']['value']:.1%} by majority, {found['factual_by_strict']['value']:.1%} strict",
            paper="MTurk kappa 0.074",
            paper_setting="the paper's own workers on four TRUE data sets",
        )
