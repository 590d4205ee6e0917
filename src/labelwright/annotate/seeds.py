"""What a user said about single nodes of a graph: seeds, nodes known to be inside or outside, and the class that means "inside"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from labelwright import check
from labelwright.data.graphs import Graph, GraphNodes, training_view
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels

if TYPE_CHECKING:
    from labelwright.data import Dataset

__all__ = ["Given", "given_nodes"]


class _Said(Protocol):
    """The fields of a method that name nodes."""

    @property
    def seed_node(self) -> tuple[str, ...]: ...
    @property
    def positive(self) -> str | None: ...
    @property
    def inside(self) -> tuple[str, ...]: ...
    @property
    def outside(self) -> tuple[str, ...]: ...
    @property
    def reads_labels(self) -> bool: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """`seeds` int64, positions in the graph; `known`: 1 or 0 by node, seeds included; `guesses` int8 (V,): 1, 0, -1 unknown; `positive`: the
    class that means 1, or None without labels."""

    seeds: np.ndarray
    known: dict[int, int]
    guesses: np.ndarray
    positive: str | None


def given_nodes(data: Dataset, graph: Graph, said: _Said, *, rng: np.random.Generator) -> Given:
    """Seeds and guesses of a node-level dataset; a seed is drawn with `rng` where none is named.

    Raises
    ------
    InputError
        If an id is not in the graph, a seed has no neighbours or is also named outside, labels are needed and absent, or it cannot be told
        which class is meant.
    """
    if not len(data):
        raise InputError("The dataset holds no node.")
    seeds = _positions(graph, said.seed_node, "--seed-node")
    inside, outside = _positions(graph, said.inside, "--inside"), _positions(graph, said.outside, "--outside")
    both = np.intersect1d(np.concatenate([seeds, inside]), outside)
    if len(both):
        raise InputError(f"Node {graph.ids[both[0]].item()!r} is named both inside and outside.")
    for node in seeds[graph.isolated[seeds]]:
        raise InputError(
            f"Seed node {graph.ids[node].item()!r} is isolated: it has no neighbours, so nothing can flow from it.",
            hint="Choose a node with edges.",
        )
    classes = np.full(len(graph), UNKNOWN)
    names: Sequence[str] = ()
    if said.reads_labels:
        labels = training_view(data)[0].require_labels(ClassLabels)
        names = labels.names
        if isinstance(data.inputs, GraphNodes):
            classes[data.inputs.nodes] = labels.values
    positive = _positive(said.positive, names, classes, seeds, graph) if said.reads_labels else None
    if not len(seeds):
        seeds = _drawn(graph, data, classes, names, positive, rng)
        if said.reads_labels and positive is None:
            positive = names[classes[seeds[0]]]
    known = dict.fromkeys(outside.tolist(), 0) | dict.fromkeys([*inside.tolist(), *seeds.tolist()], 1)
    guesses = np.full(len(graph), UNKNOWN, dtype=np.int8)
    if positive is not None:
        guesses[classes != UNKNOWN] = (classes == list(names).index(positive))[classes != UNKNOWN]
    return Given(seeds=seeds, known=known, guesses=guesses, positive=positive)


def _positions(graph: Graph, ids: Sequence[str], option: str) -> np.ndarray:
    """Positions int64 of nodes named by their ids as text, each once."""
    if not ids:
        return np.zeros(0, dtype=np.int64)
    place = {str(one): k for k, one in enumerate(graph.ids.tolist())}
    for one in ids:
        if str(one) not in place:
            near = check.nearest(str(one), place) if len(place) <= SEARCHED else ""
            ends = f"{graph.ids[0]} to {graph.ids[-1]}"
            raise InputError(f"{option} {one!r} is no node of the graph; its {len(graph):,} ids go from {ends}.{near}")
    return np.array(list(dict.fromkeys(place[str(one)] for one in ids)), dtype=np.int64)


SEARCHED = 5_000  # ids among which the nearest to a misspelt one is looked for: a second or so for many more


def _positive(wanted: str | None, names: Sequence[str], classes: np.ndarray, seeds: np.ndarray, graph: Graph) -> str | None:
    """The class that means inside; None if a seed yet to be drawn decides."""
    if wanted is not None:
        return check.known_word("--positive", wanted, names, place="the classes of the labels")
    if set(names) <= {"0", "1"}:
        if "1" not in names:
            raise InputError("The labels are all 0: no node is guessed inside.", hint="Is this the right label column?")
        return "1"
    if not len(seeds):
        return None
    if classes[seeds[0]] == UNKNOWN:
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        raise InputError(
            f"The labels are not 0 and 1 but {len(names)} classes, and seed node {graph.ids[seeds[0]].item()!r} has none.",
            hint=f"Name the class of the cluster with --positive: {shown}.",
        )
    return names[classes[seeds[0]]]


def _drawn(
    graph: Graph, data: Dataset, classes: np.ndarray, names: Sequence[str], positive: str | None, rng: np.random.Generator
) -> np.ndarray:
    """One random connected node of the dataset, with the positive label where there is one, else with any."""
    nodes = data.inputs.nodes if isinstance(data.inputs, GraphNodes) else np.arange(len(graph))
    nodes = nodes[~graph.isolated[nodes]]
    if len(names):
        nodes = nodes[classes[nodes] == list(names).index(positive)] if positive is not None else nodes[classes[nodes] != UNKNOWN]
    if not len(nodes):
        raise InputError(
            "No node can be drawn as the seed: none with the positive label has neighbours.", hint="Name one with --seed-node."
        )
    return np.array([rng.choice(nodes)], dtype=np.int64)
