"""Whitening: identity covariance, the way back, and the closed form in two dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from labelwright.data import Dataset
from labelwright.data.features import whitening
from labelwright.data.featurise import Featuriser, fit_featuriser, whitened
from labelwright.errors import InputError


def pictures(n: int = 300, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    smooth = rng.normal(size=(n, 2, 3, 3)).repeat(2, axis=2).repeat(2, axis=3) + 0.3 * rng.normal(size=(n, 2, 6, 6))
    return Dataset(inputs=(0.5 + 0.1 * smooth).astype(np.float32))


def test_the_whitened_training_set_has_unit_covariance_and_zero_mean():
    data = pictures()
    z = whitened(fit_featuriser(data, seed=0), data, eps=1e-8).transform(data).flatten(1).double()
    assert_close(z.mean(0), torch.zeros(72, dtype=torch.float64), atol=1e-4, rtol=0)
    assert_close(z.T @ z / (len(z) - 1), torch.eye(72, dtype=torch.float64), atol=2e-3, rtol=0)


def test_eps_shrinks_the_eigenvalues_as_the_formula_says():
    data = pictures()
    inner = fit_featuriser(data, seed=0)
    x = inner.transform(data).flatten(1).double()
    before = torch.linalg.eigvalsh(torch.cov(x.T))
    z = whitened(inner, data, eps=0.1).transform(data).flatten(1).double()
    after = torch.linalg.eigvalsh(torch.cov(z.T))
    assert_close(after, before / (before + 0.1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("eps", [0.1, 1e-4])
def test_there_and_back(eps):
    data = pictures()
    featuriser = whitened(fit_featuriser(data, seed=0), data, eps=eps)
    other = pictures(20, seed=5)
    back = featuriser.inverse(featuriser.transform(other))
    assert_close(back, torch.from_numpy(other.inputs), atol=2e-4, rtol=0)


def test_vectors_by_hand():
    """Two uncorrelated columns of unit variance are left as they are, but for eps."""
    x = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    data = Dataset(inputs=x)
    featuriser = whitened(fit_featuriser(data, seed=0), data, eps=0.5)
    # covariance 4/3 on the diagonal (n - 1 = 3)
    assert_close(featuriser.transform(data), torch.from_numpy(x).float() / (4 / 3 + 0.5) ** 0.5)


def test_saved_and_restored():
    data = pictures(80)
    featuriser = whitened(fit_featuriser(data, seed=0), data)
    again = Featuriser.restore(featuriser.spec(), featuriser.arrays())
    assert torch.equal(again.transform(data), featuriser.transform(data))
    assert again.same_as(featuriser)
    assert not again.same_as(featuriser.inner)
    assert again.takes == "images"
    with pytest.raises(InputError, match="images"):
        again.transform(Dataset(inputs=np.zeros((3, 4))))


def test_what_cannot_be_whitened(monkeypatch):
    data = pictures(5)
    inner = fit_featuriser(data, seed=0)
    monkeypatch.setattr(whitening, "LARGEST", 50)
    with pytest.raises(InputError, match="smaller images"):
        whitened(inner, data)
    monkeypatch.setattr(whitening, "LARGEST", 100)
    with pytest.raises(InputError, match="two examples"):
        whitened(inner, data.take([0]))


def test_the_way_back_of_plain_featurisers():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 4)) * [1, 1e-3, 1e6, 0] + [0, 5, 1e9, 7]
    data = Dataset(inputs=vectors)
    featuriser = fit_featuriser(data, seed=0)
    assert np.allclose(featuriser.inverse(featuriser.transform(data)).numpy(), vectors, rtol=1e-6, atol=1e-6)
    images = Dataset(inputs=rng.integers(0, 256, (6, 3, 4, 4)).astype(np.uint8))
    featuriser = fit_featuriser(images, seed=0)
    assert_close(featuriser.inverse(featuriser.transform(images)) * 255, torch.from_numpy(images.inputs).float(), atol=1e-3, rtol=0)
    low, high = featuriser.bounds()
    black, white = (featuriser.transform(Dataset(inputs=np.full((1, 3, 4, 4), v, dtype=np.uint8))) for v in (0, 255))
    assert_close(black, low.expand_as(black[0])[None])
    assert_close(white, high.expand_as(white[0])[None])
    texts = fit_featuriser(_texts(), seed=0)
    with pytest.raises(InputError, match="texts"):
        texts.inverse(torch.zeros(1, *texts.input_shape))
    assert texts.bounds() is None


def _texts() -> Dataset:
    from labelwright.data import Texts

    return Dataset(inputs=Texts(["a red fox", "a blue bird", "the red bird", "one fox more"]))
