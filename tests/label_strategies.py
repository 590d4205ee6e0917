"""Hypothesis strategies for every label kind."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labelwright.labels import (
    UNKNOWN,
    BagProportions,
    Boxes,
    Captions,
    ClassLabels,
    Labels,
    Masks,
    MultiLabels,
    Points,
    SoftLabels,
    Spans,
    Targets,
    Votes,
)

SIZE = st.integers(0, 8)
WIDTH = st.integers(1, 4)
NUMBERS = st.floats(-1e6, 1e6)


def names_of(width: int) -> tuple[str, ...]:
    return tuple(f"{'käse-' if j % 2 else ''}{j}" for j in range(width))


def codes(shape: int | tuple[int, ...], width: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.int64, shape, elements=st.integers(UNKNOWN, width - 1))


@st.composite
def simplex(draw: st.DrawFn, rows: int, width: int) -> np.ndarray:
    raw = draw(hnp.arrays(np.float64, (rows, width), elements=st.floats(0.01, 1)))
    return raw / raw.sum(1, keepdims=True)


@st.composite
def ragged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """(offsets, seen, number of marks): an unseen example has none."""
    lengths = np.array(draw(st.lists(st.integers(0, 3), max_size=6)), dtype=np.int64)
    seen = draw(hnp.arrays(bool, len(lengths)))
    lengths = np.where(seen, lengths, 0)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), seen, int(lengths.sum())


@st.composite
def any_labels(draw: st.DrawFn) -> Labels:
    kind, n, c = draw(st.integers(0, 10)), draw(SIZE), draw(WIDTH)
    names = names_of(c)
    if kind == 0:
        return ClassLabels(values=draw(codes(n, c)), names=names)
    if kind == 1:
        return MultiLabels(values=draw(hnp.arrays(np.int8, (n, c), elements=st.integers(-1, 1))), names=names)
    if kind == 2:
        values = draw(simplex(n, c))
        values[draw(hnp.arrays(bool, n))] = np.nan
        return SoftLabels(values=values.astype(draw(st.sampled_from([np.float32, np.float64]))), names=names)
    if kind == 3:
        bags = draw(st.integers(1, 3))
        return BagProportions(values=draw(codes(n, bags)), proportions=draw(simplex(bags, c)), names=names)
    if kind == 4:
        r = draw(WIDTH)
        return Votes(values=draw(codes((n, r), c)), names=names, annotators=[f"rater {j}" for j in range(r)])
    if kind == 5:
        return Targets(values=draw(hnp.arrays(np.float64, (n, c), elements=NUMBERS | st.just(np.nan))), names=names)
    if kind == 6:
        masks = draw(st.lists(st.none() | hnp.array_shapes(min_dims=1, max_dims=3, max_side=3), max_size=4))
        return Masks(masks=[None if s is None else draw(codes(s, c)) for s in masks], names=names)
    offsets, seen, m = draw(ragged())
    classes = draw(codes(m, c))
    if kind == 7:
        start = draw(hnp.arrays(np.int64, m, elements=st.integers(0, 50)))
        bounds = np.stack([start, start + draw(hnp.arrays(np.int64, m, elements=st.integers(1, 9)))], axis=1)
        return Spans(bounds=bounds, classes=classes, offsets=offsets, seen=seen, names=names)
    if kind == 8:
        boxes = draw(hnp.arrays(np.float64, (m, 5), elements=st.floats(0.5, 100)))
        return Boxes(boxes=boxes, classes=classes, offsets=offsets, seen=seen, names=names)
    if kind == 9:
        return Points(
            points=draw(hnp.arrays(np.float64, (m, 2), elements=NUMBERS)), classes=classes, offsets=offsets, seen=seen, names=names
        )
    texts = np.empty(m, dtype=object)
    texts[:] = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=m, max_size=m))
    return Captions(texts=texts, offsets=offsets, seen=seen)
