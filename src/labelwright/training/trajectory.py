"""Trajectories of weights: snapshots of several trainings as flat vectors, on disk, memory-mapped, of known data and network.

A buffer is a folder: ``buffer.json`` says of which data, network and recipe it is; ``expert-000.safetensors``, … hold a matrix
(E + 1, P) each, a row a snapshot, the first before training. Only as many epochs are kept as somebody will ask for. An expert is
written when it is finished, so a run that is killed goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.data.batch import TensorData
from labelwright.data.tensors import file_bytes, open_tensors, write_tensors
from labelwright.errors import InputError, OutputError
from labelwright.files import plain, require_room, write_json
from labelwright.nn.flat import FlatNet, refuse_buffers
from labelwright.training.fit import Fit
from labelwright.training.loop import EpochEnd

__all__ = ["Trajectories", "Writer", "data_digest"]

HEAD = "buffer.json"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FREE = ("device", "devices", "checkpoint")  # fields of a recipe that change no weight


def data_digest(data: TensorData) -> str:
    """32 hex digits of inputs, labels and weights as they are trained on."""
    hasher = hashlib.blake2b(digest_size=16)
    for value in (data.inputs, data.labels, data.weights):
        array = value.detach().cpu().contiguous()
        hasher.update(f"{array.dtype}{tuple(array.shape)}".encode())
        hasher.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What a buffer is of."""

    data: str
    net: Mapping[str, Any]
    recipe: Mapping[str, Any]
    epochs: int
    experts: int
    size: int
    dtype: str


class Trajectories:
    """Snapshots ``buffer.snapshot(expert, epoch)`` of K trainings, epochs 0..E, float32 (P,).

    Make or reopen one with :meth:`create`: with the same arguments it goes on where it stopped, with others it is an error.

    Attributes
    ----------
    folder, epochs, experts, size, dtype
        Its place, E, K, P and the type on disk.
    """

    def __init__(self, folder: Path, head: _Head, flat: FlatNet) -> None:
        self.folder, self.head, self.flat = folder, head, flat
        self.epochs, self.experts, self.size, self.dtype = head.epochs, head.experts, head.size, DTYPES[head.dtype]
        self._open: tuple[int, Any, Any] | None = None

    @classmethod
    def create(
        cls,
        folder: str | Path,
        net: nn.Module,
        data: TensorData,
        *,
        epochs: int,
        experts: int,
        recipe: Fit | Mapping[str, Any],
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    ) -> Trajectories:
        """A new buffer in `folder`, or the one that is there if it is of the same things.

        Parameters
        ----------
        net
            A network built like all experts (its weights do not matter); no BatchNorm, no dropout.
        data
            What the experts are trained on.
        epochs
            E: the last epoch that will be asked for (the last start plus the length that is imitated).
        experts
            K.
        recipe
            How they are trained, as plain values: another recipe is another buffer.
        dtype
            Type on disk; half the bytes in float16 or bfloat16, at a relative error of 1 / 2048 or 1 / 256.

        Raises
        ------
        InputError
            If the network has BatchNorm or dropout, or the buffer there is of other data, another network, recipe or length.
        OutputError
            If the experts will not fit the disk; nothing has been written then.
        """
        folder = Path(folder)
        refuse_buffers(net, what="A buffer of trajectories")
        check.one_of("dtype", dtype, tuple(DTYPES))
        flat = FlatNet(net)
        values = {k: v for k, v in asdict(recipe).items() if k not in FREE} if isinstance(recipe, Fit) else dict(recipe)
        head = _Head(
            data=data_digest(data), net={n: list(s) for n, s in flat.shapes.items()}, recipe=json.loads(json.dumps(plain(values))),
            epochs=check.integer("epochs", epochs, low=1), experts=check.integer("experts", experts, low=1), size=flat.size, dtype=dtype,
        )  # fmt: skip
        if (folder / HEAD).exists():
            _same(folder, head)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} exists and is not empty.", hint="Name another folder or remove it first.")
        made = cls(folder, head, flat)
        need = len(made.missing) * made.expert_bytes
        require_room(
            folder, need, what=f"{len(made.missing):,} experts of {epochs + 1:,} snapshots",
            hint="Use fewer experts, fewer epochs, or float16; or name a place on another disk.",
        )  # fmt: skip
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise OutputError(f"The folder {folder} cannot be made: {err.strerror}.", hint="Name another place.") from err
        write_json(folder / HEAD, asdict(head))
        return made

    @classmethod
    def open(cls, folder: str | Path, net: nn.Module, data: TensorData) -> Trajectories:
        """A finished buffer, if it is of `data` and of networks like `net`.

        Raises
        ------
        InputError
            If there is none, it is unfinished, or of other data or another network.
        """
        folder = check.path_exists("buffer of trajectories", folder)
        head = _read(folder)
        flat = FlatNet(net)
        wanted = _Head(**(asdict(head) | {"data": data_digest(data), "net": {n: list(s) for n, s in flat.shapes.items()}}))
        _same(folder, wanted)
        made = cls(folder, head, flat)
        if made.missing:
            raise InputError(f"{folder} lacks {len(made.missing):,} of {made.experts:,} experts.", hint="Finish the run that writes it.")
        return made

    def path(self, expert: int) -> Path:
        """The file of an expert."""
        return self.folder / f"expert-{expert:03d}.safetensors"

    @property
    def missing(self) -> list[int]:
        """Experts that are not written yet."""
        return [k for k in range(self.experts) if not self.path(k).exists()]

    @property
    def expert_bytes(self) -> int:
        """Bytes of one expert's file, exactly."""
        return file_bytes({"snapshots": (self.dtype, (self.epochs + 1, self.size))})

    def writer(self, expert: int) -> Writer:
        """Collects the snapshots of one expert; see :class:`Writer`."""
        check.integer("expert", expert, low=0, high=self.experts - 1)
        return Writer(self, expert)

    def snapshot(self, expert: int, epoch: int, *, device: torch.device | str = "cpu") -> Tensor:
        """The parameters of `expert` after `epoch` epochs, float32 (P,): a copy, read from the mapped file alone.

        Raises
        ------
        InputError
            If there is no such expert or epoch, or its file is damaged.
        """
        check.integer("expert", expert, low=0, high=self.experts - 1)
        check.integer("epoch", epoch, low=0, high=self.epochs)
        if self._open is None or self._open[0] != expert:
            context = open_tensors(self.path(expert), what="an expert")
            file = context.__enter__()  # stays open: neighbouring snapshots are asked for next
            self._open = (expert, context, file.get_slice("snapshots"))
        return self._open[2][epoch : epoch + 1][0].float().to(device)


class Writer:
    """The snapshots of one expert, in memory until it is finished, then one file.

    ::

        writer = buffer.writer(k)
        writer.add(net)                                     # before training
        train(net, step, data, fit=fit, seed=k, on_epoch=[writer.after])
        writer.close()

    Training may go on beyond the last epoch that is kept.
    """

    def __init__(self, buffer: Trajectories, expert: int) -> None:
        self.buffer, self.expert = buffer, expert
        self.rows: list[Tensor] = []

    def add(self, net: nn.Module) -> None:
        """The next snapshot; those beyond the last epoch asked for are left out.

        Raises
        ------
        InputError
            If the network is built otherwise, or its weights are not finite (in the type on disk).
        """
        if len(self.rows) > self.buffer.epochs:
            return
        row = self.buffer.flat.vector(net).cpu().to(self.buffer.dtype)
        if not bool(row.isfinite().all()):
            raise InputError(
                f"The weights of expert {self.expert} are not finite in {self.buffer.head.dtype} after epoch {len(self.rows)}.",
                hint="Use a smaller learning rate, or dtype float32.",
            )
        self.rows.append(row)

    @property
    def after(self) -> Callable[[EpochEnd], None]:
        """A callback for ``train(on_epoch=[…])``."""
        return lambda end: self.add(end.net)

    def close(self) -> None:
        """Write the file.

        Raises
        ------
        InputError
            If snapshots are missing.
        OutputError
            If the disk does not take it.
        """
        wanted = self.buffer.epochs + 1
        if len(self.rows) != wanted:
            raise InputError(
                f"Expert {self.expert} has {len(self.rows):,} snapshots; the buffer holds {wanted:,}.", hint="Train for more epochs."
            )
        write_tensors(self.buffer.path(self.expert), {"snapshots": torch.stack(self.rows)})


WORDS = {"data": "data", "net": "a network", "recipe": "a recipe", "epochs": "a number of epochs", "experts": "a number of experts"}


def _read(folder: Path) -> _Head:
    try:
        return _Head(**json.loads((folder / HEAD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as err:
        raise InputError(f"{folder} cannot be read as a buffer of trajectories: {err}.", hint="Its files may be damaged.") from err


def _same(folder: Path, wanted: _Head) -> None:
    """Refuse the buffer in `folder` if it is of something else."""
    found = asdict(_read(folder))
    for name, value in asdict(wanted).items():
        if found[name] != value and name != "size":
            what = WORDS.get(name, f"a {name}")
            said = "" if isinstance(value, dict) or name == "data" else f" ({found[name]}, not {value})"
            raise InputError(
                f"The experts in {folder} were trained with other {what.removeprefix('a ')}{said}: their trajectories would lead astray.",
                hint="Name another folder, or remove this one to train them anew.",
            )
