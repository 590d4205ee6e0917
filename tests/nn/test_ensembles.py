"""The ensemble averages logits, is named in a spec, and gives single members."""

import pytest
import torch
from torch.testing import assert_close

from labelwright.errors import InputError
from labelwright.nn import (
    MLP,
    AutoNet,
    ConvNet,
    Ensemble,
    EnsembleNet,
    Mixture,
    MixtureNet,
    default_net,
    factory_from,
    resolved,
    seeded,
    spec_of,
)


def test_mean_of_logits_by_hand():
    class Constant(torch.nn.Module):
        def __init__(self, *values):
            super().__init__()
            self.values = torch.tensor(values)

        def forward(self, x):
            return self.values.expand(len(x), -1)

    net = EnsembleNet([Constant(0.0, 4.0), Constant(2.0, -2.0), Constant(1.0, 1.0)])
    x = torch.zeros(2, 5)
    assert_close(net(x), torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
    assert_close(net(x, member=1), torch.tensor([[2.0, -2.0], [2.0, -2.0]]))


def test_members_are_fresh_and_the_spec_rebuilds_them():
    factory = Ensemble(base=MLP(hidden=(4,)), size=3)
    spec = spec_of(factory)
    assert spec == {"net": "ensemble", "args": {"base": {"net": "mlp", "args": {"hidden": [4], "dropout": 0.0}}, "size": 3}}
    assert factory_from(spec) == factory
    with seeded(0):
        net = factory(2, (3,))
    first, second = net.members[0].head.weight, net.members[1].head.weight
    assert not torch.equal(first, second)
    assert spec_of(Ensemble(base=lambda c, s: torch.nn.Linear(s[0], c))) is None


def test_a_mixture_averages_probabilities_by_weight():
    class Fixed(torch.nn.Module):
        def __init__(self, *probs):
            super().__init__()
            self.logits = torch.tensor(probs).log() + 3  # a constant in logits changes nothing

        def forward(self, x):
            return self.logits.expand(len(x), -1)

    net = MixtureNet([Fixed(0.9, 0.1), Fixed(0.3, 0.7)], [1.0, 2.0])
    assert_close(net(torch.zeros(3, 5)).softmax(1), torch.tensor([[0.5, 0.5]]).expand(3, -1))
    factory = Mixture(base=MLP(hidden=(4,)), weights=(0.25, 0.75))
    assert factory_from(spec_of(factory)) == factory
    assert set(factory(2, (3,)).state_dict()) == {f"members.{k}.{n}" for k in (0, 1) for n in MLP(hidden=(4,))(2, (3,)).state_dict()}
    with pytest.raises(InputError, match="Lengths differ"):
        MixtureNet([Fixed(0.5, 0.5)], [1.0, 2.0])
    with pytest.raises(InputError, match="weights"):
        Mixture(base=MLP(), weights=(1.0, 0.0))


def test_default_net_by_shape():
    assert default_net((3, 32, 32)) == ConvNet(depth=3, width=32)
    assert default_net((17,)) == MLP(hidden=(256, 256))


def test_auto_builds_the_default_and_resolves_inside_others():
    assert isinstance(AutoNet()(2, (1, 8, 8)).body[0], torch.nn.Conv2d)
    assert resolved(Ensemble(base=AutoNet(), size=3), (5,)) == Ensemble(base=MLP(), size=3)
    plain = Ensemble(base=ConvNet(width=8))
    assert resolved(plain, (1, 8, 8)) is plain


def test_bad_arguments():
    with pytest.raises(InputError, match="size"):
        Ensemble(base=MLP(), size=0)
    with pytest.raises(InputError, match="factory"):
        Ensemble(base="mlp")
    with pytest.raises(InputError, match="at least one"):
        EnsembleNet([])
