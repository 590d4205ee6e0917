"""Grey and noise: shares and deviations as asked, draws that are values."""

import pytest
import torch
from torch.testing import assert_close

from labelwright.data.augment import Grey, Noise, named
from labelwright.errors import InputError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


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
    [(lambda: Grey(p=2), "p"), (lambda: Noise(drop=1), "drop"), (lambda: Noise(deviation=-1), "deviation")],
)
def test_bad_settings(make, word):
    with pytest.raises(InputError, match=word):
        make()
