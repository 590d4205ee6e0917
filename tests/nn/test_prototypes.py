"""Running averages of class embeddings: one product against one example after the other."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from labelwright.errors import InputError
from labelwright.nn.prototypes import class_means, moving_average


def case(b=40, s=5, d=4, *, seed=0, share=0.3):
    g = torch.Generator().manual_seed(seed)
    prototypes, features = torch.randn(s, d, generator=g, dtype=torch.float64), torch.randn(b, d, generator=g, dtype=torch.float64)
    members = torch.rand(b, s, generator=g) < share
    members[:, 0] = False
    return F.normalize(prototypes, dim=1), features, members


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.999, 1.0])
def test_the_batch_equals_one_example_after_the_other(momentum):
    prototypes, features, members = case()
    want = prototypes.clone()
    for x, row in zip(features, members, strict=True):
        for s in row.nonzero().flatten().tolist():
            want[s] = momentum * want[s] + (1 - momentum) * x
    assert_close(moving_average(prototypes, features, members, momentum=momentum), want, rtol=0, atol=1e-12)


def test_momentum_one_changes_nothing_and_zero_keeps_the_last_member():
    prototypes, features, members = case(seed=1)
    assert torch.equal(moving_average(prototypes, features, members, momentum=1.0), prototypes)
    got = moving_average(prototypes, features, members, momentum=0.0)
    assert torch.equal(got[0], prototypes[0])  # nobody belongs to it
    for s in range(1, 5):
        assert_close(got[s], features[members[:, s].nonzero().flatten()[-1]])


def test_means_have_unit_length_or_are_zero():
    _, features, members = case(seed=2)
    got = class_means(F.normalize(features, dim=1), members)
    assert_close(got[1:].norm(dim=1), torch.ones(4, dtype=torch.float64))
    assert_close(got[1], F.normalize(F.normalize(features, dim=1)[members[:, 1]].mean(0), dim=0))
    assert torch.equal(got[0], torch.zeros(4, dtype=torch.float64))


def test_bad_momentum():
    with pytest.raises(InputError, match="momentum"):
        moving_average(*case(), momentum=1.5)
