"""Assignment against all permutations."""

from itertools import permutations

import numpy as np
import pytest

from labelwright.errors import InputError
from labelwright.stats.matching import align_confusion, assign, cluster_accuracy, clusters_to_classes


@pytest.mark.parametrize("seed", range(5))
def test_assignment_is_optimal(seed):
    values = np.random.default_rng(seed).integers(-9, 9, (5, 5))
    for maximise, best in ((False, min), (True, max)):
        rows, columns = assign(values, maximise=maximise)
        assert values[rows, columns].sum() == best(values[range(5), p].sum() for p in permutations(range(5)))
        assert sorted(columns) == [0, 1, 2, 3, 4]


def test_clusters_take_the_names_of_classes():
    classes = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    clusters = np.array([3, 3, 1, 0, 0, 0, 1, 1])
    assert clusters_to_classes(clusters, classes).tolist() == [1, 2, -1, 0]
    got = cluster_accuracy(clusters, classes)
    assert (got.value, got.n) == (7 / 8, 8)
    assert cluster_accuracy((clusters + 1) % 4, classes).value == 7 / 8


def test_confusion_is_aligned():
    table = np.array([[1, 9, 0], [0, 2, 8], [7, 0, 3]])
    aligned, order = align_confusion(table)
    assert order.tolist() == [1, 2, 0]
    assert np.trace(aligned) == 24


def test_bad_input_is_named():
    with pytest.raises(InputError, match="square"):
        align_confusion(np.ones((2, 3)))
    with pytest.raises(InputError, match="finite"):
        assign([[1.0, np.nan]])
    with pytest.raises(InputError, match="empty"):
        cluster_accuracy([], [])
    with pytest.raises(InputError, match="Shapes differ"):
        cluster_accuracy([0, 1], [0])
