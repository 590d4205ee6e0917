"""Checkpoints after every epoch: everything a run needs to go on exactly as if it had not stopped.

One safetensors file holds the tensors (network, kept weights, optimiser, memory); its header holds
the rest as JSON. Nothing is pickled. Orders and draws are functions of (seed, epoch, step), so no
generator state has to be stored.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwright.data.batch import TensorData
from labelwright.data.node_batches import NodeTensor
from labelwright.errors import OutputError, TrainingError
from labelwright.files import cannot_write
from labelwright.training.engine import Engine
from labelwright.training.fit import Fit

__all__ = ["Checkpoint", "Progress"]

FREE = ("device", "devices", "checkpoint")
"""Fields of the recipe that may differ between the run that wrote a checkpoint and the one that resumes it."""


@dataclass
class Progress:
    """How far a run is: a row of figures an epoch, the best epoch so far and its weights, whether it has stopped."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -float("inf")
    best_epoch: int = -1
    best_state: dict[str, Tensor] | None = None
    patient_since: int = 0
    stopped: bool = False

    def improved(self, score: float) -> bool:
        """Whether `score` beats the best one; the first score always does, even if it is not a number."""
        return self.best_epoch < 0 or score > self.best_score or self.best_score != self.best_score


@dataclass(frozen=True)
class Checkpoint:
    """One file that is replaced after each epoch; `key` says which run it belongs to."""

    path: Path
    key: str

    @classmethod
    def open(cls, fit: Fit, *, seed: int, net: nn.Module, parts: Iterable[TensorData | None], key: str) -> Checkpoint | None:
        """The checkpoint a recipe asks for, or None. Its key covers recipe, seed, `key`, shapes of the weights and all data."""
        if fit.checkpoint is None:
            return None
        shapes = [(name, tuple(value.shape)) for name, value in net.state_dict().items()]
        settings = {k: v for k, v in asdict(fit).items() if k not in FREE}
        hasher = hashlib.blake2b(repr((settings, seed, key, shapes)).encode(), digest_size=16)
        for part in parts:
            for value in () if part is None else (*_inputs(part.inputs), part.labels, part.index, part.weights):
                array = value.detach().cpu().contiguous().view(torch.uint8).numpy() if value.dim() else np.zeros(0, np.uint8)
                hasher.update(f"{value.dtype}{tuple(value.shape)}".encode())
                hasher.update(array.reshape(-1).data)
        folder = Path(fit.checkpoint)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise OutputError(f"The checkpoint folder {folder} cannot be made: {err.strerror}.", hint="Name another folder.") from err
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", key).strip("-")
        return cls(folder / f"checkpoint{'-' if slug else ''}{slug}.safetensors", hasher.hexdigest())

    def restore(
        self, progress: Progress, *, net: nn.Module, optimizer: torch.optim.Optimizer, memory: nn.Module | None, engine: Engine
    ) -> bool:
        """Fill everything in from the file; False where there is none yet.

        Raises
        ------
        TrainingError
            If the file belongs to another run or is damaged.
        """
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            return False
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})["labelwright"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, ValueError) as err:
            raise TrainingError(f"The checkpoint {self.path} cannot be read: {err}.", hint="Remove it to start anew.") from err
        if facts["key"] != self.key:
            raise TrainingError(
                f"The checkpoint {self.path} belongs to a run with other data, settings or seed.",
                hint="Name another folder, or remove it to start anew.",
            )
        net.load_state_dict(_under("net", tensors))
        if memory is not None:
            memory.load_state_dict(_under("memory", tensors))
        optimizer.load_state_dict(_unflatten(facts["optimizer"], _under("optimizer", tensors)))
        engine.restore(facts["engine"])
        progress.best_state = _under("best", tensors) or None
        for name in ("history", "best_score", "best_epoch", "patient_since", "stopped"):
            setattr(progress, name, facts[name])
        return True

    def write(
        self, progress: Progress, *, net: nn.Module, optimizer: torch.optim.Optimizer, memory: nn.Module | None, engine: Engine
    ) -> None:
        """Replace the file by the present state, atomically.

        Raises
        ------
        OutputError
            If it cannot be written; the previous file, if there is one, stays.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        state = optimizer.state_dict()
        tensors = dict(_over("net", net.state_dict()))
        tensors |= _over("best", progress.best_state or {})
        tensors |= _over("memory", {} if memory is None else memory.state_dict())
        tensors |= _over("optimizer", {f"{i}.{k}": v for i, s in state["state"].items() for k, v in s.items() if isinstance(v, Tensor)})
        plain = {str(i): {k: v for k, v in s.items() if not isinstance(v, Tensor)} for i, s in state["state"].items()}
        facts = {k: v for k, v in vars(progress).items() if k != "best_state"}
        facts |= {"key": self.key, "optimizer": {"groups": state["param_groups"], "plain": plain}, "engine": engine.state()}
        partial = self.path.with_suffix(".new")
        try:
            save_file(tensors, partial, metadata={"labelwright": json.dumps(facts)})
            os.replace(partial, self.path)
        except (OSError, SafetensorError) as err:
            instead = cannot_write(self.path, err, more="The last one is kept." if self.path.exists() else "")
            partial.unlink(missing_ok=True)
            raise instead or OutputError(f"The checkpoint {self.path} cannot be written: {err}.") from err


def _over(name: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    # clones: tied weights share memory, which the format refuses
    return ((f"{name}/{key}", value.detach().cpu().contiguous().clone()) for key, value in tensors.items())


def _inputs(inputs: Tensor | NodeTensor) -> tuple[Tensor, ...]:
    return inputs.parts() if isinstance(inputs, NodeTensor) else (inputs,)


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


def _unflatten(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """An optimiser's state from its JSON part and its tensors, named ``parameter.slot``."""
    state: dict[int, dict[str, Any]] = {int(i): dict(plain) for i, plain in facts["plain"].items()}
    for name, value in tensors.items():
        parameter, _, slot = name.partition(".")
        state[int(parameter)][slot] = value
    return {"state": state, "param_groups": facts["groups"]}
