"""Labels from a public encoder and a small low-rank adapter: networks the user has already, turned into a labeller by a few numbers.

Reference: Yu et al. Heavy Labels Out! Dataset Distillation with Label Space Lightening (HeLlO). ICCV 2025. arXiv:2408.08201.

    f(x) = s (E(x) / |E(x)|) (W0 + A B) + b        W0: class prototypes (d, C); A (d, r) zero at first, B (r, C); s, b learned

E may hold low-rank additions of its own (:mod:`labelwright.nn.lowrank`). Stored are the low-rank numbers, s, b and, unless they
can be computed again, the prototypes; the encoder itself only on request. Both figures are to be reported: what is stored,
and what the user must have beside it (:attr:`Projector.encoder_bytes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelwright import check
from labelwright.data.batch import Batch
from labelwright.errors import InputError
from labelwright.nn.lowrank import LowRank, adapter_state, load_adapter
from labelwright.nn.modes import evaluation
from labelwright.training.providers.base import LabelProvider, load_tensors

__all__ = ["Projector", "ProjectorNet"]

FILE, ENCODER = "projector.safetensors", "encoder.safetensors"
UNIT_FLOOR = 1e-12  # features of zero keep a finite direction


class ProjectorNet(nn.Module):
    """f above, to be trained: parameters with a gradient are `up` (A), `down` (B), `log_scale`, `bias` and the encoder's own additions.

    Parameters
    ----------
    encoder
        Student inputs (B, …) to features (B, d). Freeze it, or adapt it (``labelwright.nn.lowrank.adapt``), before.
    prototypes
        (d, C): one column a class, text embeddings or mean features.
    rank
        r, at least 1.
    scale
        s at the start.
    """

    prototypes: Tensor

    def __init__(self, encoder: nn.Module, prototypes: Tensor, *, rank: int, scale: float = 10.0) -> None:
        super().__init__()
        if prototypes.ndim != 2:
            raise InputError(f"prototypes must have shape (d, C); got {tuple(prototypes.shape)}.")
        d, classes = prototypes.shape
        check.integer("rank", rank, low=1)
        check.in_range("scale", scale, low=0, closed="neither")
        self.encoder = encoder
        self.register_buffer("prototypes", prototypes.detach().clone())
        self.up = nn.Parameter(torch.zeros(d, rank, dtype=prototypes.dtype))
        self.down = nn.Parameter(torch.empty(rank, classes, dtype=prototypes.dtype))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)
        self.log_scale = nn.Parameter(torch.tensor(scale, dtype=prototypes.dtype).log())
        self.bias = nn.Parameter(torch.zeros(classes, dtype=prototypes.dtype))

    def forward(self, x: Tensor) -> Tensor:
        features = F.normalize(self.encoder(x), dim=1, eps=UNIT_FLOOR)
        cosines = features @ self.prototypes + (features @ self.up) @ self.down
        return self.log_scale.exp() * cosines + self.bias


@dataclass(frozen=True, kw_only=True, eq=False)
class Projector(LabelProvider, kind="projector"):
    """Labels each mixed batch by a trained :class:`ProjectorNet`.

    Attributes
    ----------
    encoder_id
        What the encoder is, in words or as a hub id: it is not part of the files, unless `store_encoder`.
    keep_prototypes
        Store the prototypes (d C numbers); without, they are handed over again when loading.
    store_encoder
        Store the encoder's frozen weights too, for one that nobody else has.
    """

    part: ClassVar[Literal["labels", "generators"]] = "generators"
    takes: ClassVar[tuple[str, ...]] = ("encoder", "prototypes")
    net: ProjectorNet
    encoder_id: str
    keep_prototypes: bool = True
    store_encoder: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.net.prototypes.shape[1] != len(self.names):
            raise InputError(f"The projector has {self.net.prototypes.shape[1]} outputs; there are {len(self.names)} classes.")

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """Logits float32 (B, C); the networks are in evaluation mode, so running statistics stay."""
        with evaluation(self.net.to(inputs.device)) as net:
            logits: Tensor = net(inputs)
        return logits.float()

    def _labels(self, batch: Batch, inputs: Tensor, lam: Tensor, mate: Tensor) -> dict[str, Tensor]:
        return {"logits": self.predict(inputs.detach())}

    @property
    def numbers(self) -> int:
        """How many low-rank numbers there are: r (d + C) of the head, and those in the encoder."""
        inside = sum(v.numel() for v in adapter_state(self.net.encoder).values())
        return self.net.up.numel() + self.net.down.numel() + inside

    @property
    def encoder_bytes(self) -> int:
        """Bytes of the encoder's own weights, which the user must have beside the files."""
        return sum(v.numel() * v.element_size() for v in self._frozen().values())

    def _frozen(self) -> dict[str, Tensor]:
        """The encoder's weights without additions, by their names in the plain encoder."""
        plain = {}
        added = [name for name, module in self.net.encoder.named_modules() if isinstance(module, LowRank)]
        for name, value in self.net.encoder.state_dict().items():
            owner = next((a for a in added if name.startswith(f"{a}.")), None)
            if owner is None:
                plain[name] = value.detach().cpu().clone()
            elif name.startswith(f"{owner}.layer."):
                plain[f"{owner}.{name.removeprefix(f'{owner}.layer.')}"] = value.detach().cpu().clone()
        return plain

    def _facts(self) -> dict[str, Any]:
        return {"encoder": self.encoder_id, "rank": self.net.up.shape[1], "prototypes": self.keep_prototypes, "stored": self.store_encoder}

    def _files(self) -> Mapping[str, Mapping[str, Tensor]]:
        head = {"head.up": self.net.up, "head.down": self.net.down, "head.log_scale": self.net.log_scale, "head.bias": self.net.bias}
        tensors = {k: v.detach().cpu() for k, v in head.items()}
        tensors |= {f"encoder.{k}": v.cpu() for k, v in adapter_state(self.net.encoder).items()}
        if self.keep_prototypes:
            tensors["head.prototypes"] = self.net.prototypes.cpu()
        return {FILE: tensors} | ({ENCODER: self._frozen()} if self.store_encoder else {})

    @classmethod
    def _restore(cls, folder: Path, names: tuple[str, ...], facts: dict[str, Any], given: Mapping[str, Any]) -> Self:
        encoder: nn.Module | None = given.get("encoder")
        prototypes: Tensor | None = given.get("prototypes")
        if encoder is None:
            raise InputError(
                f"The labels in {folder} need the encoder {facts['encoder']!r}, which is not among the files.",
                hint="Pass it: load_provider(folder, encoder=…).",
            )
        tensors = load_tensors(folder / FILE)
        if "head.prototypes" in tensors:
            if prototypes is not None:
                raise InputError(f"{folder} holds the class prototypes; prototypes= has no effect.", hint="Leave it out.")
            prototypes = tensors["head.prototypes"]
        if prototypes is None:
            raise InputError(f"{folder} holds no class prototypes.", hint="Compute them again: load_provider(folder, prototypes=…).")
        if facts["stored"]:
            encoder.load_state_dict(load_tensors(folder / ENCODER))
        inside = {k.removeprefix("encoder."): v for k, v in tensors.items() if k.startswith("encoder.")}
        if inside:
            load_adapter(encoder, inside)
        net = ProjectorNet(encoder.requires_grad_(False), prototypes, rank=facts["rank"])
        with torch.no_grad():
            for name in ("up", "down", "log_scale", "bias"):
                getattr(net, name).copy_(tensors[f"head.{name}"])
        return cls(
            names=names, net=net.eval(), encoder_id=facts["encoder"], keep_prototypes=facts["prototypes"], store_encoder=facts["stored"]
        )
