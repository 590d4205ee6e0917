"""Noise removal by its truth table, bootstrapped targets and losses by hand."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from labelwright.learn.noisy.cross_modal.cleaning import (
    CORRECTED,
    KEPT,
    REMOVED,
    beliefs,
    bootstrap,
    clean_cells,
    clean_labels,
    masked_bce,
    positive_weights,
    prototype_logits,
    soft_targets,
)

NAN = float("nan")

# rows: anchor, max o >= 0.6, o_y >= 1/4 -> fate; o is over four classes, the given label is class 0
TABLE = {
    (False, False, False): REMOVED,
    (False, False, True): KEPT,
    (False, True, False): CORRECTED,
    (False, True, True): CORRECTED,
    (True, False, False): KEPT,
    (True, False, True): KEPT,
    (True, True, False): KEPT,
    (True, True, True): KEPT,
}
BELIEF = {
    (False, False): [0.2, 0.5, 0.2, 0.1],
    (False, True): [0.3, 0.4, 0.2, 0.1],
    (True, False): [0.1, 0.7, 0.1, 0.1],
    (True, True): [0.3, 0.62, 0.05, 0.03],
}


@pytest.mark.parametrize("case", list(itertools.product([False, True], repeat=3)))
def test_truth_table_of_noise_removal(case):
    anchor, sure, own = case
    belief = torch.tensor([BELIEF[sure, own]])
    labels, fate = clean_labels(belief, torch.tensor([0]), torch.tensor([anchor]), threshold=0.6)
    assert int(fate) == TABLE[case]
    assert int(labels) == (1 if TABLE[case] == CORRECTED else 0)


def test_borders_belong_to_the_rule_and_agreement_is_no_correction():
    belief = torch.tensor([[0.6, 0.4], [0.5, 0.5], [0.25, 0.75], [0.2, 0.8]])
    labels, fate = clean_labels(belief, torch.tensor([0, 0, 1, -1]), torch.zeros(4, dtype=torch.bool), threshold=0.6)
    assert labels.tolist() == [0, 0, 1, 1]
    assert fate.tolist() == [KEPT, KEPT, KEPT, CORRECTED]
    _, fate = clean_labels(torch.tensor([[0.5, 0.5]]), torch.tensor([-1]), torch.tensor([False]), threshold=0.6)
    assert fate.tolist() == [REMOVED]


# (anchor, given, o+) -> new cell, with 4 classes and threshold 0.9
CELLS = [
    (False, 0.0, 0.95, 1.0),  # flipped to present
    (False, 1.0, 0.95, 1.0),
    (False, 1.0, 0.05, 0.0),  # flipped to absent
    (False, 0.0, 0.05, 0.0),
    (False, 1.0, 0.30, 1.0),  # own score 0.3 >= 1/4
    (False, 1.0, 0.20, NAN),  # neither sure nor supported
    (False, 0.0, 0.70, 0.0),  # own score 0.3
    (False, 0.0, 0.80, NAN),
    (False, NAN, 0.95, 1.0),
    (False, NAN, 0.05, 0.0),
    (False, NAN, 0.50, NAN),
    (True, 1.0, 0.05, 1.0),  # anchors never change
    (True, 0.0, 0.95, 0.0),
    (True, 1.0, 0.20, 1.0),
]


@pytest.mark.parametrize(("anchor", "given", "belief", "want"), CELLS)
def test_truth_table_of_cells(anchor, given, belief, want):
    row = lambda x: torch.tensor([[x, 0.5, 0.5, 0.5]])  # noqa: E731
    got = clean_cells(row(belief), torch.tensor([[given, 1.0, 1.0, 1.0]]), torch.tensor([[anchor, False, False, False]]), threshold=0.9)
    assert_close(got[0, 0], torch.tensor(want), equal_nan=True)
    assert got[0, 1:].tolist() == [1, 1, 1]


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def test_beliefs_mix_classifier_and_prototypes():
    z, prototypes = unit(5, 6), unit(3, 6, seed=1)
    logits = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    got = beliefs(logits, z, prototypes, alpha=0.3, temperature=0.1)
    assert_close(got.sum(1), torch.ones(5, dtype=torch.float64))
    assert_close(got, 0.3 * logits.softmax(1) + 0.7 * (z @ prototypes.T / 0.1).softmax(1))
    assert_close(beliefs(logits, z, prototypes, alpha=1.0, temperature=0.1), logits.softmax(1))
    both = torch.stack([prototypes, unit(3, 6, seed=3)], dim=1)
    pair = torch.einsum("bd,csd->bcs", z, both) / 0.1
    assert_close(beliefs(logits, z, both, alpha=0.3, temperature=0.1), 0.3 * logits.sigmoid() + 0.7 * pair.softmax(2)[:, :, 1])


def test_a_class_without_a_prototype_is_never_the_nearest():
    prototypes = torch.stack([torch.zeros(6, dtype=torch.float64), -unit(6), unit(6, seed=1)])
    near = prototype_logits(unit(1, 6), prototypes, temperature=0.1).softmax(1)
    assert float(near[0, 0]) == 0


def test_bootstrapped_targets_are_weighted_means_of_the_queue():
    z, keys = unit(4, 5), unit(7, 5, seed=1)
    soft = torch.rand(7, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).softmax(1)
    filled = torch.arange(7) < 5
    got = bootstrap(z, keys, soft, filled)
    for i in range(4):
        weights = [max(0.0, min(1.0, float(z[i] @ keys[j]))) + 1e-7 for j in range(5)]
        want = sum(w * soft[j] for j, w in enumerate(weights)) / sum(weights)
        assert_close(got[i], want, rtol=0, atol=1e-9)
    assert_close(got.sum(1), torch.ones(4, dtype=torch.float64))
    one = torch.arange(7) < 1
    assert_close(bootstrap(z, keys, soft, one), soft[:1].expand(4, -1))
    cells = bootstrap(z, keys, 0.3 * soft, filled, multi=True)
    assert_close(cells, 0.3 * got)


def test_auxiliary_loss_is_cross_entropy_at_beta_zero():
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(6, 4, generator=g), torch.randint(4, (6,), generator=g)
    soft = torch.rand(6, 4, generator=g).softmax(1)
    assert_close(soft_targets(logits, labels, soft, beta=0.0), F.cross_entropy(logits, labels, reduction="none"))
    want = 0.9 * F.cross_entropy(logits, labels, reduction="none") + 0.1 * F.cross_entropy(logits, soft, reduction="none")
    assert_close(soft_targets(logits, labels, soft, beta=0.1), want)


def test_positive_weights_by_hand():
    cells = torch.tensor([[1.0, 0.0, 1.0, NAN], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [0.0, NAN, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    # n = 5, 1 positive: sqrt(4); no positive: 1; no negative: 1; 4 known, 1 positive: sqrt(3)
    assert_close(positive_weights(cells), torch.tensor([2.0, 1.0, 1.0, math.sqrt(3)]))


def test_ignored_cells_have_no_loss_and_no_gradient():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    cells = torch.tensor([[1.0, NAN, 0.0, NAN], [NAN] * 4, [0.25, 1.0, 0.0, 1.0]])
    weights = torch.tensor([2.0, 1.0, 3.0, 0.5])
    losses = masked_bce(logits, cells, weights)
    full = F.binary_cross_entropy_with_logits(logits, cells.nan_to_num(), pos_weight=weights, reduction="none")
    assert_close(losses, torch.stack([full[0, [0, 2]].mean(), torch.zeros(()), full[2].mean()]))
    losses.sum().backward()
    assert (logits.grad[cells.isnan()] == 0).all()
    assert (logits.grad[~cells.isnan()] != 0).all()
