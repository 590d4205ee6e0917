"""Results that are models: learned ones, and those with data taken out again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check, labels as label_kinds
from labelwright.errors import InputError
from labelwright.files import plain, write_parquet, writing
from labelwright.labels import ClassLabels, Labels, MultiLabels
from labelwright.results.base import Provenance, Result, Status, id_array

if TYPE_CHECKING:
    import polars as pl
    import torch

    from labelwright.data import Dataset
    from labelwright.data.featurise import Featuriser
    from labelwright.nn import NetFactory
    from labelwright.registry import Learner
    from labelwright.training import Fit, Prepared, Run

__all__ = ["Forgotten", "Learned"]

RESERVED = frozenset({"id", "label", "label_score"})
"""Columns of ``examples.parquet`` that every method may write."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned(Result, kind="learned"):
    """A trained model and what it learned about its training labels.

    `net` maps standardised float32 tensors (B, *input_shape) to logits (B, C). `featuriser` turns any
    dataset like the training one into such tensors. `net_spec` says how to build the network again:
    the name and arguments of a registered factory, or None for a caller's own (pass it again to
    ``load(…, net=)``). `labels` are the corrected training labels and `label_scores` float (N,) in [0, 1]
    how likely each given label is wrong, both by `ids` (N,); None where the method gives none.
    `outputs` says what logits mean: ``softmax``, one class an example, or ``sigmoid``, any number of them. `columns` are further
    facts of each training row, name → (N,) array (what was kept, corrected, removed, …), written beside the scores into
    ``examples.parquet``. `history` has one row an epoch.
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
    outputs: Literal["softmax", "sigmoid"] = "softmax"
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check.one_of("outputs", self.outputs, ("softmax", "sigmoid"))
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        object.__setattr__(self, "history", tuple(self.history))
        if self.ids is not None:
            check.same_length(ids=self.ids, labels=self.labels, label_scores=self.label_scores, **self.columns)
        elif self.columns:
            raise InputError("columns describe training rows and need their ids.")
        if taken := RESERVED & set(self.columns):
            raise InputError(f"columns must not be called {sorted(taken)}: these are written already.")

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
        outputs: Literal["softmax", "sigmoid"] = "softmax",
        columns: Mapping[str, Any] | None = None,
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
        outputs, columns
            As the attributes.
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
            ids=None if labels is None and scores is None and not columns else data.ids,
            labels=labels,
            label_scores=scores,
            outputs=outputs,
            columns={k: np.asarray(v) for k, v in (columns or {}).items()},
        )

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def predict_proba(self, data: Dataset | np.ndarray | torch.Tensor, *, batch_size: int = 512, device: str | None = None) -> np.ndarray:
        """Class probabilities, float32 (N, C); rows sum to 1, unless an example may have several classes (``outputs`` sigmoid).

        `data`: a dataset, or an array of raw inputs like the training inputs.
        """
        from labelwright.data import Dataset
        from labelwright.training import predict_logits, predict_proba

        if not isinstance(data, Dataset):
            data = Dataset(inputs=data)
        inputs = self.featuriser.transform(data)
        if self.outputs == "sigmoid":
            return predict_logits(self.net, inputs, batch_size=batch_size, device=device).sigmoid().numpy()  # type: ignore[no-any-return]
        return predict_proba(self.net, inputs, batch_size=batch_size, device=device)

    def predict(self, data: Dataset | np.ndarray | torch.Tensor) -> ClassLabels | MultiLabels:
        """The most probable class of each example; with ``outputs`` sigmoid, every class of probability 1/2 or more."""
        probs = self.predict_proba(data)
        if self.outputs == "sigmoid":
            return MultiLabels(values=(probs >= 0.5).astype(np.int8), names=self.names)
        return ClassLabels(values=probs.argmax(1), names=self.names)

    def to_frame(self) -> pl.DataFrame:
        """One row a training example (id, label, label_score, further columns) where the method judged labels, else the history."""
        import polars as pl

        if self.ids is None:
            return pl.DataFrame([dict(row) for row in self.history])
        columns: dict[str, Any] = {"id": self.ids}
        if isinstance(self.labels, ClassLabels):
            columns["label"] = self.labels.words().tolist()
        elif isinstance(self.labels, MultiLabels) and self.columns:
            columns["label"] = [[self.names[j] for j in np.flatnonzero(row == 1)] for row in self.labels.values]
        if self.label_scores is not None:
            columns["label_score"] = self.label_scores
        columns |= {k: v.tolist() if v.dtype == object else v for k, v in self.columns.items()}
        return pl.DataFrame(columns)

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        import polars as pl
        from safetensors.numpy import save_file
        from safetensors.torch import save_model

        with writing(folder / "model.safetensors"):
            save_model(self.net, str(folder / "model.safetensors"))
        arrays = {k: np.ascontiguousarray(v) for k, v in self.featuriser.arrays().items()}
        with writing(folder / "featuriser.safetensors"):
            save_file(arrays, folder / "featuriser.safetensors")
        if self.ids is not None:
            columns = {"id": self.ids} | ({} if self.label_scores is None else {"label_score": self.label_scores})
            write_parquet(self.to_frame() if self.columns else pl.DataFrame(columns), folder / "examples.parquet")
        if self.labels is not None:
            self.labels.save(folder / "labels.parquet")
        return {
            "net": self.net_spec,
            "featuriser": self.featuriser.spec(),
            "names": self.names,
            "input_shape": self.input_shape,
            "history": self.history,
            "outputs": self.outputs,
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
            "outputs": parts.get("outputs", "softmax"),
        }
        if (folder / "examples.parquet").exists():
            frame = pl.read_parquet(folder / "examples.parquet")
            made["ids"] = id_array(frame.get_column("id"))
            made["label_scores"] = frame.get_column("label_score").to_numpy() if "label_score" in frame.columns else None
            made["columns"] = {name: frame.get_column(name).to_numpy() for name in frame.columns if name not in RESERVED}
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
