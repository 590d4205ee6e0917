"""Label errors: speed, memory and flags against cleanlab at a million examples; ranking of errors that people confirmed.

Part 1 draws N x C probabilities (a class-dependent confusion of 15 % in the labels), and gives the same file to fresh processes:
ours (in memory, mapped, streamed), cleanlab with one process, cleanlab with its default number of processes, taking turns. Time is that of
the calls alone; memory is the largest sum of private (anonymous) memory over the process tree, sampled from outside.

Part 2 takes the cross-validated probabilities of Northcutt, Athalye and Mueller (NeurIPS 2021, arXiv:2103.14749) for the test
sets of CIFAR-10 and 20 News, and asks how scores and filters order the examples that five people each looked at.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import _harness as bench
from labelwright.audit import find_label_errors, label_errors_streaming
from labelwright.audit.label_errors import FILTERS, SCORES
from labelwright.stats.intervals import bootstrap, wilson
from labelwright.stats.metrics import auroc, average_precision, precision_at_k

ARMS = ("ours", "ours, mapped file", "ours, streamed", "cleanlab, 1 process", "cleanlab, default processes")
POOLED = ("prune_by_class", "prune_by_noise_rate", "both")  # the filters for which cleanlab starts processes
POLL_SECONDS = 0.02


def draw(n: int, c: int, seed: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 (n,) and probabilities (n, c): noisy logits around the true class; wrong labels lie within three classes of it."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, c, n)
    probs = rng.normal(0, 1.2, size=(n, c)).astype(dtype) if n * c <= 10**6 else rng.standard_normal((n, c), dtype="float32").astype(dtype)
    probs += rng.normal(0, 0.3, c).astype(dtype)
    probs[np.arange(n), true] += (6 * rng.random(n)).astype(dtype)
    probs -= probs.max(1, keepdims=True)
    np.exp(probs, out=probs)
    probs /= probs.sum(1, keepdims=True)
    labels = np.where(rng.random(n) < 0.15, (true + rng.integers(1, min(c, 4), n)) % c, true)
    return labels, probs


class Batches:
    """Ten thousand rows of a file at a time, from the start whenever asked."""

    def __init__(self, labels: np.ndarray, probs: np.ndarray) -> None:
        self.labels, self.probs = labels, probs

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self.labels), 10_000):
            rows = slice(start, start + 10_000)
            yield self.labels[rows], np.array(self.probs[rows])


def worker(arm: str, folder: str) -> None:
    """Run all filters of one arm on ``folder`` in this process; write masks, seconds and peak resident memory."""
    labels = np.load(f"{folder}/labels.npy")
    probs: Any = f"{folder}/probs.npy" if arm in ("ours, mapped file", "ours, streamed") else np.load(f"{folder}/probs.npy")
    if arm.startswith("cleanlab"):
        import warnings

        from cleanlab.filter import find_label_issues

        warnings.simplefilter("ignore")  # this process is the peer's own; its warnings on small classes are not ours to fix
        jobs = 1 if "1 process" in arm else None

        def call(filter_by: str) -> np.ndarray:
            return find_label_issues(labels, probs, filter_by=filter_by, n_jobs=jobs)
    elif "streamed" in arm:
        mapped = np.load(f"{folder}/probs.npy", mmap_mode="r")
        batches = Batches(labels, mapped)

        def call(filter_by: str) -> np.ndarray:
            mask = np.zeros(len(labels), dtype=bool)
            mask[label_errors_streaming(batches, filter_by=filter_by).index] = True
            return mask
    else:

        def call(filter_by: str) -> np.ndarray:
            return find_label_errors(labels, probs, filter_by=filter_by).mask

    masks, seconds = {}, {}
    chosen = POOLED if "default" in arm else FILTERS
    Path(folder, "started").touch()  # memory is sampled from here on
    for filter_by in chosen:
        start = time.perf_counter()
        masks[filter_by] = call(filter_by)
        seconds[filter_by] = time.perf_counter() - start
    np.savez(f"{folder}/masks.npz", **masks)
    # not ru_maxrss: a forked process inherits that from its parent
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    Path(folder, "out.json").write_text(json.dumps({"seconds": seconds, "resident_mb": peak}), encoding="utf-8")


def private_mb(pid: int) -> float:
    """Anonymous memory of a process and its descendants, shared pages counted once: MB. 0 when it is gone."""
    total, todo = 0, [pid]
    while todo:
        p = todo.pop()
        try:
            rollup = Path(f"/proc/{p}/smaps_rollup").read_text()
            todo += [int(x) for x in Path(f"/proc/{p}/task/{p}/children").read_text().split()]
        except (OSError, ValueError):  # it ended between two reads
            continue
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss_Anon:")), 0)
    return total / 1024


def run_arm(arm: str, folder: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One fresh process: what it measured with its peak of private memory, and the masks."""
    for name in ("started", "out.json", "masks.npz"):
        Path(folder, name).unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, __file__, "--worker", arm, folder])
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            if Path(folder, "started").exists():
                peak[0] = max(peak[0], private_mb(process.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    code = process.wait()
    stop.set()
    thread.join()
    if code:
        raise RuntimeError(f"{arm} ended with code {code}")
    found = json.loads(Path(folder, "out.json").read_text(encoding="utf-8"))
    with np.load(f"{folder}/masks.npz") as masks:
        return found | {"private_mb": peak[0]}, {k: masks[k] for k in masks.files}


def speed(record: bench.Record, n: int, c: int, seeds: int) -> None:
    """Part 1: each seed draws its data; the arms take turns, each seed starting with another one."""
    for seed in range(seeds):
        for dtype in ("float32", "float64"):
            setting = {"n": n, "classes": c, "dtype": dtype}
            arms = ARMS[seed % len(ARMS) :] + ARMS[: seed % len(ARMS)]
            if all(record.done(arm, seed, setting=setting) for arm in arms):
                continue
            with tempfile.TemporaryDirectory() as folder:
                labels, probs = draw(n, c, seed, dtype)
                np.save(f"{folder}/labels.npy", labels)
                np.save(f"{folder}/probs.npy", probs)
                del probs
                reference = run_arm("ours", folder)[1]  # also warms the page cache

                def once(arm: str, folder: str = folder, reference: dict[str, np.ndarray] = reference) -> dict[str, float]:
                    found, masks = run_arm(arm, folder)
                    out = {f"{k} s": v for k, v in found["seconds"].items()}
                    out |= {"resident MB": found["resident_mb"], "private MB": found["private_mb"]}
                    out |= {f"{k} differing": int((masks[k] != reference[k]).sum()) for k in masks}
                    return out | {"flagged": int(masks["prune_by_noise_rate"].sum())}

                for arm in arms:
                    record.run(arm, seed, lambda arm=arm: once(arm), setting=setting)


def by_seed(record: bench.Record, arm: str, metric: str, setting: dict[str, Any]) -> dict[int, float]:
    """The metric of each seed of `arm` that went well."""
    runs = (r for r in record.data["runs"] if r["arm"] == arm and r["setting"] == setting)
    return {r["seed"]: r["metrics"][metric] for r in runs if metric in r.get("metrics", {})}


def speed_verdicts(record: bench.Record, n: int, c: int) -> None:
    """Ratios within a seed, their median over seeds; memory and flags over all of them."""
    for dtype in ("float32", "float64"):
        setting = {"n": n, "classes": c, "dtype": dtype}
        for filter_by in FILTERS:
            ours, peer, many = (by_seed(record, a, f"{filter_by} s", setting) for a in ("ours", ARMS[-2], ARMS[-1]))
            ratio = np.array([peer[s] / ours[s] for s in sorted(ours.keys() & peer.keys())])
            more = [many[s] / ours[s] for s in sorted(ours.keys() & many.keys())]
            if len(ratio):
                record.claim(
                    f"{filter_by}, {dtype}: at least 3x as fast as cleanlab at {n:,} x {c}",
                    holds=float(np.median(ratio)) >= 3,
                    ours=f"median {np.median(ratio):.1f}x of {len(ratio)} draws (range {ratio.min():.1f}..{ratio.max():.1f}), one process each"
                    + (f"; cleanlab's default processes {np.median(more):.1f}x" if more else ""),
                )
        for what in ("private MB", "resident MB"):
            own, other = (list(by_seed(record, a, what, setting).values()) for a in ("ours", ARMS[-2]))
            if own and other:
                record.claim(
                    f"{dtype}: peak {what.split()[0]} memory no higher than cleanlab's at {n:,} x {c}, all filters",
                    holds=max(own) <= min(other),
                    ours=f"{np.mean(own):,.0f} MB against {np.mean(other):,.0f} MB (input {n * c * np.dtype(dtype).itemsize / 2**20:,.0f} MB)",
                )
        flags_verdicts(record, setting, n * c * np.dtype(dtype).itemsize / 2**20)


def flags_verdicts(record: bench.Record, setting: dict[str, Any], input_mb: float) -> None:
    """Do the arms flag the same labels, and does the stream stay below the size of its input?"""
    differing = {a: [sum(by_seed(record, a, f"{f} differing", setting).values()) for f in FILTERS] for a in ARMS}
    draws = len(by_seed(record, ARMS[-2], "both s", setting))
    if draws:
        record.claim(
            f"{setting['dtype']}: the flags are cleanlab's, all five filters, {setting['n']:,} x {setting['classes']}",
            holds=not any(differing[ARMS[-2]]),
            ours=f"flags that differ in {draws} draws: "
            + ", ".join(f"{f} {int(d)}" for f, d in zip(FILTERS, differing[ARMS[-2]], strict=True)),
        )
    streamed = list(by_seed(record, "ours, streamed", "private MB", setting).values())
    if streamed:
        record.claim(
            f"{setting['dtype']}: the stream finds the same labels in less memory than the probabilities take",
            holds=not any(differing["ours, streamed"]) and max(streamed) < input_mb,
            ours=f"{np.mean(streamed):,.0f} MB private, libraries included (input {input_mb:,.0f} MB); {int(sum(differing['ours, streamed']))} flags differ",
        )


def agreement(record: bench.Record, seeds: int) -> None:
    """Flags at smaller sizes and other shapes, with both rules for collisions."""
    import warnings

    from cleanlab.filter import find_label_issues

    def once(n: int, c: int, dtype: str, seed: int) -> dict[str, int]:
        labels, probs = draw(n, c, seed, dtype)
        out = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cleanlab warns of small classes
            for f in FILTERS:
                theirs = find_label_issues(labels, probs, filter_by=f, n_jobs=1)
                for rule, name in (("overall", ""), ("confident", ", paper's rule for collisions")):
                    out[f"{f}{name}: differing"] = int(
                        (find_label_errors(labels, probs, filter_by=f, collisions=rule).mask != theirs).sum()
                    )
        return out

    shapes = [(500, 2), (2_000, 5), (10_000, 20), (20_000, 100)]
    for n, c in shapes:
        for dtype in ("float32", "float64"):
            for seed in range(seeds):
                record.run(
                    "flags", seed, lambda n=n, c=c, d=dtype, s=seed: once(n, c, d, s), setting={"n": n, "classes": c, "dtype": dtype}
                )
    settings = [{"n": n, "classes": c, "dtype": d} for n, c in shapes for d in ("float32", "float64")]
    same = sum(sum(record.values("flags", f"{f}: differing", setting=s)) for f in FILTERS for s in settings)
    other = sum(sum(record.values("flags", f"{f}, paper's rule for collisions: differing", setting=s)) for f in FILTERS for s in settings)
    total = 5 * sum(s["n"] * len(record.values("flags", "both: differing", setting=s)) for s in settings)
    record.claim(
        "the flags are cleanlab's for every filter, 2 to 100 classes, float32 and float64",
        holds=same == 0,
        ours=f"{int(same)} of {total:,} flags differ; with collisions='confident' (equation 1 of the paper) {int(other)}",
    )


def confirmed(root: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities, positions examined by people, and whether they confirmed an error (fewer than 3 of 5 chose the given label)."""
    folder = root / "label-errors"
    probs = np.load(folder / f"{name}_test_set_pyx.npy", allow_pickle=False)
    labels = np.load(folder / f"{name}_test_set_original_labels.npy", allow_pickle=False).astype(np.int64)
    verdicts = json.loads((folder / f"{name}_mturk.json").read_text(encoding="utf-8"))
    index = np.array([int(v["id"]) for v in verdicts])
    return labels, probs, index, np.array([v["mturk"]["given"] < 3 for v in verdicts])


def ranked(scores: np.ndarray, index: np.ndarray, error: np.ndarray) -> dict[str, Any]:
    """How `scores` (N,) order the examined ones, and what their top holds if every unexamined example counts as right."""
    seen, k = scores[index], int(error.sum())
    every = np.zeros(len(scores), dtype=bool)
    every[index[error]] = True
    return {
        "AUROC": bootstrap(lambda t, s: auroc(t, s).value, error, seen, seed=0),
        "AUPRC": bootstrap(lambda t, s: average_precision(t, s).value, error, seen, seed=0),
        "precision at 20": precision_at_k(error, seen, 20),
        "precision at k": precision_at_k(error, seen, k),
        "k": k,
        "whole set, precision at k (lower bound)": precision_at_k(every, scores, k),
    }


def human(record: bench.Record, root: Path, name: str) -> None:
    """Part 2, for one data set."""
    from cleanlab.rank import get_label_quality_scores

    labels, probs, index, error = confirmed(root, name)
    setting = {"data": name, "examined": len(index), "confirmed": int(error.sum())}

    def flags(filter_by: str) -> dict[str, Any]:
        mask = find_label_errors(labels, probs, filter_by=filter_by).mask
        inside, hits = int(mask[index].sum()), int((mask[index] & error).sum())
        return {
            "flagged": int(mask.sum()),
            "of them examined": inside,
            "precision of those": wilson(hits, inside),
            "recall of confirmed": wilson(hits, int(error.sum())),
        }

    for score in SCORES:
        ours = find_label_errors(labels, probs, score=score).score
        theirs = 1 - get_label_quality_scores(labels, probs, method=score)
        record.run(f"ours {score}", 0, lambda s=ours: ranked(s, index, error), setting=setting)
        record.run(f"cleanlab {score}", 0, lambda s=theirs: ranked(s, index, error), setting=setting)
    for filter_by in FILTERS:
        record.run(f"filter {filter_by}", 0, lambda f=filter_by: flags(f), setting=setting)
    human_verdicts(record, name, setting)


def human_verdicts(record: bench.Record, name: str, setting: dict[str, Any]) -> None:
    for score in SCORES:
        values = {a: {m: record.values(f"{a} {score}", m, setting=setting) for m in ("AUROC", "AUPRC")} for a in ("ours", "cleanlab")}
        if not all(v for arm in values.values() for v in arm.values()):
            continue
        rows = {
            a: next(r for r in record.data["runs"] if r["arm"] == f"{a} {score}" and r["setting"] == setting)["metrics"] for a in values
        }
        shown = "; ".join(
            f"{m} {rows['ours'][m]['value']:.3f} [{rows['ours'][m]['low']:.3f}, {rows['ours'][m]['high']:.3f}], cleanlab {rows['cleanlab'][m]['value']:.3f}"
            for m in ("AUROC", "AUPRC")
        )
        record.claim(
            f"{name}, {score}: ranks confirmed errors no worse than cleanlab on the same probabilities",
            holds=all(values["ours"][m][0] >= values["cleanlab"][m][0] - 1e-6 for m in ("AUROC", "AUPRC")),
            ours=f"{shown} (base rate {setting['confirmed'] / setting['examined']:.3f})",
        )
        record.claim(
            f"{name}, {score}: orders the examined examples better than chance",
            holds=rows["ours"]["AUROC"]["low"] > 0.5,
            ours=f"AUROC {rows['ours']['AUROC']['value']:.3f} [{rows['ours']['AUROC']['low']:.3f}, {rows['ours']['AUROC']['high']:.3f}]",
        )


def main() -> None:
    """All parts; each run is saved, so a second start goes on where the first one stopped."""
    args = bench.arguments(__doc__)
    root = bench.data_root("label-errors")
    n, c, seeds = (20_000, 20, min(args.seeds, 2)) if args.quick else (1_000_000, 100, args.seeds)
    record = bench.Record("label-errors", quick=args.quick)
    for name in ("cifar10", "20news"):
        human(record, root, name)
    agreement(record, seeds)
    speed(record, n, c, seeds)
    speed_verdicts(record, n, c)
    record.note(
        "People looked only at examples that confident learning had already suspected (275 of 10,000 and 93 of 7,532). AUROC and AUPRC "
        "therefore describe the order within that selection, not detection in the whole set; nobody knows the errors outside it. "
        "The lower bound over the whole set counts every unexamined example as rightly labelled."
    )
    record.note(
        "Confirmed: fewer than 3 of 5 people chose the given label, as in arXiv:2103.14749. Intervals: bootstrap over the examined examples."
    )
    record.note(
        "Speed: the two cores were shared with other work (load 8 to 16), so seconds are long, and ratios are taken within a seed (same data, arms in turn) and their median reported. Our "
        "calls give flags, scores and suggestions, cleanlab's (find_label_issues) flags alone; each checks its input. One thread an arm."
    )
    record.note(
        "Private memory: largest sum of anonymous memory over the process tree, sampled every 20 ms from outside during the calls; resident: "
        "VmHWM of the process itself. Both hold the input, except for 'ours, mapped file' and 'ours, streamed', which map it (10,000 rows copied at a time in the stream)."
    )
    complete = {d: len(by_seed(record, ARMS[-2], "both s", {"n": n, "classes": c, "dtype": d})) for d in ("float32", "float64")}
    record.note(f"Draws with every arm complete at {n:,} x {c}: {complete}. A further start with --seeds 5 adds what is missing.")
    record.report()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:4])
    else:
        main()
