"""Losses against closed forms, brute force over pairs and torch's own where it has one."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from labelwright.errors import InputError
from labelwright.nn import losses


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_uniform_predictions_cost_log_c():
    logits = torch.zeros(3, 7)
    assert_close(losses.cross_entropy(logits, torch.tensor([0, 3, 6])), torch.full((3,), math.log(7)))
    assert_close(losses.soft_cross_entropy(logits, torch.full((3, 7), 1 / 7)), torch.full((3,), math.log(7)))


def test_soft_cross_entropy_weights_and_gradient():
    logits, targets = random(5, 4).requires_grad_(), random(5, 4, seed=1).softmax(1)
    value = losses.soft_cross_entropy(logits, targets)
    value.sum().backward()
    assert_close(logits.grad, logits.detach().softmax(1) - targets)  # textbook
    w = torch.tensor([1.0, 0.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    assert_close(losses.soft_cross_entropy(logits, targets, weights=w), value * w)
    by_class = torch.tensor([[1.0, 2.0, 0.0, 1.0]], dtype=torch.float64)
    hard = F.one_hot(torch.tensor([0, 1, 2, 3, 1]), 4).double()
    expected = F.cross_entropy(logits, hard.argmax(1), weight=by_class[0], reduction="none")
    assert_close(losses.soft_cross_entropy(logits, hard, weights=by_class), expected)


def test_smoothing_by_hand():
    logits = torch.tensor([[math.log(2.0), 0.0]], dtype=torch.float64)  # probabilities 2/3, 1/3
    value = losses.cross_entropy(logits, torch.tensor([0]), smoothing=0.2)
    assert value.item() == pytest.approx(0.9 * math.log(1.5) + 0.1 * math.log(3))


def test_kl_by_hand_and_its_gradient():
    student, teacher = random(6, 5).requires_grad_(), random(6, 5, seed=1)
    for t in (1.0, 3.0):
        p, q = (teacher / t).softmax(1), (student / t).softmax(1)
        value = losses.kl_divergence(student, teacher, temperature=t)
        assert_close(value, t * t * (p * (p / q).log()).sum(1))
        (grad,) = torch.autograd.grad(value.sum(), student)
        assert_close(grad, t * (q - p).detach())
    assert_close(losses.kl_divergence(teacher, teacher + 3, temperature=2), torch.zeros(6, dtype=torch.float64))


def test_generalised_cross_entropy_between_its_limits():
    logits, labels = random(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    p = logits.softmax(1)[torch.arange(6), labels]
    assert_close(losses.generalised_cross_entropy(logits, labels, q=1.0), 1 - p)
    assert_close(losses.generalised_cross_entropy(logits, labels, q=1e-6), -p.log(), atol=1e-4, rtol=1e-4)


def test_asymmetric_loss_reduces_to_binary_cross_entropy_and_focal():
    logits, targets = 3 * random(6, 4), (random(6, 4, seed=2) > 0).double()
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    assert_close(losses.asymmetric_bce(logits, targets, gamma_positive=0, gamma_negative=0, margin=0), plain)
    p_t = torch.where(targets > 0, logits.sigmoid(), 1 - logits.sigmoid())
    assert_close(losses.focal_bce(logits, targets, gamma=2.0), plain * (1 - p_t) ** 2)
    alpha = torch.where(targets > 0, 0.25, 0.75).double()
    assert_close(losses.focal_bce(logits, targets, gamma=2.0, alpha=0.25), alpha * plain * (1 - p_t) ** 2)


def test_asymmetric_loss_by_hand():
    p = 0.6
    logits = torch.full((1, 2), math.log(p / (1 - p)), dtype=torch.float64)
    value = losses.asymmetric_bce(logits, torch.tensor([[1.0, 0.0]]), gamma_positive=1, gamma_negative=4, margin=0.05)
    assert value[0, 0].item() == pytest.approx(-(0.4) * math.log(0.6))
    assert value[0, 1].item() == pytest.approx(-(0.55**4) * math.log(0.45))
    easy = torch.full((1, 1), math.log(0.04 / 0.96), requires_grad=True)
    cost = losses.asymmetric_bce(easy, torch.zeros(1, 1), margin=0.05)
    cost.sum().backward()
    assert cost.item() == 0.0  # p below the margin
    assert easy.grad.item() == 0.0


def test_unknown_targets_cost_nothing_and_extremes_stay_finite():
    logits = torch.tensor([[100.0, -100.0, 0.0]], requires_grad=True)
    value = losses.asymmetric_bce(logits, torch.tensor([[1.0, 0.0, math.nan]]))
    value.sum().backward()
    assert value[0].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-40)
    assert logits.grad.isfinite().all()
    wrong = losses.focal_bce(torch.tensor([[-100.0, 100.0]]), torch.tensor([[1.0, 0.0]]))
    assert_close(wrong, torch.full((1, 2), 100.0))


def test_nt_xent_by_brute_force_over_pairs():
    first, second = random(4, 3), random(4, 3, seed=1)
    views = F.normalize(torch.cat([first, second]), dim=1)
    expected = []
    for i in range(8):
        mate = (i + 4) % 8
        others = [math.exp(float(views[i] @ views[k]) / 0.5) for k in range(8) if k != i]
        expected.append(-math.log(math.exp(float(views[i] @ views[mate]) / 0.5) / sum(others)))
    assert_close(losses.nt_xent(first, second, temperature=0.5), torch.tensor(expected, dtype=torch.float64))


def test_supervised_contrastive_by_brute_force_and_as_nt_xent():
    features, labels = random(6, 3), torch.tensor([0, 1, 0, 1, 0, 2])
    unit = F.normalize(features, dim=1)
    expected = []
    for i in range(6):
        bottom = sum(math.exp(float(unit[i] @ unit[k]) / 0.3) for k in range(6) if k != i)
        positives = [p for p in range(6) if p != i and labels[p] == labels[i]]
        terms = [-math.log(math.exp(float(unit[i] @ unit[p]) / 0.3) / bottom) for p in positives]
        expected.append(sum(terms) / len(terms) if terms else 0.0)
    value = losses.supervised_contrastive(features.requires_grad_(), labels, temperature=0.3)
    assert_close(value, torch.tensor(expected, dtype=torch.float64))
    value.sum().backward()
    assert features.grad.isfinite().all()
    first, second = random(4, 3, seed=5), random(4, 3, seed=6)
    pairs = losses.supervised_contrastive(torch.cat([first, second]), torch.arange(4).repeat(2), temperature=0.5)
    assert_close(pairs, losses.nt_xent(first, second, temperature=0.5))


def test_info_nce_by_brute_force():
    query, positive, queue = random(3, 4), random(3, 4, seed=1), random(5, 4, seed=2)
    q, p, k = (F.normalize(x, dim=1) for x in (query, positive, queue))
    top = ((q * p).sum(1) / 0.07).exp()
    expected = -(top / (top + (q @ k.T / 0.07).exp().sum(1))).log()
    assert_close(losses.info_nce(query, positive, queue), expected)


def test_dice_by_hand():
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    half = torch.full((1, 1, 2, 2), 0.5)
    assert losses.dice(target, target).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.dice(1 - target, target).item() == pytest.approx(1.0, abs=1e-4)
    assert losses.dice(half, target, smooth=0.0).item() == pytest.approx(1 - 2 * 1.0 / (1.0 + 2.0))
    left = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])  # one pixel of each kind counts
    assert losses.dice(half, target, mask=left, smooth=0.0).item() == pytest.approx(1 - 2 * 0.5 / (0.5 + 1.0))
    empty = torch.zeros(2, 3, 4, 4)
    assert losses.dice(empty, empty).abs().max().item() == 0.0
    assert losses.dice(torch.rand(2, 3, 4, 5, 6), torch.zeros(2, 3, 4, 5, 6)).shape == (2, 3)


def test_coding_rate_of_an_orthogonal_frame_and_of_both_gram_matrices():
    n, d, eps = 4, 6, 0.5
    z = torch.eye(d, dtype=torch.float64)[:n]
    assert losses.coding_rate(z, epsilon=eps).item() == pytest.approx(0.5 * n * math.log(1 + d / (n * eps**2)))
    wide = random(5, 8)
    big = 0.5 * torch.logdet(torch.eye(8, dtype=torch.float64) + wide.T @ wide * (8 / (5 * 0.25)))
    assert_close(losses.coding_rate(wide), big)
    with pytest.raises(InputError, match="features"):
        losses.coding_rate(torch.zeros(0, 3))


def test_channel_distillation_by_hand():
    student, teacher = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    value = losses.channel_distillation(student, teacher, temperature=2.0)
    p = (teacher[1, 2].flatten() / 2).softmax(0)
    q = (student[1, 2].flatten() / 2).softmax(0)
    assert value.shape == (2, 3)
    assert_close(value[1, 2], 4 * (p * (p / q).log()).sum())
    assert_close(losses.channel_distillation(student + 7, student), torch.zeros(2, 3, dtype=torch.float64))


def test_half_precision_is_widened():
    logits = torch.tensor([[30.0, -30.0]], dtype=torch.float16)
    assert losses.cross_entropy(logits, torch.tensor([1])).item() == pytest.approx(60.0)
    assert losses.cross_entropy(logits, torch.tensor([1])).dtype == torch.float32


def test_shapes_are_checked_before_they_broadcast():
    with pytest.raises(InputError, match="Shapes differ"):
        losses.soft_cross_entropy(torch.zeros(3, 1), torch.zeros(3, 3))
    with pytest.raises(InputError, match="Lengths differ"):
        losses.soft_cross_entropy(torch.zeros(3, 3), torch.zeros(3, 3), weights=torch.ones(1))
