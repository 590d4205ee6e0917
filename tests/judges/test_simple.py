"""Judges that are no language model: functions and fitted classifiers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline

from labelwright.data import Texts, from_arrays
from labelwright.errors import InputError
from labelwright.judges import Answer, Budget, CallableJudge, ClassifierJudge, items_for

X = np.array([[0.0, 0], [0, 1], [3, 0], [3, 1], [0, 9], [1, 9]])
Y = np.array([10, 10, 20, 20, 30, 30])


def test_a_function_gives_probabilities_and_unknowns():
    rows = np.array([[1.0, 3.0], [np.nan, np.nan], [0.5, 0.5]])
    verdicts = CallableJudge(name="f", classes=("no", "yes"), function=lambda items: rows).judge(["a", "b", "c"])
    np.testing.assert_allclose(verdicts.probs[[0, 2]], [[0.25, 0.75], [0.5, 0.5]])
    assert verdicts.known.tolist() == [True, False, True]
    assert verdicts.labels.tolist() == [1, -1, 0]
    assert verdicts.reason[1]
    assert verdicts.calls == 3


def test_one_item_at_a_time_an_answer_outside_the_classes_is_unknown():
    said = {"a": "yes", "b": "maybe", "c": None, "d": [0.1, 0.9], "e": Answer.of([3, 1], stated=0.6)}
    judge = CallableJudge(name="f", classes=("no", "yes"), function=said.get, each=True)
    verdicts = judge.judge(list(said))
    assert verdicts.labels.tolist() == [1, -1, -1, 1, 0]
    assert "outside the classes" in verdicts.reason[1]
    assert "'maybe'" in verdicts.reason[1]
    np.testing.assert_allclose(verdicts.confidence, [1, np.nan, np.nan, 0.9, 0.6])


def test_a_function_of_the_wrong_shape_is_refused():
    judge = CallableJudge(name="f", classes=("no", "yes"), function=lambda items: np.ones((1, 3)))
    with pytest.raises(InputError, match=r"shape \(2, 2\); got \(1, 3\)"):
        judge.judge(["a", "b"])


def test_no_probabilities_at_all_are_unknown_not_uniform():
    judge = CallableJudge(name="f", classes=("no", "yes"), function=lambda items: [[0, 0], [-1, 2], [np.inf, 1]])
    verdicts = judge.judge(["a", "b", "c"])
    assert not verdicts.known.any()
    assert all("no probabilities" in why for why in verdicts.reason)


def test_a_classifier_is_aligned_with_the_classes_by_name():
    model = LogisticRegression().fit(X, Y)
    judge = ClassifierJudge(name="lr", classifier=model, classes=("c", "never", "a", "b"), names=("a", "b", "c"), takes="inputs", batch=4)
    verdicts = judge.judge(list(X))
    expected = model.predict_proba(X)
    np.testing.assert_allclose(verdicts.probs, np.stack([expected[:, 2], np.zeros(6), expected[:, 0], expected[:, 1]], axis=1), atol=1e-12)
    plain = ClassifierJudge(name="lr", classifier=model, takes="inputs")
    assert plain.classes == ("10", "20", "30")
    np.testing.assert_allclose(plain.judge(list(X)).aligned(("30", "10", "20")).probs, expected[:, [2, 0, 1]], atol=1e-12)


def test_a_pipeline_on_texts_and_the_items_of_a_dataset():
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(["good fine", "bad sad"], ["plus", "minus"])
    judge = ClassifierJudge(name="bow", classifier=model)
    data = from_arrays(Texts(["fine good", "sad"]), [0, 1])
    assert judge.judge(items_for(judge, data)).to_frame(data.ids).get_column("label").to_list() == ["plus", "minus"]
    with pytest.raises(InputError, match="reads texts; this dataset holds vectors"):
        items_for(judge, from_arrays(X, [0] * 6))


def test_the_fingerprint_follows_the_fitted_model_and_not_the_name():
    one, other = LogisticRegression(C=1).fit(X, Y), LogisticRegression(C=2).fit(X, Y)
    prints = [ClassifierJudge(name=n, classifier=m, takes="inputs").fingerprint for n, m in (("a", one), ("b", one), ("a", other))]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"classifier": LogisticRegression()}, "needs a fitted classifier"),
        ({"classifier": RidgeClassifier().fit(X, Y)}, "CalibratedClassifierCV"),
        ({"classes": ("10", "20", "3O")}, "Did you mean '3O'"),
        ({"names": ("a",)}, "must name the 3 classes"),
    ],
)
def test_what_is_no_judge_is_refused(more, message):
    with pytest.raises(InputError, match=message):
        ClassifierJudge(**({"name": "m", "classifier": LogisticRegression().fit(X, Y), "takes": "inputs"} | more))


@pytest.mark.parametrize("classes", [("one",), ("a", "a"), ("a", ""), (True, False), "ab"])
def test_classes_are_at_least_two_different_names(classes):
    with pytest.raises(InputError):
        CallableJudge(name="f", classes=classes, function=len)


def test_a_budget_of_calls_leaves_the_rest_unknown():
    asked = []
    judge = CallableJudge(name="f", classes=("a", "b"), function=lambda item: asked.append(item) or "a", each=True)
    budget = Budget(calls=2)
    verdicts = judge.judge(list("xyz"), budget=budget)
    assert asked == ["x", "y"]
    assert verdicts.known.tolist() == [True, True, False]
    assert verdicts.reason[2] == "budget of 2 calls is spent"
    assert budget.refused == 1
    assert not judge.judge(["q"], budget=Budget(calls=0)).known.any()
    assert asked == ["x", "y"]
