"""From prepared data to a cleaned dataset and a trained network: the five phases, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelwright import check
from labelwright.data.augment import VIEWS, Affine, ColourJitter, Compose, Mixup, Noise, View
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels
from labelwright.learn.noisy.cross_modal.anchors import AnchorSelector, TextEnhancer, random_anchors
from labelwright.learn.noisy.cross_modal.cleaning import CORRECTED, KEPT, REMOVED, clean_cells, clean_labels, masked_bce, positive_weights
from labelwright.learn.noisy.cross_modal.model import Believer, CrossModalNet
from labelwright.learn.noisy.cross_modal.steps import Plan, main_step, members_of, vanilla_step
from labelwright.learn.noisy.nested_dropout import stage
from labelwright.nn.losses import soft_cross_entropy
from labelwright.stats.metrics import mean_average_precision
from labelwright.training import Batch, Prepared, Run, Step, TensorData, predict_logits, train
from labelwright.training.loop import validation_accuracy

if TYPE_CHECKING:
    from labelwright.learn.noisy.cross_modal.method import CrossModalPrototypes
    from labelwright.training import Fit

__all__ = [
    "Epochs",
    "Verdicts",
    "choose_anchors",
    "clean",
    "epochs_of",
    "plan_of",
    "pretrain",
    "prototypes_and_cleaning",
    "strong_view",
    "tune",
    "validate",
]

ACTIONS = ("removed", "kept", "corrected")
MULTI_THRESHOLD, THRESHOLD = 0.9, 0.6
MULTI_NEIGHBOURS, NEIGHBOURS = 10, 5


@dataclass(frozen=True)
class Epochs:
    """Epochs of phases 0, 3 and 4, and those of phase 3 from which on the encoder is free, prototypes move, labels are cleaned."""

    vanilla: int
    main: int
    tune: int
    free: int
    move: int
    clean: int


def epochs_of(method: CrossModalPrototypes, total: int) -> Epochs:
    """`total` epochs by the method's shares; phases 0 and 3 get at least one.

    Raises
    ------
    InputError
        If there are fewer than two.
    """
    if total < 2:
        raise InputError(f"cross-modal-prototypes has two stages and needs at least 2 epochs; got {total}.")
    vanilla = min(total - 1, max(1, round(method.vanilla * total)))
    tuned = min(total - vanilla - 1, round(method.tune * total))
    main = total - vanilla - tuned
    free, move, clean = (round(share * main) for share in (method.freeze, method.settle, method.clean_after))
    return Epochs(vanilla, main, tuned, free, move, clean)


def strong_view(name: str, input_shape: tuple[int, ...]) -> View:
    """The strong view called `name`; ``auto`` is a turn, a stretch and other colours for images, and noise for everything else."""
    if name != "auto":
        check.known_word("strong", name, ["auto", "noise", *VIEWS], place="the views")
        if name != "noise" and len(input_shape) != 3:
            raise InputError(f"strong {name!r} is a view of images; the inputs have shape {input_shape}.", hint="Use auto or noise.")
        return Noise() if name == "noise" else VIEWS[name]
    return Compose((Affine(), ColourJitter())) if len(input_shape) == 3 else Noise()


def validate(net: nn.Module, val: TensorData) -> Mapping[str, float]:
    """Accuracy on class labels, mean average precision on cells: both against labels as noisy as the rest."""
    if val.labels.ndim == 1:
        return validation_accuracy(net, val)
    scores, cells = predict_logits(net, val.inputs).numpy(), val.labels.cpu().numpy()
    value = mean_average_precision(np.where(np.isnan(cells), -1, cells), scores).value
    return {"val_map": 0.0 if np.isnan(value) else value}


def pretrain(method: CrossModalPrototypes, net: CrossModalNet, prepared: Prepared, *, plan: Plan, fit: Fit, epochs: int, seed: int) -> Run:
    """Phase 0: all parts on the labels as they are."""
    recipe = stage(fit, "vanilla", epochs)
    follow = lambda live, number: net.follow(number)  # noqa: E731
    return train(
        net, vanilla_step(method, plan), prepared.train, fit=recipe, seed=seed, val=prepared.val, on_step=follow, validate=validate,
        label="vanilla training",
    )  # fmt: skip


def choose_anchors(
    method: CrossModalPrototypes,
    prepared: Prepared,
    features: np.ndarray,
    side: tuple[np.ndarray, np.ndarray] | None,
    *,
    seed: int,
) -> np.ndarray:
    """Phases 1 and 2: bool (N,) or (N, C) over all rows; only training rows are chosen, but texts of all rows help.

    `side`: unit vectors of examples and classes; None for random anchors.
    """
    values = torch.where(prepared.labels.isnan(), -1, prepared.labels) if prepared.labels.ndim == 2 else prepared.labels
    trained = np.full(tuple(values.shape), -1, dtype=np.int64)
    rows = prepared.train.index.numpy()
    trained[rows] = values.numpy().astype(np.int64)[rows]
    if side is None:
        return random_anchors(trained, method.anchors, num_classes=prepared.num_classes, seed=seed)
    text, class_text = side
    ranking: dict[str, Any] = {"k1": method.k1, "k2": method.k2, "lam": method.rerank_lambda}
    if method.enhance:
        k = method.neighbours or (MULTI_NEIGHBOURS if trained.ndim == 2 else NEIGHBOURS)
        enhancer = TextEnhancer(
            neighbours=k, rerank=method.rerank, self_weight=method.self_weight, equal=method.edges == "equal", **ranking
        )
        text = enhancer.fit_transform(features, text)
    return AnchorSelector(count=method.anchors, **ranking).select(text, class_text, trained)


def prototypes_and_cleaning(
    method: CrossModalPrototypes, net: CrossModalNet, prepared: Prepared, *, plan: Plan, fit: Fit, epochs: int, seed: int
) -> Run:
    """Phase 3: prototypes start from the anchors' keys; then the one loop."""
    rows = prepared.train
    anchors = plan.anchors[rows.index]
    chosen = anchors if anchors.ndim == 1 else anchors.any(1)
    keys = F.normalize(predict_logits(net.keys, rows.inputs[chosen]), dim=1).to(net.prototypes.device)
    labels = rows.labels[chosen]
    if anchors.ndim == 2:  # only the trusted cells of an anchor speak
        labels = torch.where(anchors[chosen], labels, torch.full_like(labels, float("nan")))
    members = members_of(labels, torch.ones(len(labels), dtype=torch.bool), prepared.num_classes)
    net.start_prototypes(keys, members.to(keys.device))
    net.queue.clear()
    follow = lambda live, number: net.follow(number)  # noqa: E731
    return train(
        net, main_step(method, plan), rows, fit=stage(fit, "main", epochs), seed=seed, val=prepared.val, on_step=follow, validate=validate,
        label="prototypes",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What became of every row of the dataset: new `labels` (unknown where removed), `scores` (N,) how likely the given label is wrong,
    further `columns` of the table, `targets` for the last phase (-1 or NaN where nothing is to be learned), and how many of each `action`."""

    labels: ClassLabels | MultiLabels
    scores: np.ndarray
    columns: dict[str, np.ndarray]
    targets: Tensor
    counts: dict[str, int]


def clean(net: CrossModalNet, prepared: Prepared, *, anchors: Tensor, threshold: float) -> Verdicts:
    """Phase 4, first half: the noise removal of phase 3 over the whole dataset, rows without a label included."""
    belief = predict_logits(Believer(net), prepared.inputs)
    given, names = prepared.labels, prepared.names
    if given.ndim == 2:
        return _clean_multi(belief, given, anchors, threshold=threshold, names=names)
    labels, fate = clean_labels(belief, given, anchors, threshold=threshold)
    known = given >= 0
    own = belief.gather(1, given.clamp_min(0)[:, None])[:, 0]
    actions = np.array(ACTIONS, dtype=object)[fate.numpy()]
    actions[(~known & (fate == CORRECTED)).numpy()] = "labelled"
    actions[(~known & (fate == REMOVED)).numpy()] = "unlabelled"
    targets = torch.where(fate == REMOVED, -1, labels)
    columns = {
        "given": ClassLabels(values=given.numpy(), names=names).words(),
        "action": actions,
        "anchor": anchors.numpy(),
        "confidence": belief.amax(1).double().numpy(),
    }
    return Verdicts(
        labels=ClassLabels(values=targets.numpy(), names=names),
        scores=torch.where(known, 1 - own, torch.zeros(())).double().numpy(),
        columns=columns,
        targets=targets,
        counts=_counts(actions),
    )


def _clean_multi(belief: Tensor, given: Tensor, anchors: Tensor, *, threshold: float, names: tuple[str, ...]) -> Verdicts:
    cells = clean_cells(belief, given, anchors, threshold=threshold)
    known, ignored = ~given.isnan(), cells.isnan()
    doubt = torch.where(known, torch.where(given == 1, 1 - belief, belief), torch.zeros(()))
    added, dropped = (cells == 1) & (given != 1), (cells == 0) & (given == 1)
    changed = added.any(1) | dropped.any(1) | ((cells == 0) & ~known).any(1)
    actions = np.array(ACTIONS, dtype=object)[torch.where(ignored.all(1), REMOVED, torch.where(changed, CORRECTED, KEPT)).numpy()]
    none = ~known.any(1).numpy()
    actions[none] = np.where(actions[none] == "removed", "unlabelled", "labelled")
    table = np.array(names, dtype=object)
    columns = {
        "given": _joined(given == 1, table),
        "action": actions,
        "added": _joined(added, table),
        "dropped": _joined(dropped, table),
        "ignored": _joined(ignored, table),
        "anchor": anchors.any(1).numpy(),
    }
    values = torch.where(ignored, -1, cells).to(torch.int8).numpy()
    return Verdicts(
        labels=MultiLabels(values=values, names=names),
        scores=doubt.amax(1).double().numpy(),
        columns=columns,
        targets=cells,
        counts=_counts(actions)
        | {"cells_added": int(added.sum()), "cells_dropped": int(dropped.sum()), "cells_ignored": int(ignored.sum())},
    )


def _joined(mask: Tensor, names: np.ndarray) -> np.ndarray:
    """Names of the marked classes of each row, joined by "; "."""
    return np.array(["; ".join(names[row]) for row in mask.numpy()], dtype=object)


def _counts(actions: np.ndarray) -> dict[str, int]:
    found, counts = np.unique(actions.astype(str), return_counts=True)
    return dict.fromkeys(("kept", "corrected", "removed"), 0) | dict(zip(found.tolist(), counts.tolist(), strict=True))


def tune(
    method: CrossModalPrototypes, net: CrossModalNet, prepared: Prepared, targets: Tensor, *, plan: Plan, fit: Fit, epochs: int, seed: int
) -> Run | None:
    """Phase 4, second half: the classifier alone on the cleaned labels of the training rows; None where there is nothing to do.

    The encoder is frozen, so its features are made once; mixup mixes those.
    """
    rows = prepared.train
    cleaned = targets[rows.index]
    usable = cleaned >= 0 if cleaned.ndim == 1 else ~cleaned.isnan().all(1)
    if not epochs or not usable.any():
        return None
    features = lambda part: replace(part, inputs=predict_logits(net.encoder, part.inputs))  # noqa: E731
    data = features(replace(rows, labels=cleaned).take(usable))
    val = None if prepared.val is None else features(prepared.val)
    loss = _tuning_loss(prepared.num_classes, plan.positive)
    mixup = Mixup(alpha=method.mixup) if method.mixup else None

    def step(live: nn.Module, batch: Batch) -> Step:
        cells = F.one_hot(batch.labels, prepared.num_classes).float() if batch.labels.ndim == 1 else batch.labels
        inputs = batch.inputs
        if mixup is not None:
            mixed = mixup(inputs, cells, batch.generator)
            inputs, cells = mixed.inputs, mixed.targets  # a mixture with an ignored cell is NaN there: ignored
        return Step((loss(live(inputs).float(), cells) * batch.weights).mean())

    lr = method.tune_lr
    recipe = stage(fit, "tune", epochs, lr=lr, min_lr=min(fit.min_lr, lr), warmup=0, augment=None)
    return train(net.classifier, step, data, fit=recipe, seed=seed, val=val, validate=validate, label="classifier")


def _tuning_loss(num_classes: int, positive: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    if positive is None:
        return soft_cross_entropy
    return lambda logits, cells: masked_bce(logits, cells, positive.to(logits.device))


def plan_of(method: CrossModalPrototypes, prepared: Prepared, epochs: Epochs, anchors: np.ndarray | None = None) -> Plan:
    """The plan of the steps; without `anchors`, one for phase 0."""
    multi = prepared.labels.ndim == 2
    given: Any = np.zeros(tuple(prepared.labels.shape), dtype=bool) if anchors is None else anchors
    return Plan(
        strong=strong_view(method.strong, prepared.input_shape),
        anchors=torch.from_numpy(given),
        positive=positive_weights(prepared.train.labels) if multi else None,
        free=epochs.free,
        move=epochs.move,
        clean=epochs.clean,
        threshold=(MULTI_THRESHOLD if multi else THRESHOLD) if method.threshold is None else method.threshold,
    )
