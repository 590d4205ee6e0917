"""Class separability from persistent homology: equality with ripser, gudhi and single linkage; agreement with supervised metrics; speed.

Five checks, each over seeds: (1) the death times equal those of three other programs; (2) on Gaussian clusters the score follows
Fisher's ratio; (3) while a small network is fine-tuned on 100 digits the score follows test accuracy; (4) stopping by the score
costs little accuracy; (5) the same on real newswire (Reuters-21578, $LABELWRIGHT_DATA/multilabel). ``--speed`` measures
time and memory against ripser and gudhi in alternating runs. Test labels are only read to judge; the rule's constants are the library's defaults.
"""

from __future__ import annotations

import functools
import multiprocessing
import statistics
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from scipy.stats import spearmanr

import _harness as bench
from labelwright.audit.separability import Preparation, death_times, measure
from labelwright.audit.separability_monitor import SeparabilityMonitor, StopRule, hidden, logits, probabilities
from labelwright.audit.separability_references import fisher_ratio
from labelwright.data.batch import TensorData
from labelwright.nn import MLP, seeded
from labelwright.stats.intervals import Measure
from labelwright.stats.trees import boruvka, prim
from labelwright.training import Fit, Step, train
from labelwright.training.defaults import recipe

SEPARATIONS = tuple(range(9))  # in standard deviations
LAYOUTS = ("centres s from the middle", "neighbouring centres s apart")
LAYERS = {
    "hidden, LayerNorm": (hidden, "layernorm"),
    "hidden, raw": (hidden, "none"),
    "logits, LayerNorm": (logits, "layernorm"),
    "logits, raw": (logits, "none"),
    "probabilities": (probabilities, "none"),
}
RECIPE = "library recipe"
COURSES = {"digits": (100, 32, RECIPE), "reuters": (200, 32, RECIPE)}  # batch size (the first: one step an epoch), or our own recipe
SCORES = ("mean", "median", "entropy", "gap")
METRIC = "largest relative difference"
PEERS = ("prim", "boruvka", "ripser", "gudhi")


def times_of(program: str, points: np.ndarray) -> np.ndarray:
    """Finite H0 death times, ascending, by one of the programs."""
    if program == "prim":
        return prim(points).lengths
    if program == "boruvka":
        return boruvka(points).lengths
    if program == "single linkage (scipy)":
        return np.sort(linkage(points, "single")[:, 2])
    if program == "ripser":
        from ripser import ripser

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it remarks on more columns than rows
            deaths = ripser(points, maxdim=0)["dgms"][0][:, 1]
    else:
        import gudhi

        tree = gudhi.RipsComplex(points=points).create_simplex_tree(max_dimension=1)
        tree.compute_persistence(min_persistence=-1)  # -1 keeps bars of length 0
        deaths = tree.persistence_intervals_in_dimension(0)[:, 1]
    return np.sort(deaths[np.isfinite(deaths)])


def equality(program: str, d: int, n: int, seed: int) -> dict[str, float]:
    """Largest relative difference of sorted death times from ours, over clusters with duplicates."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, d)) + 4 * rng.normal(size=(5, d))[rng.integers(0, 5, n)]
    points[: n // 50] = points[n // 50 : 2 * (n // 50)]  # 2 % exact duplicates
    ours, theirs = death_times(points), times_of(program, points)
    missing = len(ours) - len(theirs)  # ripser leaves bars of length 0 out; they are the smallest
    theirs = np.concatenate([np.zeros(missing), theirs])
    return {METRIC: float(np.abs(ours - theirs).max() / ours.max()), "bars of length 0 left out": missing}


def sweep(layout: str, d: int, n: int, seed: int) -> dict[str, float]:
    """Spearman of each score with Fisher's ratio over the separations: 5 clusters on a pentagon (d = 2) or on 5 axes."""
    rng = np.random.default_rng(seed)
    centres = np.eye(5, d)
    if d == 2:
        angle = 2 * np.pi * np.arange(5) / 5
        centres = np.stack([np.cos(angle), np.sin(angle)], 1)
    if layout == "neighbouring centres s apart":
        centres /= np.linalg.norm(centres[0] - centres[1])
    scores: dict[str, list[float]] = {s: [] for s in SCORES}
    ratios = []
    for separation in SEPARATIONS:
        labels = rng.integers(0, 5, n)
        points = rng.normal(size=(n, d)) + separation * centres[labels]
        found = measure(points, Preparation(normalise="none"))
        ratios.append(fisher_ratio(points, labels))
        for s in SCORES:
            scores[s].append(found.scores[s])
    out = {f"spearman {s}": float(spearmanr(scores[s], ratios).statistic) for s in SCORES}
    return out | {"S(0)": scores["mean"][0], "S(3)": scores["mean"][3], "S(8)": scores["mean"][8]}


def digits(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """100 labelled digits, 700 unlabelled ones for the monitor, the rest for testing."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = (x[order] / 16.0 - 0.3).astype(np.float32), y[order]
    return x[:100], y[:100], x[100:800], x[800:], y[800:]


@functools.cache
def reuters(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, classes and split of the documents with exactly one of the eight most frequent topics."""
    import polars as pl

    frame = pl.read_parquet(path).filter(pl.col("topics").list.len() == 1).with_columns(topic=pl.col("topics").list.first())
    top = frame.filter(pl.col("split") == "train").group_by("topic").len().sort("len", "topic", descending=True).head(8)["topic"].sort()
    frame = frame.filter(pl.col("topic").is_in(top.implode()))
    texts = (frame["title"].fill_null("") + " " + frame["text"].fill_null("")).to_list()
    return texts, np.searchsorted(top.to_numpy(), frame["topic"].to_numpy()), (frame["split"] == "train").to_numpy()


def newswire(path: Path, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """200 labelled documents, 1,000 unlabelled ones of the training split, and the test split, as hashed TF-IDF (2,048 buckets)."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    texts, labels, is_train = reuters(path)
    counts = HashingVectorizer(n_features=2048, alternate_sign=False, norm=None, stop_words="english").transform(texts)
    train_rows = np.random.default_rng(seed).permutation(np.flatnonzero(is_train))
    test_rows = np.flatnonzero(~is_train)
    weigh = TfidfTransformer(sublinear_tf=True).fit(counts[train_rows[:1200]])

    def dense(rows: np.ndarray) -> np.ndarray:
        return weigh.transform(counts[rows]).toarray().astype(np.float32)

    return dense(train_rows[:200]), labels[train_rows[:200]], dense(train_rows[200:1200]), dense(test_rows), labels[test_rows]


@functools.cache
def course(task: str, path: Path, batch: int | str, epochs: int, seed: int) -> tuple[dict[str, SeparabilityMonitor], list[float]]:
    """One training run of an MLP with 64 hidden units: a monitor a layer, and test accuracy after every epoch."""
    x, y, unlabelled, test_x, test_y = digits(seed) if task == "digits" else newswire(path, seed)
    if batch == RECIPE and task == "digits":  # as the library standardises vectors: by the inputs at hand, no labels
        centre, scale = (f(np.concatenate([x, unlabelled]), axis=0) for f in (np.mean, np.std))
        x, unlabelled, test_x = ((a - centre) / np.where(scale > 0, scale, 1) for a in (x, unlabelled, test_x))
    sample, test, answers = torch.from_numpy(unlabelled), torch.from_numpy(test_x), torch.from_numpy(test_y)
    monitors = {
        layer: SeparabilityMonitor(sample, embed=embed, preparation=Preparation(normalise=how), seed=seed)
        for layer, (embed, how) in LAYERS.items()
    }
    accuracies: list[float] = []

    def watch(end: object) -> None:
        for monitor in monitors.values():
            monitor(end)  # what it asks for is judged afterwards: all epochs are needed for the comparison
        with torch.inference_mode():
            accuracies.append(float((end.net.eval()(test).argmax(1) == answers).float().mean()))

    with seeded(seed):
        net = MLP(hidden=(64,))(int(test_y.max()) + 1, x.shape[1:])
    data = TensorData.of(torch.from_numpy(x), torch.from_numpy(y).long())
    if isinstance(batch, str):
        fit = replace(recipe(len(x), images=False), epochs=epochs, keep="last", device="cpu")
    else:
        fit = Fit(
            epochs=epochs, batch_size=batch, optimizer="adam", lr=1e-3, weight_decay=0.0, schedule="constant", keep="last", device="cpu"
        )
    train(
        net,
        lambda n, b: Step(torch.nn.functional.cross_entropy(n(b.inputs), b.labels)),
        data,
        fit=fit,
        seed=seed,
        on_epoch=(watch,),
        label=f"{task} {seed}",
    )
    return monitors, accuracies


def fine_tuning(task: str, path: Path, batch: int | str, layer: str, epochs: int, seed: int) -> dict[str, float]:
    """How the scores of one layer go with test accuracy, and what stopping by each costs."""
    monitors, accuracies = course(task, path, batch, epochs, seed)
    monitor = monitors[layer]
    best = max(accuracies)
    out: dict[str, float] = {}
    for score in SCORES:
        values = [r[f"score_{score}"] for r in monitor.rows]
        first = next((t for t in range(epochs) if StopRule().verdict(values[: t + 1]).stop), epochs - 1)
        out |= {
            f"spearman {score}": float(spearmanr(values, accuracies).statistic),
            f"regret {score}": best - accuracies[StopRule().verdict(values[: first + 1]).best],
            f"stop {score}": first + 1,
        }
    return out | {
        "regret of a random epoch": best - statistics.mean(accuracies),
        "regret of the last epoch": best - accuracies[-1],
        "first accuracy": accuracies[0],
        "last accuracy": accuracies[-1],
    }


def _timed(program: str, n: int, d: int, seed: int) -> tuple[float, float, float]:
    """Seconds, peak memory in MB beyond what was held before, and the sum of the times: in a process of its own."""
    torch.set_num_threads(1)
    times_of(program, np.random.default_rng(0).normal(size=(50, d)).astype(np.float32))  # imports and first-call costs
    points = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    before = _peak()
    start = time.perf_counter()
    times = times_of(program, points)
    seconds = time.perf_counter() - start
    return seconds, _peak() - before, float(times.sum())


def _peak() -> float:
    """Peak resident memory of this process in MB. (``ru_maxrss`` would count what the parent held before the start.)"""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def speed(n: int, d: int, seed: int) -> dict[str, float]:
    """All programs take turns on the same points: medians of five rounds here, or, for many points, one round in processes of their own."""
    points = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    out: dict[str, float] = {}
    totals = {}
    if n <= 1000:
        seconds = bench.median_seconds({p: functools.partial(times_of, p, points) for p in PEERS})
        totals = {p: float(times_of(p, points).sum()) for p in PEERS}
    else:
        seconds = {}
        for program in PEERS:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                seconds[program], out[f"MB {program}"], totals[program] = pool.submit(_timed, program, n, d, seed).result()
    out |= {f"s {p}": seconds[p] for p in PEERS} | {f"{p} / prim": seconds[p] / seconds["prim"] for p in PEERS[1:]}
    return out | {"relative difference of sums": max(abs(totals[p] / totals["prim"] - 1) for p in PEERS)}


def main() -> None:
    """Measure what is not on disk yet, then judge the claims."""
    args = bench.arguments(__doc__, speed="time and memory against ripser and gudhi instead of the other checks")
    torch.set_num_threads(1)
    if args.speed:
        race(bench.Record("class-separability-speed", quick=args.quick), min(args.seeds, 3), quick=args.quick)
        return
    path = bench.data_root("multilabel") / "multilabel" / "reuters21578-modapte.parquet"
    record = bench.Record("class-separability", quick=args.quick)
    n, epochs = (100, 10) if args.quick else (300, 80)
    for seed in range(args.seeds):
        for d in (2, 10, 50):
            for program in ("boruvka", "single linkage (scipy)", "ripser", "gudhi"):
                size = {"check": "equality", "d": d, "n": n}
                record.run(program, seed, functools.partial(equality, program, d, n, seed), setting=size)
            for layout in LAYOUTS:
                record.run(layout, seed, functools.partial(sweep, layout, d, n, seed), setting={"check": "sweep", "d": d, "n": n})
        for task, batch, layer in ((t, b, a) for t, batches in COURSES.items() for b in batches for a in LAYERS):
            run = functools.partial(fine_tuning, task, path, batch, layer, epochs, seed)
            record.run(layer, seed, run, setting={"check": "fine-tuning", "data": task, "batch": batch, "epochs": epochs})
        course.cache_clear()
    judge(record, n, epochs)
    record.report()


def race(record: bench.Record, seeds: int, *, quick: bool) -> None:
    """Time and memory of the four programs."""
    for points in (200,) if quick else (1000, 10_000):
        setting = {"check": "speed", "n": points, "d": 128}
        for seed in range(seeds):
            record.run("all programs in turn", seed, functools.partial(speed, points, 128, seed), setting=setting)
        ratios = {p: record.values("all programs in turn", f"{p} / prim", setting=setting) for p in ("ripser", "gudhi")}
        record.claim(
            f"n = {points:,}, d = 128: faster than ripser and gudhi on one core, in every run",
            holds=all(min(v) > 1 for v in ratios.values()),
            ours="times as long as ours: " + "; ".join(f"{p} {bench.mean_interval(v)}, least {min(v):.1f}" for p, v in ratios.items()),
        )
    record.note("Points are float32 Gaussian vectors. Programs take turns, so that a busy machine slows all alike; one thread each.")
    record.note("Memory is the growth of a fresh process's peak while the times are computed.")
    record.report()


def judge(record: bench.Record, n: int, epochs: int) -> None:
    """The claims of the check, each with its threshold fixed beforehand."""
    worst = {
        p: max(
            (v for d in (2, 10, 50) for v in record.values(p, METRIC, setting={"check": "equality", "d": d, "n": n})), default=float("nan")
        )
        for p in ("boruvka", "single linkage (scipy)", "ripser", "gudhi")
    }
    record.claim(
        "Death times equal those of single linkage and gudhi (1e-12 of the largest) and of ripser, which computes in float32 (1e-5)",
        holds=all(v <= (1e-5 if p == "ripser" else 1e-12) for p, v in worst.items()),
        ours=", ".join(f"{p} {v:.1e}" for p, v in worst.items()),
    )
    flat = {"check": "sweep", "d": 2, "n": n}
    follows = {layout: record.measure(layout, "spearman mean", setting=flat) for layout in LAYOUTS}
    record.claim(
        "In d = 2 the score follows Fisher's ratio: mean Spearman at least .6",
        holds=follows[LAYOUTS[0]].value >= 0.6,
        ours="; ".join(f"{k}: {m}" for k, m in follows.items()),
        paper="clear agreement with FDR (words of the abstract)",
        paper_setting="synthetic data",
    )
    rises = {}
    for d in (2, 10, 50):
        setting = {"check": "sweep", "d": d, "n": n}
        rises[d] = bench.paired_difference(*(record.values(LAYOUTS[0], f"S({s})", setting=setting) for s in (8, 0)))
    record.claim(
        "S at 8 standard deviations exceeds S at 0 in d = 2, 10 and 50",
        holds=all(m.low > 0 for m in rises.values()),
        ours="; ".join(f"d = {d}: {m}" for d, m in rises.items()),
    )
    for task in COURSES:
        judge_course(record, task, epochs)
    record.note(
        "The paper's tables and its exact statistic could not be read, so its figures are words; thresholds are our own, set beforehand."
    )
    record.note(
        "Fine-tuning: an MLP from random weights, three recipes each: the library's own (standardised digits, AdamW, cosine), and, with inputs "
        "as they are, Adam at 0.001 in batches of 32 or with one step an epoch. Accuracy is on test data the monitor never saw. The first two "
        "recipes measured were the latter; the library's was added after they had failed, and all are reported."
    )
    record.note(
        "Why the rule stops early there: from random weights the score rises by less than delta = .005 an evaluation, or falls, while accuracy "
        "is still low; after the seven evaluations it must wait, three such are enough."
    )
    record.note("regret: best test accuracy of the run minus that of the kept checkpoint; test labels only judge, they choose nothing.")
    record.note("ripser leaves bars of length 0 out (repeated points); they were put back before comparing.")


def judge_course(record: bench.Record, task: str, epochs: int) -> None:
    """The claims about training on one dataset: for the library's own recipe, then for the two others together."""
    for recipes, words in (((RECIPE,), "library's recipe"), (COURSES[task][:2], "plain Adam")):
        settings = {b: {"check": "fine-tuning", "data": task, "batch": b, "epochs": epochs} for b in recipes}
        judge_recipes(record, f"{task}, {words}", settings, least=0.4 if task == "digits" else 0.0)


def judge_recipes(record: bench.Record, name: str, settings: dict[int | str, dict[str, object]], *, least: float) -> None:
    """The claims for one group of recipes; each must hold for all of them."""

    def measures(metric: str, arm: str = "hidden, LayerNorm") -> dict[int | str, Measure]:
        return {b: record.measure(arm, metric, setting=s) for b, s in settings.items()}

    def words(found: dict[int | str, Measure]) -> str:
        return "; ".join(str(m) if isinstance(b, str) else f"batch {b}: {m}" for b, m in found.items())

    for what, arm, metric in (
        ("the mean score of the LayerNorm'd hidden layer", "hidden, LayerNorm", "mean"),
        ("the entropy score of the LayerNorm'd hidden layer", "hidden, LayerNorm", "entropy"),
        ("the mean score of the probabilities", "probabilities", "mean"),
    ):
        found = measures(f"spearman {metric}", arm)
        record.claim(
            f"{name}: {what} follows test accuracy, mean Spearman at least {least:g}",
            holds=all(m.value >= least for m in found.values()),
            ours=words(found),
            paper="consistent with cross-validated accuracy and FDR (words of the abstract)",
            paper_setting="text data, language models",
        )
    arms = ("hidden, LayerNorm", "hidden, raw")
    gains = {b: bench.paired_difference(*(record.values(a, "spearman mean", setting=s) for a in arms)) for b, s in settings.items()}
    record.claim(
        f"{name}: the LayerNorm'd layer does so better than the raw one", holds=all(m.value > 0 for m in gains.values()), ours=words(gains)
    )
    regret, chance, last = (measures(m) for m in ("regret mean", "regret of a random epoch", "regret of the last epoch"))
    record.claim(
        f"{name}: stopping by the mean score of that layer costs at most .03 of test accuracy on average",
        holds=all(m.value <= 0.03 for m in regret.values()),
        ours=f"{words(regret)}. A random epoch costs {words(chance)}, the last one {words(last)}",
    )


if __name__ == "__main__":
    main()
