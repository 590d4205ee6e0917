"""ELR+: ramps, refined labels, who teaches whom, weight averages, and a learner that beats cross-entropy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from labelwright.data import Dataset
from labelwright.data.batch import Batch, step_generator
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.learn.cross_entropy import CrossEntropy
from labelwright.learn.noisy.elr import clamped, elr_penalty
from labelwright.learn.noisy.elr_plus import ELRPlus, Peers, PeerTargets, own_step, peer_step, penalty_weight, refined_labels
from labelwright.nn import MLP, Ensemble, EnsembleNet, seeded
from labelwright.nn.ema import early_ramp, sigmoid_ramp
from labelwright.results import Learned
from labelwright.training import Fit


def test_penalty_ramp_by_hand():
    assert penalty_weight(0, 40_000) == pytest.approx(math.exp(-5))
    assert penalty_weight(20_000, 40_000) == pytest.approx(math.exp(-1.25))
    assert penalty_weight(40_000, 40_000) == penalty_weight(90_000, 40_000) == penalty_weight(0, 0) == 1.0


def test_averaging_ramps_by_hand():
    assert sigmoid_ramp(0.997, 40_000)(0) == pytest.approx(0.997 * math.exp(-5 * (1 - 1 / 40_000) ** 2))
    assert sigmoid_ramp(0.997, 40_000)(39_999) == 0.997
    assert [early_ramp(0.9)(s) for s in (0, 1, 3, 50)] == [0.0, 0.5, 0.75, 0.9]


def test_refined_labels_by_hand():
    mixed, target = torch.tensor([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0]]), torch.tensor([[0.1, 0.3, 0.6], [0.0, 0.0, 0.5]])
    assert_close(refined_labels(mixed, target), torch.tensor([[1 / 3, 2 / 3, 0.0], [0.6, 0.4, 0.0]]))


def test_own_step_counts_each_network_alone():
    # three steps a pass: net 0 makes run steps 0-2 and 6-8, net 1 makes 3-5 and 9-11
    assert [own_step(s, 3) for s in (0, 2, 3, 5, 6, 11)] == [(0, 0), (0, 2), (1, 0), (1, 2), (0, 3), (1, 5)]


def pair(seed=0, *, averaged=False, batchnorm="average", decay=0.5):
    with seeded(seed):
        nets = Ensemble(base=MLP(hidden=(6,)))(3, (4,))
    return Peers(nets, decay=early_ramp(0.9) if decay is None else (lambda s: decay), batchnorm=batchnorm, averaged=averaged)


def make_batch(stream=0, n=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g)
    return Batch(
        inputs=x, clean=x, labels=torch.randint(3, (n,), generator=g), index=torch.randperm(20, generator=g)[:n], weights=torch.ones(n),
        epoch=0, step=0, stream=stream, generator=step_generator(seed=seed, epoch=0, stream=stream, step=0),
    )  # fmt: skip


def test_average_starts_from_a_copy_and_follows_in_closed_form():
    peers = pair(decay=0.75)
    before = [p.clone() for p in peers.averages[1].net.parameters()]
    for a, b in zip(peers.averages[1].net.parameters(), peers.nets.members[1].parameters(), strict=True):
        assert torch.equal(a, b)
        assert not a.requires_grad
    with torch.no_grad():
        for p in peers.nets.members[1].parameters():
            p.add_(1.0)
    peers.follow(1, 0)
    for old, new in zip(before, peers.averages[1].net.parameters(), strict=True):
        assert_close(new, old + 0.25)


def test_targets_come_from_the_other_networks_average():
    """Perturbing the averaged copy of network 0 must change only the targets of network 1."""
    method = ELRPlus(mixup=0.0)
    base, moved = pair(), pair()
    with torch.no_grad():
        for p in moved.averages[0].parameters():
            p.mul_(-2.0)
    tables = []
    for peers in (base, moved):
        memory = PeerTargets(20, 3, storage="float32")
        for stream in (0, 1):
            peer_step(peers, memory, make_batch(stream), method=method, step=0)
        tables.append([table.targets for table in memory.tables])
    assert torch.equal(tables[0][0], tables[1][0])
    rows = make_batch().index
    assert float((tables[0][1] - tables[1][1])[rows].abs().amax(1).min()) > 1e-4
    expected = 0.3 * base.averages[1](make_batch().inputs).softmax(1)
    assert_close(tables[0][0][rows], expected)


def test_without_mixup_the_loss_is_written_out():
    peers, memory, batch = pair(), PeerTargets(20, 3, storage="float32"), make_batch()
    got = peer_step(peers, memory, batch, method=ELRPlus(mixup=0.0, lam=2.0, penalty_ramp=10), step=5)
    logits = peers.nets.members[0](batch.inputs)
    target = 0.3 * peers.averages[1](batch.inputs).softmax(1)
    penalty = elr_penalty(clamped(logits.softmax(1)), target)
    assert_close(got, F.cross_entropy(logits, batch.labels, reduction="none") + 2.0 * math.exp(-1.25) * penalty)


def test_mixed_loss_by_hand_and_share_one_is_no_mixup(monkeypatch):
    peers, batch, method = pair(), make_batch(), ELRPlus(lam=3.0)
    mate = torch.randperm(8, generator=torch.Generator().manual_seed(5))

    def loss_at(share, how):
        monkeypatch.setattr("labelwright.data.mix.Mixup.draw", lambda *_: {"lam": torch.tensor(share), "mate": mate})
        return peer_step(peers, PeerTargets(20, 3, storage="float32"), batch, method=how, step=0)

    assert_close(loss_at(1.0, method), loss_at(0.3, replace(method, mixup=0.0)), rtol=1e-6, atol=1e-6)
    got = loss_at(0.7, method)
    x, t = batch.inputs, 0.3 * peers.averages[1](batch.inputs).softmax(1)
    logits = peers.nets.members[0](0.7 * x + 0.3 * x[mate])
    given, mates = (F.cross_entropy(logits, y, reduction="none") for y in (batch.labels, batch.labels[mate]))
    agree = (clamped(logits.softmax(1)) * (0.7 * t + 0.3 * t[mate])).sum(1)
    assert_close(got, 0.7 * given + 0.3 * mates + 3.0 * torch.log(1 - agree))


def test_modes_of_the_averaged_copies():
    with seeded(0):
        member = [torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 3)) for _ in range(2)]
    for policy, live in (("average", False), ("recompute", True)):
        peers = Peers(EnsembleNet(member), decay=early_ramp(0.9), batchnorm=policy, averaged=True).train()
        norm, dropout, _ = peers.averages[0].net
        assert peers.nets.members[0][1].training
        assert norm.training is live
        assert dropout.training is False
        peers.eval()
        assert not norm.training


def noisy_blobs(seed, n=800, rate=0.4):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = (3.0 * np.eye(3, 30)[y] + rng.normal(scale=0.8, size=(n, 30))).astype(np.float32)
    wrong = rng.random(n) < rate
    return x, y, np.where(wrong, (y + rng.integers(1, 3, n)) % 3, y), wrong


def test_beats_cross_entropy_and_finds_the_wrong_labels(tmp_path):
    x, y, noisy, wrong = noisy_blobs(0)
    test_x, test_y, _, _ = noisy_blobs(1, n=1000)
    data = Dataset(inputs=x, labels=ClassLabels(values=noisy))
    fit = Fit(epochs=20, batch_size=64, lr=0.05, weight_decay=0.0, keep="last")
    learned = ELRPlus().learn(data, MLP(hidden=(64,)), fit=fit, seed=0)
    plain = CrossEntropy().learn(data, MLP(hidden=(64,)), fit=fit, seed=0)
    ours, theirs = (float((m.predict_proba(test_x).argmax(1) == test_y).mean()) for m in (learned, plain))
    assert ours > theirs + 0.1
    assert ours > 0.9
    assert (learned.labels.values == y).mean() > 0.9
    assert wrong[learned.label_scores > 0.5].mean() > 0.85
    assert learned.net_spec["net"] == "ensemble"
    learned.save(tmp_path / "m")
    loaded = Learned.load(tmp_path / "m")
    assert np.array_equal(loaded.predict_proba(test_x), learned.predict_proba(test_x))
    # the prediction is the mean of the two networks' logits
    inputs = learned.featuriser.transform(data)
    one, two = (net(inputs).detach() for net in learned.net.members)
    assert_close(learned.net(inputs).detach(), (one + two) / 2)
    assert float((one - two).abs().max()) > 0.1


def test_averaged_copies_can_be_the_ones_that_predict():
    x, _, noisy, _ = noisy_blobs(2, n=200)
    data = Dataset(inputs=x, labels=ClassLabels(values=noisy))

    def with_norm(num_classes, input_shape):
        return torch.nn.Sequential(
            torch.nn.Linear(input_shape[0], 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, num_classes)
        )

    fit = Fit(epochs=2, batch_size=32)
    method = ELRPlus(predict_with="averages", batchnorm="recompute")
    learned = method.learn(data, with_norm, fit=fit, seed=0)
    linear, norm = learned.net.members[0][0], learned.net.members[0][1]
    train = learned.featuriser.transform(data)
    # recomputed statistics are means over batches of the training rows; nearly those of all rows
    assert_close(norm.running_mean, linear(train).mean(0).detach(), rtol=0, atol=0.2)
    again = method.learn(data, with_norm, fit=fit, seed=0)
    assert np.array_equal(again.predict_proba(x), learned.predict_proba(x))
    nets = ELRPlus(predict_with="nets").learn(data, with_norm, fit=fit, seed=0)
    assert np.abs(nets.predict_proba(x) - learned.predict_proba(x)).max() > 1e-3


@pytest.mark.parametrize(
    "bad", [{"lam": -1.0}, {"beta": 1.0}, {"mixup": -1.0}, {"gamma": 1.0}, {"average_ramp": -1}, {"predict_with": "x"}]
)
def test_bad_settings(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        ELRPlus(**bad)
