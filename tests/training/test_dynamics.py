"""Scores of training dynamics by hand and by autograd; the recorder writes what the step computed."""

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
from labelwright.training import Fit, Recorder, Step, TensorData, predict_logits, train
from labelwright.training.dynamics import Dynamics, area_under_margin, el2n, entropy, forgetting_events, grand, margin


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_el2n_by_hand():
    logits = torch.tensor([[math.log(0.7), math.log(0.2), math.log(0.1)]])
    assert el2n(logits, torch.tensor([0])).item() == pytest.approx(math.sqrt(0.3**2 + 0.2**2 + 0.1**2))
    assert el2n(torch.tensor([[50.0, -50.0]]), torch.tensor([1])).item() == pytest.approx(math.sqrt(2))


def test_grand_is_the_norm_of_the_last_layers_gradient():
    head, features, labels = nn.Linear(6, 4), random(5, 6), torch.tensor([0, 1, 2, 3, 0])
    scores = grand(head(features), labels, features.norm(dim=1))
    for i in range(5):
        gradients = torch.autograd.grad(F.cross_entropy(head(features[i : i + 1]), labels[i : i + 1]), list(head.parameters()))
        assert_close(scores[i].detach(), torch.cat([g.flatten() for g in gradients]).norm())


def test_margin_entropy_and_area_by_hand():
    values = torch.tensor([[1.0, 5.0, 2.0], [4.0, 0.0, 3.0]])
    assert margin(values, torch.tensor([1, 2])).tolist() == [3.0, -1.0]
    assert entropy(torch.zeros(1, 8)).item() == pytest.approx(math.log(8))
    logits = torch.stack([values, values.flip(0)])
    assert area_under_margin(logits, torch.tensor([1, 0])).tolist() == [(3.0 - 4.0) / 2, (1.0 - 4.0) / 2]
    logits[1, 0] = float("nan")
    assert area_under_margin(logits, torch.tensor([1, 0])).tolist() == [3.0, -1.5]


def test_forgetting_events_by_hand():
    history = torch.tensor([[1, 0, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)
    events, learned = forgetting_events(history)
    assert events.tolist() == [2, 0, 0, 0]
    assert learned.tolist() == [True, False, True, True]
    logits = torch.where(history[:, :, None], torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    log = Dynamics(logits=logits, feature_norm=torch.zeros(4, 4), labels=torch.zeros(4, dtype=torch.int64))
    assert log.forgetting().tolist() == [2.0, 4.0, 0.0, 0.0]  # never learned ranks above all


FIT = Fit(epochs=3, batch_size=8, lr=0.1)


def data(n: int = 30) -> TensorData:
    labels = torch.arange(n) % 3
    return TensorData.of(random(n, 5) + 2.0 * F.one_hot(labels, 5), labels)


def net() -> nn.Module:
    with seeded(0):
        return MLP(hidden=(7,))(3, (5,))


def step(net, batch):
    return Step(F.cross_entropy(net(batch.inputs), batch.labels))


def test_watching_writes_what_the_step_computed_and_changes_nothing():
    spied: dict[tuple[int, int], tuple[torch.Tensor, float]] = {}

    def spy(net, batch):
        logits, features = net(batch.inputs), net.body(batch.inputs)
        for i, index in enumerate(batch.index.tolist()):
            spied[batch.epoch, index] = (logits[i].detach().clone(), features[i].detach().norm())
        return Step(F.cross_entropy(logits, batch.labels))

    recorder = Recorder(30, epochs=3, classes=3)
    run = train(net(), recorder.watching(spy), data(), fit=FIT, seed=0, memory=recorder)
    plain = train(net(), step, data(), fit=FIT, seed=0)
    assert_close(run.net.head.weight, plain.net.head.weight, atol=0, rtol=0)
    log = recorder.read(data().labels)
    assert log.logits.shape == (3, 30, 3)
    for (epoch, index), (logits, norm) in spied.items():
        assert torch.equal(log.logits[epoch, index], logits)
        assert_close(log.feature_norm[epoch, index], norm)
    expected = torch.stack([el2n(log.logits[t], log.labels) for t in range(2)]).mean(0)
    assert_close(log.el2n(epochs=2), expected)
    assert not run.net._forward_hooks


def test_after_each_epoch_is_a_clean_pass():
    recorder, seen = Recorder(30, epochs=3, classes=3), []

    def note(end):
        seen.append(predict_logits(end.net, data().inputs))

    train(net(), step, data(), fit=FIT, seed=0, memory=recorder, on_epoch=[recorder.after(data(), batch_size=8), note])
    assert_close(recorder.read(data().labels).logits, torch.stack(seen))


def test_a_resumed_log_is_whole(tmp_path):
    class Stop(Exception):
        pass

    def stop(end):
        if end.epoch == 1:
            raise Stop

    whole = Recorder(30, epochs=3, classes=3)
    train(net(), whole.watching(step), data(), fit=FIT, seed=0, memory=whole)
    fit = dataclasses.replace(FIT, checkpoint=str(tmp_path))
    first = Recorder(30, epochs=3, classes=3)
    with pytest.raises(Stop):
        train(net(), first.watching(step), data(), fit=fit, seed=0, memory=first, on_epoch=[stop])
    second = Recorder(30, epochs=3, classes=3)
    train(net(), second.watching(step), data(), fit=fit, seed=0, memory=second)
    assert torch.equal(second.table.values, whole.table.values)


def test_examples_that_were_not_seen_have_no_score():
    part = data().take(torch.arange(20))
    recorder = Recorder(30, epochs=3, classes=3)
    train(net(), recorder.watching(step), part, fit=FIT, seed=0, memory=recorder)
    labels = data().labels.clone()
    labels[3] = -1
    log = recorder.read(labels)
    for score in (log.el2n(), log.grand(), log.entropy(), log.margin(), log.area_under_margin(), log.forgetting()):
        assert score[20:].isnan().all()
        assert score[3].isnan()
        assert score[[0, 1, 2, 4]].isfinite().all()
    with pytest.raises(InputError, match="Nothing has been recorded"):
        Recorder(30, epochs=3, classes=3).read(labels)


def test_planted_errors_have_the_lowest_area_under_the_margin():
    clean = data(120)
    wrong = torch.arange(0, 120, 10)
    labels = clean.labels.clone()
    labels[wrong] = (labels[wrong] + 1) % 3
    recorder = Recorder(120, epochs=6, classes=3)
    noisy = dataclasses.replace(clean, labels=labels)
    train(net(), recorder.watching(step), noisy, fit=dataclasses.replace(FIT, epochs=6, lr=0.05), seed=0, memory=recorder)
    lowest = recorder.read(labels).area_under_margin().argsort()[:12]
    assert len(set(lowest.tolist()) & set(wrong.tolist())) >= 8  # chance: 1.2


def test_a_step_without_logits_is_told_so():
    recorder = Recorder(30, epochs=3, classes=3)
    with pytest.raises(InputError, match="on_epoch"):
        train(net(), recorder.watching(lambda n, b: Step(n.body(b.inputs).mean())), data(), fit=FIT, seed=0, memory=recorder)


def test_scores_of_special_predictions():
    """A uniform prediction, a right and a wrong one-hot; the closed form of EL2N; a constant margin."""
    for classes in (2, 5, 10):
        assert el2n(torch.zeros(1, classes), torch.tensor([1])).item() == pytest.approx(math.sqrt(1 - 1 / classes), abs=1e-6)
    sure = torch.tensor([[60.0, 0.0, 0.0]])
    assert el2n(sure, torch.tensor([0])).item() == pytest.approx(0, abs=1e-6)
    assert el2n(sure, torch.tensor([2])).item() == pytest.approx(math.sqrt(2))
    logits, labels = random(50, 7), torch.arange(50) % 7
    p = logits.softmax(1)
    closed = (p.square().sum(1) - 2 * p.gather(1, labels[:, None])[:, 0] + 1).sqrt()
    assert_close(el2n(logits, labels), closed, atol=1e-5, rtol=0)
    steady = torch.zeros(6, 3, 4)
    steady[:, :, 1] = 2.5
    assert area_under_margin(steady, torch.tensor([1, 1, 0])).tolist() == [2.5, 2.5, -2.5]
    assert float(entropy(sure)) == pytest.approx(0, abs=1e-6)
    learned = torch.tensor([1, 1, 0, 1, 0], dtype=torch.bool)[:, None]
    assert forgetting_events(learned)[0].tolist() == [2]
