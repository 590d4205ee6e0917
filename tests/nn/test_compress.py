import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from labelwright.errors import InputError
from labelwright.nn import MLP, ConvNet, factory_from, seeded, spec_of
from labelwright.nn.compress import Compressed, FeatureDropout, NestedDropout, channel_probs, default_sigma, survival


def test_probs_are_the_discrete_half_normal_without_one_half():
    p = channel_probs(6, 2.0)
    weights = [math.exp(-((k / 2) ** 2)) for k in range(1, 7)]
    assert_close(p, torch.tensor([w / sum(weights) for w in weights], dtype=torch.float64))
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    assert (p.diff() < 0).all()


def test_survival_starts_at_one_and_falls():
    s = survival(channel_probs(8, 3.0))
    assert float(s[0]) == pytest.approx(1, abs=1e-12)
    assert (s.diff() < 0).all()


def test_limits_of_sigma():
    assert_close(channel_probs(5, 1e6), torch.full((5,), 0.2, dtype=torch.float64), atol=1e-9, rtol=0)
    assert float(channel_probs(5, 1e-3)[0]) == 1.0  # k = 1 always


def test_default_sigma_puts_the_median_at_twice_the_classes():
    p = channel_probs(512, default_sigma(10, 512))
    assert float(p[:19].sum()) < 0.5 <= float(p[:21].sum())
    assert default_sigma(10, 16) == 16


def test_empirical_survival_is_binomial():
    layer, n = NestedDropout(6, 2.0), 20_000
    k = layer.draw(n, generator=torch.Generator().manual_seed(0))
    expected = survival(channel_probs(6, 2.0))
    for j in range(6):
        share, s = float((k > j).double().mean()), float(expected[j])
        assert abs(share - s) <= 4 * math.sqrt(max(s * (1 - s), 1e-9) / n) + 1e-9


def test_one_k_a_batch_no_rescaling_and_identity_in_evaluation():
    layer, z = NestedDropout(7, 3.0), torch.rand(5, 7) + 1
    out = layer(z)
    kept = out != 0
    assert (kept == kept[:1]).all()
    assert_close(out[kept], z[kept])
    layer.eval()
    assert_close(layer(z), z)
    with layer.truncate(2):
        assert (layer(z)[:, 2:] == 0).all()


def test_per_example_masks_differ():
    layer = NestedDropout(50, 30.0, per_example=True)
    with seeded(0):
        counts = (layer(torch.ones(64, 50)) != 0).sum(1)
    assert len(counts.unique()) > 5


def test_wrong_width_is_an_input_error():
    with pytest.raises(InputError, match=r"\(B, 4\)"):
        NestedDropout(4, 1.0)(torch.ones(2, 5))


def test_feature_dropout_keeps_the_mean():
    layer = FeatureDropout(0.25)
    out = layer(torch.ones(400, 500), torch.Generator().manual_seed(0))
    assert float(out.mean()) == pytest.approx(1, abs=0.01)
    assert_close(out.unique(), torch.tensor([0.0, 1 / 0.75]))


def test_gradient_beyond_k_is_exactly_zero_and_slicing_equals_masking():
    with seeded(1):
        net = Compressed(base=MLP(hidden=(9,)), sigma=3.0)(4, (6,))
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    logits = net.compressed(x, draw=(None, 3))
    masked = (net.features(x) * (torch.arange(9) < 3)) @ net.head.weight.T
    assert_close(logits, masked)
    logits.square().sum().backward()
    assert (net.head.weight.grad[:, 3:] == 0).all()
    assert (net.head.weight.grad[:, :3] != 0).any()
    assert (net.body.body[1].weight.grad[3:] == 0).all()  # feature channels beyond k


def test_all_channels_equal_the_unmasked_network_and_there_is_no_bias():
    net = Compressed(base=ConvNet(width=8), sigma=1e6)(3, (1, 8, 8))
    x = torch.randn(2, 1, 8, 8)
    assert net.head.bias is None
    assert_close(net.compressed(x, draw=(None, net.dim)), net.eval()(x))


def test_alternate_training_masks_one_of_two_layers():
    net = Compressed(base=MLP(hidden=(12,)), sigma=2.0, hidden=10)(3, (5,))
    draws = [net.draw(torch.Generator().manual_seed(s)) for s in range(200)]
    assert all((a is None) != (b is None) for a, b in draws)
    assert 60 <= sum(b is not None for _, b in draws) <= 140  # a fair coin


def test_spec_round_trip_holds_the_base():
    factory = Compressed(base=MLP(hidden=(5, 4)), kind="dropout", rate=0.2)
    assert factory_from(spec_of(factory)) == factory


def test_a_network_whose_last_linear_is_not_the_output():
    def odd(num_classes, input_shape):
        return nn.Sequential(nn.Linear(4, 7), nn.ReLU())

    with pytest.raises(InputError, match="not the network's output"):
        Compressed(base=odd)(3, (4,))


def test_nested_dropout_finds_ordered_principal_directions():
    # linear autoencoder with nested dropout on the code: channel j aligns with principal direction j (Rippel et al. 2014)
    generator = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    x = torch.randn(4000, 5, generator=generator) * torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]) @ basis.T
    encode, decode = nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)
    with seeded(0):
        nn.init.orthogonal_(encode.weight)
        nn.init.orthogonal_(decode.weight)
    layer = NestedDropout(5, 1e6)
    optimizer = torch.optim.Adam([*encode.parameters(), *decode.parameters()], lr=0.01)
    for step in range(3000):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - step / 3000)
        rows = x[torch.randint(0, len(x), (256,), generator=generator)]
        k = int(layer.draw(generator=generator))
        loss = (decode(layer(encode(rows), k)) - rows).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    columns = decode.weight.detach() / decode.weight.detach().norm(dim=0)
    cosines = (columns * basis).sum(0).abs()
    assert (cosines > 0.95).all(), cosines
