"""Pixels as parameters: a committee of frozen networks, terms of a loss, one step after another.

    x_a = A_t(expand(p));   L = sum_j w_j sum_terms;   p <- p - mask * Adam_t(dL/dp);   p <- clamp(p)

`p` are the images themselves, or a perturbation that ``expand`` adds to base images (its gradient then sums over all of them).
Each voter looks and goes backward in turn, so memory is that of one voter. The draws of step t are a function of (seed, t), and
the state is three tensors and a number: a run that was stopped goes on exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.condense._terms import Look, Term
from labelwright.data.batch import step_generator
from labelwright.data.record import PLAIN, Augmentation
from labelwright.data.tensors import read_tensors, write_tensors
from labelwright.errors import InputError, TrainingError
from labelwright.nn.hooks import BatchNormTap, LayerTap
from labelwright.nn.modes import evaluation
from labelwright.progress import track

__all__ = ["Optimised", "PixelFit", "Voter", "look_at", "optimise", "total"]


@dataclass(frozen=True, kw_only=True)
class PixelFit:
    """How pixels move. The defaults are those of the SRe2L family."""

    steps: int = 1000
    """Steps."""
    lr: float = 0.1
    """Step size, in units of preprocessed pixels (standard deviations)."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam, or plain gradient descent."""
    betas: tuple[float, float] = (0.5, 0.9)
    """Adam's decay of first and second moments."""
    eps: float = 1e-8
    """Adam's floor of the denominator."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """``0.5 (1 + cos(pi t / steps))`` of the step size, or all of it."""

    def __post_init__(self) -> None:
        check.integer("steps", self.steps, low=0)
        check.in_range("lr", self.lr, low=0, closed="neither")
        check.one_of("optimizer", self.optimizer, ("adam", "sgd"))
        check.one_of("schedule", self.schedule, ("cosine", "constant"))
        check.in_range("eps", self.eps, low=0, closed="neither")
        for beta in self.betas:
            check.in_range("betas", beta, low=0, high=1, closed="left")

    def rate(self, step: int) -> float:
        """The step size at `step` (from 0)."""
        return self.lr * (0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.schedule == "cosine" else 1.0)


@dataclass(frozen=True, kw_only=True)
class Voter:
    """A network, the terms it judges by, and its share of the vote."""

    net: nn.Module
    terms: Sequence[Term]
    weight: float = 1.0
    skip_points: bool = False
    """Leave BatchNorm layers behind a global pooling out of the statistics."""

    def __post_init__(self) -> None:
        check.in_range("weight of a voter", self.weight, low=0)
        if not self.terms:
            raise InputError("A voter needs at least one term.")


def look_at(voter: Voter, inputs: Tensor, labels: Tensor) -> Look:
    """One pass of a voter's network over a batch, with what its terms want to see. The network's mode is left as it is."""
    with ExitStack() as stack:
        wanted = {name for term in voter.terms for name in term.layers}
        taps = stack.enter_context(LayerTap(voter.net, sorted(wanted))) if wanted else None
        statistics = None
        if any(term.batchnorm for term in voter.terms):
            statistics = stack.enter_context(BatchNormTap(voter.net, skip_points=voter.skip_points))
        logits = voter.net(inputs)
    features = {} if taps is None else dict(taps.inputs)
    return Look(net=voter.net, inputs=inputs, labels=labels, logits=logits, statistics=statistics, features=features)


def total(voter: Voter, inputs: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """A voter's loss (its share included) and the value of each term, unweighted and detached."""
    look = look_at(voter, inputs, labels)
    values = {term.name: term.value(look) for term in voter.terms}
    loss = torch.stack([term.weight * values[term.name] for term in voter.terms]).sum() * voter.weight
    return loss, {name: value.detach() for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Optimised:
    """What is left of a run.

    Attributes
    ----------
    pixels
        The last iterate; where the loss was not finite, the last one whose loss was.
    history
        A row a step: ``loss`` and the mean of each term over voters by their share.
    diverged, advice
        Whether the run stopped because of a value that is not finite, and what to do about it.
    """

    pixels: Tensor
    history: tuple[dict[str, float], ...]
    diverged: bool = False
    advice: str = ""


@dataclass
class _State:
    """Everything a run has to remember."""

    pixels: Tensor
    first: Tensor
    second: Tensor
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def write(self, path: Path, key: str) -> None:
        tensors = {"pixels": self.pixels, "first": self.first, "second": self.second}
        write_tensors(path, tensors, {"key": key, "step": self.step, "history": self.history})

    def read(self, path: Path, key: str) -> None:
        tensors, facts = read_tensors(path, what="a checkpoint of pixels")
        if facts is None or facts.get("key") != key or tensors["pixels"].shape != self.pixels.shape:
            raise TrainingError(
                f"The checkpoint {path} belongs to a run with other images, settings or seed.",
                hint="Name another folder, or remove it to start anew.",
            )
        self.pixels, self.first, self.second = (tensors[name].to(self.pixels) for name in ("pixels", "first", "second"))
        self.step, self.history = facts["step"], facts["history"]


def optimise(
    start: Tensor,
    labels: Tensor,
    voters: Sequence[Voter],
    *,
    fit: PixelFit,
    seed: int,
    expand: Callable[[Tensor], Tensor] | None = None,
    augmentation: Augmentation = PLAIN,
    mask: Tensor | None = None,
    bounds: tuple[Tensor, Tensor] | None = None,
    stream: int = 0,
    checkpoint: Path | None = None,
    every: int = 100,
    key: str = "",
    label: str = "pixels",
) -> Optimised:
    """Move pixels downhill on the voters' losses.

    Parameters
    ----------
    start
        Float tensor that is optimised, in preprocessed units: images (B, C, H, W), or whatever `expand` takes.
    labels
        Classes int64 (B,) or targets (B, C) of the expanded images.
    voters
        Networks with their terms and shares; they are in evaluation mode and frozen meanwhile, and left as they were.
    seed, stream
        Decide the augmentation; give each independent optimisation of a run its own stream.
    expand
        From what is optimised to images; nothing by default.
    augmentation
        Drawn anew each step, from (seed, stream, step).
    mask
        Broadcasts to `start`: each update is multiplied by it. Where it is 0 nothing ever moves, to the bit.
    bounds
        Smallest and largest values (``featuriser.bounds()``), applied after each step.
    checkpoint, every, key
        A file that holds the state after every so many steps; a run with the same `key` goes on from it. None: nothing is kept.

    Raises
    ------
    TrainingError
        If the checkpoint is of another run.
    """
    if not voters:
        raise InputError("Pixels need at least one voter.")
    check.integer("every", every, low=1)
    state = _State(start.detach().clone(), torch.zeros_like(start), torch.zeros_like(start))
    if checkpoint is not None and checkpoint.exists():
        state.read(checkpoint, key)
    with frozen([voter.net for voter in voters]):
        for step in track(range(state.step, fit.steps), label):
            generator = step_generator(seed=seed, epoch=0, stream=stream, step=step)
            gradient, row = _gradient(state.pixels, labels, voters, expand, augmentation, generator)
            if not (abs(row["loss"]) < math.inf and bool(gradient.isfinite().all())):
                return Optimised(
                    pixels=state.pixels, history=tuple(state.history), diverged=True,
                    advice=f"The loss was not finite in step {step + 1} of {fit.steps}; the last good images are kept. Use a smaller lr than {fit.lr:g}, "
                    "or a smaller weight of the term that grew (see the history).",
                )  # fmt: skip
            state.history.append(row)
            state.pixels = _moved(state, gradient, fit, step, mask, bounds)
            state.step = step + 1
            if checkpoint is not None and (state.step % every == 0 or state.step == fit.steps):
                state.write(checkpoint, key)
    return Optimised(pixels=state.pixels, history=tuple(state.history))


def _gradient(
    pixels: Tensor,
    labels: Tensor,
    voters: Sequence[Voter],
    expand: Callable[[Tensor], Tensor] | None,
    augmentation: Augmentation,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """dL/dp and the figures of a step."""
    leaf = pixels.detach().requires_grad_()
    images = leaf if expand is None else expand(leaf)
    seen = augmentation.apply(images, augmentation.draw(images.shape, generator))
    cut = seen.detach().requires_grad_()  # voters go back to here one by one, the rest of the way is gone once
    sums: dict[str, Tensor] = {}
    shares = sum(voter.weight for voter in voters)
    for voter in voters:
        loss, values = total(voter, cut, labels)
        loss.backward()
        sums["loss"] = sums.get("loss", torch.zeros_like(loss.detach())) + loss.detach()
        for name, value in values.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value * (voter.weight / shares if shares else 0.0)
    back = torch.zeros_like(cut) if cut.grad is None else cut.grad
    (gradient,) = torch.autograd.grad(seen, leaf, back, allow_unused=True)
    figures = torch.stack([value.float() for value in sums.values()]).tolist()
    return torch.zeros_like(leaf) if gradient is None else gradient, dict(zip(sums, figures, strict=True))


def _moved(state: _State, gradient: Tensor, fit: PixelFit, step: int, mask: Tensor | None, bounds: tuple[Tensor, Tensor] | None) -> Tensor:
    """The next iterate; the moments in `state` are updated in place."""
    if fit.optimizer == "adam":
        one, two = fit.betas
        state.first.lerp_(gradient, 1 - one)
        state.second.mul_(two).addcmul_(gradient, gradient, value=1 - two)
        root = (state.second / (1 - two ** (step + 1))).sqrt() + fit.eps
        update = state.first / (1 - one ** (step + 1)) / root
    else:
        update = gradient
    update = fit.rate(step) * update
    if mask is not None:
        update = update * mask
    moved = state.pixels - update
    if bounds is not None:
        moved = torch.maximum(torch.minimum(moved, bounds[1].to(moved)), bounds[0].to(moved))
    # clamping too must leave untouched what is masked
    return moved if mask is None else torch.where(mask == 0, state.pixels, moved)


@contextmanager
def frozen(nets: Sequence[nn.Module]) -> Iterator[None]:
    """`nets` in evaluation mode and their parameters without gradients inside this block; all is restored."""
    asked = [(p, p.requires_grad) for net in nets for p in net.parameters()]
    with ExitStack() as stack:
        for net in nets:
            stack.enter_context(evaluation(net))
        for parameter, _ in asked:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter, wanted in asked:
                parameter.requires_grad_(wanted)
