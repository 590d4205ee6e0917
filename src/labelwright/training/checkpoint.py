"""Checkpoints after every epoch: everything a run needs to go on exactly as if it had not stopped."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labelwright.data.batch import TensorData
from labelwright.errors import OutputError, TrainingError
from labelwright.training.fit import Fit

__all__ = ["Checkpoint"]

FREE = ("device", "devices", "checkpoint")
"""Fields of the recipe that may differ between the run that wrote a checkpoint and the one that resumes it."""


@dataclass(frozen=True)
class Checkpoint:
    """One file that is replaced after each epoch; `key` says which run it belongs to."""

    path: Path
    key: str

    @classmethod
    def open(cls, fit: Fit, *, seed: int, data: TensorData, key: str) -> Checkpoint | None:
        """The checkpoint a recipe asks for, or None."""
        if fit.checkpoint is None:
            return None
        hasher = hashlib.blake2b(digest_size=16)
        hasher.update(repr(({k: v for k, v in asdict(fit).items() if k not in FREE}, seed, key, data.size)).encode())
        for part in (data.inputs, data.labels, data.index, data.weights):
            hasher.update(part.detach().cpu().contiguous().numpy().tobytes())
        folder = Path(fit.checkpoint)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / "checkpoint.pt", hasher.hexdigest())

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """The saved state, or None where there is none yet.

        Raises
        ------
        TrainingError
            If the file belongs to another run or is damaged.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        except (RuntimeError, OSError, EOFError, ValueError, KeyError) as err:
            raise TrainingError(f"{self.path} cannot be read: {err}.", hint="Remove it to start anew.") from err
        if state.get("key") != self.key:
            raise TrainingError(
                f"{self.path} belongs to a run with other data, settings or seed.", hint="Name another folder, or remove it to start anew."
            )
        return state

    def write(self, *, net: nn.Module, optimizer: torch.optim.Optimizer, memory: nn.Module | None, **rest: Any) -> None:
        """Replace the file by the present state, atomically."""
        state = {
            "key": self.key,
            "net": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "memory": {} if memory is None else memory.state_dict(),
            **rest,
        }
        partial = self.path.with_suffix(".new")
        try:
            torch.save(state, partial)
            os.replace(partial, self.path)
        except (OSError, RuntimeError) as err:
            partial.unlink(missing_ok=True)
            raise OutputError(
                f"The checkpoint {self.path} cannot be written: {err}.", hint="Free some space; the last one is kept."
            ) from err
