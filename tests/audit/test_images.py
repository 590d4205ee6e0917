"""Odd images: measures in closed form, planted ones found, encoded files and arrays agree."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_image

from labelwright.audit.images import blank, blurred, dark, look_at, measures, odd_aspect
from labelwright.data import Dataset, Images


def tiles(side: int = 48, count: int = 60) -> list[Image.Image]:
    """Pieces with some texture of the two photographs that come with scikit-learn."""
    photos = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    places = [(p, x, y) for p in photos for x in range(0, 592, side) for y in range(0, 379, side)]
    pieces = [p.crop((x, y, x + side, y + side)) for p, x, y in places]
    return [p for p in pieces if np.asarray(p.convert("L")).std() > 30][:count]


def encoded(pictures: list[Image.Image]) -> Dataset:
    raw = []
    for picture in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        raw.append(buffer.getvalue())
    return Dataset(inputs=Images(raw))


def test_measures_in_closed_form():
    half = torch.zeros(1, 8, 8)
    half[:, :, 4:] = 0.5
    brightness, contrast, sharpness, thumbs, _ = measures(half)
    assert brightness.item() == 0.5
    assert math.isclose(contrast.item(), 0.25)
    # the Laplacian of the step is +0.5 in one column and -0.5 in the next, 0 in the other four of six
    assert math.isclose(sharpness.item(), math.sqrt(0.25 / 3) / 0.25, rel_tol=1e-5)
    assert math.isclose(thumbs.norm().item(), 1, rel_tol=1e-5)


def test_white_noise_is_as_sharp_as_theory_says():
    noise = torch.rand(1, 400, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert math.isclose(measures(noise)[2].item(), math.sqrt(20), rel_tol=0.02)


def test_sharpness_thumbnails_and_hashes_ignore_gain_and_offset():
    grey = torch.rand(5, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one, two = measures(grey), measures(0.4 * grey + 0.3)
    for k in (2, 3):
        assert torch.allclose(one[k], two[k], atol=1e-6)
    assert torch.equal(one[4], two[4])


def test_planted_odd_images_are_found_and_no_others():
    pictures = tiles()
    pictures[5] = pictures[5].point(lambda v: v // 5)
    pictures[11] = Image.new("RGB", (48, 48), (120, 130, 90))
    pictures[20] = pictures[20].filter(ImageFilter.GaussianBlur(6))
    pictures[31] = pictures[31].resize((200, 48))
    look = look_at(encoded(pictures))
    assert 5 in dark(look).index
    assert blank(look).index.tolist() == [11]
    assert 20 in blurred(look).index
    assert 11 not in blurred(look).index  # blank is said once
    assert odd_aspect(look).index.tolist() == [31]
    assert len(dark(look).index) <= 3
    assert len(blurred(look).index) <= 6
    assert (dark(look).score >= 0.5).all()
    assert math.isclose(odd_aspect(look).score[0], 1 - 0.5 ** (math.log(200 / 48) / math.log(3)))


def test_arrays_look_like_the_files_they_come_from():
    pictures = tiles(count=12)
    array = np.stack([np.asarray(p).transpose(2, 0, 1) for p in pictures])
    files, arrays = look_at(encoded(pictures)), look_at(Dataset(inputs=array))
    floats = look_at(Dataset(inputs=(array / 255).astype(np.float32)))
    for other in (arrays, floats):
        assert np.allclose(files.brightness, other.brightness, atol=0.01)
        assert np.allclose(files.sharpness, other.sharpness, rtol=0.1)  # files are rounded to 8 bits of grey
        assert (np.bitwise_count(files.hashes ^ other.hashes) <= 4).all()


def test_floats_beyond_the_unit_range_are_said_so():
    rng = np.random.default_rng(0)
    assert not look_at(Dataset(inputs=rng.normal(size=(4, 1, 16, 16)))).ranged
    assert look_at(Dataset(inputs=rng.random((4, 5, 16, 16)))).ranged  # five channels are averaged
