"""The work of ``learn``: train, measure once on the test data, write model, history and report."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, Labels
from labelwright.recipes.perform import Written, method_of
from labelwright.recipes.session import Session, writing
from labelwright.recipes.sources import load_data, load_second
from labelwright.recipes.steps import entry_of
from labelwright.recipes.tags import aligned_cells, measure_cells, trained_labels, words_of_cells

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.nn import NetFactory
    from labelwright.recipes.steps import Step
    from labelwright.results import Learned
    from labelwright.training import Fit

__all__ = ["fit_of", "learn", "measure", "net_of"]

FEW = 64
"""Training examples that are enough to see what form the inputs have."""


def learn(run: Session) -> Written:
    """Train the method of the step and measure the model it gives."""
    from labelwright.training.fit import resolve_device

    step, method = run.step, method_of(run.step)
    resolve_device(step.values["device"])
    data, val, test = load_data(step), load_second(step, "val"), load_second(step, "test")
    val, test = node_rows(val, "val", step), node_rows(test, "test", step)
    labels = trained_labels(data, entry_of(step.verb, step.method).has)
    if test is not None:
        # now, not after an hour of training
        (aligned if isinstance(labels, ClassLabels) else aligned_cells)(test, labels.names, what="test")
    for other in (val, test):
        if other is not None and len(other):
            same_form(data, other, seed=step.seed)
    net = net_of(step.values.get("net"))
    fit = fit_of(step, data, val, checkpoint=str(run.checkpoints), method=method)
    run.resolved = {"fit": {f.name: getattr(fit, f.name) for f in fields(fit) if f.name != "checkpoint"}}
    run.begin(data=data, val=val, test=test)
    learned: Learned = method.learn(data, net, val=val, fit=fit, seed=step.seed)  # type: ignore[attr-defined]
    learned = replace(learned, facts={k: v for k, v in learned.facts.items() if k != "fit"} | {"fit": _portable(learned.facts.get("fit"))})
    run.resolved["net"] = learned.net_spec
    summary: dict[str, Any] = {"method": step.method, "seed": step.seed, "epochs": fit.epochs}
    if test is not None:
        summary["test"] = measure(learned, test, batch_size=fit.batch_size, device=step.values["device"])
    with writing(run.partial):
        learned.write(run.partial)
        write_history(learned, run)
        from labelwright.report import learned_page

        page = learned_page(learned, summary, data=data, val=val, command=step.command(), next=_next(step, run, test))
        (run.partial / "report.html").write_text(page, encoding="utf-8")
    return Written(summary=summary, lines=_lines(summary, learned), status=str(learned.status))


def node_rows(data: Dataset | None, part: str, step: Step) -> Dataset | None:
    """Of nodes with a column ``split``, the rows of `part` (``val`` or ``test``), unless the command names a split itself.

    So one graph serves for training, validation and test; see :mod:`labelwright.data.graphs` for the rule.
    """
    from labelwright.data.graphs import rows_of

    if data is None or data.kind != "nodes" or step.values.get(f"{part}_split") is not None:
        return data
    rows = rows_of(data, part)
    if rows is None:
        return data
    if not rows.any():
        raise InputError(f"Column 'split' of the {part} data marks no row {part!r}.", hint=f"Name its word with --{part}-split.")
    return data.take(rows)


def same_form(data: Dataset, other: Dataset, *, seed: int) -> None:
    """Refuse, before training, a second dataset that a model of `data` could not read: of another kind, width or set of columns."""
    from labelwright.data.featurise import fit_featuriser

    few = np.linspace(0, len(data) - 1, min(len(data), FEW)).astype(np.int64)
    fit_featuriser(data.take(np.unique(few)), seed=seed).transform(other.take([0]))


def _next(step: Step, run: Session, test: Dataset | None) -> tuple[tuple[str, str], ...]:
    folder = run.out.name
    rows = [("Apply the model to new data.", f"labelwright predict {folder} DATA --out predictions.csv")]
    if test is None:
        rows.insert(0, ("Measure it on data with good labels.", f"{step.command()} --test DATA"))
    return (*rows, ("Repeat the run and compare its figures.", f"labelwright rerun {folder}"))


def _portable(fit: Any) -> Any:
    """The recipe without the folder of this machine."""
    return {k: v for k, v in fit.items() if k != "checkpoint"} if isinstance(fit, dict) else fit


def write_history(learned: Learned, run: Session) -> None:
    """``history.csv``: a row an epoch."""
    import polars as pl

    if learned.history:
        pl.DataFrame([dict(row) for row in learned.history], infer_schema_length=None).write_csv(run.partial / "history.csv")


def net_of(word: str | None) -> NetFactory:
    """The network called ``name`` or ``name:argument=value,…``; the automatic one without a name.

    Raises
    ------
    InputError
        If the name, an argument or its value is unknown.
    """
    from labelwright.nn import net_named

    if word is None:
        return net_named("auto")
    name, _, rest = word.partition(":")
    arguments: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise InputError(f"--net {word}: {part!r} must be argument=value.", hint="Example: --net convnet:width=64,depth=3")
        arguments[key.strip().replace("-", "_")] = _value(value.strip())
    try:
        return net_named(name, **arguments)
    except TypeError as err:
        raise InputError(f"--net {word}: {err}.") from err


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return tuple(_value(t) for t in text.split("x")) if text.count("x") and all(t.isdecimal() for t in text.split("x")) else text


def fit_of(step: Step, data: Dataset, val: Dataset | None, *, checkpoint: str | None, method: Any = None) -> Fit:
    """The training recipe of a step: the default for these data, or that of the learner `method`, with the fields that were given replaced."""
    from labelwright.data.graphs import training_view
    from labelwright.training import Fit
    from labelwright.training.defaults import recipe

    data, held = training_view(data)
    val = held if val is None else val
    labelled = int((data.known & (data.weights > 0)).sum())
    given = step.fit_fields()
    base = recipe(
        labelled if val is not None else labelled - held_out(data, step.seed), images=data.kind == "images", nodes=data.kind == "nodes"
    )
    base = base if method is None else method.recipe(base)
    if "lr" in given and base.min_lr > given["lr"]:
        given.setdefault("min_lr", given["lr"])
    values = {f.name: getattr(base, f.name) for f in fields(Fit)} | given | {"device": step.values["device"], "checkpoint": checkpoint}
    return Fit(**values)


def held_out(data: Dataset, seed: int) -> int:
    """Examples that training holds out for validation when none are given."""
    from labelwright.data import Dataset
    from labelwright.data.inputs import Preprocessed
    from labelwright.data.splits import split
    from labelwright.training.prepare import VAL_FRACTION

    if isinstance(data.inputs, Preprocessed):
        return 0  # condensed examples
    rows = np.flatnonzero(data.known & (data.weights > 0))
    stub = Dataset(inputs=np.zeros((len(rows), 1)), labels=data.require_labels(Labels).take(rows), ids=rows)
    return len(split(stub, VAL_FRACTION, seed=seed)[1])


def aligned(test: Dataset, names: tuple[str, ...] | Any, *, what: str) -> np.ndarray:
    """Class indices of `test` in the numbering of the training classes, -1 where unknown.

    Raises
    ------
    InputError
        If the test data have no labels, or classes that training does not know.
    """
    if test.labels is None:
        raise InputError(f"The {what} data have no labels.", hint="Name their column with --labels or --test-labels.")
    labels = test.require_labels(ClassLabels)
    place = {name: j for j, name in enumerate(names)}
    counts = labels.counts()
    for j in np.flatnonzero(counts).tolist():
        if labels.names[j] not in place:
            row = int(np.argmax(labels.values == j))
            raise InputError(
                f"{what} label {labels.names[j]!r} (row {row}) is no training class.{check.nearest(labels.names[j], place)}",
                hint=f"Training classes: {', '.join(list(place)[:12])}.",
            )
    table = np.array([*(place.get(n, -1) for n in labels.names), -1], dtype=np.int64)
    found: np.ndarray = table[labels.values]
    if not (found >= 0).any():
        raise InputError(f"The {what} data have no known labels.")
    return found


def measure(learned: Learned, test: Dataset, *, batch_size: int = 512, device: str | None = None) -> dict[str, Any]:
    """``{n, accuracy, ci95, balanced_accuracy, macro_f1}`` on the labelled rows of `test`; of multi-labels what :func:`measure_cells` gives."""
    from labelwright.stats import metrics

    if learned.outputs == "sigmoid":
        return measure_cells(learned, test, batch_size=batch_size, device=device)
    truth = aligned(test, learned.names, what="test")
    known = truth >= 0
    rows = np.flatnonzero(known)
    part = test if known.all() else test.take(rows)
    predicted = learned.predict_proba(part, batch_size=max(batch_size, 256), device=device).argmax(1)
    accuracy = metrics.accuracy(truth[rows], predicted)
    return {
        "n": len(rows),
        "accuracy": accuracy.value,
        "ci95": [accuracy.low, accuracy.high],
        "balanced_accuracy": metrics.balanced_accuracy(truth[rows], predicted, num_classes=learned.num_classes).value,
        "macro_f1": metrics.f1(truth[rows], predicted, num_classes=learned.num_classes).value,
    }


def _lines(summary: dict[str, Any], learned: Learned) -> tuple[str, ...]:
    lines = []
    if "map" in summary.get("test", {}):
        lines.append(f"{summary['method']}: {words_of_cells(summary['test'])}")
    elif "test" in summary:
        t = summary["test"]
        low, high = t["ci95"]
        lines.append(
            f"{summary['method']}: test accuracy {t['accuracy']:.1%} [{low:.1%}, {high:.1%}] on {t['n']:,} examples, "
            f"balanced {t['balanced_accuracy']:.1%}, macro F1 {t['macro_f1']:.3f}"
        )
    else:
        lines.append(f"{summary['method']}: trained. Give --test DATA to measure it.")
    actions = learned.facts.get("actions")
    if isinstance(actions, dict):
        told = ", ".join(f"{word.replace('_', ' ')} {count:,}" for word, count in actions.items())
        lines.append(f"Training labels: {told}; row by row in examples.parquet, the new labels in labels.parquet.")
    elif learned.label_scores is not None:
        lines.append("It also judged its training labels: examples.parquet and labels.parquet.")
    return (*lines, "Report: {out}/report.html", "Apply it: labelwright predict {out} DATA --out predictions.csv")
