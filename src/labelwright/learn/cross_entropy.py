"""Plain supervised training with cross-entropy: what every other learner is compared with.

    L = mean_i w_i CE(f(x_i), (1 - s) onehot(y_i) + s / C)

with label smoothing s and example weights w (column ``weight``, times class weights where asked).
With mixup (Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018, arXiv:1710.09412) inputs and weighted
targets of random pairs are mixed by one share l ~ Beta(alpha, alpha) a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelwright import check
from labelwright.data.augment import Mixup
from labelwright.nn import seeded
from labelwright.registry import Have, Learner, Want, register
from labelwright.results import Learned
from labelwright.training import Batch, Step, default_fit, judge_labels, prepare, train

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.nn import NetFactory
    from labelwright.training import Fit

__all__ = ["CrossEntropy", "class_weights", "smoothed"]


def smoothed(labels_N: Tensor, num_classes: int, *, smoothing: float) -> Tensor:
    """Targets ``(1 - s) onehot(y) + s / C``: float32 (N, C), rows sum to 1."""
    return F.one_hot(labels_N, num_classes).float() * (1 - smoothing) + smoothing / num_classes


def class_weights(labels_N: Tensor, weights_N: Tensor, num_classes: int) -> Tensor:
    """Weight of each class (C,) under which all classes that occur weigh the same and the mean over examples is unchanged;
    `weights_N` are the weights of the examples, 0 stands for classes without any."""
    mass = torch.zeros(num_classes, dtype=weights_N.dtype).index_add_(0, labels_N, weights_N)
    return torch.where(mass > 0, weights_N.sum() / ((mass > 0).sum() * mass.clamp(min=torch.finfo(mass.dtype).tiny)), 0.0)


@register(
    "cross-entropy",
    sheet=None,
    has=Have.CLASS_LABELS,
    gives=Want.CLASSIFIER,
    paper="Baseline; mixup: arXiv:1710.09412",
)
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Learner):
    """Plain cross-entropy, the baseline; label smoothing, mixup, class weights and early stopping on request.

    Rows without a label take no part in training. ``label_scores`` are 1 - p(given label) under the trained
    network itself: *in-sample* for the rows it was trained on, so a memorised wrong label looks right. Use
    the audit's cross-validated probabilities to find label errors.
    """

    label_smoothing: float = 0.0
    """Share of each target spread evenly over all classes, in [0, 1)."""
    mixup: float = 0.0
    """Alpha of the Beta distribution of mixup shares; 0 = no mixup."""
    class_weight: Literal["none", "balanced"] = "none"
    """balanced: each class weighs the same, however many examples it has."""
    patience: int = 0
    """Stop after this many epochs without a better validation accuracy; 0 = as the recipe says."""

    def __post_init__(self) -> None:
        check.in_range("label_smoothing", self.label_smoothing, low=0, high=1, closed="left")
        check.in_range("mixup", self.mixup, low=0)
        check.one_of("class_weight", self.class_weight, ("none", "balanced"))
        check.integer("patience", self.patience, low=0)

    def learn(self, data: Dataset, net: NetFactory, *, val: Dataset | None = None, fit: Fit | None = None, seed: int) -> Learned:
        prepared = prepare(data, val, seed=seed)
        fit = default_fit(prepared) if fit is None else fit
        if self.patience:
            fit = replace(fit, patience=self.patience)
        classes, rows = prepared.num_classes, prepared.train
        if self.class_weight == "balanced":
            rows = replace(rows, weights=rows.weights * class_weights(rows.labels, rows.weights, classes)[rows.labels])
        with seeded(seed):
            model = net(classes, prepared.input_shape)
        mixup = Mixup(alpha=self.mixup) if self.mixup else None

        def step(live: nn.Module, batch: Batch) -> Step:
            targets = smoothed(batch.labels, classes, smoothing=self.label_smoothing) * batch.weights[:, None]
            if mixup is not None:
                mixed = mixup(batch.inputs, targets, batch.generator)
                return Step(F.cross_entropy(live(mixed.inputs).float(), mixed.targets))
            logits = live(batch.inputs).float()
            return Step(F.cross_entropy(logits, targets), {"accuracy": (logits.argmax(1) == batch.labels).float().mean()})

        run = train(model, step, rows, fit=fit, seed=seed, val=prepared.val, label="cross-entropy")
        _, scores = judge_labels(run.net, prepared)
        facts = {"label_scores": "1 - p(given label) of the trained network, in-sample for the rows it was trained on"}
        return Learned.of(self, data, prepared, factory=net, run=run, fit=fit, label_scores=scores, seed=seed, facts=facts)
