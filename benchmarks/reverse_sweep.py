"""Gradients through a student's training: the reverse sweep against the unrolled graph, in time, memory and agreement.

Same start, images, minibatches and expert for both; ConvNet-D3 with InstanceNorm on 28 x 28 images, momentum 0.9, one intermediate
target. Every figure of memory comes from a process of its own: bytes that autograd holds at once (counted), and the peak of
the process above what it held before. Agreement is measured in float64 on a narrower network in the same run.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time

import torch

import _harness as bench
from labelwright.condense._sweep import GradMode, Matched, Middle, classifying, match
from labelwright.data.augment import DSA
from labelwright.data.record import Augmentation
from labelwright.nn import ConvNet, seeded
from labelwright.nn.flat import FlatNet

CLASSES, SHAPE = 10, (1, 28, 28)


def matched(mode: GradMode, *, steps: int, width: int, images: int, seed: int, dtype: torch.dtype) -> Matched:
    with seeded(seed):
        net = ConvNet(depth=3, width=width, norm="instance")(CLASSES, SHAPE).to(dtype)
    flat, generator = FlatNet(net), torch.Generator().manual_seed(seed)
    start = flat.vector()
    x = torch.randn(images, *SHAPE, generator=generator, dtype=torch.float64).to(dtype)
    view = Augmentation(view=DSA(siamese=False))
    rows = [torch.arange(images)] * steps
    draws = [view.draw(x.shape, generator) for _ in range(steps)]
    inner = classifying(flat, rows, torch.arange(images) % CLASSES, augmentation=view, draws=draws)
    goals = [start + 0.02 * torch.randn(len(start), generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]
    alpha = torch.tensor(0.01, dtype=dtype)
    middles = {max(1, steps // 2): Middle(goals[1])}
    return match(inner, start, (x,), alpha, steps=steps, target=goals[0], momentum=0.9, middles=middles, grad_mode=mode)


class _Held:
    """Bytes that autograd holds, and the most it held."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def keep(self, value: torch.Tensor) -> _Kept:
        return _Kept(self, value)


class _Kept:
    def __init__(self, held: _Held, value: torch.Tensor) -> None:
        self.held, self.value, self.size = held, value, value.numel() * value.element_size()
        held.now += self.size
        held.most = max(held.most, held.now)

    def __del__(self) -> None:
        self.held.now -= self.size


def alone(mode: GradMode, count: bool, size: dict[str, int], queue: multiprocessing.Queue) -> None:
    """In a process of its own: megabytes that autograd held, or seconds and peak of the process."""
    torch.set_num_threads(1)
    given = {**size, "dtype": torch.float32}
    if count:
        held = _Held()
        with torch.autograd.graph.saved_tensors_hooks(held.keep, lambda kept: kept.value):
            matched(mode, **given)
        queue.put({"graph MB": held.most / 1e6})
        return
    matched(mode, **(given | {"steps": 1}))  # libraries are loaded, kernels chosen
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    matched(mode, **given)
    seconds = time.perf_counter() - begin
    queue.put({"s": seconds, "peak MB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6})


def measured(mode: GradMode, size: dict[str, int]) -> dict[str, float]:
    context, found = multiprocessing.get_context("spawn"), {}
    for count in (False, True):
        queue = context.Queue()
        process = context.Process(target=alone, args=(mode, count, size, queue))
        process.start()
        found |= queue.get()
        process.join()
    return found


def agreement(seed: int, steps: int) -> dict[str, float]:
    made = {m: matched(m, steps=steps, width=8, images=20, seed=seed, dtype=torch.float64) for m in ("exact", "direct", "unrolled")}
    true = made["unrolled"]
    return {
        "error of images": float((made["exact"].gradients[0] - true.gradients[0]).norm() / true.gradients[0].norm()),
        "error of the step size": float((made["exact"].alpha - true.alpha).abs() / true.alpha.abs()),
        "cosine of direct": float(torch.cosine_similarity(made["direct"].gradients[0].flatten(), true.gradients[0].flatten(), dim=0)),
    }


def main() -> None:
    args = bench.arguments(__doc__, seeds=3)
    torch.set_num_threads(1)
    record = bench.Record("reverse-sweep", quick=args.quick)
    lengths, size = ((2, 4), {"width": 8, "images": 10}) if args.quick else ((5, 20, 50), {"width": 32, "images": 20})
    for seed in range(args.seeds):
        for steps in lengths:
            record.run("agreement", seed, lambda n=steps, s=seed: agreement(s, n), setting={"steps": steps})  # type: ignore[misc]
            for mode in ("exact", "unrolled"):
                setting = {"steps": steps, **size}
                record.run(mode, seed, lambda m=mode, x=setting, s=seed: measured(m, x | {"seed": s}), setting=setting)  # type: ignore[misc]
    worst = max(v for m in ("error of images", "error of the step size") for v in record.values("agreement", m))
    record.claim("the sweep's gradient equals the unrolled graph's to 1e-10 in float64", holds=worst <= 1e-10, ours=f"largest {worst:.1e}",
                 paper="6e-16", paper_setting="ConvNet width 64, N = 20")  # fmt: skip

    def mean(mode: str, metric: str, steps: int) -> float:
        return record.measure(mode, metric, setting={"steps": steps, **size}).value

    few, most = lengths[0], lengths[-1]
    flat = mean("exact", "graph MB", most) / mean("exact", "graph MB", few)
    record.claim(
        f"what autograd holds is flat in N: N = {most} against {few}", holds=flat <= 1.05, ours=f"{flat:.3f} times",
    )  # fmt: skip
    grows = mean("unrolled", "graph MB", most) / mean("exact", "graph MB", most)
    record.claim(f"the unrolled graph holds more at N = {most}", holds=grows > 5, ours=f"{grows:.1f} times")
    peak = mean("unrolled", "peak MB", most) / max(mean("exact", "peak MB", most), 1e-9)
    record.claim(
        f"so does the process at N = {most}", holds=peak > 3, ours=f"{peak:.1f} times", paper="4.18 against 0.85 GB",
        paper_setting="ConvNet width 64, 100 images, N = 20",
    )  # fmt: skip
    for steps in lengths:
        setting = {"steps": steps, **size}
        pairs = zip(record.values("exact", "s", setting=setting), record.values("unrolled", "s", setting=setting), strict=True)
        ratio = bench.mean_interval([a / b for a, b in pairs])
        record.claim(
            f"the sweep takes no longer at N = {steps}", holds=ratio.value <= 1.05, ours=f"{ratio} of the time",
            paper="35.2 against 43.6 s" if steps == 20 else "", paper_setting="ConvNet width 64, 100 images, N = 20" if steps == 20 else "",
        )  # fmt: skip
    record.note("One core, one thread; other work may have shared the machine. Peaks below the start of a process count as 0.")
    record.note("torch keeps a few bytes of every group norm whose gradient is differentiated: the 1.0x of the flat figure is theirs.")
    record.report()


if __name__ == "__main__":
    sys.exit(main())
