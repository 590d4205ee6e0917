"""Stored tensors, their sizes on disk, what they expand to, and how a dataset of them behaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file
from torch.testing import assert_close

from labelwright.data import Dataset, load
from labelwright.data.condensed import CondensedInputs, encode, example_bytes, read_condensed, read_examples, write_examples
from labelwright.data.expansion import Expansion, Shared, Stored, Tiled
from labelwright.data.featurise import fit_featuriser, whitened
from labelwright.data.tensors import file_bytes, open_tensors, read_tensors, shapes_of, write_tensors
from labelwright.data.tiles import enlarged, mosaics, shrunk, tiles_of
from labelwright.errors import InputError
from labelwright.labels import ClassLabels

DTYPES = [
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.bool,
]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text('abc.é"\\', min_size=1, max_size=6), st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3))
    ),
    st.one_of(st.none(), st.text(max_size=20)),
)
def test_sizes_of_files_are_known_before_they_are_written(tmp_path_factory, shapes, fact):
    path = tmp_path_factory.mktemp("t") / "x.safetensors"
    facts = None if fact is None else {"a": fact, "b": [1, 2.5, None]}
    tensors = {name: torch.ones(size, dtype=dtype) for name, (dtype, size) in shapes.items()}
    write_tensors(path, tensors, facts)
    assert path.stat().st_size == file_bytes(shapes_of(tensors), facts)
    again, about = read_tensors(path, what="test")
    assert about == facts
    assert all(torch.equal(again[k], v) for k, v in tensors.items())


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"1234567890")
    for name in ("bad", "absent"):
        with pytest.raises(InputError, match=f"{name}.safetensors"), open_tensors(tmp_path / f"{name}.safetensors", what="a test"):
            pass


def pictures(n: int = 24, seed: int = 0, side: int = 8, channels: int = 2) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset(inputs=rng.integers(0, 256, (n, channels, side, side)).astype(np.uint8), labels=ClassLabels(values=np.arange(n) % 3))


def prepared(n: int = 24):
    data = pictures(n)
    featuriser = fit_featuriser(data, seed=0)
    return data, featuriser, featuriser.transform(data)


def test_mosaics_hold_their_sources():
    x = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    made = mosaics(x, 2)
    assert made.shape == (2, 3, 12, 12)
    for m in range(2):
        for r in range(2):
            for c in range(2):
                source = F.interpolate(x[4 * m + 2 * r + c][None], size=(6, 6), mode="bilinear", antialias=True)[0]
                assert torch.equal(made[m, :, 6 * r : 6 * r + 6, 6 * c : 6 * c + 6], source)
    assert torch.equal(tiles_of(made, 2), shrunk(x, 2))
    assert torch.equal(mosaics(x, 1), x)
    flat = torch.full((1, 1, 8, 8), 3.5)
    assert_close(enlarged(shrunk(flat, 2), (8, 8)), flat)
    with pytest.raises(InputError, match="multiple of 4"):
        mosaics(x[:6], 2)


def test_tiles_are_expanded_on_demand():
    _, featuriser, x = prepared()
    stored = encode(mosaics(x, 2), featuriser, torch.uint8)
    inputs = CondensedInputs(Tiled(images=stored, factor=2), featuriser)
    assert len(inputs) == 24
    values = inputs.values()
    decoded = featuriser.transform(Dataset(inputs=stored.numpy()))
    for i in range(24):
        assert_close(values[i], enlarged(tiles_of(decoded, 2)[i][None], (8, 8))[0])
    assert inputs.expansion.source(torch.arange(24)).tolist() == np.repeat(np.arange(6), 4).tolist()
    some = inputs.take(np.array([5, 17]))
    assert_close(some.values(), values[[5, 17]])
    with pytest.raises(InputError, match="3 x 3"):
        Tiled(images=stored, factor=3)


def test_shared_perturbations_expand_to_sums_clamped_at_the_end():
    _, featuriser, x = prepared(12)
    base = encode(x, featuriser, torch.uint8)  # two groups of six
    u = torch.randn(2, 3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    inputs = CondensedInputs(Shared(images=base, perturbations=u.half()), featuriser)
    assert len(inputs) == 12 * 4
    values, (low, high) = inputs.values(), featuriser.bounds()
    assert_close(values[:12], x)
    for j in range(3):
        for s in range(12):
            sum_ = x[s] + u.half().float()[s // 6, j]
            assert_close(values[12 * (j + 1) + s], sum_.clamp(low.expand_as(sum_), high.expand_as(sum_)))
    assert inputs.expansion.source(torch.tensor([0, 12, 13, 47])).tolist() == [0, 0, 1, 11]
    free = Shared(images=x, perturbations=u).rows(torch.arange(48), lambda v: v)
    assert_close(free[12] - free[13], x[0] - x[1], atol=1e-5, rtol=0)  # linear before clamping
    none = CondensedInputs(Shared(images=base, perturbations=torch.zeros(1, 1, 2, 8, 8)), featuriser).values()
    assert_close(none[12:], none[:12])
    with pytest.raises(InputError, match="divisor"):
        Shared(images=base, perturbations=torch.zeros(5, 1, 2, 8, 8))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_written_and_read(tmp_path, dtype):
    _, featuriser, x = prepared()
    labels = ClassLabels(values=np.arange(24) % 3, names=("ant", "bee", "cat"))
    stored = encode(x, featuriser, dtype)
    for place, expansion in enumerate(
        (Stored(images=stored), Tiled(images=stored, factor=2), Shared(images=stored, perturbations=torch.randn(4, 2, 2, 8, 8).half()))
    ):
        folder = tmp_path / str(place)
        folder.mkdir()
        write_examples(folder, expansion, featuriser, labels)
        sizes = {p.name: p.stat().st_size for p in folder.iterdir()}
        assert sizes == {f"{k}.safetensors": v for k, v in example_bytes(expansion, featuriser, labels).items() if v}
        inputs, names = read_examples(folder)
        assert type(inputs.expansion) is type(expansion)
        assert torch.equal(inputs.values(), CondensedInputs(expansion, featuriser).values())
        assert inputs.featuriser.same_as(featuriser)
        assert names.words().tolist() == labels.words().tolist()
        again = read_condensed(folder)
        assert again.labels.values.tolist() == (expansion.source(torch.arange(len(expansion))) % 3).tolist()
    error = {torch.uint8: 1e-5, torch.float16: 2e-3, torch.float32: 0}[dtype]
    assert_close(CondensedInputs(Stored(images=stored), featuriser).values(), x, atol=error, rtol=0)


def test_raw_tensors_are_refused(tmp_path):
    save_file({"images": torch.zeros(3, 1, 4, 4)}, tmp_path / "images.safetensors")
    with pytest.raises(InputError, match="without the preprocessing"):
        read_examples(tmp_path)
    with pytest.raises(InputError, match="statistics"):
        CondensedInputs(Stored(images=torch.zeros(3, 1, 4, 4)), None)  # type: ignore[arg-type]
    _, featuriser, x = prepared()
    with pytest.raises(InputError, match="shape"):
        CondensedInputs(Stored(images=torch.zeros(3, 1, 4, 4)), featuriser)
    with pytest.raises(InputError, match="finite"):
        encode(x / 0, featuriser, torch.float32)
    with pytest.raises(InputError, match="float16"):
        encode(x * 1e6, featuriser, torch.float16)
    with pytest.raises(InputError, match="int32"):
        Stored(images=torch.zeros(3, 4, dtype=torch.int32))
    with pytest.raises(InputError, match="'woven'"):
        Expansion.restore({"kind": "woven"}, x, {})


def test_a_dataset_of_them_is_used_with_its_own_statistics(tmp_path):
    """The featuriser of the training data is taken up, not fitted anew: test data go through the same statistics."""
    data, featuriser, x = prepared()
    few = Dataset(inputs=CondensedInputs(Stored(images=x[:3]), featuriser), labels=ClassLabels(values=[0, 1, 2]))
    assert few.kind == "images"
    taken = fit_featuriser(few, seed=1)
    assert taken is featuriser
    assert torch.equal(taken.transform(few), x[:3])
    assert_close(taken.transform(data.take([4])), x[4:5])
    other = fit_featuriser(pictures(50, seed=3), seed=0)
    assert_close(other.transform(few), other.transform(data.take([0, 1, 2])), atol=1e-5, rtol=0)
    assert few.inputs[1].dtype == np.uint8
    assert np.array_equal(few.inputs[1], data.inputs[1])
    assert np.array_equal(few.inputs[1:], data.inputs[1:3])
    assert np.array_equal(np.asarray(few.inputs), data.inputs[:3])
    assert (few.inputs.shape, few.inputs.ndim, few.inputs.dtype) == ((3, 2, 8, 8), 4, np.uint8)
    assert few.fingerprint != few.take([2, 1, 0]).fingerprint
    few.save(tmp_path / "plain")
    assert np.allclose(load(tmp_path / "plain").inputs, data.inputs[:3] / 255, atol=1e-5)


def test_whitened_images_come_back_as_images():
    data = pictures(200)
    featuriser = whitened(fit_featuriser(data, seed=0), data)
    x = featuriser.transform(data.take([3]))
    inputs = CondensedInputs(Stored(images=x), featuriser)
    assert np.abs(inputs[0].astype(int) - data.inputs[3].astype(int)).max() <= 1
    eight = CondensedInputs(Stored(images=encode(x, featuriser, torch.uint8)), featuriser)
    assert_close(eight.values(), x, atol=2e-2, rtol=0)


def test_vectors_too():
    rng = np.random.default_rng(0)
    data = Dataset(inputs=rng.normal(size=(20, 4)) * 3 + 1)
    featuriser = fit_featuriser(data, seed=0)
    x = featuriser.transform(data)
    inputs = CondensedInputs(Stored(images=x[:5]), featuriser)
    assert inputs.kind == "vectors"
    assert np.allclose(inputs[2], data.inputs[2], atol=1e-5)
    with pytest.raises(InputError, match="8-bit"):
        encode(x, featuriser, torch.uint8)
