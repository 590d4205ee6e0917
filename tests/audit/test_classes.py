"""Class imbalance and overlap, by hand."""

from __future__ import annotations

import math

import numpy as np

from labelwright.audit.classes import class_imbalance, overlapping_classes


def test_rare_classes_by_hand():
    labels = np.array([0] * 60 + [1] * 36 + [2] * 4 + [-1] * 5)
    found = class_imbalance(labels, ("a", "b", "c", "d"), rare=0.2)  # average 100 / 4 = 25, rare below 5
    assert found.index.tolist() == [96, 97, 98, 99]
    assert np.allclose(found.score, 2 ** (-(4 / 25) / 0.2))
    assert found.facts["rare"] == ["c"]
    assert found.facts["empty"] == ["d"]
    assert found.facts["largest_over_smallest"] == 15
    shares = [0.6, 0.36, 0.04]
    assert math.isclose(found.facts["evenness"], -sum(p * math.log(p) for p in shares) / math.log(4))
    assert found.facts["counts"] == {"a": 60, "b": 36, "c": 4, "d": 0}


def test_equal_classes_are_even():
    found = class_imbalance(np.arange(30) % 3, ("a", "b", "c"))
    assert len(found.index) == 0
    assert math.isclose(found.facts["evenness"], 1)


def test_overlap_by_hand():
    true_if_given = np.array([[0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.0, 0.01, 0.99]])
    pairs = overlapping_classes(true_if_given, np.array([100, 50, 50]), ("a", "b", "c"))
    assert len(pairs) == 1  # b and c overlap by 0.5 / 100 only
    assert (pairs[0]["a"], pairs[0]["b"], pairs[0]["examples"]) == ("a", "b", 25)
    assert math.isclose(pairs[0]["overlap"], 25 / 150)


def test_names_of_classes_may_be_permuted():
    rng = np.random.default_rng(0)
    matrix = rng.dirichlet(np.ones(4), size=4)
    counts = np.array([10, 20, 30, 40])
    order = np.array([2, 0, 3, 1])
    names = np.array(["a", "b", "c", "d"])
    first = overlapping_classes(matrix, counts, list(names))
    second = overlapping_classes(matrix[np.ix_(order, order)], counts[order], list(names[order]))
    assert {(frozenset((p["a"], p["b"])), round(p["overlap"], 9)) for p in first} == {
        (frozenset((p["a"], p["b"])), round(p["overlap"], 9)) for p in second
    }
