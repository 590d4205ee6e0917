"""Nodes of a graph as a network reads them: their features, or features made of their texts, and the edges of the whole graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse

from labelwright.data.dataset import Dataset
from labelwright.data.features.base import Featuriser
from labelwright.data.features.texts import TextFeaturiser
from labelwright.data.graphs import Graph, graph_of
from labelwright.data.inputs import Texts
from labelwright.data.node_batches import GraphTensor, NodeTensor
from labelwright.errors import InputError
from labelwright.stats.graphs import normalised

__all__ = ["NodeFeaturiser", "node_vectors", "plain_vectors"]

HOPS = 2
VECTOR_DIM = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeFeaturiser(Featuriser, kind="nodes"):
    """``transform`` gives a :class:`~labelwright.data.node_batches.NodeTensor`: the dataset's nodes, with the whole graph behind them.

    Each node's features are divided by their sum of absolute values, so that a long document weighs no more than a short one; rows
    of zeros stay. `texts` makes features of nodes that have texts alone (TF-IDF and truncated SVD, fitted on all texts of the
    training graph). The model then reads any graph with as many features, or with texts.
    """

    width: int
    texts: TextFeaturiser | None = None

    @classmethod
    def fit(cls, data: Dataset, *, seed: int, dim: int) -> Self:
        """For the graph of `data`.

        Raises
        ------
        InputError
            If its nodes have neither features nor texts.
        """
        graph = graph_of(data)
        if not len(data):
            raise InputError("The dataset is empty.")
        if graph.features is not None:
            return cls(width=int(graph.features.shape[1]))
        if graph.texts is None:
            raise InputError(
                "The nodes of this graph have neither features nor texts, so a network has nothing to read.",
                hint="Give them (attr_data in an NPZ, features= of Graph), or use a method of the structure alone.",
            )
        made = TextFeaturiser.fit(Dataset(inputs=Texts(graph.texts)), seed=seed, dim=dim)
        return cls(width=made.input_shape[0], texts=made)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.width,)

    def _transform(self, data: Dataset) -> torch.Tensor:
        graph = graph_of(data)
        adjacency = graph.adjacency
        whole = GraphTensor(
            features=self._features(graph),
            indptr=torch.from_numpy(adjacency.indptr.astype(np.int64)),
            indices=torch.from_numpy(adjacency.indices.astype(np.int64)),
            weights=torch.from_numpy(adjacency.data.copy()),
        )
        return NodeTensor(whole, torch.from_numpy(data.inputs.nodes.copy()))  # type: ignore[return-value]

    def _features(self, graph: Graph) -> torch.Tensor:
        if self.texts is not None:
            if graph.texts is None:
                raise InputError("The model was trained on texts of nodes; the nodes of this graph have none.")
            return _scaled(self.texts.transform(Dataset(inputs=Texts(graph.texts))))
        found = None if graph.features is None else graph.features.shape[1]
        if found != self.width:
            raise InputError(
                f"The model was trained on nodes with {self.width:,} features; this graph has {'none' if found is None else f'{found:,}'}."
            )
        values = graph.features.toarray() if sparse.issparse(graph.features) else np.array(graph.features)  # type: ignore[union-attr]
        return _scaled(torch.from_numpy(values))

    def _spec(self) -> dict[str, Any]:
        return {"width": self.width, "texts": None if self.texts is None else self.texts.spec()}

    def arrays(self) -> dict[str, np.ndarray]:
        return {} if self.texts is None else self.texts.arrays()

    @classmethod
    def _restore(cls, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        made = None if spec["texts"] is None else Featuriser.restore(spec["texts"], arrays)
        if made is not None and not isinstance(made, TextFeaturiser):
            raise InputError("The saved featuriser of nodes holds another one that is not for texts.", hint="Its files may be damaged.")
        return cls(width=int(spec["width"]), texts=made)


def node_vectors(graph: Graph, *, seed: int, dim: int = VECTOR_DIM, hops: int = HOPS) -> np.ndarray:
    """A vector a node for methods that know no graphs: float32 (V, at most `dim`).

    Features (of texts: TF-IDF; without either: the adjacency itself) averaged over each node and its neighbours `hops` times, then
    truncated SVD. Rows are scaled to length 1, zeros stay.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    step = normalised(graph.adjacency, "row", loops=1.0)
    values: Any = graph.features
    if values is None:
        values = (
            step
            if graph.texts is None
            else TfidfVectorizer(sublinear_tf=True, dtype=np.float32, token_pattern=r"\S+").fit_transform(graph.texts)
        )
    for _ in range(hops):
        values = step @ values
    size = min(dim, min(values.shape) - 1)
    if size >= 1 and values.shape[1] > dim:
        values = TruncatedSVD(size, random_state=seed).fit_transform(values)
    dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
    length = np.linalg.norm(dense, axis=1, keepdims=True)
    return (dense / np.where(length > 0, length, 1.0)).astype(np.float32)


def plain_vectors(data: Dataset, *, seed: int) -> Dataset:
    """A node-level dataset with :func:`node_vectors` in place of its nodes; any other dataset as it is."""
    if data.kind != "nodes":
        return data
    return replace(data, inputs=node_vectors(graph_of(data), seed=seed)[data.inputs.nodes])


def _scaled(values: torch.Tensor) -> torch.Tensor:
    """Rows divided by their sum of absolute values; rows of zeros stay zero."""
    total = values.abs().sum(1, keepdim=True)
    return values / torch.where(total > 0, total, torch.ones_like(total))
