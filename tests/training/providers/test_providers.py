"""Label providers: bytes as on disk, labels as defined, batches replayed bit by bit."""

from __future__ import annotations

import math
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from labelwright.data.augment import Crop, CropFlip, CutMix, Mixup
from labelwright.data.batch import TensorData, batches
from labelwright.data.record import PLAIN, Augmentation
from labelwright.errors import InputError, OutputError
from labelwright.nn import MLP, ConvNet, net_named, seeded
from labelwright.nn.lowrank import adapt
from labelwright.training import Fit, Step, train
from labelwright.training.providers import (
    HardLabels,
    OnlineTeacher,
    Projector,
    RecordedLogits,
    Served,
    StaticLogits,
    TwoDistance,
    check_teacher,
    distances,
    load_provider,
    reconstructed,
    record,
    record_bytes,
    student_losses,
)
from labelwright.training.providers.losses import distance_losses, hard_losses, soft_losses
from labelwright.training.providers.packed import Packed
from labelwright.training.providers.projector import ProjectorNet

N, C, SHAPE = 22, 4, (2, 8, 8)
NAMES = ("ant", "bee", "cat", "dog")
MIXED = Augmentation(view=CropFlip(pad=2), mix=CutMix())


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def examples() -> TensorData:
    return TensorData.of(random(N, *SHAPE, seed=1), torch.arange(N) % C)


def convnet(seed: int = 0, norm: str = "batch") -> nn.Module:
    with seeded(seed):
        net = ConvNet(depth=2, width=8, norm=norm)(C, SHAPE)
    net(random(40, *SHAPE, seed=seed + 50))  # running statistics of its own
    return net.eval()


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def epoch(provider, augmentation=PLAIN, *, number: int = 0, seed: int = 3, size: int = 8) -> list[Served]:
    data = examples()
    made = batches(data, batch_size=size, seed=seed, epoch=number, first_step=number * math.ceil(N / size), order=provider.order)
    return [provider.serve(batch, augmentation) for batch, _ in made]


def teacher(**rest) -> OnlineTeacher:
    factory = ConvNet(depth=2, width=8, norm="batch")
    return OnlineTeacher.of([convnet(0), convnet(1)], factory, names=NAMES, input_shape=SHAPE, **rest)


def recorded(folder, **rest):
    given = {"teacher": teacher().predict, "names": NAMES, "augmentation": MIXED, "epochs": 3, "batch_size": 8, "seed": 3} | rest
    return record(folder, examples().inputs, examples().labels, **given)


def providers(tmp_path) -> dict:
    projector = ProjectorNet(adapt(ConvNet(depth=1, width=6)(5, SHAPE), 2), random(5, C), rank=2)
    return {
        "hard": HardLabels(names=NAMES, values=examples().labels),
        "static": StaticLogits.of(random(N, C), names=NAMES),
        "top": StaticLogits.of(random(N, C), names=NAMES, top=2, dtype=torch.float32),
        "recorded": recorded(tmp_path / "r"),
        "recorded, top, seed": recorded(tmp_path / "s", top=1, replay="seed"),
        "two": recorded(tmp_path / "t", keep="distances"),
        "teacher": teacher(weights=(3, 1), mode="batch", parts=2),
        "projector": Projector(names=NAMES, net=projector.eval(), encoder_id="a small net"),
    }


@pytest.mark.parametrize("kind", ["hard", "static", "top", "recorded", "recorded, top, seed", "two", "teacher", "projector"])
def test_bytes_are_those_on_disk_and_labels_survive(kind, tmp_path):
    provider = providers(tmp_path)[kind]
    provider.save(tmp_path / "saved")
    nbytes = provider.nbytes
    assert nbytes == on_disk(tmp_path / "saved")
    augmentation = PLAIN if isinstance(provider, (RecordedLogits, TwoDistance)) else Augmentation(view=Crop(pad=1), mix=Mixup())
    before = epoch(provider, augmentation)
    for name in "rst":
        shutil.rmtree(tmp_path / name)  # what was saved stands alone
    given = {"encoder": ConvNet(depth=1, width=6)(5, SHAPE)} if kind == "projector" else {}
    if kind == "projector":
        given["encoder"].load_state_dict(provider._frozen())
    again = load_provider(tmp_path / "saved", **given)
    assert type(again) is type(provider)
    assert again.names == NAMES
    assert again.nbytes == nbytes
    for a, b in zip(before, epoch(again, augmentation), strict=True):
        for name in ("inputs", "first", "second", "lam", "logits", "distances"):
            left, right = getattr(a, name), getattr(b, name)
            assert (left is None and right is None) or torch.equal(left, right), name
    assert provider.part == ("generators" if kind in ("teacher", "projector") else "labels")


def test_hard_labels_mix_by_area():
    provider = HardLabels(names=NAMES, values=examples().labels)
    for served in epoch(provider, MIXED):
        logits = random(len(served), C)
        target = served.lam * F.one_hot(served.first, C) + (1 - served.lam) * F.one_hot(served.second, C)
        assert_close(student_losses(logits, served), -(target * logits.log_softmax(1)).sum(1))
    with pytest.raises(InputError, match="labels"):
        HardLabels(names=NAMES, values=torch.tensor([0, 4]))
    with pytest.raises(InputError, match="two classes"):
        HardLabels(names=("one",), values=torch.tensor([0]))


def test_static_logits_are_mixed_before_temperature():
    z = random(N, C)
    provider = StaticLogits.of(z, names=NAMES, dtype=torch.float32)
    data = examples()
    for (batch, _), served in zip(batches(data, batch_size=8, seed=3, epoch=0), epoch(provider, MIXED), strict=True):
        mate = MIXED.draw(batch.clean.shape, batch.generator)["mix.mate"]
        own = z[batch.index]
        assert_close(served.logits, served.lam * own + (1 - served.lam) * own[mate])
    for served, (batch, _) in zip(epoch(provider), batches(data, batch_size=8, seed=3, epoch=0), strict=True):
        assert torch.equal(served.logits, z[batch.index])  # nothing mixed
    with pytest.raises(InputError, match="column a class"):
        StaticLogits.of(random(N, C + 1), names=NAMES)
    with pytest.raises(InputError, match="not finite"):
        StaticLogits.of(z * 1e6, names=NAMES)
    with pytest.raises(InputError, match="number 2"):
        epoch(StaticLogits.of(z[:20], names=NAMES))


def test_the_largest_logits_keep_their_probabilities():
    z = 3 * random(50, 10)
    packed = Packed(10, torch.float32, 3)
    back = packed.unpack(packed.pack(z)).softmax(1)
    p = z.softmax(1)
    top = p.topk(3).indices
    assert_close(back.gather(1, top), p.gather(1, top), atol=1e-5, rtol=0)
    for row in range(50):
        others = [c for c in range(10) if c not in top[row].tolist()]
        assert_close(back[row, others], p[row, others].mean().expand(7), atol=1e-6, rtol=0)
    assert packed.shapes(50)["classes"] == (torch.uint8, (50, 3))
    assert Packed(300).class_dtype == torch.int16
    with pytest.raises(InputError, match="top"):
        Packed(4, top=4)


def test_student_losses_fit_the_labels():
    z, s = random(6, C), random(6, C, seed=1)
    first, second = torch.arange(6) % C, (torch.arange(6) + 1) % C
    common = {"inputs": s, "first": first, "second": second, "lam": torch.tensor(0.7)}
    soft = Served(**common, logits=z)
    p = (z / 4).softmax(1)
    assert_close(student_losses(s, soft, temperature=4), (p * (p.log() - (s / 4).log_softmax(1))).sum(1))
    assert_close(student_losses(z + 3, soft, temperature=4), torch.zeros(6), atol=1e-6, rtol=0)
    # for large T the gradient is that of the squared difference of centred logits over C T^2
    leaf = s.clone().requires_grad_()
    (grad,) = torch.autograd.grad(soft_losses(leaf, soft, temperature=300).sum(), leaf)
    centred = (s - s.mean(1, keepdim=True)) - (z - z.mean(1, keepdim=True))
    assert_close(grad * 300**2 * C, centred, atol=2e-2, rtol=0)
    both = Served(**common, distances=distances(z, first, second))
    assert_close(student_losses(s, both, weight=2.5), hard_losses(s, both) + 2.5 * distance_losses(s, both))
    with pytest.raises(InputError, match="logits"):
        soft_losses(s, both, temperature=1)
    with pytest.raises(InputError, match="distances"):
        distance_losses(s, soft)


def test_two_distances():
    z, s = random(9, C), random(9, C, seed=1).requires_grad_()
    first, second = torch.arange(9) % C, (torch.arange(9) * 2) % C  # some pairs are of one class
    d = distances(z, first, second)
    assert_close(d[:, 0], F.cross_entropy(z, first, reduction="none"))
    assert_close(d[:, 1], F.cross_entropy(z, second, reduction="none"))
    served = Served(inputs=z, first=first, second=second, lam=torch.tensor(1.0), distances=d)
    own = distance_losses(z.clone().requires_grad_(), served, norm="l2")
    assert_close(own, torch.zeros(9))
    ds = distances(s, first, second)
    for i in range(9):
        expected = abs(ds[i, 0] - d[i, 0]) + (0 if first[i] == second[i] else abs(ds[i, 1] - d[i, 1]))
        assert_close(distance_losses(s, served)[i], expected)
    # a constant, or a permutation of the other classes, changes nothing
    swapped = s.detach().clone()
    for i in range(9):
        others = [c for c in range(C) if c not in (int(first[i]), int(second[i]))]
        swapped[i, others] = s.detach()[i, others[::-1]]
    assert_close(distance_losses(swapped + 5, served), distance_losses(s, served).detach())
    assert_close(hard_losses(s, served), F.cross_entropy(s, first, reduction="none"))  # lam = 1
    assert float(distances(torch.tensor([[0.0, 900.0]]), torch.tensor([0]), torch.tensor([1]))[0, 0]) == 16
    twice = Served(inputs=z, first=first, second=first, lam=torch.tensor(0.3), distances=d[:, :1].expand(-1, 2))
    (g,) = torch.autograd.grad(distance_losses(s, twice, norm="l2").sum(), s)
    assert bool(g.isfinite().all())


def test_two_distances_hold_the_whole_label_of_two_classes():
    z = random(20, 2)
    first, second = torch.arange(20) % 2, (torch.arange(20) + 1) % 2
    served = Served(inputs=z, first=first, second=second, lam=torch.tensor(0.5), distances=distances(z, first, second))
    assert_close(reconstructed(served, 2), z.softmax(1))
    z = random(20, 5)
    first, second = torch.arange(20) % 5, (torch.arange(20) // 3) % 5
    served = Served(inputs=z, first=first, second=second, lam=torch.tensor(0.5), distances=distances(z, first, second))
    q, p = reconstructed(served, 5), z.softmax(1)
    assert_close(q.sum(1), torch.ones(20))
    assert_close(q.gather(1, first[:, None]), p.gather(1, first[:, None]))
    others = torch.ones(20, 5).scatter_(1, torch.stack([first, second], 1), 0).bool()
    for i in range(20):
        assert_close(q[i][others[i]], p[i][others[i]].mean().expand(int(others[i].sum())))


# records


@pytest.mark.parametrize("replay", ["draws", "seed"])
def test_a_record_is_replayed_bit_by_bit(replay, tmp_path):
    provider = recorded(tmp_path / "r", replay=replay, dtype=torch.float32)
    data, asked = examples(), teacher()
    for number in range(3):
        served = epoch(provider, number=number, seed=99)  # the seed of the reader does not matter
        fresh = list(batches(data, batch_size=8, seed=3, epoch=number))
        assert [len(s) for s in served] == [8, 8, 6]
        for (batch, _), s in zip(fresh, served, strict=True):
            draws = MIXED.draw(batch.clean.shape, batch.generator)
            assert torch.equal(s.inputs, MIXED.apply(batch.clean, draws))
            assert torch.equal(s.second, batch.labels[draws["mix.mate"]])
            assert float(s.lam) == float(draws["mix.lam"])
            assert torch.equal(s.logits, asked.predict(s.inputs))
    half = recorded(tmp_path / "h", replay=replay)
    for a, b in zip(epoch(half), epoch(provider), strict=True):
        assert_close(a.logits, b.logits, atol=1e-3, rtol=1e-3)
    assert half.nbytes < provider.nbytes
    assert half.nbytes <= record_bytes(N, C, SHAPE, epochs=3, batch_size=8, augmentation=MIXED, replay=replay) + on_disk_head(half)


def on_disk_head(provider) -> int:
    from labelwright.files import json_bytes

    return json_bytes(provider._head())


def test_two_distances_take_two_numbers(tmp_path):
    provider = recorded(tmp_path / "two", keep="distances", replay="seed")
    payload = sum(path.stat().st_size for path in provider.paths)
    header = 8 + 96  # one tensor's line, to a multiple of eight
    assert payload - 3 * 2 * N * 2 <= 3 * header
    asked = teacher()
    for s in epoch(provider):
        assert s.logits is None
        assert_close(s.distances, distances(asked.predict(s.inputs), s.first, s.second), atol=4e-3, rtol=2e-3)
    with pytest.raises(InputError, match="top"):
        recorded(tmp_path / "x", keep="distances", top=1)


def test_other_batches_than_the_recorded_ones_are_refused(tmp_path):
    provider = recorded(tmp_path / "r")
    fit = Fit(epochs=3, batch_size=8)
    assert provider.checked(fit) is fit
    for bad, word in (
        (Fit(epochs=3, batch_size=16), "batches of 8"),
        (Fit(epochs=4, batch_size=8), "3 epochs"),
        (Fit(epochs=3, batch_size=8, drop_last=True), "drop_last"),
        (Fit(epochs=3, batch_size=8, augment="flip"), "augment"),
    ):
        with pytest.raises(InputError, match=word):
            provider.checked(bad)
    data = examples()
    other, _ = next(batches(data, batch_size=8, seed=77, epoch=0))
    with pytest.raises(InputError, match="not the recorded"):
        provider.serve(other)
    with pytest.raises(InputError, match="another one has no effect"):
        epoch(provider, Augmentation(mix=Mixup()))
    with pytest.raises(InputError, match="22 examples"):
        provider.order(data.take(torch.arange(5)), seed=0, epoch=0, stream=0)
    with pytest.raises(InputError, match="no epoch 3"):
        epoch(provider, number=3)


def test_a_record_goes_on_where_it_stopped_and_is_one_record_only(tmp_path, monkeypatch):
    calls = []
    asked = teacher()

    def counting(x):
        calls.append(len(x))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return asked.predict(x)

    with pytest.raises(KeyboardInterrupt):
        recorded(tmp_path / "r", teacher=counting)
    with pytest.raises(InputError, match="cannot be read"):
        load_provider(tmp_path / "r")  # unfinished
    again = recorded(tmp_path / "r", teacher=counting)
    assert len(calls) == 5 + 6  # the first epoch is kept
    whole = recorded(tmp_path / "whole")
    for a, b in zip(again.paths, whole.paths, strict=True):
        assert a.read_bytes() == b.read_bytes()
    recorded(tmp_path / "r", teacher=counting)
    assert len(calls) == 11  # nothing was left to do
    with pytest.raises(InputError, match="other images, settings"):
        recorded(tmp_path / "r", epochs=5)
    with pytest.raises(InputError, match="other images, settings"):
        recorded(tmp_path / "r", key="another teacher")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("x")
    with pytest.raises(OutputError, match="not empty"):
        recorded(tmp_path / "taken")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10, 10, 100))
    with pytest.raises(OutputError, match=r"3 epochs takes .* kB, and the disk of .* has 100 bytes left"):
        recorded(tmp_path / "full")
    assert not (tmp_path / "full").exists()
    monkeypatch.undo()
    with pytest.raises(InputError, match="4 classes"):
        recorded(tmp_path / "wide", teacher=lambda x: torch.zeros(len(x), 7))


def test_a_damaged_record_is_named(tmp_path):
    provider = recorded(tmp_path / "r")
    provider.paths[1].write_bytes(b"short")
    with pytest.raises(InputError, match="epoch-00001"):
        epoch(provider, number=1)
    provider.paths[2].unlink()
    with pytest.raises(InputError, match=r"epoch-00002.*missing"):
        load_provider(tmp_path / "r")


@pytest.mark.parametrize("kind", ["hard", "static", "recorded", "two", "teacher", "projector"])
def test_a_student_learns_from_every_provider_through_the_loop(kind, tmp_path):
    provider, data = providers(tmp_path)[kind], examples()
    augmentation = PLAIN if kind in ("recorded", "two") else MIXED

    def step(net: nn.Module, batch) -> Step:
        served = provider.serve(batch, augmentation)
        return Step(student_losses(net(served.inputs), served, temperature=2).mean())

    fit = provider.checked(Fit(epochs=3, batch_size=8, lr=0.05, keep="last"))

    def run():
        with seeded(5):
            net = MLP(hidden=(16,))(C, SHAPE)
        return train(net, step, data, fit=fit, order=provider.order, seed=11)

    first, second = run(), run()
    assert first.history == second.history
    assert first.history[-1]["loss"] < first.history[0]["loss"]


# teachers


def test_batchnorm_modes_differ_as_they_should():
    x = random(6, *SHAPE, seed=2)
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.9), nn.Linear(128, C)).eval()
    with torch.no_grad():
        net[0].running_mean.add_(0.5)
        net[0].running_var.mul_(3)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    kept, batch = (OnlineTeacher(nets=[net], names=NAMES, input_shape=SHAPE, mode=mode) for mode in ("eval", "batch"))
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    closed = net[3](((x - mean) / (var + 1e-5).sqrt()).flatten(1))
    assert_close(batch.predict(x), closed.detach(), atol=1e-5, rtol=1e-4)
    running = net[3](((x - net[0].running_mean.view(1, 2, 1, 1)) / (net[0].running_var.view(1, 2, 1, 1) + 1e-5).sqrt()).flatten(1))
    assert_close(kept.predict(x), running.detach(), atol=1e-5, rtol=1e-4)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    assert_close(batch.predict(x[order]), batch.predict(x)[order], atol=1e-5, rtol=1e-4)
    halves = OnlineTeacher(nets=[net], names=NAMES, input_shape=SHAPE, mode="batch", parts=2)
    assert_close(halves.predict(x), torch.cat([batch.predict(x[:3]), batch.predict(x[3:])]))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m.training for m in net.modules())
    net.train()
    kept.predict(x)
    assert all(m.training for m in net.modules())
    with pytest.raises(InputError, match="single image"):
        halves.predict(x[:3])


def test_a_committee_is_a_weighted_mean():
    a, b, x = convnet(0), convnet(1), random(5, *SHAPE)
    common = {"names": NAMES, "input_shape": SHAPE}
    with torch.no_grad():
        za, zb = a(x), b(x)
    assert_close(OnlineTeacher(nets=[a, b], weights=(3, 1), **common).predict(x), 0.75 * za + 0.25 * zb)
    assert_close(OnlineTeacher(nets=[a, a], weights=(0.2, 0.8), **common).predict(x), za)
    probs = OnlineTeacher(nets=[a, b], average="probabilities", **common).predict(x).softmax(1)
    assert_close(probs, (za.softmax(1) + zb.softmax(1)) / 2)
    assert teacher().digest == teacher().digest
    assert teacher().digest != teacher(mode="batch").digest
    for bad, word in ({"weights": (1,)}, "Lengths"), ({"weights": (-1, 2)}, "non-negative"), ({"mode": "train"}, "mode"):
        with pytest.raises(InputError, match=word):
            OnlineTeacher(nets=[a, b], **common, **bad)
    with pytest.raises(InputError, match="3 classes"):
        OnlineTeacher(nets=[a], names=NAMES[:3], input_shape=SHAPE).predict(x)


def test_a_teacher_of_the_callers_own_is_handed_over_again(tmp_path):
    own = OnlineTeacher(nets=[convnet(0)], names=NAMES, input_shape=SHAPE)
    own.save(tmp_path / "own")
    with pytest.raises(InputError, match="own"):
        load_provider(tmp_path / "own")
    again = load_provider(tmp_path / "own", nets=[net_named("convnet", depth=2, width=8, norm="batch")(C, SHAPE)])
    assert torch.equal(again.predict(random(4, *SHAPE)), own.predict(random(4, *SHAPE)))
    teacher().save(tmp_path / "known")
    assert torch.equal(load_provider(tmp_path / "known").predict(random(4, *SHAPE)), teacher().predict(random(4, *SHAPE)))
    with pytest.raises(InputError, match="encoder= has no effect"):
        load_provider(tmp_path / "known", encoder=convnet(0))


class Answers(nn.Module):
    """Says of each row what stands in it."""

    def __init__(self, table: list[int], classes: int = C) -> None:
        super().__init__()
        self.table, self.classes = torch.tensor(table), classes

    def forward(self, x):
        return 5.0 * F.one_hot(self.table[x[:, 0].long()], self.classes).float()


def test_a_teacher_is_checked_on_real_data():
    labels = torch.arange(200) % C
    x = labels[:, None].float()
    found = check_teacher(Answers([0, 1, 2, 3]), x, labels, names=NAMES, teacher_names=NAMES)
    assert (found.accuracy.value, found.n, found.majority) == (1.0, 200, 0.25)
    with pytest.raises(InputError, match=r"another order: 50.0% right as they stand, 100.0% after.*output 2 \('cat'\) answers for 'bee'"):
        check_teacher(Answers([0, 2, 1, 3]), x, labels, names=NAMES)
    with pytest.raises(InputError, match="output 1 is 'cat', class 1 of the data is 'bee'"):
        check_teacher(Answers([0, 1, 2, 3]), x, labels, names=NAMES, teacher_names=("ant", "cat", "bee", "dog"))
    with pytest.raises(InputError, match="other classes: it lacks 'dog'"):
        check_teacher(Answers([0, 1, 2, 3]), x, labels, names=NAMES, teacher_names=("ant", "bee", "cat", "eel"))
    with pytest.raises(InputError, match=r"\(200, 7\), but there are 4"):
        check_teacher(Answers([0, 1, 2, 3], 7), x, labels, names=NAMES)
    with pytest.raises(InputError, match="no better than always"):
        check_teacher(Answers([0, 0, 0, 0]), x, labels, names=NAMES)
    with pytest.raises(InputError, match="finite"):
        check_teacher(lambda z: torch.full((len(z), C), float("nan")), x, labels, names=NAMES)
    with pytest.raises(InputError, match="none of 200"):
        check_teacher(Answers([0, 1, 2, 3]), x, torch.full((200,), -1), names=NAMES)
    part = torch.where(torch.arange(200) < 100, labels, -1)
    assert check_teacher(lambda z: Answers([0, 1, 2, 3])(z), x, part, names=NAMES).n == 100


# projector


def test_a_projector_starts_as_the_prototype_classifier_and_stores_little(tmp_path):
    encoder, prototypes, x = ConvNet(depth=1, width=6)(5, SHAPE), random(5, C), random(7, *SHAPE)
    net = ProjectorNet(adapt(encoder, {"head": 2}), prototypes, rank=3, scale=7.0)
    features = F.normalize(encoder(x), dim=1)
    assert_close(net(x), 7 * features @ prototypes)
    nn.init.normal_(net.up)
    nn.init.normal_(net.encoder.head.up)
    provider = Projector(names=NAMES, net=net, encoder_id="five features", keep_prototypes=False)
    assert provider.numbers == 3 * (5 + C) + 2 * (encoder.head.layer.in_features + 5)
    fresh = ConvNet(depth=1, width=6)(5, SHAPE)
    assert provider.encoder_bytes == sum(4 * p.numel() for p in fresh.parameters())
    assert provider.nbytes < provider.encoder_bytes
    provider.save(tmp_path / "p")
    fresh.load_state_dict(provider._frozen())
    again = load_provider(tmp_path / "p", encoder=fresh, prototypes=prototypes)
    assert_close(again.predict(x), provider.predict(x))
    for given, word in ({}, "five features"), ({"encoder": fresh}, "prototypes"):
        with pytest.raises(InputError, match=word):
            load_provider(tmp_path / "p", **given)
    whole = Projector(names=NAMES, net=net, encoder_id="five features", store_encoder=True)
    whole.save(tmp_path / "whole")
    assert whole.nbytes == on_disk(tmp_path / "whole") > provider.encoder_bytes
    assert_close(load_provider(tmp_path / "whole", encoder=ConvNet(depth=1, width=6)(5, SHAPE)).predict(x), provider.predict(x))
    with pytest.raises(InputError, match="4 outputs; there are 3"):
        Projector(names=NAMES[:3], net=net, encoder_id="")


def test_unknown_and_damaged_folders(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_provider(tmp_path / "absent")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "provider.json").write_text('{"kind": "oracle", "names": ["a", "b"]}')
    with pytest.raises(InputError, match="'oracle'"):
        load_provider(tmp_path / "odd")
