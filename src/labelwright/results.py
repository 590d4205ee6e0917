"""What the verbs return: frozen dataclasses that know where they come from and how to leave.

Each holds `status` and `provenance`, gives a Polars frame (``to_frame()``; ``.to_pandas()`` from
there) and saves to a folder: ``run.json`` with the provenance and plain facts, Parquet for tables,
safetensors for arrays, never a pickle. ``load`` inverts ``save`` exactly. A folder appears only
complete: it is written beside its place and renamed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from labelwright import check, labels as label_kinds
from labelwright.errors import InputError
from labelwright.files import plain, whole_folder, write_json
from labelwright.labels import ClassLabels, Labels

if TYPE_CHECKING:
    import polars as pl
    import torch

    from labelwright.data import Dataset
    from labelwright.data.featurise import Featuriser
    from labelwright.nn import NetFactory
    from labelwright.registry import Learner, Method
    from labelwright.training import Fit, Prepared, Run

__all__ = [
    "Annotation",
    "Audit",
    "Certificate",
    "Condensed",
    "Forgotten",
    "Learned",
    "Provenance",
    "Result",
    "Selection",
    "Status",
    "load",
    "plain",
    "whole_folder",
]

FINDING_COLUMNS = ("id", "index", "issue", "score", "flagged", "given", "suggested", "reason")


class Status(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    STOPPED_EARLY = "stopped-early"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"


@cache
def versions() -> dict[str, str]:
    """Versions of Python and the packages results depend on."""
    import platform
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        **{p: version(p) for p in ("labelwright", "numpy", "scipy", "scikit-learn", "torch", "polars")},
    }


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Enough to repeat a run: method and its fields, seed, versions, fingerprint of the data."""

    verb: str
    method: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""

    @classmethod
    def of(cls, method: Method, data: Dataset | None, *, seed: int) -> Provenance:
        """Provenance of ``method`` applied to ``data``."""
        name = method.entry.name if hasattr(type(method), "entry") else type(method).__name__
        fingerprint = "" if data is None else data.fingerprint
        return cls(verb=method.verb, method=name, fields=plain(method.fields()), seed=seed, versions=versions(), fingerprint=fingerprint)


RESULTS: dict[str, type[Result]] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Base of the results. `facts` are plain values that hold for the whole run."""

    kind: ClassVar[str]
    provenance: Provenance
    status: Status = Status.COMPLETE
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __init_subclass__(cls, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = kind
        RESULTS[kind] = cls

    def to_frame(self) -> pl.DataFrame:
        """The result as a Polars frame, one row an example or fact."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def save(self, folder: str | Path) -> None:
        """Write a folder that ``load`` reads back. The folder must be absent or empty.

        Raises
        ------
        OutputError
            If it is taken or cannot be written; nothing is left behind then.
        """
        with whole_folder(folder) as partial:
            self.write(partial)

    def write(self, folder: Path) -> None:
        """Write the files into an existing folder (used by the command line, which owns the folder)."""
        head = {
            "result": self.kind,
            "status": self.status,
            "provenance": self.provenance,
            "facts": self.facts,
            "parts": self._write_parts(folder),
        }
        write_json(folder / f"{self.kind}.json", head)

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        raise TypeError(f"{type(self).__name__} is abstract")

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        raise TypeError(f"{cls.__name__} is abstract")

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> Self:
        """Read a folder written by ``save``.

        Raises
        ------
        InputError
            If the folder is absent, holds another result, or its files are damaged.
        """
        folder = check.path_exists("result folder", folder)
        path = folder / f"{cls.kind}.json"
        if not path.exists():
            kinds = [k for k in RESULTS if k and (folder / f"{k}.json").exists()]
            held = f"holds a result of kind {kinds[0]!r}" if kinds else "is not a result folder"
            raise InputError(f"{folder} {held}; expected {cls.kind!r} (file {path.name}).")
        try:
            head = json.loads(path.read_text(encoding="utf-8"))
            provenance, status = Provenance(**head["provenance"]), Status(head["status"])
            parts = cls._read_parts(folder, head["parts"] | options)
        except (KeyError, ValueError, TypeError, OSError) as err:
            if isinstance(err, InputError):
                raise
            raise InputError(
                f"{folder} cannot be read as {cls.kind}: {err}.", hint="Its files may be damaged; run the step again."
            ) from err
        return cls(provenance=provenance, status=status, facts=head["facts"], **parts)


def load(folder: str | Path) -> Result:
    """Read a result folder of whatever kind."""
    folder = check.path_exists("result folder", folder)
    for kind, cls in RESULTS.items():
        if kind and (folder / f"{kind}.json").exists():
            return cls.load(folder)
    raise InputError(f"{folder} is not a result folder.", hint=f"It should hold one of {', '.join(f'{k}.json' for k in RESULTS if k)}.")


def _id_array(values: pl.Series) -> np.ndarray:
    array = values.to_numpy()
    return array.astype(str) if array.dtype == object else array


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit(Result, kind="audit"):
    """What is wrong with the data.

    `findings` has the columns id, index (0-based input row), issue, score (float64 in [0, 1], higher = more
    likely an issue), flagged, given, suggested (class names or null) and reason. `facts` hold what
    concerns the dataset as a whole.
    """

    findings: pl.DataFrame

    def __post_init__(self) -> None:
        missing = [c for c in FINDING_COLUMNS if c not in self.findings.columns]
        if missing:
            raise InputError(f"findings lack the columns {missing}.")
        scores = self.findings.get_column("score").to_numpy()
        if len(scores) and not ((scores >= 0) & (scores <= 1)).all():
            raise InputError("findings must have scores in [0, 1].")

    @staticmethod
    def findings_frame(
        data: Dataset, issue: str, *, index: Any, score: Any, flagged: Any, given: Any = None, suggested: Any = None, reason: Any = None
    ) -> pl.DataFrame:
        """Rows of `findings` for one issue; `index` are row positions in `data`, scalars are repeated."""
        import polars as pl

        index = np.asarray(index, dtype=np.int64)
        n = len(index)

        def words(values: Any) -> list[str | None]:
            return [values] * n if values is None or isinstance(values, str) else [None if v is None else str(v) for v in values]

        return pl.DataFrame(
            {
                "id": data.ids[index],
                "index": index,
                "issue": [issue] * n,
                "score": np.broadcast_to(np.clip(np.asarray(score, dtype=np.float64), 0, 1), n),
                "flagged": np.broadcast_to(np.asarray(flagged, dtype=bool), n),
                "given": words(given),
                "suggested": words(suggested),
                "reason": words(reason),
            },
            schema_overrides={"issue": pl.String, "given": pl.String, "suggested": pl.String, "reason": pl.String},
        )

    def to_frame(self) -> pl.DataFrame:
        return self.findings

    def flagged(self, issue: str) -> np.ndarray:
        """Ids flagged for `issue`, worst first."""
        import polars as pl

        rows = self.findings.filter((pl.col("issue") == issue) & pl.col("flagged")).sort("score", descending=True)
        return _id_array(rows.get_column("id"))

    def counts(self) -> dict[str, int]:
        """Flagged examples by issue, zeros included."""
        import polars as pl

        rows = self.findings.group_by("issue", maintain_order=True).agg(pl.col("flagged").sum()).sort("issue")
        return dict(zip(rows.get_column("issue").to_list(), rows.get_column("flagged").to_list(), strict=True))

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        self.findings.write_parquet(folder / "findings.parquet")
        return {}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        import polars as pl

        try:
            return {"findings": pl.read_parquet(folder / "findings.parquet")}
        except pl.exceptions.ComputeError as err:
            raise InputError(f"{folder / 'findings.parquet'} cannot be read: {err}.") from err


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotation(Result, kind="annotation"):
    """What the labels should be: `labels`, `confidence` float (N,) in [0, 1], `abstained` bool (N,), `reasons` (N,) strings; by `ids` (N,)."""

    ids: np.ndarray
    labels: Labels
    confidence: np.ndarray
    abstained: np.ndarray
    reasons: np.ndarray

    def __post_init__(self) -> None:
        check.same_length(ids=self.ids, labels=self.labels, confidence=self.confidence, abstained=self.abstained, reasons=self.reasons)

    def to_frame(self) -> pl.DataFrame:
        import polars as pl

        columns: dict[str, Any] = {"id": self.ids}
        if isinstance(self.labels, ClassLabels):
            columns["label"] = self.labels.words().tolist()
        columns |= {"confidence": self.confidence, "abstained": self.abstained, "reason": [str(r) for r in self.reasons]}
        return pl.DataFrame(columns)

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        self.to_frame().write_parquet(folder / "annotation.parquet")
        self.labels.save(folder / "labels.parquet")
        return {}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        import polars as pl

        frame = pl.read_parquet(folder / "annotation.parquet")
        return {
            "ids": _id_array(frame.get_column("id")),
            "labels": label_kinds.load(folder / "labels.parquet"),
            "confidence": frame.get_column("confidence").to_numpy(),
            "abstained": frame.get_column("abstained").to_numpy(),
            "reasons": frame.get_column("reason").to_numpy(),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection(Result, kind="selection"):
    """What to keep: `ids` (M,) in order of preference, `weights` (M,) summing to M, `scores` (N,) over all examples (higher kept first)
    with `all_ids` (N,) naming them, `reasons` (N,) strings."""

    ids: np.ndarray
    weights: np.ndarray
    all_ids: np.ndarray
    scores: np.ndarray
    reasons: np.ndarray

    def __post_init__(self) -> None:
        check.same_length(ids=self.ids, weights=self.weights)
        check.same_length(all_ids=self.all_ids, scores=self.scores, reasons=self.reasons)

    def to_frame(self) -> pl.DataFrame:
        import polars as pl

        every = pl.DataFrame({"id": self.all_ids, "score": self.scores, "reason": [str(r) for r in self.reasons]})
        kept = pl.DataFrame({"id": self.ids, "rank": np.arange(len(self.ids)), "weight": self.weights})
        return every.join(kept, on="id", how="left", maintain_order="left").with_columns(selected=pl.col("rank").is_not_null())

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        self.to_frame().write_parquet(folder / "selection.parquet")
        return {}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        import polars as pl

        frame = pl.read_parquet(folder / "selection.parquet")
        kept = frame.filter("selected").sort("rank")
        return {
            "ids": _id_array(kept.get_column("id")),
            "weights": kept.get_column("weight").to_numpy(),
            "all_ids": _id_array(frame.get_column("id")),
            "scores": frame.get_column("score").to_numpy(),
            "reasons": frame.get_column("reason").to_numpy(),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Condensed(Result, kind="condensed"):
    """A small set that stands in for a large one: `inputs` float32 (M, …), `labels` (hard or soft), `preprocessing` plain values
    that were applied to the originals, `nbytes` by part."""

    inputs: np.ndarray
    labels: Labels
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    nbytes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check.same_length(inputs=self.inputs, labels=self.labels)

    def as_dataset(self) -> Dataset:
        """The condensed examples as a dataset with ids 0..M-1."""
        from labelwright.data import Dataset

        return Dataset(inputs=self.inputs, labels=self.labels)

    def to_frame(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame({"part": list(self.nbytes), "bytes": list(self.nbytes.values())}, schema={"part": pl.String, "bytes": pl.Int64})

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        save_file({"inputs": np.ascontiguousarray(self.inputs)}, folder / "condensed.safetensors")
        self.labels.save(folder / "labels.parquet")
        return {"preprocessing": plain(self.preprocessing), "nbytes": plain(self.nbytes)}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        from safetensors.numpy import load_file

        arrays = load_file(folder / "condensed.safetensors")
        return {
            "inputs": arrays["inputs"],
            "labels": label_kinds.load(folder / "labels.parquet"),
            "preprocessing": parts["preprocessing"],
            "nbytes": parts["nbytes"],
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned(Result, kind="learned"):
    """A trained model and what it learned about its training labels.

    `net` maps standardised float32 tensors (B, *input_shape) to logits (B, C). `featuriser` turns any
    dataset like the training one into such tensors. `net_spec` says how to build the network again:
    the name and arguments of a registered factory, or None for a caller's own (pass it again to
    ``load(…, net=)``). `labels` are the corrected training labels and `label_scores` float (N,) in [0, 1]
    how likely each given label is wrong, both by `ids` (N,); None where the method gives none.
    `history` has one row an epoch.
    """

    net: torch.nn.Module
    featuriser: Featuriser
    names: tuple[str, ...]
    input_shape: tuple[int, ...]
    net_spec: Mapping[str, Any] | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    ids: np.ndarray | None = None
    labels: Labels | None = None
    label_scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        object.__setattr__(self, "history", tuple(self.history))
        if self.ids is not None:
            check.same_length(ids=self.ids, labels=self.labels, label_scores=self.label_scores)

    @classmethod
    def of(
        cls,
        method: Learner,
        data: Dataset,
        prepared: Prepared,
        *,
        factory: NetFactory,
        run: Run | Sequence[Run],
        seed: int,
        net: torch.nn.Module | None = None,
        fit: Fit | None = None,
        labels: np.ndarray | torch.Tensor | Labels | None = None,
        label_scores: np.ndarray | torch.Tensor | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Learned:
        """The result of a learner, assembled in one place.

        Parameters
        ----------
        method, data, prepared, seed
            What was asked, of which dataset, and its tensors.
        factory
            Builds a network with the parameters of `net` again; named in the saved model if it is registered.
        run
            The finished training, or one a stage: histories are joined, each row with its ``stage``.
        net
            The trained network; that of the last run by default.
        fit
            The recipe that was used, recorded among the facts.
        labels
            Corrected labels of all N rows of `data`: label kind, or class indices (N,) with -1 for unknown.
        label_scores
            How likely each given label is wrong, (N,) in [0, 1].
        facts
            Further plain values of the method.
        """
        from labelwright.nn import resolved, spec_of

        runs = list(run) if isinstance(run, Sequence) else [run]
        rows = [({"stage": float(k)} if len(runs) > 1 else {}) | r for k, one in enumerate(runs) for r in one.history]
        if labels is not None and not isinstance(labels, Labels):
            labels = ClassLabels(values=np.asarray(labels), names=prepared.names)
        scores = None if label_scores is None else np.clip(np.asarray(label_scores, dtype=np.float64), 0.0, 1.0)
        if scores is not None:
            check.finite("label_scores", scores)
        own = {
            "epochs": len(rows),
            "steps": sum(one.steps for one in runs),
            "kept_epoch": runs[-1].best_epoch,
            "n_train": len(prepared.train),
            "n_val": 0 if prepared.val is None else len(prepared.val),
        }
        return cls(
            provenance=Provenance.of(method, data, seed=seed),
            status=Status.STOPPED_EARLY if runs[-1].stopped else Status.COMPLETE,
            facts=plain(own | ({} if fit is None else {"fit": fit}) | dict(facts or {})),
            net=runs[-1].net if net is None else net,
            featuriser=prepared.featuriser,
            names=prepared.names,
            input_shape=prepared.input_shape,
            net_spec=spec_of(resolved(factory, prepared.input_shape)),
            history=tuple(rows),
            ids=None if labels is None and scores is None else data.ids,
            labels=labels,
            label_scores=scores,
        )

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def predict_proba(self, data: Dataset | np.ndarray | torch.Tensor, *, batch_size: int = 512, device: str | None = None) -> np.ndarray:
        """Class probabilities, float32 (N, C), rows sum to 1. `data`: a dataset, or an array of raw inputs like the training inputs."""
        from labelwright.data import Dataset
        from labelwright.training import predict_proba

        if not isinstance(data, Dataset):
            data = Dataset(inputs=data)
        return predict_proba(self.net, self.featuriser.transform(data), batch_size=batch_size, device=device)

    def predict(self, data: Dataset | np.ndarray | torch.Tensor) -> ClassLabels:
        """The most probable class of each example."""
        return ClassLabels(values=self.predict_proba(data).argmax(1), names=self.names)

    def to_frame(self) -> pl.DataFrame:
        """One row a training example (id, label, label_score) where the method judged labels, else the history."""
        import polars as pl

        if self.ids is None:
            return pl.DataFrame([dict(row) for row in self.history])
        columns: dict[str, Any] = {"id": self.ids}
        if isinstance(self.labels, ClassLabels):
            columns["label"] = self.labels.words().tolist()
        if self.label_scores is not None:
            columns["label_score"] = self.label_scores
        return pl.DataFrame(columns)

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        import polars as pl
        from safetensors.numpy import save_file
        from safetensors.torch import save_model

        save_model(self.net, str(folder / "model.safetensors"))
        arrays = {k: np.ascontiguousarray(v) for k, v in self.featuriser.arrays().items()}
        save_file(arrays, folder / "featuriser.safetensors")
        if self.ids is not None:
            columns = {"id": self.ids} | ({} if self.label_scores is None else {"label_score": self.label_scores})
            pl.DataFrame(columns).write_parquet(folder / "examples.parquet")
        if self.labels is not None:
            self.labels.save(folder / "labels.parquet")
        return {
            "net": self.net_spec,
            "featuriser": self.featuriser.spec(),
            "names": self.names,
            "input_shape": self.input_shape,
            "history": self.history,
        }

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        import polars as pl
        from safetensors.numpy import load_file
        from safetensors.torch import load_model

        from labelwright.data.featurise import Featuriser
        from labelwright.nn import factory_from

        names, shape = tuple(parts["names"]), tuple(parts["input_shape"])
        own: Callable[..., Any] | str | None = parts.get("own_net")
        if parts["net"] is None and own is None:
            raise InputError(
                f"{folder} was trained with a network of the caller's own.", hint="Pass the same factory to Learned.load(folder, net=…)."
            )
        net = (own or factory_from(parts["net"]))(len(names), shape)  # type: ignore[operator]
        load_model(net, str(folder / "model.safetensors"))
        net.eval()
        made: dict[str, Any] = {
            "net": net,
            "net_spec": parts["net"],
            "featuriser": Featuriser.restore(parts["featuriser"], load_file(folder / "featuriser.safetensors")),
            "names": names,
            "input_shape": shape,
            "history": parts["history"],
        }
        if (folder / "examples.parquet").exists():
            frame = pl.read_parquet(folder / "examples.parquet")
            made["ids"] = _id_array(frame.get_column("id"))
            made["label_scores"] = frame.get_column("label_score").to_numpy() if "label_score" in frame.columns else None
        if (folder / "labels.parquet").exists():
            made["labels"] = label_kinds.load(folder / "labels.parquet")
        return made

    @classmethod
    def load(cls, folder: str | Path, *, net: Callable[..., Any] | None = None) -> Learned:  # type: ignore[override]
        """Read a folder written by ``save``; `net` is the caller's own factory, needed only if one was used."""
        return super().load(folder, **({} if net is None else {"own_net": net}))


@dataclass(frozen=True, kw_only=True, eq=False)
class Forgotten(Result, kind="forgotten"):
    """A model with data taken out of it, and how far that can be seen.

    `gap`: mean absolute difference of accuracies (retain, forget, test) from the retrained model, in [0, 1];
    `attack_auroc`: membership-inference AUROC on the forgotten examples (0.5 = not told apart). NaN where not measured.
    """

    learned: Learned
    gap: float = float("nan")
    attack_auroc: float = float("nan")

    def to_frame(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame({"gap_to_retraining": [self.gap], "attack_auroc": [self.attack_auroc]})

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        (folder / "model").mkdir()
        self.learned.write(folder / "model")
        return {"gap": plain(self.gap), "attack_auroc": plain(self.attack_auroc)}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        def number(x: float | None) -> float:
            return float("nan") if x is None else x

        return {"learned": Learned.load(folder / "model"), "gap": number(parts["gap"]), "attack_auroc": number(parts["attack_auroc"])}


@dataclass(frozen=True, kw_only=True, eq=False)
class Certificate(Result, kind="certificate"):
    """What can be proved: a `statement` in words, its `statistic`, the `p_value` or the `level` it holds at, and under which `assumptions`."""

    statement: str
    statistic: float
    p_value: float | None = None
    level: float | None = None
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "assumptions", tuple(self.assumptions))

    def to_frame(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame(
            {"statement": [self.statement], "statistic": [self.statistic], "p_value": [self.p_value], "level": [self.level]}
        )

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        own = {f.name for f in fields(Certificate)} - {f.name for f in fields(Result)}
        return {name: plain(getattr(self, name)) for name in own}

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        return dict(parts)


def with_facts(result: Any, **facts: Any) -> Any:
    """The same result with further facts."""
    return replace(result, facts={**result.facts, **facts})
