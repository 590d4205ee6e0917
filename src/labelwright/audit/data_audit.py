"""The whole audit: label errors and everything else that can be wrong with a dataset, in one pass over shared signals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.audit import classes, duplicates, groups, images, outliers, tables
from labelwright.audit.found import Found
from labelwright.audit.joining import joined
from labelwright.audit.judge_ensemble.method import JudgeEnsemble, provenance_of, together
from labelwright.audit.label_error_finder import LabelErrorFinder
from labelwright.data import Dataset, LazyInputs, Texts
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels, SoftLabels
from labelwright.registry import Auditor, Flaw, Have, Want, register
from labelwright.results import Audit
from labelwright.stats.intervals import wilson

if TYPE_CHECKING:
    import polars as pl

    from labelwright.judges.base import Judge
    from labelwright.signals import Signals

__all__ = ["ISSUES", "DataAudit"]

ISSUES = (
    "label_error",
    "exact_duplicate",
    "near_duplicate",
    "split_leak",
    "outlier",
    "class_imbalance",
    "missing_values",
    "dark",
    "blank",
    "blurred",
    "odd_aspect",
)
JUDGED = "judge_disagreement"
"""Looked for where judges are named, and only there."""
IMAGE_ISSUES = ("dark", "blank", "blurred", "odd_aspect")
LEAST_ROWS = 20
"""Below so many rows neither cross-validation nor distances between neighbours say anything."""


class _Cannot(Exception):
    """A check that cannot run; the message is the reason shown to the user."""


@register(
    "data-audit",
    sheet=None,
    has=(Have.CLASS_LABELS, Have.MULTI_LABELS, Have.SOFT_LABELS, Have.NONE),
    flaw=(Flaw.NOISE, Flaw.IMBALANCE, Flaw.LEAK),
    gives=(Want.FINDINGS, Want.REPORT),
    paper="Northcutt, Jiang, Chuang. Confident learning. JAIR 2021. arXiv:1911.00068",
)
@dataclass(frozen=True, kw_only=True)
class DataAudit(Auditor):
    """Everything that can be wrong: wrong labels, duplicates and leaks, outliers, odd images, gaps, unequal classes and groups."""

    only: tuple[str, ...] = ()
    """Issues to look for; all where empty: label_error, exact_duplicate, near_duplicate, split_leak, outlier, class_imbalance, missing_values, dark, blank, blurred, odd_aspect; judge_disagreement with judges."""
    skip: tuple[str, ...] = ()
    """Issues to leave out."""
    folds: int = 5
    """Folds of the cross-validation that makes probabilities where none are given, >= 2."""
    against: str | None = None
    """A second dataset (its path or built-in name), whose examples must not occur in this one: leaks are looked for."""
    judges: str | tuple[Judge, ...] | None = None
    """YAML file of judges (language models, classifiers, people) who look at every label too; issue judge_disagreement. More settings: audit judge-ensemble."""
    judge_url: str | None = None
    """Address of an OpenAI-compatible server whose model looks at every label, without a judges file; its key is read from the environment (LABELWRIGHT_JUDGE_KEY)."""
    judge_model: str | None = None
    """Model to ask there. Answers are stored in judges.cache.sqlite."""
    second: str | None = None
    """Column with the second text, where the judges compare pairs of texts."""
    near: float = duplicates.RATIO
    """Most that near duplicates may be apart, as a share of the usual distance to the nearest neighbour, in (0, 1]."""
    cosine: float = duplicates.COSINE
    """Least cosine of TF-IDF vectors of texts that are near duplicates, in (0, 1]."""
    fence: float = outliers.FENCE
    """How many interquartile ranges an outlier's log distance lies above the third quartile, > 0."""
    rare: float = classes.RARE
    """A class is rare below this share of an average class's size, in (0, 1)."""
    missing: float = tables.MOST_MISSING
    """Rows that lack more than this share of their columns are listed, in (0, 1)."""
    dark: float = images.DARK
    """Images whose 99th percentile of grey is below this are dark, in (0, 1)."""
    blank: float = images.BLANK
    """Images whose grey varies less than this (standard deviation) are blank, in (0, 1)."""
    blurred: float = images.BLURRED
    """Images whose Laplacian varies less than this share of their grey are blurred, > 0."""
    aspect: float = images.ODD
    """Images whose width over height differs by more than this factor from the usual are odd, > 1."""

    def __post_init__(self) -> None:
        for name in ("only", "skip"):
            words = tuple(getattr(self, name))
            object.__setattr__(self, name, tuple(check.one_of(name, w.replace("-", "_"), (*ISSUES, JUDGED)) for w in words))
        check.integer("folds", self.folds, low=2)
        together(self.judge_url, self.judge_model)
        if not self.judged and (JUDGED in self.only or self.second is not None):
            raise InputError("judge_disagreement and second need judges.", hint="Name their file with --judges FILE.")
        for name in ("near", "cosine"):
            check.in_range(name, getattr(self, name), low=0, high=1, closed="right")
        for name in ("rare", "missing", "dark", "blank"):
            check.in_range(name, getattr(self, name), low=0, high=1, closed="neither")
        for name in ("fence", "blurred"):
            check.in_range(name, getattr(self, name), low=0, closed="neither")
        check.in_range("aspect", self.aspect, low=1, closed="neither")
        if not self.issues:
            raise InputError("only and skip leave no issue to look for.")

    @property
    def judged(self) -> bool:
        """Whether there are judges."""
        return self.judges is not None or self.judge_url is not None

    @property
    def issues(self) -> tuple[str, ...]:
        """What is looked for."""
        every = (ISSUES[0], *((JUDGED,) if self.judged else ()), *ISSUES[1:])
        return tuple(i for i in every if (not self.only or i in self.only) and i not in self.skip)

    def audit(self, data: Dataset, *, signals: Signals | None = None, seed: int) -> Audit:
        """Findings of all checks that can run.

        Issues ``label_error`` and, with judges, ``judge_disagreement`` have one row for every example, the others only rows worth
        listing. Facts: `checked` (issues that
        were looked for), `skipped` (issue -> why it could not be), `counts` (flagged by issue), `noise_rate` and its
        `noise_rate_interval`, `classes`, `given_if_true`, `true_if_given`, `confused_pairs`, `overlapping_classes`, `agreement` (share of labels the model predicts: where it is low, the noise rate is too high), `probabilities` and
        whether they are `out_of_sample`, `embeddings`, `groups`, `constant_column`, `judges` (see :class:`~labelwright.audit.JudgeEnsemble`), and one entry for each issue that has facts of its own.

        Raises
        ------
        InputError
            If there are no examples, the signals are in-sample or of another length, or an image cannot be read.
        """
        if len(data) == 0:
            raise InputError("There are no examples (N = 0).", hint="Check the file or the filter that made the dataset.")
        if isinstance(data.labels, SoftLabels):
            data = data.with_labels(data.labels.harden())
        if signals is not None and signals.has():
            check.same_length(data=data, signals=signals)
        return _Run(self, data, signals, seed).result()


class _Run:
    """One audit: what its checks share (signals, looks, copies), and what they found."""

    def __init__(self, method: DataAudit, data: Dataset, signals: Signals | None, seed: int) -> None:
        from labelwright.signals import Signals

        self.method, self.data, self.seed = method, data, seed
        self.signals = signals if signals is not None else Signals()
        self.look: images.Look | None = None
        self.copies: np.ndarray | None = None
        self.close: duplicates.Pairs | None = None
        self.frames: list[pl.DataFrame] = []
        self.checked: list[str] = []
        self.skipped: dict[str, str] = {}
        self.facts: dict[str, Any] = {"n": len(data)}

    def result(self) -> Audit:
        import polars as pl

        checks: dict[str, Callable[[], Found | None]] = {
            "label_error": self.label_errors,
            JUDGED: self.judged,
            "exact_duplicate": self.exact,
            "near_duplicate": self.near,
            "split_leak": self.leaks,
            "outlier": self.outliers,
            "class_imbalance": self.imbalance,
            "missing_values": self.gaps,
            "dark": lambda: images.dark(self._ranged(), self.method.dark),
            "blank": lambda: images.blank(self._ranged(), self.method.blank),
            "blurred": self.blurred,
            "odd_aspect": lambda: images.odd_aspect(self.looks(), self.method.aspect),
        }
        for issue in sorted(self.method.issues, key=lambda i: i != JUDGED):  # judges that cannot be asked stop it at once
            try:
                found = checks[issue]()
            except _Cannot as reason:
                self.skipped[issue] = str(reason)
                continue
            self.checked.append(issue)
            if found is not None:
                self.add(found)
        self.checked.sort(key=self.method.issues.index)
        findings = pl.concat(self.frames) if self.frames else _empty(self.data)
        flagged = dict.fromkeys(self.checked, 0)
        for issue, count in findings.group_by("issue").agg(pl.col("flagged").sum()).iter_rows():
            flagged[issue] = int(count)
        facts = self.facts | {
            "checked": self.checked,
            "skipped": self.skipped,
            "counts": flagged,
            "embeddings": self.signals.embeddings_source,
        }
        return Audit(findings=findings, facts=facts, provenance=provenance_of(self.method, self.data, self.method.judges, seed=self.seed))

    def add(self, found: Found) -> None:
        """Rows of a check into the findings, its facts under the issue's name."""
        if len(found.index):
            self.frames.append(
                Audit.findings_frame(
                    self.data, found.issue, index=found.index, score=found.score, flagged=found.flagged, reason=found.reason
                )
            )
        if found.facts:
            self.facts[found.issue] = dict(found.facts)

    # ------------------------------------------------------------------ labels

    def label_errors(self) -> None:
        """Rows for every example, the noise rates, and what follows from them: overlapping classes, quality by group."""
        from labelwright import signals as makers

        data, labels = self.data, self.data.labels
        if not isinstance(labels, (ClassLabels, MultiLabels)):
            raise _Cannot("the dataset has no labels" if labels is None else f"{labels.kind} name no class for an example")
        if self.signals.probs is None:
            if int(data.known.sum()) < LEAST_ROWS:
                raise _Cannot(f"{int(data.known.sum())} labelled rows; cross-validation needs at least {LEAST_ROWS}, or give probabilities")
            if isinstance(labels, ClassLabels) and (labels.counts() > 0).sum() < 2:
                raise _Cannot("only one class occurs")
            self._usable_inputs()
            self.signals = makers.compute(data, ("probs",), seed=self.seed, folds=self.method.folds, have=self.signals)
        part = LabelErrorFinder(allow_empty=True).audit(data, signals=self.signals, seed=self.seed)
        self.frames.insert(0, part.findings)
        flagged = part.findings.get_column("flagged").to_numpy()
        known = data.known
        self.facts |= {k: v for k, v in part.facts.items() if k not in ("n", "flagged")}
        self.facts |= {"out_of_sample": self.signals.out_of_sample, "labelled": int(known.sum())}
        if isinstance(labels, ClassLabels):  # a model that is often wrong makes labels look noisier than they are
            top = self.signals.require("probs").argmax(1)
            self.facts["agreement"] = float((top == labels.values)[known].mean())
        rate = wilson(round(float(self.facts["noise_rate"]) * int(known.sum())), int(known.sum()))
        self.facts["noise_rate_interval"] = [rate.low, rate.high]
        if isinstance(labels, ClassLabels) and "true_if_given" in self.facts:
            matrix = np.asarray(self.facts["true_if_given"])
            self.facts["overlapping_classes"] = classes.overlapping_classes(matrix, labels.counts(), labels.names)
        columns, left = groups.groups_of(data.columns)
        self.skipped |= {f"quality by {name}": reason for name, reason in left.items()}
        if columns:
            self.facts["groups"] = {name: groups.group_quality(flagged, known, column) for name, column in columns.items()}

    def judged(self) -> None:
        """Rows for every example: what a panel of judges says about its label."""
        import polars as pl

        if not isinstance(self.data.labels, ClassLabels):
            raise _Cannot(
                "the dataset has no labels" if self.data.labels is None else f"{self.data.labels.kind} name no class for an example"
            )
        method = self.method
        panel = JudgeEnsemble(judges=method.judges, judge_url=method.judge_url, judge_model=method.judge_model, second=method.second)
        part = panel.audit(self.data, seed=self.seed)
        self.frames.append(part.findings.with_columns(issue=pl.lit(JUDGED)))
        self.facts |= {k: part.facts[k] for k in ("judges", "judge_seconds")}

    def imbalance(self) -> Found:
        labels = self.data.labels
        if not isinstance(labels, ClassLabels):
            raise _Cannot("the dataset has no class labels")
        if not labels.known.any():
            raise _Cannot("no row has a label")
        return classes.class_imbalance(labels.values, labels.names, rare=self.method.rare)

    # ------------------------------------------------------------------ copies

    def first(self) -> np.ndarray:
        if self.copies is None:
            self.copies = duplicates.exact_copies(self.data.inputs)
        return self.copies

    def exact(self) -> Found:
        self._has_content()
        return duplicates.exact_duplicates(self.data, self.first())

    def pairs(self) -> duplicates.Pairs:
        if self.close is None:
            self.close = self._near_pairs(self.data, self.first(), self.looks() if self.data.kind == "images" else None)
        return self.close

    def near(self) -> Found:
        self._enough()
        return duplicates.near_duplicates(self.data, self.pairs())

    def leaks(self) -> Found | None:
        """Within the dataset by its column ``split``, or against a second dataset."""
        self._has_content()
        if self.method.against is not None:
            return self._against(self.method.against)
        split = self.data.columns.get("split")
        if split is None or len(set(split.tolist())) < 2:
            raise _Cannot("there is no column 'split' with two splits, and no second dataset (against)")
        pairs = self.pairs() if len(self.data) >= LEAST_ROWS else duplicates.Pairs(i=_NONE, j=_NONE, score=np.empty(0))
        return duplicates.split_leaks(self.data, split, self.first(), pairs)

    def _against(self, source: str) -> Found:
        from labelwright.data.readers import load

        other = load(source)
        both = joined(self.data, other)
        first = duplicates.exact_copies(both.inputs)
        look = images.look_at(both) if both.kind == "images" else None
        pairs = self._near_pairs(both, first, look, own=False)
        names = np.array([self.data.info.name or "this dataset"] * len(self.data) + [f"{source}"] * len(other))
        if names[0] == names[-1]:
            names[: len(self.data)] = "this dataset"
        found = duplicates.split_leaks(both, names, first, pairs)
        own = found.index < len(self.data)
        return replace(
            found,
            index=found.index[own],
            score=found.score[own],
            flagged=found.flagged[own],
            reason=[r for r, o in zip(found.reason, own, strict=True) if o],
        )

    def _near_pairs(self, data: Dataset, first: np.ndarray, look: images.Look | None, *, own: bool = True) -> duplicates.Pairs:
        """Near pairs among first copies, in positions of `data`."""
        leaders = np.flatnonzero(first == np.arange(len(first)))
        if look is not None:
            leaders = leaders[look.contrast[leaders] >= duplicates.LEAST_CONTRAST]  # blank images all look alike
            pairs = duplicates.near_pairs(look.thumbs[leaders], ratio=self.method.near, hashes=look.hashes[leaders])
        elif isinstance(data.inputs, Texts):
            pairs = duplicates.text_pairs([data.inputs[int(i)] for i in leaders], cosine=self.method.cosine)
        else:
            points = self.embeddings() if own else _embedded(data, self.seed)
            pairs = duplicates.near_pairs(points[leaders], ratio=self.method.near)
        return duplicates.Pairs(i=leaders[pairs.i], j=leaders[pairs.j], score=pairs.score)

    # ------------------------------------------------------------------ inputs

    def embeddings(self) -> np.ndarray:
        from labelwright import signals as makers

        self._usable_inputs(given="embeddings")
        self.signals = makers.compute(self.data, ("embeddings",), seed=self.seed, have=self.signals)
        return np.asarray(self.signals.require("embeddings"))

    def outliers(self) -> Found:
        from labelwright import signals as makers

        self._enough()
        self.embeddings()
        self.signals = makers.compute(self.data, ("knn",), seed=self.seed, have=self.signals)
        return outliers.find_outliers(self.signals.require("knn").distances, fence=self.method.fence)

    def gaps(self) -> Found:
        if self.data.kind not in ("table", "vectors") or self._bare():
            raise _Cannot("only tables and vectors have columns")
        columns = tables.columns_of(self.data)
        self.facts["constant_column"] = {"columns": tables.constant_columns(columns)}
        return tables.missing_values(columns, most=self.method.missing)

    def looks(self) -> images.Look:
        if self.data.kind != "images":
            raise _Cannot(f"the inputs are {self.data.kind}, not images")
        if self.look is None:
            self.look = images.look_at(self.data)
        return self.look

    def _ranged(self) -> images.Look:
        look = self.looks()
        if not look.ranged:
            raise _Cannot("pixel values lie outside [0, 1], so there is no black and white")
        return look

    def blurred(self) -> Found:
        look = self._ranged()
        if look.side < images.SHARP_SIDE:
            raise _Cannot(f"images of {look.side} pixels a side are too small to tell; {images.SHARP_SIDE} are needed")
        return images.blurred(look, self.method.blurred)

    def _enough(self) -> None:
        self._has_content()
        if len(self.data) < LEAST_ROWS:
            raise _Cannot(f"{len(self.data)} rows; distances between neighbours need at least {LEAST_ROWS}")

    def _bare(self) -> bool:
        """Labels without inputs: an array without columns."""
        return not isinstance(self.data.inputs, LazyInputs) and int(np.prod(self.data.inputs.shape[1:])) == 0

    def _has_content(self) -> None:
        if self._bare():
            raise _Cannot("the dataset has labels but no inputs")

    def _usable_inputs(self, *, given: str = "") -> None:
        """Vectors must be finite before anything is fitted on them (tables may have gaps)."""
        if given and getattr(self.signals, given) is not None:
            return
        self._has_content()
        if self.data.kind == "vectors":
            columns = tables.columns_of(self.data)
            if columns.missing.any():
                worst = columns.names[int(columns.missing.argmax())]
                raise _Cannot(
                    f"{int((columns.row_missing > 0).sum()):,} rows hold NaN or infinity (column {worst!r} most often); fill them first"
                )


_NONE = np.empty(0, dtype=np.int64)


def _empty(data: Dataset) -> pl.DataFrame:
    return Audit.findings_frame(
        data, "label_error", index=_NONE, score=np.empty(0), flagged=np.empty(0, dtype=bool), given=[], suggested=[], reason=[]
    )


def _embedded(data: Dataset, seed: int) -> np.ndarray:
    from labelwright import signals as makers

    return np.asarray(makers.compute(data, ("embeddings",), seed=seed).require("embeddings"))
