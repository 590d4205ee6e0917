"""Weight averages against closed forms; each buffer policy does what its word says."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from labelwright.errors import InputError
from labelwright.nn import MLP, seeded
from labelwright.nn.ema import WeightAverage, constant, early_ramp, recompute_batchnorm, sigmoid_ramp
from labelwright.training import Fit, Step, TensorData, train


def small() -> nn.Module:
    with seeded(0):
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def set_all(net: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            tensor.fill_(value)


def test_ramps_are_the_closed_forms_of_the_elr_sheet():
    ramp = sigmoid_ramp(0.997, 40_000)
    assert ramp(0) == pytest.approx(0.997 * math.exp(-5 * (1 - 1 / 40_000) ** 2))
    assert ramp(19_999) == pytest.approx(0.997 * math.exp(-1.25))
    assert ramp(39_999) == ramp(10**6) == 0.997
    early = early_ramp(0.9)
    assert [early(s) for s in (0, 1, 3)] == [0.0, 0.5, 0.75]
    assert early(9) == early(100) == 0.9
    assert constant(0.5)(7) == 0.5
    with pytest.raises(InputError, match="gamma"):
        sigmoid_ramp(1.5, 3)


def test_constant_decay_is_the_geometric_closed_form():
    net = small()
    set_all(net, 1.0)
    average = WeightAverage(net, decay=0.9, buffers="average")
    set_all(net, 3.0)
    for _ in range(7):
        average.update(net)
    expected = 3.0 + (1.0 - 3.0) * 0.9**7
    for parameter in average.net.parameters():
        assert_close(parameter, torch.full_like(parameter, expected))
    assert_close(average.net[1].running_mean, torch.full((4,), expected))
    assert average.net[1].num_batches_tracked.item() == 3  # an integer is copied
    assert int(average.steps) == 7


def test_early_ramp_is_the_plain_mean():
    net = small()
    average = WeightAverage(net, decay=early_ramp(0.999), buffers="copy")
    for value in (2.0, 4.0, 9.0):
        set_all(net, value)
        average.update(net)
    assert_close(average.net[0].weight, torch.full((4, 3), 5.0))
    assert_close(average.net[1].running_var, torch.full((4,), 9.0))  # copied, not averaged


def test_the_start_is_a_copy_and_recompute_leaves_buffers():
    net = small()
    average = WeightAverage(net, decay=0.5, buffers="recompute")
    assert torch.equal(average.net[0].weight, net[0].weight)
    before = average.net[1].running_mean.clone()
    set_all(net, 5.0)
    average.update(net)
    assert torch.equal(average.net[1].running_mean, before)
    assert not any(p.requires_grad for p in average.parameters())
    with pytest.raises(InputError, match="buffers"):
        WeightAverage(net, decay=0.5, buffers="keep")


def test_recomputed_statistics_are_those_of_the_data():
    net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3))
    net.eval()
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * 2 + 5
    recompute_batchnorm(net, x.split(10))
    assert_close(net[1].running_mean, x.mean(0))
    assert_close(net[1].running_var, torch.stack([part.var(0) for part in x.split(10)]).mean(0))
    assert net[1].momentum == 0.1
    assert not net.training
    assert not net[1].training
    with pytest.raises(InputError, match="batch"):
        recompute_batchnorm(net, [])


def test_inside_the_network_it_survives_checkpoint_and_resume(tmp_path):
    data = TensorData.of(torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3)

    def build() -> nn.ModuleDict:
        with seeded(0):
            net = MLP(hidden=(6,))(3, (5,))
        return nn.ModuleDict({"net": net, "average": WeightAverage(net, decay=sigmoid_ramp(0.9, 20), buffers="copy")})

    def step(nets, batch):
        return Step(F.cross_entropy(nets["net"](batch.inputs), batch.labels))

    def run(fit, **more):
        return train(
            build(), step, data, fit=fit, seed=0, mode=lambda n: n.train(), on_step=lambda n, s: n["average"].update(n["net"], s), **more
        )

    fit = Fit(epochs=3, batch_size=8, lr=0.1)
    straight = run(fit)
    fit = dataclasses.replace(fit, checkpoint=str(tmp_path))

    class Stop(Exception):
        pass

    def stop(end):
        if end.epoch == 1:
            raise Stop

    with pytest.raises(Stop):
        run(fit, on_epoch=[stop])
    resumed = run(fit)
    for a, b in zip(straight.net.state_dict().values(), resumed.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert int(straight.net["average"].steps) == 15
    live, mean = straight.net["net"].head.weight, straight.net["average"].net.head.weight
    assert 0 < (live - mean).abs().max().item() < 0.5
