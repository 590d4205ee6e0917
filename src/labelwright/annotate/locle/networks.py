"""The networks of the rounds: each trained from scratch on the nodes labelled so far, whole graph, last epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch import nn
from torch.nn import functional as F

from labelwright.annotate.locle.rounds import Fitted
from labelwright.annotate.locle.uncertainty import stage_weights
from labelwright.data import Dataset
from labelwright.data.batch import Batch, TensorData
from labelwright.data.featurise import fit_featuriser
from labelwright.data.graphs import graph_of, node_dataset
from labelwright.data.inputs import Texts
from labelwright.data.node_batches import GraphTensor, NodeTensor
from labelwright.errors import InputError
from labelwright.nn import Mixture, MixtureNet, NetFactory, seeded, spec_of
from labelwright.nn.scaled import Scaled, ScaledNet, times
from labelwright.signals.embed import embed
from labelwright.training import Fit, Step, predict_logits, train

if TYPE_CHECKING:
    from labelwright.data.featurise import Featuriser
    from labelwright.signals import Signals

__all__ = ["Trainer", "encoded", "mixture_of", "on_graph"]


def encoded(data: Dataset, signals: Signals | None, encoder: str | None, *, seed: int) -> tuple[NodeTensor, Featuriser, float]:
    """All nodes of the graph behind `data` as networks read them, the featuriser, and the factor that was put on its features.

    The featuriser gives rows of absolute sum 1. One factor for all brings their root mean square norm to 1, the size of the sentence
    vectors the recipe is made for. Features come from the signals, else from `encoder`, else from the graph, else from its texts.

    Raises
    ------
    InputError
        If nodes have neither features nor texts, all features are zero, or an encoder is named that has nothing to read.
    """
    graph = graph_of(data, need="Locle")
    given = None if signals is None else signals.embeddings
    if given is not None and encoder is not None:
        raise InputError("encoder has no effect beside given features.", hint="Leave out --encoder or --features.")
    if given is not None and len(given) != len(graph):
        raise InputError(f"Features are needed of all {len(graph):,} nodes of the graph; got {len(given):,} rows.")
    if given is not None:
        values = np.empty_like(given)
        values[data.inputs.nodes] = given
        graph = replace(graph, features=values)
    elif encoder is not None:
        if graph.texts is None:
            raise InputError(f"encoder {encoder!r} reads texts, and the nodes have none.", hint="Leave out --encoder.")
        graph = replace(graph, features=embed(Dataset(inputs=Texts(graph.texts)), encoder=encoder, model=None, fit=None, seed=seed)[0])
    every = node_dataset(graph)
    featuriser = fit_featuriser(every, seed=seed)
    inputs: Any = featuriser.transform(every)
    size = float(inputs.graph.features.square().sum(1).mean().sqrt()) if inputs.graph.features.numel() else 0.0
    if not size:
        raise InputError("The features of all nodes are zero or there are none.", hint="Give features, texts, or --features FILE.")
    return times(inputs, 1 / size), featuriser, 1 / size  # type: ignore[return-value]


def mixture_of(base: NetFactory, nets: Sequence[nn.Module], decay: float, factor: float) -> tuple[nn.Module, dict[str, Any] | None]:
    """The stages' networks as one that reads what the featuriser gives, and how to build it again (None for a caller's own)."""
    if len(nets) == 1:
        return ScaledNet(nets[0], factor).eval(), spec_of(Scaled(base=base, factor=factor))
    weights = tuple(stage_weights(len(nets), decay=decay).tolist())
    spec = spec_of(Scaled(base=Mixture(base=base, weights=weights), factor=factor))
    return ScaledNet(MixtureNet(nets, weights), factor).eval(), spec


def on_graph(inputs: NodeTensor, adjacency: sparse.csr_matrix) -> NodeTensor:
    """The same nodes with the same features on another graph."""
    graph = GraphTensor(
        features=inputs.graph.features,
        indptr=torch.from_numpy(adjacency.indptr.astype(np.int64)),
        indices=torch.from_numpy(adjacency.indices.astype(np.int64)),
        weights=torch.from_numpy(adjacency.data.astype(np.float32)),
    )
    return NodeTensor(graph, inputs.nodes)


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """:class:`~labelwright.annotate.locle.rounds.Train` by the one loop: cross-entropy on the labelled nodes, full batch, no validation.

    The labels that could choose an epoch are the noisy ones trained on, so there is nothing to choose by: the last epoch stays.
    """

    inputs: NodeTensor
    """All V nodes."""
    factory: NetFactory
    num_classes: int
    fit: Fit
    """Recipe of the stages' networks."""
    repair: Fit
    """Recipe of the networks that judge answers."""
    on_history: Callable[[tuple[dict[str, float], ...]], None] | None = None

    def __call__(self, adjacency: sparse.csr_matrix, nodes: np.ndarray, labels: np.ndarray, *, repair: bool, seed: int) -> Fitted:
        every = on_graph(self.inputs, adjacency)
        rows = torch.from_numpy(nodes)
        data = TensorData(
            inputs=every[rows],  # type: ignore[arg-type]
            labels=torch.from_numpy(labels), index=rows, weights=torch.ones(len(nodes)), size=len(every),
        )  # fmt: skip
        with seeded(seed):
            net = self.factory(self.num_classes, self.inputs.input_shape)

        def step(live: nn.Module, batch: Batch) -> Step:
            return Step(F.cross_entropy(live(batch.inputs), batch.labels))

        fit = replace(self.repair if repair else self.fit, batch_size=max(1, len(nodes)), keep="last")
        run = train(net, step, data, fit=fit, seed=seed, label="network of the answers" if repair else "network of the stage")
        if self.on_history is not None and not repair:
            self.on_history(run.history)
        logits: Any = predict_logits(run.net, every)  # type: ignore[arg-type]
        return Fitted(probs=logits.double().softmax(1).numpy(), net=run.net.cpu())
