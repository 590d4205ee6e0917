"""Writing records: a teacher labels every augmented batch of every epoch, once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from labelwright import check
from labelwright.data.augment import Draws
from labelwright.data.batch import Batch, TensorData, batches, steps_in
from labelwright.data.record import PLAIN, Augmentation, narrow, pack
from labelwright.data.tensors import file_bytes, write_tensors
from labelwright.errors import InputError, OutputError
from labelwright.files import require_room, write_json
from labelwright.progress import track
from labelwright.training.providers.base import HEAD
from labelwright.training.providers.losses import distances
from labelwright.training.providers.packed import Packed
from labelwright.training.providers.records import RecordedLogits, Replay, Setting, TwoDistance, epoch_file

__all__ = ["record", "record_bytes"]

UNFINISHED = "unfinished.json"
Keep = Literal["logits", "distances"]


def _label_shapes(classes: int, keep: Keep, packed: Packed, rows: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    return {"distances": (packed.dtype, (rows, 2))} if keep == "distances" else packed.shapes(rows)


def record_bytes(
    n: int,
    classes: int,
    shape: tuple[int, ...],
    *,
    epochs: int,
    batch_size: int,
    augmentation: Augmentation = PLAIN,
    keep: Keep = "logits",
    dtype: torch.dtype = torch.float16,
    top: int | None = None,
    replay: Replay = "draws",
) -> int:
    """Most bytes that :func:`record` can write for `n` examples; what integers save by their small values is not counted."""
    packed = Packed(classes, dtype, top)
    shapes = {f"label.{k}": v for k, v in _label_shapes(classes, keep, packed, n).items()}
    size = file_bytes(shapes)
    if replay == "draws":
        layout = augmentation.layout(shape)
        size += layout.nbytes(n, steps_in(n, batch_size)) + 4 * n + 160 * (len(layout.dtypes) + 1)  # positions; lines of the header
    return epochs * size


def record(
    folder: str | Path,
    inputs: Tensor,
    labels: Tensor,
    *,
    teacher: Callable[[Tensor], Tensor],
    names: tuple[str, ...],
    augmentation: Augmentation,
    epochs: int,
    batch_size: int,
    seed: int,
    keep: Keep = "logits",
    dtype: torch.dtype = torch.float16,
    top: int | None = None,
    replay: Replay = "draws",
    key: str = "",
) -> RecordedLogits | TwoDistance:
    """Let `teacher` label every augmented batch of `epochs` epochs and write it down in `folder`.

    Order and draws are those of the training loop with the same `seed`. Epochs already there from a run with the same
    arguments that was stopped are kept.

    Parameters
    ----------
    inputs, labels
        The expanded examples float32 (n, …) and their classes int64 (n,).
    teacher
        Mixed inputs (B, …) to logits (B, C): ``OnlineTeacher.predict``, say.
    augmentation
        View and mixture.
    keep
        ``logits``, or ``distances``: two numbers an image.
    dtype, top
        float16 or float32; of logits the `top` largest and one value for the others, or all.
    replay
        Store the draws, or only the seed they come from.
    key
        What else the labels depend on (a digest of the teacher's weights); a folder begun with another key is refused.

    Raises
    ------
    OutputError
        If the disk has not enough room (before anything is written) or does not take the files.
    InputError
        If the teacher gives another number of classes or values that are not finite, or the folder belongs to another record.
    """
    folder, n = Path(folder), check.same_length(inputs=inputs, labels=labels)
    check.one_of("keep", keep, ("logits", "distances"))
    if keep == "distances" and top is not None:
        raise InputError("top has no effect on distances.", hint="Leave it out.")
    packed = Packed(len(names), dtype, top)
    setting = Setting(
        n=n, shape=tuple(inputs.shape[1:]), epochs=epochs, batch_size=batch_size, seed=seed, augmentation=augmentation.spec(),
        packed=packed.spec(), replay=replay, key=_key(inputs, labels, key),
    )  # fmt: skip
    cls = TwoDistance if keep == "distances" else RecordedLogits
    made = cls(names=tuple(names), folder=folder, setting=setting)
    wanted = json.loads(json.dumps(made._head()))
    _same_record(folder, wanted)
    left = [epoch for epoch in range(epochs) if not (folder / epoch_file(epoch)).exists()]
    size = record_bytes(
        n, len(names), setting.shape, epochs=len(left), batch_size=batch_size, augmentation=augmentation, keep=keep, dtype=dtype, top=top,
        replay=replay,
    )  # fmt: skip
    require_room(folder, size, what=f"A record of {len(left):,} epochs", hint="Store two distances, fewer logits (top), or label online.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"The folder {folder} cannot be made: {err.strerror}.", hint="Name another place.") from err
    if left:
        write_json(folder / UNFINISHED, wanted)
    data = TensorData.of(inputs, labels)
    for epoch in track(left, "labels"):
        tensors = _epoch(data, epoch, setting, teacher, augmentation, packed, keep, len(names))
        write_tensors(folder / epoch_file(epoch), tensors)
    write_json(folder / HEAD, made._head())
    (folder / UNFINISHED).unlink(missing_ok=True)
    return made


def _key(inputs: Tensor, labels: Tensor, key: str) -> str:
    hasher = hashlib.blake2b(key.encode(), digest_size=16)
    for value in (inputs, labels):
        array = np.ascontiguousarray(value.detach().cpu().numpy())
        hasher.update(f"{array.dtype}{array.shape}".encode())
        hasher.update(array.view(np.uint8).reshape(-1).data)
    return hasher.hexdigest()


def _same_record(folder: Path, wanted: Any) -> None:
    """Refuse a folder that holds something else than the beginning, or the whole, of the record `wanted`."""
    for name in (HEAD, UNFINISHED):
        if (folder / name).exists():
            if json.loads((folder / name).read_text(encoding="utf-8")) != wanted:
                raise InputError(f"{folder} holds labels of other images, settings or teachers.", hint="Name another folder, or remove it.")
            return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not empty.", hint="Name another folder or remove it first.")


def _labelled(
    data: TensorData, epoch: int, setting: Setting, teacher: Callable[[Tensor], Tensor], augmentation: Augmentation, classes: int
) -> Iterator[tuple[Batch, Draws, Tensor, Tensor]]:
    """Each batch of an epoch with its draws, the positions of its mates and the teacher's logits."""
    for batch, _ in batches(data, batch_size=setting.batch_size, seed=setting.seed, epoch=epoch):
        draws = augmentation.draw(batch.clean.shape, batch.generator)
        with torch.no_grad():
            logits = teacher(augmentation.apply(batch.clean, draws))
        if tuple(logits.shape) != (len(batch), classes):
            raise InputError(
                f"The teacher gives outputs of shape {tuple(logits.shape)} for {len(batch)} images; there are {classes} classes."
            )
        yield batch, draws, augmentation.pairs(draws, len(batch))[1], logits


def _epoch(
    data: TensorData, epoch: int, setting: Setting, teacher: Callable[[Tensor], Tensor], augmentation: Augmentation, packed: Packed,
    keep: Keep, classes: int,
) -> dict[str, Tensor]:  # fmt: skip
    """The tensors of one epoch's file."""
    index, draws, labels = [], [], []
    for batch, drawn, mate, logits in _labelled(data, epoch, setting, teacher, augmentation, classes):
        index.append(batch.index)
        draws.append(drawn)
        if keep == "logits":
            labels.append(packed.pack(logits))
        else:
            check.finite("the teacher's logits", logits)
            found = distances(logits, batch.labels, batch.labels[mate.to(batch.labels.device)])
            labels.append({"distances": found.to(packed.dtype).cpu()})
    tensors = {f"label.{name}": torch.cat([part[name] for part in labels]) for name in labels[0]}
    if setting.replay == "seed":
        return tensors
    stored = pack(draws, augmentation.layout(setting.shape))
    return tensors | {"index": narrow(torch.cat(index).cpu())} | {f"draw.{name}": value for name, value in stored.items()}
