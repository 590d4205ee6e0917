"""The main job end to end on real data: handwritten digits with a quarter of the training labels wrong.

For each seed: split into training, validation and test; spoil a quarter of the training and validation labels, more in some classes
than in others, mostly into look-alikes; audit; correct; learn with cross-entropy on the noisy and on the corrected
labels, with ELR and with nested co-teaching. Every choice of an epoch (and of K) is made on the one noisy validation split;
the test labels are clean and read once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.progress import track
from labelwright.recipes.perform import Outcome, Written, perform, perform_once
from labelwright.recipes.session import Session, write_json, writing
from labelwright.recipes.steps import CORRECT, WHOLE_AUDIT, Step

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.report.overview import Table

__all__ = ["ARMS", "SEEDS", "demo", "spoiled", "work"]

SEEDS = 3
TEST, VALIDATION = 0.3, 0.15
NOISE = 0.25
RATES = (0.15, 0.30, 0.25, 0.35, 0.20, 0.30, 0.20, 0.25, 0.30, 0.20)
"""Share of wrong labels in each class; their mean is `NOISE`."""
LOOKALIKE = (6, 7, 3, 8, 9, 3, 0, 1, 3, 4)
"""What each digit is mostly taken for."""
MOSTLY = 0.7
"""Share of the wrong labels that go to the look-alike; the others to any other digit."""
EPOCHS = 20
FOLDS = 3
"""Of the audit's cross-validation; the usual five would take the time of another arm."""
PLAIN, CORRECTED = "cross-entropy, noisy labels", "cross-entropy, corrected labels"
ARMS: tuple[tuple[str, str, str], ...] = (
    (PLAIN, "cross-entropy", "train"),
    (CORRECTED, "cross-entropy", "corrected"),
    ("ELR, noisy labels", "elr", "train"),
    ("nested co-teaching, noisy labels", "nested-coteaching", "train"),
)
"""Name, method, which labels. All fields have their defaults, but co-teaching forgets the share of labels that the audit estimates to be wrong."""


def demo(out: str | Path, *, seed: int = 0, device: str = "auto") -> Outcome:
    """Run the demonstration into `out`; seeds `seed`, `seed` + 1, `seed` + 2."""
    return perform(Step.of("demo", "", {"seed": seed, "device": device}), out)


def spoiled(data: Dataset, *, seed: int) -> tuple[Dataset, np.ndarray]:
    """Digits with about a quarter of the labels wrong, class-dependent, and which (bool (N,))."""
    from labelwright.data import corrupt

    matrix = np.zeros((10, 10))
    for c, (rate, other) in enumerate(zip(RATES, LOOKALIKE, strict=True)):
        matrix[c] = rate * (1 - MOSTLY) / 8
        matrix[c, c], matrix[c, other] = 1 - rate, rate * MOSTLY
    noisy, truth = corrupt.transition(data, matrix / matrix.sum(1, keepdims=True), seed=seed)
    return noisy, np.asarray(truth.changed)


def work(session: Session) -> Written:
    """All seeds, then the table."""
    import torch

    begun: int = session.step.seed
    session.begin()
    device = session.step.values["device"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for images of 8 x 8 several threads wait for each other longer than they compute
    try:
        rows = [_one(session.partial / f"seed-{seed}", seed, device) for seed in track(range(begun, begun + SEEDS), "seeds", total=SEEDS)]
    finally:
        torch.set_num_threads(threads)
    summary = _summary(rows, begun)
    with writing(session.partial):
        write_json(session.partial / "summary.json", summary)
        (session.partial / "report.html").write_text(_page(summary, session), encoding="utf-8")
    shown = session.out / "report.html"
    return Written(summary={**summary, "report": str(shown)}, figures=summary, lines=_lines(summary))


def _one(folder: Path, seed: int, device: str) -> dict[str, Any]:
    """One seed: data, audit, correction, arms."""
    wrong = _data(folder, seed)
    train, val, test = (str(folder / name) for name in ("train", "val", "test"))
    audit = Step.of("audit", WHOLE_AUDIT, {"data": train, "seed": seed, "device": device, "folds": FOLDS})
    perform_once(audit, folder / "audit")
    fix = Step.of("annotate", CORRECT, {"data": train, "findings": str(folder / "audit"), "seed": seed})
    perform_once(fix, folder / "corrected")
    from labelwright.results import Audit

    found = _detection(folder / "audit", wrong)
    accuracy = {}
    estimate = round(float(Audit.load(folder / "audit").facts["noise_rate"]), 3)
    for name, method, labels in ARMS:
        fields = {"forget_rate": estimate} if method == "nested-coteaching" else {}
        values = {
            "data": train if labels == "train" else str(folder / "corrected"),
            "val": val,
            "test": test,
            "seed": seed,
            "device": device,
        }
        step = Step.of("learn", method, {**values, "epochs": EPOCHS, **fields})
        outcome = perform_once(
            step, folder / name.partition(",")[0].lower().replace(" ", "-").replace("cross-entropy", f"cross-entropy-{labels}")
        )
        accuracy[name] = float(outcome.figures["test"]["accuracy"])
    return {"seed": seed, "wrong_share": float(wrong.mean()), "errors": found, "test": accuracy}


def _data(folder: Path, seed: int) -> np.ndarray:
    """Write training, validation and test sets as dataset folders; which training labels are wrong, bool (N,)."""
    from labelwright.data.readers import load

    digits = load("digits")
    rest, test = digits.split(TEST, seed=seed)
    train, val = rest.split(VALIDATION, seed=seed)
    noisy, wrong = spoiled(train, seed=seed)
    noisy_val, _ = spoiled(val, seed=1_000 + seed)
    with writing(folder):
        folder.mkdir(exist_ok=True)
        for name, part in (("train", noisy), ("val", noisy_val), ("test", test)):
            if not (folder / name).exists():
                part.save(folder / name)
    return wrong


def _detection(folder: Path, wrong: np.ndarray) -> dict[str, float]:
    """Precision and recall of the flagged labels, and area under the precision-recall curve of the score."""
    import polars as pl

    from labelwright.stats.metrics import average_precision

    rows = pl.read_parquet(folder / "findings.parquet").filter(pl.col("issue") == "label_error").sort("index")
    flagged, score = rows.get_column("flagged").to_numpy(), rows.get_column("score").to_numpy()
    hits = int((flagged & wrong).sum())
    return {
        "precision": hits / max(1, int(flagged.sum())),
        "recall": hits / max(1, int(wrong.sum())),
        "auprc": average_precision(wrong, score).value,
        "flagged": int(flagged.sum()),
    }


def _interval(values: list[float]) -> dict[str, float]:
    """Mean over seeds with its 95 % t-interval: its `half` width, and its ends kept inside [0, 1], for all are shares."""
    from labelwright.stats.intervals import mean_interval

    m = mean_interval(values)
    return {"mean": m.value, "low": max(0.0, m.low), "high": min(1.0, m.high), "half": m.half_width}


def _summary(rows: list[dict[str, Any]], begun: int) -> dict[str, Any]:
    return {
        "data": "handwritten digits (scikit-learn): 1,797 images of 8 x 8",
        "seeds": list(range(begun, begun + SEEDS)),
        "wrong_share": _interval([r["wrong_share"] for r in rows]),
        "errors": {k: _interval([r["errors"][k] for r in rows]) for k in ("precision", "recall", "auprc")},
        "test": {name: {"accuracy": _interval([r["test"][name] for r in rows])} for name, *_ in ARMS},
        "by_seed": rows,
    }


def _words(m: Mapping[str, float]) -> str:
    return f"{100 * m['mean']:.1f} ± {100 * m['half']:.1f}"


def _lines(summary: Mapping[str, Any]) -> tuple[str, ...]:
    errors = summary["errors"]
    width = max(len(name) for name in summary["test"])
    rows = [f"  {name:<{width}}  {_words(m['accuracy'])}" for name, m in summary["test"].items()]
    return (
        f"{summary['data']}; {summary['wrong_share']['mean']:.0%} of the training labels wrong, class-dependent; "
        f"seeds {', '.join(map(str, summary['seeds']))}; mean ± half of the 95 % interval",
        "",
        f"Wrong labels found (%): precision {_words(errors['precision'])}, recall {_words(errors['recall'])}, AUPRC {_words(errors['auprc'])}",
        "",
        "Test accuracy (%):",
        *rows,
        "",
        "Report: {out}/report.html",
        f"Audit:  {{out}}/seed-{summary['seeds'][0]}/audit/report.html",
    )


def _tables(summary: Mapping[str, Any]) -> tuple[Table, Table]:
    from labelwright.report.overview import Line, Table

    seeds = [f"seed {s}" for s in summary["seeds"]]
    arms = tuple(
        Line(cells=(name, _words(m["accuracy"]), *(f"{100 * r['test'][name]:.1f}" for r in summary["by_seed"])))
        for name, m in summary["test"].items()
    )
    errors = tuple(
        Line(cells=(title, _words(summary["errors"][key]), *(f"{100 * r['errors'][key]:.1f}" for r in summary["by_seed"])))
        for title, key in (
            ("Precision of flagged labels", "precision"),
            ("Recall of wrong labels", "recall"),
            ("AUPRC of the score", "auprc"),
        )
    )
    return (
        Table(
            title="Wrong labels found",
            columns=("Measure, %", "Mean ± half 95 % interval", *seeds),
            rows=errors,
            lead="Labels were judged by a network that was trained without them (cross-validation); which are wrong is known here because the demonstration spoiled them.",
        ),
        Table(
            title="Test accuracy",
            columns=("Arm, %", "Mean ± half 95 % interval", *seeds),
            rows=arms,
            lead="Clean test labels, read once. Epoch and compression were chosen on one noisy validation split, the same for every arm.",
            note=f"Intervals are Student t over {len(seeds)} seeds, each with its own split, noise and weights. Overlapping intervals do not separate two arms.",
        ),
    )


def _page(summary: Mapping[str, Any], session: Session) -> str:
    from labelwright.report.overview import StepRow, overview_page

    errors, test = summary["errors"], summary["test"]
    # a fixed pair of arms: naming the best one would be a choice made on the test set
    plain, corrected = (test[name]["accuracy"]["mean"] for name in (PLAIN, CORRECTED))
    steps = [
        StepRow(
            name=f"audit, seed {seed}",
            text=f"{row['errors']['flagged']:,} labels flagged",
            folder=f"seed-{seed}/audit",
            link=f"seed-{seed}/audit/report.html",
        )
        for seed, row in zip(summary["seeds"], summary["by_seed"], strict=True)
    ]
    return overview_page(
        title="Audit, correct, learn: handwritten digits",
        verdict=f"A quarter of the training labels is wrong. Plain training reaches {plain:.1%} on the test set; after correction, {corrected:.1%}.",
        kind="demonstration",
        command=session.step.command(),
        rows=[("Data", summary["data"]), ("Seeds", ", ".join(map(str, summary["seeds"])))],
        tiles=[
            ("Wrong labels", f"{summary['wrong_share']['mean']:.1%}", "of the training labels, class-dependent"),
            ("Found", f"{errors['recall']['mean']:.1%}", "of the wrong labels flagged"),
            ("Precision", f"{errors['precision']['mean']:.1%}", "of the flagged labels are wrong"),
            ("Test accuracy", f"{corrected:.1%}", f"on corrected labels; {plain:.1%} on the wrong ones"),
        ],
        tables=_tables(summary),
        steps=steps,
        steps_lead="Each folder holds findings, model, page and run.json; labelwright rerun FOLDER repeats any of them.",
    )
