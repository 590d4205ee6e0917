"""The pixel optimiser against torch's own, terms against definitions, runs that stop and go on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from labelwright.condense import _pixels
from labelwright.condense._pixels import PixelFit, Voter, look_at, optimise, total
from labelwright.condense._terms import Term, batchnorm, cross_entropy, feature_means, gradient_match, gradient_of
from labelwright.data.augment import Roll
from labelwright.data.record import Augmentation
from labelwright.errors import InputError, TrainingError
from labelwright.nn import ConvNet, seeded

C, SHAPE = 3, (2, 8, 8)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def net(seed: int = 0, norm: str = "batch") -> nn.Module:
    with seeded(seed):
        made = ConvNet(depth=2, width=6, norm=norm)(C, SHAPE)
    made(random(30, *SHAPE, seed=seed + 9))
    return made.eval()


LABELS = torch.arange(6) % C
TERMS = (cross_entropy(), batchnorm(0.1))


def start() -> torch.Tensor:
    return random(6, *SHAPE, seed=3)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_one_voter_is_the_textbook_loop(optimizer, schedule):
    fit = PixelFit(steps=8, lr=0.1, optimizer=optimizer, schedule=schedule)
    found = optimise(start(), LABELS, [Voter(net=net(), terms=[cross_entropy()])], fit=fit, seed=0)
    x = start().requires_grad_()
    made = torch.optim.Adam([x], lr=0.1, betas=(0.5, 0.9), eps=1e-8) if optimizer == "adam" else torch.optim.SGD([x], lr=0.1)
    ramp = torch.optim.lr_scheduler.CosineAnnealingLR(made, 8) if schedule == "cosine" else None
    losses = []
    for _ in range(8):
        made.zero_grad()
        loss = F.cross_entropy(net()(x), LABELS)
        loss.backward()
        made.step()
        losses.append(loss.item())
        if ramp is not None:
            ramp.step()
    assert_close(found.pixels, x.detach(), atol=1e-5, rtol=1e-5)
    assert [row["loss"] for row in found.history] == pytest.approx(losses, rel=1e-4)
    assert not found.diverged


def test_identical_voters_of_any_shares_are_one_voter():
    fit = PixelFit(steps=5, lr=0.1)
    one = optimise(start(), LABELS, [Voter(net=net(), terms=TERMS)], fit=fit, seed=0)
    two = optimise(start(), LABELS, [Voter(net=net(), terms=TERMS, weight=w) for w in (0.3, 0.7)], fit=fit, seed=0)
    assert_close(one.pixels, two.pixels, atol=1e-5, rtol=1e-5)
    assert two.history[0] == pytest.approx(one.history[0], rel=1e-5)


def test_the_gradient_of_a_committee_is_the_weighted_sum():
    voters = [Voter(net=net(0), terms=TERMS, weight=0.8), Voter(net=net(1), terms=[cross_entropy()], weight=0.2)]
    x = start().requires_grad_()
    loss = sum(total(v, x, LABELS)[0] for v in voters)
    (expected,) = torch.autograd.grad(loss, x)
    found = optimise(start(), LABELS, voters, fit=PixelFit(steps=1, lr=1.0, optimizer="sgd", schedule="constant"), seed=0)
    assert_close(start() - found.pixels, expected, atol=1e-6, rtol=1e-4)


def test_a_shared_perturbation_gets_the_sum_of_all_gradients():
    base, u = start(), torch.zeros(1, *SHAPE)
    fit = PixelFit(steps=1, lr=1.0, optimizer="sgd", schedule="constant")
    found = optimise(u, LABELS, [Voter(net=net(), terms=TERMS)], fit=fit, seed=0, expand=lambda v: base + v)
    x = base.clone().requires_grad_()
    (each,) = torch.autograd.grad(total(Voter(net=net(), terms=TERMS), x, LABELS)[0], x)
    assert_close(-found.pixels, each.sum(0, keepdim=True), atol=1e-5, rtol=1e-4)


def test_masked_pixels_never_move_and_bounds_hold():
    mask = torch.zeros(6, 1, 8, 8)
    mask[:, :, 4:] = 0.5
    low, high = torch.full((2, 1, 1), -0.2), torch.full((2, 1, 1), 0.2)
    found = optimise(
        start(), LABELS, [Voter(net=net(), terms=TERMS)], fit=PixelFit(steps=10, lr=0.5), seed=0, mask=mask, bounds=(low, high),
        augmentation=Augmentation(view=Roll(pixels=2)),
    )  # fmt: skip
    assert torch.equal(found.pixels[:, :, :4], start()[:, :, :4])
    assert float(found.pixels[:, :, 4:].abs().max()) <= 0.2 + 1e-6
    none = optimise(start(), LABELS, [Voter(net=net(), terms=TERMS)], fit=PixelFit(steps=3), seed=0, mask=torch.zeros(1))
    assert torch.equal(none.pixels, start())
    half, whole = (
        optimise(start(), LABELS, [Voter(net=net(), terms=TERMS)], fit=PixelFit(steps=1, lr=0.5), seed=0, mask=torch.tensor(m)).pixels
        for m in (0.5, 1.0)
    )
    assert_close(half - start(), (whole - start()) / 2)


def test_losses_fall_and_networks_are_left_as_they_were():
    nets = [net(0), net(1)]
    nets[0].train()
    nets[1].head.weight.requires_grad_(False)
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in nets]
    found = optimise(
        start(), LABELS, [Voter(net=n, terms=TERMS, weight=0.5) for n in nets], fit=PixelFit(steps=60, lr=0.1), seed=0,
        augmentation=Augmentation(view=Roll(pixels=2)),
    )  # fmt: skip
    # the networks are untrained: their logits hardly move, the statistics do
    for name, share in (("loss", 0.7), ("batchnorm", 0.5), ("cross-entropy", 1.0)):
        assert found.history[-1][name] < share * found.history[0][name]
    for n, state in zip(nets, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in n.state_dict().items())
    assert nets[0].training
    assert all(p.requires_grad for p in nets[0].parameters())
    assert not nets[1].head.weight.requires_grad
    assert all(p.grad is None for n in nets for p in n.parameters())


def test_a_stopped_run_goes_on_exactly(tmp_path, monkeypatch):
    given = {"fit": PixelFit(steps=12, lr=0.1), "seed": 4, "augmentation": Augmentation(view=Roll(pixels=3))}
    voters = [Voter(net=net(), terms=TERMS)]
    whole = optimise(start(), LABELS, voters, **given)
    place, calls = tmp_path / "pixels.safetensors", []
    real = _pixels._moved

    def stops(*args):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(_pixels, "_moved", stops)
    with pytest.raises(KeyboardInterrupt):
        optimise(start(), LABELS, voters, **given, checkpoint=place, every=3, key="a")
    again = optimise(start(), LABELS, voters, **given, checkpoint=place, every=3, key="a")
    assert len(calls) == 8 + 6  # six steps were kept
    assert torch.equal(again.pixels, whole.pixels)
    assert again.history == whole.history
    finished = optimise(start(), LABELS, voters, **given, checkpoint=place, every=3, key="a")
    assert torch.equal(finished.pixels, whole.pixels)
    assert len(calls) == 14
    with pytest.raises(TrainingError, match="other images"):
        optimise(start(), LABELS, voters, **given, checkpoint=place, key="b")
    other = optimise(start(), LABELS, voters, **given | {"seed": 5})
    assert not torch.equal(other.pixels, whole.pixels)
    second = optimise(start(), LABELS, voters, **given, stream=1)
    assert not torch.equal(second.pixels, whole.pixels)


def test_a_loss_that_is_not_finite_stops_with_the_last_good_images():
    seen = []

    def value(look):
        seen.append(look.inputs.detach().clone())
        return look.inputs.square().sum() / (0.0 if len(seen) == 4 else 1.0)

    found = optimise(start(), LABELS, [Voter(net=net(), terms=[Term(name="odd", value=value)])], fit=PixelFit(steps=9), seed=0)
    assert found.diverged
    assert "step 4 of 9" in found.advice
    assert "smaller lr" in found.advice
    assert len(found.history) == 3
    assert torch.equal(found.pixels, seen[3])
    assert bool(found.pixels.isfinite().all())


def test_feature_and_gradient_terms_are_their_definitions():
    made = net(norm="group")
    real, labels = random(20, *SHAPE, seed=8), torch.arange(20) % C
    features = made.body(real).detach()
    targets = torch.stack([features[labels == c].mean(0) for c in range(C)])
    voter = Voter(net=made, terms=[feature_means("head", targets)])
    x = start()
    own = made.body(x)
    expected = sum((own[c == LABELS].mean(0) - targets[c]).square().sum() for c in range(C))
    assert_close(total(voter, x, LABELS)[0], expected)
    assert float(total(voter, real, labels)[0].detach()) == pytest.approx(0, abs=1e-8)
    assert_close(look_at(voter, x, LABELS).features["head"], own)
    wanted = gradient_of(made, real, labels)
    F.cross_entropy(made(real), labels).backward()
    for g, p in zip(wanted, made.parameters(), strict=True):
        assert_close(g, p.grad)
    match = Voter(net=made, terms=[gradient_match(wanted)])
    assert float(total(match, real, labels)[0].detach()) == pytest.approx(0, abs=1e-4)
    brute = 0.0
    for a, b in zip(gradient_of(made, x, LABELS), wanted, strict=True):
        if a.ndim > 1:
            for row in range(len(a)):
                u, v = a[row].flatten(), b[row].flatten()
                brute += 1 - float(u @ v / (u.norm() * v.norm()))
    assert float(total(match, x, LABELS)[0].detach()) == pytest.approx(brute, rel=1e-4)
    moved = optimise(x, LABELS, [match], fit=PixelFit(steps=25, lr=0.1), seed=0)
    assert moved.history[-1]["gradients"] < 0.8 * moved.history[0]["gradients"]


def test_batchnorm_can_be_scaled_per_network():
    made, x = net(), start()
    plain, scaled = (total(Voter(net=made, terms=[batchnorm(1.0, divide=d)]), x, LABELS)[0] for d in (1.0, 4.0))
    assert_close(plain, 4 * scaled)


def test_wrong_arguments():
    for make, word in (
        (lambda: PixelFit(steps=-1), "steps"),
        (lambda: PixelFit(optimizer="lbfgs"), "optimizer"),
        (lambda: PixelFit(betas=(0.5, 1.0)), "betas"),
        (lambda: Voter(net=net(), terms=[]), "term"),
        (lambda: Voter(net=net(), terms=TERMS, weight=-1), "weight"),
        (lambda: batchnorm(-0.1), "weight of batchnorm"),
        (lambda: optimise(start(), LABELS, [], fit=PixelFit(), seed=0), "voter"),
        (lambda: optimise(start(), LABELS, [Voter(net=net(norm="group"), terms=TERMS)], fit=PixelFit(), seed=0), "BatchNorm"),
    ):
        with pytest.raises(InputError, match=word):
            make()
