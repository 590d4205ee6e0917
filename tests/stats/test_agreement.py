"""Agreement against published examples, brute force over pairs, and figures of statsmodels 0.15 and krippendorff 0.9."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from labelwright.errors import InputError
from labelwright.stats.agreement import (
    fleiss_kappa,
    krippendorff_alpha,
    pairwise_agreement,
    pairwise_tables,
    vote_counts,
    weighted_f1,
    weighted_f1_matrix,
)

FLEISS = [  # ten subjects, fourteen raters, five categories: the worked example of Fleiss' kappa, 0.210
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
KRIPPENDORFF = [  # Krippendorff 2011, example C: four observers, twelve units, classes 1 to 5
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]


def published():
    return np.array([[-1 if w == "." else int(w) - 1 for w in row.split()] for row in KRIPPENDORFF]).T


def drawn(*, missing=False):
    rng = np.random.default_rng(11)
    truth = rng.integers(0, 4, 40)
    votes = np.where(rng.random((40, 5)) < 0.6, truth[:, None], rng.integers(0, 4, (40, 5)))
    return np.where(rng.random(votes.shape) < 0.3, -1, votes) if missing else votes


def test_fleiss_published_example():
    votes = np.array([np.repeat(np.arange(5), row) for row in FLEISS])
    assert np.array_equal(vote_counts(votes, 5), FLEISS)
    assert fleiss_kappa(votes) == pytest.approx(0.210, abs=5e-4)


def test_krippendorff_published_example():
    assert krippendorff_alpha(published(), 5) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(published(), 5, level="ordinal") == pytest.approx(0.815, abs=5e-4)


def test_figures_of_the_packages():
    assert fleiss_kappa(drawn()) == pytest.approx(0.35893155258764603, abs=1e-12)
    assert krippendorff_alpha(drawn(missing=True), 4) == pytest.approx(0.42262865339788425, abs=1e-12)
    assert krippendorff_alpha(drawn(missing=True), 4, level="ordinal") == pytest.approx(0.4792414542961527, abs=1e-12)


def test_full_agreement_and_one_class_only():
    same = np.repeat(np.array([[0], [1], [2], [1]]), 3, axis=1)
    assert fleiss_kappa(same) == 1
    assert krippendorff_alpha(same) == 1
    assert krippendorff_alpha(same, level="ordinal") == 1
    only = np.ones((4, 3), dtype=int)
    assert math.isnan(fleiss_kappa(only))
    assert math.isnan(krippendorff_alpha(only))
    assert math.isnan(krippendorff_alpha([[0, -1], [-1, 1]]))  # no item has two votes


def test_alpha_by_brute_force_over_pairs():
    votes = drawn(missing=True)[:12]
    kept = [row[row >= 0] for row in votes if (row >= 0).sum() >= 2]
    values = np.concatenate(kept)
    within = sum((a != b) / (len(r) - 1) for r in kept for i, a in enumerate(r) for j, b in enumerate(r) if i != j) / len(values)
    between = np.mean([a != b for i, a in enumerate(values) for j, b in enumerate(values) if i != j])
    assert krippendorff_alpha(votes, 4) == pytest.approx(1 - within / between, abs=1e-12)


def test_order_of_items_raters_and_names_of_nominal_classes_do_not_matter():
    votes, rng = drawn(missing=True), np.random.default_rng(0)
    mixed = votes[rng.permutation(40)][:, rng.permutation(5)]
    renamed = np.append(rng.permutation(4), -1)[mixed]
    assert krippendorff_alpha(mixed, 4) == pytest.approx(krippendorff_alpha(votes, 4))
    assert krippendorff_alpha(renamed, 4) == pytest.approx(krippendorff_alpha(votes, 4))
    assert krippendorff_alpha(mixed, 4, level="ordinal") == pytest.approx(krippendorff_alpha(votes, 4, level="ordinal"))
    assert krippendorff_alpha(np.where(votes < 0, -1, 3 - votes), 4, level="ordinal") == pytest.approx(
        krippendorff_alpha(votes, 4, level="ordinal")
    )


def test_unequal_numbers_of_votes_are_refused_by_fleiss():
    with pytest.raises(InputError, match="krippendorff_alpha"):
        fleiss_kappa(drawn(missing=True))
    with pytest.raises(InputError, match="two votes"):
        fleiss_kappa([[1], [0]])
    with pytest.raises(InputError, match="no vote"):
        fleiss_kappa([[-1, -1]])
    with pytest.raises(InputError, match="votes must lie in"):
        fleiss_kappa([[1, 7]], 3)


def test_pairwise_agreement_and_weighted_f1_pair_by_pair():
    votes = drawn(missing=True)
    shares, f1s, tables = pairwise_agreement(votes, 4), weighted_f1_matrix(votes, 4), pairwise_tables(votes, 4)
    for a in range(5):
        for b in range(5):
            both = (votes[:, a] >= 0) & (votes[:, b] >= 0)
            x, y = votes[both, a], votes[both, b]
            assert shares[a, b] == pytest.approx((x == y).mean())
            assert f1s[a, b] == pytest.approx(f1_score(x, y, average="weighted", zero_division=0))
            assert np.array_equal(tables[a, b], [[((x == c) & (y == k)).sum() for k in range(4)] for c in range(4)])
    assert weighted_f1_matrix(drawn(), 4)[0, 1] == pytest.approx(0.5632875667429443)  # scikit-learn's figure; rows are the truth
    assert np.isnan(pairwise_agreement([[0, -1], [-1, 1]])[0, 1])
    assert np.isnan(weighted_f1(np.zeros((2, 2))))
