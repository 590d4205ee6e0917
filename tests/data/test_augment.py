"""Views against brute force over images and pixels; draws recorded and replayed bit by bit."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from labelwright.data import strong
from labelwright.data.augment import (
    DSA,
    VIEWS,
    Affine,
    ColourJitter,
    Compose,
    Crop,
    CropFlip,
    CutMix,
    Cutout,
    Flip,
    Mixup,
    RandAugment,
    Shift,
    WeakStrong,
    blend,
    named,
)
from labelwright.errors import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(b: int = 12, c: int = 3, h: int = 8, w: int = 10) -> torch.Tensor:
    return torch.randn(b, c, h, w, generator=generator(1))


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_recorded_draws_replay_bit_by_bit(name, tmp_path):
    x, view = images(), named(name)
    before = x.clone()
    called = view(x, generator(3))
    draws = view.draw(x.shape, generator(3))
    save_file({k: v.contiguous() for k, v in draws.items()}, tmp_path / "draws.safetensors")
    assert torch.equal(called, view.apply(x, load_file(tmp_path / "draws.safetensors")))
    assert torch.equal(x, before)
    assert called.shape == x.shape
    assert called.dtype == x.dtype
    assert not torch.equal(called, view(x, generator(4)))
    assert all(value.device.type == "cpu" and len(value) in (1, len(x)) for value in draws.values())


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_each_image_is_treated_alone(name):
    """Permuting the images together with their draws permutes the views."""
    x, view = images(), named(name)
    draws, order = view.draw(x.shape, generator(3)), torch.randperm(12, generator=generator(7))
    permuted = view.apply(x[order], {k: v[order] for k, v in draws.items()})
    assert_close(permuted, view.apply(x, draws)[order])


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_crop_flip_equals_slicing_image_by_image(mode):
    x, pad = images(40), 3
    view = CropFlip(pad=pad, padding=mode)
    draws = view.draw(x.shape, generator())
    padded = F.pad(x, (pad,) * 4, mode=mode)
    expected = []
    for b in range(len(x)):
        top, left = int(draws["top"][b]) + pad, int(draws["left"][b]) + pad
        image = padded[b, :, top : top + 8, left : left + 10]
        expected.append(image.flip(2) if draws["flip"][b] else image)
    assert torch.equal(view.apply(x, draws), torch.stack(expected))
    assert draws["top"].min() == -3
    assert draws["top"].max() == 3


def test_draws_are_uniform():
    draws = CropFlip(pad=2).draw((20_000, 1, 32, 32), generator())
    for name in ("top", "left"):
        counts = torch.bincount(draws[name] + 2)
        assert (counts - 4000).abs().max() < 5 * math.sqrt(20_000 * 0.2 * 0.8)
    assert abs(int(draws["flip"].sum()) - 10_000) < 5 * math.sqrt(5000)
    assert int(CropFlip().draw((500, 1, 32, 32), generator())["top"].max()) == 4  # the CIFAR recipe
    assert int(CropFlip().draw((500, 1, 8, 8), generator())["top"].max()) == 1


def test_shift_repeats_the_border():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    down = Shift().apply(x, {"top": torch.tensor([-1]), "left": torch.tensor([0])})
    assert down[0, 0].tolist() == [[1.0, 2.0], [1.0, 2.0]]
    right = Shift().apply(x, {"top": torch.tensor([0]), "left": torch.tensor([-1])})
    assert right[0, 0].tolist() == [[1.0, 1.0], [3.0, 3.0]]


def test_flip_and_crop_alone():
    x = images(4)
    assert torch.equal(Flip(p=1.0)(x, generator()), x.flip(3))
    assert torch.equal(Flip(p=0.0)(x, generator()), x)
    assert torch.equal(Crop(pad=0)(x, generator()), x)


def test_cutout_counts():
    x = torch.ones(50, 2, 8, 8)
    view = Cutout(size=0.5)
    draws = view.draw(x.shape, generator())
    out = view.apply(x, draws)
    for b in range(50):
        r, c = int(draws["row"][b]), int(draws["column"][b])
        expected = torch.ones(8, 8)
        expected[max(0, r - 2) : r + 2, max(0, c - 2) : c + 2] = 0
        assert torch.equal(out[b, 0], expected)
        assert torch.equal(out[b, 1], expected)


def test_mixup_is_the_closed_form_and_replays():
    x, y = images(6), F.one_hot(torch.arange(6) % 3, 3).float()
    view = Mixup(alpha=0.7, dominant=True)
    mixed = view(x, y, generator(5))
    draws = view.draw(x.shape, generator(5))
    lam, mate = float(draws["lam"]), draws["mate"].tolist()
    assert 0.5 <= lam <= 1
    assert sorted(mate) == list(range(6))
    for i, j in enumerate(mate):
        assert_close(mixed.inputs[i], lam * x[i] + (1 - lam) * x[j])
        assert_close(mixed.targets[i], lam * y[i] + (1 - lam) * y[j])
    table = torch.rand(6, 3, generator=generator(9))
    assert_close(blend(table, draws)[2], lam * table[2] + (1 - lam) * table[mate[2]])
    one = {"lam": torch.tensor(1.0), "mate": torch.arange(6).flip(0)}
    assert torch.equal(view.apply(x, one), x)


def test_mixup_shares_follow_the_beta_distribution():
    from scipy import stats

    shared = generator(0)
    lams = [float(Mixup(alpha=0.5).draw((2, 1), shared)["lam"]) for _ in range(2000)]
    assert stats.kstest(lams, stats.beta(0.5, 0.5).cdf).pvalue > 1e-3


def test_cutmix_mixes_targets_by_the_pixels_it_pasted():
    y = torch.eye(5)
    for seed in range(30):
        mixed = CutMix()(torch.zeros(5, 1, 8, 10) + torch.arange(5.0).view(5, 1, 1, 1), y, generator(seed))
        for i in range(5):
            j = int(mixed.mate[i])
            own = float((mixed.inputs[i] == i).float().mean())
            assert own == pytest.approx(1.0 if i == j else float(mixed.lam), abs=1e-6)
            assert_close(mixed.targets[i], mixed.lam * y[i] + (1 - mixed.lam) * y[j])


def test_affine_by_90_degrees_and_whole_pixels_is_exact():
    x = images(2, h=8, w=8)
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    # to the right of the centre comes what was below it: a quarter turn against the clock
    assert_close(strong.affine(x, quarter), torch.rot90(x, 1, (2, 3)), atol=1e-5, rtol=0)
    moved = strong.affine(images(2), torch.tensor([[[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]]))
    expected = torch.zeros(2, 3, 8, 10)
    expected[:, :, 1:, :8] = images(2)[:, :, :7, 2:]
    assert_close(moved, expected, atol=1e-5, rtol=0)
    still = Affine(degrees=0, scale=0)(x, generator())
    assert_close(still, x, atol=1e-5, rtol=0)


def test_affine_matrix_turns_scales_and_moves_as_the_fields_say():
    one, zero = torch.ones(1), torch.zeros(1)
    turn = strong._matrices(torch.tensor([0.3]), one, one, zero, zero, torch.zeros(1, 2))[0, :, :2]
    assert_close(turn @ turn.T, torch.eye(2))
    assert turn[0, 0] == pytest.approx(math.cos(0.3))
    double = strong._matrices(zero, 2 * one, 4 * one, zero, zero, torch.zeros(1, 2))[0]
    assert_close(double, torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.25, 0.0]]))  # enlarging pulls back from nearer the centre
    moved = strong._matrices(zero, one, one, zero, zero, torch.tensor([[2.0, -1.0]]))
    out = strong.affine(images(1), moved)
    assert_close(out[0, :, :7, 2:], images(1)[0, :, 1:, :8], atol=1e-5, rtol=0)


def test_colour_operations_by_hand():
    x = torch.tensor([0.0, 1.0, 2.0, 5.0]).view(1, 1, 2, 2)
    whole = torch.ones(1, 1, 1, 1)
    assert strong.brightness(x, whole).flatten().tolist() == [1.0, 2.0, 3.0, 6.0]
    assert strong.contrast(x, 2 * whole).flatten().tolist() == [-2.0, 0.0, 2.0, 8.0]
    assert strong.contrast(x, 0 * whole).flatten().tolist() == [2.0] * 4
    assert strong.posterise(x, 2 * whole).flatten().tolist() == [0.0, 0.0, 0.0, 5.0]
    assert strong.solarise(x, 0.5 * whole).flatten().tolist() == [0.0, 1.0, 2.0, 0.0]
    colour = torch.tensor([[0.0, 2.0], [2.0, 4.0]]).view(1, 2, 1, 2)
    assert strong.saturation(colour, 0 * whole).flatten().tolist() == [1.0, 3.0, 1.0, 3.0]
    assert torch.equal(strong.saturation(x, 3 * whole), x)  # grey
    assert strong.autocontrast(colour).flatten().tolist() == [0.0, 4.0, 0.0, 4.0]
    flat = torch.full((1, 1, 3, 3), 7.0)
    assert torch.equal(strong.autocontrast(flat), flat)
    assert torch.equal(strong.posterise(flat, 4 * whole), flat)
    assert_close(strong.sharpness(flat, 1.9 * whole), flat)
    assert_close(strong.sharpness(images(1), 1.0 * whole), images(1))


def test_colour_jitter_without_strength_is_the_identity():
    assert_close(ColourJitter(brightness=0, contrast=0, saturation=0)(images(), generator()), images())


@pytest.mark.parametrize("operation", range(len(strong.OPERATIONS)))
def test_randaugment_runs_the_operation_it_drew(operation):
    x = images(3, h=8, w=8)
    draws = {"operation": torch.full((3, 1), operation), "magnitude": torch.tensor([[0.5], [-0.5], [1.0]])}
    out = RandAugment(rounds=1).apply(x, draws)
    name = strong.OPERATIONS[operation]
    if name in strong.COLOUR:
        expected = strong.COLOUR[name](x, draws["magnitude"].view(3, 1, 1, 1))
        assert_close(out, expected)
    elif name == "move-x":  # 0.3 of 8 pixels: 2.4 to the right at full strength
        assert_close(out[2, :, :, 3], 0.4 * x[2, :, :, 0] + 0.6 * x[2, :, :, 1], atol=1e-5, rtol=0)
    elif name == "move-y":
        assert_close(out[2, :, 3], 0.4 * x[2, :, 0] + 0.6 * x[2, :, 1], atol=1e-5, rtol=0)
    else:
        assert not torch.equal(out, x)
    if name == "identity":
        assert torch.equal(out, x)


def test_strong_views_do_not_depend_on_the_units_of_the_inputs():
    """What needs a range reads it from the image: a common scaling of all channels commutes."""
    x = images()
    for name in ("autocontrast", "contrast", "saturation", "sharpness", "posterise", "solarise"):
        amount = torch.full((12, 1, 1, 1), 0.6)
        assert_close(strong.COLOUR[name](4 * x + 2, amount), 4 * strong.COLOUR[name](x, amount) + 2, atol=1e-4, rtol=1e-4)


def test_siamese_draws_serve_batches_of_any_size_and_let_gradients_through():
    view = DSA()
    real, synthetic = images(12), images(12)[:2].clone().requires_grad_()
    draws = view.draw(real.shape, generator(2))
    out = view.apply(synthetic, draws)
    assert_close(out.detach(), view.apply(real, draws)[:2])
    out.sum().backward()
    assert synthetic.grad.abs().sum() > 0


def test_weak_and_strong_views_are_both_of_the_original():
    pair = WeakStrong(weak=Flip(p=1.0), strong=Compose((Shift(pixels=2), Cutout())))
    x = images()
    weak, strongly = pair(x, generator(1))
    assert torch.equal(weak, x.flip(3))
    draws = pair.draw(x.shape, generator(1))
    assert torch.equal(strongly, pair.strong.apply(x, {k[2:]: v for k, v in draws.items() if k.startswith("1.")}))


def test_wrong_names_and_shapes():
    with pytest.raises(InputError, match="'crop-flip'"):
        named("cropflip")
    with pytest.raises(InputError, match=r"images of shape \(B, C, H, W\)"):
        named("crop-flip")(torch.zeros(3, 5), generator())
