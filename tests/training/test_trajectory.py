"""Buffers of expert trajectories: what was put in comes out, of the right data and network only."""

from __future__ import annotations

import dataclasses
import shutil
from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from labelwright.errors import InputError, OutputError
from labelwright.nn import MLP, ConvNet, seeded
from labelwright.training import Fit, Step, TensorData, train
from labelwright.training.trajectory import Trajectories, data_digest

FIT = Fit(epochs=4, batch_size=8, lr=0.1, keep="last")


def data(seed: int = 0) -> TensorData:
    return TensorData.of(torch.randn(24, 5, generator=torch.Generator().manual_seed(seed)), torch.arange(24) % 3)


def net(seed: int = 0) -> nn.Module:
    with seeded(seed):
        return MLP(hidden=(7,))(3, (5,))


def step(net, batch):
    return Step(F.cross_entropy(net(batch.inputs), batch.labels))


def filled(folder, **rest) -> tuple[Trajectories, list[list[torch.Tensor]]]:
    """A buffer of two experts of three epochs, and their weights as the loop showed them."""
    buffer = Trajectories.create(folder, net(), data(), **({"epochs": 3, "experts": 2, "recipe": FIT} | rest))
    seen = []
    for k in range(2):
        expert, writer = net(k), buffer.writer(k)
        writer.add(expert)
        rows = [torch.cat([p.detach().flatten() for p in expert.parameters()])]

        def spy(end, rows=rows):
            rows.append(torch.cat([p.detach().flatten() for p in end.net.parameters()]))

        train(expert, step, data(), fit=FIT, seed=k, on_epoch=[writer.after, spy])
        writer.close()
        seen.append(rows)
    return buffer, seen


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0.0), ("float16", 1 / 2048), ("bfloat16", 1 / 256)])
def test_snapshots_are_the_weights_of_the_run(dtype, error, tmp_path):
    buffer, seen = filled(tmp_path / "b", dtype=dtype)
    again = Trajectories.open(tmp_path / "b", net(), data())
    for k in (1, 0):
        for epoch in (0, 3, 1, 2):
            assert_close(again.snapshot(k, epoch), seen[k][epoch], rtol=error, atol=error * 1e-3)
            assert again.snapshot(k, epoch).dtype == torch.float32
    assert len(seen[0]) == 5  # trained for four epochs, three kept
    assert buffer.expert_bytes == (tmp_path / "b" / "expert-000.safetensors").stat().st_size
    assert not torch.equal(again.snapshot(0, 0), again.snapshot(1, 0))
    expert = again.flat.fill(again.snapshot(1, 2), net())
    assert_close(expert.head.bias, again.snapshot(1, 2)[-3:])
    for bad in ((2, 0), (0, 4), (-1, 0)):
        with pytest.raises(InputError, match="between"):
            again.snapshot(*bad)


def test_a_run_goes_on_with_the_next_expert(tmp_path):
    buffer, _ = filled(tmp_path / "b")
    first = buffer.path(0).read_bytes()
    buffer.path(1).unlink()
    again = Trajectories.create(tmp_path / "b", net(5), data(), epochs=3, experts=2, recipe=dataclasses.replace(FIT, device="cpu"))
    assert again.missing == [1]
    assert again.path(0).read_bytes() == first
    with pytest.raises(InputError, match="lacks 1 of 2"):
        Trajectories.open(tmp_path / "b", net(), data())
    writer = again.writer(1)
    writer.add(net())
    with pytest.raises(InputError, match="1 snapshots; the buffer holds 4"):
        writer.close()


def test_experts_of_other_things_are_refused(tmp_path):
    filled(tmp_path / "b")
    given = {"epochs": 3, "experts": 2, "recipe": FIT}
    with pytest.raises(InputError, match="other data"):
        Trajectories.open(tmp_path / "b", net(), data(1))
    with pytest.raises(InputError, match="other network"):
        Trajectories.open(tmp_path / "b", MLP(hidden=(8,))(3, (5,)), data())
    with pytest.raises(InputError, match="other data"):
        Trajectories.create(tmp_path / "b", net(), data(1), **given)
    with pytest.raises(InputError, match="other recipe"):
        Trajectories.create(tmp_path / "b", net(), data(), **given | {"recipe": dataclasses.replace(FIT, lr=0.2)})
    with pytest.raises(InputError, match=r"epochs \(3, not 4\)"):
        Trajectories.create(tmp_path / "b", net(), data(), **given | {"epochs": 4})
    assert data_digest(data()) == data_digest(data())
    relabelled = dataclasses.replace(data(), labels=data().labels.roll(1))
    assert data_digest(relabelled) != data_digest(data())


def test_what_cannot_be_done_is_said_before_anything_is_written(tmp_path, monkeypatch):
    given = {"epochs": 3, "experts": 2, "recipe": {"lr": 0.1}}
    with pytest.raises(InputError, match=r"without BatchNorm.*norm='instance'"):
        Trajectories.create(tmp_path / "b", ConvNet(norm="batch")(3, (1, 8, 8)), data(), **given)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10, 10, 1000))
    with pytest.raises(OutputError, match=r"2 experts of 4 snapshots takes .* kB, and the disk of .* has 1.0 kB left"):
        Trajectories.create(tmp_path / "b", net(), data(), **given)
    assert not (tmp_path / "b").exists()
    monkeypatch.undo()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes").write_text("x")
    with pytest.raises(OutputError, match="not empty"):
        Trajectories.create(tmp_path / "taken", net(), data(), **given)
    with pytest.raises(InputError, match="does not exist"):
        Trajectories.open(tmp_path / "absent", net(), data())
    buffer = Trajectories.create(tmp_path / "half", net(), data(), dtype="float16", **given)
    big = net()
    with torch.no_grad():
        big.head.bias.fill_(1e6)
    with pytest.raises(InputError, match="float16 after epoch 0"):
        buffer.writer(0).add(big)
    buffer, _ = filled(tmp_path / "bad")
    buffer.path(0).write_bytes(b"cut short")
    with pytest.raises(InputError, match="expert-000"):
        buffer.snapshot(0, 0)
