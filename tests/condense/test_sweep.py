"""The reverse sweep against unrolled autograd, closed forms and finite differences, in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from labelwright.condense._sweep import FLOOR, GRAD_MODES, Middle, classifying, match
from labelwright.data.augment import DSA
from labelwright.data.record import PLAIN, Augmentation
from labelwright.errors import InputError
from labelwright.nn import ConvNet, seeded
from labelwright.nn.flat import FlatNet, refuse_buffers

D = torch.float64


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def case(
    *, steps: int = 5, augmented: bool = True, minibatches: bool = True, soft: bool = False, scale: float = 1.0, norm: str = "instance"
):
    """A tiny convolutional student with InstanceNorm, six images of three classes, and an expert some way off."""
    with seeded(0):
        net = ConvNet(depth=2, width=4, norm=norm)(3, (1, 8, 8)).double()
    refuse_buffers(net, what="This")
    flat = FlatNet(net)
    start = flat.vector()
    labels = torch.arange(6) % 3
    shared = torch.Generator().manual_seed(1)
    rows = [torch.randperm(6, generator=shared)[: 4 if minibatches else 6] for _ in range(steps)]
    augmentation = Augmentation(view=DSA(siamese=False, pick="all")) if augmented else PLAIN
    draws = [augmentation.draw((len(r), 1, 8, 8), shared) for r in rows]
    inner = classifying(flat, rows, labels, augmentation=augmentation, draws=draws, scale=scale)
    variables = (random(6, 1, 8, 8, seed=2), *([random(6, 3, seed=7)] if soft else []))
    return inner, start, variables, torch.tensor(0.05, dtype=D), start + 0.1 * random(flat.size, seed=3)


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(
    ("momentum", "middles", "augmented", "soft"), list(itertools.product([0.0, 0.9], [0, 2], [False, True], [False, True]))
)
def test_exact_equals_the_unrolled_graph(momentum, middles, augmented, soft):
    inner, start, variables, alpha, target = case(augmented=augmented, soft=soft, scale=1.3)
    goals = {m: Middle(start + 0.05 * random(len(start), seed=20 + m), weight=m / 3) for m in (2, 4)[:middles]}
    found = {
        mode: match(inner, start, variables, alpha, steps=5, target=target, momentum=momentum, middles=goals, grad_mode=mode)
        for mode in GRAD_MODES
    }
    exact, whole, direct = found["exact"], found["unrolled"], found["direct"]
    assert len(exact.gradients) == len(variables)
    for a, b in zip((*exact.gradients, exact.alpha), (*whole.gradients, whole.alpha), strict=True):
        assert error(a, b) < 1e-10
    assert exact.loss == pytest.approx(whole.loss, rel=1e-12)
    assert exact.final == pytest.approx(whole.final, rel=1e-12)
    assert_close(exact.theta, whole.theta)
    for keep in (0, 3, 9):
        again = match(inner, start, variables, alpha, steps=5, target=target, momentum=momentum, middles=goals, keep=keep)
        assert all(error(a, b) < 1e-13 for a, b in zip(again.gradients, exact.gradients, strict=True))
    # what the direct mode leaves out is not small, and changes no loss
    assert direct.loss == exact.loss
    assert error(direct.gradients[0], whole.gradients[0]) > 1e-3
    cosine = F.cosine_similarity(direct.gradients[0].flatten(), whole.gradients[0].flatten(), dim=0)
    assert 0.5 < float(cosine) < 1 - 1e-6
    assert exact.finite


def test_the_loss_is_its_definition():
    inner, start, variables, alpha, target = case(augmented=False)
    middle = Middle(start + 0.02, weight=0.5)
    found = match(inner, start, variables, alpha, steps=5, target=target, momentum=0.9, middles={3: middle})
    theta, velocity, at = start, torch.zeros_like(start), {}
    for k in range(5):
        leaf = theta.clone().requires_grad_()
        (g,) = torch.autograd.grad(inner(leaf, k, *variables), leaf)
        velocity = 0.9 * velocity + g
        theta = theta - alpha * velocity
        at[k + 1] = theta
    final = (at[5] - target).square().sum() / (start - target).square().sum()
    expected = final + 0.5 * (at[3] - middle.target).square().sum() / (start - middle.target).square().sum()
    assert found.loss == pytest.approx(float(expected), rel=1e-12)
    assert found.final == pytest.approx(float(final), rel=1e-12)
    assert_close(found.theta, theta)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_finite_differences_of_a_pixel_and_of_the_step_size(momentum):
    inner, start, (images,), alpha, target = case()
    goals = {2: Middle(start + 0.03, weight=0.7)}

    def loss(x, a):
        return match(inner, start, (x,), a, steps=5, target=target, momentum=momentum, middles=goals).loss

    found = match(inner, start, (images,), alpha, steps=5, target=target, momentum=momentum, middles=goals)
    for place in ((0, 0, 3, 3), (5, 0, 4, 6), (2, 0, 0, 7)):
        step = torch.zeros_like(images)
        step[place] = 1e-5
        slope = (loss(images + step, alpha) - loss(images - step, alpha)) / 2e-5
        assert slope == pytest.approx(float(found.gradients[0][place]), rel=1e-5, abs=1e-9)
    slope = (loss(images, alpha + 1e-6) - loss(images, alpha - 1e-6)) / 2e-6
    assert slope == pytest.approx(float(found.alpha), rel=1e-6)


@pytest.mark.parametrize("mode", ["exact", "unrolled"])
def test_a_quadratic_student_has_a_closed_form(mode):
    """l = |theta - x|^2 / 2: theta_N = x + (1 - alpha)^N (theta_0 - x)."""
    x, start, target, alpha, steps = random(7), random(7, seed=1), random(7, seed=2), torch.tensor(0.2, dtype=D), 6
    found = match(lambda theta, k, v: (theta - v).square().sum() / 2, start, (x,), alpha, steps=steps, target=target, grad_mode=mode)
    shrink = (1 - alpha) ** steps
    end, scale = x + shrink * (start - x), (start - target).square().sum()
    assert_close(found.theta, end)
    assert found.loss == pytest.approx(float((end - target).square().sum() / scale))
    assert_close(found.gradients[0], 2 * (end - target) / scale * (1 - shrink))
    slope = (2 * (end - target) / scale * (-steps) * (1 - alpha) ** (steps - 1) * (start - x)).sum()
    assert_close(found.alpha, slope)


def test_direct_has_a_closed_form_on_the_quadratic_too():
    """With theta_k held, each step adds alpha x: dL/dx = 2 (theta_N - target) / D * alpha N."""
    x, start, target, alpha = random(7), random(7, seed=1), random(7, seed=2), torch.tensor(0.2, dtype=D)
    found = match(lambda theta, k, v: (theta - v).square().sum() / 2, start, (x,), alpha, steps=6, target=target, grad_mode="direct")
    assert_close(found.gradients[0], 2 * (found.theta - target) / (start - target).square().sum() * alpha * 6)


def test_one_step_is_the_same_exact_and_direct():
    inner, start, variables, alpha, target = case(steps=1)
    exact, direct = (match(inner, start, variables, alpha, steps=1, target=target, momentum=0.9, grad_mode=m) for m in ("exact", "direct"))
    assert torch.equal(exact.gradients[0], direct.gradients[0])
    # 2 / D <theta_1 - target, -alpha d g / d S>, by hand
    images = variables[0].clone().requires_grad_()
    leaf = start.clone().requires_grad_()
    (g,) = torch.autograd.grad(inner(leaf, 0, images), leaf, create_graph=True)
    end = start - alpha * g
    by_hand = 2 / (start - target).square().sum() * ((end - target).detach() * (-alpha * g)).sum()
    (expected,) = torch.autograd.grad(by_hand, images)
    assert error(exact.gradients[0], expected) < 1e-12


def test_a_student_that_does_not_move():
    inner, start, variables, _, target = case()
    found = match(inner, start, variables, torch.tensor(0.0, dtype=D), steps=5, target=target, momentum=0.9)
    assert found.loss == pytest.approx(1.0)
    assert float(found.gradients[0].abs().max()) == 0
    assert float(found.alpha) != 0


def test_a_target_on_the_students_path_costs_nothing():
    inner, start, variables, alpha, target = case()
    end = match(inner, start, variables, alpha, steps=5, target=target, momentum=0.9).theta
    found = match(inner, start, variables, alpha, steps=5, target=end, momentum=0.9)
    assert found.loss == pytest.approx(0, abs=1e-20)
    assert float(found.gradients[0].abs().max()) < 1e-12


def test_an_expert_that_stands_still_gives_no_infinity():
    inner, start, variables, alpha, _ = case()
    found = match(inner, start, variables, alpha, steps=2, target=start.clone())
    assert found.finite
    assert found.loss == pytest.approx(float((found.theta - start).square().sum() / FLOOR), rel=1e-9)


def test_not_a_number_is_told():
    inner, start, variables, alpha, target = case(steps=2)
    assert not match(inner, start, (variables[0] * float("nan"),), alpha, steps=2, target=target).finite


def test_images_that_no_step_uses_have_no_gradient():
    inner, start, variables, alpha, target = case(steps=1)
    used = match(inner, start, variables, alpha, steps=1, target=target).gradients[0].flatten(1).norm(dim=1) > 0
    assert int(used.sum()) == 4  # the one minibatch
    free = match(lambda theta, k, v: theta.square().sum(), start, variables, alpha, steps=3, target=target)
    assert float(free.gradients[0].abs().max()) == 0


def test_the_activations_of_one_step_are_held_at_a_time():
    """Bytes that autograd saves at any moment: flat in N for the sweep, growing with N for the unrolled graph."""

    def peak(mode: str, steps: int) -> int:
        # without normalisation: torch itself keeps a few bytes of every group norm whose gradient is differentiated
        inner, start, variables, alpha, target = case(steps=steps, augmented=False, norm="none")
        held = {"now": 0, "most": 0}

        class Saved:
            def __init__(self, value):
                self.value, self.size = value, value.numel() * value.element_size()
                held["now"] += self.size
                held["most"] = max(held["most"], held["now"])

            def __del__(self):
                held["now"] -= self.size

        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.value):
            match(inner, start, variables, alpha, steps=steps, target=target, momentum=0.9, grad_mode=mode)
        return held["most"]

    assert peak("exact", 2) == peak("exact", 8) == peak("exact", 20)
    assert peak("unrolled", 8) > 3 * peak("unrolled", 2)


def test_wrong_arguments():
    inner, start, variables, alpha, target = case(steps=2)
    for bad, word in (
        ({"steps": 0}, "steps"),
        ({"momentum": 1.0}, "momentum"),
        ({"keep": -1}, "keep"),
        ({"grad_mode": "fast"}, "grad_mode"),
        ({"middles": {3: Middle(target)}}, "after 3 steps"),
        ({"middles": {0: Middle(target)}}, "after 0 steps"),
        ({"target": target[:-1]}, "Shapes"),
    ):
        given = {"steps": 2, "target": target} | bad
        with pytest.raises(InputError, match=word):
            match(inner, start, variables, alpha, **given)
