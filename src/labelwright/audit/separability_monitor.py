"""Watch class separability while a model trains, stop when it stalls, and name the checkpoint to keep: no labels needed.

The same unlabelled, preferably held-out sample is embedded after every epoch and scored
(:mod:`labelwright.audit.separability`). One monitor serves three loops::

    monitor = SeparabilityMonitor(sample, seed=0)
    train(net, step, data, fit=fit, seed=0, on_epoch=(monitor,))       # ours, or call monitor.observe(embeddings) in your own
    Trainer(..., callbacks=[hf_callback(monitor)])                     # Hugging Face, with embed=class_token, say
    lightning.Trainer(..., callbacks=[lightning_callback(monitor)])    # Lightning

Stopping rule (our constants; the paper's could not be read): s_t is the mean of the last `window` scores; stop when s has
not beaten its best by more than `delta` for `patience` evaluations, not before `least` evaluations; keep argmax_t s_t.
Watch the normalised hidden layer for stopping: softmax outputs keep sharpening after accuracy has stalled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.audit.separability import SCORES, Preparation, mean_and_error, measure, subsamples
from labelwright.errors import InputError, require
from labelwright.training.evaluation import evaluating, predict_logits

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "SeparabilityMonitor",
    "StopRule",
    "Verdict",
    "class_token",
    "hf_callback",
    "hidden",
    "lightning_callback",
    "logits",
    "probabilities",
]

Embed = Callable[[nn.Module, Any], Any]
"""``(net, sample) -> (n, d)``: embeddings of the sample; called in evaluation mode without gradients."""

BATCH = 256


@dataclass(frozen=True)
class Verdict:
    """What the rule says after the scores seen so far: whether to `stop`, the evaluation to keep (`best`, from 0), and s_t."""

    stop: bool
    best: int
    smoothed: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """When to stop: a function of the scores alone."""

    window: int = 3
    """Scores averaged into s_t; fewer at the start."""
    delta: float = 0.005
    """Improvement of s that counts."""
    patience: int = 3
    """Evaluations without such an improvement before stopping."""
    least: int = 7
    """Evaluations before which it never stops."""

    def __post_init__(self) -> None:
        check.integer("window", self.window, low=1)
        check.in_range("delta", self.delta, low=0)
        check.integer("patience", self.patience, low=1)
        check.integer("least", self.least, low=1)

    def verdict(self, scores: Sequence[float]) -> Verdict:
        """Judge the scores of evaluations 0, 1, …, in order.

        Raises
        ------
        InputError
            If there are none or one is not finite.
        """
        if not len(scores):
            raise InputError("scores must hold at least one evaluation.")
        check.finite("scores", np.asarray(scores, dtype=np.float64))
        smoothed = [float(np.mean(scores[max(0, t + 1 - self.window) : t + 1])) for t in range(len(scores))]
        reference, since = smoothed[0], 0
        for value in smoothed[1:]:
            better = value > reference + self.delta
            reference, since = (value, 0) if better else (reference, since + 1)
        stop = since >= self.patience and len(scores) >= self.least
        return Verdict(stop, int(np.argmax(smoothed)), tuple(smoothed))


def hidden(net: nn.Module, sample: Tensor) -> Tensor:
    """What enters the last linear layer of `net`, float32 (n, d), for inputs (n, …); on the CPU.

    Raises
    ------
    InputError
        If the network has no linear layer.
    """
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise InputError(f"{type(net).__name__} has no linear layer to read features from.", hint="Pass embed= a function of your own.")
    caught: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _, args: caught.append(args[0].detach().float().flatten(1).cpu()))
    try:
        predict_logits(net, sample, batch_size=BATCH)
    finally:
        handle.remove()
    return torch.cat(caught).clone()


def logits(net: nn.Module, sample: Tensor) -> Tensor:
    """Outputs of `net`, float32 (n, C)."""
    return predict_logits(net, sample, batch_size=BATCH)


def probabilities(net: nn.Module, sample: Tensor) -> Tensor:
    """Softmax of the outputs, float32 (n, C): the best ranking of checkpoints, but no stopping rule fires on them."""
    return predict_logits(net, sample, batch_size=BATCH).softmax(1)


def class_token(net: nn.Module, sample: Mapping[str, Tensor]) -> Tensor:
    """First token of the last hidden layer of any Hugging Face encoder, float32 (n, d); `sample` is what its tokenizer returns."""
    place = next(net.parameters()).device
    n = check.same_length(**sample)
    parts = []
    for start in range(0, n, BATCH):
        batch = {k: v[start : start + BATCH].to(place) for k, v in sample.items()}
        parts.append(net(**batch, output_hidden_states=True).hidden_states[-1][:, 0].float().cpu())
    return torch.cat(parts)


class SeparabilityMonitor:
    """Scores a fixed sample at every checkpoint and applies a :class:`StopRule`.

    Parameters
    ----------
    sample
        Inputs of unlabelled examples, as `embed` takes them. Held-out ones: on training data, neural collapse drives the score
        to 1 whatever the test accuracy does. None if only :meth:`observe` is called.
    embed
        ``embed(net, sample) -> (n, d)``: :func:`hidden` (default), :func:`logits`, :func:`probabilities`, :func:`class_token`
        or a function of your own.
    score
        Which statistic decides.
    preparation
        Normalisation and the like; LayerNorm without reduction by default, as in the paper.
    rule
        When to stop; None only watches.
    sample_size, repeats, seed
        Subsamples of the sample, drawn at the first evaluation and the same at all later ones.
    keep_weights
        Copy the network's weights to the CPU whenever its evaluation becomes the best, for :meth:`restore`.
    """

    def __init__(
        self,
        sample: Any = None,
        *,
        embed: Embed = hidden,
        score: Literal["mean", "median", "entropy", "gap"] = "mean",
        preparation: Preparation | None = None,
        rule: StopRule | None = StopRule(),
        sample_size: int = 1000,
        repeats: int = 3,
        seed: int,
        keep_weights: bool = False,
    ) -> None:
        self.sample, self.embed, self.rule, self.keep_weights = sample, embed, rule, keep_weights
        self.score = check.one_of("score", score, SCORES)
        self.preparation = Preparation() if preparation is None else preparation
        self.sample_size = check.integer("sample_size", sample_size, low=2)
        self.repeats = check.integer("repeats", repeats, low=1)
        self.seed = seed
        self.rows: list[dict[str, Any]] = []
        self._subsamples: list[np.ndarray] = []
        self._points = 0
        self._weights: dict[str, Tensor] | None = None

    def observe(self, embeddings: Any, *, step: float | None = None) -> bool:
        """Score the embeddings (n, d) of the sample at one checkpoint; True asks to stop training.

        `step` names the checkpoint (an epoch, say); the number of the evaluation, from 0, by default.

        Raises
        ------
        InputError
            If the number of rows differs from the first evaluation's, or they are not a finite matrix.
        """
        n = len(embeddings)
        if not self.rows:
            self._points = n
            self._subsamples = subsamples(n, size=self.sample_size, repeats=self.repeats, seed=self.seed)
        elif n != self._points:
            raise InputError(
                f"The monitor saw {self._points} points before and {n} now.", hint="Embed the same sample at every checkpoint."
            )
        runs = [measure(embeddings[s], self.preparation) for s in self._subsamples]
        values = {name: mean_and_error([r.scores[name] for r in runs]) for name in SCORES}
        row: dict[str, Any] = {"step": len(self.rows) if step is None else step, "score": values[self.score]["value"]}
        row |= {"se": values[self.score]["se"]} | {f"score_{k}": v["value"] for k, v in values.items()}
        row |= {"groups": int(np.median([r.groups for r in runs])), "collapsed": all(r.collapsed for r in runs)}
        verdict = (self.rule or StopRule()).verdict([*(r["score"] for r in self.rows), row["score"]])
        row |= {"smoothed": verdict.smoothed[-1], "stop": self.rule is not None and verdict.stop}
        self.rows.append(row)
        return bool(row["stop"])

    def observe_net(self, net: nn.Module, *, step: float | None = None) -> bool:
        """Embed the sample with `net` (evaluation mode, no gradients, modes restored) and :meth:`observe` it."""
        if self.sample is None:
            raise InputError("The monitor has no sample to embed.", hint="Pass one to SeparabilityMonitor, or call observe(embeddings).")
        with evaluating(net):
            points = self.embed(net, self.sample)
        stop = self.observe(points, step=step)
        if self.keep_weights and self.best == len(self.rows) - 1:
            self._weights = {k: v.detach().to("cpu", copy=True) for k, v in net.state_dict().items()}
        return stop

    def __call__(self, end: Any) -> bool:
        """As ``on_epoch`` of :func:`labelwright.training.train`: `end` has `epoch` and `net`."""
        return self.observe_net(end.net, step=end.epoch)

    @property
    def best(self) -> int:
        """The evaluation to keep, from 0: argmax of the smoothed score.

        Raises
        ------
        InputError
            If nothing has been observed.
        """
        return (self.rule or StopRule()).verdict([r["score"] for r in self.rows]).best

    @property
    def stopped(self) -> bool:
        """Whether the rule has asked to stop."""
        return any(r["stop"] for r in self.rows)

    def restore(self, net: nn.Module) -> None:
        """Put the weights of the best evaluation back into `net`.

        Raises
        ------
        InputError
            If none were kept.
        """
        if self._weights is None:
            raise InputError("No weights were kept.", hint="Make the monitor with keep_weights=True.")
        net.load_state_dict(self._weights)

    def to_frame(self) -> pl.DataFrame:
        """One row an evaluation: step, score, se, all scores, groups, collapsed, smoothed, stop."""
        import polars as pl

        return pl.DataFrame(self.rows, infer_schema_length=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON for a report: the course of the score, the checkpoint to keep, and lines to draw."""
        steps = [r["step"] for r in self.rows]
        lines = {name: [[s, r[name]] for s, r in zip(steps, self.rows, strict=True)] for name in ("score", "smoothed")}
        return {
            "kind": "separability-course",
            "score": self.score,
            "best_step": steps[self.best] if self.rows else None,
            "stopped_at": next((r["step"] for r in self.rows if r["stop"]), None),
            "evaluations": [dict(r) for r in self.rows],
            "plot": {"kind": "lines", "title": "Class separability", "x": "step", "y": f"S ({self.score})", "lines": lines},
        }


def hf_callback(monitor: SeparabilityMonitor, *, when: Literal["epoch", "evaluate"] = "epoch") -> Any:
    """A ``transformers.TrainerCallback`` that scores the model after each epoch (or evaluation) and stops the Trainer when asked.

    Raises
    ------
    MissingExtra
        If transformers is absent.
    """
    check.one_of("when", when, ("epoch", "evaluate"))
    transformers = require("transformers", extra="hf", feature="The Hugging Face callback")

    def observe(callback: Any, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any) -> Any:
        if model is not None and monitor.observe_net(model, step=state.epoch):
            control.should_training_stop = True
        return control

    name = "on_epoch_end" if when == "epoch" else "on_evaluate"
    return type("SeparabilityCallback", (transformers.TrainerCallback,), {name: observe})()


def lightning_callback(monitor: SeparabilityMonitor) -> Any:
    """A ``lightning.pytorch.Callback`` that scores the module after each training epoch and stops the Trainer when asked.

    Raises
    ------
    MissingExtra
        If lightning is absent.
    """
    base = require("lightning.pytorch", extra="distributed", feature="The Lightning callback").Callback

    def on_train_epoch_end(callback: Any, trainer: Any, pl_module: nn.Module) -> None:
        if monitor.observe_net(pl_module, step=trainer.current_epoch):
            trainer.should_stop = True

    return type("SeparabilityCallback", (base,), {"on_train_epoch_end": on_train_epoch_end})()
