"""The baseline against hand-written gradient descent, and its options one by one."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from labelwright.data import Dataset, Texts
from labelwright.errors import InputError
from labelwright.labels import ClassLabels
from labelwright.learn.cross_entropy import CrossEntropy, class_weights, smoothed
from labelwright.nn import MLP, AutoNet
from labelwright.results import Learned, Status
from labelwright.training import Fit


def blobs(n=400, *, seed=0, d=10, c=3, scale=0.7):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    return (1.5 * np.eye(c, d)[y] + rng.normal(scale=scale, size=(n, d))).astype(np.float32), y


def dataset(x, y, **columns):
    return Dataset(inputs=x, labels=ClassLabels(values=y), columns=columns)


def linear(num_classes, input_shape):
    net = torch.nn.Linear(input_shape[0], num_classes)
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.zeros_(net.bias)
    return net


PLAIN = Fit(epochs=1, batch_size=10_000, lr=0.5, momentum=0.0, weight_decay=0.0, schedule="constant", keep="last")


def one_step_by_hand(data, targets, weights):
    """Weights of a linear net after one full-batch step from zero: lr * mean_i w_i (t_i - 1/C) x_i, w of mean 1."""
    x = np.asarray(data.inputs, dtype=np.float64)
    x = (x - x.mean(0)) / x.std(0)
    w = weights / weights.mean()
    return 0.5 * ((targets - targets.sum(1, keepdims=True) / targets.shape[1]) * w[:, None]).T @ x / len(x)


def test_one_step_of_a_linear_net_by_hand():
    x, y = blobs(60)
    weight = np.linspace(0.5, 2.0, 60)
    data = dataset(x, y, weight=weight)
    learned = CrossEntropy(label_smoothing=0.3).learn(data, linear, val=data, fit=PLAIN, seed=0)
    wanted = one_step_by_hand(data, 0.7 * np.eye(3)[y] + 0.1, weight)
    assert_close(learned.net.weight.detach().double().numpy(), wanted, rtol=1e-4, atol=1e-6)


def test_balanced_classes_by_hand():
    x, y = blobs(60)
    y = np.where(np.arange(60) < 50, 0, 1 + y % 2)
    data = dataset(x, y)
    learned = CrossEntropy(class_weight="balanced").learn(data, linear, val=data, fit=PLAIN, seed=0)
    weights = 60 / (3 * np.bincount(y))[y]
    assert_close(learned.net.weight.detach().double().numpy(), one_step_by_hand(data, np.eye(3)[y], weights), rtol=1e-4, atol=1e-6)


def test_class_weights_give_every_class_the_same_mass():
    labels, weights = torch.tensor([0, 0, 0, 2]), torch.tensor([1.0, 2.0, 3.0, 2.0])
    got = class_weights(labels, weights, 4)
    assert_close(got, torch.tensor([8 / 12, 0.0, 2.0, 0.0]))
    assert float((weights * got[labels]).sum()) == pytest.approx(8.0)


def test_smoothed_targets():
    assert_close(smoothed(torch.tensor([1]), 4, smoothing=0.2), torch.tensor([[0.05, 0.85, 0.05, 0.05]]))


def test_unlabelled_and_weightless_rows_do_not_train():
    x, y = blobs(60)
    spoiled = y.copy()
    spoiled[40:] = (y[40:] + 1) % 3
    weight = np.ones(60)
    weight[50:] = 0
    spoiled[40:50] = -1
    full = Dataset(inputs=x, labels=ClassLabels(values=spoiled, names="012"), columns={"weight": weight})
    val = dataset(x, y)
    learned = CrossEntropy().learn(full, linear, val=val, fit=PLAIN, seed=0)
    z = (x - x.mean(0, dtype=np.float64)) / x.std(0, dtype=np.float64)
    wanted = 0.5 * (np.eye(3)[y[:40]] - 1 / 3).T @ z[:40] / 40
    assert_close(learned.net.weight.detach().double().numpy(), wanted, rtol=1e-4, atol=1e-6)
    assert (learned.label_scores[40:50] == 0).all()


def test_scores_are_one_minus_the_probability_of_the_given_label():
    x, y = blobs()
    learned = CrossEntropy().learn(dataset(x, y), MLP(hidden=(16,)), fit=Fit(epochs=3), seed=0)
    probs = learned.predict_proba(x)
    assert_close(learned.label_scores, 1.0 - probs[np.arange(len(y)), y].astype(np.float64), rtol=0, atol=1e-6)
    assert learned.labels is None
    assert "in-sample" in learned.facts["label_scores"]


def test_mixup_cannot_fall_below_the_entropy_of_its_targets():
    x, y = blobs()
    fit = Fit(epochs=10, batch_size=16, lr=0.05, keep="last")
    plain = CrossEntropy().learn(dataset(x, y), MLP(hidden=(32,)), fit=fit, seed=0)
    mixed = CrossEntropy(mixup=50.0).learn(dataset(x, y), MLP(hidden=(32,)), fit=fit, seed=0)
    # Beta(50, 50) shares are within 0.35..0.65, where a coin's entropy exceeds 0.64; two thirds of the pairs differ in class
    assert mixed.history[-1]["loss"] > 0.64 * 0.62
    assert plain.history[-1]["loss"] < 0.2
    assert (mixed.predict(Dataset(inputs=x)).values == y).mean() > 0.9


def test_patience_stops_early_and_keeps_the_best_epoch():
    x, y = blobs(200, scale=2.0)
    learned = CrossEntropy(patience=2).learn(dataset(x, y), MLP(hidden=(16,)), fit=Fit(epochs=60, lr=0.1), seed=0)
    accuracy = [row["val_accuracy"] for row in learned.history]
    assert learned.status is Status.STOPPED_EARLY
    assert len(accuracy) < 60
    assert learned.facts["kept_epoch"] == int(np.argmax(accuracy)) == len(accuracy) - 3


def test_learns_texts_through_the_featuriser_and_saves(tmp_path):
    rng = np.random.default_rng(0)
    words = (["sun", "rain", "wind", "storm"], ["goal", "match", "team", "coach"])
    y = rng.integers(0, 2, 120)
    texts = [" ".join(rng.choice([*words[c], "the", "a", "very"], size=8)) for c in y]
    data = Dataset(inputs=Texts(texts), labels=ClassLabels(values=y, names=("weather", "sport")))
    learned = CrossEntropy().learn(data, AutoNet(), seed=1)
    assert learned.net_spec == {"net": "mlp", "args": {"hidden": [256, 256], "dropout": 0.0}}
    fresh = Dataset(inputs=Texts(["rain and wind", "the team scored a goal in the match"]))
    assert learned.predict(fresh).words().tolist() == ["weather", "sport"]
    learned.save(tmp_path / "m")
    assert np.array_equal(Learned.load(tmp_path / "m").predict_proba(fresh), learned.predict_proba(fresh))


def test_learns_images_from_bytes_of_the_default_recipe():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = rng.integers(0, 60, (200, 1, 8, 8)).astype(np.uint8)
    x[y == 1, :, :4] += 120
    learned = CrossEntropy().learn(dataset(x, y), AutoNet(), fit=Fit(epochs=4, batch_size=16), seed=0)
    assert learned.net_spec["net"] == "convnet"
    assert (learned.predict(Dataset(inputs=x)).values == y).mean() > 0.97


@pytest.mark.parametrize("bad", [{"label_smoothing": 1.0}, {"mixup": -1.0}, {"class_weight": "some"}, {"patience": -1}])
def test_bad_settings(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        CrossEntropy(**bad)


def test_one_class_only_is_refused():
    with pytest.raises(InputError, match="two classes"):
        CrossEntropy().learn(dataset(np.zeros((5, 2), np.float32), np.zeros(5, int)), linear, seed=0)
