"""Networks against the parameter counts of the literature and the layer arithmetic; factories by name and back."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from labelwright.errors import InputError
from labelwright.nn import MLP, ConvNet, PreActResNet, ResNet, WideResNet, factory_from, join_head, net_named, seeded, spec_of, split_head
from labelwright.nn.modes import freeze_batchnorm
from labelwright.nn.networks import norm_layer


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("factory", "parameters"),
    [
        (ResNet(depth=18), 11_173_962),  # the CIFAR ResNets of the widely used PyTorch implementation
        (ResNet(depth=34), 21_282_122),
        (PreActResNet(), 11_171_146 + 2 * 512),  # that implementation leaves out the last norm of He et al.
        (WideResNet(), 1_467_610),  # WRN-28-2 of the semi-supervised literature
        (ConvNet(width=128, norm="instance"), 320_010),  # ConvNet-D3 of the condensation literature
        (MLP(hidden=(5,)), 3072 * 5 + 5 + 5 * 10 + 10),
    ],
)
def test_parameter_counts(factory, parameters):
    with torch.device("meta"):
        net = factory(10, (3, 32, 32))
    assert count(net) == parameters
    assert net(torch.zeros(2, 3, 32, 32, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("norm", ["batch", "group", "instance", "none"])
def test_small_images_pass_every_norm(norm):
    for side in (1, 2, 3, 7):
        net = ConvNet(depth=3, width=8, norm=norm)(4, (1, side, side)).eval()
        assert net(torch.zeros(3, 1, side, side)).shape == (3, 4)
    for factory in (ResNet(width=8, norm=norm), PreActResNet(width=8, norm=norm), WideResNet(depth=10, widen=1, norm=norm)):
        assert factory(4, (1, 8, 8)).eval()(torch.zeros(3, 1, 8, 8)).shape == (3, 4)


def test_instance_norm_is_per_channel_and_group_norm_takes_eight():
    x = torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    expected = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    assert_close(norm_layer("instance", 16)(x), expected)
    groups = x.view(2, 2, 8, 5, 5)
    expected = (groups - groups.mean((2, 3, 4), keepdim=True)) / (groups.var((2, 3, 4), keepdim=True, unbiased=False) + 1e-5).sqrt()
    assert_close(norm_layer("group", 16)(x), expected.view_as(x))


def test_seeded_weights_and_the_callers_generator():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    nets = []
    for seed in (0, 0, 1):
        with seeded(seed):
            nets.append(ConvNet()(10, (3, 32, 32)))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(nets[0].head.weight, nets[1].head.weight)
    assert not torch.equal(nets[0].head.weight, nets[2].head.weight)


def test_names_and_back_through_json():
    for factory in (MLP(hidden=(3, 4), dropout=0.5), ConvNet(depth=2), ResNet(depth=34, norm="group"), WideResNet(depth=16)):
        assert factory_from(json.loads(json.dumps(spec_of(factory)))) == factory
    assert net_named("convnet", width=7) == ConvNet(width=7)
    assert spec_of(lambda num_classes, input_shape: nn.Identity()) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: net_named("convnt"), "'convnet'"),
        (lambda: net_named("convnet", widht=3), "'width'"),
        (lambda: ConvNet(norm="layer"), "norm"),
        (lambda: ConvNet()(3, (5,)), "use the network 'mlp'|Use the network 'mlp'"),
        (lambda: ResNet(depth=50), "depth"),
        (lambda: WideResNet(depth=27), "6n"),
        (lambda: factory_from({"name": "convnet"}), "'net'"),
        (lambda: split_head(nn.Conv2d(1, 1, 1)), "no linear output layer"),
    ],
)
def test_wrong_requests(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("factory", [MLP(hidden=(6,)), ConvNet(width=8, depth=2), WideResNet(depth=10, widen=1)])
def test_splitting_the_head_changes_nothing(factory):
    net = factory(3, (1, 8, 8)).eval()
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = net(x)
    body, head = split_head(net)
    assert_close(head(body(x)), expected)
    assert head.out_features == 3
    linear = nn.Linear(2, 3)
    body, head = split_head(linear)
    assert head is linear
    assert_close(head(body(torch.ones(1, 2))), linear(torch.ones(1, 2)))


@pytest.mark.parametrize("factory", [MLP(hidden=(6,)), WideResNet(depth=10, widen=1), lambda classes, shape: nn.Linear(64, classes)])
def test_a_head_that_was_split_off_is_joined_again(factory):
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x = x.flatten(1) if isinstance(factory(3, (1, 8, 8)), nn.Linear) else x
    with seeded(1):
        net = factory(3, (1, 8, 8)).eval()
    expected = net(x)
    body, head = split_head(net)
    fresh = factory(3, (1, 8, 8)).eval()
    assert_close(join_head(fresh, body, head.weight, head.bias)(x), expected)
    assert_close(join_head(fresh, body, head.weight)(x), expected - head.bias)


def test_frozen_batchnorm_keeps_statistics_and_affine_parameters():
    with seeded(0):
        net = ResNet(width=4)(3, (1, 8, 8))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, weight_decay=0.1)
    freeze_batchnorm(net)
    norms = {name for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net(torch.randn(6, 1, 8, 8)).square().mean().backward()
    optimizer.step()
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) == (name.rpartition(".")[0] in norms), name
    assert net.training
    assert net.head.training


def test_an_mlp_takes_one_width_for_one_layer_and_refuses_what_is_no_width():
    shapes = [tuple(p.shape) for p in net_named("mlp", hidden=7)(3, (5,)).parameters()]
    assert shapes == [(7, 5), (7,), (3, 7), (3,)]
    for wrong in ("wide", (4, 0), 2.5):
        with pytest.raises(InputError, match="hidden must be positive widths"):
            net_named("mlp", hidden=wrong)
