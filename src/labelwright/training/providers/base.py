"""The interface of label providers."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from torch import Tensor

from labelwright import check
from labelwright.data.augment import Draws
from labelwright.data.batch import Batch, Order, shuffled
from labelwright.data.record import PLAIN, Augmentation
from labelwright.data.tensors import file_bytes, read_tensors, shapes_of, write_tensors
from labelwright.errors import InputError
from labelwright.files import json_bytes, whole_folder, write_json
from labelwright.training.fit import Fit

__all__ = ["HEAD", "PROVIDERS", "LabelProvider", "Served", "load_provider"]

HEAD = "provider.json"
PROVIDERS: dict[str, type[LabelProvider]] = {}


@dataclass(frozen=True, kw_only=True)
class Served:
    """A batch as the student sees it.

    Attributes
    ----------
    inputs
        float32 (B, …), viewed and mixed.
    first, second
        int64 (B,): the class of each example and of the one mixed into it (the same where nothing is mixed).
    lam
        The share () of the first.
    logits
        float32 (B, C): what the teacher says, without gradient; None where there are only hard labels.
    distances
        float32 (B, 2): the teacher's losses at `first` and `second`; None for other providers.
    """

    inputs: Tensor
    first: Tensor
    second: Tensor
    lam: Tensor
    logits: Tensor | None = None
    distances: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelProvider(ABC):
    """Where labels come from. `names` are the C classes.

    ``part`` says where its bytes count: ``labels`` for numbers, ``generators`` for networks that make them.
    """

    kind: ClassVar[str]
    part: ClassVar[Literal["labels", "generators"]] = "labels"
    takes: ClassVar[tuple[str, ...]] = ()
    """What :func:`load_provider` may be given for it."""
    names: tuple[str, ...]

    def __init_subclass__(cls, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if kind:
            cls.kind = kind
            PROVIDERS[kind] = cls

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if len(self.names) < 2:
            raise InputError(f"A label provider needs at least two classes; got {list(self.names)}.")

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def serve(self, batch: Batch, augmentation: Augmentation = PLAIN) -> Served:
        """Views, mixtures and labels of `batch`, whose clean inputs are rows of the condensed set and whose labels are their classes.

        Draws come from the batch's own generator, so a resumed run draws what an unbroken one does.
        """
        augmentation, draws = self._draws(batch, augmentation)
        inputs = augmentation.apply(batch.clean, draws)
        lam, mate = augmentation.pairs(draws, len(batch))
        lam, mate = lam.to(inputs), mate.to(inputs.device)
        second = batch.labels[mate]
        return Served(inputs=inputs, first=batch.labels, second=second, lam=lam, **self._labels(batch, inputs, lam, mate))

    def _draws(self, batch: Batch, augmentation: Augmentation) -> tuple[Augmentation, Draws]:
        """The augmentation of a batch and its draws: those asked for, unless a record says otherwise."""
        return augmentation, augmentation.draw(batch.clean.shape, batch.generator)

    @abstractmethod
    def _labels(self, batch: Batch, inputs: Tensor, lam: Tensor, mate: Tensor) -> dict[str, Tensor]:
        """``logits`` or ``distances`` of a batch whose mixed inputs are `inputs`; nothing where there are only hard labels."""

    @property
    def order(self) -> Order:
        """The visiting order that ``train(order=…)`` must follow; any order will do for most providers."""
        return shuffled

    def checked(self, fit: Fit) -> Fit:
        """`fit`, if a student can be trained with it on these labels.

        Raises
        ------
        InputError
            If labels are recorded for other batches or fewer epochs, or the recipe augments a second time.
        """
        if fit.augment is not None:
            raise InputError(f"augment={fit.augment!r} has no effect here: the label provider makes the views.", hint="Use augment=None.")
        return fit

    # what is stored

    def _facts(self) -> dict[str, Any]:
        """Plain values for ``provider.json``."""
        return {}

    def _files(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Tensors of each further file."""
        return {}

    @classmethod
    @abstractmethod
    def _restore(cls, folder: Path, names: tuple[str, ...], facts: dict[str, Any], given: Mapping[str, Any]) -> Self: ...

    def _head(self) -> dict[str, Any]:
        return {"kind": self.kind, "names": list(self.names), **self._facts()}

    @property
    def nbytes(self) -> int:
        """Bytes that :meth:`save` writes, exactly."""
        return json_bytes(self._head()) + sum(file_bytes(shapes_of(tensors)) for tensors in self._files().values())

    def save(self, folder: str | Path) -> None:
        """Write a folder that :func:`load_provider` reads back; it must be absent or empty.

        Raises
        ------
        OutputError
            If it cannot be written; nothing is left behind then.
        """
        with whole_folder(folder) as partial:
            self.write(partial)

    def write(self, folder: Path) -> None:
        """Write the files into an existing folder."""
        for name, tensors in self._files().items():
            write_tensors(folder / name, tensors)
        write_json(folder / HEAD, self._head())


def load_provider(folder: str | Path, **given: Any) -> LabelProvider:
    """The provider saved in a folder.

    Parameters
    ----------
    given
        What was not saved and only the caller has: ``nets=`` of an :class:`OnlineTeacher` of the caller's own networks,
        ``encoder=`` of a :class:`Projector`.

    Raises
    ------
    InputError
        If the folder holds none, its files are damaged, or something is missing.
    """
    folder = check.path_exists("label provider", folder)
    try:
        head = json.loads((folder / HEAD).read_text(encoding="utf-8"))
        kind, names = head.pop("kind"), tuple(head.pop("names"))
        if kind not in PROVIDERS:
            raise InputError(f"There is no label provider {kind!r}.", hint="The folder may come from a newer version.")
        for word in given:
            if word not in PROVIDERS[kind].takes:
                raise InputError(f"{word}= has no effect on labels of kind {kind!r}.", hint="Leave it out.")
        return PROVIDERS[kind]._restore(folder, names, head, given)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as err:
        raise InputError(f"{folder} cannot be read as a label provider: {err}.", hint="Its files may be damaged.") from err


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of one of a provider's files."""
    return read_tensors(path, what="labels")[0]
