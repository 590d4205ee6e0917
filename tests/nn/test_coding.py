"""Coding rates against closed forms, the formula with memberships, invariances and the gradient in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from labelwright.errors import InputError
from labelwright.nn import losses
from labelwright.nn.coding import CodingRateReduction, coding_rates, logdets


def random_rows(n, d, *, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


def by_memberships(z, labels, eps, gamma1=1.0):
    """The formula as the paper writes it: a diagonal matrix (N, N) a class."""
    n, d = z.shape
    eye = torch.eye(d, dtype=z.dtype)
    whole = 0.5 * torch.logdet(eye + gamma1 * d / (n * eps) * z.T @ z)
    within = torch.zeros((), dtype=z.dtype)
    for c in range(int(labels.max()) + 1):
        pi = torch.diag((labels == c).to(z.dtype))
        size = pi.trace()
        if size:
            within = within + size / (2 * n) * torch.logdet(eye + d / (size * eps) * z.T @ pi @ z)
    return whole, within


@pytest.mark.parametrize(("n", "d", "classes"), [(60, 5, 3), (20, 12, 4), (9, 30, 3), (40, 10, 5)])
def test_fast_forms_equal_memberships(n, d, classes):
    """Tall classes, classes with fewer rows than columns, both together, fewer rows than columns in all."""
    z = random_rows(n, d)
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(classes) * 0.7)  # unequal classes
    labels = torch.from_numpy(rng.choice(classes, size=n, p=weights))
    for gamma1 in (1.0, 0.5):
        made = coding_rates(z, labels, epsilon=0.05, num_classes=classes + 1, gamma1=gamma1)  # one class is empty
        for a, b in zip(made, by_memberships(z, labels, 0.05, gamma1), strict=True):
            assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_orthonormal_rows_have_the_closed_form():
    z = torch.linalg.qr(random_rows(8, 4))[0].T.contiguous()  # four orthonormal rows in eight dimensions
    whole, _ = coding_rates(z, torch.zeros(4, dtype=torch.int64), epsilon=0.05)
    assert whole.item() == pytest.approx(4 / 2 * math.log(1 + 8 / (4 * 0.05)))
    assert whole.item() == pytest.approx(losses.coding_rate(z, epsilon=math.sqrt(0.05)).item())


def test_the_whole_is_never_below_the_classes_and_equal_for_equal_covariances():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        z = random_rows(30, int(rng.integers(2, 40)), seed=seed)
        labels = torch.from_numpy(rng.integers(0, 3, 30))
        whole, within = coding_rates(z, labels, epsilon=0.3)
        assert whole >= within - 1e-10
    z = random_rows(10, 6)
    turned = torch.cat([z, -z])  # the same covariance
    whole, within = coding_rates(turned, torch.tensor([0] * 10 + [1] * 10), epsilon=0.3)
    assert_close(whole, within)


def test_scale_and_rotation():
    z, labels = random_rows(25, 7), torch.arange(25) % 3
    whole, within = coding_rates(z, labels, epsilon=0.2)
    for other in (
        coding_rates(3 * z, labels, epsilon=9 * 0.2),
        coding_rates(z @ torch.linalg.qr(random_rows(7, 7, seed=2))[0], labels, epsilon=0.2),
    ):
        assert_close(other[0], whole)
        assert_close(other[1], within)


def test_the_gradient_is_that_of_the_formula():
    z, eps = random_rows(40, 6).requires_grad_(), 0.1
    whole, _ = coding_rates(z, torch.arange(40) % 4, epsilon=eps)
    whole.backward()
    k = 6 / (40 * eps)
    want = k * z @ torch.linalg.inv(torch.eye(6, dtype=z.dtype) + k * z.T @ z)
    assert_close(z.grad, want.detach())


def test_the_loss_weighs_both_rates_and_falls_for_orthogonal_classes():
    labels = torch.arange(20) % 2
    z = random_rows(20, 4)
    whole, within = coding_rates(z, labels, epsilon=0.05)
    assert_close(CodingRateReduction(0.05, gamma2=2.0)(z, labels), within - 2 * whole)
    along = torch.eye(4, dtype=z.dtype)
    apart, together = along[labels], along[torch.zeros(20, dtype=torch.int64)]
    loss = CodingRateReduction(0.05)
    assert loss(apart, labels) < loss(together, labels) - 1
    assert loss(together, labels).item() == pytest.approx(0, abs=1e-12)


def test_a_factor_beyond_float32_is_made_in_float64():
    big = torch.tensor([[[1e12, 1e12], [1e12, 1e12]]])  # rank one: 1 + 2e12 is the determinant of I + G
    assert logdets(big)[0].item() == pytest.approx(math.log(1 + 2e12), rel=1e-4)


def test_bad_input():
    with pytest.raises(InputError, match="shape"):
        coding_rates(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), epsilon=0.1)
    with pytest.raises(InputError, match="epsilon"):
        CodingRateReduction(0.0)
