"""DSA against a loop over images and pixels that knows nothing of matrices; each operation as the authors define it."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from labelwright.data.augment import DSA, VIEWS
from labelwright.data.dsa import OPERATIONS
from labelwright.errors import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(b: int = 6, c: int = 2, h: int = 7, w: int = 8) -> torch.Tensor:
    return torch.randn(b, c, h, w, generator=generator(1), dtype=torch.float64)


def sample(image: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """Bilinear value (C,) at pixel coordinates (x, y), 0 outside, written out."""
    _, h, w = image.shape
    total = torch.zeros(image.shape[0], dtype=image.dtype)
    left, top = math.floor(x), math.floor(y)
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        if 0 <= column < w and 0 <= row < h:
            total = total + image[:, row, column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


def one_by_one(view: DSA, x: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same, image by image and pixel by pixel, each operation in turn."""
    out = torch.empty_like(x)
    for b in range(len(x)):
        row = {k: v[b if len(v) > 1 else 0] for k, v in draws.items()}
        active = {OPERATIONS[int(row["operation"])]} if "operation" in row else set(view.operations)
        image = x[b].clone()
        if "colour" in active:
            image = image + row["brightness"]
            grey = image.mean(0, keepdim=True)
            image = (image - grey) * row["saturation"] + grey
            mean = image.mean()
            image = (image - mean) * row["contrast"] + mean
        _, h, w = image.shape
        down, right = (int(row["top"]), int(row["left"])) if "crop" in active else (0, 0)
        if "cutout" in active:
            tall, wide = int(h * view.cutout + 0.5), int(w * view.cutout + 0.5)
            for r in range(h):
                for c in range(w):
                    if 0 <= r - down - int(row["row"]) + tall // 2 < tall and 0 <= c - right - int(row["column"]) + wide // 2 < wide:
                        image[:, r, c] = 0
        angle = float(row["angle"]) if "rotate" in active else 0.0
        sx, sy = row["stretch"].tolist() if "scale" in active else (1.0, 1.0)
        mirror = -1 if "flip" in active and bool(row["flip"]) else 1
        for r in range(h):
            for c in range(w):
                x0, y0 = c - (w - 1) / 2, r - (h - 1) / 2
                x1, y1 = x0 * math.cos(angle) - y0 * math.sin(angle), x0 * math.sin(angle) + y0 * math.cos(angle)
                out[b, :, r, c] = sample(image, mirror * sx * x1 + right + (w - 1) / 2, sy * y1 + down + (h - 1) / 2)
    return out


@pytest.mark.parametrize("siamese", [False, True])
@pytest.mark.parametrize("operations", [*[(name,) for name in OPERATIONS], OPERATIONS])
def test_fused_sampling_equals_the_loop_over_pixels(operations, siamese):
    view = DSA(operations=operations, pick="all", siamese=siamese)
    x = images()
    draws = view.draw(x.shape, generator(5))
    assert_close(view.apply(x, draws), one_by_one(view, x, draws), atol=1e-6, rtol=0)


def test_one_operation_a_call_and_all_of_them_occur():
    view, shared = DSA(siamese=False), generator(0)
    seen = []
    for _ in range(60):
        draws = view.draw((3, 2, 7, 8), shared)
        assert draws["operation"].unique().numel() == 1
        seen.append(int(draws["operation"][0]))
        x = images(3)
        assert_close(view.apply(x, draws), one_by_one(view, x, draws), atol=1e-6, rtol=0)
    assert set(seen) == set(range(6))


def test_crop_alone_is_a_shift_and_flip_alone_a_mirror():
    x = images(1)
    crop = DSA(operations=("crop",), pick="all")
    draws = crop.draw(x.shape, generator()) | {"top": torch.tensor([1]), "left": torch.tensor([-1])}
    moved = torch.zeros_like(x)
    moved[:, :, :-1, 1:] = x[:, :, 1:, :-1]
    assert_close(crop.apply(x, draws), moved, atol=1e-12, rtol=0)
    mirror = DSA(operations=("flip",), pick="all", flip=1.0)
    assert_close(mirror(x, generator()), x.flip(3), atol=1e-12, rtol=0)


def test_a_quarter_turn():
    x = images(1, h=8, w=8)
    view = DSA(operations=("rotate",), pick="all")
    draws = view.draw(x.shape, generator()) | {"angle": torch.tensor([math.pi / 2], dtype=torch.float64)}
    # the output right of the centre is the input below it
    assert_close(view.apply(x, draws), torch.rot90(x, 1, (2, 3)), atol=1e-9, rtol=0)


def test_draws_lie_in_the_ranges_of_the_paper():
    draws = DSA(siamese=False).draw((4000, 3, 32, 32), generator())
    assert (draws["top"].min(), draws["top"].max(), draws["left"].abs().max()) == (-4, 4, 4)
    assert (draws["row"].min(), draws["row"].max()) == (0, 32)  # an even square: one place more than pixels
    assert draws["stretch"].min() >= 1 / 1.2
    assert draws["stretch"].max() <= 1.2
    assert_close(draws["stretch"].mean(), torch.tensor((1.2 + 1 / 1.2) / 2), atol=5e-3, rtol=0)
    assert_close(draws["angle"].abs().max(), torch.tensor(math.radians(15)), atol=1e-3, rtol=0)
    assert abs(float(draws["brightness"].mean())) < 0.02
    assert float(draws["saturation"].max()) <= 2
    assert 0.5 <= float(draws["contrast"].min()) <= float(draws["contrast"].max()) <= 1.5


def test_gradient_is_the_transposed_map():
    """All operations but colour are linear in the image: <A x, y> = <x, A^T y>, with A^T from the gradient."""
    view = DSA(operations=("crop", "cutout", "flip", "scale", "rotate"), pick="all", siamese=False)
    x = images().requires_grad_()
    draws = view.draw(x.shape, generator(3))
    out = view.apply(x, draws)
    probe = torch.randn(out.shape, generator=generator(4), dtype=torch.float64)
    (back,) = torch.autograd.grad((out * probe).sum(), x)
    other = images().flip(0)
    assert_close((view.apply(other, draws) * probe).sum(), (other * back).sum())
    small = DSA(pick="all", siamese=False)
    assert torch.autograd.gradcheck(lambda z: small.apply(z, draws), images(6, 1, 4, 4).requires_grad_())


def test_operations_can_be_left_out():
    digits = DSA(operations=("crop", "scale", "rotate"), siamese=False)
    shared = generator()
    kinds = {int(digits.draw((2, 1, 8, 8), shared)["operation"][0]) for _ in range(50)}
    assert kinds == {OPERATIONS.index(n) for n in ("crop", "scale", "rotate")}
    with pytest.raises(InputError, match="'rotate'"):
        DSA(operations=("rotat",))
    with pytest.raises(InputError, match="at least one"):
        DSA(operations=())
    with pytest.raises(InputError, match="pick"):
        DSA(pick="some")
    assert isinstance(VIEWS["dsa"], DSA)
