"""Label kinds: exact round trips, rows that stay together under `take`, and one clear line for each broken rule."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from label_strategies import any_labels
from labelwright import labels as kinds
from labelwright.errors import InputError
from labelwright.labels import (
    KINDS,
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


@settings(max_examples=150, deadline=None)
@given(any_labels())
def test_save_then_load_is_identity(labels: Labels):
    with tempfile.TemporaryDirectory() as folder:
        labels.save(Path(folder) / "labels.parquet")
        back = kinds.load(Path(folder) / "labels.parquet")
    assert type(back) is type(labels)
    assert back == labels
    assert back.names == labels.names
    np.testing.assert_array_equal(back.known, labels.known)


@settings(max_examples=150, deadline=None)
@given(any_labels(), st.data())
def test_take_gives_the_rows_in_that_order(labels: Labels, data: st.DataObject):
    n = len(labels)
    index = data.draw(st.lists(st.integers(0, n - 1), max_size=6)) if n else []
    taken = labels.take(index)
    assert len(taken) == len(index)
    np.testing.assert_array_equal(taken.known, labels.known[np.array(index, dtype=int)])
    for row, i in enumerate(index):
        assert taken.take([row]) == labels.take([i])
    # a mask is the same as its positions, and taking all changes nothing
    mask = np.zeros(n, dtype=bool)
    mask[index] = True
    assert labels.take(mask) == labels.take(np.flatnonzero(mask))
    assert labels.take(np.arange(n)) == labels


@settings(max_examples=60, deadline=None)
@given(any_labels())
def test_summary_counts_what_is_unknown(labels: Labels):
    facts = labels.summary()
    cells = labels.known
    assert facts["n"] == len(labels)
    assert facts["unknown"] == pytest.approx((~cells).sum() / cells.size if cells.size else 0)
    assert len(repr(labels)) < 200


def test_every_kind_of_the_vocabulary_exists():
    assert sorted(KINDS) == sorted(
        ["class-labels", "multi-labels", "soft-labels", "proportions", "votes", "targets", "spans", "boxes", "points", "masks", "captions"]
    )


def test_labels_are_values():
    values = np.array([0, 1, 1])
    labels = ClassLabels(values=values)
    with pytest.raises(ValueError, match="read-only"):
        labels.values[0] = 1
    with pytest.raises(AttributeError):
        labels.values = values  # type: ignore[misc]
    values[0] = 1  # the caller's own array stays writeable
    assert labels != ClassLabels(values=[0, 1, 0])
    assert labels != MultiLabels(values=[[0], [1], [1]])


def test_encode_numbers_the_classes():
    labels = ClassLabels.encode(["cat", None, "dog", "", float("nan"), "cat"])
    assert labels.names == ("cat", "dog")
    assert labels.values.tolist() == [0, UNKNOWN, 1, UNKNOWN, UNKNOWN, 0]
    assert labels.words().tolist() == ["cat", None, "dog", None, None, "cat"]
    assert labels.counts().tolist() == [2, 1]
    # integers by value, not as strings; a word among them makes all of them words
    assert ClassLabels.encode([10, 9, -1]).names == ("-1", "9", "10")
    assert ClassLabels.encode(["10", "9", "--1"]).names == ("--1", "10", "9")
    given_order = ClassLabels.encode(["b", "a"], names=["b", "a", "never"])
    assert given_order.values.tolist() == [0, 1]
    assert given_order.counts().tolist() == [1, 1, 0]
    with pytest.raises(InputError, match=r"'catt' \(row 1\) is not one of the 2 classes. Did you mean 'cat'"):
        ClassLabels.encode(["cat", "catt"], names=["cat", "dog"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=20))
def test_encode_and_words_are_inverse(words: list[str]):
    assert ClassLabels.encode(words).words().tolist() == words


def test_votes_count_and_soft_labels_harden():
    votes = Votes(values=[[0, 0, 1], [UNKNOWN, 2, 2], [UNKNOWN, UNKNOWN, UNKNOWN]])
    assert votes.counts().tolist() == [[2, 1, 0], [0, 0, 2], [0, 0, 0]]
    assert votes.annotators == ("0", "1", "2")
    soft = SoftLabels(values=np.array([[0.2, 0.8], [np.nan, np.nan], [0.6, 0.4]]))
    assert soft.harden().values.tolist() == [1, UNKNOWN, 0]


def test_boxes_from_corners():
    boxes = Boxes.from_corners([[0, 0, 4, 2], [1, 1, 2, 5]], [0, 1], [0, 1, 1, 2])
    assert boxes.boxes.tolist() == [[2, 1, 4, 2, 0], [1.5, 3, 1, 4, 0]]
    assert boxes.rows(1) == slice(1, 1)
    assert not boxes.rotated
    assert boxes.take([2, 0]).boxes[:, 0].tolist() == [1.5, 2]
    turned = Boxes(boxes=[[2, 1, 4, 2, 0.1]], classes=[0], offsets=[0, 1])
    assert turned.rotated


SIMPLE = {"classes": [0], "offsets": [0, 1]}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassLabels(values=[0, 3], names=["a", "b"]), r"labels must lie in 0..1: 1 of 2 do not, first row 1 \(label 3\)"),
        (lambda: ClassLabels(values=[0, -2]), "first row 1"),
        (lambda: ClassLabels(values=[0.5, 1]), "integer class indices"),
        (lambda: ClassLabels(values=[[0]]), r"shape \(N,\)"),
        (lambda: ClassLabels(values=[0, 1], names=["a", "a"]), "names must be unique"),
        (lambda: MultiLabels(values=[[0, 1], [2, 0]]), "row 1, column 0 is 2"),
        (lambda: MultiLabels(values=np.zeros((3, 0))), "C >= 1"),
        (lambda: MultiLabels(values=[[0, 1]], names=["a"]), "2 columns, but 1 names"),
        (lambda: SoftLabels(values=[[0.5, 0.6]]), "rows summing to 1"),
        (lambda: SoftLabels(values=[[0.5, np.nan]]), "must be probabilities"),
        (lambda: SoftLabels(values=[[1, 0]]), "must be floats"),
        (lambda: BagProportions(values=[0, 2], proportions=[[1.0], [1.0]]), "bags must lie in 0..1"),
        (lambda: Votes(values=[[0, 5]], names=["a", "b"]), "votes must lie in 0..1"),
        (lambda: Targets(values=[[np.inf]]), "row 0 is infinite"),
        (lambda: Targets(values=[1.0]), r"shape \(N, T\)"),
        (lambda: Spans(bounds=[[3, 3]], **SIMPLE), "0 <= start < end"),
        (lambda: Boxes(boxes=[[0, 0, 0, 1, 0]], **SIMPLE), "positive width and height; mark 0"),
        (lambda: Boxes(boxes=[[0, 0, 1, 1, np.nan]], **SIMPLE), "must be finite"),
        (lambda: Points(points=[[0, 0], [1, 1]], classes=[0, 0], offsets=[0, 1]), "points has 2 rows, but offsets end at 1"),
        (lambda: Points(points=[[0, 0]], classes=[4], offsets=[0, 1], names=["a"]), "classes must lie in 0..0"),
        (lambda: Points(points=[[0, 0]], classes=[0], offsets=[0, 1], seen=[False]), "Example 0 has marks"),
        (lambda: Spans(bounds=[[0, 1]], classes=[0], offsets=[1, 1]), "offsets must start at 0"),
        (lambda: Captions(texts=[1], offsets=[0, 1]), "captions must be strings"),
        (lambda: Masks(masks=[np.array([[0, 7]])], names=["a", "b"]), "mask 0 holds classes outside 0..1"),
        (lambda: ClassLabels(values=[0, 1]).take([2]), "Position 2 is outside the 2 examples"),
        (lambda: ClassLabels(values=[0, 1]).take([True]), r"must have shape \(2,\)"),
        (lambda: ClassLabels(values=[0, 1]).take([0.5]), "must be integers"),
    ],
)
def test_broken_rules_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_load_refuses_other_files(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        kinds.load(tmp_path / "none.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        kinds.load(tmp_path / "cut.parquet")
    import polars as pl

    pl.DataFrame({"label": [1]}).write_parquet(tmp_path / "own.parquet")
    with pytest.raises(InputError, match="was not written by Labels"):
        kinds.load(tmp_path / "own.parquet")
    ClassLabels(values=[0]).save(tmp_path / "class.parquet")
    with pytest.raises(InputError, match="holds class-labels, not votes"):
        Votes.load(tmp_path / "class.parquet")
