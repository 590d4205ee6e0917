"""ERASE on Cora with wrong labels: against the same attention network with cross-entropy; the label machinery; orthogonality; speed.

    LABELWRIGHT_DATA=… python benchmarks/erase.py

Cora in its Planetoid split (20 training nodes a class, 500 validation, 1,000 test). Symmetric noise and asymmetric noise (one random
partner a class) of rate 0.3 and 0.5 on the training *and* the validation labels; test labels are clean and used once. Both methods have
the encoder of the sheet's small size (attention, 4 heads of 32, 128 outputs). Cross-entropy is read after its last
epoch and at the epoch that is best on the noisy validation labels; its learning rate is the best of three on noise of seed 1000 by
clean accuracy on the nodes of split ``rest``, which no reported figure uses (a choice in its favour). ERASE has the sheet's
defaults for Cora and 120 epochs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import _harness as bench
from labelwright.data import Dataset, corrupt, load
from labelwright.data.graphs import graph_of
from labelwright.data.node_batches import NodeTensor
from labelwright.learn import ErrorResilientGraph
from labelwright.learn.noisy.erase import embed_all
from labelwright.nn import GAT, seeded
from labelwright.nn.coding import CodingRateReduction
from labelwright.stats.graphs import normalised, to_torch
from labelwright.stats.propagation import lazy
from labelwright.training import Batch, EpochEnd, Fit, Step, predict_logits, prepare, train

ENCODER = GAT(hidden=128, heads=4, norm="l1", activation="leaky-relu", dropout_on="input")
DIM, EPOCHS, TUNE_SEED = 128, 120, 1000
RATES = (1e-3, 5e-3, 1e-2)
ADAM = {"optimizer": "amsgrad", "weight_decay": 5e-4, "schedule": "constant", "device": "cpu"}
BASELINES = {"last_accuracy": "its last epoch", "best_accuracy": "its best epoch on noisy validation labels"}
NOISES = (("symmetric", 0.3), ("symmetric", 0.5), ("asymmetric", 0.3), ("asymmetric", 0.5))


def noisy(data: Dataset, kind: str, rate: float, seed: int) -> Dataset:
    """Labels of training and validation nodes corrupted, of the others as they are."""
    rows = np.isin(data.columns["split"], ("train", "val"))
    if kind == "symmetric":
        return corrupt.symmetric(data, rate, seed=seed, rows=rows)[0]
    mapping = corrupt.random_partners(data.class_labels().names, seed=seed)
    return corrupt.asymmetric(data, rate, seed=seed, mapping=mapping, rows=rows)[0]


def share(model_says: np.ndarray, truth: Dataset, part: str) -> float:
    rows = truth.columns["split"] == part
    return float((model_says == truth.class_labels().values)[rows].mean())


def cross_entropy(data: Dataset, *, lr: float, seed: int, epochs: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Classes (N,) that the network says after the last epoch, after the epoch that is best on noisy validation labels, and that epoch.

    One training gives both: the best epoch's answers are noted as it passes.
    """
    prepared = prepare(data, seed=seed)
    with seeded(seed):
        net = ENCODER(prepared.num_classes, prepared.input_shape)
    best: dict[str, Any] = {"score": -1.0}

    def note(end: EpochEnd) -> None:
        if end.row["val_accuracy"] > best["score"]:
            best.update(score=end.row["val_accuracy"], epoch=end.epoch, said=predict_logits(end.net, prepared.inputs).argmax(1).numpy())

    def step(live: nn.Module, batch: Batch) -> Step:
        return Step(nn.functional.cross_entropy(live(batch.inputs), batch.labels))

    fit = Fit(epochs=epochs, batch_size=len(data), lr=lr, keep="last", **ADAM)  # type: ignore[arg-type]
    run = train(net, step, prepared.train, fit=fit, seed=seed, val=prepared.val, on_epoch=[note])
    return predict_logits(run.net, prepared.inputs).argmax(1).numpy(), best["said"], best["epoch"]


def plain(clean: Dataset, kind: str, rate: float, seed: int, *, lr: float, epochs: int) -> dict[str, float]:
    last, best, epoch = cross_entropy(noisy(clean, kind, rate, seed), lr=lr, seed=seed, epochs=epochs)
    return {"last_accuracy": share(last, clean, "test"), "best_accuracy": share(best, clean, "test"), "best_epoch": epoch}


def erase(clean: Dataset, kind: str, rate: float, seed: int, *, epochs: int) -> dict[str, float]:
    given = noisy(clean, kind, rate, seed)
    model = ErrorResilientGraph(dim=DIM, head_every=10).learn(given, ENCODER, fit=Fit(epochs=epochs, lr=1e-3, **ADAM), seed=seed)  # type: ignore[arg-type]
    said, pseudo = model.predict_proba(clean).argmax(1), model.labels.values  # type: ignore[union-attr]
    inputs: NodeTensor = model.featuriser.transform(clean)  # type: ignore[assignment]
    embeddings = embed_all(model.net, inputs)
    inside, between = angles(embeddings, torch.from_numpy(pseudo.copy()))
    inside_true, between_true = angles(embeddings, torch.from_numpy(np.array(clean.class_labels().values)))
    return {
        "test_accuracy": share(said, clean, "test"),
        "kept_epoch": model.facts["kept_epoch"],
        "given_correct": share(given.class_labels().values, clean, "train"),
        "corrected_correct": share(pseudo, clean, "train"),
        "pseudo_test": share(pseudo, clean, "test"),
        "cos_between": between,
        "cos_within": inside,
        "cos_between_true": between_true,
        "cos_within_true": inside_true,
    }


def angles(embeddings: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean |cos| of nodes to the mean of their class, and of the means of different classes (of those that occur)."""
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    present, labels = labels.unique(return_inverse=True)
    means = torch.nn.functional.normalize(torch.stack([unit[labels == c].mean(0) for c in range(len(present))]), dim=1)
    table = (means @ means.T).abs()
    off = table[~torch.eye(len(table), dtype=torch.bool)]
    return float((unit * means[labels]).sum(1).abs().mean()), float(off.mean())


def by_memberships(z: Tensor, labels: Tensor, classes: int, epsilon: float) -> Tensor:
    """The loss as the released small-graph code has it: a tensor of memberships (C, N, N)."""
    n, d = z.shape
    pi = torch.diag_embed(torch.nn.functional.one_hot(labels, classes).T.to(z.dtype))
    eye = torch.eye(d, dtype=z.dtype)
    whole = 0.5 * torch.logdet(eye + d / (n * epsilon) * z.T @ z)
    within = z.new_zeros(())
    for c in range(classes):
        size = pi[c].trace() + 1e-8
        within = within + size / (2 * n) * torch.logdet(eye + d / (size * epsilon) * z.T @ pi[c] @ z)
    return within - 2 * whole


def speed(clean: Dataset, dim: int) -> dict[str, float]:
    """Median seconds of loss and gradient, and of five steps of propagation, each against the form with an (N, N) array."""
    graph = graph_of(clean)
    labels = torch.from_numpy(np.array(clean.class_labels().values))
    classes = clean.num_classes
    z = torch.rand(len(clean), dim, generator=torch.Generator().manual_seed(0)) / dim
    z.requires_grad_()
    fast = CodingRateReduction(0.05, gamma2=2.0)
    made, slow = fast(z, labels), by_memberships(z, labels, classes, 0.05)
    gap = float((made - slow).detach().abs())

    def backward(loss: Callable[[], Tensor]) -> None:
        z.grad = None
        loss().backward()  # type: ignore[no-untyped-call]

    operator = to_torch(normalised(graph.adjacency, "column"))
    dense = operator.to_dense()
    start = torch.rand(len(clean), classes)
    times = bench.median_seconds(
        {
            "coding": lambda: backward(lambda: fast(z, labels)),
            "coding_memberships": lambda: backward(lambda: by_memberships(z, labels, classes, 0.05)),
            "spread": lambda: lazy(operator, start, steps=5, keep=0.6),
            "spread_dense": lambda: lazy(dense, start, steps=5, keep=0.6),
        },
        repeats=5,
    )
    return {f"seconds_{k}": v for k, v in times.items()} | {
        "coding_times_faster": times["coding_memberships"] / times["coding"],
        "spread_times_faster": times["spread_dense"] / times["spread"],
        "loss_gap": gap,
        "memberships_mb": classes * len(clean) ** 2 * 4 / 1e6,
    }


def tuned_rate(record: bench.Record, clean: Dataset, epochs: int) -> float:
    """The learning rate of cross-entropy, by clean accuracy on split ``rest`` (of the better of both epochs), at symmetric 0.3, seed 1000."""

    def score(lr: float) -> dict[str, float]:
        last, best, _ = cross_entropy(noisy(clean, "symmetric", 0.3, TUNE_SEED), lr=lr, seed=TUNE_SEED, epochs=epochs)
        return {"rest_accuracy": max(share(last, clean, "rest"), share(best, clean, "rest"))}

    for lr in RATES:
        record.run("tuning cross-entropy", TUNE_SEED, lambda lr=lr: score(lr), setting={"check": "tuning", "lr": lr, "epochs": epochs})
    found = {
        lr: record.values("tuning cross-entropy", "rest_accuracy", setting={"check": "tuning", "lr": lr, "epochs": epochs}) for lr in RATES
    }
    return max(RATES, key=lambda lr: found[lr][0] if found[lr] else -1.0)


def verdicts(record: bench.Record, epochs: int) -> None:
    for kind, rate in NOISES:
        setting = {"check": "cora", "noise": kind, "rate": rate, "epochs": epochs}
        ours = record.values("erase", "test_accuracy", setting=setting)
        for metric, words in BASELINES.items():
            theirs = record.values("cross-entropy", metric, setting=setting)
            if len(ours) != len(theirs) or not ours:
                continue
            gain = bench.paired_difference(ours, theirs)
            target = {("symmetric", 0.3): 0.03, ("symmetric", 0.5): 0.05, ("asymmetric", 0.3): 0.0, ("asymmetric", 0.5): -0.01}[kind, rate]
            record.claim(
                f"{kind} {rate}: test accuracy of ERASE is at least {100 * target:+.0f} points against cross-entropy at {words}",
                holds=gain.value >= target if target else gain.value > 0,
                ours=f"{np.mean(ours):.3f} against {np.mean(theirs):.3f}, gain {gain}",
            )
    main = {"check": "cora", "noise": "symmetric", "rate": 0.3, "epochs": epochs}
    corrected, given = (record.values("erase", name, setting=main) for name in ("corrected_correct", "given_correct"))
    if corrected:
        gain = bench.paired_difference(corrected, given)
        record.claim(
            "symmetric 0.3: training labels after step 6 are right at least 0.08 more often than the given ones",
            holds=gain.value >= 0.08,
            ours=str(gain),
        )
        between, within = (record.measure("erase", name, setting=main) for name in ("cos_between", "cos_within"))
        record.claim(
            "symmetric 0.3: mean |cos| between the means of its classes is below 0.3", holds=between.value < 0.3, ours=str(between)
        )
        record.claim(
            "symmetric 0.3: mean |cos| of nodes to the mean of their class is above 0.7", holds=within.value > 0.7, ours=str(within)
        )
    for dim in (128, 512):
        quick = {"check": "speed", "dim": dim}
        for name, words in (("coding", "the membership tensor (C, N, N)"), ("spread", "the dense operator (N, N)")):
            ratio = record.measure("speed", f"{name}_times_faster", setting=quick)
            if ratio.n:
                record.claim(f"Cora, {dim} dimensions: {name} is faster than {words}", holds=ratio.low > 1, ours=f"{ratio} times")


def main() -> None:
    args = bench.arguments(__doc__)
    clean = load(bench.data_root("graphs/planetoid") / "graphs/planetoid")
    record = bench.Record("erase", quick=args.quick)
    torch.set_num_threads(1)
    epochs, dims = (4, (16,)) if args.quick else (EPOCHS, (128, 512))
    seeds = 1 if args.quick else args.seeds
    for dim in dims:
        for seed in range(1 if args.quick else 3):
            record.run("speed", seed, lambda dim=dim: speed(clean, dim), setting={"check": "speed", "dim": dim})
    lr = tuned_rate(record, clean, epochs)
    for seed in range(seeds):
        for kind, rate in NOISES:
            setting = {"check": "cora", "noise": kind, "rate": rate, "epochs": epochs}
            record.run("erase", seed, lambda k=kind, r=rate, s=seed: erase(clean, k, r, s, epochs=epochs), setting=setting)
            record.run("cross-entropy", seed, lambda k=kind, r=rate, s=seed: plain(clean, k, r, s, lr=lr, epochs=epochs), setting=setting)
    verdicts(record, epochs)
    record.note(
        f"Learning rate of cross-entropy: {lr:g}, the best of {', '.join(f'{r:g}' for r in RATES)} on nodes that no reported figure uses."
    )
    record.note(
        "Validation labels carry the same noise as training labels; the paper's validation labels are clean. 120 epochs, 128 dimensions, 4 heads."
    )
    record.note(
        "On this split the training nodes have almost no edges among each other, so denoising before training does next to nothing; all correction comes later."
    )
    record.report()


if __name__ == "__main__":
    main()
