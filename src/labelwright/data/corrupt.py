"""Imperfect labels from perfect ones, with the truth kept: what benchmarks and tests of every method start from.

Each function takes a dataset and returns ``(dataset, truth)``: the corrupted dataset, and a :class:`Truth` with the
clean labels and a mask of what was changed, both in the rows of the returned dataset. Labels that were unknown
before stay unknown and do not count. Everything is a function of `seed`.

Sources of the variants: symmetric inclusive noise and the CIFAR maps, Liu et al. (arXiv:2007.00151) after Patrini et al.
(arXiv:1609.03683), whose MNIST map serves for digits; exclusive noise with an exact count in each class, Chen et al.
(arXiv:2206.13140); instance-dependent noise, Xia et al. (arXiv:2006.07836); exponential long tails, Cui et al.
(arXiv:1901.05555).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from labelwright import check
from labelwright.data.dataset import Dataset
from labelwright.errors import InputError
from labelwright.labels import (
    UNKNOWN,
    BagProportions,
    Boxes,
    ClassLabels,
    Labels,
    Masks,
    MultiLabels,
    Points,
    SoftLabels,
    Spans,
    Targets,
    Votes,
)
from labelwright.labels.base import positions

__all__ = [
    "CIFAR10_MAP",
    "DIGITS_MAP",
    "Truth",
    "asymmetric",
    "bags",
    "cyclic_map",
    "drop",
    "instance_dependent",
    "long_tail",
    "partial",
    "points",
    "positive_only",
    "random_partners",
    "symmetric",
    "transition",
    "weak_tags",
]

CIFAR10_MAP = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}
DIGITS_MAP = {"2": "7", "3": "8", "5": "6", "6": "5", "7": "1"}
BLOCK = 5  # consecutive classes among which CIFAR-100's noise goes round: the size of its superclasses
RATE_SPREAD = 0.1  # deviation of the noise rate between instances (Xia et al., section 4.1)


class Truth(NamedTuple):
    """`labels`: the clean labels of the returned rows. `changed`: bool (N,), whether the row's label is no longer the clean one."""

    labels: Labels
    changed: np.ndarray

    @property
    def rate(self) -> float:
        """Share of rows that changed."""
        return float(self.changed.mean()) if len(self.changed) else 0.0


def _changed(data: Dataset, clean: ClassLabels, values: np.ndarray) -> tuple[Dataset, Truth]:
    return data.with_labels(ClassLabels(values=values, names=clean.names)), Truth(clean, values != clean.values)


def _open(data: Dataset, clean: ClassLabels, rows: Any) -> np.ndarray:
    """Which labels may change: bool (N,), the known ones among `rows` (bool (N,) or positions; all without it)."""
    if rows is None:
        return clean.known
    mask = np.zeros(len(clean), dtype=bool)
    mask[positions(rows, len(data))] = True
    return mask & clean.known


def _chosen(labels: ClassLabels, rate: float, may: np.ndarray, *, per_class: bool, rng: np.random.Generator) -> np.ndarray:
    """Positions of the labels to change: round(rate n) of those that `may`, or floor(rate n_c) of each class c. Ascending."""
    known = np.flatnonzero(may)
    if not per_class:
        return np.sort(rng.permutation(known)[: round(rate * len(known))])
    order = rng.permutation(known)
    order = order[np.argsort(labels.values[order], kind="stable")]
    counts = np.bincount(labels.values[known], minlength=labels.num_classes)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    # 0.7 * 10 is 7.000000000000001 below in floating point: a hair is added before the floor
    return np.sort(order[rank < np.repeat(np.floor(rate * counts + 1e-9), counts)])


def symmetric(
    data: Dataset,
    rate: float,
    *,
    seed: int,
    variant: Literal["exclusive", "inclusive"] = "exclusive",
    per_class: bool = False,
    rows: Any = None,
) -> tuple[Dataset, Truth]:
    """Labels replaced by random ones.

    Parameters
    ----------
    rate
        Share of labels drawn anew, in [0, 1].
    variant
        ``exclusive``: among the other C - 1 classes, so that exactly this share is wrong. ``inclusive``: among all C, so
        that about rate (C - 1) / C is wrong.
    per_class
        Draw anew exactly floor(rate n_c) labels of each class, else round(rate N) overall.
    rows
        bool (N,) or positions: only these labels change, and the shares are of them (the training nodes of a graph).
    """
    check.in_range("rate", rate, low=0, high=1)
    check.one_of("variant", variant, ("exclusive", "inclusive"))
    clean, rng = data.class_labels(), np.random.default_rng(seed)
    at, values = _chosen(clean, rate, _open(data, clean, rows), per_class=per_class, rng=rng), clean.values.copy()
    if variant == "inclusive":
        values[at] = rng.integers(clean.num_classes, size=len(at))
    else:
        values[at] = (values[at] + rng.integers(1, clean.num_classes, size=len(at))) % clean.num_classes
    return _changed(data, clean, values)


def cyclic_map(names: Sequence[str], block: int = BLOCK) -> dict[str, str]:
    """Each class to the next one within consecutive blocks of `block` classes, the last of a block to its first."""
    check.integer("block", block, low=2)
    if len(names) % block:
        raise InputError(f"{len(names)} classes do not divide into blocks of {block}.")
    return {str(n): str(names[j // block * block + (j + 1) % block]) for j, n in enumerate(names)}


def random_partners(names: Sequence[str], *, seed: int) -> dict[str, str]:
    """Each class to one other class, drawn at random, as noise on graphs is customary: several may share a partner."""
    if len(names) < 2:
        raise InputError(f"Partners need at least two classes; got {len(names)}.")
    step = np.random.default_rng(seed).integers(1, len(names), size=len(names))
    return {str(n): str(names[(j + int(step[j])) % len(names)]) for j, n in enumerate(names)}


def _known_map(names: Sequence[str]) -> Mapping[str, str]:
    if set(CIFAR10_MAP) | set(CIFAR10_MAP.values()) <= set(names) and len(names) == 10:
        return CIFAR10_MAP
    if list(names) == [str(d) for d in range(10)]:
        return DIGITS_MAP
    if len(names) == 100:
        return cyclic_map(names)
    raise InputError(
        f"There is no customary map of confusions for {len(names)} classes like {list(names)[:3]}.", hint="Pass mapping={'cat': 'dog', …}."
    )


def asymmetric(
    data: Dataset, rate: float, *, seed: int, mapping: Mapping[str, str] | None = None, per_class: bool = False, rows: Any = None
) -> tuple[Dataset, Truth]:
    """Labels of some classes replaced by one class each that they are mistaken for; other classes untouched.

    Parameters
    ----------
    rate
        Probability that a label of a mapped class changes, in [0, 1].
    mapping
        Class name → class name. Default: the customary map of CIFAR-10, of digits, or of 100 classes (:func:`cyclic_map`);
        :func:`random_partners` draws one.
    per_class
        Change exactly floor(rate n_c) labels of each mapped class, else each with probability `rate`.
    rows
        bool (N,) or positions: only these labels change.
    """
    check.in_range("rate", rate, low=0, high=1)
    clean = data.class_labels()
    mapping = _known_map(clean.names) if mapping is None else mapping
    place = {n: j for j, n in enumerate(clean.names)}
    target = np.arange(clean.num_classes)
    for source, goal in mapping.items():
        for word in (source, goal):
            check.known_word("class", str(word), clean.names, place="the labels")
        target[place[str(source)]] = place[str(goal)]
    rng, values = np.random.default_rng(seed), clean.values.copy()
    may = _open(data, clean, rows)
    by_chance = np.flatnonzero((rng.random(len(clean)) < rate) & may)
    at = _chosen(clean, rate, may, per_class=True, rng=rng) if per_class else by_chance
    values[at] = target[values[at]]
    return _changed(data, clean, values)


def _draw(probs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One class a row of (N, C) probabilities."""
    cumulative = probs.cumsum(1)
    # rounding may leave the last sum below 1; scaling the draw keeps it inside
    return (rng.random((len(probs), 1)) * cumulative[:, -1:] >= cumulative).sum(1).clip(max=probs.shape[1] - 1)


def transition(data: Dataset, matrix: Any, *, seed: int) -> tuple[Dataset, Truth]:
    """Each label c replaced by j with probability ``matrix[c, j]``.

    Parameters
    ----------
    matrix
        Float (C, C), rows on the simplex.
    """
    clean = data.class_labels()
    matrix = np.asarray(matrix, dtype=np.float64)
    check.probabilities("transition matrix", matrix, num_classes=clean.num_classes)
    if matrix.shape[0] != clean.num_classes:
        raise InputError(f"transition matrix must have shape ({clean.num_classes}, {clean.num_classes}); got {matrix.shape}.")
    values = clean.values.copy()
    values[clean.known] = _draw(matrix[values[clean.known]], np.random.default_rng(seed))
    return _changed(data, clean, values)


def instance_dependent(data: Dataset, rate: float, *, seed: int, features: Any = None) -> tuple[Dataset, Truth]:
    """Noise that depends on the example: every example has its own rate and its own likely wrong classes (Xia et al. 2020, algorithm 2).

    With q_i ~ N(rate, 0.1²) truncated to [0, 1] and one random matrix W_c (D, C) a class, the label of example i of class c
    becomes j ≠ c with probability q_i softmax_{j ≠ c}(x_i W_c)_j. Differs from the paper: x is standardised and W has
    deviation 1/sqrt(D), so that the softmax does not saturate as D grows.

    Parameters
    ----------
    rate
        Mean noise rate, in [0, 1).
    features
        Float (N, D); default: the standardised inputs (:func:`labelwright.data.featurise.fit_featuriser`), flattened.
    """
    from scipy.stats import truncnorm

    check.in_range("rate", rate, low=0, high=1, closed="left")
    clean, rng = data.class_labels(), np.random.default_rng(seed)
    if features is None:
        from labelwright.data.featurise import fit_featuriser

        features = fit_featuriser(data, seed=seed).transform(data).flatten(1).numpy()
    x = np.asarray(features, dtype=np.float64)
    check.same_length(features=x, examples=data)
    ends = (0 - rate) / RATE_SPREAD, (1 - rate) / RATE_SPREAD
    q = truncnorm.rvs(*ends, loc=rate, scale=RATE_SPREAD, size=len(data), random_state=rng) if rate else np.zeros(len(data))
    values, width = clean.values.copy(), clean.num_classes
    for c in range(width):
        weights = rng.standard_normal((x.shape[1], width)) / np.sqrt(x.shape[1])
        rows = np.flatnonzero(clean.values == c)
        logits = x[rows] @ weights
        logits[:, c] = -np.inf
        probs = np.exp(logits - logits.max(1, keepdims=True))
        probs *= q[rows, None] / probs.sum(1, keepdims=True)
        probs[:, c] = 1 - q[rows]
        values[rows] = _draw(probs, rng)
    return _changed(data, clean, values)


def _blank(labels: Labels, lost: np.ndarray) -> Labels:
    """The same labels, unknown where `lost` (N,) is True."""
    from dataclasses import replace

    if isinstance(labels, Masks):
        return Masks(masks=[None if gone else m for m, gone in zip(labels.masks, lost, strict=True)], names=labels.names)
    if isinstance(labels, (ClassLabels, MultiLabels, Votes, BagProportions)):
        return replace(labels, values=np.where(lost if labels.values.ndim == 1 else lost[:, None], UNKNOWN, labels.values))
    if isinstance(labels, (SoftLabels, Targets)):
        return replace(labels, values=np.where(lost[:, None], np.nan, labels.values))
    # ragged kinds: marks of an unseen example would be a contradiction, so they go too
    kept = labels.take(np.flatnonzero(~lost))
    lengths = np.zeros(len(labels), dtype=np.int64)
    lengths[~lost] = np.diff(kept.offsets)  # type: ignore[attr-defined]
    return replace(kept, offsets=np.concatenate([[0], np.cumsum(lengths)]), seen=labels.known & ~lost)  # type: ignore[call-arg]


def drop(data: Dataset, rate: float, *, seed: int, stratify: bool = True) -> tuple[Dataset, Truth]:
    """Labels made unknown: of any kind, whole rows.

    Parameters
    ----------
    rate
        Share of the known labels that are lost, in [0, 1).
    stratify
        Lose floor(rate n_c) of each class (class labels only), so that no class disappears; else round(rate N) overall.
    """
    check.in_range("rate", rate, low=0, high=1, closed="left")
    clean, rng = data.require_labels(Labels), np.random.default_rng(seed)
    if stratify and isinstance(clean, ClassLabels):
        at = _chosen(clean, rate, clean.known, per_class=True, rng=rng)
    else:
        known = np.flatnonzero(data.known)
        at = rng.permutation(known)[: round(rate * len(known))]
    lost = np.zeros(len(data), dtype=bool)
    lost[at] = True
    return data.with_labels(_blank(clean, lost)), Truth(clean, lost)


def partial(data: Dataset, rate: float, *, seed: int) -> tuple[Dataset, Truth]:
    """Multi-labels with exactly round(rate M) of their M known cells made unknown, present and absent alike."""
    check.in_range("rate", rate, low=0, high=1, closed="left")
    clean = data.require_labels(MultiLabels)
    cells = np.flatnonzero(clean.known.reshape(-1))
    lost = np.zeros(clean.values.size, dtype=bool)
    lost[np.random.default_rng(seed).permutation(cells)[: round(rate * len(cells))]] = True
    values = np.where(lost.reshape(clean.values.shape), np.int8(UNKNOWN), clean.values)
    return data.with_labels(MultiLabels(values=values, names=clean.names)), Truth(clean, (values != clean.values).any(1))


def positive_only(data: Dataset, *, seed: int, single: bool = False) -> tuple[Dataset, Truth]:
    """Multi-labels of which only presence is recorded: absent cells become unknown.

    Parameters
    ----------
    single
        Keep one present class a row, drawn at random; the others become unknown too.
    """
    clean = data.require_labels(MultiLabels)
    present = clean.values == 1
    if single:
        # the largest of independent draws among the present cells is a uniform choice
        draws = np.where(present, np.random.default_rng(seed).random(present.shape), -1.0)
        present = present & (draws == draws.max(1, keepdims=True))
    values = np.where(present, 1, UNKNOWN).astype(np.int8)
    return data.with_labels(MultiLabels(values=values, names=clean.names)), Truth(clean, (values != clean.values).any(1))


def long_tail(data: Dataset, ratio: float, *, seed: int) -> tuple[Dataset, Truth]:
    """A subset whose class sizes fall exponentially, from the first class to the last.

    Class c of C keeps max(1, floor(n ratio^(-c / (C - 1)))) examples, n being the size of the smallest class, so the first
    is `ratio` times as large as the last. Labels stay clean; rows without a label are kept.
    """
    check.in_range("ratio", ratio, low=1)
    clean, rng = data.class_labels(), np.random.default_rng(seed)
    counts = clean.counts()
    if (counts == 0).any():
        raise InputError(f"Class {clean.names[int(counts.argmin())]!r} has no example; a long tail needs all.")
    sizes = np.floor(counts.min() * ratio ** (-np.arange(len(counts)) / (len(counts) - 1)) + 1e-9).astype(np.int64).clip(min=1)
    order = rng.permutation(np.flatnonzero(clean.known))
    order = order[np.argsort(clean.values[order], kind="stable")]
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = np.sort(np.concatenate([order[rank < np.repeat(sizes, counts)], np.flatnonzero(~clean.known)]))
    made = data.take(kept)
    return made, Truth(made.require_labels(ClassLabels), np.zeros(len(kept), dtype=bool))


def bags(data: Dataset, size: int, *, seed: int) -> tuple[Dataset, Truth]:
    """Labels replaced by the class shares of random bags of `size` examples; the last bag takes what is left. All labels must be known."""
    check.integer("size", size, low=1)
    clean = data.class_labels(complete=True)
    n = len(clean)
    bag = np.empty(n, dtype=np.int64)
    count = max(1, n // size)
    bag[np.random.default_rng(seed).permutation(n)] = np.minimum(np.arange(n) // size, count - 1)
    table = np.zeros((count, clean.num_classes))
    np.add.at(table, (bag, clean.values), 1)
    labels = BagProportions(values=bag, proportions=table / table.sum(1, keepdims=True), names=clean.names)
    return data.with_labels(labels), Truth(clean, np.ones(n, dtype=bool))


def points(data: Dataset, *, seed: int, jitter: float = 0.0) -> tuple[Dataset, Truth]:
    """Boxes replaced by one point each.

    Parameters
    ----------
    jitter
        In [0, 1]: 0 gives the centre, 1 a point uniform over the (rotated) box, values between over a box shrunk by that factor.
    """
    check.in_range("jitter", jitter, low=0, high=1)
    clean = data.require_labels(Boxes)
    shift = (np.random.default_rng(seed).random((len(clean.boxes), 2)) - 0.5) * clean.boxes[:, 2:4] * jitter
    cos, sin = np.cos(clean.boxes[:, 4]), np.sin(clean.boxes[:, 4])
    turned = np.stack([cos * shift[:, 0] - sin * shift[:, 1], sin * shift[:, 0] + cos * shift[:, 1]], axis=1)
    labels = Points(points=clean.boxes[:, :2] + turned, classes=clean.classes, offsets=clean.offsets, seen=clean.seen, names=clean.names)
    return data.with_labels(labels), Truth(clean, np.diff(clean.offsets) > 0)


def weak_tags(data: Dataset, *, seed: int, miss: float = 0.0, extra: float = 0.0) -> tuple[Dataset, Truth]:
    """What occurs in an example, without where: spans, boxes, points, masks or class labels become multi-labels.

    Parameters
    ----------
    miss
        Probability that a present class is not tagged, in [0, 1].
    extra
        Probability that an absent class is tagged, in [0, 1].
    """
    check.in_range("miss", miss, low=0, high=1)
    check.in_range("extra", extra, low=0, high=1)
    clean = data.require_labels(Labels)
    values = np.zeros((len(clean), len(clean.names)), dtype=np.int8)
    if isinstance(clean, (Boxes, Points, Spans)):
        row = np.repeat(np.arange(len(clean)), np.diff(clean.offsets))
        named = clean.classes != UNKNOWN
        values[row[named], clean.classes[named]] = 1
    elif isinstance(clean, Masks):
        for i, mask in enumerate(clean.masks):
            if mask is not None:
                found = np.unique(mask)
                values[i, found[found != UNKNOWN]] = 1
    elif isinstance(clean, ClassLabels):
        values[np.flatnonzero(clean.known), clean.values[clean.known]] = 1
    else:
        raise InputError(f"Tags are made from spans, boxes, points, masks or class labels; the dataset has {clean.kind}.")
    rng = np.random.default_rng(seed)
    flip = rng.random(values.shape) < np.where(values == 1, miss, extra)
    tags = np.where(flip, 1 - values, values).astype(np.int8)
    tags[~clean.known] = UNKNOWN
    return data.with_labels(MultiLabels(values=tags, names=clean.names)), Truth(clean, flip.any(1) & clean.known)
