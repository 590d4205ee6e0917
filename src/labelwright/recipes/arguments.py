"""Which arguments each verb and tool takes: options, help texts and the checks of recipe files and ``run.json`` are read from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from labelwright.registry import Option

__all__ = ["CORRECT", "CORRECT_ARGUMENTS", "HIDDEN_FIT", "PATH_FIELDS", "TOOL_ARGUMENTS", "VERB_ARGUMENTS", "WHOLE_AUDIT", "Argument"]

CORRECT = "correct"
"""The one word of ``annotate`` that is no method: it applies the findings of an audit."""


@dataclass(frozen=True, kw_only=True)
class Argument(Option):
    """An argument of a verb. `path`: a dataset, file or folder, stored relative to the output folder. `positional`: given without its name."""

    path: bool = False
    positional: bool = False
    required: bool = False


def _data(
    help: str = "Dataset: a folder of images, a CSV, JSONL, Parquet or NPZ file, a dataset folder, a graph, or digits, wine, breast-cancer.",
) -> Argument:
    return Argument(name="data", type=str, default=None, help=help, path=True, positional=True, required=True)


LABELS = Argument(name="labels", type=str | None, default=None, help="Column that holds the labels.")
INPUTS = Argument(
    name="inputs",
    type=str | None,
    default=None,
    help="Column that holds the inputs, or several separated by commas; all others by default.",
)
IDS = Argument(name="ids", type=str | None, default=None, help="Column that holds the ids; 'id' by default, else the row number.")
SPLIT = Argument(name="split", type=str | None, default=None, help="Use only the rows, or the subfolder, of this split.")
TABLE = (LABELS, INPUTS, IDS, SPLIT)
SEED = Argument(name="seed", type=int, default=0, help="Seed of everything random; the same seed gives the same result.")
DEVICE = Argument(name="device", type=str, default="auto", help="auto (CUDA where present), cpu, cuda, cuda:1, mps.")
PROBS = Argument(
    name="probs",
    type=str | None,
    default=None,
    help="Out-of-sample class probabilities, .npy, .npz or .csv. Column j is class j for integer labels, else the j-th name in sorted order; "
    "a CSV header or an npz array 'classes' overrides.",
    path=True,
)
FEATURES = Argument(
    name="features", type=str | None, default=None, help="Feature vectors, .npy, .npz or .csv, one row an example.", path=True
)
NET = Argument(
    name="net",
    type=str | None,
    default=None,
    help="Network: a name (mlp, convnet, …) or name:argument=value,…; without it a small one that suits the inputs.",
)
SIGNALS = (PROBS, FEATURES)

VERB_ARGUMENTS: dict[str, tuple[Argument, ...]] = {
    "audit": (
        _data(),
        *TABLE,
        *SIGNALS,
        Argument(
            name="fail_on",
            type=tuple[str, ...],
            default=(),
            help="ISSUE=RATE: exit with code 1 when more than this share is flagged for the issue. May be repeated.",
        ),
        SEED,
        DEVICE,
    ),
    "annotate": (_data(), *TABLE, *SIGNALS, SEED, DEVICE),
    "select": (
        _data(),
        Argument(name="keep", type=float, default=None, help="Share of the examples to keep, in (0, 1].", required=True),
        *TABLE,
        *SIGNALS,
        SEED,
        DEVICE,
    ),
    "condense": (
        _data(),
        Argument(name="per_class", type=int, default=None, help="Condensed examples a class.", required=True),
        *TABLE,
        NET,
        SEED,
        DEVICE,
    ),
    "learn": (
        _data(),
        Argument(
            name="test",
            type=str | None,
            default=None,
            help="Test data with good labels: measured once, after the last decision. Of a graph with a column split, its rows 'test'.",
            path=True,
        ),
        Argument(
            name="val",
            type=str | None,
            default=None,
            help="Validation data for every choice; without it a seeded tenth of the training data, with labels as noisy as the rest.",
            path=True,
        ),
        Argument(name="test_labels", type=str | None, default=None, help="Label column of the test data, where it is not --labels."),
        Argument(name="test_split", type=str | None, default=None, help="Use only this split of the test data."),
        Argument(name="val_split", type=str | None, default=None, help="Use only this split of the validation data."),
        *TABLE,
        NET,
        SEED,
        DEVICE,
    ),
    "forget": (
        Argument(name="model", type=str, default=None, help="Folder written by learn.", path=True, positional=True, required=True),
        _data("The model's training data."),
        Argument(name="ids", type=str, default=None, help="Text file with the ids to forget, one a line.", path=True, required=True),
        *TABLE,
        SEED,
        DEVICE,
    ),
    "certify": (
        _data(),
        Argument(name="model", type=str | None, default=None, help="Folder written by learn.", path=True),
        *TABLE,
        SEED,
        DEVICE,
    ),
}
CORRECT_ARGUMENTS = (
    _data("The dataset that was audited."),
    Argument(name="findings", type=str, default=None, help="Folder written by audit.", path=True, required=True),
    Argument(
        name="how",
        type=Literal["relabel", "drop", "weight"],
        default="relabel",
        help="relabel: the suggested class; drop: leave flagged examples out; weight: keep them with a lower weight.",
    ),
    Argument(
        name="threshold", type=float | None, default=None, help="Act on scores at or above this, in [0, 1]; without it on what is flagged."
    ),
    Argument(
        name="review",
        type=str | None,
        default=None,
        help="CSV or Parquet with a person's decisions, which come before all else: review.csv of the audit's folder, filled in.",
        path=True,
    ),
    Argument(
        name="issue",
        type=Literal["label_error", "judge_disagreement"],
        default="label_error",
        help="Whose findings to follow: label_error, or judge_disagreement for those of the judges of a whole audit.",
    ),
    Argument(name="held_out", type=bool, default=False, help="Change rows of validation and test splits (column split) too."),
    *TABLE,
    SEED,
)
TOOL_ARGUMENTS: dict[str, tuple[Argument, ...]] = {
    "demo": (SEED, DEVICE),
    "run": (
        Argument(name="recipe", type=str, default=None, help="TOML file of steps.", path=True, positional=True, required=True),
        Argument(name="seed", type=int, default=0, help="Seed of steps that state none."),
    ),
}
"""Commands that are no verb and yet write an output folder."""
HIDDEN_FIT = frozenset({"checkpoint", "device"})
"""Fields of the training recipe that have an argument of their own or belong to the output folder."""
PATH_FIELDS = frozenset({"against", "definitions", "gold", "judges", "models", "side", "votes"})
"""Fields of methods that are places on disk, one or several."""
WHOLE_AUDIT = "data-audit"
"""What ``audit`` runs without a METHOD."""
