"""ELR+: early-learning regularisation with two networks that teach each other, mixup and weight averaging.

Reference: Liu, Niles-Weed, Razavian, Fernandez-Granda. Early-Learning Regularization Prevents
Memorization of Noisy Labels. NeurIPS 2020, section 5 and appendix. arXiv:2007.00151.

Each epoch runs over the data once for each network k in {1, 2}; o is the other one, fbar its averaged copy:

    x~, y~  = mixup of the batch with share l' = max(l, 1 - l), l ~ Beta(alpha, alpha), and one permutation j
    t_k,i  <- beta t_k,i + (1 - beta) softmax(fbar_o(x_i))          on the inputs before mixing, no gradient
    t~_i    = l' t_k,i + (1 - l') t_k,j(i)
    L       = mean_i [ CE(f_k(x~_i), y~_i) + w(s) lam log(1 - <q(x~_i), t~_i>) ]
    fbar_k <- a(s) fbar_k + (1 - a(s)) f_k                          s = steps of network k so far

and the prediction averages the logits of f_1 and f_2. Differs from the authors' code: one validation
split and one label vector for both networks (theirs draws both twice, so one network's validation images are in the
other's training set); averaged copies start from a copy of their network, not from other random weights,
and by default predict in evaluation mode with averaged BatchNorm statistics (``batchnorm="recompute"``: with
the statistics of the batch, as theirs do).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelwright import check
from labelwright.data.augment import Mixup, blend
from labelwright.data.batch import steps_in
from labelwright.learn.noisy.elr import Storage, TargetTable, clamped, elr_penalty, provenance_of, verdict
from labelwright.nn import Ensemble, EnsembleNet, seeded
from labelwright.nn.ema import Decay, WeightAverage, early_ramp, recompute_batchnorm, sigmoid_ramp
from labelwright.nn.losses import soft_cross_entropy
from labelwright.registry import Flaw, Have, Learner, Want, register
from labelwright.results import Learned
from labelwright.training import Batch, Step, default_fit, predict_logits, prepare, train

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.nn import NetFactory
    from labelwright.training import Fit

__all__ = ["ELRPlus", "PeerTargets", "Peers", "own_step", "peer_step", "penalty_weight", "refined_labels"]

PolicyBN = Literal["average", "recompute"]


def penalty_weight(step: int, ramp: int) -> float:
    """w(s): ``exp(-5 (1 - s / S)^2)`` for s < S = `ramp`, then 1; 1 throughout for a ramp of 0."""
    return 1.0 if step >= ramp else math.exp(-5 * (1 - step / ramp) ** 2)


def refined_labels(mixed_NC: Tensor, target_NC: Tensor) -> Tensor:
    """Mixed labels re-weighted by the targets, ``y~_c t~_c / sum_c' y~_c' t~_c'`` (the paper's option for 100 classes); a row whose
    target gives its labels no mass stays as it is."""
    product = mixed_NC * target_NC
    mass = product.sum(1, keepdim=True)
    return torch.where(mass > 0, product / mass.clamp(min=torch.finfo(mass.dtype).tiny), mixed_NC)


def own_step(step: int, per_pass: int) -> tuple[int, int]:
    """Which of two networks makes the run's step number `step` (from 0), and how many steps it has made before."""
    epoch, inside = divmod(step, 2 * per_pass)
    net, number = divmod(inside, per_pass)
    return net, epoch * per_pass + number


class Peers(nn.Module):
    """Two networks and their averaged copies. Called like a network, it predicts with the pair that was asked for."""

    def __init__(self, nets: EnsembleNet, *, decay: Decay, batchnorm: PolicyBN, averaged: bool) -> None:
        super().__init__()
        self.nets = nets
        self.averages = nn.ModuleList(WeightAverage(net, decay=decay, buffers=batchnorm) for net in nets.members)
        self.batchnorm, self.averaged = batchnorm, averaged

    def train(self, mode: bool = True) -> Peers:
        """Training mode for the networks; averaged copies stay in evaluation mode, but for BatchNorm under ``recompute``."""
        super().train(mode)
        self.averages.eval()
        if mode and self.batchnorm == "recompute":
            for module in self.averages.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C), the mean of both networks or of both averaged copies."""
        if self.averaged:
            return torch.stack([average(x) for average in self.averages]).mean(0)
        logits: Tensor = self.nets(x)
        return logits

    @torch.no_grad()
    def taught(self, pupil: int, x: Tensor) -> Tensor:
        """What the averaged copy of the *other* network predicts, float32 (B, C): the target source of network `pupil`."""
        return self.averages[1 - pupil](x).float().softmax(1)

    def follow(self, net: int, step: int) -> None:
        """Move the averaged copy of network `net` after its own step number `step`."""
        average = self.averages[net]
        average.update(self.nets.members[net], step)  # type: ignore[operator]

    def kept(self) -> EnsembleNet:
        """The pair that predicts, alone."""
        return EnsembleNet(average.net for average in self.averages) if self.averaged else self.nets  # type: ignore[misc]


class PeerTargets(nn.Module):
    """One table of running targets a network."""

    def __init__(self, num_examples: int, num_classes: int, *, storage: Storage) -> None:
        super().__init__()
        self.tables = nn.ModuleList(TargetTable(num_examples, num_classes, storage=storage) for _ in range(2))

    def update(self, net: int, index: Tensor, probs: Tensor, *, beta: float) -> Tensor:
        """New targets (B, C) of network `net` at the rows `index`."""
        targets: Tensor = self.tables[net].update(index, probs, beta=beta)  # type: ignore[operator]
        return targets

    @property
    def targets(self) -> Tensor:
        """Mean of both tables, float32 (N, C)."""
        return torch.stack([table.targets for table in self.tables]).mean(0)  # type: ignore[misc]


def peer_step(peers: Peers, memory: PeerTargets, batch: Batch, *, method: ELRPlus, step: int) -> Tensor:
    """Loss of each example (B,) in one step of network ``batch.stream``, its own step number `step`; updates its targets."""
    net = batch.stream
    target = memory.update(net, batch.index, peers.taught(net, batch.inputs), beta=method.beta)
    inputs, weights = batch.inputs, batch.weights
    labels = F.one_hot(batch.labels, target.shape[1]).to(target)
    if method.mixup:
        mixup = Mixup(alpha=method.mixup, dominant=True)
        draws = mixup.draw(inputs.shape, batch.generator)
        inputs = mixup.apply(inputs, draws)
        labels, target, weights = blend(labels, draws), blend(target, draws), blend(weights, draws)
    if method.relabel:
        labels = refined_labels(labels, target)
    logits = peers.nets(inputs, member=net)
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float()
        penalty = elr_penalty(clamped(logits.softmax(1)), target)
        return (soft_cross_entropy(logits, labels) + penalty_weight(step, method.penalty_ramp) * method.lam * penalty) * weights


@register(
    "elr-plus",
    sheet="elr",
    has=Have.CLASS_LABELS,
    flaw=Flaw.NOISE,
    gives=(Want.CLASSIFIER, Want.LABELS, Want.FINDINGS),
    paper="Liu et al., Early-Learning Regularization Prevents Memorization of Noisy Labels, NeurIPS 2020, arXiv:2007.00151",
)
@dataclass(frozen=True, kw_only=True)
class ELRPlus(Learner):
    """ELR with two networks that exchange targets, mixup and weight averaging; costs about three times ELR, tune `lam` first.

    ``labels`` and ``label_scores`` are read as in ELR, from the mean of both networks' running targets.
    """

    lam: float = 3.0
    """Weight of the penalty, >= 0. Paper: 3 for symmetric noise and web images, 1 for asymmetric noise, 7 for 100 classes."""
    beta: float = 0.7
    """Momentum of the running target, in [0, 1). Paper: 0.7 for symmetric noise and web images, 0.9 for asymmetric noise and 100 classes."""
    mixup: float = 1.0
    """Alpha of the Beta distribution of mixup shares; 0 = no mixup. Paper: 1, WebVision 1.5."""
    gamma: float = 0.997
    """Momentum of the weight averages, in [0, 1). Paper: 0.997, Clothing1M 0.9999."""
    average_ramp: int = 0
    """Steps over which that momentum grows as gamma exp(-5 (1 - s / S)^2), 40000 for CIFAR in the paper; 0 = min(1 - 1 / (s + 1), gamma)."""
    penalty_ramp: int = 0
    """Steps over which the penalty grows to its weight as exp(-5 (1 - s / S)^2), 40000 for 100 classes in the paper; 0 = none."""
    relabel: bool = False
    """Re-weight mixed labels by the targets (the paper does for 100 classes)."""
    predict_with: Literal["nets", "averages"] = "nets"
    """Which pair predicts, validates and is returned: the trained networks or their averaged copies."""
    batchnorm: Literal["average", "recompute"] = "average"
    """BatchNorm of the averaged copies: averaged statistics, or those of the batch in training and recomputed at the end."""
    storage: Literal["float32", "float16", "topk"] = "float32"
    """How targets rest in memory: float32, float16 (half), topk (the largest entries only; for thousands of classes)."""

    def __post_init__(self) -> None:
        check.in_range("lam", self.lam, low=0)
        check.in_range("beta", self.beta, low=0, high=1, closed="left")
        check.in_range("mixup", self.mixup, low=0)
        check.in_range("gamma", self.gamma, low=0, high=1, closed="left")
        check.integer("average_ramp", self.average_ramp, low=0)
        check.integer("penalty_ramp", self.penalty_ramp, low=0)
        check.one_of("predict_with", self.predict_with, ("nets", "averages"))
        check.one_of("batchnorm", self.batchnorm, ("average", "recompute"))
        check.one_of("storage", self.storage, ("float32", "float16", "topk"))

    def learn(self, data: Dataset, net: NetFactory, *, val: Dataset | None = None, fit: Fit | None = None, seed: int) -> Learned:
        prepared = prepare(data, val, seed=seed)
        fit = default_fit(prepared) if fit is None else fit
        rows = prepared.train
        factory = Ensemble(base=net, size=2)
        with seeded(seed):
            nets = factory(prepared.num_classes, prepared.input_shape)
        decay = sigmoid_ramp(self.gamma, self.average_ramp) if self.average_ramp else early_ramp(self.gamma)
        peers = Peers(nets, decay=decay, batchnorm=self.batchnorm, averaged=self.predict_with == "averages")
        memory = PeerTargets(len(data), prepared.num_classes, storage=self.storage)
        per_pass = steps_in(len(rows), fit.batch_size, drop_last=fit.drop_last)

        def step(live: nn.Module, batch: Batch) -> Step:
            losses = peer_step(peers, memory, batch, method=self, step=own_step(batch.step, per_pass)[1])
            return Step(losses.mean())

        def follow(live: nn.Module, number: int) -> None:
            peers.follow(*own_step(number, per_pass))

        run = train(peers, step, rows, fit=fit, seed=seed, val=prepared.val, memory=memory, streams=2, on_step=follow, label="elr-plus")
        kept = peers.kept()
        if self.batchnorm == "recompute" and self.predict_with == "averages":
            recompute_batchnorm(kept, _chunks(rows.inputs, fit.batch_size, next(kept.parameters()).device))
        kept.eval()
        probs = predict_logits(kept, prepared.inputs).softmax(1)
        targets = memory.targets.cpu()
        labels, scores = verdict(targets, probs, prepared.labels)
        facts = {"label_scores": provenance_of(targets)}
        return Learned.of(
            self, data, prepared, factory=factory, net=kept, run=run, fit=fit, labels=labels, label_scores=scores, seed=seed, facts=facts
        )


def _chunks(inputs: Tensor, size: int, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size].to(device)
