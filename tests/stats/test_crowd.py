"""Crowd labels on cases small enough to do by hand."""

import numpy as np
import pytest

from labelwright.errors import InputError
from labelwright.stats.crowd import aggregate, experienced, majority, median, strict

VOTES = [[0, 0, 1], [1, 2, 2], [0, 1, 2], [1, -1, -1], [-1, -1, -1], [1, 1, 0]]


def test_majority_says_nothing_on_a_tie():
    assert majority(VOTES).tolist() == [0, 2, -1, 1, -1, 1]
    assert majority(VOTES, ties="first").tolist() == [0, 2, 0, 1, -1, 1]


def test_strict_takes_one_voice_of_alarm():
    assert strict(VOTES).tolist() == [0, 2, 0, 1, -1, 0]  # class 0 wherever anybody says so
    assert strict(VOTES, alarm=2).tolist() == [0, 2, 2, 1, -1, 1]
    with pytest.raises(InputError, match="alarm"):
        strict(VOTES, alarm=3)


def test_median_of_odd_and_even_counts():
    votes = [[4, 1, 2], [1, 2, -1], [3, -1, 0], [-1, 4, -1], [-1, -1, -1], [0, 4, 4]]
    assert np.array_equal(median(votes, 5), [2, 1.5, 1.5, 4, np.nan, 4], equal_nan=True)
    assert aggregate(votes, 5, how="median").tolist() == [2, 2, 2, 4, -1, 4]


def test_against_numpy_and_any_order_of_annotators():
    rng = np.random.default_rng(0)
    votes = np.where(rng.random((200, 6)) < 0.4, -1, rng.integers(0, 5, (200, 6)))
    expected = [np.median(v[v >= 0]) if (v >= 0).any() else np.nan for v in votes]
    assert np.array_equal(median(votes, 5), expected, equal_nan=True)
    for how in ("majority", "strict", "median"):
        assert np.array_equal(aggregate(votes, 5, how=how), aggregate(votes[:, ::-1], 5, how=how))


def test_experience_is_the_number_of_votes_given():
    assert experienced([[0, 1, -1], [1, -1, -1]], least=1).tolist() == [True, True, False]
    assert experienced([[0, 1, -1], [1, -1, -1]], least=2).tolist() == [True, False, False]
    assert experienced([[0, 1, -1], [1, -1, -1]], least=0).all()
