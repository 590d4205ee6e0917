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

CLASSES = 10
SMALL = {"width": 32, "images": 10, "side": 28, "channels": 1}
LARGE = {"width": 64, "images": 100, "side": 32, "channels": 3}
QUICK = {"width": 8, "images": 10, "side": 28, "channels": 1}


def matched(
    mode: GradMode, *, steps: int, width: int, images: int, side: int, channels: int, seed: int, dtype: torch.dtype, keep: int = 1
) -> Matched:
    shape = (channels, side, side)
    with seeded(seed):
        net = ConvNet(depth=3, width=width, norm="instance")(CLASSES, shape).to(dtype)
    flat, generator = FlatNet(net), torch.Generator().manual_seed(seed)
    start = flat.vector()
    x = torch.randn(images, *shape, generator=generator, dtype=torch.float64).to(dtype)
    view = Augmentation(view=DSA(siamese=False))
    rows = [torch.arange(images)] * steps
    draws = [view.draw(x.shape, generator) for _ in range(steps)]
    inner = classifying(flat, rows, torch.arange(images) % CLASSES, augmentation=view, draws=draws)
    goals = [start + 0.02 * torch.randn(len(start), generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]
    alpha = torch.tensor(0.01, dtype=dtype)
    middles = {max(1, steps // 2): Middle(goals[1])}
    return match(inner, start, (x,), alpha, steps=steps, target=goals[0], momentum=0.9, middles=middles, grad_mode=mode, keep=keep)


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


def alone(mode: GradMode, size: dict[str, int], queue: multiprocessing.Queue) -> None:
    """In a process of its own: seconds, peak of the process in MB, then MB that autograd held."""
    torch.set_num_threads(1)
    matched(mode, **(size | {"steps": 1}), dtype=torch.float32)  # libraries are loaded, kernels chosen
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, processor = time.perf_counter(), time.process_time()
    matched(mode, **size, dtype=torch.float32)
    seconds, busy = time.perf_counter() - begin, time.process_time() - processor
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6
    held = _Held()
    with torch.autograd.graph.saved_tensors_hooks(held.keep, lambda kept: kept.value):
        matched(mode, **size, dtype=torch.float32)
    queue.put({"s": seconds, "processor s": busy, "peak MB": peak, "graph MB": held.most / 1e6})


def measured(mode: GradMode, size: dict[str, int]) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=alone, args=(mode, size, queue))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the process of {mode} ended with code {process.exitcode}")
    found: dict[str, float] = queue.get()
    return found


def agreement(seed: int, steps: int) -> dict[str, float]:
    made = {
        m: matched(m, steps=steps, width=8, images=5, side=28, channels=1, seed=seed, dtype=torch.float64)
        for m in ("exact", "direct", "unrolled")
    }
    true = made["unrolled"]
    return {
        "error of images": float((made["exact"].gradients[0] - true.gradients[0]).norm() / true.gradients[0].norm()),
        "error of the step size": float((made["exact"].alpha - true.alpha).abs() / true.alpha.abs()),
        "cosine of direct": float(torch.cosine_similarity(made["direct"].gradients[0].flatten(), true.gradients[0].flatten(), dim=0)),
    }


def arm(name: str, steps: int) -> tuple[GradMode, int]:
    """Mode and number of kept graphs of an arm of the benchmark."""
    return ("unrolled", 0) if name == "unrolled" else ("exact", steps if name == "exact, all kept" else 1)


def main() -> None:
    args = bench.arguments(__doc__, seeds=3)
    torch.set_num_threads(1)
    record = bench.Record("reverse-sweep", quick=args.quick)
    lengths, small = ((2, 4), QUICK) if args.quick else ((5, 20, 50), SMALL)
    sizes = [(n, small) for n in lengths] + ([] if args.quick else [(20, LARGE)])
    for seed in range(args.seeds):
        for steps in lengths:
            record.run("agreement", seed, lambda n=steps, s=seed: agreement(s, n), setting={"steps": steps})  # type: ignore[misc]
        for steps, size in sizes:
            for name in ("exact", "exact, all kept", "unrolled"):
                setting = {"steps": steps, **size}
                mode, keep = arm(name, steps)
                record.run(name, seed, lambda m=mode, x=setting, s=seed, k=keep: measured(m, x | {"seed": s, "keep": k}), setting=setting)  # type: ignore[misc]
    verdicts(record, lengths, small, sizes)
    record.note("One core, one thread; other work shared the machine, so time is the processor's own. A peak below the start counts as 0.")
    record.note("torch keeps a few bytes of every group norm whose gradient is differentiated; what autograd holds is flat but for these.")
    record.report()


def verdicts(record: bench.Record, lengths: tuple[int, ...], small: dict[str, int], sizes: list[tuple[int, dict[str, int]]]) -> None:
    """The claims of the sheet: equal, flat, no slower."""
    worst = max(v for m in ("error of images", "error of the step size") for v in record.values("agreement", m))
    record.claim("the sweep's gradient equals the unrolled graph's to 1e-10 in float64", holds=worst <= 1e-10, ours=f"largest {worst:.1e}",
                 paper="6e-16", paper_setting="ConvNet width 64, N = 20")  # fmt: skip

    def mean(name: str, metric: str, steps: int, size: dict[str, int]) -> float:
        return record.measure(name, metric, setting={"steps": steps, **size}).value

    few, most = lengths[0], lengths[-1]
    flat = mean("exact", "graph MB", most, small) / mean("exact", "graph MB", few, small)
    record.claim(f"what autograd holds is flat in N: N = {most} against {few}", holds=flat <= 1.05, ours=f"{flat:.3f} times")
    steps, size = sizes[-1]
    grows = [mean("unrolled", m, steps, size) / max(mean("exact", m, steps, size), 1e-9) for m in ("graph MB", "peak MB")]
    setting = f"N = {steps}, {size['images']} images of {size['side']} x {size['side']}, width {size['width']}"
    record.claim(f"the unrolled graph holds more: {setting}", holds=grows[0] > steps / 4, ours=f"{grows[0]:.1f} times")
    record.claim(f"so does the process: {setting}", holds=grows[1] > 3, ours=f"{grows[1]:.1f} times", paper="4.18 against 0.85 GB",
                 paper_setting="whole process, ConvNet width 64, 100 images, N = 20")  # fmt: skip
    for name in ("exact", "exact, all kept"):
        for n, s in sizes:
            given = {"steps": n, **s}
            pairs = zip(*(record.values(a, "processor s", setting=given) for a in (name, "unrolled")), strict=True)
            ratio = bench.mean_interval([a / b for a, b in pairs])
            words = "the sweep" if name == "exact" else "the sweep with all graphs kept"
            record.claim(f"{words} takes no more processor time: N = {n}, width {s['width']}, {s['images']} images",
                         holds=ratio.value <= 1.05, ours=f"{ratio} of the time", paper="35.2 against 43.6 s" if s is LARGE else "",
                         paper_setting="wall time, ConvNet width 64, 100 images, N = 20" if s is LARGE else "")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
