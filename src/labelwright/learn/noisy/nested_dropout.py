"""Nested dropout: compress features so that a network cannot store wrong labels.

Reference: Chen, Hu, Shen, Ai, Suykens. Compressing Features for Learning with Noisy Labels. IEEE TNNLS
2022. arXiv:2206.13140 (workshop version arXiv:2104.13766).

    each batch:  k ~ P,  loss = CE((z * m_k) W, y),  m_k = (1,…,1,0,…,0)
    each epoch:  K* = argmax_K [accuracy of (z * m_K) W on validation - 1e-5 (K - 1)]

Needs hard labels, some of them wrong, and a validation set; the paper's is clean. Differs from the
paper: without one, a tenth of the noisy training set takes its place (accuracies of all K sink alike
under class-independent noise), and a K of 1 means one channel (the authors' code turns it into all).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelwright import check
from labelwright.data.batch import Batch, TensorData
from labelwright.nn import ConvNet, NetFactory, seeded
from labelwright.nn.compress import Compressed, CompressedClassifier
from labelwright.registry import Flaw, Have, Learner, Want, register
from labelwright.results import Learned
from labelwright.training import Fit, Prepared, Run, Step, evaluating, judge_labels, prepare, train
from labelwright.training.defaults import default_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labelwright.data import Dataset

__all__ = ["NestedDropout", "best_channels", "bias_variance", "channel_features", "sweep_channels"]

CHANNEL_PRICE = 1e-5  # a channel more must bring more than this share of accuracy; breaks ties towards fewer
SWEEP_VALUES = 16_000_000  # logits held at once by the sweep: 64 MB in float32


def sweep_channels(features: Sequence[Tensor], weights: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Accuracy with the first K channels for every K, float64 (D,); several networks are averaged by logits.

    `features`: one (N, D) a network; `weights`: one (C, D) a network; `labels`: int64 (N,), unknown ones (-1)
    do not count. Cumulative sums over channels, O(N D C) work and bounded memory, where scoring each K anew
    would take O(N D^2 C).
    """
    for z, w in zip(features, weights, strict=True):
        check.same_length(features=z, labels=labels)
        check.same_length(**{"channels of the features": z[0] if len(z) else w[0], "channels of the weights": w[0]})
    known = labels >= 0
    labels = labels[known]
    n, (num_classes, dim) = len(labels), weights[0].shape
    rows = max(1, min(n, SWEEP_VALUES // num_classes))
    hits = torch.zeros(dim, dtype=torch.float64)
    for start in range(0, n, rows):
        y = labels[start : start + rows]
        parts = [z[known][start : start + rows] for z in features]
        logits = torch.zeros(len(y), num_classes, device=parts[0].device)
        width = max(1, SWEEP_VALUES // max(1, len(y) * num_classes))
        for a in range(0, dim, width):
            terms = [z[:, a : a + width, None] * w.T[None, a : a + width] for z, w in zip(parts, weights, strict=True)]
            partial = logits[:, None] + torch.stack(terms).sum(0).cumsum(dim=1)
            hits[a : a + width] += (partial.argmax(2) == y[:, None]).sum(0).double().cpu()
            logits = partial[:, -1]
    return hits / max(n, 1)


def best_channels(accuracies: Tensor) -> int:
    """``argmax_K [acc(K) - 1e-5 (K - 1)]``, counted from 1; ties go to fewer channels."""
    price = CHANNEL_PRICE * torch.arange(len(accuracies), dtype=torch.float64)
    return int((accuracies - price).argmax()) + 1


def bias_variance(truth: Tensor, decoders: Tensor, masses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms of Theorem 1 for one input: KL(p || qbar), E_z KL(qbar || q(.|z)), H(p).

    `truth`: p(y|x), (C,); `decoders`: q(y|z) for each mask z, (M, C); `masses`: q(z|x), (M,). Their sum is
    the expected cross entropy; qbar is the normalised geometric mean of the decoders.
    """
    log_q = decoders.log()
    mean = (masses[:, None] * log_q).sum(0)
    log_bar = mean - mean.logsumexp(0)
    bar = log_bar.exp()
    bias = torch.special.xlogy(truth, truth).sum() - (truth * log_bar).sum()
    variance = (masses * (bar * (log_bar - log_q)).sum(1)).sum()
    entropy = -torch.special.xlogy(truth, truth).sum()
    return bias, variance, entropy


def channel_features(net: CompressedClassifier, inputs: Tensor, *, batch_size: int = 512) -> Tensor:
    """Uncompressed features of many inputs in evaluation mode, (N, D), on the network's device."""
    device = net.head.weight.device
    with evaluating(net):
        parts = [net.features(inputs[i : i + batch_size].to(device)) for i in range(0, len(inputs), batch_size)]
    return torch.cat(parts).clone()


def validate_channels(nets: Sequence[CompressedClassifier], val: TensorData) -> dict[str, float]:
    """Sweep all K on `val`, set each network's `keep` to K*, and return the score that chooses the epoch."""
    accuracies = sweep_channels(
        [channel_features(n, val.inputs) for n in nets], [n.head.weight.detach() for n in nets], val.labels.to(nets[0].keep.device)
    )
    nested = isinstance(nets[0].compress, nn.Module) and hasattr(nets[0].compress, "probs")
    chosen = best_channels(accuracies) if nested else nets[0].dim
    for net in nets:
        net.keep.fill_(chosen)
    accuracy = float(accuracies[chosen - 1])
    return {"val_score": accuracy - CHANNEL_PRICE * (chosen - 1), "val_accuracy": accuracy, "channels": float(chosen)}


def compressed_step(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[nn.Module, Batch], Step]:
    """One stage-1 step: a random mask, then the mean of the per-example `loss`, weighted by the examples' weights."""

    def step(net: nn.Module, batch: Batch) -> Step:
        logits = net.compressed(batch.inputs, batch.generator)  # type: ignore[operator]
        return Step((loss(logits, batch.labels) * batch.weights).mean())

    return step


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Per-example cross entropy, (B,)."""
    return F.cross_entropy(logits, labels, reduction="none")


def stage(fit: Fit, name: str, epochs: int, **changes: object) -> Fit:
    """The recipe of one stage: its share of the epochs, milestones in proportion, a checkpoint folder of its own."""
    folder = None if fit.checkpoint is None else str(Path(fit.checkpoint) / name)
    stops = tuple(round(m * epochs / fit.epochs) for m in fit.milestones)
    return replace(fit, epochs=epochs, milestones=stops, checkpoint=folder, **changes)  # type: ignore[arg-type]


def train_compressed(
    factory: Compressed,
    prepared: Prepared,
    data: TensorData,
    *,
    fit: Fit,
    seed: int,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    label: str = "nested dropout",
) -> tuple[CompressedClassifier, Run]:
    """Stage 1 for one network: fresh weights, masked training, K and the epoch chosen on validation."""
    with seeded(seed):
        net = factory(prepared.num_classes, prepared.input_shape)
    run = train(
        net,
        compressed_step(loss),
        data,
        fit=fit,
        seed=seed,
        val=prepared.val,
        validate=lambda _, v: validate_channels([net], v),
        label=label,
    )
    return net, run


@register(
    "nested-dropout",
    sheet="nested-coteaching",
    has=Have.CLASS_LABELS,
    flaw=Flaw.NOISE,
    gives=(Want.CLASSIFIER, Want.LABELS),
    paper="Chen et al. IEEE TNNLS 2022. arXiv:2206.13140",
)
@dataclass(frozen=True, kw_only=True)
class NestedDropout(Learner):
    """Nested dropout: order features by importance, keep only as many as the validation set supports."""

    compression: Literal["nested", "dropout"] = "nested"
    """Nested dropout, or ordinary dropout on the features (the paper's control)."""
    sigma: float = 0.0
    """Width of nested dropout, > 0; 0 = median k at twice the number of classes (42 for 10). Paper, 350 epochs: 10 for CIFAR-10, 100 for CIFAR-100."""
    rate: float = 0.3
    """Dropout rate in [0, 1) when compression is dropout. Paper: 0.3 for 10 classes, 0.7 for 100."""
    per_example: bool = False
    """Draw k for every example instead of once a batch (lower variance; not the paper's)."""
    hidden: int = 0
    """Width of an extra hidden layer with a second nested layer, trained alternately (the paper's VGG-19 recipe); 0 = none."""

    def __post_init__(self) -> None:
        self.factory(ConvNet())

    def factory(self, base: NetFactory) -> Compressed:
        """The compressed form of a network."""
        return Compressed(
            base=base, kind=self.compression, sigma=self.sigma, rate=self.rate, per_example=self.per_example, hidden=self.hidden
        )

    def learn(self, data: Dataset, net: NetFactory, *, val: Dataset | None = None, fit: Fit | None = None, seed: int) -> Learned:
        """Train one compressed network; see :class:`~labelwright.registry.Learner`."""
        prepared = prepare(data, val, seed=seed)
        factory = self.factory(net)
        fit = default_fit(prepared) if fit is None else fit
        trained, run = train_compressed(factory, prepared, prepared.train, fit=fit, seed=seed)
        facts = {
            "channels": int(trained.keep),
            "of_channels": trained.dim,
            "validation": "given" if val is not None else "held-out noisy split",
        }
        labels, scores = judge_labels(trained, prepared)
        return Learned.of(
            self, data, prepared, factory=factory, run=run, seed=seed, fit=fit, labels=labels, label_scores=scores, facts=facts
        )
