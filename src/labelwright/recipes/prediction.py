"""Apply a learned model to a dataset: one file of predictions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import InputError, OutputError
from labelwright.files import writing

if TYPE_CHECKING:
    from labelwright.data import Dataset

__all__ = ["predict"]

SUFFIXES = (".csv", ".parquet")


def predict(
    model: str,
    data: str,
    *,
    out: str,
    inputs: str | None = None,
    labels: str | None = None,
    device: str = "auto",
    batch_size: int = 512,
) -> dict[str, Any]:
    """Write ``id, predicted, probability`` and one column ``p_<class>`` a class for every example; ``{"n", "out", "classes"}``.

    A model of multi-labels predicts every class of probability 1/2 or more, joined by "; "; ``probability`` is the largest one.

    Raises
    ------
    InputError
        If the model folder is none, or the data cannot be what the model was trained on.
    OutputError
        If `out` exists or cannot be written.
    """
    from labelwright import check
    from labelwright.data.readers import load
    from labelwright.results import Learned
    from labelwright.training.fit import resolve_device

    target = Path(out).expanduser()
    if target.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {target} must end in .csv or .parquet.")
    if target.exists():
        raise OutputError(f"{target} exists.", hint="Name another file with --out, or remove it first.")
    check.integer("batch_size", batch_size, low=1)
    place = str(resolve_device(device))
    learned = Learned.load(model)
    options = {k: v for k, v in (("inputs", inputs), ("labels", labels)) if v is not None}
    examples: Dataset = load(data, **options)
    if not len(examples):
        raise InputError(f"{data} holds no examples.")
    probs = learned.predict_proba(examples, batch_size=batch_size, device=place)
    frame = _frame(examples.ids, probs, learned.names, several=learned.outputs == "sigmoid")
    partial = target.with_name(target.name + ".partial")
    try:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            frame.write_csv(partial) if target.suffix.lower() == ".csv" else frame.write_parquet(partial)
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return {"n": len(examples), "out": str(target), "classes": list(learned.names)}


def _frame(ids: np.ndarray, probs: np.ndarray, names: tuple[str, ...], *, several: bool) -> Any:
    import polars as pl

    best = probs.argmax(1)
    table = np.array(names, dtype=object)
    columns: dict[str, Any] = {
        "id": ids,
        "predicted": ["; ".join(table[row]) for row in probs >= 0.5] if several else table[best].tolist(),
        "probability": probs[np.arange(len(best)), best],
    }
    return pl.DataFrame(columns | {f"p_{name}": probs[:, j] for j, name in enumerate(names)})
