"""Labels made while the student trains, by one network or a weighted committee."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.data.batch import Batch
from labelwright.errors import InputError
from labelwright.nn.factories import NetFactory, factory_from, spec_of
from labelwright.nn.modes import batch_statistics, evaluation
from labelwright.training.providers.base import LabelProvider, load_tensors

__all__ = ["OnlineTeacher"]


@dataclass(frozen=True, kw_only=True, eq=False)
class OnlineTeacher(LabelProvider, kind="teacher"):
    """Networks that label each mixed batch at the time; their weights are what is stored.

    Attributes
    ----------
    nets
        J trained networks: standardised inputs (B, …) to logits (B, C). They are never changed, nor their modes.
    weights
        (J,) non-negative, scaled to sum to 1; equal without.
    mode
        ``eval``: running statistics. ``batch``: BatchNorm layers normalise by the batch at hand, everything else (dropout) as in
        evaluation; then labels depend on the company a batch keeps.
    parts
        The batch passes in so many equal parts, as a student that accumulates gradients sees it. Matters in mode ``batch``.
    average
        What is averaged: ``logits``, or ``probabilities`` where networks differ in the scale of their logits.
    specs, input_shape
        Descriptions of the networks (``spec_of(factory)``) and the shape of their inputs, so that they can be built again; None for
        the caller's own, which must be given to ``load_provider(folder, nets=…)``.
    """

    part: ClassVar[Literal["labels", "generators"]] = "generators"
    takes: ClassVar[tuple[str, ...]] = ("nets",)
    nets: Sequence[nn.Module]
    input_shape: tuple[int, ...]
    weights: Sequence[float] | None = None
    mode: Literal["eval", "batch"] = "eval"
    parts: int = 1
    average: Literal["logits", "probabilities"] = "logits"
    specs: Sequence[Mapping[str, Any] | None] | None = None
    shares: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "nets", tuple(self.nets))
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        object.__setattr__(self, "specs", tuple(self.specs) if self.specs is not None else (None,) * len(self.nets))
        if not self.nets:
            raise InputError("A teacher needs at least one network.")
        check.one_of("mode", self.mode, ("eval", "batch"))
        check.one_of("average", self.average, ("logits", "probabilities"))
        check.integer("parts", self.parts, low=1)
        weights = np.ones(len(self.nets)) if self.weights is None else np.asarray(self.weights, dtype=np.float64)
        check.same_length(nets=self.nets, weights=weights, specs=self.specs)
        check.finite("weights", weights)
        if (weights < 0).any() or weights.sum() <= 0:
            raise InputError(f"weights must be non-negative and not all 0; got {weights.tolist()}.")
        object.__setattr__(self, "shares", tuple((weights / weights.sum()).tolist()))

    @classmethod
    def of(cls, nets: Sequence[nn.Module], factories: Sequence[NetFactory] | NetFactory, **rest: Any) -> OnlineTeacher:
        """From networks and the factories that built them (one for all, or one each)."""
        many = list(factories) if isinstance(factories, Sequence) else [factories] * len(nets)
        return cls(nets=nets, specs=[spec_of(f) for f in many], **rest)

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """Averaged logits float32 (B, C) of a batch (log-probabilities where probabilities are averaged).

        Raises
        ------
        InputError
            If a network gives another number of classes, or a part of a batch in mode ``batch`` has a single image.
        """
        pieces = inputs.chunk(self.parts)
        if self.mode == "batch" and min(len(piece) for piece in pieces) < 2:
            raise InputError(
                f"A batch of {len(inputs)} in {self.parts} parts leaves a single image, which has no batch statistics.",
                hint="Choose a batch size that leaves none over, or mode 'eval'.",
            )
        total = None
        for net, share in zip(self.nets, self.shares, strict=True):
            if not share:
                continue
            net = net.to(inputs.device)
            logits = torch.cat([self._ask(net, piece) for piece in pieces]).float()
            if logits.ndim != 2 or logits.shape[1] != self.num_classes:
                raise InputError(f"The teacher gives outputs of shape {tuple(logits.shape)}; there are {self.num_classes} classes.")
            part = share * (logits.softmax(1) if self.average == "probabilities" else logits)
            total = part if total is None else total + part
        if total is None:  # unreachable: shares sum to 1
            raise InputError("A teacher needs a positive weight.")
        return total.clamp_min(torch.finfo(total.dtype).tiny).log() if self.average == "probabilities" else total

    def _ask(self, net: nn.Module, inputs: Tensor) -> Tensor:
        with batch_statistics(net) if self.mode == "batch" else evaluation(net):
            out: Tensor = net(inputs)
        return out

    def _labels(self, batch: Batch, inputs: Tensor, lam: Tensor, mate: Tensor) -> dict[str, Tensor]:
        return {"logits": self.predict(inputs.detach())}

    @property
    def digest(self) -> str:
        """32 hex digits of all weights and settings: the `key` of a record made by this teacher."""
        hasher = hashlib.blake2b(repr((self.shares, self.mode, self.parts, self.average)).encode(), digest_size=16)
        for net in self.nets:
            for name, value in net.state_dict().items():
                hasher.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
                hasher.update(np.ascontiguousarray(value.detach().cpu().reshape(-1).view(torch.uint8).numpy()).data)
        return hasher.hexdigest()

    def _facts(self) -> dict[str, Any]:
        return {
            "specs": self.specs, "input_shape": self.input_shape, "weights": self.shares, "mode": self.mode, "parts": self.parts,
            "average": self.average,
        }  # fmt: skip

    def _files(self) -> Mapping[str, Mapping[str, Tensor]]:
        # clones: tied weights share memory, which the format refuses
        return {
            f"teacher-{j}.safetensors": {k: v.detach().cpu().clone() for k, v in net.state_dict().items()}
            for j, net in enumerate(self.nets)
        }

    @classmethod
    def _restore(cls, folder: Path, names: tuple[str, ...], facts: dict[str, Any], given: Mapping[str, Any]) -> Self:
        nets = given.get("nets")
        specs, shape = facts["specs"], tuple(facts["input_shape"])
        if nets is None and any(spec is None for spec in specs):
            raise InputError(
                f"{folder} was made with networks of the caller's own.", hint="Pass networks built alike: load_provider(folder, nets=[…])."
            )
        built = list(nets) if nets is not None else [factory_from(spec)(len(names), shape) for spec in specs]
        check.same_length(nets=built, specs=specs)
        for j, net in enumerate(built):
            net.load_state_dict(load_tensors(folder / f"teacher-{j}.safetensors"))
            net.eval()
        return cls(names=names, nets=built, **facts)
