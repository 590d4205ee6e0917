"""Gradients through the training of a student, in the memory of a single step.

Trajectory matching (Cazenavette et al. 2022) trains a student for N steps on synthetic data S and asks how far it ended from
an expert:

    g_k = grad_theta l_k(theta_k, S),   v_0 = g_0,   v_k = mu v_{k-1} + g_k,   theta_{k+1} = theta_k - alpha v_k
    L   = D(theta_N, target) + sum_i beta_i D(theta_{m_i}, target_i),   D(a, t) = ||a - t||^2 / ||theta_0 - t||^2

Three ways to dL/dS and dL/dalpha:

``exact``     Forward without a graph, storing theta_k and v_k (2 N P numbers). Then backwards, with lambda = dL/dtheta_{k+1} and
              nu = what reaches v_k from later steps:
                  at k + 1 = m_i:  lambda += the gradient of beta_i D_i
                  dL/dalpha -= <v_k, lambda>,   w = nu - alpha lambda
                  g_k again, with a graph;  (h_theta, h_S) = grad(<g_k, w>, (theta_k, S))
                  dL/dS += h_S,   lambda += h_theta,   nu = mu w
              The true gradient; activations of one step at a time. It costs one forward and backward pass a step more than
              the unrolled graph in arithmetic, and earns that back where memory is what takes time. With `keep` the last
              steps' graphs are kept from the way forward: N of them make it as quick and as large as the unrolled graph.
``direct``    The same without ``lambda += h_theta`` (TESLA, Cui et al. 2023): the dependence of theta_k on earlier images is dropped.
``unrolled``  One autograd graph over all steps: the true gradient, in memory that grows with N. The reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from labelwright import check
from labelwright.data.augment import Draws
from labelwright.data.record import Augmentation
from labelwright.errors import InputError
from labelwright.nn.flat import FlatNet

__all__ = ["FLOOR", "GRAD_MODES", "GradMode", "Inner", "Matched", "Middle", "classifying", "match"]

GradMode = Literal["exact", "direct", "unrolled"]
GRAD_MODES = ("exact", "direct", "unrolled")
FLOOR = 1e-12  # of the denominators: where the expert has stopped moving, theta_0 - t vanishes and the loss would explode

Inner = Callable[..., Tensor]
"""``inner(theta, k, *variables) -> loss``: the student's loss () of step k, scaled as it is to be followed, a function of the
parameters theta (P,) and of the variables (images, soft labels) alone. Called twice for each k: it must draw nothing anew."""


@dataclass(frozen=True)
class Middle:
    """An intermediate target: D to `target` (P,), times `weight`, after so many steps (the key it is given under)."""

    target: Tensor
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What matching gives.

    Attributes
    ----------
    loss
        L, float.
    final
        D of the last parameters alone.
    gradients
        dL/d of each variable, of its shape, detached.
    alpha
        dL/dalpha, a scalar tensor.
    theta
        The student's last parameters (P,).
    """

    loss: float
    final: float
    gradients: tuple[Tensor, ...]
    alpha: Tensor
    theta: Tensor

    @property
    def finite(self) -> bool:
        """Whether loss and gradients are numbers one can go on with."""
        return abs(self.loss) < float("inf") and all(bool(g.isfinite().all()) for g in (*self.gradients, self.alpha))


def match(
    inner: Inner,
    start: Tensor,
    variables: Sequence[Tensor],
    alpha: Tensor,
    *,
    steps: int,
    target: Tensor,
    momentum: float = 0.0,
    middles: Mapping[int, Middle] | None = None,
    grad_mode: GradMode = "exact",
    keep: int = 1,
) -> Matched:
    """Loss and gradients of matching a student of `steps` steps to `target`.

    Parameters
    ----------
    inner
        The student's loss; see :data:`Inner` and :func:`classifying`.
    start, target
        theta_0 and the expert's parameters, (P,).
    variables
        What is distilled: images, maybe soft labels. Left alone.
    alpha
        The student's step size, a scalar tensor.
    momentum
        mu, in [0, 1).
    middles
        Intermediate targets by the number of steps after which they count, 1..steps.
    grad_mode
        ``exact``, ``direct`` or ``unrolled``; see the module.
    keep
        How many of the last steps' graphs the sweep keeps instead of making them twice; 1 costs no memory, more trade it for time.

    Raises
    ------
    InputError
        If shapes disagree, or a target lies outside the steps.
    """
    check.integer("steps", steps, low=1)
    check.in_range("momentum", momentum, low=0, high=1, closed="left")
    check.one_of("grad_mode", grad_mode, GRAD_MODES)
    check.integer("keep", keep, low=0)
    check.same_shape(start=start, target=target)
    middles = {} if middles is None else middles
    for place, middle in middles.items():
        if not 1 <= place <= steps:
            raise InputError(
                f"An intermediate target after {place} steps lies outside the {steps} steps.", hint="Use fewer targets or more steps."
            )
        check.same_shape(start=start, middle=middle.target)
    goals = _Goals(start.detach(), target, steps, middles)
    student = _Student(inner, start.detach(), tuple(v.detach() for v in variables), alpha.detach(), steps, momentum)
    if grad_mode == "unrolled":
        return _unrolled(student, goals)
    return _swept(student, goals, through=grad_mode == "exact", keep=keep)


class _Goals:
    """The terms of L: which targets count after which step, and the distances they are measured in."""

    def __init__(self, start: Tensor, target: Tensor, steps: int, middles: Mapping[int, Middle]) -> None:
        self.at: dict[int, list[tuple[Tensor, float, Tensor]]] = {}
        for place, goal, weight in [(steps, target, 1.0), *((m, v.target, v.weight) for m, v in middles.items())]:
            goal = goal.detach().to(start)
            scale = (start - goal).square().sum().clamp_min(FLOOR)
            self.at.setdefault(place, []).append((goal, weight, scale))

    def distances(self, place: int, theta: Tensor) -> list[Tensor]:
        """Weighted D of all goals after `place` steps; that of the end first."""
        return [weight * (theta - goal).square().sum() / scale for goal, weight, scale in self.at.get(place, [])]

    def gradient(self, place: int, theta: Tensor) -> Tensor | None:
        """Sum of their gradients in theta."""
        parts = [2 * weight * (theta - goal) / scale for goal, weight, scale in self.at.get(place, [])]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0] if parts else None


@dataclass(frozen=True)
class _Student:
    inner: Inner
    start: Tensor
    variables: tuple[Tensor, ...]
    alpha: Tensor
    steps: int
    momentum: float


def _unrolled(student: _Student, goals: _Goals) -> Matched:
    variables = [v.requires_grad_() for v in student.variables]
    alpha, theta = student.alpha.clone().requires_grad_(), student.start.clone().requires_grad_()
    velocity: Tensor | None = None
    terms: dict[int, list[Tensor]] = {}
    for k in range(student.steps):
        (g,) = torch.autograd.grad(student.inner(theta, k, *variables), theta, create_graph=True)
        velocity = g if velocity is None else student.momentum * velocity + g
        theta = theta - alpha * velocity
        terms[k + 1] = goals.distances(k + 1, theta)
    loss = torch.stack([d for found in terms.values() for d in found]).sum()
    found = torch.autograd.grad(loss, [*variables, alpha], allow_unused=True)
    *gradients, slope = (torch.zeros_like(v) if g is None else g for v, g in zip([*variables, alpha], found, strict=True))
    final = terms[student.steps][0].item()
    return Matched(loss=loss.item(), final=final, gradients=tuple(gradients), alpha=slope, theta=theta.detach())


def _swept(student: _Student, goals: _Goals, *, through: bool, keep: int) -> Matched:
    for v in student.variables:
        v.requires_grad_()
    way = _forward(student, goals, keep)
    gradients = [torch.zeros_like(v) for v in student.variables]
    slope = torch.zeros_like(student.alpha)
    pull, later = torch.zeros_like(student.start), torch.zeros_like(student.start)  # lambda and nu
    for k in range(student.steps - 1, -1, -1):
        own = goals.gradient(k + 1, way.thetas[k + 1])
        if own is not None:
            pull = pull + own
        slope -= (way.velocities[k] * pull).sum()
        w = later - student.alpha * pull
        # theta_0 is given: nothing is asked of it
        bent, parts = _step_back(student, way, k, w, through=through and k > 0)
        pull = pull + bent
        for total, part in zip(gradients, parts, strict=True):
            if part is not None:
                total += part
        later = student.momentum * w
        if k + 1 < student.steps:
            way.thetas[k + 1] = torch.empty(0)  # no longer needed
        way.velocities[k] = torch.empty(0)
    return Matched(loss=way.loss, final=way.final, gradients=tuple(gradients), alpha=slope, theta=way.thetas[-1])


@dataclass
class _Way:
    """What the way forward leaves behind: theta_0..theta_N, v_0..v_{N-1}, L and the last D, and the graphs of the last steps,
    as pairs of theta_k and g_k by step."""

    thetas: list[Tensor]
    velocities: list[Tensor]
    graphs: dict[int, tuple[Tensor, Tensor]]
    loss: float = 0.0
    final: float = 0.0


def _forward(student: _Student, goals: _Goals, keep: int) -> _Way:
    way = _Way([student.start], [], {})
    fixed = tuple(v.detach() for v in student.variables)
    terms: list[Tensor] = []
    for k in range(student.steps):
        held = k >= student.steps - keep
        theta = way.thetas[-1].detach().requires_grad_()
        (g,) = torch.autograd.grad(student.inner(theta, k, *(student.variables if held else fixed)), theta, create_graph=held)
        if held:
            way.graphs[k] = (theta, g)
            g = g.detach()
        way.velocities.append(g if k == 0 else student.momentum * way.velocities[-1] + g)
        way.thetas.append(way.thetas[-1] - student.alpha * way.velocities[-1])
        terms = [*terms, *goals.distances(k + 1, way.thetas[-1])]
    way.loss, way.final = torch.stack(terms).sum().item(), goals.distances(student.steps, way.thetas[-1])[0].item()
    return way


def _step_back(student: _Student, way: _Way, k: int, w: Tensor, *, through: bool) -> tuple[Tensor | float, Sequence[Tensor | None]]:
    """``grad(<g_k, w>, (theta_k, variables))``: in theta only where asked (else 0). A function, so that the step's graph dies with it."""
    variables = student.variables
    theta, g = way.graphs.pop(k, (None, None))
    if theta is None or g is None:
        theta = way.thetas[k].detach().requires_grad_()
        (g,) = torch.autograd.grad(student.inner(theta, k, *variables), theta, create_graph=True)
    if not g.requires_grad:
        return 0.0, [None] * len(variables)
    found = torch.autograd.grad(g, [theta, *variables] if through else variables, grad_outputs=w, allow_unused=True)
    if not through:
        return 0.0, found
    return 0.0 if found[0] is None else found[0], found[1:]


def classifying(
    flat: FlatNet,
    rows: Sequence[Tensor],
    labels: Tensor,
    *,
    augmentation: Augmentation,
    draws: Sequence[Draws],
    scale: float = 1.0,
) -> Inner:
    """The usual inner loss: cross-entropy of minibatch ``rows[k]`` of the images, viewed by ``draws[k]``, times `scale`.

    ``inner(theta, k, images)``, or ``inner(theta, k, images, logits)`` with soft labels that are distilled too (their softmax
    is the target). The draws are made once for each step and replayed, and the gradient goes through the view.

    Parameters
    ----------
    flat
        The student as a function of its parameters; no BatchNorm, no dropout (``refuse_buffers``).
    rows
        For each step the positions int64 (b,) of its minibatch.
    labels
        int64 (M,), classes of all images.
    """

    def inner(theta: Tensor, k: int, images: Tensor, *soft: Tensor) -> Tensor:
        x = augmentation.apply(images[rows[k]], draws[k])
        targets = soft[0][rows[k]].softmax(1) if soft else labels[rows[k]]
        return F.cross_entropy(flat(theta, x), targets) * scale

    return inner
