"""Class separability without labels, from the persistent homology of embeddings (PH-Sep).

Reference: N. Ghalyan, K. Gourgoulias, Y. Satsangi, S. Moran, M. Labonne, J. Sabelja. Estimating class
separability of text embeddings with persistent homology. TMLR 2024. arXiv:2305.15016.

    p_1 <= ... <= p_{n-1}     finite H0 death times of the Vietoris-Rips filtration = edge lengths of the
                              Euclidean minimum spanning tree
    q_i = p_i / max_j p_j     in [0, 1]; well separated clusters have few large and many small times
    S_mean = 1 - mean q       S_median = 1 - median q      S_entropy = 1 - H(q / sum q) / log(n - 1)
    S_gap  = max_k q_(k) - q_(k+1) over the k largest      its argmax + 1 = number of separated groups
    S_classes = 1 - q_(C) / q_(C-1)                        for C known classes

Needs embeddings only; labels serve the reference metrics. The paper's exact statistic of the q_i could
not be read, so all five stand beside each other and the mean is the default. A score is a property of
single-linkage geometry: compare one model with itself over time at fixed n, never two data sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from labelwright import check
from labelwright.audit.separability import SCORES, Preparation, mean_and_error, measure, plot_data, subsamples
from labelwright.audit.separability_references import reference_metrics
from labelwright.errors import InputError
from labelwright.registry import Auditor, Flaw, Have, Want, register
from labelwright.results import Audit, Provenance

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.signals import Signals

__all__ = ["ClassSeparability"]


@register(
    "class-separability",
    sheet="class-separability",
    has=Have.NONE,
    flaw=(Flaw.WEAK, Flaw.SCARCITY),
    gives=(Want.FINDINGS, Want.REPORT),
    paper="Ghalyan et al. Estimating class separability of text embeddings with persistent homology. TMLR 2024. arXiv:2305.15016",
)
@dataclass(frozen=True, kw_only=True)
class ClassSeparability(Auditor):
    """How well the classes come apart in embedding space, measured without labels.

    The facts of the result hold the scores with their standard errors, the estimated number of groups,
    the curve of death times, and, where class labels are known, reference metrics that need them.
    """

    score: Literal["mean", "median", "entropy", "gap"] = "mean"
    """Which statistic of the death times is reported as the score; all are in the facts."""
    normalise: Literal["layernorm", "l2", "none"] = "layernorm"
    """Row normalisation before distances are taken. The paper finds consistent behaviour mostly with normalised embeddings."""
    max_dims: int = 32
    """Reduce to at most so many principal components; 0 = never (the paper's way). Distances in high dimension are all alike."""
    variance: float = 0.95
    """Principal components beyond this share of the variance are left out, in (0, 1]."""
    deduplicate: bool = True
    """Count equal points once: a repeated point adds a death time 0 and raises the score."""
    trim: bool = False
    """Leave out points whose nearest neighbour is beyond the 99.5 % quantile: one far point can push the score to 1."""
    divide_by: Literal["max", "p99"] = "max"
    """What normalises the death times: their maximum (the paper's way), or their 99th percentile, clipped at 1."""
    sample_size: int = 1000
    """Points in a subsample; scores at different sizes do not compare."""
    repeats: int = 3
    """Subsamples, for the standard error. Several hold 80 % of the data at most."""

    def __post_init__(self) -> None:
        check.one_of("score", self.score, SCORES)
        check.integer("sample_size", self.sample_size, low=2)
        check.integer("repeats", self.repeats, low=1)
        _ = self.preparation  # validates its fields

    @property
    def preparation(self) -> Preparation:
        """The fields that concern the preparation of embeddings."""
        return Preparation(
            normalise=self.normalise,
            max_dims=self.max_dims,
            variance=self.variance,
            deduplicate=self.deduplicate,
            trim=self.trim,
            divide_by=self.divide_by,
        )

    def audit(self, data: Dataset, *, signals: Signals | None = None, seed: int) -> Audit:
        """Score ``signals.embeddings`` if they are given, else the featurised inputs. `findings` has no rows.

        Raises
        ------
        InputError
            If there are fewer than two examples, or the embeddings are not a finite matrix of the dataset's length.
        """
        if len(data) < 2:
            raise InputError(f"class-separability needs at least 2 examples; got {len(data)}.")
        samples = subsamples(len(data), size=self.sample_size, repeats=self.repeats, seed=seed)
        rows = np.unique(np.concatenate(samples))
        points, source = _embeddings(data, rows, signals, seed)
        labels, num_classes = _known_classes(data)
        runs = [measure(points[np.searchsorted(rows, s)], self.preparation, num_classes=num_classes) for s in samples]
        scores = {name: mean_and_error([r.scores[name] for r in runs]) for name in runs[0].scores}
        reference = None
        if labels is not None:
            first = samples[0][labels[samples[0]] >= 0]
            reference = reference_metrics(points[np.searchsorted(rows, first)], labels[first], seed=seed)
        facts = {
            "score": scores[self.score]["value"],
            "standard_error": scores[self.score]["se"],
            "groups": int(np.median([r.groups for r in runs])),
            "n": len(data),
            "statistic": self.score,
            "sample_size": len(samples[0]),
            "repeats": self.repeats,
            "embeddings": source,
            "dimensions": {"given": points.shape[1], "used": runs[0].dims},
            "scores": scores,
            "groups_by_sample": [r.groups for r in runs],
            "left_out": {"duplicates": [r.duplicates for r in runs], "outliers": [r.outliers for r in runs]},
            "collapsed": all(r.collapsed for r in runs),
            "warnings": sorted({w for r in runs for w in r.warnings}),
            "reference": reference,
            "plot": plot_data(runs[0].times),
        }
        empty = np.empty(0, dtype=np.int64)
        findings = Audit.findings_frame(data, "class_separability", index=empty, score=0.0, flagged=False)
        return Audit(findings=findings, facts=facts, provenance=Provenance.of(self, data, seed=seed))


def _embeddings(data: Dataset, rows: np.ndarray, signals: Signals | None, seed: int) -> tuple[np.ndarray, str]:
    if signals is not None and signals.embeddings is not None:
        check.same_length(embeddings=signals.embeddings, examples=data.ids)
        return np.asarray(signals.embeddings)[rows], signals.embeddings_source or "given"
    from labelwright.data.features.nodes import plain_vectors
    from labelwright.data.featurise import fit_featuriser

    part = data.take(rows)
    part = plain_vectors(part, seed=seed)
    inputs = fit_featuriser(part, seed=seed).transform(part)
    return inputs.reshape(len(rows), -1).numpy(), "featurised inputs"


def _known_classes(data: Dataset) -> tuple[np.ndarray | None, int | None]:
    """Class indices (N,), -1 where unknown, and how many classes occur; None, None without at least two."""
    from labelwright.labels import ClassLabels

    if not isinstance(data.labels, ClassLabels):
        return None, None
    present = int((data.labels.counts() > 0).sum())
    return (data.labels.values, present) if present >= 2 else (None, None)
