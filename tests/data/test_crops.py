"""Crops, rolls and shuffled patches against slicing, resizing and counting."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from labelwright.data.augment import BoxCrop, PatchShuffle, Roll
from labelwright.errors import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(b: int = 9, c: int = 3, h: int = 12, w: int = 10) -> torch.Tensor:
    return torch.randn(b, c, h, w, generator=generator(1))


@pytest.mark.parametrize("together", [False, True])
def test_a_box_is_the_slice_resized(together):
    x, view = images(), BoxCrop(flip=0.5, together=together)
    draws = view.draw(x.shape, generator(2))
    out = view.apply(x, draws)
    for b in range(len(x)):
        top, left, tall, wide = draws["box"][0 if together else b].tolist()
        piece = F.interpolate(x[b : b + 1, :, top : top + tall, left : left + wide], size=(12, 10), mode="bilinear")[0]
        expected = piece.flip(2) if draws["flip"][0 if together else b] else piece
        assert_close(out[b], expected, atol=1e-5, rtol=0)


def test_boxes_have_the_areas_and_shapes_asked_for():
    draws = BoxCrop(scale=(0.25, 0.5), ratio=(1 / 2, 2)).draw((3000, 1, 64, 64), generator())
    top, left, tall, wide = draws["box"].T
    area, shape = (tall * wide) / 64**2, wide / tall
    assert area.min() > 0.24
    assert area.max() < 0.51
    assert_close(area.mean(), torch.tensor(0.375), atol=0.01, rtol=0)
    assert shape.min() > 0.48
    assert shape.max() < 2.1
    assert abs(float(shape.log().mean())) < 0.03
    assert (top >= 0).all()
    assert (top + tall <= 64).all()
    assert (left + wide <= 64).all()
    assert (top + tall == 64).any()


def test_a_shape_that_never_fits_takes_the_largest_allowed_box():
    draws = BoxCrop(scale=(1, 1), ratio=(1, 1)).draw((5, 1, 8, 16), generator())
    assert draws["box"][:, 2:].tolist() == [[8, 8]] * 5
    whole = BoxCrop(scale=(1, 1), ratio=(1, 1))
    assert_close(whole(images(h=8, w=8), generator()), images(h=8, w=8), atol=1e-6, rtol=0)


def test_a_tile_crop_never_leaves_its_tile_and_reaches_all_equally():
    f, n = 2, 4000
    painted = torch.arange(4.0).view(1, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3).expand(n, 1, 8, 8)
    out = BoxCrop(tiles=f, flip=0.5)(painted, generator(1))
    assert torch.equal(out.amin((1, 2, 3)), out.amax((1, 2, 3)))  # constant: no pixel of another tile
    counts = torch.bincount(out[:, 0, 0, 0].long(), minlength=4).double()
    chi_square = float(((counts - n / 4) ** 2 / (n / 4)).sum())
    assert chi_square < 16.3  # 0.1 % of the distribution with three degrees of freedom


def test_the_whole_tile_is_the_tile_enlarged():
    x, view = images(20, h=12, w=12), BoxCrop(scale=(1, 1), ratio=(1, 1), tiles=3)
    draws = view.draw(x.shape, generator(3))
    out = view.apply(x, draws)
    for b in range(20):
        top, left, tall, wide = draws["box"][b].tolist()
        assert (tall, wide, top % 4, left % 4) == (4, 4, 0, 0)
        assert_close(out[b : b + 1], F.interpolate(x[b : b + 1, :, top : top + 4, left : left + 4], size=(12, 12), mode="bilinear"))
    with pytest.raises(InputError, match="3 x 3 tiles"):
        view(images(2, h=10, w=12), generator())


def test_the_gradient_of_a_crop_is_its_transpose():
    x = images(3).double().requires_grad_()
    view = BoxCrop(flip=0.5)
    draws = view.draw(x.shape, generator(3))
    assert torch.autograd.gradcheck(lambda z: view.apply(z, draws), x)


def test_a_roll_keeps_every_pixel_and_its_gradient_rolls_back():
    x, view = images().requires_grad_(), Roll(pixels=4)
    draws = view.draw(x.shape, generator(7))
    down, right = int(draws["row"]), int(draws["column"])
    out = view.apply(x, draws)
    for r in range(12):
        for c in range(10):
            assert torch.equal(out[:, :, (r + down) % 12, (c + right) % 10], x[:, :, r, c])
    weight = torch.randn(out.shape, generator=generator(2))
    (grad,) = torch.autograd.grad((out * weight).sum(), x)
    assert torch.equal(grad, weight.roll((-down, -right), (2, 3)))
    shared = generator()
    seen = {int(view.draw(x.shape, shared)["row"]) for _ in range(100)}
    assert seen == {0, 1, 2, 3, 4}
    assert torch.equal(Roll(pixels=0)(x, generator()), x)


def test_patches_are_permuted():
    x, view = images(5, h=6, w=9), PatchShuffle(factor=3)
    draws = view.draw(x.shape, generator())
    out = view.apply(x, draws)

    def patch(image, k):
        r, c = divmod(k, 3)
        return image[:, 2 * r : 2 * r + 2, 3 * c : 3 * c + 3]

    for b in range(5):
        assert sorted(draws["order"][b].tolist()) == list(range(9))
        for k in range(9):
            assert torch.equal(patch(out[b], k), patch(x[b], int(draws["order"][b, k])))
    assert torch.equal(PatchShuffle(factor=1)(x, generator()), x)


def test_wrong_settings():
    for make, word in (
        (lambda: BoxCrop(scale=(0.5, 0.2)), "scale"),
        (lambda: BoxCrop(scale=(0.0, 0.2)), "scale"),
        (lambda: BoxCrop(tiles=0), "tiles"),
        (lambda: Roll(pixels=-1), "pixels"),
        (lambda: PatchShuffle(factor=0), "factor"),
    ):
        with pytest.raises(InputError, match=word):
            make()
    assert math.isclose(BoxCrop().scale[0], 0.08)
