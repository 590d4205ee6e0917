"""Training dynamics: what a network said about each example, epoch by epoch, and the scores read from it.

One log serves all scores. It is written for free while training (:meth:`Recorder.watching`), as
forgetting events and the area under the margin are defined, or in a clean pass after each epoch
(:meth:`Recorder.after`), which augmentation and mixup do not touch.

Letters: T epochs, N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.errors import InputError
from labelwright.training.evaluation import evaluating
from labelwright.training.memory import ExampleTable

if TYPE_CHECKING:
    from labelwright.data.batch import Batch, TensorData
    from labelwright.training.loop import EpochEnd, Step, StepFunction

__all__ = ["Dynamics", "Recorder", "area_under_margin", "el2n", "entropy", "forgetting_events", "grand", "margin"]


def el2n(logits: Tensor, labels: Tensor) -> Tensor:
    """``||softmax(logits) - one_hot(labels)||₂`` (N,), in [0, √2] (Paul et al. 2021)."""
    check.same_length(logits=logits, labels=labels)
    error = logits.float().softmax(1)
    return (error - nn.functional.one_hot(labels, logits.shape[1])).norm(dim=1)


def grand(logits: Tensor, labels: Tensor, feature_norm: Tensor) -> Tensor:
    """Norm (N,) of the gradient of cross-entropy in the last layer's weights and bias: ``EL2N · √(||h||² + 1)``.

    `feature_norm` (N,) is ||h||, h the input of the last layer.
    """
    check.same_length(logits=logits, feature_norm=feature_norm)
    return el2n(logits, labels) * (feature_norm.float().square() + 1).sqrt()


def margin(values: Tensor, labels: Tensor) -> Tensor:
    """Value at the label minus the largest other one, (N,), of logits or probabilities (N, C), C > 1."""
    check.same_length(values=values, labels=labels)
    place = labels[:, None]
    others = values.scatter(1, place, float("-inf")).amax(1)
    return values.gather(1, place)[:, 0] - others


def area_under_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over epochs of the logit margin, (N,), for `logits` (T, N, C) (Pleiss et al. 2020); low = suspicious.

    Epochs in which an example was not seen (NaN) do not count.
    """
    epochs, n, classes = logits.shape
    margins = margin(logits.float().reshape(-1, classes), labels.repeat(epochs)).view(epochs, n)
    return margins.nanmean(0)


def entropy(logits: Tensor) -> Tensor:
    """Entropy (N,) of softmax(logits), in nats."""
    log_p = logits.float().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def forgetting_events(correct: Tensor) -> tuple[Tensor, Tensor]:
    """How often each example went from right to wrong between consecutive epochs, int64 (N,), and whether it was ever right, bool (N,).

    `correct` is bool (T, N) (Toneva et al. 2019). An example that was never learned has no events: rank it above all others.
    """
    return (correct[:-1] & ~correct[1:]).sum(0), correct.any(0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dynamics:
    """A finished log: `logits` float (T, N, C) and `feature_norm` float (T, N), NaN where an example was not seen in an epoch
    (or the network's last layer is not linear); `labels` int64 (N,) as trained on, -1 unknown.

    Each score is float32 (N,), NaN for examples that were never seen or have no label.
    """

    logits: Tensor
    feature_norm: Tensor
    labels: Tensor

    @property
    def seen(self) -> Tensor:
        """bool (T, N)."""
        return ~self.logits.isnan().any(2)

    def el2n(self, *, epochs: int | None = None) -> Tensor:
        """Mean EL2N over the first `epochs` (all by default); the paper reads it early in training."""
        return self._mean(lambda t: el2n(self.logits[t], self.labels.clamp_min(0)), epochs)

    def grand(self, *, epochs: int | None = None) -> Tensor:
        """Mean norm of the last layer's gradient."""
        return self._mean(lambda t: grand(self.logits[t], self.labels.clamp_min(0), self.feature_norm[t]), epochs)

    def entropy(self, *, epochs: int | None = None) -> Tensor:
        """Mean entropy of the predictions."""
        return self._mean(lambda t: entropy(self.logits[t]), epochs)

    def margin(self, *, epochs: int | None = None) -> Tensor:
        """Mean margin of the probability of the label over the next class's."""
        return self._mean(lambda t: margin(self.logits[t].float().softmax(1), self.labels.clamp_min(0)), epochs)

    def area_under_margin(self) -> Tensor:
        """Mean margin of logits; low = suspicious."""
        return self._hidden(area_under_margin(self.logits, self.labels.clamp_min(0)))

    def forgetting(self) -> Tensor:
        """Forgetting events; an example that was never right counts T, more than any other can reach."""
        correct = self.logits.argmax(2) == self.labels
        events, learned = forgetting_events(correct & self.seen)
        return self._hidden(torch.where(learned, events, len(correct)).float())

    def _mean(self, score: Callable[[int], Tensor], epochs: int | None) -> Tensor:
        count = len(self.logits) if epochs is None else check.integer("epochs", epochs, low=1, high=len(self.logits))
        return self._hidden(torch.stack([score(t) for t in range(count)]).nanmean(0))

    def _hidden(self, values: Tensor) -> Tensor:
        return torch.where((self.labels >= 0) & self.seen.any(0), values, float("nan"))


class Recorder(nn.Module):
    """Writes the log of one run of `epochs` over a dataset of `size` rows and `classes` classes.

    Give it to the loop as `memory` (alone or inside another module), so that it is saved in checkpoints
    and gathered over processes. It holds ``size · epochs · (classes + 1)`` numbers in `dtype`.

    ::

        recorder = Recorder(len(data), epochs=fit.epochs, classes=10)
        train(net, recorder.watching(step), data, fit=fit, seed=0, memory=recorder)
        recorder.read(labels).area_under_margin()
    """

    def __init__(self, size: int, *, epochs: int, classes: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.shape = (size, check.integer("epochs", epochs, low=1), check.integer("classes", classes, low=2) + 1)
        self.table = ExampleTable(size, epochs * (classes + 1), fill=float("nan"), dtype=dtype)

    def watching(self, step: StepFunction) -> StepFunction:
        """`step`, with the logits of its first forward pass over the whole batch written down as it goes."""

        def watched(net: nn.Module, batch: Batch) -> Step:
            caught: list[tuple[Tensor, Tensor | None]] = []
            with _Watch(net, len(batch), self.shape[2] - 1, caught):
                out = step(net, batch)
            if not caught:
                raise InputError(
                    f"The step never called the network on its {len(batch)} inputs to get {self.shape[2] - 1} logits, so there is nothing to record.",
                    hint="Record after each epoch instead: train(on_epoch=[recorder.after(data)]).",
                )
            self._write(batch.index, batch.epoch, *caught[0])
            return out

        return watched

    def after(self, data: TensorData, *, batch_size: int = 512) -> Callable[[EpochEnd], None]:
        """A callback for ``train(on_epoch=[…])`` that passes over all of `data` in evaluation mode."""

        def observe(end: EpochEnd) -> None:
            place = self.table.values.device
            with evaluating(end.net):
                for start in range(0, len(data), batch_size):
                    inputs = data.inputs[start : start + batch_size].to(place)
                    caught: list[tuple[Tensor, Tensor | None]] = []
                    with _Watch(end.net, len(inputs), self.shape[2] - 1, caught):
                        end.net(inputs)
                    self._write(data.index[start : start + batch_size].to(place), end.epoch, *caught[0])
            self.table.touched.zero_()  # every process made the whole pass: there is nothing to gather

        return observe

    @torch.no_grad()
    def _write(self, index: Tensor, epoch: int, logits: Tensor, features: Tensor | None) -> None:
        row = self.table.values.view(self.shape)
        norm = torch.full_like(logits[:, 0], float("nan")) if features is None else features.flatten(1).norm(dim=1)
        row[index, epoch] = torch.cat([logits, norm[:, None].to(logits)], dim=1).to(row.dtype)
        self.table.touched[index] = True

    def read(self, labels: Tensor) -> Dynamics:
        """The log so far, on the CPU, in float32, up to the last epoch with an entry."""
        check.same_length(labels=labels, table=self.table.values)
        values = self.table.values.view(self.shape).transpose(0, 1).float().cpu()
        made = (~values[:, :, 0].isnan()).any(1).nonzero()
        if not len(made):
            raise InputError("Nothing has been recorded yet.")
        values = values[: int(made[-1]) + 1]
        return Dynamics(logits=values[:, :, :-1].clone(), feature_norm=values[:, :, -1].clone(), labels=labels.cpu())


class _Watch:
    """While open, catches logits (B, C) of `net` and the input of its last linear layer, if that gives those logits."""

    def __init__(self, net: nn.Module, rows: int, classes: int, caught: list[tuple[Tensor, Tensor | None]]) -> None:
        self.shape, self.caught = (rows, classes), caught
        self.features: dict[int, Tensor] = {}
        linear = [m for m in net.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
        self.hooks = [net.register_forward_hook(self._net)]
        self.hooks += [head.register_forward_hook(self._head) for head in linear[-1:]]

    def _head(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.features[id(output)] = inputs[0].detach()

    def _net(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(output, Tensor) and tuple(output.shape) == self.shape:
            self.caught.append((output.detach(), self.features.get(id(output))))

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()
