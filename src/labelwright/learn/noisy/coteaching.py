"""Co-teaching, plain and with compressed features: two networks, each taught what the other finds clean.

References: Han et al. Co-teaching. NeurIPS 2018. arXiv:1804.06872. Chen, Hu, Shen, Ai, Suykens. Compressing
Features for Learning with Noisy Labels. IEEE TNNLS 2022. arXiv:2206.13140.

    forget(e) = tau min(e / T_k, 1);  T_k = 0: tau at once
    net 1 keeps the floor((1 - forget) b) smallest losses of its half, net 2 of its own;
    net 1 is updated on what net 2 kept, net 2 on what net 1 kept

Nested co-teaching first trains both networks alone with nested dropout, then fine-tunes them so, ranking
in evaluation mode under the fixed mask m_{K*} and updating under one random mask shared by both, with
BatchNorm frozen. Prediction averages the two networks' logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.data.batch import Batch, TensorData, epoch_order
from labelwright.errors import InputError
from labelwright.learn.noisy.nested_dropout import cross_entropy, stage, train_compressed, validate_channels
from labelwright.nn import ConvNet, NetFactory, seeded
from labelwright.nn.compress import Compressed, CompressedClassifier
from labelwright.nn.ensembles import Ensemble, EnsembleNet
from labelwright.nn.modes import freeze_batchnorm
from labelwright.registry import Flaw, Have, Learner, Want, register
from labelwright.results import Learned
from labelwright.training import Fit, Run, Step, judge_labels, prepare, train
from labelwright.training.defaults import default_fit

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.training.engine import Engine

__all__ = ["CoTeaching", "NestedCoTeaching", "SmallLossLog", "exchange_step", "forget_rate", "keep_smallest"]

PerExampleLoss = Callable[[Tensor, Tensor], Tensor]


def forget_rate(epoch: int, *, tau: float, ramp: int) -> float:
    """Share of a batch that is left out in `epoch` (from 0): grows linearly to `tau` over `ramp` epochs, at once when ramp is 0."""
    return tau if ramp == 0 else tau * min(epoch / ramp, 1.0)


def remember_count(size: int, forget: float) -> int:
    """``floor((1 - forget) size)``, at least one example."""
    # 1 - 0.2 = 0.8 exactly, but (1 - 0.3) * 10 = 6.999…: the guard keeps floor honest
    return max(1, floor((1 - forget) * size + 1e-9))


def keep_smallest(losses: Tensor, forget: float) -> Tensor:
    """Positions of the :func:`remember_count` smallest losses."""
    return losses.topk(remember_count(len(losses), forget), largest=False, sorted=False).indices


class SmallLossLog(nn.Module):
    """Which examples each network kept in the last epoch: `seen` and `kept` (2, N), addressed by dataset row."""

    seen: Tensor
    kept: Tensor
    epoch: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(2, size, dtype=torch.bool))
        self.register_buffer("kept", torch.zeros(2, size, dtype=torch.bool))
        self.register_buffer("epoch", torch.tensor(-1))

    def record(self, net: int, epoch: int, index: Tensor, kept: Tensor) -> None:
        """Net number `net` saw the rows `index` and kept those at positions `kept`."""
        if int(self.epoch) != epoch:
            self.seen.zero_()
            self.kept.zero_()
            self.epoch.fill_(epoch)
        self.seen[net, index] = True
        self.kept[net, index[kept]] = True

    @torch.no_grad()
    def sync(self, engine: Engine) -> None:
        """Bring together what each process saw."""
        for part in (self.seen, self.kept):
            part.copy_(engine.sum(part.float()) > 0)

    def precision(self, clean: np.ndarray) -> float:
        """Share of truly clean examples among those kept in the last epoch; `clean`: bool (N,)."""
        kept = self.kept.cpu().numpy()
        return float((kept & np.asarray(clean)[None]).sum() / max(kept.sum(), 1))


def exchange_step(
    log: SmallLossLog,
    *,
    tau: float,
    ramp: int,
    split_batch: bool,
    loss: PerExampleLoss = cross_entropy,
) -> Callable[[nn.Module, Batch], Step]:
    """One co-teaching step of an :class:`Ensemble` of two.

    With `split_batch`, each network ranks its own half; otherwise both rank the whole batch. Compressed
    networks rank in evaluation mode under their fixed mask and are updated under one random mask.
    """

    def rank(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            if isinstance(net, CompressedClassifier):
                modes = [(m, m.training) for m in net.modules()]
                net.eval()
                losses = loss(net(x), y)
                for module, training in modes:
                    module.training = training
                return losses
            return loss(net(x), y)

    def step(pair: nn.Module, batch: Batch) -> Step:
        one, two = pair.get_submodule("members").children()
        b = len(batch)
        halves = (slice(0, b // 2), slice(b // 2, b)) if split_batch and b > 1 else (slice(0, b), slice(0, b))
        forget = forget_rate(batch.epoch, tau=tau, ramp=ramp)
        chosen = []
        for number, (net, half) in enumerate(zip((one, two), halves, strict=True)):
            kept = keep_smallest(rank(net, batch.inputs[half], batch.labels[half]), forget)
            log.record(number, batch.epoch, batch.index[half], kept)
            chosen.append(torch.arange(half.start, half.stop, device=kept.device)[kept])
        draw = one.draw(batch.generator) if isinstance(one, CompressedClassifier) else None
        total = torch.zeros((), device=batch.inputs.device)
        for net, rows in ((one, chosen[1]), (two, chosen[0])):  # each learns from what the PEER kept
            x, y = batch.inputs[rows], batch.labels[rows]
            logits = net.compressed(x, batch.generator, draw=draw) if isinstance(net, CompressedClassifier) else net(x)
            total = total + (loss(logits, y) * batch.weights[rows]).mean()
        return Step(total, {"forget": torch.tensor(forget)})

    return step


def balanced_rows(data: TensorData, *, seed: int) -> Tensor:
    """Rows of a random class-balanced subset: every class cut to the size of the rarest one."""
    order = epoch_order(len(data), seed=seed, epoch=0).to(data.labels.device)
    labels = data.labels[order]
    size = int(torch.bincount(labels).clamp_min(1).min()) if len(labels) else 0
    rows = [order[labels == c][:size] for c in labels.unique().tolist()]
    return torch.cat(rows).sort().values


def _check_pair(tau: float, ramp: int) -> None:
    check.in_range("forget_rate", tau, low=0, high=1, closed="left")
    check.integer("ramp_epochs", ramp, low=0)


@register(
    "co-teaching",
    sheet="nested-coteaching",
    has=Have.CLASS_LABELS,
    flaw=Flaw.NOISE,
    gives=(Want.CLASSIFIER, Want.LABELS),
    paper="Han et al. NeurIPS 2018. arXiv:1804.06872",
)
@dataclass(frozen=True, kw_only=True)
class CoTeaching(Learner):
    """Co-teaching: two networks exchange the examples whose loss is small."""

    forget_rate: float = 0.2
    """Share of each batch left out, in [0, 1): an estimate of the noise rate (`labelwright audit` gives one)."""
    ramp_epochs: int = 10
    """Epochs over which the share grows from 0; 0 = at once."""
    split_batch: bool = False
    """Each network ranks half of a batch; the classic method shows both the whole batch."""

    def __post_init__(self) -> None:
        _check_pair(self.forget_rate, self.ramp_epochs)

    def learn(self, data: Dataset, net: NetFactory, *, val: Dataset | None = None, fit: Fit | None = None, seed: int) -> Learned:
        """Train both networks from scratch; see :class:`~labelwright.registry.Learner`."""
        prepared = prepare(data, val, seed=seed)
        fit = default_fit(prepared) if fit is None else fit
        factory = Ensemble(base=net, size=2)
        with seeded(seed):
            pair = factory(prepared.num_classes, prepared.input_shape)
        log = SmallLossLog(prepared.train.size)
        step = exchange_step(log, tau=self.forget_rate, ramp=self.ramp_epochs, split_batch=self.split_batch)
        run = train(pair, step, prepared.train, fit=fit, seed=seed, val=prepared.val, memory=log, label="co-teaching")
        facts = {"forget_rate": self.forget_rate, "validation": "given" if val is not None else "held-out noisy split"}
        labels, scores = judge_labels(pair, prepared)
        return Learned.of(
            self, data, prepared, factory=factory, run=run, seed=seed, fit=fit, labels=labels, label_scores=scores, facts=facts
        )


@register(
    "nested-coteaching",
    sheet="nested-coteaching",
    has=Have.CLASS_LABELS,
    flaw=Flaw.NOISE,
    gives=(Want.CLASSIFIER, Want.LABELS),
    paper="Chen et al. IEEE TNNLS 2022. arXiv:2206.13140",
)
@dataclass(frozen=True, kw_only=True)
class NestedCoTeaching(Learner):
    """Nested co-teaching: compress the features of two networks, then let them exchange small-loss examples."""

    compression: Literal["nested", "dropout", "none"] = "nested"
    """Nested dropout, ordinary feature dropout, or none (the control)."""
    sigma: float = 0.0
    """Width of nested dropout, > 0; 0 = median k at twice the number of classes (42 for 10). Paper, 350 epochs: 10 for CIFAR-10, 100 for CIFAR-100."""
    rate: float = 0.3
    """Dropout rate in [0, 1) when compression is dropout."""
    hidden: int = 0
    """Width of an extra hidden layer with a second nested layer, trained alternately; 0 = none."""
    forget_rate: float = 0.2
    """Share of each half batch left out, in [0, 1). Paper: 0.2; 0.3 for Clothing1M. Better: the estimated noise rate."""
    ramp_epochs: int = 0
    """Epochs of stage 2 over which the share grows from 0; paper: 0, at once."""
    split_batch: bool = True
    """Each network ranks its own half of a batch (the paper's), or both rank all of it."""
    finetune: float = 0.25
    """Share of the epochs spent in stage 2, in (0, 1). Paper: 100 of 450."""
    finetune_lr: float = 0.1
    """Learning rate of stage 2 as a share of stage 1's. Paper: 0.1 from pretrained weights, 0.01 after 350 epochs from scratch."""
    balanced: bool = False
    """Stage 1 trains each network on its own random class-balanced subset (the paper's Clothing1M recipe)."""

    def __post_init__(self) -> None:
        _check_pair(self.forget_rate, self.ramp_epochs)
        check.in_range("finetune", self.finetune, low=0, high=1, closed="neither")
        check.in_range("finetune_lr", self.finetune_lr, low=0, closed="neither")
        self.compress(ConvNet())

    def compress(self, base: NetFactory) -> Compressed:
        """The compressed form of a network."""
        return Compressed(base=base, kind=self.compression, sigma=self.sigma, rate=self.rate, hidden=self.hidden)

    def learn(self, data: Dataset, net: NetFactory, *, val: Dataset | None = None, fit: Fit | None = None, seed: int) -> Learned:
        """Stage 1 for each network, then stage 2 for both; see :class:`~labelwright.registry.Learner`."""
        prepared = prepare(data, val, seed=seed)
        fit = default_fit(prepared) if fit is None else fit
        if fit.epochs < 2:
            raise InputError("nested-coteaching has two stages and needs at least 2 epochs; got 1.")
        second = min(fit.epochs - 1, max(1, round(self.finetune * fit.epochs)))
        alone = self.compress(net)
        factory = Ensemble(base=alone, size=2)
        members: list[CompressedClassifier] = []
        runs: list[Run] = []
        for number in range(2):
            own = 2 * seed + number
            rows = balanced_rows(prepared.train, seed=own) if self.balanced else torch.arange(len(prepared.train))
            recipe = stage(fit, f"stage1-net{number + 1}", fit.epochs - second)
            member, run = train_compressed(
                alone, prepared, prepared.train.take(rows), fit=recipe, seed=own, label=f"stage 1, net {number + 1}"
            )
            members.append(member)
            runs.append(run)
        pair = EnsembleNet(members)
        if prepared.val is not None:
            validate_channels(members, prepared.val)
        log = SmallLossLog(prepared.train.size)
        step = exchange_step(log, tau=self.forget_rate, ramp=self.ramp_epochs, split_batch=self.split_batch)
        lr = fit.lr * self.finetune_lr
        recipe = stage(fit, "stage2", second, lr=lr, min_lr=min(fit.min_lr, lr), warmup=0)
        run = train(
            pair,
            step,
            prepared.train,
            fit=recipe,
            seed=seed,
            val=prepared.val,
            memory=log,
            validate=lambda _, v: validate_channels(members, v),
            mode=freeze_batchnorm,
            label="stage 2",
        )
        facts = {
            "channels": int(members[0].keep),
            "of_channels": members[0].dim,
            "forget_rate": self.forget_rate,
            "epochs_by_stage": [fit.epochs - second, second],
            "validation": "given" if val is not None else "held-out noisy split",
        }
        labels, scores = judge_labels(pair, prepared)
        every = [*runs, run]
        return Learned.of(
            self, data, prepared, factory=factory, run=every, seed=seed, fit=fit, labels=labels, label_scores=scores, facts=facts
        )
