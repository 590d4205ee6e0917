"""Results that are datasets: condensed ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.files import plain, whole_folder
from labelwright.labels import ClassLabels, SoftLabels
from labelwright.results.base import Provenance, Result, Status

if TYPE_CHECKING:
    import polars as pl
    import torch

    from labelwright.data import Dataset
    from labelwright.data.batch import TensorData
    from labelwright.data.condensed import CondensedInputs
    from labelwright.data.expansion import Expansion
    from labelwright.data.featurise import Featuriser
    from labelwright.registry import Condenser
    from labelwright.training.providers import LabelProvider

__all__ = ["Condensed"]

PROVIDER = "labels"  # the folder of a label provider inside that of the result


@dataclass(frozen=True, kw_only=True, eq=False)
class Condensed(Result, kind="condensed"):
    """A small set that stands in for a large one.

    Attributes
    ----------
    examples
        What is stored, and how it expands to the M examples one trains on: :mod:`labelwright.data.expansion`.
    labels
        The class of each *stored* image; what it expands to has the same.
    preprocessing
        The fitted featuriser that the originals went through. It is saved with the images, and learners take it up, so that
        test data are treated with the same statistics.
    provider
        Where a student's labels come from (:mod:`labelwright.training.providers`); None: the hard labels alone.

    Raises
    ------
    InputError
        If the images come without their preprocessing, or shapes, lengths or class names disagree.
    """

    examples: Expansion
    labels: ClassLabels
    preprocessing: Featuriser
    provider: LabelProvider | None = None

    def __post_init__(self) -> None:
        check.same_length(images=self.examples.images, labels=self.labels)
        if not self.labels.known.all():
            raise InputError(f"Condensed examples need a class each; {int((~self.labels.known).sum()):,} have none.")
        if self.provider is not None and self.provider.names != tuple(self.labels.names):
            raise InputError(f"The label provider speaks of {list(self.provider.names)[:5]}, the labels of {list(self.labels.names)[:5]}.")
        self.inputs  # noqa: B018  says what is wrong with the preprocessing now, not when it is needed

    @classmethod
    def of(
        cls,
        method: Condenser,
        data: Dataset,
        *,
        examples: Expansion,
        labels: ClassLabels,
        preprocessing: Featuriser,
        seed: int,
        provider: LabelProvider | None = None,
        status: Status = Status.COMPLETE,
        facts: Mapping[str, Any] | None = None,
    ) -> Condensed:
        """The result of a condenser applied to `data`, with its provenance."""
        return cls(
            provenance=Provenance.of(method, data, seed=seed), status=status, facts=plain(dict(facts or {})),
            examples=examples, labels=labels, preprocessing=preprocessing, provider=provider,
        )  # fmt: skip

    @cached_property
    def inputs(self) -> CondensedInputs:
        """The expanded examples: ``inputs.values()`` float32 (M, …) preprocessed, ``inputs.raw()`` in original units, ``inputs[i]``."""
        from labelwright.data.condensed import CondensedInputs

        return CondensedInputs(self.examples, self.preprocessing)

    def __len__(self) -> int:
        """M, the number of expanded examples."""
        return len(self.examples)

    @property
    def names(self) -> tuple[str, ...]:
        """The C classes."""
        return tuple(self.labels.names)

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes on disk, exactly: ``images`` (stored pixels with their preprocessing), ``labels``, ``generators`` (what expands
        images, networks that label). The description of the run, ``condensed.json``, is not counted."""
        from labelwright.data.condensed import example_bytes

        sizes = example_bytes(self.examples, self.preprocessing, self.labels)
        if self.provider is not None:
            sizes[self.provider.part] += self.provider.nbytes
        return sizes

    def supervision(self) -> LabelProvider:
        """The label provider; one of the expanded examples' hard labels where there is no other."""
        if self.provider is not None:
            return self.provider
        from labelwright.training.providers import HardLabels

        return HardLabels(names=self.names, values=self.tensors().labels)

    def tensors(self) -> TensorData:
        """Everything as tensors to train on: preprocessed inputs float32 (M, …), classes int64 (M,), positions 0..M-1."""
        import torch

        from labelwright.data.batch import TensorData

        return TensorData.of(self.inputs.values(), torch.from_numpy(np.array(self.expanded_labels().values)))

    def expanded_labels(self) -> ClassLabels:
        """The class of each expanded example."""
        import torch

        return self.labels.take(self.examples.source(torch.arange(len(self))).numpy())

    def as_dataset(self, *, soft: bool = False, temperature: float = 1.0) -> Dataset:
        """The expanded examples as a dataset with ids 0..M-1 and class labels, for any learner; they carry their preprocessing.

        With `soft`, labels are the softmax of the provider's static logits at `temperature`.

        Raises
        ------
        InputError
            If soft labels are asked for that are not stored a row an example.
        """
        from labelwright.data.condensed import dataset_of
        from labelwright.training.providers import StaticLogits

        data = dataset_of(self.inputs, self.labels, name=self.provenance.method)
        if not soft:
            return data
        if not isinstance(self.provider, StaticLogits):
            held = "hard labels" if self.provider is None else f"labels of kind {self.provider.kind!r}"
            raise InputError(f"Soft labels need one row of logits an example; there are {held}.", hint="Use soft=False.")
        check.in_range("temperature", temperature, low=0, closed="neither")
        probs = (self.provider.logits().double() / temperature).softmax(1).numpy()
        return data.with_labels(SoftLabels(values=probs, names=self.names))

    def export(self, folder: str | Path, *, expanded: bool = False) -> None:
        """Write the images as PNG files in original units, a folder a class: those stored, or all they expand to.

        Standardisation and whitening are undone; values outside the range of pixels are cut.

        Raises
        ------
        InputError
            If these are no images of one or three channels.
        OutputError
            If the folder is taken or cannot be written; nothing is left behind then.
        """
        from labelwright.data.condensed import CondensedInputs
        from labelwright.data.expansion import Stored

        shape = self.inputs.featuriser.input_shape
        if self.inputs.kind != "images" or shape[0] not in (1, 3):
            raise InputError(f"Only images of 1 or 3 channels can be written as PNG; these are {self.inputs.kind} of shape {tuple(shape)}.")
        inputs = self.inputs if expanded else CondensedInputs(Stored(images=self.examples.images), self.preprocessing)
        labels = self.expanded_labels() if expanded else self.labels
        words, digits = _folder_names(self.names), len(str(max(1, len(inputs) - 1)))
        with whole_folder(folder) as partial:
            for i, c in enumerate(labels.values.tolist()):
                place = partial / words[c]
                place.mkdir(exist_ok=True)
                _write_png(place / f"{i:0{digits}d}.png", inputs[i])

    def to_frame(self) -> pl.DataFrame:
        import polars as pl

        sizes = self.nbytes
        return pl.DataFrame({"part": list(sizes), "bytes": list(sizes.values())}, schema={"part": pl.String, "bytes": pl.Int64})

    def _write_parts(self, folder: Path) -> dict[str, Any]:
        from labelwright.data.condensed import write_examples

        write_examples(folder, self.examples, self.preprocessing, self.labels)
        if self.provider is not None:
            (folder / PROVIDER).mkdir()
            self.provider.write(folder / PROVIDER)
        return {
            "stored": len(self.labels),
            "examples": len(self),
            "provider": None if self.provider is None else self.provider.kind,
            "nbytes": self.nbytes,
        }

    @classmethod
    def _read_parts(cls, folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
        from labelwright.data.condensed import read_examples
        from labelwright.training.providers import load_provider

        inputs, labels = read_examples(folder)
        given = parts.get("given", {})
        if parts["provider"] is None and given:
            raise InputError(f"{next(iter(given))}= has no effect: {folder} holds hard labels.", hint="Leave it out.")
        return {
            "examples": inputs.expansion,
            "labels": labels,
            "preprocessing": inputs.featuriser,
            "provider": None if parts["provider"] is None else load_provider(folder / PROVIDER, **given),
        }

    @classmethod
    def load(  # type: ignore[override]
        cls,
        folder: str | Path,
        *,
        nets: list[torch.nn.Module] | None = None,
        encoder: torch.nn.Module | None = None,
        prototypes: torch.Tensor | None = None,
    ) -> Condensed:
        """Read a folder written by ``save``. `nets` (an online teacher's), `encoder` and `prototypes` (a projector's) are what only
        the caller has and the folder does not hold."""
        given = {k: v for k, v in {"nets": nets, "encoder": encoder, "prototypes": prototypes}.items() if v is not None}
        return super().load(folder, **({"given": given} if given else {}))


def _folder_names(names: tuple[str, ...]) -> list[str]:
    """A safe and unique folder name for each class."""
    found: list[str] = []
    for j, name in enumerate(names):
        word = re.sub(r"[^\w .+-]+", "_", name).strip(" .") or f"class {j}"
        found.append(word if word.lower() not in {f.lower() for f in found} else f"{word} {j}")
    return found


def _write_png(path: Path, image: np.ndarray) -> None:
    """A uint8 image (C, H, W)."""
    from PIL import Image

    array = image[0] if image.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    Image.fromarray(array).save(path)
