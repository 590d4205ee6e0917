"""ELR against closed forms, Lemma 2 of the paper, and the two-Gaussian experiment of its theory."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from labelwright.data import Dataset
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.learn.cross_entropy import CrossEntropy
from labelwright.learn.noisy.elr import DENSE, ELR, EPS, TOP, ELRLoss, elr_gradient, elr_losses, elr_penalty, merged, next_target, wrongness
from labelwright.learn.noisy.elr_plus import ELRPlus
from labelwright.nn import MLP, HuggingFace
from labelwright.results import Learned
from labelwright.training import Fit


def random_case(n=7, c=4, *, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, c, generator=g, dtype=torch.float64, requires_grad=True)
    target = torch.rand(n, c, generator=g, dtype=torch.float64)
    target = target / target.sum(1, keepdim=True) * torch.rand(n, 1, generator=g, dtype=torch.float64)
    labels = torch.randint(c, (n,), generator=g)
    return logits, target, labels


def test_penalty_of_a_uniform_prediction():
    probs, target = torch.full((1, 4), 0.25), torch.eye(4)[:1]
    assert_close(elr_penalty(probs, target), torch.tensor([math.log(0.75)]))


def test_penalty_is_bounded_when_prediction_and_target_agree_fully():
    one = torch.eye(3)
    assert_close(elr_penalty(one, one), torch.full((3,), math.log(EPS)), rtol=1e-3, atol=0)
    assert_close(elr_penalty(one, torch.zeros(3, 3)), torch.zeros(3))


def test_gradient_is_lemma_2():
    logits, target, labels = random_case()
    p = logits.detach().softmax(1)
    loss = (F.cross_entropy(logits, labels, reduction="none") + 3.0 * elr_penalty(logits.softmax(1), target)).mean()
    loss.backward()
    # the paper's own form, by explicit sums: g_c = p_c / (1 - <p, t>) sum_k (t_k - t_c) p_k
    g = torch.empty_like(p)
    for i in range(len(p)):
        for c in range(p.shape[1]):
            inner = sum((target[i, k] - target[i, c]) * p[i, k] for k in range(p.shape[1]))
            g[i, c] = p[i, c] / (1 - (p[i] * target[i]).sum()) * inner
    wanted = (p - F.one_hot(labels, 4) + 3.0 * g) / len(p)
    assert_close(logits.grad, wanted, rtol=0, atol=1e-12)
    assert_close(elr_gradient(p, target), g, rtol=0, atol=1e-12)


def test_gradient_oracle_at_special_targets():
    logits, target, _ = random_case(seed=3)
    p = logits.detach().softmax(1)
    assert_close(elr_gradient(p, target).sum(1), torch.zeros(7, dtype=torch.float64), rtol=0, atol=1e-14)
    assert_close(elr_gradient(p, torch.full_like(p, 0.2)), torch.zeros_like(p), rtol=0, atol=1e-14)
    assert_close(elr_gradient(p, torch.zeros_like(p)), torch.zeros_like(p))
    one_hot = torch.zeros_like(p)
    one_hot[:, 1] = 1
    wanted = p * p[:, 1:2] / (1 - p[:, 1:2])
    wanted[:, 1] = -p[:, 1]
    assert_close(elr_gradient(p, one_hot), wanted, rtol=0, atol=1e-12)


def test_without_penalty_it_is_cross_entropy_exactly():
    logits, target, labels = random_case(seed=4)
    assert torch.equal(elr_losses(logits, labels, target, lam=0.0), F.cross_entropy(logits, labels, reduction="none"))
    assert torch.equal(elr_losses(logits, labels, torch.zeros_like(target), lam=5.0), F.cross_entropy(logits, labels, reduction="none"))
    loss = ELRLoss(7, 4, beta=0.7, lam=0.0)
    index = torch.arange(7)
    assert_close(loss(logits, labels, index), F.cross_entropy(logits, labels), rtol=0, atol=1e-15)


def test_target_after_m_equal_predictions():
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    t = torch.zeros_like(p)
    for _ in range(6):
        t = next_target(t, p, beta=0.7)
    assert_close(t, (1 - 0.7**6) * p, rtol=0, atol=1e-15)
    assert_close(next_target(t, p, beta=0.0), p)


def test_loss_updates_the_target_first_and_only_in_training():
    loss = ELRLoss(10, 3, beta=0.9, lam=2.0)
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]))
    index, labels = torch.tensor([7, 2]), torch.tensor([0, 1])
    got = loss.losses(logits, labels, index)
    # t = 0.1 p, so the first loss already has <p, t> = 0.1 |p|^2
    wanted = torch.tensor([-math.log(0.5) + 2 * math.log(1 - 0.1 * 0.38), -math.log(0.8) + 2 * math.log(1 - 0.1 * 0.66)])
    assert_close(got, wanted)
    assert_close(loss.targets[[7, 2]], 0.1 * logits.exp())
    assert int((loss.targets.sum(1) > 0).sum()) == 2
    loss.eval()
    loss(logits, labels, index)
    assert_close(loss.targets[[7, 2]], 0.1 * logits.exp())


def test_beta_zero_keeps_the_clamped_prediction():
    loss = ELRLoss(1, 3, beta=0.0, lam=1.0)
    loss(torch.tensor([[40.0, 0.0, 0.0]]), torch.tensor([0]), torch.tensor([0]))
    q = torch.tensor([[1 - EPS, EPS, EPS]])
    assert_close(loss.targets, q / q.sum())


def test_an_index_twice_in_a_batch_gets_the_mean():
    loss = ELRLoss(2, 2, beta=0.5, lam=1.0)
    probs = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    loss(probs.log(), torch.tensor([0, 0]), torch.tensor([1, 1]))
    assert_close(loss.targets, torch.tensor([[0.0, 0.0], [0.35, 0.15]]))


def test_repeats_in_large_batches_are_merged_the_same_way():
    g = torch.Generator().manual_seed(0)
    index, rows = torch.randint(500, (DENSE + 1,), generator=g), torch.rand(DENSE + 1, 3, generator=g)
    got = merged(index, rows)
    for i in (0, 7, DENSE):
        assert_close(got[i], rows[index == index[i]].mean(0))
    few = index[:50]
    once = torch.tensor([int((few == i).sum()) == 1 for i in few])
    assert torch.equal(merged(few, rows[:50])[once], rows[:50][once])


def test_tables_are_consistent_under_permutation():
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(3, 6, 4, generator=g), torch.randint(4, (6,), generator=g)
    plain, moved = ELRLoss(6, 4), ELRLoss(6, 4)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for epoch in logits:
        plain(epoch, labels, torch.arange(6))
        moved(epoch[order], labels[order], order)
    assert torch.equal(plain.targets, moved.targets)


def test_corrected_labels_and_suspects():
    loss = ELRLoss(4, 2, beta=0.5)
    loss(torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1, 1]), torch.tensor([0, 1, 3]))
    assert loss.corrected_labels().tolist() == [0, 0, -1, 1]
    assert loss.suspects(torch.tensor([0, 1, 1, -1])).tolist() == [False, True, False, False]


def test_wrongness_by_hand():
    target = torch.tensor([[0.6, 0.3, 0.0], [0.6, 0.3, 0.0], [0.6, 0.3, 0.0], [0.6, 0.3, 0.0]])
    assert_close(wrongness(target, torch.tensor([0, 1, 2, -1])), torch.tensor([0.35, 0.65, 0.8, 0.0]))


@pytest.mark.parametrize(("storage", "atol"), [("float16", 1e-3), ("topk", 1e-6)])
def test_storage_keeps_the_arithmetic(storage, atol):
    g = torch.Generator().manual_seed(1)
    exact, stored = ELRLoss(5, 3), ELRLoss(5, 3, storage=storage)
    labels, index = torch.randint(3, (5,), generator=g), torch.arange(5)
    for _ in range(4):
        logits = torch.randn(5, 3, generator=g)
        a, b = exact.losses(logits, labels, index), stored.losses(logits, labels, index)
        assert a.dtype == b.dtype == torch.float32
        assert_close(a, b, rtol=0, atol=10 * atol)
    assert_close(exact.targets, stored.targets, rtol=0, atol=atol)


def test_topk_keeps_the_largest_entries_and_drops_the_rest():
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(2)) * 2
    loss = ELRLoss(5, 40, beta=0.5, lam=1.0, storage="topk")
    index = torch.tensor([4, 0, 2])
    loss(logits, torch.zeros(3, dtype=torch.long), index)
    q = logits.softmax(1).clamp(EPS, 1 - EPS)
    t = 0.5 * q / q.sum(1, keepdim=True)
    for row, target in zip(index, t, strict=True):
        border = target.sort(descending=True).values[TOP - 1]
        assert_close(loss.targets[row], torch.where(target >= border, target, 0.0))
    assert float(loss.targets[[1, 3]].abs().sum()) == 0


def test_half_precision_logits_stay_finite():
    loss = ELRLoss(2, 3)
    for _ in range(80):
        value = loss(torch.tensor([[30.0, 0, 0], [0, 30.0, 0]], dtype=torch.bfloat16), torch.tensor([0, 1]), torch.arange(2))
    # <q, t> -> (1 - EPS)^2 / (1 + EPS), so the penalty ends near log(3 EPS)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(3 * math.log(3 * EPS), abs=0.05)


def test_state_dict_holds_the_targets():
    loss = ELRLoss(3, 2)
    loss(torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0]), torch.arange(3))
    other = ELRLoss(3, 2)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.targets, loss.targets)
    assert float(other.targets.sum()) == pytest.approx(0.9, abs=1e-6)  # three rows of 1 - 0.7


@pytest.mark.parametrize("bad", [{"lam": -1.0}, {"beta": 1.0}, {"beta": -0.1}, {"storage": "float8"}])
def test_bad_settings(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        ELR(**bad)


def two_gaussians(seed, n=400, d=380, sigma=0.3, rate=0.4):
    """+-e1 plus noise; `rate` of the training labels redrawn, so half of that is wrong."""
    rng = np.random.default_rng(seed)

    def draw(m):
        y = rng.integers(0, 2, m)
        x = rng.normal(scale=sigma, size=(m, d))
        x[:, 0] += 2 * y - 1
        return torch.tensor(x, dtype=torch.float32), torch.tensor(y)

    x, y = draw(n)
    noisy = torch.where(torch.tensor(rng.random(n) < rate), torch.tensor(rng.integers(0, 2, n)), y)
    return x, noisy, y, *draw(2000)


def test_linear_model_on_two_gaussians_does_not_memorise():
    """The theory's setting: full-batch gradient descent, rate 1, 1500 steps. Cross-entropy ends by fitting every wrong label."""
    x, noisy, clean, x_test, y_test = two_gaussians(0)
    wrong = noisy != clean

    def descend(lam):
        weight, bias = torch.zeros(380, 2, requires_grad=True), torch.zeros(2, requires_grad=True)
        loss = ELRLoss(400, 2, beta=0.7, lam=lam)
        for _ in range(1500):
            value = loss(x @ weight + bias, noisy, torch.arange(400))
            grads = torch.autograd.grad(value, (weight, bias))
            with torch.no_grad():
                weight -= grads[0]
                bias -= grads[1]
        with torch.no_grad():
            test = float(((x_test @ weight + bias).argmax(1) == y_test).float().mean())
            memorised = float(((x @ weight + bias).argmax(1) == noisy)[wrong].float().mean())
        return test, memorised, loss.suspects(noisy)

    ce_test, ce_memorised, _ = descend(0.0)
    elr_test, elr_memorised, suspects = descend(3.0)
    assert ce_memorised > 0.95
    assert elr_memorised < 0.1
    assert elr_test >= ce_test + 0.12
    assert float(wrong[suspects].float().mean()) > 0.95
    assert float(suspects[wrong].float().mean()) > 0.9


def noisy_blobs(seed, n=900, rate=0.4):
    """Three well separated classes in 20 dimensions; `rate` of the labels moved to another class."""
    rng = np.random.default_rng(seed)
    centres = 3.0 * np.eye(3, 20)
    y = rng.integers(0, 3, n)
    x = (centres[y] + rng.normal(scale=0.8, size=(n, 20))).astype(np.float32)
    wrong = rng.random(n) < rate
    noisy = np.where(wrong, (y + rng.integers(1, 3, n)) % 3, y)
    return x, y, noisy, wrong


def test_learner_finds_the_wrong_labels_and_its_folder_loads_back(tmp_path):
    x, y, noisy, wrong = noisy_blobs(0)
    labels = noisy.copy()
    labels[:20] = -1
    data = Dataset(inputs=x, labels=ClassLabels(values=labels, names=("a", "b", "c")), ids=[f"row{i}" for i in range(len(x))])
    learned = ELR().learn(data, MLP(hidden=(64,)), fit=Fit(epochs=15, lr=0.05, keep="last"), seed=0)
    scores, corrected = learned.label_scores, learned.labels.values
    assert scores.shape == (900,)
    assert (scores[:20] == 0).all()  # nothing was given there
    assert (corrected[20:] == y[20:]).mean() > 0.95
    assert (corrected[:20] == y[:20]).mean() > 0.9  # the final network's own prediction
    flagged = scores > 0.5
    assert np.array_equal(flagged[20:], corrected[20:] != noisy[20:])
    assert wrong[20:][flagged[20:]].mean() > 0.9
    assert flagged[20:][wrong[20:]].mean() > 0.9
    learned.save(tmp_path / "model")
    loaded = Learned.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(data), learned.predict_proba(data))
    assert loaded.labels == learned.labels
    assert np.array_equal(loaded.label_scores, scores)
    assert loaded.provenance.fields == {"lam": 3.0, "beta": 0.7, "storage": "float32"}


def test_without_penalty_the_learner_is_the_baseline_weights_included():
    x, _, noisy, _ = noisy_blobs(1, n=200)
    weight = np.where(np.arange(200) < 20, 0.0, 1.0 + np.arange(200) % 3)
    data = Dataset(inputs=x, labels=ClassLabels(values=noisy), columns={"weight": weight})
    fit = Fit(epochs=3, batch_size=32)
    ours, plain = (m.learn(data, MLP(hidden=(16,)), fit=fit, seed=5).predict_proba(x) for m in (ELR(lam=0.0), CrossEntropy()))
    assert_close(ours, plain, rtol=0, atol=1e-5)


def test_same_seed_same_result_other_seed_other_weights():
    x, _, noisy, _ = noisy_blobs(1, n=200)
    data = Dataset(inputs=x, labels=ClassLabels(values=noisy))
    fit = Fit(epochs=2)
    a, b, c = (ELR().learn(data, MLP(hidden=(8,)), fit=fit, seed=s) for s in (3, 3, 4))
    assert np.array_equal(a.predict_proba(x), b.predict_proba(x))
    assert np.array_equal(a.label_scores, b.label_scores)
    assert np.abs(a.predict_proba(x) - c.predict_proba(x)).max() > 1e-3


def test_a_hugging_face_image_classifier_trains_one_epoch(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    config.save_pretrained(tmp_path / "tiny")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 96)
    x = rng.integers(0, 100, (96, 3, 32, 32)).astype(np.uint8)
    x[y == 1] += 120
    data = Dataset(inputs=x, labels=ClassLabels(values=y))
    factory = HuggingFace(model=str(tmp_path / "tiny"), pretrained=False)
    learned = ELR().learn(data, factory, fit=Fit(epochs=1, batch_size=8, lr=0.05), seed=0)
    assert (learned.predict(data).values == y).mean() > 0.9
    learned.save(tmp_path / "model")
    assert np.array_equal(Learned.load(tmp_path / "model").predict_proba(data), learned.predict_proba(data))


@pytest.mark.parametrize("method", [ELR(), ELRPlus()])
def test_a_run_that_was_interrupted_resumes_exactly(method, tmp_path):
    """Targets, averages and step counters travel with the checkpoint."""
    x, _, noisy, _ = noisy_blobs(3, n=160)
    data = Dataset(inputs=x, labels=ClassLabels(values=noisy))
    fit = Fit(epochs=4, batch_size=32, lr=0.05)
    calls = 0

    def factory(num_classes, input_shape, stop=10**9):
        class Fragile(torch.nn.Linear):
            def forward(self, inputs):
                nonlocal calls
                calls += 1
                if calls == stop:
                    raise KeyboardInterrupt
                return super().forward(inputs)

        return Fragile(input_shape[0], num_classes)

    whole = method.learn(data, factory, fit=fit, seed=0)
    total, calls = calls, 0
    again = replace(fit, checkpoint=str(tmp_path / "ckpt"))
    with pytest.raises(KeyboardInterrupt):
        method.learn(data, partial(factory, stop=total * 2 // 3), fit=again, seed=0)
    calls = 0
    resumed = method.learn(data, factory, fit=again, seed=0)
    assert calls < total
    assert np.array_equal(resumed.predict_proba(x), whole.predict_proba(x))
    assert np.array_equal(resumed.label_scores, whole.label_scores)
