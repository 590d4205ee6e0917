"""Augmentations as values: JSON and back, packed draws of an epoch replayed bit by bit."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.testing import assert_close

from labelwright.data.augment import DSA, VIEWS, BoxCrop, Compose, CropFlip, CutMix, Cutout, Mixup, PatchShuffle, Roll, View
from labelwright.data.record import PLAIN, Augmentation, narrow, pack, unpack
from labelwright.errors import InputError

CASES = [
    *(Augmentation(view=view) for view in VIEWS.values()),
    Augmentation(view=CropFlip(pad=2), mix=CutMix(alpha=1.0)),
    Augmentation(view=DSA(), mix=Mixup(alpha=0.8)),
    Augmentation(view=Compose((BoxCrop(together=True), Roll(pixels=2), PatchShuffle())), mix=CutMix()),
    Augmentation(mix=Mixup(dominant=True)),
    PLAIN,
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_an_epoch_of_draws_is_replayed_from_a_file(case, tmp_path):
    augmentation, sizes = CASES[case], (4, 4, 1)  # a last batch of one: nothing may be told from sizes
    x = torch.randn(9, 3, 8, 8, generator=generator(1))
    shared = generator(5)
    draws = [augmentation.draw((b, 3, 8, 8), shared) for b in sizes]
    again = Augmentation.restore(json.loads(json.dumps(augmentation.spec())))
    assert again == augmentation
    layout = again.layout((3, 8, 8))
    packed = pack(draws, layout)
    assert sum(v.numel() * v.element_size() for v in packed.values()) <= layout.nbytes(9, 3)
    save_file(packed, tmp_path / "draws.safetensors")
    with safe_open(tmp_path / "draws.safetensors", framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        start = 0
        for k, b in enumerate(sizes):
            read = unpack(slices, layout, batch=k, start=start, stop=start + b)
            assert read.keys() == draws[k].keys()
            assert all(torch.equal(read[n], draws[k][n]) and read[n].dtype == draws[k][n].dtype for n in read)
            rows = x[start : start + b]
            assert torch.equal(again.apply(rows, read), augmentation.apply(rows, draws[k]))
            start += b


def test_the_mixture_comes_after_the_view():
    x, both = torch.randn(4, 1, 8, 8, generator=generator()), Augmentation(view=Cutout(), mix=Mixup())
    draws = both.draw(x.shape, generator(2))
    lam, mate = both.pairs(draws, 4)
    seen = Cutout().apply(x, {"row": draws["view.row"], "column": draws["view.column"]})
    assert_close(both.apply(x, draws), lam * seen + (1 - lam) * seen[mate])
    assert [float(v) for v in PLAIN.pairs({}, 2)[0:1]] == [1.0]
    assert PLAIN.pairs({}, 2)[1].tolist() == [0, 1]


def test_integers_take_the_fewest_bytes():
    assert narrow(torch.tensor([-128, 127])).dtype == torch.int8
    assert narrow(torch.tensor([0, 128])).dtype == torch.int16
    assert narrow(torch.tensor([1 << 31])).dtype == torch.int64
    assert narrow(torch.tensor([True])).dtype == torch.bool


@dataclass(frozen=True)
class Own(View):
    def draw(self, shape, generator):
        return {}

    def apply(self, x, draws):
        return x


def test_unknown_parts_are_refused():
    with pytest.raises(InputError, match="Own"):
        Augmentation(view=Own()).spec()
    with pytest.raises(InputError, match="'Unheard'"):
        Augmentation.restore({"view": {"class": "Unheard"}})
    with pytest.raises(InputError, match="'padd'"):
        Augmentation.restore({"view": {"class": "Crop", "padd": 3}})
