"""The steps of phases 0 and 3: one batch in, one loss out; a step knows its epoch from the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelwright.learn.noisy.cross_modal.cleaning import (
    CORRECTED,
    KEPT,
    REMOVED,
    beliefs,
    bootstrap,
    clean_cells,
    clean_labels,
    masked_bce,
    prototype_logits,
    soft_targets,
)
from labelwright.learn.noisy.cross_modal.model import CrossModalNet
from labelwright.training import Batch, Step

if TYPE_CHECKING:
    from labelwright.data.augment import View
    from labelwright.learn.noisy.cross_modal.method import CrossModalPrototypes

__all__ = ["Plan", "main_step", "members_of", "vanilla_step"]

StepFunction = Callable[[nn.Module, Batch], Step]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the steps need beside the method's settings: the `strong` view, `anchors` bool (N,) or (N, C) by dataset row, weights of
    positives (C,) for cells (None for classes), the epochs of phase 3 from which on the encoder is `free`, prototypes `move`, labels are
    cleaned (`clean`), and the `threshold` of a correction."""

    strong: View
    anchors: Tensor
    positive: Tensor | None
    free: int
    move: int
    clean: int
    threshold: float


def members_of(labels: Tensor, kept: Tensor, num_classes: int) -> Tensor:
    """Which prototypes each example belongs to: bool (B, C) for class indices, (B, C, 2) for cells (absent, present; neither for NaN)."""
    if labels.ndim == 1:
        return F.one_hot(labels.clamp_min(0), num_classes).bool() & (kept & (labels >= 0))[:, None]
    return torch.stack([labels == 0, labels == 1], dim=2) & kept[:, None, None]


def mean_over(losses: Tensor, weights: Tensor, kept: Tensor) -> Tensor:
    """Weighted mean of the losses (B,) of kept examples; 0 if there are none. Where the weights have mean 1, so has the result's scale."""
    losses = torch.where(kept, losses, torch.zeros_like(losses))  # a loss that is not finite would leave NaN behind a weight of 0
    return (losses * weights).sum() / kept.sum().clamp_min(1)


def vanilla_step(method: CrossModalPrototypes, plan: Plan) -> StepFunction:
    """Phase 0: ``CE(F v, y) + w_inst L_inst + CE(A z, y) + w_rec |r(z) - v|^2``, all labels as they are."""

    def step(net: nn.Module, batch: Batch) -> Step:
        live = _own(net)
        features = live.encoder(batch.inputs)
        embeddings = live.embed(features)
        keys = live.key(plan.strong(batch.clean, batch.generator))
        contrast = live.queue.contrast(embeddings, keys, temperature=live.temperature)
        live.remember(keys, labelled=False)
        logits, second = live.classifier(features).float(), live.auxiliary(embeddings)
        if live.multi:
            weights = _weights(plan, logits)
            losses = masked_bce(logits, batch.labels, weights) + masked_bce(second, batch.labels, weights)
        else:
            losses = F.cross_entropy(logits, batch.labels, reduction="none") + F.cross_entropy(second, batch.labels, reduction="none")
        losses = losses + method.instance_weight * contrast + method.rebuild_weight * rebuilt(live, embeddings, features)
        return Step((losses * batch.weights).mean())

    return step


def main_step(method: CrossModalPrototypes, plan: Plan) -> StepFunction:
    """Phase 3, in the order of the paper: keys, contrast, queue, bootstrapped targets, noise removal, prototypes, losses."""

    def step(net: nn.Module, batch: Batch) -> Step:
        live = _own(net)
        frozen = batch.epoch < plan.free
        live.encoder.train(live.training and not frozen)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            features = live.encoder(batch.inputs)
        embeddings, logits = live.embed(features), live.classifier(features).float()
        second = live.auxiliary(embeddings)
        keys = live.key(plan.strong(batch.clean, batch.generator))
        contrast = live.queue.contrast(embeddings, keys, temperature=live.temperature)
        live.remember(keys, labelled=True)
        if method.exact or batch.step % method.refresh == 0:
            live.refresh()
        soft = bootstrap(embeddings, live.queue.keys, live.queue.beside, live.queue.filled, multi=live.multi)
        labels, fate = _cleaned(live, plan, batch, logits.detach(), embeddings.detach())
        kept = fate != REMOVED
        moving = batch.epoch >= plan.move
        if moving:
            members = members_of(labels, kept, len(live.prototypes))
            live.move_prototypes(embeddings, members, momentum=method.prototype_momentum)
        near = prototype_logits(embeddings, live.prototypes, temperature=live.temperature)
        losses = method.instance_weight * contrast
        losses = losses + method.rebuild_weight * rebuilt(live, embeddings.detach() if moving else embeddings, features)
        if live.multi:
            weights = _weights(plan, logits)
            losses = losses + masked_bce(logits, labels, weights) + (1 - method.beta) * masked_bce(second, labels, weights)
            losses = losses + method.beta * masked_bce(second, soft, weights)
            if moving:
                losses = losses + method.prototype_weight * masked_bce(near, labels, weights.mean())
        else:
            losses = losses + F.cross_entropy(logits, labels, reduction="none") + soft_targets(second, labels, soft, beta=method.beta)
            if moving:
                losses = losses + method.prototype_weight * F.cross_entropy(near, labels, reduction="none")
        shares = {"kept": (fate == KEPT).float().mean(), "corrected": (fate == CORRECTED).float().mean()}
        return Step(mean_over(losses, batch.weights, kept), shares)

    return step


def rebuilt(live: CrossModalNet, embeddings: Tensor, features: Tensor) -> Tensor:
    """Mean squared error (B,) between r(z) and the features, which are constants."""
    return (live.reconstructor(embeddings).float() - features.detach().float()).square().mean(1)


def _cleaned(live: CrossModalNet, plan: Plan, batch: Batch, logits: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Labels of this step and what became of each example; untouched before the epoch of cleaning."""
    every = torch.full((len(batch),), KEPT, device=logits.device)
    if batch.epoch < plan.clean:
        return batch.labels, every
    belief = beliefs(logits, embeddings, live.prototypes, alpha=live.alpha, temperature=live.temperature)
    anchors = plan.anchors.to(logits.device)[batch.index]
    if not live.multi:
        return clean_labels(belief, batch.labels, anchors, threshold=plan.threshold)
    cells = clean_cells(belief, batch.labels, anchors, threshold=plan.threshold)
    changed = ((cells != batch.labels) & ~cells.isnan()).any(1)
    return cells, torch.where(cells.isnan().all(1), REMOVED, torch.where(changed, CORRECTED, every))


def _weights(plan: Plan, like: Tensor) -> Tensor:
    if plan.positive is None:
        raise TypeError("cells need weights of positives")
    return plan.positive.to(like.device)


def _own(net: nn.Module) -> CrossModalNet:
    if not isinstance(net, CrossModalNet):
        raise TypeError(f"a step of cross-modal prototypes trains a CrossModalNet, not a {type(net).__name__}")
    return net
