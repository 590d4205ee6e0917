"""ERASE: node embeddings of a graph whose classes lie in near-orthogonal subspaces, although some labels are wrong.

Reference: Chen, Zhang, Huang, Su, Lin, Xiao, Xia, Liu. ERASE: Error-Resilient Representation Learning on Graphs for Label Noise
Tolerance. CIKM 2024. arXiv:2312.08852.

    before training   Yd: given labels spread over the edges between training nodes
    every epoch       Z = relu(l1(GNN(X, E)));  prototypes of the classes of Yd;  B from Yd and |cos(Z, mu)|;  B spread over all edges
                      L = argmax B for *all* nodes;  loss = -gamma2 R(Z) + gamma1 Rc(Z, L)      (coding rates of ``nn.coding``)
    every k epochs    logistic regression on the directions of Z of the training nodes with the labels L

No softmax is trained, so nothing can memorise a label: a wrong one adds a foreign vector to the volume of its class, whose direction
the majority sets. The formulas of the labels are in ``erase_labels``.

Differs from the released code: the class Grams replace a tensor of memberships (C, V, V); the best epoch is chosen by
validation labels *as given*, noisy as they may be (theirs are clean); a class without training nodes keeps its last prototype, rows
of zeros have similarity 0, nodes that no belief reaches keep their own; the pseudo-labels of a model are made anew from the
weights that are kept. As there: L comes from the pass with dropout on, the embeddings of the classifier from one without.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from labelwright import check
from labelwright.data.graphs import graph_of
from labelwright.data.node_batches import NodeTensor, sample_neighbours
from labelwright.learn.noisy.elr import wrongness
from labelwright.learn.noisy.erase_labels import Beliefs
from labelwright.nn import AutoNet, seeded
from labelwright.nn.coding import CodingRateReduction
from labelwright.nn.embedding import Embedding, EmbeddingNet
from labelwright.nn.graphs import GAT, rounds_of
from labelwright.registry import Flaw, Have, Learner, Want, register
from labelwright.results import Learned
from labelwright.training import Batch, Fit, Prepared, Step, TensorData, accuracy, evaluating, predict_logits, prepare, train

if TYPE_CHECKING:
    from labelwright.data import Dataset
    from labelwright.nn import NetFactory

__all__ = ["ErrorResilientGraph"]

ENCODER = GAT(hidden=256, heads=8, norm="l1", activation="leaky-relu", dropout_on="input")
"""The paper's encoder: two layers of attention, rows of absolute sum 1 in between."""
ENCODER_LARGE = GAT(hidden=64, heads=8, norm="l1", activation="leaky-relu", dropout_on="input")


@register(
    "error-resilient-graph",
    sheet="erase",
    has=Have.CLASS_LABELS,
    flaw=Flaw.NOISE,
    gives=(Want.CLASSIFIER, Want.LABELS, Want.FINDINGS),
    paper="Chen et al., ERASE: Error-Resilient Representation Learning on Graphs for Label Noise Tolerance, CIKM 2024, arXiv:2312.08852",
    domain="graphs",
)
@dataclass(frozen=True, kw_only=True)
class ErrorResilientGraph(Learner):
    """Node classification with wrong labels: near-orthogonal classes, and corrected labels for all nodes; tune `beta` first.

    ``labels`` of the result are the pseudo-labels of all rows, ``confidence`` the share of the belief in them, ``label_scores`` how
    far another class stands above the given one (above 1/2: suspected wrong). A column ``split`` says which rows are for training,
    validation and test. The network is the encoder: gat, gcn, sage or any other for graphs.
    """

    alpha: float = 0.6
    """Share of its belief a node keeps at each step of spreading, in [0, 1]. With `fan_out`, as in the paper's large-graph form, the
    weight of what arrives from neighbours. Paper: 0.6, CoraFull 0.7."""
    beta: float = 0.6
    """Weight of the given labels against the similarity to prototypes, in [0, 1]. Paper: 0.6, CiteSeer and CoraFull 0.7."""
    steps: int = 5
    """Steps of spreading, >= 0. Paper: Cora 5, CiteSeer 4, PubMed 3, CoraFull 2, ogbn-arxiv 50."""
    epsilon: float = 0.05
    """Squared precision of the coding rates, > 0. Paper: 0.05, CiteSeer 0.4, CoraFull 0.01."""
    gamma1: float = 1.0
    """Weight of the rate of the classes, > 0."""
    gamma2: float = 2.0
    """Weight of the rate of all nodes, >= 0. Paper: 2, PubMed 3."""
    dim: int = 512
    """Dimensions of an embedding."""
    head_every: int = 5
    """Epochs between two fits of the linear classifier, by whose accuracy on validation labels the best epoch is found."""
    fan_out: int = 0
    """Neighbours drawn a node and layer, for graphs too large to pass through whole: 5, say. 0: the whole graph at every step."""

    def __post_init__(self) -> None:
        check.in_range("alpha", self.alpha, low=0, high=1)
        check.in_range("beta", self.beta, low=0, high=1)
        check.integer("steps", self.steps, low=0)
        check.in_range("epsilon", self.epsilon, low=0, closed="neither")
        check.in_range("gamma1", self.gamma1, low=0, closed="neither")
        check.in_range("gamma2", self.gamma2, low=0)
        check.integer("dim", self.dim, low=2)
        check.integer("head_every", self.head_every, low=1)
        check.integer("fan_out", self.fan_out, low=0)

    def recipe(self, general: Fit) -> Fit:
        """The paper's: 400 epochs with patience 150 on the whole graph; 5 epochs of batches of 200 nodes with `fan_out`."""
        if self.fan_out:
            return replace(general, epochs=5, batch_size=200, optimizer="amsgrad", lr=1e-2, weight_decay=5e-4, schedule="constant")
        return replace(general, epochs=400, optimizer="amsgrad", lr=1e-3, weight_decay=5e-4, schedule="constant", patience=150)

    def learn(self, data: Dataset, net: NetFactory, *, val: Dataset | None = None, fit: Fit | None = None, seed: int) -> Learned:
        graph = graph_of(data, need="error-resilient-graph")
        prepared = prepare(data, val, seed=seed)
        fit = self.recipe(Fit(batch_size=max(len(graph), 1))) if fit is None else fit
        if not self.fan_out:
            fit = replace(fit, batch_size=len(graph))  # an epoch is one step over all nodes, whatever number was given
        encoder = (ENCODER_LARGE if self.fan_out else ENCODER) if isinstance(net, AutoNet) else net
        factory = Embedding(encoder=encoder, dim=self.dim)
        with seeded(seed):
            model = factory(prepared.num_classes, prepared.input_shape)
        nodes = _graph_labels(prepared)
        beliefs = Beliefs(
            graph.adjacency, nodes.labels, num_classes=prepared.num_classes, dim=self.dim, alpha=self.alpha, beta=self.beta,
            steps=self.steps, sampled=self.fan_out > 0,
        )  # fmt: skip
        heads = _Heads(prepared, beliefs, every=self.head_every, epochs=fit.epochs)
        step = self._step(beliefs, rounds_of(model) if self.fan_out else 0)
        run = train(
            model,
            step,
            nodes,
            fit=fit,
            seed=seed,
            val=prepared.val,
            memory=beliefs,
            validate=heads,
            order=_in_order(self.fan_out),
            label="error-resilient-graph",
        )
        return self._result(data, prepared, factory, run, fit, heads, beliefs, seed)

    def _step(self, beliefs: Beliefs, layers: int) -> Any:
        """One step: on the whole graph, where every epoch begins with new labels; or on sampled neighbourhoods with those of the epoch."""
        reduction = CodingRateReduction(self.epsilon, gamma1=self.gamma1, gamma2=self.gamma2)

        def whole(live: nn.Module, batch: Batch) -> Step:
            embeddings = live.embed(batch.inputs)  # type: ignore[operator]
            return Step(reduction(embeddings.float(), beliefs.update(embeddings)))

        def sampled(live: nn.Module, batch: Batch) -> Step:
            if batch.epoch != beliefs.epoch:
                beliefs.update(embed_all(live, batch.inputs))  # type: ignore[arg-type]
                beliefs.epoch = batch.epoch
            near = sample_neighbours(batch.inputs, (self.fan_out,) * layers, generator=batch.generator)  # type: ignore[arg-type]
            return Step(reduction(live.embed(near).float(), beliefs.labels[batch.index]))  # type: ignore[operator]

        return sampled if self.fan_out else whole

    def _result(
        self, data: Dataset, prepared: Prepared, factory: Any, run: Any, fit: Fit, heads: _Heads, beliefs: Beliefs, seed: int
    ) -> Learned:
        embeddings = embed_all(run.net, prepared.inputs)  # type: ignore[arg-type]
        labels = beliefs.update(embeddings)
        if prepared.val is None or fit.keep == "last":
            heads.fit_head(run.net, embeddings, labels)
        run.net.cpu()
        rows = prepared.inputs.nodes  # type: ignore[attr-defined]
        belief = beliefs.belief.cpu()[rows]
        belief = belief / belief.sum(1, keepdim=True)
        found = belief.argmax(1)
        changed = int(((found != prepared.labels) & (prepared.labels >= 0)).sum())
        facts = {
            "training_labels": int((prepared.labels >= 0).sum()),
            "training_labels_changed": changed,
            "pseudo_labels": len(found),
            "validation": "none" if prepared.val is None else "labels as given, noisy as they may be",
        }
        return Learned.of(
            self, data, prepared, factory=factory, run=run, fit=fit, labels=found, label_scores=wrongness(belief, prepared.labels).double(),
            seed=seed, facts=facts, columns={"confidence": belief.amax(1).double().numpy()},
        )  # fmt: skip


class _Heads:
    """Validation: every few epochs a classifier is fitted on the training nodes with their present pseudo-labels, and scored."""

    def __init__(self, prepared: Prepared, beliefs: Beliefs, *, every: int, epochs: int) -> None:
        self.prepared, self.beliefs, self.every, self.epochs = prepared, beliefs, every, epochs

    def fit_head(self, net: nn.Module, embeddings: Tensor, labels: Tensor) -> None:
        at = self.prepared.train.inputs.nodes.to(embeddings.device)  # type: ignore[attr-defined]
        net.fit_head(embeddings[at], labels[at], weights=self.prepared.train.weights)  # type: ignore[operator]

    def __call__(self, net: nn.Module, val: TensorData) -> dict[str, float]:
        """Accuracy on the labels of `val`; between two fits the last one again, which never counts as better."""
        epoch = int(self.beliefs.checks)
        self.beliefs.checks += 1
        if epoch % self.every == 0 or epoch == self.epochs - 1:
            self.fit_head(net, embed_all(net, self.prepared.inputs), self.beliefs.labels)  # type: ignore[arg-type]
            self.beliefs.score.fill_(accuracy(predict_logits(net, val.inputs), val.labels.cpu()))
        return {"val_accuracy": float(self.beliefs.score)}


def embed_all(net: EmbeddingNet | nn.Module, inputs: NodeTensor) -> Tensor:
    """Embeddings (V, D) of all nodes of the graph behind `inputs`, in evaluation mode, without gradient, where the network is."""
    place = next(net.parameters()).device
    with evaluating(net):
        found: Tensor = net.embed(inputs.to(place).whole()).float()  # type: ignore[operator]
    return found.clone()


def _graph_labels(prepared: Prepared) -> TensorData:
    """All nodes of the graph as training examples, the labels of training rows at theirs, -1 elsewhere (validation rows too)."""
    inputs: NodeTensor = prepared.inputs  # type: ignore[assignment]
    whole = inputs.whole()
    labels = torch.full((len(whole),), -1, dtype=torch.int64)
    labels[prepared.train.inputs.nodes] = prepared.train.labels  # type: ignore[attr-defined]
    return TensorData.of(whole, labels)  # type: ignore[arg-type]


def _in_order(fan_out: int) -> Any:
    """The whole graph is one batch: its order means nothing and a permutation would only copy it. Sampled batches are shuffled."""
    from labelwright.data.batch import shuffled

    def in_order(data: TensorData, *, seed: int, epoch: int, stream: int) -> Tensor:
        return torch.arange(len(data))

    return shuffled if fan_out else in_order
