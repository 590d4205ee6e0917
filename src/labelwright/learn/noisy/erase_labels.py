"""The label machinery of ERASE: structural denoising, prototypes, semantic labels and their spreading, as pure functions.

Letters: V nodes, C classes, D dimensions. P = A D^-1 hands the mass of a node to its neighbours in equal parts: the *sender's*
degree divides, so columns sum to 1.

    Yd = T times  Y <- (1 - a) P(A_tr) Y + a Y                  A_tr: edges between training nodes
    B  = softmax( b Yd + (1 - b) |cos(Z, mu)| )                 mu_c: mean of Z over training nodes with argmax Yd = c
    B <- T times  B <- (1 - a) P(A) B + a B                     L = argmax B

The large-graph form spreads from the training nodes alone by ``B <- clip(a S B + (1 - a) B0)``, S = D^-1/2 A D^-1/2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from labelwright import check
from labelwright.stats.graphs import Normalisation, normalised, to_torch, within
from labelwright.stats.propagation import lazy, restart

__all__ = ["Beliefs", "one_hot", "prototypes", "semantic", "similarity", "spread", "spread_from"]


def one_hot(labels_V: Tensor, num_classes: int) -> Tensor:
    """float32 (V, C); rows of unknown labels (-1) are zero."""
    known = labels_V >= 0
    return F.one_hot(labels_V.clamp(min=0), num_classes).float() * known[:, None]


def spread(operator: Tensor, values_VC: Tensor, *, alpha: float, steps: int) -> Tensor:
    """Lazy propagation; a row that ends empty (an isolated node with `alpha` 0) keeps what it had, instead of naming class 0."""
    made = lazy(operator, values_VC, steps=steps, keep=alpha)
    return torch.where(made.sum(1, keepdim=True) > 0, made, values_VC)


def spread_from(operator: Tensor, values_VC: Tensor, rows: Tensor, *, alpha: float, steps: int) -> Tensor:
    """The large-graph form: from the rows in bool (V,) `rows` alone; a node that nothing reaches keeps its own values."""
    first = values_VC * rows[:, None]
    made = restart(operator, first, steps=steps, back=1 - alpha, clip=True)
    return torch.where(made.sum(1, keepdim=True) > 0, made, values_VC)


def prototypes(embeddings_VD: Tensor, classes_V: Tensor, previous_CD: Tensor) -> Tensor:
    """Mean embedding of each class over the nodes with ``classes_V`` = c (-1: not counted); that of a class without nodes stays."""
    known = classes_V >= 0
    index = classes_V[known]
    total = torch.zeros_like(previous_CD).index_add_(0, index, embeddings_VD[known])
    count = torch.bincount(index, minlength=len(previous_CD))[:, None]
    return torch.where(count > 0, total / count.clamp(min=1), previous_CD)


def similarity(embeddings_VD: Tensor, prototypes_CD: Tensor) -> Tensor:
    """``|cos|`` of every node to every prototype (V, C); 0 where either is a row of zeros."""
    return (F.normalize(embeddings_VD, dim=1) @ F.normalize(prototypes_CD, dim=1).T).abs().clamp(max=1.0)


def semantic(denoised_VC: Tensor, similarity_VC: Tensor, *, beta: float) -> Tensor:
    """``softmax(beta Yd + (1 - beta) |cos|)`` by rows."""
    check.same_shape(denoised=denoised_VC, similarity=similarity_VC)
    return (beta * denoised_VC + (1 - beta) * similarity_VC).softmax(1)


class Beliefs(nn.Module):
    """What is believed of the labels of all V nodes while the encoder trains; a checkpoint takes it along.

    Attributes
    ----------
    denoised
        float32 (V, C): Yd, fixed before training.
    prototypes, belief, labels
        (C, D), B (V, C) and L int64 (V,) of the last :meth:`update`.
    checks, score
        How often validation was asked, and its last answer.
    """

    denoised: Tensor
    prototypes: Tensor
    belief: Tensor
    labels: Tensor
    classes: Tensor
    operator: Tensor
    checks: Tensor
    score: Tensor

    def __init__(
        self,
        adjacency: sparse.csr_matrix,
        given_V: Tensor,
        *,
        num_classes: int,
        dim: int,
        alpha: float,
        beta: float,
        steps: int,
        sampled: bool,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.steps, self.sampled, self.epoch = alpha, beta, steps, sampled, -1
        known = given_V >= 0
        how: Normalisation = "symmetric" if sampled else "column"
        inside = to_torch(normalised(within(adjacency, known.numpy()), how))
        first = one_hot(given_V, num_classes)
        denoised = (
            spread_from(inside, first, known, alpha=alpha, steps=steps) if sampled else spread(inside, first, alpha=alpha, steps=steps)
        )
        self.register_buffer("denoised", denoised)
        self.register_buffer("classes", torch.where(known, denoised.argmax(1), -1))
        self.register_buffer("prototypes", torch.zeros(num_classes, dim))
        self.register_buffer("belief", torch.zeros(len(given_V), num_classes))
        self.register_buffer("labels", torch.zeros(len(given_V), dtype=torch.int64))
        self.register_buffer("checks", torch.zeros((), dtype=torch.int64))
        self.register_buffer("score", torch.full((), float("nan"), dtype=torch.float64))
        self.register_buffer("operator", to_torch(normalised(adjacency, how)), persistent=False)

    @torch.no_grad()
    def update(self, embeddings_VD: Tensor) -> Tensor:
        """New prototypes, belief and pseudo-labels L int64 (V,) from the embeddings of all nodes."""
        z = embeddings_VD.detach().float()
        self.prototypes.copy_(prototypes(z, self.classes, self.prototypes))
        near = similarity(z, self.prototypes)
        mixed = semantic(self.denoised, near, beta=self.beta)
        if self.sampled:
            rows = self.classes >= 0
            mixed = torch.where(rows[:, None], mixed, (1 - self.beta) * near)
            spreaded = spread_from(self.operator, mixed, rows, alpha=self.alpha, steps=self.steps)
        else:
            spreaded = spread(self.operator, mixed, alpha=self.alpha, steps=self.steps)
        self.belief.copy_(spreaded)
        self.labels.copy_(spreaded.argmax(1))
        return self.labels
