"""Signals: folds, leakage, sources, and what cross-validated probabilities must be able to find."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from labelwright.data import Dataset, TableRows, Texts
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels
from labelwright.signals import KnnGraph, Signals, compute, label_losses
from labelwright.signals.crossval import fold_of, out_of_fold
from labelwright.signals.models import _Words
from labelwright.training import Fit


def flipped(labels: np.ndarray, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Class-dependent noise: a share of each class becomes the next class. Given labels, and which are wrong."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(labels)) < rate
    return np.where(wrong, (labels + 1) % (labels.max() + 1), labels), wrong


def blobs(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return rng.normal(size=(n, 2)) * 0.3 + 3 * np.stack([np.cos(labels), np.sin(labels)], 1), labels


# ------------------------------------------------------------------ folds


def fold_by_labels(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    names = [str(c) for c in range(5)]
    return fold_of(Dataset(inputs=np.zeros((len(labels), 1)), labels=ClassLabels(values=labels, names=names)), folds, seed=seed)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 4), min_size=6, max_size=60), st.integers(2, 6), st.integers(0, 5))
def test_folds_spread_every_class(labels, folds, seed):
    labels = np.array([*labels, 0, 1])
    fold = fold_by_labels(labels, folds, seed)
    assert ((fold == -1) == (labels == -1)).all()
    sizes = np.bincount(fold[fold >= 0], minlength=min(folds, int((labels >= 0).sum())))
    assert sizes.max() - sizes.min() <= 1
    for c in set(labels[labels >= 0]):
        counts = np.bincount(fold[labels == c], minlength=len(sizes))
        assert counts.max() - counts.min() <= 1


def test_folds_depend_on_the_seed_alone():
    labels = np.arange(100) % 3
    assert np.array_equal(fold_by_labels(labels, 5, 3), fold_by_labels(labels, 5, 3))
    assert not np.array_equal(fold_by_labels(labels, 5, 3), fold_by_labels(labels, 5, 4))


def test_many_groups_stay_whole_and_a_few_do_not():
    def fold(groups):
        data = Dataset(inputs=np.zeros((80, 1)), labels=ClassLabels(values=np.arange(80) % 2), columns={"group": groups})
        return fold_of(data, 5, seed=0)

    patients = np.arange(80) // 4
    assert all(len(set(fold(patients)[patients == p])) == 1 for p in range(20))
    sites = np.arange(80) // 27
    assert all(len(set(fold(sites)[sites == s])) == 5 for s in range(3))


# ------------------------------------------------------------------ cross-validation


class _Memory:
    """Remembers its training rows: probability 1 for a seen row's label, uniform for an unseen row."""

    name = "memory"

    def __call__(self, train, labels, test, *, num_classes, seed):
        out = np.full((len(test), num_classes), 1 / num_classes)
        for i, row in enumerate(test):
            if row in set(train.tolist()):
                out[i] = np.eye(num_classes)[labels[train.tolist().index(row)]]
        return out


def test_no_row_is_predicted_by_a_model_that_saw_it():
    labels = np.array([0, 1, 0, 1, 2, 2, 0, -1, 1, -1])
    assert np.allclose(out_of_fold(labels, np.array([0, 1, 2, 0, 1, 2, 0, -1, 1, -1]), 3, _Memory(), seed=0), 1 / 3)


def test_unlabelled_rows_get_the_mean_of_the_models():
    class Fold:
        name = "counter"
        calls = 0

        def __call__(self, train, labels, test, *, num_classes, seed):
            self.calls += 1
            share = self.calls / 10
            return np.tile([share, 1 - share], (len(test), 1))

    probs = out_of_fold(np.array([0, 0, 1, 1, -1]), np.array([0, 1, 0, 1, -1]), 2, Fold(), seed=0)
    assert np.allclose(probs[4], [0.15, 0.85])


def test_a_prior_is_what_a_featureless_model_gives():
    """Leave-one-fold-out frequencies: with 12 rows of class 0 and 6 of class 1 in three folds, each fold trains on 8 and 4."""
    data = Dataset(inputs=np.zeros((18, 2)), labels=ClassLabels(values=np.array([0] * 12 + [1] * 6)))
    signals = compute(data, ("probs",), seed=0, folds=3, model=DummyClassifier(strategy="prior"))
    assert np.allclose(signals.probs, [[2 / 3, 1 / 3]] * 18)
    assert signals.out_of_sample
    assert signals.probs_source == "cross-validated DummyClassifier, 3 folds"


def test_a_class_of_one_example_gets_one_pseudo_example_when_it_is_held_out():
    inputs, labels = blobs(30, 2, seed=0)
    labels = np.append(labels, 2)
    data = Dataset(inputs=np.vstack([inputs, [[9.0, 9.0]]]), labels=ClassLabels(values=labels))
    signals = compute(data, ("probs",), seed=0, folds=5, model=GaussianNB(var_smoothing=1e-2))
    held = signals.probs[30, 2]
    fold = fold_by_labels(labels, 5, 0)
    trained = int((fold != fold[30]).sum())
    assert math.isclose(held, 1 / (trained + 3), rel_tol=1e-5)
    assert np.allclose(signals.probs.sum(1), 1, atol=1e-6)


def test_the_featuriser_sees_training_rows_only():
    """One row is so large that standardising with it would make all others alike; predicted from outside, others stay apart."""
    inputs, labels = blobs(60, 2, seed=1)
    plain = compute(Dataset(inputs=inputs, labels=ClassLabels(values=labels)), ("probs",), seed=0, model=LogisticRegression())
    folds = fold_by_labels(labels, 5, 0)
    moved = inputs.copy()
    moved[0] *= 1e6
    after = compute(Dataset(inputs=moved, labels=ClassLabels(values=labels)), ("probs",), seed=0, model=LogisticRegression())
    same = (folds == folds[0]) & (np.arange(60) != 0)
    assert np.allclose(plain.probs[same], after.probs[same], atol=1e-6)  # their model never saw row 0
    assert not np.allclose(plain.probs[folds != folds[0]], after.probs[folds != folds[0]], atol=1e-3)


def test_words_of_a_fold_are_those_of_its_training_rows():
    """Counting once and selecting per fold equals a vectoriser fitted on the fold."""
    texts = [f"common word{i % 4} pair{i % 3} only{i}" for i in range(40)]
    labels = np.arange(40) % 2
    train, test = np.arange(25), np.arange(25, 40)
    made = _Words(Dataset(inputs=Texts(texts)))(train, labels[train], test, num_classes=2, seed=0)
    by_hand = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=5.0, max_iter=200))
    by_hand.fit([texts[i] for i in train], labels[train])
    assert np.allclose(made, by_hand.predict_proba([texts[i] for i in test]), atol=2e-3)


def test_a_pipeline_gets_raw_texts():
    texts = [["good fine nice", "bad awful poor"][i % 2] + f" item{i}" for i in range(40)]
    data = Dataset(inputs=Texts(texts), labels=ClassLabels(values=np.arange(40) % 2, names=("good", "bad")))
    signals = compute(data, ("probs",), seed=0, model=make_pipeline(TfidfVectorizer(), LogisticRegression(C=100)))
    assert (signals.probs.argmax(1) == np.arange(40) % 2).all()


def test_a_pipeline_gets_raw_vectors_and_a_random_model_is_seeded():
    from sklearn.ensemble import RandomForestClassifier

    inputs, labels = blobs(60, 3, seed=0)
    data = Dataset(inputs=inputs, labels=ClassLabels(values=labels))
    model = make_pipeline(StandardScaler(), RandomForestClassifier(10))
    first, second = (compute(data, ("probs",), seed=5, model=model).probs for _ in range(2))
    assert np.array_equal(first, second)
    assert (first.argmax(1) == labels).mean() > 0.95


# ------------------------------------------------------------------ what the default models must find


def test_vectors_with_wrong_labels():
    inputs, truth = load_breast_cancer(return_X_y=True)
    given_labels, wrong = flipped(truth, 0.25, seed=0)
    signals = compute(Dataset(inputs=inputs, labels=ClassLabels(values=given_labels)), ("probs", "losses"), seed=0)
    assert average_precision_score(wrong, signals.losses) > 0.85  # 0.25 by chance
    assert (signals.probs.argmax(1) == truth).mean() > 0.90


@pytest.mark.slow
def test_images_with_wrong_labels():
    digits = load_digits()
    rows = np.arange(700)
    given_labels, wrong = flipped(digits.target[rows], 0.25, seed=0)
    images = (digits.images[rows, None] / 16).astype(np.float32)
    data = Dataset(inputs=images, labels=ClassLabels(values=given_labels))
    signals = compute(data, ("probs", "losses"), seed=0, folds=3)
    assert average_precision_score(wrong, signals.losses) > 0.70
    assert (signals.probs.argmax(1) == digits.target[rows]).mean() > 0.80
    assert "convnet" in signals.probs_source


def test_tables_with_words_and_gaps():
    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "green", "blue"], 240)
    number = rng.normal(size=240)
    labels = ((colour == "red") ^ (number > 0)).astype(int)
    frame = pl.DataFrame({"colour": colour, "number": np.where(rng.random(240) < 0.05, np.nan, number)})
    signals = compute(Dataset(inputs=TableRows(frame), labels=ClassLabels(values=labels)), ("probs",), seed=0)
    assert (signals.probs.argmax(1) == labels).mean() > 0.9
    assert signals.probs_source == "cross-validated gradient boosting, 5 folds"


def test_multi_labels_are_asked_one_class_at_a_time():
    inputs, labels = blobs(90, 3, seed=0)
    values = np.stack([labels == 0, labels != 2, np.ones(90, bool)], 1).astype(np.int8)
    signals = compute(Dataset(inputs=inputs, labels=MultiLabels(values=values)), ("probs",), seed=0, folds=3)
    assert ((signals.probs[:, :2] > 0.5) == values[:, :2]).mean() > 0.98
    assert np.allclose(signals.probs[:, 2], 91 / 92)  # never seen absent: Laplace's rule


def test_a_network_of_the_callers_own_and_its_recipe():
    inputs, labels = blobs(90, 3, seed=0)
    data = Dataset(inputs=inputs, labels=ClassLabels(values=labels))

    def linear(num_classes, input_shape):
        return torch.nn.Linear(input_shape[0], num_classes)

    fit = Fit(epochs=15, batch_size=16, lr=0.1, keep="last")
    first, second = (compute(data, ("probs",), seed=1, folds=3, model=linear, fit=fit) for _ in range(2))
    assert np.array_equal(first.probs, second.probs)
    assert (first.probs.argmax(1) == labels).mean() > 0.95
    assert "linear" in first.probs_source


def test_settings_without_effect_are_refused():
    inputs, labels = blobs(30, 2, seed=0)
    data = Dataset(inputs=inputs, labels=ClassLabels(values=labels))
    with pytest.raises(InputError, match="no effect"):
        compute(data, ("probs",), seed=0, fit=Fit(epochs=1))
    with pytest.raises(InputError, match="predict_proba"):
        compute(data, ("probs",), seed=0, model=LinearSVC())
    with pytest.raises(InputError, match="At least two classes"):
        compute(data.with_labels(ClassLabels(values=np.zeros(30, dtype=int), names=("a", "b"))), ("probs",), seed=0)
    with pytest.raises(InputError, match="must be one of"):
        compute(data, ("probabilities",), seed=0)


# ------------------------------------------------------------------ embeddings and neighbours


@pytest.mark.parametrize(("n", "width"), [(80, 200), (400, 500)])  # exact, randomised
def test_principal_axes_keep_distances_of_low_rank_data(n, width):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(n, 5)) @ rng.normal(size=(5, width))
    signals = compute(Dataset(inputs=inputs), ("embeddings",), seed=0)
    standard = (inputs - inputs.mean(0)) / inputs.std(0)
    wanted = np.linalg.norm(standard[:, None] - standard[None], axis=2)
    got = np.linalg.norm(signals.embeddings[:, None] - signals.embeddings[None], axis=2)
    assert signals.embeddings.shape == (n, 64)
    assert np.allclose(wanted, got, atol=3e-3)


def test_neighbours_on_a_line():
    data = Dataset(inputs=np.array([[0.0], [1.0], [3.0], [7.0]]))
    signals = compute(data, ("knn",), seed=0, neighbours=2)
    assert signals.knn.indices.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    scale = np.std([0, 1, 3, 7])
    assert np.allclose(signals.knn.distances * scale, [[1, 3], [1, 2], [2, 3], [4, 6]], atol=1e-5)


def test_encoders():
    inputs, labels = blobs(60, 2, seed=0)
    data = Dataset(inputs=inputs, labels=ClassLabels(values=labels))
    own = compute(data, ("embeddings",), seed=0, encoder=lambda d: np.asarray(d.inputs) * 2)
    assert np.allclose(own.embeddings, inputs * 2, atol=1e-5)
    with pytest.raises(InputError, match="one vector an example"):
        compute(data, ("embeddings",), seed=0, encoder=lambda d: np.zeros(3))
    with pytest.raises(InputError, match="unknown"):
        compute(data, ("embeddings",), seed=0, encoder="resnet")
    features = compute(data, ("embeddings",), seed=0, encoder="penultimate", fit=Fit(epochs=2))
    assert features.embeddings.shape == (60, 256)


def test_dynamics_tell_wrong_labels_apart():
    inputs, labels = blobs(120, 3, seed=0)
    given_labels, wrong = flipped(labels, 0.15, seed=1)
    given_labels[5] = -1
    data = Dataset(inputs=inputs, labels=ClassLabels(values=given_labels))
    made = compute(data, ("dynamics",), seed=0, fit=Fit(epochs=4, batch_size=16, lr=0.05, keep="last")).dynamics
    assert made.logits.shape == (4, 120, 3)
    margins = made.area_under_margin().numpy()
    assert np.isnan(margins[5])
    known = given_labels >= 0
    assert average_precision_score(wrong[known], -margins[known]) > 0.95


# ------------------------------------------------------------------ the container


def test_in_sample_probabilities_are_refused():
    probs = np.full((4, 2), 0.5)
    seen = Signals.from_probs(probs, out_of_sample=False, source="the training fit")
    with pytest.raises(InputError, match="in-sample \\(the training fit\\)"):
        seen.require_out_of_sample()
    assert Signals.from_probs(probs, out_of_sample=True, source="x").require_out_of_sample().shape == (4, 2)
    with pytest.raises(InputError, match="hold no probs"):
        Signals().require_out_of_sample()


def test_logits_are_no_probabilities():
    with pytest.raises(InputError, match="softmax"):
        Signals.from_probs(np.array([[2.0, -1.0]]), out_of_sample=True, source="x")


def test_lengths_must_agree():
    with pytest.raises(InputError, match="Lengths differ"):
        Signals(probs=np.ones((3, 1)), embeddings=np.ones((4, 2)))
    with pytest.raises(InputError, match="Lengths differ"):
        compute(Dataset(inputs=np.zeros((3, 1))), ("embeddings",), seed=0, have=Signals(probs=np.ones((4, 1))))


def test_take_and_have():
    graph = KnnGraph(indices=np.array([[1], [0], [1]]), distances=np.ones((3, 1), dtype=np.float32))
    signals = Signals(probs=np.eye(3), embeddings=np.arange(6).reshape(3, 2), knn=graph, out_of_sample=True)
    part = signals.take([2, 0])
    assert part.probs.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert part.knn is None
    assert part.out_of_sample
    assert signals.has() == ("probs", "embeddings", "knn")
    again = compute(
        Dataset(inputs=np.zeros((3, 1)), labels=ClassLabels(values=np.array([0, 1, 0]), names=("a", "b", "c"))),
        ("probs", "losses"),
        seed=0,
        have=signals,
    )
    assert again.probs is signals.probs or np.array_equal(again.probs, signals.probs)
    assert again.losses[0] == 0


def test_losses_by_hand():
    losses = label_losses(np.array([0, 1, -1]), np.array([[0.5, 0.5], [0.75, 0.25], [1, 0]]))
    assert np.allclose(losses[:2], [math.log(2), math.log(4)], atol=1e-6)
    assert np.isnan(losses[2])
