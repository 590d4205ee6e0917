"""Featurisers: statistics against NumPy, exact restoration, and one line for data of another make."""

from __future__ import annotations

import io
import json
from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from labelwright.data import Dataset, Images, Info, TableRows, Texts
from labelwright.data.features.table import TOP
from labelwright.data.featurise import Featuriser, fit_featuriser
from labelwright.errors import InputError

SENTENCES = ["the cat sat on the mat", "a dog ate the cat", "stocks fell on monday", "the market fell", "", "dog and cat and dog"]


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def datasets() -> dict[str, Dataset]:
    rng = np.random.default_rng(0)
    return {
        "vectors": Dataset(inputs=rng.normal(5, 3, (40, 6))),
        "tensor": Dataset(inputs=torch.randn(30, 4, generator=torch.Generator().manual_seed(0))),
        "sequence": Dataset(inputs=rng.normal(5, 3, (20, 2, 9))),
        "uint8 images": Dataset(inputs=rng.integers(0, 256, (12, 3, 5, 4), dtype=np.uint8)),
        "float images": Dataset(inputs=rng.random((12, 1, 6, 6), dtype=np.float32)),
        "files": Dataset(inputs=Images([encoded(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)) for _ in range(8)])),
        "texts": Dataset(inputs=Texts(SENTENCES)),
        "table": Dataset(inputs=TableRows(pl.DataFrame({"x": [1.0, None, 3.0], "c": ["a", "b", None], "t": [True, False, None]}))),
    }


@pytest.mark.parametrize("name", list(datasets()))
def test_restored_from_json_and_arrays_bit_for_bit(name):
    data = datasets()[name]
    featuriser = fit_featuriser(data, seed=0)
    spec = json.loads(json.dumps(featuriser.spec(), allow_nan=False))
    back = Featuriser.restore(spec, {k: v.copy() for k, v in featuriser.arrays().items()})
    x = featuriser.transform(data)
    assert x.dtype == torch.float32
    assert x.shape == (len(data), *featuriser.input_shape)
    assert back.input_shape == featuriser.input_shape
    assert torch.equal(back.transform(data), x)
    # rows do not depend on their neighbours: statistics are the training ones
    assert torch.equal(back.transform(data.take([2, 0])), x[[2, 0]])
    assert torch.equal(fit_featuriser(data, seed=0).transform(data), x)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(2, 30), st.integers(1, 5)), elements=st.floats(-1e3, 1e3, width=16)))
def test_vectors_have_mean_0_and_deviation_1(x):
    z = fit_featuriser(Dataset(inputs=x), seed=0).transform(Dataset(inputs=x)).double().numpy()
    constant = np.ptp(x, axis=0) == 0
    np.testing.assert_array_equal(z[:, constant], 0)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(z[:, ~constant].std(0), 1, atol=1e-4)


def test_a_large_offset_costs_no_digits():
    seconds = 1.7e9 + np.arange(100.0)[:, None]
    z = fit_featuriser(Dataset(inputs=seconds), seed=0).transform(Dataset(inputs=seconds)).numpy()[:, 0]
    expected = (np.arange(100) - 49.5) / np.arange(100).std()
    np.testing.assert_allclose(z, expected, atol=1e-6)


def test_block_size_does_not_matter(monkeypatch):
    data = Dataset(inputs=np.random.default_rng(0).normal(size=(50, 3)))
    whole = fit_featuriser(data, seed=0)
    monkeypatch.setattr("labelwright.data.features.arrays.BLOCK_VALUES", 7)
    parts = fit_featuriser(data, seed=0)
    np.testing.assert_allclose(parts.arrays()["mean"], data.inputs.mean(0), rtol=1e-12)
    np.testing.assert_allclose(1 / parts.arrays()["scale"], data.inputs.std(0), rtol=1e-12)
    torch.testing.assert_close(parts.transform(data), whole.transform(data))


def test_images_of_uint8_are_scaled_and_standardised_by_channel():
    raw = np.random.default_rng(1).integers(0, 256, (9, 3, 4, 5), dtype=np.uint8)
    x = fit_featuriser(Dataset(inputs=raw), seed=0).transform(Dataset(inputs=raw)).numpy()
    unit = raw / 255
    expected = (unit - unit.mean((0, 2, 3), keepdims=True)) / unit.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(x, expected, atol=1e-5)
    # the same pixels as PNG files, as floats and as uint8 are the same images
    files = Dataset(inputs=Images([encoded(im.transpose(1, 2, 0)) for im in raw]))
    for same in (files, Dataset(inputs=unit.astype(np.float32))):
        np.testing.assert_allclose(fit_featuriser(same, seed=0).transform(same).numpy(), x, atol=1e-5)


def test_image_size_and_channels():
    def shape(*arrays: np.ndarray, **options) -> tuple[int, ...]:
        return fit_featuriser(Dataset(inputs=Images([encoded(a) for a in arrays])), seed=0, **options).input_shape

    grey, colour = np.zeros((40, 20), np.uint8), np.zeros((40, 20, 3), np.uint8)
    assert shape(grey, grey) == (1, 40, 20)  # the common size
    assert shape(grey, colour) == (3, 40, 20)  # one colour image makes all colour
    assert shape(np.zeros((400, 200), np.uint8)) == (1, 224, 112)  # capped, proportions kept
    # different sizes: medians 100 and 200, longest side to 64
    assert shape(np.zeros((50, 200), np.uint8), np.zeros((100, 300), np.uint8), np.zeros((200, 100), np.uint8)) == (1, 32, 64)
    assert shape(grey, image_size=8) == (1, 8, 8)
    assert shape(grey, image_size=(8, 6)) == (1, 8, 6)
    with pytest.raises(InputError, match="image_size has no effect on vectors"):
        fit_featuriser(Dataset(inputs=np.eye(3)), seed=0, image_size=8)
    with pytest.raises(InputError, match="image_size must be >= 1"):
        shape(grey, image_size=0)


def test_images_of_another_size_or_channel_count_are_converted():
    plain = np.full((4, 1, 8, 8), 100, np.uint8)
    plain[0] = 200
    featuriser = fit_featuriser(Dataset(inputs=plain), seed=0)
    x = featuriser.transform(Dataset(inputs=plain))
    # evenly coloured images stay so in any size; grey as RGB has the same brightness
    larger = featuriser.transform(Dataset(inputs=np.repeat(np.repeat(plain, 2, axis=2), 2, axis=3)))
    coloured = featuriser.transform(Dataset(inputs=np.repeat(plain, 3, axis=1)))
    torch.testing.assert_close(larger, x)
    torch.testing.assert_close(coloured, x, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="1 channels; these have 2"):
        featuriser.transform(Dataset(inputs=np.zeros((1, 2, 8, 8), np.uint8)))
    with pytest.raises(InputError, match="must be uint8"):
        featuriser.transform(Dataset(inputs=np.zeros((1, 1, 8, 8), np.int64)))


def test_large_jpegs_are_decoded_small_but_look_the_same():
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    picture = np.stack([np.tile(ramp, (480, 1)), np.tile(ramp[:480, None], (1, 640)), np.full((480, 640), 90, np.uint8)], axis=2)
    images = Images([encoded(picture, "JPEG")])
    assert images.picture(0).size == (640, 480)
    assert images.picture(0, side=100).size == (160, 120)
    small = fit_featuriser(Dataset(inputs=images), seed=0, image_size=(12, 16))
    plain = np.asarray(Image.fromarray(picture).resize((16, 12), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    mean, scale = small.arrays()["mean"][:, None, None], small.arrays()["scale"][:, None, None]
    seen = (small.transform(Dataset(inputs=images))[0].numpy() / np.where(scale, scale, 1) + mean) * 255
    assert np.abs(seen[:2] - plain[:2]).max() < 4


def test_sixteen_bits_are_scaled_not_clipped():
    deep = np.array([[0, 32768, 65535]], dtype=np.uint16)
    assert Images([encoded(deep)])[0].tolist() == [[[0, 128, 255]]]


def test_texts_by_hand():
    """Two words that never meet: after SVD the documents of one lie on one axis."""
    texts = ["apple pear", "apple pear", "brick stone", "brick stone", "brick stone"]
    featuriser = fit_featuriser(Dataset(inputs=Texts(texts)), seed=0, text_dim=2)
    x = featuriser.transform(Dataset(inputs=Texts(texts))).numpy()
    assert np.abs(x[0] - x[1]).max() < 1e-6
    assert np.abs(x[2] - x[4]).max() < 1e-6
    # 2 of one and 3 of the other group, standardised: ±sqrt(3/2) against ∓sqrt(2/3)
    np.testing.assert_allclose(np.abs(x[0]), np.sqrt(3 / 2), rtol=1e-4)
    np.testing.assert_allclose(np.abs(x[2]), np.sqrt(2 / 3), rtol=1e-4)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose((x**2).mean(), 1, rtol=1e-6)
    assert fit_featuriser(Dataset(inputs=Texts(texts)), seed=0, text_dim=1).input_shape == (1,)


def test_texts_without_spaces_are_read_by_characters():
    data = Dataset(inputs=Texts(["CCO", "CCN", "c1ccccc1", "c1ccccc1O", "这是一个测试"]))
    featuriser = fit_featuriser(data, seed=0)
    assert featuriser.spec()["analyzer"] == "char_wb"
    x = featuriser.transform(data).numpy()
    assert np.linalg.norm(x[2] - x[3]) < np.linalg.norm(x[2] - x[0])
    with pytest.raises(InputError, match="hold no words"):
        fit_featuriser(Dataset(inputs=Texts(["", " "])), seed=0)


def table(**columns) -> Dataset:
    return Dataset(inputs=TableRows(pl.DataFrame(columns)))


def test_table_by_hand():
    from datetime import date

    data = table(
        x=[1.0, 3.0, None, 5.0],
        c=["b", "a", "b", None],
        day=[date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 1), date(2024, 1, 2)],
        constant=[7, 7, 7, 7],
        empty=[None] * 4,
        inf=[1.0, float("inf"), 3.0, 3.0],
    )
    featuriser = fit_featuriser(data, seed=0)
    x = featuriser.transform(data).numpy()
    names = featuriser.feature_names  # type: ignore[attr-defined]
    assert names == ["x", "x: missing", "c=b", "c=a", "c: other", "c: missing", "day", "constant", "inf", "inf: missing"]
    column = dict(zip(names, x.T, strict=True))
    filled = np.array([1, 3, 3, 5.0])  # the median of 1, 3, 5 is 3
    np.testing.assert_allclose(column["x"], (filled - 3) / np.sqrt(2), rtol=1e-6)
    assert column["x: missing"].tolist() == [0, 0, 1, 0]
    assert [column[f"c{s}"].tolist() for s in ("=b", "=a", ": other", ": missing")] == [[1, 0, 1, 0], [0, 1, 0, 0], [0] * 4, [0, 0, 0, 1]]
    assert column["day"].tolist() == [-1, 1, -1, 1]
    assert column["constant"].tolist() == [0] * 4
    assert column["inf: missing"].tolist() == [0, 1, 0, 0]
    dropped = {c["name"]: c["note"] for c in featuriser.spec()["columns"] if c["use"] == "dropped"}
    assert dropped == {"empty": "no value at all"}
    # new rows: a new word is "other", the order of columns does not matter, further columns do no harm
    new = table(c=["zebra"], inf=[None], constant=[8], day=[date(2024, 1, 3)], x=[None], more=["?"], empty=[1])
    y = dict(zip(names, featuriser.transform(new).numpy()[0], strict=True))
    assert (y["c: other"], y["c=b"], y["x"], y["x: missing"], y["day"], y["constant"]) == (1, 0, 0, 1, 3, 0)


def test_table_caps_categories_and_drops_identifiers():
    many = [f"w{i % 150}" for i in range(1000)]
    data = table(name=[f"customer {i}" for i in range(1000)], many=many)
    featuriser = fit_featuriser(data, seed=0)
    assert featuriser.input_shape == (TOP + 2,)
    notes = {c["name"]: c["note"] for c in featuriser.spec()["columns"] if c["use"] == "dropped"}
    assert notes == {"name": "1,000 distinct words: an identifier or free text"}
    counts = Counter(many)
    kept = sorted(counts, key=lambda w: (-counts[w], w))[:TOP]
    assert featuriser.transform(data)[:, TOP].sum() == 1000 - sum(counts[w] for w in kept)
    with pytest.raises(InputError, match="No column of the table can be used"):
        fit_featuriser(table(name=[f"customer {i}" for i in range(100)]), seed=0)


def test_other_data_are_refused_with_the_difference():
    vectors = fit_featuriser(Dataset(inputs=np.eye(3), info=Info(feature_names=("height", "width", "depth"))), seed=0)
    with pytest.raises(InputError, match="trained on vectors; this dataset holds texts"):
        vectors.transform(Dataset(inputs=Texts(["a"])))
    with pytest.raises(InputError, match=r"shape \(3,\) an example; these have \(4,\)"):
        vectors.transform(Dataset(inputs=np.eye(4)))
    with pytest.raises(InputError, match=r"Feature 'height' is missing. Did you mean 'heigth'"):
        vectors.transform(Dataset(inputs=np.eye(3), info=Info(feature_names=("heigth", "width", "depth"))))
    with pytest.raises(InputError, match="same order"):
        vectors.transform(Dataset(inputs=np.eye(3), info=Info(feature_names=("width", "height", "depth"))))
    with pytest.raises(InputError, match="row 1 holds NaN"):
        vectors.transform(Dataset(inputs=np.array([[0, 0, 0], [0, np.nan, 0.0]])))
    rows = fit_featuriser(table(age=[1, 2], sex=["m", "f"]), seed=0)
    with pytest.raises(InputError, match=r"lacks 1 of the 2 columns .* first 'age'. Did you mean 'Age'"):
        rows.transform(table(Age=[1], sex=["m"]))
    with pytest.raises(InputError, match="Column 'age' held numbers in the training data; here it holds 'old'"):
        rows.transform(table(age=["old"], sex=["m"]))


def test_what_cannot_be_fitted():
    for inputs, message in [
        (np.zeros((0, 3)), "empty"),
        (np.zeros(3), "no default featuriser"),
        (np.array([[1.0], [np.inf]]), "row 1 holds NaN or infinity"),
        (TableRows(pl.DataFrame({"a": []})), "empty"),
        (np.zeros((0, 1, 2, 2), np.uint8), "empty"),
    ]:
        with pytest.raises(InputError, match=message):
            fit_featuriser(Dataset(inputs=inputs), seed=0)
    with pytest.raises(InputError, match=r"Image 1 \(image 1\) cannot be read: it is not an image"):
        fit_featuriser(Dataset(inputs=Images([encoded(np.zeros((2, 2), np.uint8)), b"nonsense"])), seed=0)
    cut = encoded(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8), "JPEG")[:300]
    with pytest.raises(InputError, match=r"(?i)Image 0 .* truncated"):
        fit_featuriser(Dataset(inputs=Images([cut])), seed=0)
    with pytest.raises(InputError, match="No featuriser for 'sound'"):
        Featuriser.restore({"kind": "sound"}, {})
    spec = fit_featuriser(Dataset(inputs=np.eye(2)), seed=0).spec()
    with pytest.raises(InputError, match="lacks 'mean'"):
        Featuriser.restore(spec, {})
