"""Predictions in batches, and the figures read from them: always with n and an interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.data.node_batches import NodeTensor
from labelwright.errors import InputError
from labelwright.training.fit import resolve_device

__all__ = ["ClassScore", "Evaluation", "accuracy", "evaluate", "evaluating", "predict_logits", "predict_proba"]


@contextmanager
def evaluating(net: nn.Module) -> Iterator[nn.Module]:
    """`net` in evaluation mode without gradients; each module's own mode is restored afterwards."""
    modes = [(m, m.training) for m in net.modules()]
    net.eval()
    try:
        with torch.inference_mode():
            yield net
    finally:
        for module, training in modes:
            module.training = training


def predict_logits(net: nn.Module, inputs: Tensor, *, batch_size: int = 512, device: str | torch.device | None = None) -> Tensor:
    """Logits float32 (N, C) on the CPU, computed `batch_size` rows at a time where the network's weights are (or on `device`).

    Nodes of a graph go through in one pass over the whole graph, whatever `batch_size` is.
    """
    place = next(net.parameters(), torch.empty(0)).device
    if device is not None:
        place = resolve_device(device) if isinstance(device, str) else device
        net = net.to(place)
    if isinstance(inputs, NodeTensor):
        with evaluating(net):
            logits: Tensor = net(inputs.to(place)).float().cpu()
        return logits.clone()
    with evaluating(net):
        parts = [net(inputs[start : start + batch_size].to(place)).float().cpu() for start in range(0, len(inputs), batch_size)]
        if not parts:
            parts = [net(torch.zeros(1, *inputs.shape[1:], device=place)).float().cpu()[:0]]
    return torch.cat(parts).clone()  # out of inference mode


def predict_proba(net: nn.Module, inputs: Tensor, *, batch_size: int = 512, device: str | torch.device | None = None) -> np.ndarray:
    """Softmax probabilities, float32 (N, C)."""
    return predict_logits(net, inputs, batch_size=batch_size, device=device).softmax(1).numpy()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows whose largest logit is at the label; rows with an unknown label do not count. NaN without any."""
    known = labels >= 0
    return float((logits.argmax(1)[known] == labels[known]).float().mean())


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class: `n` examples of it, `precision` (NaN where it was never predicted), `recall` (NaN without examples), `f1`."""

    name: str
    n: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How good predictions are on `n` labelled examples.

    `ci95` is Wilson's interval of `accuracy`; `balanced_accuracy` is the mean recall of the classes that occur; `macro_f1`
    the mean F1 of the classes that occur or were predicted; `auroc` the mean one-against-rest area over classes with both
    sides; `ece` the expected calibration error of the largest probability in 15 bins.
    """

    n: int
    accuracy: float
    ci95: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    auroc: float
    ece: float
    per_class: tuple[ClassScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figures of the command line's summary, ready for JSON."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "ci95": list(self.ci95),
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
        }


def evaluate(probs: Any, labels: Any, *, inputs: Tensor | None = None, names: Sequence[str] = ()) -> Evaluation:
    """Judge predictions by labels.

    Parameters
    ----------
    probs
        Probabilities float (N, C), array or tensor; or a network, whose softmax on `inputs` they then are.
    labels
        int (N,), -1 where unknown: those rows do not count.
    inputs
        float32 (N, …), with a network only.
    names
        C class names.

    Raises
    ------
    InputError
        If `probs` are no probabilities (logits, say), lengths differ, or no label is known.
    """
    from labelwright.stats import metrics  # SciPy's statistics take a second to import
    from labelwright.stats.calibration import calibration_error

    if isinstance(probs, nn.Module):
        if inputs is None:
            raise InputError("inputs are needed to evaluate a network.", hint="evaluate(net, labels, inputs=…)")
        probs = predict_proba(probs, inputs)
    elif inputs is not None:
        raise InputError("inputs have no effect beside probabilities.", hint="Leave them out, or pass the network.")
    check.probabilities("probs", probs)
    p = probs.detach().cpu().numpy() if isinstance(probs, Tensor) else np.asarray(probs)
    y = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    check.same_length(probs=p, labels=y)
    classes = p.shape[1]
    y = check.class_index("labels", y, num_classes=classes, unknown=-1)
    if len(names) not in (0, classes):
        raise InputError(f"names has {len(names)} entries, but there are {classes} classes.")
    p, y = p[y >= 0], y[y >= 0]
    if not len(y):
        raise InputError("No label is known: there is nothing to evaluate against.")
    table = metrics.confusion(y, p.argmax(1), classes)
    right = metrics.accuracy(y, p.argmax(1))
    scores = _per_class(table, [str(name) for name in names] or [str(c) for c in range(classes)])
    occurring = [s for c, s in enumerate(scores) if table[c].sum() or table[:, c].sum()]
    areas = [metrics.auroc(y == c, p[:, c]).value for c in range(classes) if 0 < table[c].sum() < len(y)]
    return Evaluation(
        n=len(y),
        accuracy=right.value,
        ci95=(right.low, right.high),
        balanced_accuracy=float(np.mean([s.recall for s in scores if s.n])),
        macro_f1=float(np.mean([s.f1 for s in occurring])),
        auroc=float(np.mean(areas)) if areas else float("nan"),
        ece=float(calibration_error(p, y)),
        per_class=scores,
    )


def _per_class(table: np.ndarray, names: Sequence[str]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of each class from the confusion counts (C, C), truth in rows."""
    hit, true, predicted = np.diag(table).astype(float), table.sum(1), table.sum(0)
    with np.errstate(invalid="ignore"):
        precision, recall = hit / predicted, hit / true
    f1 = 2 * hit / np.maximum(true + predicted, 1)
    return tuple(
        ClassScore(name=name, n=int(true[c]), precision=float(precision[c]), recall=float(recall[c]), f1=float(f1[c]))
        for c, name in enumerate(names)
    )
