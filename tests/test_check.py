"""Every check passes what it should, and its message gives name, rule, value, place and remedy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from labelwright import check
from labelwright.errors import InputError, LabelwrightError, MissingExtra, OutputError, require


@given(st.floats(-5, 5), st.sampled_from(["both", "left", "right", "neither"]))
def test_in_range_agrees_with_the_interval(value, closed):
    inside = (value >= -1 if closed in ("both", "left") else value > -1) and (value <= 2 if closed in ("both", "right") else value < 2)
    if inside:
        assert check.in_range("x", value, low=-1, high=2, closed=closed) == value
    else:
        with pytest.raises(InputError, match="x must lie in"):
            check.in_range("x", value, low=-1, high=2, closed=closed)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "1", None])
def test_in_range_wants_a_finite_number(value):
    with pytest.raises(InputError, match="finite number"):
        check.in_range("x", value)


def test_integer():
    assert check.integer("k", np.int64(3), low=1) == 3
    for value, message in [(2.0, "integer"), (True, "integer"), (0, ">= 1"), (11, "between 1 and 10")]:
        with pytest.raises(InputError, match=message):
            check.integer("k", value, low=1, high=None if value == 0 else 10)
    with pytest.raises(InputError, match="<= 4"):
        check.integer("k", 5, high=4)


def test_words():
    assert check.nearest("labl", ["label", "image"]) == " Did you mean 'label'?"
    assert check.nearest("xyz", ["label"]) == ""
    assert check.one_of("how", "drop", ("drop", "relabel")) == "drop"
    with pytest.raises(InputError, match=r"how must be one of 'drop', 'relabel'; got 'relabl'\. Did you mean 'relabel'\?"):
        check.one_of("how", "relabl", ("drop", "relabel"))
    with pytest.raises(InputError, match=r"column 'lable' is not in a.csv. Did you mean 'label'\? There are: image, label"):
        check.known_word("column", "lable", ["image", "label"], place="a.csv")
    with pytest.raises(InputError, match="…"):
        check.known_word("column", "x", [f"c{j}" for j in range(20)], place="a.csv")


def test_path_exists_names_the_first_missing_part(tmp_path: Path):
    (tmp_path / "training").mkdir()
    assert check.path_exists("data", tmp_path) == tmp_path
    with pytest.raises(InputError, match=r"has no 'trainng'. Did you mean 'training'"):
        check.path_exists("data", tmp_path / "trainng" / "a.csv")


def test_lengths_and_shapes():
    assert check.same_length(a=[1, 2], b=None, c=np.zeros(2)) == 2
    with pytest.raises(InputError, match="a has 2, b has 1,000"):
        check.same_length(a=[1, 2], b=np.zeros(1000))
    assert check.same_shape(a=np.zeros((2, 3)), b=torch.zeros(2, 3)) == (2, 3)
    with pytest.raises(InputError, match=r"a is \(2,\), b is \(2, 1\)"):
        check.same_shape(a=np.zeros(2), b=np.zeros((2, 1)))


def test_finite_names_the_first_bad_row():
    values = np.ones((5, 3))
    assert check.finite("x", values) is values
    values[3, 1] = np.nan
    values[4, 0] = np.inf
    with pytest.raises(InputError, match="2 of 5 rows hold NaN or infinity, first row 3"):
        check.finite("x", torch.from_numpy(values))


@pytest.mark.parametrize(
    ("row", "bad"),
    [
        ([0.5, 0.5], False),
        ([1, 0], False),
        ([0.5005, 0.5], False),
        ([0.6, 0.6], True),
        ([1.5, -0.5], True),
        ([np.nan, 1], True),
        ([0.0, 0.0], True),
    ],
)
def test_probabilities(row, bad):
    probs = np.array([[0.2, 0.8], row, [1.0, 0.0]])
    if not bad:
        assert check.probabilities("probs", probs) is probs
        return
    with pytest.raises(InputError, match=r"1 of 3 rows are not, first row 1 \(sum"):
        check.probabilities("probs", torch.from_numpy(probs))


def test_probabilities_of_the_wrong_shape():
    with pytest.raises(InputError, match=r"shape \(N, C\); got \(3,\)"):
        check.probabilities("probs", np.ones(3))
    with pytest.raises(InputError, match="2 columns, but there are 3 classes"):
        check.probabilities("probs", np.full((1, 2), 0.5), num_classes=3)


def test_class_index():
    assert check.class_index("labels", np.array([0.0, 2.0]), num_classes=3).dtype == np.int64
    assert check.class_index("labels", [0, -1], num_classes=1, unknown=-1).tolist() == [0, -1]
    for values, message in [([0, 3], "label 3"), ([0.5], "integer"), (["a"], "integer"), ([[0]], "shape"), ([-1], "label -1")]:
        with pytest.raises(InputError, match=message):
            check.class_index("labels", np.array(values), num_classes=3)


@given(st.lists(st.integers(0, 8), max_size=12))
def test_unique_finds_the_first_repetition(values):
    repeated = [i for i, v in enumerate(values) if v in values[:i]]
    if not repeated:
        check.unique("ids", np.array(values, dtype=int))
        return
    with pytest.raises(InputError, match=f"{len(repeated)} repeat an earlier one, first {values[repeated[0]]} at row {repeated[0]}\\."):
        check.unique("ids", np.array(values, dtype=int))


def test_errors_are_one_family():
    with pytest.raises(
        MissingExtra, match=r"Reading x needs the package 'no_such_package'. Install it with: pip install 'labelwright\[hf\]'"
    ):
        require("no_such_package", extra="hf", feature="Reading x")
    for kind, builtin in [(InputError, ValueError), (OutputError, OSError), (MissingExtra, ImportError)]:
        err = kind("What is wrong.", hint="How to mend it.")
        assert isinstance(err, LabelwrightError)
        assert isinstance(err, builtin)
        assert str(err) == "What is wrong. How to mend it."
