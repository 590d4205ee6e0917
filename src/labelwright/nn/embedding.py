"""An encoder and, on the direction of its outputs, a linear classifier that is fitted and not trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelwright import check
from labelwright.nn.defaults import AutoNet
from labelwright.nn.factories import NetFactory, network

__all__ = ["Embedding", "EmbeddingNet"]

ABSENT = -30.0
"""Logit of a class that no example of a fit had: a probability of nothing (1e-13), and still finite."""


class EmbeddingNet(nn.Module):
    """``head(embed(x) / ||embed(x)||)`` with ``embed(x) = relu(encoder(x) / sum |encoder(x)|)``, non-negative rows of sum at most 1.

    `head` takes no gradient; :meth:`fit_head` sets it by multinomial logistic regression.
    """

    def __init__(self, encoder: nn.Module, dim: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(dim, num_classes).requires_grad_(False)

    def embed(self, x: Any) -> Tensor:
        """Embeddings (N, D) of inputs the encoder reads."""
        return F.relu(F.normalize(self.encoder(x), p=1.0, dim=1))

    def forward(self, x: Any) -> Tensor:
        """Logits (N, C)."""
        logits: Tensor = self.head(F.normalize(self.embed(x), dim=1))
        return logits

    @torch.no_grad()
    def fit_head(self, embeddings: Tensor, labels: Tensor, *, weights: Tensor | None = None) -> None:
        """Fit `head` on the directions of `embeddings` (N, D) with `labels` (N,); with a single class, or none, it predicts that class."""
        from sklearn.linear_model import LogisticRegression

        x = F.normalize(embeddings.detach(), dim=1).cpu().double().numpy()
        y = labels.cpu().numpy()
        present = np.unique(y)
        weight, bias = torch.zeros_like(self.head.weight), torch.full_like(self.head.bias, ABSENT)
        if len(present) > 1:
            model = LogisticRegression(max_iter=500).fit(x, y, sample_weight=None if weights is None else weights.cpu().numpy())
            coefficients, intercept = model.coef_, model.intercept_
            if len(present) == 2:  # scikit-learn gives the second class alone
                coefficients, intercept = np.vstack([0 * coefficients, coefficients]), np.append(0 * intercept, intercept)
            weight[present] = torch.from_numpy(coefficients).to(weight)
            bias[present] = torch.from_numpy(intercept).to(bias)
        elif len(present):
            bias[present] = 0.0
        self.head.weight.copy_(weight)
        self.head.bias.copy_(bias)


@network("embedding")
@dataclass(frozen=True, kw_only=True)
class Embedding:
    """`encoder` gives `dim` numbers an example, a linear classifier on their direction the classes; see :class:`EmbeddingNet`."""

    encoder: NetFactory = field(default_factory=AutoNet)
    dim: int = 512

    def __post_init__(self) -> None:
        check.integer("dim", self.dim, low=2)

    def __call__(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        return EmbeddingNet(self.encoder(self.dim, input_shape), self.dim, num_classes)
