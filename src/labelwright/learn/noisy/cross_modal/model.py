"""The network of CAPro: encoder, four heads, a slow copy that makes the keys, the queue of keys and the prototypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelwright.learn.noisy.cross_modal.cleaning import beliefs
from labelwright.nn import split_head
from labelwright.nn.ema import WeightAverage
from labelwright.nn.prototypes import class_means, moving_average
from labelwright.nn.queue import KeyQueue, gathered

__all__ = ["Believer", "CrossModalNet"]


class CrossModalNet(nn.Module):
    """Encoder h with classifier F, projector g, auxiliary classifier A and reconstructor r; called like a network, it gives F(h(x)).

    Trained: `encoder` to (B, D); `classifier` D → C and `auxiliary` d → C, both without bias; `projector` D → D → d;
    `reconstructor` d → D → D. State, all in buffers or parameters without gradient, so that it travels with checkpoints and with
    the kept epoch: `keys`, the averaged encoder and projector, in evaluation mode; the `queue` with a soft label beside each key;
    `prototypes` (C, d), or (C, 2, d) for multi-labels, absent before present.

    Parameters
    ----------
    net
        A fresh network whose last linear layer is its output; it is taken apart.
    num_classes, dim, size
        C, d, and the places of the queue.
    momentum
        Of the averaged copy.
    multi
        Whether an example may have several classes.
    alpha, temperature
        As in :func:`~labelwright.learn.noisy.cross_modal.cleaning.beliefs`.
    """

    prototypes: Tensor

    def __init__(
        self, net: nn.Module, num_classes: int, *, dim: int, size: int, momentum: float, multi: bool, alpha: float, temperature: float
    ) -> None:
        super().__init__()
        self.encoder, head = split_head(net)
        width = head.in_features
        self.classifier = nn.Linear(width, num_classes, bias=False)
        with torch.no_grad():
            self.classifier.weight.copy_(head.weight)
        self.projector = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, dim))
        self.auxiliary = nn.Linear(dim, num_classes, bias=False)
        self.reconstructor = nn.Sequential(nn.Linear(dim, width), nn.ReLU(inplace=True), nn.Linear(width, width))
        self.keys = WeightAverage(self._embedder(), decay=momentum, buffers="copy")
        self.queue = KeyQueue(size, dim, num_classes)
        self.register_buffer("prototypes", torch.zeros((num_classes, 2, dim) if multi else (num_classes, dim)))
        self.multi, self.alpha, self.temperature = multi, alpha, temperature

    def _embedder(self) -> nn.Sequential:
        return nn.Sequential(self.encoder, self.projector)

    def train(self, mode: bool = True) -> CrossModalNet:
        """Training mode, but for the averaged copy."""
        super().train(mode)
        self.keys.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.encoder(x))
        return logits

    def embed(self, features: Tensor) -> Tensor:
        """z = g(v), unit vectors (B, d)."""
        return F.normalize(self.projector(features).float(), dim=1)

    @torch.no_grad()
    def key(self, x: Tensor) -> Tensor:
        """z' of the averaged copy, unit vectors (B, d)."""
        return F.normalize(self.keys(x).float(), dim=1)

    def follow(self, step: int) -> None:
        """Move the averaged copy, after the optimiser's step."""
        self.keys.update(self._embedder(), step)

    @torch.no_grad()
    def soft_labels(self, keys: Tensor) -> Tensor:
        """u (Q, C) of keys (Q, d): what the auxiliary classifier and the prototypes say."""
        return beliefs(self.auxiliary(keys).float(), keys, self.prototypes, alpha=self.alpha, temperature=self.temperature)

    @torch.no_grad()
    def remember(self, keys: Tensor, *, labelled: bool) -> None:
        """Put the keys (B, d) of all processes into the queue, with their soft labels where `labelled`."""
        every = gathered(keys)
        self.queue.push(every, self.soft_labels(every) if labelled else None)

    @torch.no_grad()
    def refresh(self) -> None:
        """Soft labels of the whole queue, anew."""
        self.queue.beside.copy_(self.soft_labels(self.queue.keys))

    @torch.no_grad()
    def start_prototypes(self, keys: Tensor, members: Tensor) -> None:
        """Prototypes are the normalised means of the anchors' keys (N, d); `members` bool (N, C), or (N, C, 2)."""
        self.prototypes.copy_(class_means(keys, members.flatten(1)).view_as(self.prototypes))

    @torch.no_grad()
    def move_prototypes(self, embeddings: Tensor, members: Tensor, *, momentum: float) -> None:
        """Prototypes move towards the embeddings (B, d) that belong to them, over all processes, and are normalised."""
        rows = self.prototypes.view(-1, self.prototypes.shape[-1])
        belongs = gathered(members.flatten(1).to(torch.uint8)).bool()  # not every backend gathers truth values
        moved = moving_average(rows, gathered(embeddings), belongs, momentum=momentum)
        self.prototypes.copy_(F.normalize(moved, dim=1).view_as(self.prototypes))


class Believer(nn.Module):
    """o (B, C) of inputs, from a trained network: a module, so that it predicts in batches like any other."""

    def __init__(self, net: CrossModalNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        features = self.net.encoder(x)
        return beliefs(
            self.net.classifier(features).float(),
            self.net.embed(features),
            self.net.prototypes,
            alpha=self.net.alpha,
            temperature=self.net.temperature,
        )
