"""Predictions in batches, and the figures read from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from labelwright.training.fit import resolve_device

__all__ = ["accuracy", "evaluating", "predict_logits", "predict_proba"]


@contextmanager
def evaluating(net: nn.Module) -> Iterator[nn.Module]:
    """`net` in evaluation mode without gradients; each module's own mode is restored afterwards."""
    modes = [(m, m.training) for m in net.modules()]
    net.eval()
    try:
        with torch.inference_mode():
            yield net
    finally:
        for module, training in modes:
            module.training = training


def predict_logits(net: nn.Module, inputs: Tensor, *, batch_size: int = 512, device: str | torch.device | None = None) -> Tensor:
    """Logits float32 (N, C) on the CPU, computed `batch_size` rows at a time where the network's weights are (or on `device`)."""
    place = next(net.parameters(), torch.empty(0)).device
    if device is not None:
        place = resolve_device(device) if isinstance(device, str) else device
        net = net.to(place)
    with evaluating(net):
        parts = [net(inputs[start : start + batch_size].to(place)).float().cpu() for start in range(0, len(inputs), batch_size)]
        if not parts:
            parts = [net(torch.zeros(1, *inputs.shape[1:], device=place)).float().cpu()[:0]]
    return torch.cat(parts).clone()  # out of inference mode


def predict_proba(net: nn.Module, inputs: Tensor, *, batch_size: int = 512, device: str | torch.device | None = None) -> np.ndarray:
    """Softmax probabilities, float32 (N, C)."""
    return predict_logits(net, inputs, batch_size=batch_size, device=device).softmax(1).numpy()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows whose largest logit is at the label; rows with an unknown label do not count. NaN without any."""
    known = labels >= 0
    return float((logits.argmax(1)[known] == labels[known]).float().mean())
