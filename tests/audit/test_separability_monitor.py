"""The stopping rule on sequences worked out by hand; the monitor in three training loops."""

import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from labelwright.audit import separability_monitor as sm
from labelwright.audit.separability_monitor import SeparabilityMonitor, StopRule
from labelwright.errors import InputError, MissingExtra


def stop_at(scores, rule):
    """Number of evaluations made before the rule stops, or None."""
    return next((t for t in range(1, len(scores) + 1) if rule.verdict(scores[:t]).stop), None)


@pytest.mark.parametrize("patience", [1, 3, 5])
def test_rising_then_flat_stops_patience_evaluations_after_the_plateau(patience):
    scores = [0.1 * t for t in range(1, 10)] + [0.9] * 20  # the ninth evaluation is the first of the plateau
    assert stop_at(scores, StopRule(window=1, patience=patience)) == 9 + patience
    # a mean of three still rises for two evaluations more
    assert stop_at(scores, StopRule(window=3, patience=patience)) == 9 + 2 + patience


@pytest.mark.parametrize(("least", "patience", "want"), [(7, 3, 7), (1, 3, 4), (7, 8, 9)])
def test_constant_stops_after_least_or_patience(least, patience, want):
    assert stop_at([0.5] * 20, StopRule(least=least, patience=patience)) == want


def test_monotone_never_stops():
    assert stop_at([0.01 * t for t in range(100)], StopRule()) is None


def test_slow_progress_adds_up():
    # 0.003 an evaluation is below delta = 0.005, but two make 0.006: with a patience of 3 it goes on
    assert stop_at([0.003 * t for t in range(100)], StopRule(window=1)) is None
    # 0.001 an evaluation makes 0.006 by the seventh, just when it might have stopped; the next three add too little
    assert stop_at([0.001 * t for t in range(100)], StopRule(window=1)) == 10


def test_the_best_of_the_smoothed_scores_is_kept():
    verdict = StopRule(window=3).verdict([0.0, 0.9, 0.0, 0.5, 0.6, 0.5, 0.0])
    assert verdict.best == 5  # means 0, .45, .3, .467, .367, .533, .367
    assert verdict.smoothed[5] == pytest.approx(1.6 / 3)


@pytest.mark.parametrize("field", ["window", "patience", "least"])
def test_rule_fields_are_checked(field):
    with pytest.raises(InputError, match=field):
        StopRule(**{field: 0})
    with pytest.raises(InputError, match="delta"):
        StopRule(delta=-1)
    with pytest.raises(InputError, match="at least one"):
        StopRule().verdict([])


def cloud(gap: float, n: int = 100) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(n, 4))
    points[: n // 2, 0] += gap
    return points


def test_observe_follows_a_growing_gap_and_stops_when_it_stalls():
    monitor = SeparabilityMonitor(preparation=sm.Preparation(normalise="none"), seed=0)
    gaps = [4.0 * t for t in range(10)] + [36.0] * 10
    asked = [monitor.observe(cloud(g)) for g in gaps]
    assert asked.index(True) == 9 + 2 + 3  # last improvement of s two evaluations after the plateau begins, then patience
    assert monitor.stopped
    assert monitor.best >= 11
    assert monitor.rows[0]["score"] < monitor.rows[9]["score"]
    assert monitor.rows[9]["groups"] == 2
    plot = json.loads(json.dumps(monitor.to_dict()))
    assert plot["stopped_at"] == 14
    assert plot["plot"]["lines"]["score"][3] == [3, monitor.rows[3]["score"]]
    frame = monitor.to_frame()
    assert frame["stop"].to_list() == asked


def test_the_sample_is_fixed():
    monitor = SeparabilityMonitor(seed=0, rule=None)
    for _ in range(3):
        assert monitor.observe(cloud(3)) is False
    assert len({r["score"] for r in monitor.rows}) == 1
    with pytest.raises(InputError, match="100 points before and 99 now"):
        monitor.observe(cloud(3)[:99])
    with pytest.raises(InputError, match="no sample"):
        monitor.observe_net(nn.Linear(2, 2))


def tiny_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))


def test_embeddings_are_read_in_evaluation_mode_and_modes_restored():
    net, x = tiny_net().train(), torch.randn(300, 4)
    net[1].eval()
    seen = []
    monitor = SeparabilityMonitor(x, seed=0, embed=lambda n, s: seen.append(sm.hidden(n, s)) or seen[-1])
    monitor.observe_net(net)
    with torch.no_grad():
        want = net[0](x).clamp(min=0)
    torch.testing.assert_close(seen[0], want)
    assert [m.training for m in net] == [True, False, True, True]
    with torch.no_grad():
        torch.testing.assert_close(sm.logits(net, x), net[3](want))
        torch.testing.assert_close(sm.probabilities(net, x), net[3](want).softmax(1))
    with pytest.raises(InputError, match="no linear layer"):
        sm.hidden(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2))


def test_weights_of_the_best_checkpoint_come_back():
    monitor = SeparabilityMonitor(torch.randn(60, 4), seed=0, rule=StopRule(window=1), keep_weights=True)
    net = tiny_net()
    clouds = iter([cloud(5), cloud(30), cloud(5)])
    monitor.embed = lambda *_: next(clouds)
    marks = []
    for t in range(3):
        with torch.no_grad():
            net[0].bias.fill_(t)
        marks.append(monitor.observe_net(net, step=t))
    monitor.restore(net)
    assert monitor.best == 1
    assert (net[0].bias == 1).all()
    with pytest.raises(InputError, match="keep_weights"):
        SeparabilityMonitor(seed=0).restore(net)


def test_as_a_callback_of_the_training_loop():
    from labelwright.data.batch import TensorData
    from labelwright.training import Fit, Step, train

    x = torch.randn(64, 4)
    data = TensorData.of(x, (x[:, 0] > 0).long())
    monitor = SeparabilityMonitor(x, seed=0, rule=StopRule(least=2, patience=1, delta=1.0))  # nothing improves by 1

    def step(net, batch):
        return Step(nn.functional.cross_entropy(net(batch.inputs), batch.labels))

    run = train(tiny_net(), step, data, fit=Fit(epochs=6, batch_size=32), seed=0, on_epoch=(monitor,))
    assert run.stopped
    assert len(run.history) == 2
    assert [r["step"] for r in monitor.rows] == [0, 1]


def test_as_a_hugging_face_callback(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=12
    )
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    tokens = torch.randint(0, 30, (40, 8))
    sample = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    monitor = SeparabilityMonitor(sample, embed=sm.class_token, seed=0, rule=StopRule(least=2, patience=1, delta=1.0))
    rows = [{"input_ids": t, "labels": torch.tensor(int(t[0] > 14))} for t in tokens]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=5,
        per_device_train_batch_size=20,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[sm.hf_callback(monitor)])
    trainer.train()
    assert [r["step"] for r in monitor.rows] == [1.0, 2.0]  # stopped after the second of five epochs
    assert model.training  # mode given back
    with torch.no_grad():
        model.eval()
        want = model.bert(**sample).last_hidden_state[:, 0]
    torch.testing.assert_close(sm.class_token(model, sample), want)


@dataclass
class FakeTrainer:
    current_epoch: int = 0
    should_stop: bool = False


def test_as_a_lightning_hook(monkeypatch):
    class Callback:
        pass

    package = type(sys)("lightning.pytorch")
    package.Callback = Callback
    monkeypatch.setitem(sys.modules, "lightning", type(sys)("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", package)
    monitor = SeparabilityMonitor(torch.randn(50, 4), seed=0, rule=StopRule(least=2, patience=1, delta=1.0))
    hook, trainer, net = sm.lightning_callback(monitor), FakeTrainer(), tiny_net()
    assert isinstance(hook, Callback)
    hook.on_train_epoch_end(trainer, net)
    assert not trainer.should_stop
    trainer.current_epoch = 1
    hook.on_train_epoch_end(trainer, net)
    assert trainer.should_stop
    assert [r["step"] for r in monitor.rows] == [0, 1]


def test_an_absent_extra_is_named(monkeypatch):
    for name in ("transformers", "lightning.pytorch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"labelwright\[hf\]"):
        sm.hf_callback(SeparabilityMonitor(seed=0))
    with pytest.raises(MissingExtra, match=r"labelwright\[distributed\]"):
        sm.lightning_callback(SeparabilityMonitor(seed=0))
