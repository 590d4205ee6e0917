"""Steps per second of `train` against the same training written by hand in torch; cost of the crop-flip view.

Both train ConvNet-D3 (width 32, GroupNorm) on the same random images of 32x32 in batches of 128, from the
same weights in the same order, and end with the same weights bit by bit, which is checked. They take turns;
the figure of a seed is the median over rounds of the ratio within a round, so that a busy machine slows both.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

import _harness as bench
from labelwright.data.augment import CropFlip
from labelwright.data.batch import epoch_order
from labelwright.nn import ConvNet, seeded
from labelwright.training import Batch, Fit, Step, TensorData, train

BATCH, SIDE, CLASSES = 128, 32, 10


def dataset(steps: int, seed: int) -> TensorData:
    generator = torch.Generator().manual_seed(seed)
    n = steps * BATCH
    return TensorData.of(torch.randn(n, 3, SIDE, SIDE, generator=generator), torch.randint(0, CLASSES, (n,), generator=generator))


def fresh() -> nn.Module:
    with seeded(0):
        return ConvNet(depth=3, width=32)(CLASSES, (3, SIDE, SIDE))


def step(net: nn.Module, batch: Batch) -> Step:
    return Step(F.cross_entropy(net(batch.inputs), batch.labels))


def ours(data: TensorData, seed: int) -> nn.Module:
    fit = Fit(epochs=1, batch_size=BATCH, lr=0.02, momentum=0.9, weight_decay=1e-3, device="cpu")
    return train(fresh(), step, data, fit=fit, seed=seed).net


def by_hand(data: TensorData, seed: int) -> nn.Module:
    """What one writes without a library: an optimiser, a cosine schedule by step, a loop."""
    net = fresh()
    net.train()
    steps = len(data) // BATCH
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 0.5 * (1 + math.cos(math.pi * s / steps)))
    total = torch.zeros(())
    for rows in epoch_order(len(data), seed=seed, epoch=0).split(BATCH):
        loss = F.cross_entropy(net(data.inputs[rows]), data.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        total += loss.detach()
    return net


def clocked(function: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of this process's processor."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - processor


def overhead(seed: int, *, steps: int, rounds: int) -> dict[str, float]:
    data = dataset(steps, seed)
    nets = [f(data, seed).state_dict() for f in (ours, by_hand)]  # an untimed round
    difference = max(float((a - b).abs().max()) for a, b in zip(nets[0].values(), nets[1].values(), strict=True))
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "hand": []}
    for turn in range(rounds):
        arms = [("ours", ours), ("hand", by_hand)]
        for name, function in arms if turn % 2 == 0 else reversed(arms):
            times[name].append(clocked(lambda function=function: function(data, seed)))  # type: ignore[misc]
    ratio = [[a[k] / b[k] for a, b in zip(times["ours"], times["hand"], strict=True)] for k in (0, 1)]
    return {
        "ours steps/s": steps / statistics.median(t[0] for t in times["ours"]),
        "by hand steps/s": steps / statistics.median(t[0] for t in times["hand"]),
        "overhead % (clock)": 100 * (statistics.median(ratio[0]) - 1),
        "overhead % (processor)": 100 * (statistics.median(ratio[1]) - 1),
        "largest difference of weights": difference,
    }


def one_by_one(x: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
    """The obvious crop and flip: image after image."""
    padded = F.pad(x, (4, 4, 4, 4))
    out = []
    for image, top, left, flip in zip(padded, *(draws[k].tolist() for k in ("top", "left", "flip")), strict=True):
        window = image[:, top + 4 : top + 4 + SIDE, left + 4 : left + 4 + SIDE]
        out.append(window.flip(2) if flip else window)
    return torch.stack(out)


def augmentation(seed: int, *, repeats: int) -> dict[str, float]:
    x, view = dataset(1, seed).inputs, CropFlip()
    draws = view.draw(x.shape, torch.Generator().manual_seed(seed))
    same = torch.equal(view.apply(x, draws), one_by_one(x, draws))
    seconds = bench.median_seconds(
        {
            "view": lambda: view.apply(x, view.draw(x.shape, torch.Generator().manual_seed(seed))),
            "loop": lambda: one_by_one(x, draws),
        },
        repeats=repeats,
    )
    return {
        "ms a batch": 1000 * seconds["view"],
        "ms one by one": 1000 * seconds["loop"],
        "times faster": seconds["loop"] / seconds["view"],
        "equal": float(same),
    }


def main() -> None:
    args = bench.arguments(__doc__)
    torch.set_num_threads(1)  # one core a run: the figure is about the loop, not about how torch shares cores
    record = bench.Record("loop-overhead", quick=args.quick)
    size = {"steps": 4, "rounds": 2} if args.quick else {"steps": 6, "rounds": 15}
    repeats = 5 if args.quick else 101
    for seed in range(args.seeds):
        record.run("loop", seed, lambda seed=seed: overhead(seed, **size), setting=size)  # type: ignore[misc]
        record.run("crop-flip", seed, lambda seed=seed: augmentation(seed, repeats=repeats), setting={"repeats": repeats})  # type: ignore[misc]
    clock, processor = (record.measure("loop", f"overhead % ({kind})", setting=size) for kind in ("clock", "processor"))
    record.claim("the loop costs at most 5 % at batch 128 on ConvNet-D3 of width 32", holds=clock.value <= 5, ours=f"{clock} %")
    differences = record.values("loop", "largest difference of weights", setting=size)
    record.claim(
        "both loops end with the same weights, bit by bit", holds=max(differences) == 0, ours=f"largest difference {max(differences):g}"
    )
    view, step_ms = record.measure("crop-flip", "ms a batch"), 1000 / record.measure("loop", "ours steps/s", setting=size).value
    record.claim(
        "crop-flip costs less than 5 % of a step", holds=view.value < 0.05 * step_ms, ours=f"{view} ms of a step of {step_ms:.3g} ms"
    )
    record.note(f"One core, one thread. By the processor's own clock, which other processes disturb less, the overhead is {processor} %.")
    record.note("Other work may have shared the machine: ratios within a round count, absolute steps per second depend on the load.")
    record.report()


if __name__ == "__main__":
    main()
