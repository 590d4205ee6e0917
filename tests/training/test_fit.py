"""Learning-rate schedules against closed forms and torch's own schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from labelwright.errors import InputError
from labelwright.training import Fit
from labelwright.training.fit import learning_rate, optimizer_for

PER = 5


def rates(fit: Fit, epochs: int | None = None) -> list[float]:
    return [learning_rate(fit, s, steps_per_epoch=PER) for s in range((epochs or fit.epochs) * PER)]


def test_multistep_of_the_elr_sheet():
    fit = Fit(epochs=120, lr=0.02, schedule="multistep", milestones=(40, 80), gamma=0.01)
    by_epoch = rates(fit)[::PER]
    assert by_epoch[39] == 0.02
    assert by_epoch[40] == pytest.approx(2e-4)
    assert by_epoch[79] == pytest.approx(2e-4)
    assert by_epoch[80] == pytest.approx(2e-6)
    assert len(set(rates(fit)[40 * PER : 80 * PER])) == 1


def test_warm_restarts_are_torchs():
    fit = Fit(epochs=25, lr=0.02, min_lr=0.001, schedule="warm-restarts", restart=10)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.02)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10, eta_min=0.001)
    for ours in rates(fit)[::PER]:
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        scheduler.step()
    assert rates(fit)[10 * PER] == 0.02
    assert rates(fit)[5 * PER] == pytest.approx((0.02 + 0.001) / 2)


def test_cosine_runs_from_the_peak_to_zero_by_step():
    fit = Fit(epochs=4, lr=0.1)
    values = rates(fit)
    assert values == pytest.approx([0.05 * (1 + math.cos(math.pi * s / 20)) for s in range(20)])
    assert learning_rate(fit, 20, steps_per_epoch=PER) == pytest.approx(0.0, abs=1e-17)


def test_warmup_is_linear_and_the_schedule_starts_after_it():
    fit = Fit(epochs=10, lr=0.1, warmup=10, schedule="multistep", milestones=(2,), gamma=0.5)
    values = rates(fit)
    assert values[:10] == pytest.approx([0.1 * (s + 1) / 10 for s in range(10)])
    assert values[10:20] == [0.1] * 10  # two epochs after the warm-up
    assert values[20] == 0.05
    cosine = Fit(epochs=10, lr=0.1, warmup=10)
    assert learning_rate(cosine, 10, steps_per_epoch=PER) == pytest.approx(0.1)
    assert learning_rate(cosine, 30, steps_per_epoch=PER) == pytest.approx(0.05)  # half of the 40 steps left
    assert learning_rate(cosine, 50, steps_per_epoch=PER) == pytest.approx(0.0, abs=1e-17)


def test_constant():
    assert set(rates(Fit(epochs=3, lr=0.3, schedule="constant"))) == {0.3}


@pytest.mark.parametrize(
    ("name", "cls"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("amsgrad", torch.optim.Adam)]
)
def test_optimizers(name, cls):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
    optimizer = optimizer_for(net, Fit(optimizer=name, lr=0.3, weight_decay=0.2))
    assert type(optimizer) is cls
    assert len(optimizer.param_groups[0]["params"]) == 2  # the frozen layer is left out
    assert optimizer.param_groups[0]["weight_decay"] == 0.2


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"lr": 0.0}, {"batch_size": -1}, {"schedule": "linear"}, {"momentum": 1.0}, {"patience": -1}, {"min_lr": 1.0}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Fit(**wrong)
