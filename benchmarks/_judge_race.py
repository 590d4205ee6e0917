"""Simulated judges, and the statistics of agreement and ensembles against loops and packages: parts of ``llm_label_errors.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import _harness as bench
from labelwright.audit.judge_ensemble.ensemble import combine, disagreements
from labelwright.audit.judge_ensemble.evaluation import size_curve
from labelwright.stats.agreement import fleiss_kappa, krippendorff_alpha

__all__ = ["race", "simulated"]


def simulated(seed: int, *, n: int = 5000, judges: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Binary truth, labels of which 12 % are wrong, and judges (J, N, 2) whose errors have the difficulty of the item in common."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    given = np.where(rng.random(n) < 0.12, 1 - truth, truth)
    ease = rng.normal(2.0, 1.5, n)
    logit = (2 * truth - 1) * ease + rng.normal(0, 1.5, (judges, n))
    p = 1 / (1 + np.exp(-logit))
    return truth, given, np.stack([1 - p, p], axis=2)


def loop_kappa(votes: np.ndarray, c: int) -> float:
    """Fleiss' kappa by loops over items and classes."""
    n, r = votes.shape
    agree, shares = 0.0, [0.0] * c
    for row in votes.tolist():
        counts = [row.count(k) for k in range(c)]
        agree += (sum(k * k for k in counts) - r) / (r * (r - 1))
        shares = [s + k for s, k in zip(shares, counts, strict=True)]
    expected = sum((s / (n * r)) ** 2 for s in shares)
    return (agree / n - expected) / (1 - expected)


def loop_alpha(votes: np.ndarray, c: int) -> float:
    """Krippendorff's ordinal alpha by a loop over the pairs of values of each item."""
    pairs = [[0.0] * c for _ in range(c)]
    for row in votes.tolist():
        seen = [v for v in row if v >= 0]
        for i, a in enumerate(seen):
            for j, b in enumerate(seen):
                if i != j:
                    pairs[a][b] += 1 / (len(seen) - 1)
    totals = [sum(row) for row in pairs]
    n = sum(totals)

    def distance(a: int, b: int) -> float:
        low, high = sorted((a, b))
        return (sum(totals[low : high + 1]) - (totals[a] + totals[b]) / 2) ** 2

    observed = sum(pairs[a][b] * distance(a, b) for a in range(c) for b in range(c))
    expected = sum(totals[a] * totals[b] * distance(a, b) for a in range(c) for b in range(c)) / (n - 1)
    return 1 - observed / expected


def loop_curve(probs: np.ndarray, given: np.ndarray, gold: np.ndarray, permutations: int, seed: int) -> list[float]:
    """F1 by size: the mean of every subset anew."""
    rng, wrong = np.random.default_rng(seed), given != gold
    found = np.zeros((permutations, len(probs)))
    for t in range(permutations):
        order = rng.permutation(len(probs))
        for size in range(1, len(probs) + 1):
            d = disagreements(combine(probs[order[:size]]).probs, given)
            found[t, size - 1] = 2 * (d & wrong).sum() / (d.sum() + wrong.sum())
    return found.mean(0).tolist()


def race(seed: int) -> dict[str, Any]:
    """Seconds of ours and of the alternative, in turns; equal figures are part of the result."""
    rng = np.random.default_rng(seed)
    n, r, c = 20_000, 8, 5
    truth = rng.integers(0, c, n)
    votes = np.where(rng.random((n, r)) < 0.6, truth[:, None], rng.integers(0, c, (n, r)))
    gaps = np.where(rng.random((n, r)) < 0.3, -1, votes)
    real, given, probs = simulated(seed, n=5000, judges=16)
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "kappa": (lambda: fleiss_kappa(votes, c), lambda: loop_kappa(votes, c)),
        "alpha": (lambda: krippendorff_alpha(gaps, c, level="ordinal"), lambda: loop_alpha(gaps, c)),
        "curve": (
            lambda: [row["f1"] for row in size_curve(probs, given, real, permutations=5, area=False, seed=seed)],
            lambda: loop_curve(probs, given, real, 5, seed),
        ),
    }
    made: dict[str, Any] = {}
    for name, (ours, other) in pairs.items():
        times = bench.median_seconds({"ours": ours, "loop": other}, repeats=3)
        made |= {f"{name}_seconds": times["ours"], f"{name}_loop_seconds": times["loop"], f"{name}_ratio": times["loop"] / times["ours"]}
        made[f"{name}_difference"] = float(np.abs(np.asarray(ours()) - np.asarray(other())).max())
    return made | packages(votes, gaps, c)


def packages(votes: np.ndarray, gaps: np.ndarray, c: int) -> dict[str, Any]:
    """The same against statsmodels and krippendorff, where they are installed."""
    made: dict[str, Any] = {}
    try:
        from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa as theirs
    except ModuleNotFoundError:
        pass
    else:
        times = bench.median_seconds(
            {"ours": lambda: fleiss_kappa(votes, c), "theirs": lambda: theirs(aggregate_raters(votes, n_cat=c)[0])}, repeats=3
        )
        made |= {"kappa_statsmodels_ratio": times["theirs"] / times["ours"]}
    try:
        import krippendorff
    except ModuleNotFoundError:
        pass
    else:
        data = np.where(gaps < 0, np.nan, gaps).T
        times = bench.median_seconds(
            {
                "ours": lambda: krippendorff_alpha(gaps, c, level="ordinal"),
                "theirs": lambda: krippendorff.alpha(data, level_of_measurement="ordinal", value_domain=list(range(c))),
            },
            repeats=3,
        )
        made |= {"alpha_krippendorff_ratio": times["theirs"] / times["ours"]}
    return made
