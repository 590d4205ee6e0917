"""Resized crops, grey and noise: exact on images whose crops are known."""

import pytest
import torch
from torch.testing import assert_close

from labelwright.data.augment import Grey, Noise, ResizedCrop, named
from labelwright.errors import InputError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_whole_image_is_itself_and_a_quarter_is_that_quarter_enlarged():
    x = torch.arange(64.0).view(1, 1, 8, 8)
    whole = {"scale": torch.ones(1, 2), "place": torch.zeros(1, 2)}
    assert_close(ResizedCrop().apply(x, whole), x)
    # top left quarter; bilinear reading of a linear image is linear: pixel (r, c) reads row 0.5 r - 0.25, column 0.5 c - 0.25
    quarter = {"scale": torch.full((1, 2), 0.5), "place": torch.full((1, 2), -0.5)}
    got = ResizedCrop().apply(x, quarter)[0, 0]
    rows = 0.5 * torch.arange(8) - 0.25
    want = 8 * rows[:, None] + rows[None, :]
    assert_close(got[1:, 1:], want[1:, 1:])


def test_windows_stay_inside_and_have_the_wanted_area():
    draws = ResizedCrop(low=0.2).draw((4_000, 3, 9, 6), generator())
    scale, place = draws["scale"], draws["place"]
    assert (scale <= 1).all()
    assert ((place.abs() + scale) <= 1 + 1e-6).all()
    inside = (scale < 1).all(1)
    area = scale.prod(1)
    assert area[inside].min() >= 0.2 - 1e-6
    ratio = scale[:, 0] / scale[:, 1]
    assert ratio[inside].max() <= 4 / 3 + 1e-5
    assert ratio[inside].min() >= 3 / 4 - 1e-5


def test_grey_images_have_equal_channels():
    x = torch.randn(500, 3, 2, 2, generator=generator(1))
    got = Grey(p=0.2)(x, generator())
    same = (got == got[:, :1]).flatten(1).all(1)
    assert 60 < int(same.sum()) < 140
    assert_close(got[same], x[same].mean(1, keepdim=True).expand(-1, 3, -1, -1))
    assert torch.equal(got[~same], x[~same])


def test_noise_of_vectors_has_its_deviation_and_drops_its_share():
    x = torch.full((2_000, 10), 3.0)
    got = Noise(deviation=0.1, drop=0.25)(x, generator())
    kept = got[got != 0]
    assert float((got == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert float(kept.std()) == pytest.approx(0.1, abs=0.005)
    assert float(kept.mean()) == pytest.approx(3, abs=0.005)


def test_recipes_by_name():
    x = torch.randn(4, 3, 8, 8, generator=generator(2))
    for name in ("web-weak", "web-strong"):
        view = named(name)
        draws = view.draw(x.shape, generator(3))
        assert torch.equal(view.apply(x, draws), view.apply(x, draws))
        assert torch.equal(view(x, generator(3)), view.apply(x, draws))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: ResizedCrop(low=0), "low"),
        (lambda: ResizedCrop(ratio=0.5), "ratio"),
        (lambda: Grey(p=2), "p"),
        (lambda: Noise(drop=1), "drop"),
    ],
)
def test_bad_settings(make, word):
    with pytest.raises(InputError, match=word):
        make()
