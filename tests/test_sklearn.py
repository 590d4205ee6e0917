"""Learners as scikit-learn classifiers."""

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from labelwright.audit import find_label_errors
from labelwright.errors import InputError
from labelwright.learn import ELR, CrossEntropy
from labelwright.nn import MLP
from labelwright.sklearn import LabelwrightClassifier, as_inputs
from labelwright.training import Fit

QUICK = Fit(epochs=15, batch_size=16, lr=0.05, keep="last")


def small(method=None, **options):
    return LabelwrightClassifier(method, net=MLP(hidden=(16,)), recipe=QUICK, **options)


def iris():
    x, y = load_iris(return_X_y=True)
    return x, np.array(["setosa", "versicolor", "virginica"])[y]


def test_iris_with_named_classes():
    x, y = iris()
    model = small(CrossEntropy()).fit(x, y)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert model.n_features_in_ == 4
    assert model.score(x, y) > 0.93
    probs = model.predict_proba(x)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert (model.classes_[probs.argmax(1)] == model.predict(x)).all()
    assert (probs[y == "setosa", 0] > 0.5).all()


@pytest.mark.parametrize("name", ["cross-entropy", "elr", "elr-plus", "co-teaching", "nested-dropout", "nested-coteaching"])
def test_every_classifier_learner_by_name(name):
    x, y = iris()
    model = LabelwrightClassifier(name, net=MLP(hidden=(16,)), recipe=Fit(epochs=30, batch_size=16, lr=0.05)).fit(x, y)
    assert model.score(x, y) > 0.6  # chance is 1/3; some of them need more data than this
    assert model.label_scores_.shape == (150,)


def test_negative_and_sparse_integer_classes_come_back_as_given():
    x, _ = iris()
    y = np.repeat([7, -3, 10], 50)
    model = small("cross-entropy").fit(x, y)
    assert model.classes_.tolist() == [-3, 7, 10]
    assert (model.predict(x) == y).mean() > 0.93


def test_out_of_sample_probabilities_find_flipped_labels():
    x, y = iris()
    wrong = np.zeros(150, dtype=bool)
    wrong[np.random.default_rng(0).permutation(50)[:8]] = True  # eight setosas called virginica
    noisy = np.where(wrong, "virginica", y)
    probs = cross_val_predict(small(ELR()), x, noisy, cv=3, method="predict_proba")
    found = find_label_errors(np.unique(noisy, return_inverse=True)[1], probs)
    assert found.mask[wrong].all()
    assert (np.argsort(-found.score)[:8] < 50).all()


def test_clone_grid_search_and_pipeline():
    x, y = iris()
    model = small(ELR(lam=1.0))
    copy = clone(model)
    assert copy.method == ELR(lam=1.0)
    assert copy.get_params()["net"] == MLP(hidden=(16,))
    assert is_classifier(model)
    search = GridSearchCV(model, {"method": [CrossEntropy(), ELR(lam=0.5)], "seed": [1]}, cv=2).fit(x, y)
    assert search.best_score_ > 0.85
    assert len(search.cv_results_["params"]) == 2
    assert make_pipeline(MinMaxScaler(), small(CrossEntropy())).fit(x, y).score(x, y) > 0.93


def test_texts_images_and_frames():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    words = (["sun", "rain", "wind", "storm"], ["goal", "match", "team", "coach"])
    texts = [" ".join(rng.choice([*words[c], "the"], size=6)) for c in y]
    model = small(CrossEntropy()).fit(texts, y)
    assert model.predict(["rain and storm", "the coach of the team"]).tolist() == [0, 1]
    assert cross_val_predict(small(CrossEntropy()), np.array(texts, dtype=object), y, cv=2).shape == (80,)
    frame = pl.DataFrame({"colour": np.where(y == 1, "red", "blue"), "noise": rng.normal(size=80)})
    assert small(CrossEntropy()).fit(frame, y).score(frame, y) == 1.0
    assert small(CrossEntropy()).fit(frame.to_pandas(), y).score(frame.to_pandas(), y) == 1.0
    pictures = rng.random((80, 1, 8, 8)).astype(np.float32) * 0.3
    pictures[y == 1, :, :4] += 0.6
    model = LabelwrightClassifier(CrossEntropy(), recipe=QUICK).fit(pictures, y)
    assert model.learned_.net_spec["net"] == "convnet"
    assert model.score(pictures, y) == 1.0


def test_sample_weight_of_zero_leaves_rows_out():
    x, y = iris()
    noisy, weight = y.copy(), np.ones(150)
    noisy[:40], weight[:40] = "virginica", 0.0
    model = small(CrossEntropy()).fit(x, noisy, sample_weight=weight)
    assert (model.predict(x[:40]) == "setosa").all()


def test_the_seed_decides():
    x, y = iris()
    a, b, c = (small(seed=s).fit(x, y).predict_proba(x) for s in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_bad_input():
    x, y = iris()
    with pytest.raises(NotFittedError):
        small().predict(x)
    with pytest.raises(InputError, match=r"no method 'elrr'.*elr"):
        small("elrr").fit(x, y)
    with pytest.raises(InputError, match="learner"):
        small(MLP()).fit(x, y)
    with pytest.raises(InputError, match="Lengths differ"):
        small().fit(x, y[:-1])
    with pytest.raises(InputError, match="two classes"):
        small().fit(x[:50], y[:50])
    with pytest.raises(ValueError, match="continuous"):
        small().fit(x, x[:, 0])
    with pytest.raises(InputError, match="reshape"):
        as_inputs(np.arange(5.0))
    with pytest.raises(InputError, match="finite"):
        small().fit(np.where(np.arange(150)[:, None] == 3, np.nan, x), y)
