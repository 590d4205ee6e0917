"""Cross-modal prototypes (CAPro): web labels cleaned with the texts beside the inputs.

Reference: Qin, Chen, Shen, Fu, Gu, Li, Sun, Ji. CAPro: Webly Supervised Learning with Cross-Modality Aligned Prototypes.
NeurIPS 2023. arXiv:2310.09761; on MoPro (arXiv:2009.07995) and k-reciprocal re-ranking (Zhong et al. CVPR 2017).

    0  train encoder h, classifier F, projector g (z), auxiliary classifier A, reconstructor r on the labels as they are
    1  every text embedding becomes the mean of its visual neighbours':  s^ = A s
    2  anchors D_K: the K examples of a class whose s^ is nearest to its definition;  z^c = normalised mean of g(h_k(x)) over them
    3  each step, with keys z' of a slow copy in a queue:
         L_inst  = contrast of z with its key against the queue
         b       = sum_j w_j u_j over the queue,  u_j = a softmax(A z'_j) + (1 - a) softmax(z'_j . z^c / tau)
         o       = a softmax(F v) + (1 - a) softmax(z . z^c / tau)
         y^      = argmax o if max o >= threshold and x no anchor; else y if o_y >= 1 / C or x an anchor; else x is left out
         z^c    <- m z^c + (1 - m) z for the examples of class c
         L       = CE(F v, y^) + L_inst + (1 - beta) CE(A z, y^) + beta CE(A z, b) + |r(z) - v|^2 + CE(z . z^c / tau, y^)
    4  clean all labels by the rule of phase 3, then train F alone on them

Takes any inputs but graphs and any side information: texts (embedded by TF-IDF, a sentence encoder or a function), or vectors of your own.
Prediction needs the inputs alone. Differs from the authors' code: it runs in one process and in several; the encoder is frozen
for the first epochs of phase 3 and released by the same run; near neighbours weigh more than far ones (theirs take the
re-ranked distance as the weight); negative anchors of multi-labels come from the examples that do not bear the class; the
vanilla phase has no bootstrapped targets; layers of the heads are as wide as the features; the last phase mixes features,
not images; epochs are chosen on the noisy validation split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from labelwright import check
from labelwright.errors import InputError
from labelwright.learn.noisy.cross_modal.model import CrossModalNet
from labelwright.learn.noisy.cross_modal.phases import (
    choose_anchors,
    clean,
    epochs_of,
    plan_of,
    pretrain,
    prototypes_and_cleaning,
    strong_view,
    tune,
)
from labelwright.learn.noisy.cross_modal.texts import column_of, definitions_of, embedded, unit_rows, vectors_of
from labelwright.nn import join_head, seeded
from labelwright.registry import Flaw, Have, Learner, Want, register
from labelwright.results import Learned
from labelwright.training import default_fit, predict_logits, prepare

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.nn import NetFactory
    from labelwright.training import Fit, Prepared

__all__ = ["CrossModalPrototypes"]


@register(
    "cross-modal-prototypes",
    sheet="capro",
    has=(Have.CLASS_LABELS, Have.MULTI_LABELS),
    flaw=(Flaw.NOISE, Flaw.WEAK),
    gives=(Want.CLASSIFIER, Want.LABELS),
    paper="Qin et al., CAPro: Webly Supervised Learning with Cross-Modality Aligned Prototypes, NeurIPS 2023, arXiv:2310.09761",
)
@dataclass(frozen=True, kw_only=True)
class CrossModalPrototypes(Learner):
    """Cross-modal prototypes (CAPro): cleans web labels with the texts beside the inputs and a definition of each class.

    ``columns`` of the result (in ``examples.parquet``) say what became of each row: its ``given`` label, the ``action`` (kept,
    corrected, removed; rows without a label: labelled or unlabelled), whether it was an ``anchor``, and the ``confidence`` of the
    largest belief; with several labels an example, the classes ``added``, ``dropped`` and ``ignored``. ``labels`` are the new labels,
    unknown where removed; ``label_scores`` are 1 - o_y, in-sample for the rows it was trained on.
    """

    text_column: str | None = None
    """Column with the text of each example; gaps and empty texts are allowed. Default: text, else caption."""
    definitions: str | Mapping[str, Any] | None = None
    """What each class is: a CSV, TOML or JSON file from class to text (in Python also a mapping); with --side, .npy vectors, a row a class. Default: the class names."""
    side: str | None = None
    """File .npy of vectors (a row an example) in place of texts; needs definitions as .npy of the same width."""
    encoder: str | Callable[[list[str]], Any] = "tfidf"
    """Text encoder: tfidf (offline), or the id or folder of a sentence-transformers or Hugging Face model (extra hf); in Python also a function. Paper: all-MiniLM-L6-v2."""
    clean_text: bool = True
    """Reduce texts to their words first: no tags, addresses, digits or words of one or two letters."""
    enhance: bool = True
    """Replace each text by the mean of its visual neighbours' (phase 1)."""
    neighbours: int = 0
    """Visual neighbours of a text, k; 0 = 5, or 10 for multi-labels (the paper's)."""
    rerank: Literal["lists", "graph", "none"] = "lists"
    """Re-ranking of neighbours: within each list of 4 k candidates (the paper's), over all examples (cleaner), or none."""
    k1: int = 20
    """Neighbours of the reciprocal test of the re-ranking."""
    k2: int = 6
    """Neighbours over which the re-ranking averages."""
    rerank_lambda: float = 0.3
    """Weight of the plain distance in the re-ranking, in [0, 1]."""
    edges: Literal["similarity", "equal"] = "similarity"
    """Neighbours weigh 1 - distance, or the same."""
    self_weight: float = 0.0
    """Weight of the own text beside the neighbours' 1 in all. Paper: 0, the own text may be wrong."""
    anchors: int = 50
    """Trusted examples of each class (K); a class with fewer gives all it has. Below about a third of the smallest class it can be selective."""
    anchor_choice: Literal["text", "random"] = "text"
    """Anchors by their texts, or random ones (the control, which needs no texts)."""
    threshold: float | None = None
    """Belief from which on a label is corrected, in (0, 1]. Paper and default: 0.6, or 0.9 for multi-labels."""
    alpha: float = 0.5
    """Share of the classifier in a belief; the rest is the prototypes'."""
    beta: float = 0.1
    """Share of the bootstrapped target in the auxiliary loss, in [0, 1]."""
    tau: float = 0.1
    """Temperature of contrast and prototypes, > 0."""
    dim: int = 128
    """Width of the embeddings z."""
    queue: int = 8192
    """Keys remembered, cut to the number of training examples. Paper: 8192; NUS-WIDE 2048."""
    key_momentum: float = 0.999
    """Momentum of the copy that makes the keys, in [0, 1). Shorter runs want less: 0.99 for a thousand steps."""
    prototype_momentum: float = 0.999
    """Momentum of the prototypes, in [0, 1]."""
    vanilla: float = 0.45
    """Share of the epochs spent on phase 0, in (0, 1). Paper: 120 of 195, 120 of 260, 100 of 220."""
    tune: float = 0.1
    """Share of the epochs spent on phase 4, in [0, 1). Paper: 15 of 195 to 20 of 220."""
    freeze: float = 0.1
    """Share of phase 3 in which the encoder is frozen, in [0, 1). Paper: 5 of 60 to 10 of 100 epochs."""
    settle: float = 0.1
    """Share of phase 3 before prototypes move and their loss counts. Paper: 5 of 60 to 10 of 100."""
    clean_after: float = 0.2
    """Share of phase 3 before labels are cleaned. Paper: 10 of 60, 20 of 120, 40 of 100."""
    tune_lr: float = 1e-4
    """Learning rate of phase 4. Paper: 1e-4, a thousandth of the rate before; NUS-WIDE 2e-5."""
    mixup: float = 0.0
    """Alpha of mixup in phase 4; 0 = none. Paper: 0.8 on WebVision."""
    instance_weight: float = 1.0
    """Weight of the contrast, >= 0."""
    rebuild_weight: float = 1.0
    """Weight of the reconstruction, >= 0."""
    prototype_weight: float = 1.0
    """Weight of the prototype loss, >= 0."""
    strong: str = "auto"
    """Strong view that makes the keys: auto (a turn and other colours for images, noise for the rest), or a view's name; web-strong is the paper's, which mirrors. The weak view is --augment (paper: web-weak)."""
    exact: bool = False
    """Make the soft labels of the whole queue anew in every step, not only those of new keys."""
    refresh: int = 10
    """Steps between renewals of the whole queue's soft labels, unless exact."""

    def __post_init__(self) -> None:
        for name in ("self_weight", "mixup", "instance_weight", "rebuild_weight", "prototype_weight"):
            check.in_range(name, getattr(self, name), low=0)
        for name in ("alpha", "beta", "rerank_lambda", "prototype_momentum"):
            check.in_range(name, getattr(self, name), low=0, high=1)
        for name in ("key_momentum", "tune", "freeze", "settle", "clean_after"):
            check.in_range(name, getattr(self, name), low=0, high=1, closed="left")
        for name in ("anchors", "k1", "k2", "dim", "queue", "refresh"):
            check.integer(name, getattr(self, name), low=1)
        check.integer("neighbours", self.neighbours, low=0)
        check.in_range("vanilla", self.vanilla, low=0, high=1, closed="neither")
        for name in ("tau", "tune_lr"):
            check.in_range(name, getattr(self, name), low=0, closed="neither")
        if self.threshold is not None:
            check.in_range("threshold", self.threshold, low=0, high=1, closed="right")
        check.one_of("rerank", self.rerank, ("lists", "graph", "none"))
        check.one_of("edges", self.edges, ("similarity", "equal"))
        check.one_of("anchor_choice", self.anchor_choice, ("text", "random"))
        strong_view(self.strong, (3, 8, 8))
        idle = [n for n in ("text_column", "definitions", "side") if getattr(self, n) is not None]
        if self.anchor_choice == "random" and idle:
            raise InputError(f"{idle[0]} has no effect with random anchors.", hint="Leave it out, or choose anchors by text.")

    def recipe(self, general: Fit) -> Fit:
        """Twice the epochs of a single training: they are shared out over the phases."""
        return replace(general, epochs=2 * general.epochs)

    def learn(self, data: Dataset, net: NetFactory, *, val: Dataset | None = None, fit: Fit | None = None, seed: int) -> Learned:
        """Train through the five phases; see :class:`~labelwright.registry.Learner`.

        Raises
        ------
        InputError
            If texts or definitions are missing or cannot be compared, no label is known, or there are fewer than two epochs.
        """
        if data.kind == "nodes":
            raise InputError("cross-modal-prototypes makes views of single examples; nodes of a graph have none.")
        prepared = prepare(data, val, seed=seed, multi=True)
        side = None if self.anchor_choice == "random" else self._side(data, seed)
        fit = self.recipe(default_fit(prepared)) if fit is None else fit
        epochs, multi = epochs_of(self, fit.epochs), prepared.labels.ndim == 2
        size = min(self.queue, len(prepared.train))
        with seeded(seed):
            fresh = net(prepared.num_classes, prepared.input_shape)
            model = CrossModalNet(
                fresh,
                prepared.num_classes,
                dim=self.dim,
                size=size,
                momentum=self.key_momentum,
                multi=multi,
                alpha=self.alpha,
                temperature=self.tau,
            )
        runs = [pretrain(self, model, prepared, plan=plan_of(self, prepared, epochs), fit=fit, epochs=epochs.vanilla, seed=seed)]
        features = predict_logits(model.encoder, prepared.inputs).numpy()
        anchors = choose_anchors(self, prepared, features, side, seed=seed)
        plan = plan_of(self, prepared, epochs, anchors)
        runs.append(prototypes_and_cleaning(self, model, prepared, plan=plan, fit=fit, epochs=epochs.main, seed=seed))
        found = clean(model, prepared, anchors=plan.anchors, threshold=plan.threshold)
        tuned = tune(self, model, prepared, found.targets, plan=plan, fit=fit, epochs=epochs.tune, seed=seed)
        with seeded(seed):
            kept = net(prepared.num_classes, prepared.input_shape)
        kept = join_head(kept, model.encoder, model.classifier.weight).to(next(model.parameters()).device).eval()
        facts = {
            "actions": found.counts,
            "anchors": int(anchors.sum()),
            "classes_below_anchors": [n for n, count in zip(prepared.names, _class_sizes(prepared), strict=True) if count < self.anchors],
            "threshold": plan.threshold,
            "epochs_by_stage": [epochs.vanilla, epochs.main, epochs.tune if tuned is not None else 0],
            "label_scores": "1 - o(given label) of the network and its prototypes, in-sample for the rows it was trained on",
        }
        return Learned.of(
            self, data, prepared, factory=net, net=kept, run=runs if tuned is None else [*runs, tuned], seed=seed, fit=fit,
            labels=found.labels, label_scores=found.scores, columns=found.columns, facts=facts, outputs="sigmoid" if multi else "softmax",
        )  # fmt: skip

    def _side(self, data: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors of the side information (N, E) and of the classes (C, E)."""
        labels: Any = data.labels
        if self.side is not None:
            if self.text_column is not None:
                raise InputError("side and text_column both name the side information.", hint="Give one of them.")
            given: Any = vectors_of(self.side, rows=len(data), what="side")
        else:
            given = column_of(data, self.text_column)
        if isinstance(given, list):
            definitions = definitions_of(self.definitions, labels)
            return embedded(given, definitions, encoder=self.encoder, clean=self.clean_text, seed=seed)
        classes = self._vectors(labels.names)
        if classes.shape[1] != given.shape[1]:
            raise InputError(f"The vectors of the examples have {given.shape[1]} columns, those of the classes {classes.shape[1]}.")
        return unit_rows(given), unit_rows(classes)

    def _vectors(self, names: Sequence[str]) -> np.ndarray:
        """The classes' own vectors (C, E), from a mapping or a file."""
        if isinstance(self.definitions, str):
            return vectors_of(self.definitions, rows=len(names), what="definitions")
        if not isinstance(self.definitions, Mapping):
            raise InputError("Vectors in place of texts need definitions as vectors too.", hint="--definitions FILE.npy, a row a class.")
        if missing := [n for n in names if n not in self.definitions]:
            raise InputError(f"definitions lack the class {missing[0]!r}.")
        return np.stack([np.asarray(self.definitions[n], dtype=np.float32) for n in names])


def _class_sizes(prepared: Prepared) -> list[int]:
    """Training examples that bear each class."""
    labels = prepared.train.labels
    counts = torch.bincount(labels, minlength=prepared.num_classes) if labels.ndim == 1 else (labels == 1).sum(0)
    return counts.tolist()  # type: ignore[no-any-return]
