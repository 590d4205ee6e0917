"""Diffusion from seeds in a graph, doing work only where something arrives: flow diffusion and personalised PageRank.

Flow diffusion (Fountoulakis, Wang, Yang, arXiv:2005.09810; weighted: Yang, Fountoulakis, arXiv:2301.13187). A source Delta_s is put
on the seeds, every node i takes up at most T_i > 0, what is above flows on along the edges. With L_w = D_w - W, solve

    min_{x >= 0}  1/2 x' L_w x + x' (T - Delta)          m(x) = Delta - L_w x <= T,  m_i = T_i where x_i > 0

A push of node i adds ``(m_i - T_i) / d_w(i)`` to x_i and sends the excess to the neighbours in proportion to w_ij. L_w is an
M-matrix, so pushes in any order, one by one or all at once, climb to the same smallest solution without ever overshooting.

Personalised PageRank by pushes (Andersen, Chung, Lang, FOCS 2006): a push of node i keeps the share alpha of its residual r_i and sends the
rest on; it stops at r_i <= rho d_w(i).

The loop itself is in :mod:`labelwright.stats.pushes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from labelwright import check
from labelwright.errors import InputError
from labelwright.stats.pushes import MAX_PASSES, ROOM, SOLVERS, Diffusion, Push, Solver, as_graph, opened_seeds, sources_of
from labelwright.stats.region import LocalGraph, Region

__all__ = [
    "Diffusion",
    "Sink",
    "Solver",
    "TooMuchMass",
    "flow_diffusion",
    "flow_diffusion_block",
    "flow_diffusions",
    "personalised_pagerank_push",
]

Sink = float | np.ndarray | None
"""Capacities T: one number for all nodes, an array (V,), or None for the numbers of neighbours, the unweighted degrees."""
FIRST_LOOK = 16  # whether a component overflows is looked at after so many passes, then after twice as many, and so on


class TooMuchMass(InputError):
    """A connected component cannot take up the mass put into it. `mass`: what was put in; `room`: what it takes up; `nodes`: its size."""

    def __init__(self, *, mass: float, room: float, nodes: int) -> None:
        super().__init__(
            f"The source mass, {mass:g}, is more than the {nodes:,} node{'s' if nodes != 1 else ''} connected with the seed can hold, {room:g}.",
            hint="Use less mass (a smaller size), or let it be clipped (--clip); where labels cut the seed off from its neighbours, a larger eps reconnects it.",
        )
        self.mass, self.room, self.nodes = mass, room, nodes


def flow_diffusion(
    graph: LocalGraph | Any,
    source: Mapping[int, float],
    sink: Sink = None,
    *,
    tol: float = 1e-4,
    solver: Solver = "hybrid",
    max_passes: int = MAX_PASSES,
) -> Diffusion:
    """The flow diffusion of `source` in `graph`.

    Parameters
    ----------
    graph
        :class:`LocalGraph`, or its adjacency matrix (which is checked first, a pass over all edges).
    source
        Mass > 0 by node.
    sink
        Capacities: see :data:`Sink`.
    tol
        Relative: a node may hold ``(1 + tol) T_i`` at the end.
    solver
        ``queue``, ``synchronous`` or ``hybrid``: same answer within `tol`; hybrid is the fastest.
    max_passes
        Give up after so many (``settled`` is False then).

    Raises
    ------
    TooMuchMass
        If a connected component cannot hold its mass: pushes would never end. Found out once the component is explored.
    InputError
        If a seed is isolated or unknown, or a mass or capacity is not positive.
    """
    return next(flow_diffusions(graph, source, sink, scales=(1.0,), tol=tol, solver=solver, max_passes=max_passes))


def flow_diffusions(
    graph: LocalGraph | Any,
    source: Mapping[int, float],
    sink: Sink = None,
    *,
    scales: Iterable[float],
    tol: float = 1e-4,
    solver: Solver = "hybrid",
    max_passes: int = MAX_PASSES,
) -> Iterator[Diffusion]:
    """The diffusions of ``scale * source`` for ascending `scales`, each going on from the one before.

    More mass only ever adds to x, so a whole scan costs about as much as its largest diffusion. Parameters and errors as for
    :func:`flow_diffusion`; `max_passes` holds for each.
    """
    check.in_range("tol", tol, low=0, closed="neither")
    check.one_of("solver", solver, SOLVERS)
    check.integer("max_passes", max_passes, low=1)
    graph = as_graph(graph)
    seeds, amounts = sources_of(graph, source)
    capacity, before = _capacities(graph, sink), 0.0
    with Region(graph) as region:
        mass, x, floor = region.column(0.0), region.column(0.0), region.column(capacity)
        start = opened_seeds(region, seeds)
        push = Push(region=region, mass=mass, x=x, floor=floor, tol=tol, solver=solver)
        for scale in scales:
            if not scale > before:
                raise InputError(f"scales must be positive and ascend; got {scale:g} after {before:g}.")
            mass()[start] += (scale - before) * amounts
            before, settled, look = scale, True, FIRST_LOOK
            for turn in push.settle():
                if turn == look:
                    _fits(region, mass(), floor())
                    look *= 2
                if turn >= max_passes:
                    settled = False
                    break
            yield push.outcome(settled=settled)


def personalised_pagerank_push(
    graph: LocalGraph | Any,
    source: Mapping[int, float],
    *,
    alpha: float = 0.1,
    rho: float = 1e-5,
    solver: Solver = "hybrid",
    max_passes: int = MAX_PASSES,
) -> Diffusion:
    """Approximate PageRank of the walk that returns to `source` (scaled to sum 1) with probability `alpha` a step.

    ``x`` solves ``x = alpha (s - r) + (1 - alpha) W D_w^-1 x`` with the residual ``0 <= r_i = mass_i <= rho d_w(i)``; the
    work grows with ``1 / (alpha rho)``. Every touched node is opened, since its degree decides whether it is pushed.

    Raises
    ------
    InputError
        If a seed is unknown or isolated, `alpha` is not in (0, 1), or `rho` is not above 0.
    """
    check.in_range("alpha", alpha, low=0, high=1, closed="neither")
    check.in_range("rho", rho, low=0, closed="neither")
    check.one_of("solver", solver, SOLVERS)
    check.integer("max_passes", max_passes, low=1)
    graph = as_graph(graph)
    seeds, amounts = sources_of(graph, source)
    with Region(graph) as region:
        residual, x = region.column(0.0), region.column(0.0)
        start = opened_seeds(region, seeds)
        residual()[start] = amounts / amounts.sum()
        push = Push(region=region, mass=residual, x=x, floor=None, tol=rho, solver=solver, gain=alpha, share=1 - alpha)
        settled = all(turn < max_passes for turn in push.settle())
        return push.outcome(settled=settled)


def flow_diffusion_block(
    graph: LocalGraph | Any, sources: Sequence[Mapping[int, float]], sink: Sink = None, *, tol: float = 1e-4, max_passes: int = MAX_PASSES
) -> list[Diffusion]:
    """Diffusions of many sources at once: a dense block (V, s) and one sparse product a pass, synchronous pushes in every column.

    For sources that reach much of the graph; one by one, ``hybrid`` does less work. Columns that have settled leave the block.
    Errors as for :func:`flow_diffusion`; `edges` counts all of the graph's.
    """
    check.in_range("tol", tol, low=0, closed="neither")
    check.integer("max_passes", max_passes, low=1)
    graph = as_graph(graph)
    weights = graph.matrix()
    degree = np.asarray(weights.sum(1)).ravel()
    capacity = _capacities(graph, sink)(np.arange(graph.num_nodes))
    mass = np.zeros((graph.num_nodes, len(sources)))
    for column, source in enumerate(sources):
        seeds, amounts = sources_of(graph, source)
        alone = seeds[degree[seeds] == 0]
        if len(alone):
            raise InputError(f"Seed node {int(alone[0])} has no neighbours: nothing can leave it.", hint="Choose a connected node.")
        mass[seeds, column] = amounts
    _components_hold(weights, capacity, mass)
    divisor, floor = np.where(degree > 0, degree, 1.0)[:, None], capacity[:, None]
    x, seen = np.zeros_like(mass), mass > 0
    pushes, passes, live = np.zeros(len(sources), dtype=np.int64), np.zeros(len(sources), dtype=np.int64), np.arange(len(sources))
    while len(live):
        block = mass[:, live]
        excess = np.where(block > (1 + tol) * floor, block - floor, 0.0)
        busy = excess.any(0) & (passes[live] < max_passes)
        live, block, excess = live[busy], block[:, busy], excess[:, busy]
        rate = excess / divisor
        received = weights @ rate
        x[:, live] += rate
        mass[:, live] = block - excess + received
        seen[:, live] |= received > 0
        pushes[live] += (excess > 0).sum(0)
        passes[live] += 1
    settled = (np.where(mass > (1 + tol) * floor, 1, 0)).sum(0) == 0

    def outcome(column: int) -> Diffusion:
        touched = np.flatnonzero(seen[:, column])
        return Diffusion(
            touched=touched,
            x=x[touched, column],
            mass=mass[touched, column],
            num_nodes=graph.num_nodes,
            edges=weights.nnz,
            pushes=int(pushes[column]),
            passes=int(passes[column]),
            settled=bool(settled[column]),
        )

    return [outcome(column) for column in range(len(sources))]


def _capacities(graph: LocalGraph, sink: Sink) -> Callable[[np.ndarray], np.ndarray]:
    """Function from nodes to their capacities; only those asked for are looked at."""
    if sink is None:
        return lambda nodes: np.maximum(graph.degrees(nodes), 1).astype(np.float64)
    if np.ndim(sink) == 0:
        value = check.in_range("sink", float(sink), low=0, closed="neither")  # type: ignore[arg-type]
        return lambda nodes: np.full(len(nodes), value)
    array = np.asarray(sink, dtype=np.float64)
    if array.shape != (graph.num_nodes,):
        raise InputError(f"sink must be a number or have shape ({graph.num_nodes},); got {array.shape}.")

    def of(nodes: np.ndarray) -> np.ndarray:
        values = array[nodes]
        if not ((values > 0) & np.isfinite(values)).all():
            raise InputError("sink capacities must be positive and finite.", hint="Every node must be able to take something up.")
        return values

    return of


def _fits(region: Region, mass: np.ndarray, capacity: np.ndarray) -> None:
    """Every component of the graph that is wholly opened must be able to hold its mass; one that is not still has room outside."""
    owner = np.repeat(region.opened, np.diff(region.bounds))
    seen = sparse.csr_array((np.ones(len(owner), dtype=np.int8), (owner, region.ends)), shape=(region.size, region.size))
    number, component = csgraph.connected_components(seen, directed=False)
    whole = np.bincount(component, weights=region.row < 0, minlength=number) == 0
    _hold(component, mass, capacity, whole=whole)


def _components_hold(weights: sparse.csr_array, capacity: np.ndarray, mass: np.ndarray) -> None:
    """The same for all components of a graph and a block of sources (V, s)."""
    number, component = csgraph.connected_components(weights, directed=False)
    for column in mass.T:
        _hold(component, column, capacity, whole=np.ones(number, dtype=bool))


def _hold(component: np.ndarray, mass: np.ndarray, capacity: np.ndarray, *, whole: np.ndarray) -> None:
    put = np.bincount(component, weights=mass, minlength=len(whole))
    room = np.bincount(component, weights=capacity, minlength=len(whole))
    over = whole & (put > room * (1 + ROOM))
    if over.any():
        worst = int((over * (put - room)).argmax())
        raise TooMuchMass(mass=float(put[worst]), room=float(room[worst]), nodes=int((component == worst).sum()))
