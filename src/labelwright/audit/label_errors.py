"""Label errors from out-of-sample predicted probabilities: confident learning.

Reference: Northcutt, Jiang, Chuang. Confident Learning: Estimating Uncertainty in Dataset Labels. JAIR 70, 2021.
arXiv:1911.00068. Multi-label scores: Thyagarajan et al. 2022, arXiv:2211.13895. Mathematics: ``_confident.py``.

Five filters say which labels are flagged (i the given class, j another one, J the confident joint in examples):

- ``prune_by_class``: in class i the ``n_i - J[i, i]`` examples of smallest probability of their label;
- ``prune_by_noise_rate``: for each pair the ``J[i, j]`` examples of largest margin ``p_j - p_i``;
- ``both``: the intersection of these two;
- ``confident_learning``: the examples counted off the diagonal of the confident joint;
- ``predicted_neq_given``: the most probable class is not the given one.

Whatever the filter, a label is only flagged if another class is more probable by more than 1e-6. Three scores rank them,
each in [0, 1], higher = more likely wrong: one minus self-confidence ``p_i``; one minus the normalised margin
``(p_i - max_{j != i} p_j + 1) / 2``; and one minus ``log(1 + w) / w`` where w is the entropy over log C, divided by ``p_i``.

Same as cleanlab 2.9, flag for flag, with the defaults. What differs, and when it can show:

- Ties: equal probabilities or margins at the border of a count are flagged in order of the rows; in cleanlab the order is that of
  an unstable sort. Shows only where values repeat exactly, as with saturated or coarsely rounded probabilities.
- Collisions: where several classes reach their thresholds and the most probable class is not among them, cleanlab (and
  ``collisions="overall"``, the default) still counts the most probable class; equation 1 of the paper takes the most
  probable one of those reached: ``collisions="confident"``.
- Rounding of the joint to whole examples is the same rule (row sums kept, largest remainders first).
- ``min_examples`` (cleanlab: ``min_examples_per_class``) is the same for 1, the default. For more, what a class lacks is
  taken evenly from the nonzero off-diagonal counts; cleanlab divides by one less where the diagonal is zero.
- Thresholds are averaged in float64; cleanlab averages float32 probabilities in float32. A probability within 1e-7 of
  a threshold may fall on the other side.
- Probabilities are checked: NaN, values outside [0, 1] and rows that do not sum to one are errors here. Classes without
  an example are an error unless ``allow_empty``; then, as in cleanlab, no example is ever counted into them.
- The score is an error score: one minus cleanlab's label quality. Where the entropy is exactly zero, the confidence-weighted
  entropy is 0 for a label given with certainty and high for one ruled out; cleanlab calls both bad. Multi-label examples are flagged alike, class by class;
  unknown cells, which cleanlab does not have, take no part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from labelwright import check
from labelwright.audit import _confident as core
from labelwright.errors import InputError

__all__ = ["FILTERS", "SCORES", "FilterBy", "LabelErrors", "Score", "find_label_errors"]

FilterBy = Literal["prune_by_class", "prune_by_noise_rate", "both", "confident_learning", "predicted_neq_given"]
Score = Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"]
Collisions = Literal["overall", "confident"]
FILTERS: tuple[str, ...] = ("prune_by_class", "prune_by_noise_rate", "both", "confident_learning", "predicted_neq_given")
SCORES: tuple[str, ...] = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """What :func:`find_label_errors` found.

    Attributes
    ----------
    mask
        bool (N,): the label is flagged.
    score
        float64 (N,) in [0, 1]: higher = more likely wrong.
    suggested
        int64 (N,): the most probable class, the given one where label and model agree.
    thresholds
        float64 (C,): mean probability of a class among the examples given that class; infinite for a class without examples.
    pairs
        int64 (C, C): examples counted confidently, by given (row) and true class (column).
    joint
        int64 (C, C): the same scaled to the counts of the given labels, so that rows sum to them.
    """

    mask: np.ndarray
    score: np.ndarray
    suggested: np.ndarray
    thresholds: np.ndarray = field(repr=False)
    pairs: np.ndarray = field(repr=False)
    joint: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def ranked(self) -> np.ndarray:
        """Positions of the flagged labels, worst first (equal scores by position)."""
        flagged = np.flatnonzero(self.mask)
        return flagged[np.argsort(-self.score[flagged], kind="stable")]

    @property
    def noise_rate(self) -> float:
        """Estimated share of wrong labels: what lies off the diagonal of `joint`."""
        return noise_rate(self.joint)

    @property
    def given_if_true(self) -> np.ndarray:
        """P(given = i | true = j), float64 (C, C), columns sum to 1: the noise rates. A class estimated not to occur has a zero column."""
        return _normalised(self.joint, axis=0)

    @property
    def true_if_given(self) -> np.ndarray:
        """P(true = j | given = i), float64 (C, C), rows sum to 1: what to expect behind a label. Zero rows for empty classes."""
        return _normalised(self.joint, axis=1)

    @property
    def true_shares(self) -> np.ndarray:
        """P(true = j), float64 (C,)."""
        return self.joint.sum(0) / max(1, self.joint.sum())


def noise_rate(joint: np.ndarray) -> float:
    """Share of the joint that lies off its diagonal."""
    total = int(joint.sum())
    return float(1 - np.trace(joint) / total) if total else 0.0


def _normalised(joint: np.ndarray, axis: int) -> np.ndarray:
    total = joint.sum(axis, keepdims=True)
    return joint / np.maximum(total, 1)


def as_probs(probs: Any) -> np.ndarray:
    """An (N, C) float array of native precision; a path to a ``.npy`` file is mapped, not read.

    Raises
    ------
    InputError
        If it is not two-dimensional, or has fewer than two columns.
    """
    if isinstance(probs, (str, Path)):
        path = check.path_exists("probs", probs)
        try:
            probs = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as err:
            raise InputError(f"{path} cannot be read as .npy: {err}.", hint="Write it with numpy.save.") from err
    array = probs.detach().cpu().numpy() if hasattr(probs, "detach") else np.asanyarray(probs)
    if array.ndim != 2:
        raise InputError(f"probs must have shape (N, C); got {array.shape}.")
    if array.dtype.kind not in "fiub":
        raise InputError(f"probs must be numbers; got dtype {array.dtype}.")
    if array.shape[1] < 2:
        raise InputError(f"probs has {array.shape[1]} column: with one class only there is nothing a label could be confused with.")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    return array


def check_counts(counts: np.ndarray, *, allow_empty: bool) -> None:
    """Refuse labels of one class only, and classes without an example unless they are allowed."""
    present = np.flatnonzero(counts)
    if len(present) == 0:
        raise InputError("There are no examples (N = 0).", hint="Check the file or the filter that made the labels.")
    if len(present) == 1:
        raise InputError(
            f"All {int(counts.sum()):,} labels are class {int(present[0])}: with one class only, wrong labels cannot be told from right ones."
        )
    if len(present) < len(counts) and not allow_empty:
        empty = np.flatnonzero(counts == 0)
        shown = ", ".join(map(str, empty[:8].tolist())) + (", …" if len(empty) > 8 else "")
        raise InputError(
            f"{len(empty)} of the {len(counts)} classes are empty: no example is labelled {shown}.",
            hint="Leave these classes (and their columns of probs) out, or allow them with allow_empty=True (--allow-empty).",
        )


def check_options(filter_by: str, score: str, collisions: str, min_examples: int) -> None:
    """The options shared by all variants."""
    check.one_of("filter_by", filter_by, FILTERS)
    check.one_of("score", score, SCORES)
    check.one_of("collisions", collisions, ("overall", "confident"))
    check.integer("min_examples", min_examples, low=0)


def find_label_errors(
    labels: Any,
    probs: Any,
    *,
    filter_by: FilterBy = "prune_by_noise_rate",
    score: Score = "self_confidence",
    collisions: Collisions = "overall",
    min_examples: int = 1,
    allow_empty: bool = False,
) -> LabelErrors:
    """Which labels are probably wrong, given predicted probabilities that did not see them.

    Parameters
    ----------
    labels
        int (N,), each in 0..C-1.
    probs
        float (N, C), rows sum to 1 within 1e-3; **out-of-sample**: no row predicted by a model trained on it. An array, a memory
        map, a tensor, or the path of a ``.npy`` file, which is mapped and read in blocks of rows.
    filter_by, score, collisions
        See the module's docstring.
    min_examples
        Leave at least so many examples in each class unflagged; smaller classes are left alone by the pruning filters.
    allow_empty
        Accept classes (columns) that no label names.

    Returns
    -------
    LabelErrors
        Time O(N C); memory beside the input O(N + C^2) plus blocks of a few MB.

    Raises
    ------
    InputError
        For lengths that differ, labels outside the classes, rows that are no distribution, N = 0, one class only,
        empty classes without `allow_empty`, an unknown filter or score.
    """
    check_options(filter_by, score, collisions, min_examples)
    matrix = as_probs(probs)
    given = check.class_index("labels", labels, num_classes=matrix.shape[1])
    check.same_length(labels=given, probs=matrix)
    counts = np.bincount(given, minlength=matrix.shape[1])
    check_counts(counts, allow_empty=allow_empty)
    return find(given, matrix, counts, filter_by=filter_by, score=score, collisions=collisions, min_examples=min_examples)


def find(
    given: np.ndarray, probs: np.ndarray, counts: np.ndarray, *, filter_by: str, score: str, collisions: str, min_examples: int
) -> LabelErrors:
    """The work of :func:`find_label_errors` on arguments whose form is already checked."""
    rows = core.read_rows(given, probs)
    thresholds = core.class_thresholds(np.bincount(given, weights=rows.given_prob, minlength=len(counts)), counts)
    guess = core.confident_class(rows, probs, core.limits_of(thresholds, probs.dtype), overall=collisions == "overall")
    pairs = core.count_pairs(given, guess, len(counts))
    joint = core.calibrate(pairs, counts)
    prune = core.prune_counts(joint, min_examples)
    mask = core.disagrees(given, rows)
    if filter_by == "confident_learning":
        mask &= (guess >= 0) & (guess != given)
    if filter_by in ("prune_by_class", "both"):
        mask &= core.prune_by_class(given, rows, counts, prune, min_examples)
    if filter_by in ("prune_by_noise_rate", "both"):
        mask &= core.prune_by_noise_rate(given, probs, rows, counts, prune, min_examples)
    return LabelErrors(
        mask=mask,
        score=core.error_scores(given, probs, rows, score),
        suggested=rows.top.astype(np.int64),
        thresholds=thresholds,
        pairs=pairs,
        joint=joint,
    )
