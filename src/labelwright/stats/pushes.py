"""The loop of pushes that flow diffusion and personalised PageRank share.

Nodes hold mass. A node that holds too much is pushed: it keeps what it may keep, and the rest, its excess, goes to its potential and to its
neighbours in proportion to the weights of the edges. All such nodes are pushed at once, a pass. A pass touches their edges only
(``queue``), or is one sparse product over everything opened so far (``synchronous``), or whichever is cheaper now (``hybrid``).

Flow by pushes is slow where little mass gets through (hundreds of passes for small eps). When it has not settled after some
passes, ``hybrid`` solves ``L_w[C, C] d = (m - T)_C`` on the nodes C with x > 0 or too much mass. That is the limit of pushing C alone, which
is still below the solution since L_w is an M-matrix, in one go.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.region import LocalGraph, Region, ranges

__all__ = ["MAX_PASSES", "ROOM", "SOLVERS", "Diffusion", "Push", "Solver", "as_graph", "sources_of"]

Solver = Literal["hybrid", "queue", "synchronous"]
SOLVERS: tuple[Solver, ...] = ("hybrid", "queue", "synchronous")
MAX_PASSES = 100_000
ROOM = 1e-9  # relative excess of mass over capacity that is taken for rounding
GATHER_COST = 8  # picking an edge out of the list costs about as much as this many edges of a sparse product
LEAP_EVERY = 8  # passes between two leaps of the hybrid solver
LEAP_TOLERANCE = 0.05  # of the tolerance: what a leap leaves is below what the pushes after it would remove
CG_STEPS = 5_000

Column = Callable[[], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Diffusion:
    """What a diffusion found, on the nodes it touched; it is 0 everywhere else.

    Attributes
    ----------
    touched
        int64 (M,), ascending: nodes that were pushed, and their neighbours.
    x
        float (M,), >= 0: potentials (flow), or PageRank.
    mass
        float (M,): what each node holds at the end: at most its capacity (flow), or its residual (PageRank).
    num_nodes
        V, nodes of the whole graph.
    edges
        Entries of the adjacency that were read, each once.
    pushes, passes
        Single pushes, and rounds of simultaneous ones.
    settled
        Whether no node holds too much; False if the passes ran out.
    """

    touched: np.ndarray
    x: np.ndarray
    mass: np.ndarray
    num_nodes: int
    edges: int
    pushes: int
    passes: int
    settled: bool

    @property
    def support(self) -> np.ndarray:
        """Nodes with x > 0, strictly, ascending."""
        return self.touched[self.x > 0]

    def dense(self) -> np.ndarray:
        """x of all nodes, float (V,)."""
        full = np.zeros(self.num_nodes)
        full[self.touched] = self.x
        return full


@dataclass(kw_only=True)
class Push:
    """Mass and potentials in a region, and how to push.

    With capacities `floor` (flow) a node is pushed while it holds more than ``(1 + tol) floor`` and keeps `floor`; without
    (PageRank) while it holds more than ``tol d_w`` and keeps nothing. Of the excess e, ``gain e`` goes to x (``gain e / d_w`` for
    a flow) and ``share e`` to the neighbours.
    """

    region: Region
    mass: Column
    x: Column
    floor: Column | None
    tol: float
    solver: Solver
    gain: float = 1.0
    share: float = 1.0
    pushes: int = 0
    passes: int = 0

    def settle(self) -> Iterator[int]:
        """Push until no node holds too much; yields the number of each pass, from 1."""
        for turn in itertools.count(1):
            active = self._active()
            if not len(active):
                return
            self._pass(active)
            if self.solver == "hybrid" and self.floor is not None and turn % LEAP_EVERY == 0:
                self._leap(self.floor())
            yield turn

    def _active(self) -> np.ndarray:
        """The nodes that hold too much, opened."""
        if self.floor is not None:
            active = np.flatnonzero(self.mass() > (1 + self.tol) * self.floor())
            self.region.open(active)
            return active
        self.region.open(np.flatnonzero(self.region.row < 0))  # the degree decides
        return np.flatnonzero(self.mass() > self.tol * self.region.degree)

    def _pass(self, active: np.ndarray) -> None:
        region, mass = self.region, self.mass()
        excess = mass[active] if self.floor is None else mass[active] - self.floor()[active]
        rate = excess / region.degree[active]
        self.x()[active] += self.gain * (excess if self.floor is None else rate)
        mass[active] -= excess
        rows, bounds = region.row[active], region.bounds
        counts = bounds[rows + 1] - bounds[rows]
        if self.solver == "queue" or (self.solver == "hybrid" and GATHER_COST * int(counts.sum()) < len(region.ends)):
            place = ranges(bounds[rows], counts)
            np.add.at(mass, region.ends[place], region.weights[place] * np.repeat(self.share * rate, counts))
        else:
            mass += region.matrix().T @ _spread(len(region.opened), rows, self.share * rate)
        self.pushes += len(active)
        self.passes += 1

    def _leap(self, floor: np.ndarray) -> None:
        """What pushing the nodes with x > 0 or too much mass alone would end in; nothing where conjugate gradients do not converge."""
        region = self.region
        if region.closed and float(self.mass().sum()) > (1 - ROOM) * float(floor.sum()):
            return  # a component filled to the brim: its Laplacian is singular
        opened = region.opened
        inside = opened[(self.x()[opened] > 0) | (self.mass()[opened] > floor[opened])]
        rows = region.matrix()
        excess, degree = self.mass()[inside] - floor[inside], region.degree[inside]
        goal = LEAP_TOLERANCE * self.tol * float(floor[inside].min())
        step = conjugate_gradients(rows[region.row[inside]][:, inside], degree, excess, goal=goal)
        if step is None:
            return
        step = np.maximum(step, -self.x()[inside])
        self.x()[inside] += step
        mass = self.mass()
        mass[inside] -= degree * step
        mass += rows.T @ _spread(len(opened), region.row[inside], step)

    def outcome(self, *, settled: bool) -> Diffusion:
        """The state as it is now."""
        region = self.region
        order = np.argsort(region.nodes)
        return Diffusion(
            touched=region.nodes[order],
            x=self.x()[order],
            mass=self.mass()[order],
            num_nodes=region.graph.num_nodes,
            edges=region.edges_read,
            pushes=self.pushes,
            passes=self.passes,
            settled=settled,
        )


def _spread(length: int, place: np.ndarray, values: np.ndarray) -> np.ndarray:
    full = np.zeros(length)
    full[place] = values
    return full


def conjugate_gradients(weights: sparse.csr_array, degree: np.ndarray, right: np.ndarray, *, goal: float) -> np.ndarray | None:
    """Solve ``(diag(degree) - weights) d = right`` to a residual of norm `goal`, preconditioned by the diagonal; None if it does not converge."""
    d, residual = np.zeros(len(right)), right.copy()
    scaled = residual / degree
    direction, product = scaled.copy(), float(residual @ scaled)
    for _ in range(CG_STEPS):
        if float(residual @ residual) <= goal * goal:
            return d
        image = degree * direction - weights @ direction
        curvature = float(direction @ image)
        if curvature <= 0:  # rounding on a matrix that is nearly singular
            return None
        length = product / curvature
        d += length * direction
        residual -= length * image
        scaled = residual / degree
        before, product = product, float(residual @ scaled)
        direction = scaled + (product / before) * direction
    return None


def as_graph(graph: LocalGraph | Any) -> LocalGraph:
    """`graph` itself, or the checked graph of an adjacency matrix."""
    return graph if isinstance(graph, LocalGraph) else LocalGraph(graph)


def sources_of(graph: LocalGraph, source: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Seeds int64 and their positive amounts.

    Raises
    ------
    InputError
        If there is none, a node is not in the graph, or an amount is not above 0.
    """
    if not source:
        raise InputError("source must name at least one seed node.")
    for node, amount in source.items():
        check.integer("seed node", node, low=0, high=graph.num_nodes - 1)
        check.in_range(f"mass of seed node {node}", amount, low=0, closed="neither")
    return np.fromiter(source, dtype=np.int64, count=len(source)), np.fromiter(source.values(), dtype=np.float64, count=len(source))


def opened_seeds(region: Region, seeds: np.ndarray) -> np.ndarray:
    """Local numbers of the seeds, opened.

    Raises
    ------
    InputError
        If one has no neighbours.
    """
    start = region.number(seeds)
    region.open(start)
    alone = seeds[region.degree[start] == 0]
    if len(alone):
        under = " under these weights" if region.graph.weigh is not None else ""
        raise InputError(
            f"Seed node {int(alone[0])} has no neighbours{under}: nothing can leave it.",
            hint="Choose a node inside a connected part of the graph.",
        )
    return start
