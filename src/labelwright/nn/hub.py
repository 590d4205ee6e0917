"""Networks from the Hugging Face hub or a folder, as factories that give plain logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.errors import InputError, require
from labelwright.nn.factories import network

__all__ = ["HuggingFace"]


class _ImageLogits(nn.Module):
    """Logits (B, C) of an image classifier; single-channel images are repeated where it wants three."""

    def __init__(self, model: nn.Module, channels: int) -> None:
        super().__init__()
        self.model, self.channels = model, channels

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.channels:
            x = x.expand(-1, self.channels, -1, -1)
        logits: Tensor = self.model(pixel_values=x).logits
        return logits


class _TextLogits(nn.Module):
    """Logits (B, C) of a text classifier for token ids (B, L), integers or floats that hold integers; `pad` is masked."""

    def __init__(self, model: nn.Module, pad: int) -> None:
        super().__init__()
        self.model, self.pad = model, pad

    def forward(self, x: Tensor) -> Tensor:
        ids = x.long()
        logits: Tensor = self.model(input_ids=ids, attention_mask=(ids != self.pad).long()).logits
        return logits


@network("huggingface")
@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """An image classifier for images (C, H, W), a text classifier for token ids (L,), with a fresh head for the classes at hand.

    Weights are read from safetensors only, and no code of the repository is run. Needs the extra ``hf``.

    Raises
    ------
    InputError
        If the model cannot be found or does not fit the inputs.
    MissingExtra
        If transformers is not installed.
    """

    model: str
    """Hub id (``microsoft/resnet-18``) or folder."""
    pretrained: bool = True
    """Start from its weights; False takes its architecture with fresh ones."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""

    def __post_init__(self) -> None:
        if not self.model:
            raise InputError("model must name a Hugging Face model.", hint="For example microsoft/resnet-18.")

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        check.integer("num_classes", num_classes, low=1)
        transformers = require("transformers", extra="hf", feature="A network from the Hugging Face hub")
        if len(input_shape) not in (1, 3):
            raise InputError(f"A Hugging Face network takes images (C, H, W) or token ids (L,); the inputs have shape {input_shape}.")
        images = len(input_shape) == 3
        auto = transformers.AutoModelForImageClassification if images else transformers.AutoModelForSequenceClassification
        try:
            config = transformers.AutoConfig.from_pretrained(self.model, revision=self.revision, num_labels=num_classes)
            if self.pretrained:
                # the head of another number of classes does not fit, and a fresh one is what is wanted
                network = auto.from_pretrained(
                    self.model, revision=self.revision, config=config, ignore_mismatched_sizes=True, use_safetensors=True
                )
            else:
                network = auto.from_config(config)
        except (OSError, ValueError, KeyError) as err:
            first = str(err).strip().splitlines()[0]
            hint = "Give a hub id such as microsoft/resnet-18, or a folder with config.json and model.safetensors."
            raise InputError(f"The Hugging Face model {self.model!r} cannot be used: {first}", hint=hint) from err
        network = network.to(torch.float32)
        if not images:
            return _TextLogits(network, _pad(config))
        channels = int(getattr(config, "num_channels", 3))
        if input_shape[0] not in (1, channels):
            raise InputError(f"{self.model} takes images of {channels} channels; the inputs have {input_shape[0]}.")
        return _ImageLogits(network, channels)


def _pad(config: Any) -> int:
    pad = getattr(config, "pad_token_id", None)
    return 0 if pad is None else int(pad)
