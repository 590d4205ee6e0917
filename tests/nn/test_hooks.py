"""BatchNorm statistics and modes against the definitions; flat networks; low-rank additions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from labelwright.errors import InputError
from labelwright.nn import MLP, ConvNet, ResNet, seeded
from labelwright.nn.flat import FlatNet, refuse_buffers
from labelwright.nn.hooks import BatchNormTap, LayerTap, head_of
from labelwright.nn.lowrank import LowRankConv2d, LowRankLinear, adapt, adapter_state, load_adapter, merged
from labelwright.nn.modes import batch_statistics


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def convnet(norm: str = "batch", *, classes: int = 3, seed: int = 0, depth: int = 2) -> nn.Module:
    with seeded(seed):
        net = ConvNet(depth=depth, width=8, norm=norm)(classes, (2, 8, 8))
    net(random(16, 2, 8, 8, seed=9))  # running statistics move off 0 and 1
    return net.eval()


def test_the_penalty_is_the_formula():
    net, x = convnet(), random(6, 2, 8, 8)
    with BatchNormTap(net) as tap:
        net(x)
        found, penalty = tap.distances(), tap.penalty()
    z, expected = x, []
    for layer in net.body:
        if isinstance(layer, nn.BatchNorm2d):
            flat = z.transpose(0, 1).flatten(1)
            mean, var = flat.mean(1), ((flat - flat.mean(1, keepdim=True)) ** 2).mean(1)  # biased
            expected.append((var - layer.running_var).norm() + (mean - layer.running_mean).norm())
        z = layer(z)
    assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)
    assert_close(penalty, 10 * expected[0] + expected[1], atol=1e-5, rtol=1e-5)
    assert not any(layer._forward_pre_hooks for layer in net.modules())


def test_matched_statistics_cost_nothing_and_have_a_gradient():
    layer = nn.Sequential(nn.BatchNorm2d(3)).eval()
    x = random(5, 3, 4, 4, dtype=torch.float64).requires_grad_()
    layer.double()
    layer[0].running_mean.copy_(x.detach().mean((0, 2, 3)))
    layer[0].running_var.copy_(x.detach().var((0, 2, 3), correction=0))
    with BatchNormTap(layer) as tap:
        layer(x)
        penalty = tap.penalty()
    assert float(penalty.detach()) < 1e-4
    penalty.backward()
    assert bool(x.grad.isfinite().all())


def test_the_gradient_of_the_penalty_is_right():
    net = convnet().double()

    def penalty(x):
        with BatchNormTap(net) as tap:
            net(x)
            return tap.penalty()

    x = random(4, 2, 8, 8, dtype=torch.float64).requires_grad_()
    (grad,) = torch.autograd.grad(penalty(x), x)
    for place in ((0, 0, 3, 4), (3, 1, 0, 7)):
        step = torch.zeros_like(x)
        step[place] = 1e-6
        slope = (penalty(x.detach() + step) - penalty(x.detach() - step)) / 2e-6
        assert slope.item() == pytest.approx(float(grad[place]), rel=1e-5, abs=1e-9)


def test_layers_of_a_single_pixel_can_be_skipped_and_nets_without_batchnorm_are_refused():
    net = nn.Sequential(nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2)).eval()
    with BatchNormTap(net, skip_points=True) as tap:
        net(random(4, 2, 5, 5))
        assert len(tap.distances()) == 1
    with pytest.raises(InputError, match="BatchNorm"):
        BatchNormTap(convnet("instance"))
    with pytest.raises(InputError, match="with block"):
        BatchNormTap(net).distances()


def test_batch_statistics_equal_functional_batch_norm_and_change_nothing():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 2)).train()
    net[0].running_mean.normal_()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x = random(6, 3, 4, 4)
    with batch_statistics(net) as inside:
        out = inside(x)
    expected = net[3](F.batch_norm(x, None, None, net[0].weight, net[0].bias, training=True, eps=net[0].eps).flatten(1))
    assert_close(out, expected)  # dropout was off
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(m.training for m in net.modules())
    assert net[0].track_running_stats
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    with batch_statistics(net) as inside:
        assert_close(inside(x[order]), out[order])


def test_named_layers_are_caught():
    net, x = convnet("group"), random(4, 2, 8, 8)
    name, head = head_of(net, 3)
    with LayerTap(net, [name, "body.0"]) as tap:
        logits = net(x)
    assert_close(head(tap.inputs[name]), logits)
    assert_close(tap.inputs[name], net.body(x))
    assert_close(tap.outputs["body.0"], net.body[0](x))
    with pytest.raises(InputError, match=r"body\.99"):
        LayerTap(net, ["body.99"])
    with pytest.raises(InputError, match="linear"):
        head_of(nn.Conv2d(1, 1, 1))


def test_a_flat_net_is_the_net():
    net, x = convnet("instance").double(), random(4, 2, 8, 8, dtype=torch.float64)
    flat = FlatNet(net)
    theta = flat.vector()
    assert theta.shape == (flat.size,) == (sum(p.numel() for p in net.parameters()),)
    assert_close(flat(theta, x), net(x))
    other = convnet("instance", seed=3).double()
    assert_close(flat(flat.vector(other), x), other(x))
    moved = theta.clone().requires_grad_()
    (grad,) = torch.autograd.grad(flat(moved, x).sum(), moved)
    net(x).sum().backward()
    assert_close(grad, torch.cat([p.grad.reshape(-1) for p in net.parameters()]))
    flat.fill(flat.vector(other), net)
    assert_close(net(x), other(x))
    with pytest.raises(InputError, match="differently"):
        flat.vector(convnet("instance", classes=4))
    with pytest.raises(InputError, match="shape"):
        flat(theta[:-1], x)


def test_networks_with_state_beside_their_weights_are_refused():
    for bad, word in ((convnet(), "BatchNorm"), (ResNet(width=4)(3, (2, 8, 8)), "BatchNorm"), (MLP(dropout=0.2)(3, (4,)), "dropout")):
        with pytest.raises(InputError, match=word):
            refuse_buffers(bad, what="Trajectory matching")
    refuse_buffers(convnet("instance"), what="Trajectory matching")


@pytest.mark.parametrize(("stride", "padding", "kernel"), [(1, 1, 3), (2, 0, 3), (1, 0, 1)])
def test_low_rank_convolution_is_the_convolution_of_the_composed_kernel(stride, padding, kernel):
    layer = nn.Conv2d(3, 5, kernel, stride=stride, padding=padding)
    added, x = LowRankConv2d(layer, 2), random(4, 3, 7, 7)
    assert torch.equal(added(x), layer(x))  # one factor is zero at first
    nn.init.normal_(added.up)
    kernel_sum = layer.weight.clone()
    for o in range(5):
        for r in range(2):
            kernel_sum[o] += added.up[o, r, 0, 0] * added.down[r]
    assert_close(added(x), F.conv2d(x, kernel_sum, layer.bias, stride=stride, padding=padding), atol=1e-5, rtol=1e-5)
    assert_close(added.weight(), kernel_sum)
    assert added.up.numel() + added.down.numel() == 2 * (kernel**2 * 3 + 5)
    with pytest.raises(InputError, match="grouped"):
        LowRankConv2d(nn.Conv2d(4, 4, 3, groups=2), 1)


def test_low_rank_linear_has_at_most_its_rank():
    added = LowRankLinear(nn.Linear(9, 7), 3)
    nn.init.normal_(added.up)
    delta = added.weight() - added.layer.weight
    assert int(torch.linalg.matrix_rank(delta.double(), atol=1e-5)) == 3
    assert added.up.numel() + added.down.numel() == 3 * (9 + 7)
    assert not added.layer.weight.requires_grad


def test_an_adapter_is_all_that_has_to_be_stored():
    x = random(4, 2, 8, 8)
    net = adapt(convnet("group"), 2)
    assert torch.equal(net(x), convnet("group")(x))
    for module in net.modules():
        if hasattr(module, "up"):
            nn.init.normal_(module.up)
    assert {n.rpartition(".")[2] for n, p in net.named_parameters() if p.requires_grad} == {"up", "down"}
    state = adapter_state(net)
    again = load_adapter(convnet("group"), state)
    assert torch.equal(again(x), net(x))
    plain = merged(net)
    assert not any(hasattr(m, "up") for m in plain.modules())
    assert_close(plain(x), net(x), atol=1e-4, rtol=1e-4)
    only = adapt(convnet("group"), 2, where=lambda name, m: isinstance(m, nn.Linear))
    assert set(adapter_state(only)) == {"head.up", "head.down"}
    with pytest.raises(InputError, match="nowhere"):
        adapt(convnet("group"), {"nowhere": 2})
    with pytest.raises(InputError, match="adapt"):
        adapt(nn.ReLU(), 2)


def test_a_low_rank_head_of_full_rank_reaches_least_squares():
    x, target = random(60, 6, dtype=torch.float64), random(60, 4, seed=1, dtype=torch.float64)
    added = LowRankLinear(nn.Linear(6, 4, bias=False).double(), 4)
    best = torch.linalg.lstsq(x, target).solution
    optimizer = torch.optim.LBFGS(
        [added.up, added.down], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = (added(x) - target).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert_close(closure().detach(), (x @ best - target).square().sum(), rtol=1e-6, atol=0)
