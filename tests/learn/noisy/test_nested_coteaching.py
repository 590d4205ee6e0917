"""nested-coteaching: the sheet's oracles for the sweep, the theorem, the exchange, and learnability on planted noise."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from labelwright.data import Dataset
from labelwright.data.batch import Batch, TensorData
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.learn import CoTeaching, NestedCoTeaching, NestedDropout
from labelwright.learn.noisy.coteaching import SmallLossLog, balanced_rows, exchange_step, forget_rate, keep_smallest, remember_count
from labelwright.learn.noisy.nested_dropout import best_channels, bias_variance, sweep_channels
from labelwright.nn import MLP, seeded
from labelwright.nn.compress import Compressed
from labelwright.nn.ensembles import Ensemble
from labelwright.results import Learned
from labelwright.training import Fit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- the sweep over channels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 10**6])
def test_sweep_equals_brute_force_masking(monkeypatch, chunk):
    from labelwright.learn.noisy import nested_dropout

    monkeypatch.setattr(nested_dropout, "SWEEP_VALUES", chunk)
    z, w = torch.randn(23, 6, generator=generator()), torch.randn(4, 6, generator=generator(1))
    y = torch.randint(0, 4, (23,), generator=generator(2))
    brute = [float(((z * (torch.arange(6) < k)) @ w.T).argmax(1).eq(y).double().mean()) for k in range(1, 7)]
    assert_close(sweep_channels([z], [w], y), torch.tensor(brute, dtype=torch.float64))


def test_sweep_of_two_networks_averages_logits():
    z = [torch.randn(31, 5, generator=generator(s)) for s in (0, 1)]
    w = [torch.randn(3, 5, generator=generator(s)) for s in (2, 3)]
    y = torch.randint(0, 3, (31,), generator=generator(4))
    brute = [
        float(sum((a * (torch.arange(5) < k)) @ b.T for a, b in zip(z, w, strict=True)).argmax(1).eq(y).double().mean())
        for k in range(1, 6)
    ]
    assert_close(sweep_channels(z, w, y), torch.tensor(brute, dtype=torch.float64))


def test_sweep_ignores_unknown_labels():
    z, w = torch.eye(3), torch.eye(3)
    assert_close(sweep_channels([z], [w], torch.tensor([0, 1, -1])), torch.tensor([0.5, 1.0, 1.0], dtype=torch.float64))


def test_ties_go_to_fewer_channels_and_one_channel_may_win():
    assert best_channels(torch.tensor([0.5, 0.9, 0.9, 0.9], dtype=torch.float64)) == 2
    assert best_channels(torch.tensor([0.9, 0.9], dtype=torch.float64)) == 1
    assert best_channels(torch.tensor([0.5, 0.50002], dtype=torch.float64)) == 2  # gains more than the price of a channel


# --- Theorem 1 ---------------------------------------------------------------------------------------------------------------


def test_theorem_1_is_an_identity():
    g = generator(5)
    for _ in range(20):
        p = torch.rand(4, generator=g, dtype=torch.float64).softmax(0)
        q = torch.randn(6, 4, generator=g, dtype=torch.float64).softmax(1)
        m = torch.rand(6, generator=g, dtype=torch.float64).softmax(0)
        expected = -(m[:, None] * p[None] * q.log()).sum()
        assert float((sum(bias_variance(p, q, m)) - expected).abs()) < 1e-10


def test_one_mask_has_no_variance():
    q = torch.tensor([[0.2, 0.8]], dtype=torch.float64)
    bias, variance, _ = bias_variance(q[0], q, torch.ones(1, dtype=torch.float64))
    assert float(bias) == pytest.approx(0, abs=1e-12)
    assert float(variance) == pytest.approx(0, abs=1e-12)


# --- the exchange ------------------------------------------------------------------------------------------------------------


def test_forget_schedule():
    assert [forget_rate(e, tau=0.4, ramp=4) for e in (0, 1, 2, 4, 9)] == pytest.approx([0, 0.1, 0.2, 0.4, 0.4])
    assert forget_rate(0, tau=0.4, ramp=0) == 0.4


def test_remember_count_is_the_floor():
    assert remember_count(10, 0.3) == 7  # (1 - 0.3) * 10 is 6.999… in floating point
    assert remember_count(9, 0.2) == 7
    assert remember_count(5, 0.0) == 5
    assert remember_count(1, 0.9) == 1


def test_keep_smallest():
    assert sorted(keep_smallest(torch.tensor([3.0, 0.0, 2.0, 1.0]), 0.5).tolist()) == [1, 3]


class Table(nn.Module):
    """A network whose logit is a constant per input: losses can be planted."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(value)))
        self.seen = []

    def forward(self, x):
        if torch.is_grad_enabled():
            self.seen.append(x[:, 0].detach().tolist())
        return torch.stack([x[:, 1] * self.value, torch.zeros(len(x))], dim=1)


def batch_of(inputs, labels):
    n = len(inputs)
    return Batch(
        inputs=inputs,
        clean=inputs,
        labels=labels,
        index=torch.arange(n),
        weights=torch.ones(n),
        epoch=0,
        step=0,
        stream=0,
        generator=generator(),
    )


def pair_of(one, two):
    pair = nn.Module()
    pair.members = nn.ModuleList([one, two])
    return pair


def test_each_network_learns_what_the_peer_kept():
    # column 0 names the example, column 1 makes its logit; the sign of a network's value orders its losses
    x = torch.tensor([[0, 1], [1, 2], [2, -1], [3, -2], [4, 1], [5, 2], [6, -1], [7, -2]], dtype=torch.float32)
    one, two = Table(1.0), Table(-1.0)
    step = exchange_step(SmallLossLog(8), tau=0.5, ramp=0, split_batch=True)
    step(pair_of(one, two), batch_of(x, torch.zeros(8, dtype=torch.long)))
    assert sorted(one.seen[0]) == [6, 7]  # net 2 ranks half B by -x
    assert sorted(two.seen[0]) == [0, 1]  # net 1 ranks half A by x


def test_nothing_forgotten_and_equal_networks_give_equal_losses():
    x = torch.tensor([[0, 1], [1, -2], [0, 1], [1, -2]], dtype=torch.float32)
    one, two = Table(0.7), Table(0.7)
    step = exchange_step(SmallLossLog(4), tau=0.0, ramp=0, split_batch=True)
    out = step(pair_of(one, two), batch_of(x, torch.tensor([0, 1, 0, 1])))
    out.loss.backward()
    assert sorted(one.seen[0]) == sorted(two.seen[0]) == [0, 1]
    assert_close(one.value.grad, two.value.grad)


def test_compressed_networks_rank_in_evaluation_mode_and_return_to_training():
    with seeded(0):
        pair = Ensemble(base=Compressed(base=MLP(hidden=(6,), dropout=0.5), sigma=2.0), size=2)(3, (4,))
    pair.train()
    x, y = torch.randn(12, 4, generator=generator()), torch.randint(0, 3, (12,), generator=generator(1))
    log = SmallLossLog(12)
    exchange_step(log, tau=0.5, ramp=0, split_batch=True)(pair, batch_of(x, y))
    assert all(m.training for m in pair.modules())
    pair.eval()
    for number, half in ((0, slice(0, 6)), (1, slice(6, 12))):
        losses = nn.functional.cross_entropy(pair.members[number](x[half]), y[half], reduction="none")
        expected = torch.zeros(12, dtype=torch.bool)
        expected[half.start + losses.topk(3, largest=False).indices] = True
        assert (log.kept[number] == expected).all()


def test_log_precision_counts_kept_examples_of_the_last_epoch():
    log = SmallLossLog(4)
    log.record(0, 0, torch.arange(4), torch.arange(4))
    log.record(0, 1, torch.tensor([3, 1]), torch.tensor([0]))
    log.record(1, 1, torch.tensor([0, 2]), torch.tensor([0, 1]))
    assert log.precision(np.array([True, True, False, True])) == pytest.approx(2 / 3)


def test_balanced_subset_cuts_every_class_to_the_rarest():
    labels = torch.tensor([0] * 9 + [1] * 3 + [2] * 5)
    data = TensorData.of(torch.zeros(17, 1), labels)
    rows = balanced_rows(data, seed=0)
    assert torch.bincount(labels[rows]).tolist() == [3, 3, 3]
    assert rows.tolist() != balanced_rows(data, seed=1).tolist()


# --- the learners ------------------------------------------------------------------------------------------------------------


def planted(n=900, noise=0.4, seed=0):
    """Three Gaussian classes in 20 dimensions, most of them distraction; symmetric exclusive noise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 20)).astype(np.float32)
    x[:, :3] += 2.2 * np.eye(3, dtype=np.float32)[truth]
    given = np.where(rng.random(n) < noise, (truth + rng.integers(1, 3, n)) % 3, truth)
    return Dataset(inputs=x, labels=ClassLabels(values=given, names=("a", "b", "c"))), truth


FIT = Fit(epochs=24, batch_size=64, optimizer="adamw", lr=3e-3, weight_decay=0.0, keep="last", schedule="constant")


@pytest.fixture(scope="module")
def nested():
    data, truth = planted()
    return NestedCoTeaching(sigma=3.0, forget_rate=0.4, finetune_lr=1.0).learn(data, MLP(hidden=(64,)), fit=FIT, seed=0), data, truth


def test_nested_coteaching_beats_cross_entropy_on_planted_noise(nested):
    from labelwright.learn import CrossEntropy

    learned, data, _ = nested
    clean, truth = planted(2000, 0.0, seed=7)
    plain = CrossEntropy().learn(data, MLP(hidden=(64,)), fit=FIT, seed=0)
    ours = float((learned.predict(clean).values == truth).mean())
    theirs = float((plain.predict(clean).values == truth).mean())
    assert ours >= theirs + 0.05, (ours, theirs)
    assert learned.facts["channels"] < learned.facts["of_channels"] / 2


def test_its_label_scores_find_planted_errors(nested):
    from sklearn.metrics import roc_auc_score

    learned, data, truth = nested
    assert roc_auc_score(data.labels.values != truth, learned.label_scores) > 0.85


def test_saved_and_loaded_it_predicts_the_same(nested, tmp_path):
    learned, data, _ = nested
    learned.save(tmp_path / "model")
    again = Learned.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(data), learned.predict_proba(data))
    assert int(again.net.members[0].keep) == learned.facts["channels"]


def test_epochs_are_the_total_over_stages(nested):
    learned, _, _ = nested
    assert sum(learned.facts["epochs_by_stage"]) == 24


@pytest.mark.parametrize("method", [CoTeaching(), NestedDropout(sigma=3.0), NestedDropout(compression="dropout"), NestedDropout(hidden=8)])
def test_same_seed_same_result_and_better_than_chance(method):
    data, truth = planted(400, 0.2)
    fit = Fit(epochs=25, batch_size=32, optimizer="adamw", lr=1e-2)
    first, second = (method.learn(data, MLP(hidden=(32,)), fit=fit, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(data), second.predict_proba(data))
    assert float((first.predict(data).values == truth).mean()) > 0.7


def test_frozen_batchnorm_is_untouched_in_stage_two():
    from labelwright.nn import ConvNet
    from labelwright.nn.modes import freeze_batchnorm

    net = ConvNet(depth=1, width=4, norm="batch")(2, (1, 4, 4))
    before = {k: v.clone() for k, v in net.body[1].state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, weight_decay=0.1)
    for _ in range(3):
        freeze_batchnorm(net)
        optimizer.zero_grad()
        net(torch.randn(8, 1, 4, 4, generator=generator())).square().mean().backward()
        optimizer.step()
    for name, value in net.body[1].state_dict().items():
        assert_close(value, before[name], rtol=0, atol=0)
    assert net.training


@pytest.mark.parametrize(
    "options", [{"forget_rate": 1.0}, {"ramp_epochs": -1}, {"finetune": 0.0}, {"compression": "neste"}, {"sigma": -1.0}]
)
def test_bad_settings(options):
    with pytest.raises(InputError):
        NestedCoTeaching(**options)


def test_one_epoch_is_too_few():
    data, _ = planted(60)
    with pytest.raises(InputError, match="two stages"):
        NestedCoTeaching().learn(data, MLP(), fit=Fit(epochs=1), seed=0)
