"""Labels recorded batch by batch, with the draws of their augmentation, and replayed: one memory-mapped file an epoch.

Reference: Shen, Xing. A Fast Knowledge Distillation Framework for Visual Recognition (FKD). ECCV 2022. arXiv:2112.01528.

A record of a batch is the positions of its examples, the draws of its view and mixture, and a label for each mixed image:
logits (all, or the largest), or two distances. Positions are stored, not implied, so nothing depends on how a loader
counts. With ``replay="seed"`` positions and draws are computed again from the seed: fewer bytes, the same numbers as long as
torch's generator stays what it is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from labelwright import check
from labelwright.data.augment import Draws
from labelwright.data.batch import Batch, Order, TensorData, epoch_order, step_generator, steps_in
from labelwright.data.record import PLAIN, Augmentation, unpack
from labelwright.data.tensors import open_tensors
from labelwright.errors import InputError
from labelwright.files import json_bytes, write_json
from labelwright.training.fit import Fit
from labelwright.training.providers.base import HEAD, LabelProvider
from labelwright.training.providers.packed import Packed

__all__ = ["RecordedLogits", "Replay", "Setting", "TwoDistance", "epoch_file"]

Replay = Literal["draws", "seed"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a record is of: `n` examples of `shape`, `epochs` in batches of `batch_size`, augmented, and how labels are stored."""

    n: int
    shape: tuple[int, ...]
    epochs: int
    batch_size: int
    seed: int
    augmentation: Mapping[str, Any]
    packed: Mapping[str, Any]
    replay: Replay
    key: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        check.one_of("replay", self.replay, ("draws", "seed"))
        for name in ("n", "epochs", "batch_size"):
            check.integer(name, getattr(self, name), low=1)

    @property
    def per_epoch(self) -> int:
        """Batches an epoch."""
        return steps_in(self.n, self.batch_size)


def epoch_file(epoch: int) -> str:
    """Name of the file of an epoch."""
    return f"epoch-{epoch:05d}.safetensors"


class _Reader:
    """Reads batches; the file of the present epoch stays open."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self.folder, self.setting = folder, setting
        self.augmentation = Augmentation.restore(setting.augmentation)
        self.layout = self.augmentation.layout(setting.shape)
        self.open: tuple[int, Any, dict[str, Any]] | None = None

    def slices(self, epoch: int) -> dict[str, Any]:
        """The tensors of an epoch by name, unread."""
        if not 0 <= epoch < self.setting.epochs:
            raise InputError(f"The labels are recorded for {self.setting.epochs:,} epochs; there is no epoch {epoch}.")
        if self.open is None or self.open[0] != epoch:
            context = open_tensors(self.folder / epoch_file(epoch), what="recorded labels")
            file = context.__enter__()  # stays open until the next epoch: a file is read batch by batch
            self.open = (epoch, context, {name: file.get_slice(name) for name in file.keys()})  # noqa: SIM118
        return self.open[2]

    def index(self, epoch: int) -> Tensor:
        """Positions of all examples of an epoch in order, int64 (n,)."""
        if self.setting.replay == "seed":
            return epoch_order(self.setting.n, seed=self.setting.seed, epoch=epoch)
        return self.slices(epoch)["index"][:].long()

    def batch(self, epoch: int, number: int) -> tuple[Tensor, Draws, dict[str, Tensor]]:
        """Positions, draws and stored labels of batch `number`."""
        s = self.setting
        start, stop = number * s.batch_size, min((number + 1) * s.batch_size, s.n)
        slices = self.slices(epoch)
        labels = {k.removeprefix("label."): v[start:stop] for k, v in slices.items() if k.startswith("label.")}
        if s.replay == "seed":
            index = self.index(epoch)[start:stop]
            generator = step_generator(seed=s.seed, epoch=epoch, stream=0, step=number)
            return index, self.augmentation.draw((stop - start, *s.shape), generator), labels
        stored = {k.removeprefix("draw."): v for k, v in slices.items() if k.startswith("draw.")}
        draws = unpack(stored, self.layout, batch=number, start=start, stop=stop)
        return slices["index"][start:stop].long(), draws, labels


@dataclass(frozen=True, kw_only=True, eq=False)
class _Recorded(LabelProvider):
    """What both kinds of records share: files in `folder`, described by `setting`."""

    folder: Path
    setting: Setting
    reader: _Reader = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "reader", _Reader(self.folder, self.setting))

    def _draws(self, batch: Batch, augmentation: Augmentation) -> tuple[Augmentation, Draws]:
        if augmentation not in (PLAIN, self.reader.augmentation):
            raise InputError("The augmentation is recorded with the labels; another one has no effect.", hint="Leave it out.")
        number = batch.step - batch.epoch * self.setting.per_epoch
        if not 0 <= number < self.setting.per_epoch:
            raise InputError(
                f"The labels are recorded for {self.setting.per_epoch:,} batches an epoch of {self.setting.batch_size}.",
                hint="Train with the same batch size: checked(fit) tells.",
            )
        index, draws, _ = self.reader.batch(batch.epoch, number)
        if not torch.equal(index, batch.index.cpu()):
            raise InputError(
                f"Batch {number} of epoch {batch.epoch} is not the recorded one.",
                hint="Hand the record's order to the loop: train(order=provider.order).",
            )
        return self.reader.augmentation, draws

    def _stored(self, batch: Batch) -> dict[str, Tensor]:
        return self.reader.batch(batch.epoch, batch.step - batch.epoch * self.setting.per_epoch)[2]

    @property
    def order(self) -> Order:
        """The recorded visiting order."""

        def recorded(data: TensorData, *, seed: int, epoch: int, stream: int) -> Tensor:
            if len(data) != self.setting.n:
                raise InputError(f"The labels are recorded for {self.setting.n:,} examples; the training set has {len(data):,}.")
            return data.index.cpu().argsort()[self.reader.index(epoch)]

        return recorded

    def checked(self, fit: Fit) -> Fit:
        fit = super().checked(fit)
        if fit.batch_size != self.setting.batch_size:
            raise InputError(
                f"The labels are recorded for batches of {self.setting.batch_size}; batch_size is {fit.batch_size}.",
                hint=f"Use batch_size={self.setting.batch_size}, or record again.",
            )
        if fit.epochs > self.setting.epochs:
            raise InputError(
                f"The labels are recorded for {self.setting.epochs:,} epochs; epochs is {fit.epochs:,}.",
                hint="Train for fewer, or record more.",
            )
        if fit.drop_last:
            raise InputError("drop_last would leave recorded batches out.", hint="Use drop_last=False.")
        return fit

    def _facts(self) -> dict[str, Any]:
        return asdict(self.setting)

    @property
    def paths(self) -> list[Path]:
        """The files of the epochs."""
        return [self.folder / epoch_file(epoch) for epoch in range(self.setting.epochs)]

    @property
    def nbytes(self) -> int:
        return json_bytes(self._head()) + sum(path.stat().st_size for path in self.paths)

    def write(self, folder: Path) -> None:
        """Write the files into an existing folder: as further names of the same files where the disk allows it, else as copies."""
        for path in self.paths:
            try:
                os.link(path, folder / path.name)  # files of a record are never written to again
            except OSError:
                shutil.copyfile(path, folder / path.name)
        write_json(folder / HEAD, self._head())

    @classmethod
    def _restore(cls, folder: Path, names: tuple[str, ...], facts: dict[str, Any], given: Mapping[str, Any]) -> Self:
        made = cls(names=names, folder=folder, setting=Setting(**facts))
        missing = [path for path in made.paths if not path.exists()]
        if missing:
            raise InputError(f"{missing[0]} is missing; {len(missing):,} of {len(made.paths):,} epochs are.", hint="Record again.")
        return made


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedLogits(_Recorded, kind="recorded"):
    """Logits of every augmented batch, replayed with its draws. Make it with :func:`~labelwright.training.providers.record`."""

    def _labels(self, batch: Batch, inputs: Tensor, lam: Tensor, mate: Tensor) -> dict[str, Tensor]:
        packed = Packed.restore(self.num_classes, self.setting.packed)
        return {"logits": packed.unpack(self._stored(batch)).to(inputs.device)}


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoDistance(_Recorded, kind="two-distance"):
    """Two losses of the teacher on every augmented batch, at the classes of both images that were mixed. Make it with :func:`~labelwright.training.providers.record`."""

    def _labels(self, batch: Batch, inputs: Tensor, lam: Tensor, mate: Tensor) -> dict[str, Tensor]:
        return {"distances": self._stored(batch)["distances"].float().to(inputs.device)}
