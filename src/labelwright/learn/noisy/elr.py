"""Early-learning regularisation (ELR): train on noisy labels without memorising them.

Reference: Liu, Niles-Weed, Razavian, Fernandez-Granda. Early-Learning Regularization Prevents
Memorization of Noisy Labels. NeurIPS 2020. arXiv:2007.00151.

    t_i <- beta t_i + (1 - beta) q_i / sum_c q_ic      q_i = clamp(softmax(f(x_i)), EPS, 1 - EPS); no gradient through t
    L    = mean_i [ -log p_i[y_i] + lam log(1 - <q_i, t_i>) ]

The target is updated *before* the loss is formed, from the first step on. L falls far below zero
(to about lam log EPS); that is normal. Needs hard labels, some of them wrong, and stable example
indices; no clean subset, no noise rate. Differs from the paper: the clamp and the renormalisation
inside t, which the authors' code has and the paper has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelwright import check
from labelwright.nn import seeded
from labelwright.registry import Flaw, Have, Learner, Want, register
from labelwright.results import Learned
from labelwright.training import Batch, Step, default_fit, predict_logits, prepare, train
from labelwright.training.memory import ExampleTable

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.nn import NetFactory
    from labelwright.training import Fit

__all__ = ["ELR", "ELRLoss", "elr_gradient", "elr_losses", "elr_penalty", "next_target", "verdict", "wrongness"]

Storage = Literal["float32", "float16", "topk"]
TOP = 16  # entries a row keeps under storage "topk"; pays off above 32 classes
DENSE = 2048  # batches up to this size are searched for repeated indices by comparing all pairs: no wait for the device
EPS = 1e-4  # <p, t> tends to 1 late in training; without a floor log(1 - <p, t>) is -inf


def elr_penalty(probs_NC: Tensor, target_NC: Tensor) -> Tensor:
    """``log(1 - <p_i, t_i>)`` of each example: (N,), in [log EPS, 0]. Rows of both: non-negative, summing to at most 1."""
    check.same_shape(probs=probs_NC, target=target_NC)
    return torch.log1p(-(probs_NC * target_NC).sum(1).clamp(max=1 - EPS))


def elr_gradient(probs_NC: Tensor, target_NC: Tensor) -> Tensor:
    """Gradient of :func:`elr_penalty` in the logits, (N, C): ``g_c = p_c (<p, t> - t_c) / (1 - <p, t>)`` (Lemma 2); rows sum to 0.

    The dominant class of the target has a negative component: its logit is pushed up, against a wrong label.
    """
    check.same_shape(probs=probs_NC, target=target_NC)
    agree = (probs_NC * target_NC).sum(1, keepdim=True)
    return probs_NC * (agree - target_NC) / (1 - agree)


def clamped(probs_NC: Tensor) -> Tensor:
    """Probabilities kept off 0 and 1 by EPS; the gradient of entries beyond is zero, as in the authors' code."""
    return probs_NC.clamp(EPS, 1 - EPS)


def next_target(target_NC: Tensor, probs_NC: Tensor, *, beta: float) -> Tensor:
    """``beta t + (1 - beta) p / sum p``, detached. After m visits with one p, t = (1 - beta^m) p: there is no bias correction,
    renormalising would strengthen the penalty of early epochs."""
    check.same_shape(target=target_NC, probs=probs_NC)
    probs_NC = probs_NC.detach()
    return beta * target_NC + (1 - beta) * probs_NC / probs_NC.sum(1, keepdim=True)


def elr_losses(logits_NC: Tensor, labels_N: Tensor, target_NC: Tensor, *, lam: float) -> Tensor:
    """``CE(f(x_i), y_i) + lam log(1 - <q_i, t_i>)`` of each example, (N,); `target_NC` is a constant."""
    losses = F.cross_entropy(logits_NC, labels_N, reduction="none")
    if lam == 0:
        return losses
    return losses + lam * elr_penalty(clamped(logits_NC.softmax(1)), target_NC.detach())


def wrongness(target_NC: Tensor, labels_N: Tensor) -> Tensor:
    """How far the strongest other class stands above the given one, mapped to [0, 1]: ``(1 + max_{c != y} t_c - t_y) / 2``.

    Above 1/2 exactly where argmax t != y, and there it ranks by the paper's margin t_argmax - t_y; below, it ranks the
    trusted labels too. 0 where the label is unknown (-1): nothing was given that could be wrong.
    """
    known = labels_N >= 0
    place = labels_N.clamp(min=0)[:, None]
    own = target_NC.gather(1, place)[:, 0]
    other = target_NC.scatter(1, place, -1.0).amax(1)
    return torch.where(known, ((1 + other - own) / 2).clamp(0, 1), torch.zeros_like(own))


class TargetTable(nn.Module):
    """Running targets (N, C) at rest, addressed by dataset row: float32, float16, or the TOP largest entries of each row
    (what is left out counts as 0, so a row then sums to less than 1 - beta^m)."""

    def __init__(self, num_examples: int, num_classes: int, *, storage: Storage = "float32") -> None:
        super().__init__()
        check.one_of("storage", storage, ("float32", "float16", "topk"))
        check.integer("num_classes", num_classes, low=2)
        self.num_classes = num_classes
        self.kept = min(TOP, num_classes) if storage == "topk" else 0
        # a sparse row is [values, classes]: class numbers are exact in float32 up to 2^24
        dtype = torch.float16 if storage == "float16" else torch.float32
        self.table = ExampleTable(num_examples, 2 * self.kept or num_classes, dtype=dtype)

    def _dense(self, rows: Tensor) -> Tensor:
        if not self.kept:
            return rows.float()
        values, classes = rows[:, : self.kept], rows[:, self.kept :].long()
        # an untouched row holds class 0 several times, with value 0: adding keeps that harmless
        return torch.zeros(len(rows), self.num_classes, device=rows.device).scatter_add_(1, classes, values)

    def read(self, index: Tensor) -> Tensor:
        """Targets float32 (B, C) at `index` (B,)."""
        return self._dense(self.table.read(index))

    def update(self, index: Tensor, probs: Tensor, *, beta: float) -> Tensor:
        """:func:`next_target` of the rows `index` (B,) for predictions (B, C): stored and given back, in the precision of `probs`.

        An index that occurs more than once gets the mean of its updates.
        """
        with torch.autocast(probs.device.type, enabled=False):
            targets = merged(index, next_target(self.read(index).to(probs.dtype), probs, beta=beta))
        if self.kept:
            values, classes = targets.topk(self.kept, dim=1)
            self.table.write(index, torch.cat([values, classes.to(values.dtype)], dim=1))
        else:
            self.table.write(index, targets)
        return targets

    @property
    def targets(self) -> Tensor:
        """All rows, float32 (N, C)."""
        return self._dense(self.table.values)


def merged(index: Tensor, rows: Tensor) -> Tensor:
    """`rows` (B, C) with the rows of equal `index` (B,) replaced by their mean; those of an index that occurs once stay bit-equal."""
    if len(index) <= DENSE:
        same = (index[:, None] == index[None, :]).to(rows.dtype)
        return (same @ rows) / same.sum(1, keepdim=True)
    found, place, count = index.unique(return_inverse=True, return_counts=True)
    total = torch.zeros(len(found), rows.shape[1], dtype=rows.dtype, device=rows.device).index_add_(0, place, rows)
    return (total / count[:, None])[place]


class ELRLoss(nn.Module):
    """The loss as a drop-in module: ``ELRLoss(num_examples, num_classes)(logits, labels, index) -> loss``.

    It holds one running target per example, addressed by a stable dataset index; its ``state_dict`` contains
    them. Each call in training mode updates the targets of `index` and then forms the loss; in evaluation mode the
    targets stay. Arithmetic is float32 (or float64 for float64 logits) also under mixed precision; `storage`
    is only how targets rest in memory. An index that occurs twice in a batch gets the mean of its updates.
    """

    def __init__(
        self,
        num_examples: int,
        num_classes: int,
        beta: float = 0.7,
        lam: float = 3.0,
        *,
        storage: Storage = "float32",
    ) -> None:
        super().__init__()
        check.in_range("beta", beta, low=0, high=1, closed="left")
        check.in_range("lam", lam, low=0)
        self.beta, self.lam = beta, lam
        self.table = TargetTable(num_examples, num_classes, storage=storage)

    def losses(self, logits: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Loss of each example (B,): logits (B, C), labels int64 (B,), index int64 (B,). Updates the targets in training mode."""
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits if logits.dtype == torch.float64 else logits.float()
            if self.training:
                target = self.table.update(index, clamped(logits.detach().softmax(1)), beta=self.beta)
            else:
                target = self.table.read(index).to(logits.dtype)
            return elr_losses(logits, labels, target, lam=self.lam)

    def forward(self, logits: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Mean loss of a batch."""
        return self.losses(logits, labels, index).mean()

    @property
    def targets(self) -> Tensor:
        """Running targets float32 (N, C); rows sum to 1 - beta^m after m visits, zeros where never visited."""
        return self.table.targets

    def corrected_labels(self) -> Tensor:
        """argmax of each target, int64 (N,); -1 where the example was never visited. Read it after convergence."""
        targets = self.targets
        return torch.where(targets.sum(1) > 0, targets.argmax(1), -1)

    def suspects(self, labels: Tensor) -> Tensor:
        """Examples whose target names another class than `labels` (N,): bool (N,); never true where unvisited or unknown (-1)."""
        corrected = self.corrected_labels()
        check.same_shape(labels=labels, targets=corrected)
        return (corrected != labels) & (corrected >= 0) & (labels >= 0)


def verdict(targets_NC: Tensor, probs_NC: Tensor, given_N: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Corrected labels int64 (N,) and :func:`wrongness` float (N,) of all rows: from the running target where there is one,
    else from `probs_NC`, the trained network's own prediction (rows held out for validation or without a label: out-of-sample)."""
    visited = targets_NC.sum(1, keepdim=True) > 0
    belief = torch.where(visited, targets_NC, probs_NC)
    return belief.argmax(1).numpy(), wrongness(belief, given_N).double().numpy()


def provenance_of(targets_NC: Tensor) -> str:
    """Where corrected labels and scores come from, in words for the facts of a result."""
    unvisited = int((targets_NC.sum(1) == 0).sum())
    return (
        f"running targets of the training rows; the final network's out-of-sample prediction for {unvisited:,} rows it was not trained on"
    )


@register(
    "elr",
    sheet="elr",
    has=Have.CLASS_LABELS,
    flaw=Flaw.NOISE,
    gives=(Want.CLASSIFIER, Want.LABELS, Want.FINDINGS),
    paper="Liu et al., Early-Learning Regularization Prevents Memorization of Noisy Labels, NeurIPS 2020, arXiv:2007.00151",
)
@dataclass(frozen=True, kw_only=True)
class ELR(Learner):
    """Early-learning regularisation: trains on wrong labels without memorising them; tune `lam` first.

    ``labels`` of the result are argmax of each row's running target, ``label_scores`` rank the given labels by how far
    the target stands above them (above 1/2: suspected wrong). Rows never visited in training (validation rows,
    rows without a label) get the final network's own prediction.
    """

    lam: float = 3.0
    """Weight of the penalty, >= 0. Paper: 3 for symmetric noise and web images, 1 for asymmetric noise, 7 for 100 classes; tried 1 to 10."""
    beta: float = 0.7
    """Momentum of the running target, in [0, 1). Paper: 0.7 for symmetric noise, 0.9 for asymmetric noise and 100 classes; tried 0.5 to 0.99."""
    storage: Literal["float32", "float16", "topk"] = "float32"
    """How targets rest in memory: float32, float16 (half), topk (the largest entries only; for thousands of classes)."""

    def __post_init__(self) -> None:
        check.in_range("lam", self.lam, low=0)
        check.in_range("beta", self.beta, low=0, high=1, closed="left")
        check.one_of("storage", self.storage, ("float32", "float16", "topk"))

    def learn(self, data: Dataset, net: NetFactory, *, val: Dataset | None = None, fit: Fit | None = None, seed: int) -> Learned:
        prepared = prepare(data, val, seed=seed)
        fit = default_fit(prepared) if fit is None else fit
        with seeded(seed):
            model = net(prepared.num_classes, prepared.input_shape)
        memory = ELRLoss(len(data), prepared.num_classes, self.beta, self.lam, storage=self.storage)

        def step(live: nn.Module, batch: Batch) -> Step:
            losses = memory.losses(live(batch.inputs), batch.labels, batch.index)
            return Step((losses * batch.weights).mean())

        run = train(model, step, prepared.train, fit=fit, seed=seed, val=prepared.val, memory=memory, label="elr")
        probs = predict_logits(run.net, prepared.inputs).softmax(1)
        targets = memory.targets.cpu()
        labels, scores = verdict(targets, probs, prepared.labels)
        facts = {"label_scores": provenance_of(targets)}
        return Learned.of(self, data, prepared, factory=net, run=run, fit=fit, labels=labels, label_scores=scores, seed=seed, facts=facts)
