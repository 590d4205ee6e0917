"""nested-coteaching: the sheet's small-scale checks, on a regression toy and on Fashion-MNIST with half of the labels wrong.

1. A wide network on noisy one-dimensional pairs: the first K channels of a nested-dropout network against the plain one.
2. Fashion-MNIST, 10,000 training images, 1,000 clean validation images, 50 % symmetric noise that excludes the true class,
   a small CNN with D = 128 features, sigma 5, 25 epochs of the paper's recipe; accuracy of the LAST epoch on the test set. K is chosen on the
   validation split, which only the compressed arms use; nothing is chosen on test.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import nn

import _harness as bench
from labelwright.data import Dataset, load
from labelwright.data.corrupt import symmetric
from labelwright.learn import CoTeaching, CrossEntropy, NestedCoTeaching, NestedDropout
from labelwright.nn import seeded
from labelwright.nn.compress import NestedDropout as NestedLayer
from labelwright.nn.networks import Classifier
from labelwright.training import Fit

DIM, NOISE = 128, 0.5


def small_cnn(num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Three convolutions and a hidden layer of DIM features, with BatchNorm."""
    layers: list[nn.Module] = []
    channels, side = input_shape[0], input_shape[1]
    for width in (16, 32, 32):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.AvgPool2d(2)]
        channels, side = width, side // 2
    hidden = [nn.Linear(channels * side * side, DIM), nn.BatchNorm1d(DIM), nn.ReLU(inplace=True)]
    return Classifier(nn.Sequential(*layers, nn.Flatten(), *hidden), DIM, num_classes)


def recipe(epochs: int) -> Fit:
    """The paper's CIFAR recipe on a shorter run: SGD 0.1 with warm-up, a tenth of it at 200/350 and 300/350 of the epochs, last epoch."""
    stops = (round(epochs * 200 / 350), round(epochs * 300 / 350))
    return Fit(
        epochs=epochs, batch_size=128, lr=0.1, weight_decay=5e-4, schedule="multistep", milestones=stops, warmup=8 * epochs, keep="last"
    )


# --- 1: regression -----------------------------------------------------------------------------------------------------------


def regression(seed: int, *, steps: int) -> dict[str, float]:
    """Test error of the plain network, and of the first K channels of the nested one, K chosen on validation pairs."""
    generator = torch.Generator().manual_seed(seed)

    def pairs(n: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.rand(n, 1, generator=generator) * 4 - 2
        return x, torch.sin(2 * x) + noise * torch.randn(n, 1, generator=generator)

    (x, y), (xv, yv), (xt, yt) = pairs(64, 0.5), pairs(64, 0.5), pairs(1000, 0.0)
    errors = {}
    for arm, layer in (("plain", None), ("nested", NestedLayer(256, 20.0))):
        with seeded(seed):
            body = nn.Sequential(nn.Linear(1, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh())
            head = nn.Linear(256, 1, bias=False)
        optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=3e-3)
        for _ in range(steps):
            z = body(x)
            if layer is not None:
                k = int(layer.draw(generator=generator))
                prediction = z[:, :k] @ head.weight[:, :k].T
            else:
                prediction = head(z)
            loss = (prediction - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            every = (body(xv)[:, :, None] * head.weight.T[None]).cumsum(1)[..., 0]
            k = int((every - yv).square().mean(0).argmin()) + 1 if layer is not None else 256
            errors[arm] = float(((body(xt)[:, :k] @ head.weight[:, :k].T) - yt).square().mean())
            errors[f"{arm} channels"] = k
    return errors


# --- 2: Fashion-MNIST --------------------------------------------------------------------------------------------------------


@cache
def images(split: str) -> Dataset:
    """The images as arrays, decoded once."""
    data = load(bench.data_root("fashion-mnist") / "fashion-mnist" / f"{split}.parquet")
    return Dataset(inputs=np.stack([data.inputs[i] for i in range(len(data))]), labels=data.labels, ids=data.ids, info=data.info)


def arms(epochs: int) -> dict[str, object]:
    """Method of each arm; the forget rate is the paper's 0.2 and, apart, the true noise rate; sigma the sheet's 5 and, apart, our default."""
    return {
        "cross-entropy": CrossEntropy(),
        "nested-dropout": NestedDropout(sigma=5.0),
        "dropout 0.3": NestedDropout(compression="dropout"),
        "co-teaching tau=0.2": CoTeaching(forget_rate=0.2),
        "co-teaching tau=0.5": CoTeaching(forget_rate=NOISE),
        "nested-coteaching tau=0.2": NestedCoTeaching(sigma=5.0, forget_rate=0.2, finetune_lr=0.01),
        "nested-coteaching tau=0.5": NestedCoTeaching(sigma=5.0, forget_rate=NOISE, finetune_lr=0.01),
        "nested-dropout, library sigma": NestedDropout(),
        "nested-coteaching tau=0.5, library sigma": NestedCoTeaching(forget_rate=NOISE, finetune_lr=0.01),
    }


def fashion(arm: str, seed: int, *, n: int, epochs: int) -> dict[str, float]:
    """Train one arm on its own subset, noise and weights; figures of the last epoch."""
    train, test = images("train"), images("test")
    order = np.random.default_rng(seed).permutation(len(train))
    clean, val = train.take(order[:n]), train.take(order[n : n + max(100, n // 10)])
    noisy, _ = symmetric(clean, NOISE, variant="exclusive", per_class=True, seed=seed)
    learned = arms(epochs)[arm].learn(noisy, small_cnn, val=val, fit=recipe(epochs), seed=seed)  # type: ignore[attr-defined]
    given, right = noisy.labels.values, clean.labels.values  # type: ignore[union-attr]
    scores = learned.label_scores
    kept = np.argsort(scores, kind="stable")[: int(len(scores) * (1 - NOISE))]
    return {
        "accuracy": 100 * float((learned.predict(test).values == test.labels.values).mean()),
        "kept_clean": 100 * float((given == right)[kept].mean()),
        "memorised": 100 * float((learned.predict(noisy).values == given)[given != right].mean()),
        "channels": float(learned.facts.get("channels", DIM)),
    }


def main() -> None:
    """Run what is missing, print the tables and verdicts."""
    args = bench.arguments(__doc__, seeds=3)
    record = bench.Record("nested-coteaching", quick=args.quick)
    steps = 200 if args.quick else 4000
    toy = {"task": "regression", "steps": steps}
    for seed in range(max(args.seeds, 5)):
        for_seed: dict[str, float] = {}

        def both(seed: int = seed, found: dict[str, float] = for_seed) -> dict[str, float]:
            if not found:
                found |= regression(seed, steps=steps)
            return found

        record.run("plain network", seed, lambda: {"mse": both()["plain"], "channels": both()["plain channels"]}, setting=toy)
        record.run("nested dropout", seed, lambda: {"mse": both()["nested"], "channels": both()["nested channels"]}, setting=toy)
    ratio = [
        a / b
        for a, b in zip(
            record.values("nested dropout", "mse", setting=toy), record.values("plain network", "mse", setting=toy), strict=True
        )
    ]
    record.claim(
        "Regression toy: test error of nested dropout at its K is at most 0.8 of the plain network's",
        holds=float(np.mean(ratio)) <= 0.8,
        ours=f"ratio {bench.mean_interval(ratio)}",
    )
    n, epochs = (300, 2) if args.quick else (10_000, 25)
    setting = {"task": "fashion-mnist", "n": n, "noise": NOISE, "epochs": epochs, "recipe": "SGD 0.1, multistep, BatchNorm"}
    for seed in range(args.seeds):
        for arm in arms(epochs):
            record.run(arm, seed, lambda arm=arm, seed=seed: fashion(arm, seed, n=n, epochs=epochs), setting=setting)  # type: ignore[misc]
    values = {arm: record.values(arm, "accuracy", setting=setting) for arm in arms(epochs)}
    paper, where = "CE 79.4, Nested+Co-teaching 91.9", "CIFAR-10, symmetric 50 %, ResNet-18, 350 + 100 epochs"

    def gain(text: str, ours: str, theirs: str, points: float) -> None:
        if not values[ours] or len(values[ours]) != len(values[theirs]):
            record.claim(text, holds=None, ours="a run failed", paper=paper, paper_setting=where)
            return
        difference = bench.paired_difference(values[ours], values[theirs])
        # undecided where the interval holds both what was claimed and its opposite
        shown = difference.value >= points and difference.low >= 0
        refuted = difference.high < max(points, 0) or (points > 0 and difference.value < points)
        record.claim(
            text, holds=True if shown else False if refuted else None, ours=f"gain {difference} points", paper=paper, paper_setting=where
        )

    gain("Nested dropout beats cross-entropy by 3 points at the last epoch", "nested-dropout", "cross-entropy", 3)
    gain("Nested co-teaching (tau 0.2) beats cross-entropy by 6 points", "nested-coteaching tau=0.2", "cross-entropy", 6)
    gain("Nested co-teaching (tau = noise rate) beats cross-entropy by 6 points", "nested-coteaching tau=0.5", "cross-entropy", 6)
    gain("Nested co-teaching beats nested dropout alone", "nested-coteaching tau=0.2", "nested-dropout", 0)
    gain(
        "Nested co-teaching is no worse than co-teaching without compression (tau 0.2)",
        "nested-coteaching tau=0.2",
        "co-teaching tau=0.2",
        0,
    )
    gain(
        "Nested co-teaching is no worse than co-teaching without compression (tau 0.5)",
        "nested-coteaching tau=0.5",
        "co-teaching tau=0.5",
        0,
    )
    wide = "nested-coteaching tau=0.5, library sigma"
    gain("Nested co-teaching with the library's sigma (tau = noise rate) beats cross-entropy by 6 points", wide, "cross-entropy", 6)
    gain("Nested co-teaching with the library's sigma is no worse than co-teaching (tau 0.5)", wide, "co-teaching tau=0.5", 0)
    for arm in ("co-teaching tau=0.5", "nested-coteaching tau=0.5"):
        kept = bench.mean_interval(record.values(arm, "kept_clean", setting=setting))
        record.claim(
            f"{arm}: clean share among the half with the smallest loss exceeds the base rate by 20 points",
            holds=kept.value >= 70,
            ours=f"{kept} %",
        )
    channels = bench.mean_interval(record.values("nested-dropout", "channels", setting=setting))
    record.claim("The best K is well below D = 128", holds=channels.value < DIM / 2, ours=f"K = {channels}")
    record.note(
        "Margins of 3 and 6 points are design targets of ours, not the paper's; the paper's own figures are of ResNet-18 on CIFAR-10."
    )
    record.note(
        "A first trial with GroupNorm and a cosine from 0.02 is not reported: plain cross-entropy then memorised 2 % of the wrong labels in 25"
        " epochs, so there was nothing to prevent, and nested dropout, which learns more slowly, stayed at 49 % (seed 0)."
    )
    record.note("kept_clean ranks the whole training set by the final networks' losses, the criterion of the last epoch's selection.")
    print(record.table("accuracy", setting=setting))
    print(record.table("kept_clean", setting=setting))
    record.report()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
