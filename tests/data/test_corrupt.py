"""Corruptions: exact counts and expected rates, the truth kept, unknown labels left alone, the same seed the same noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binom

from label_strategies import any_labels
from labelwright.data import Dataset, corrupt, load
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, BagProportions, Boxes, ClassLabels, Masks, MultiLabels, Points, Spans

N = 20_000


def dataset(values, names=(), **options) -> Dataset:
    labels = ClassLabels(values=np.asarray(values), names=names)
    return Dataset(inputs=np.zeros((len(labels), 1)), labels=labels, **options)


def uniform(classes: int, n: int = N, names=()) -> Dataset:
    return dataset(np.arange(n) % classes, names)


def within(count: int, n: int, p: float) -> bool:
    """Whether a binomial count is one that happens but once in a million."""
    low, high = binom.interval(1 - 1e-6, n, p)
    return low <= count <= high


KNOWN = st.lists(st.integers(UNKNOWN, 3), min_size=8, max_size=60).filter(lambda v: len(set(v) - {UNKNOWN}) > 1)


@settings(max_examples=100, deadline=None)
@given(KNOWN, st.floats(0, 1), st.integers(0, 9), st.sampled_from(["exclusive", "inclusive"]), st.booleans())
def test_symmetric_counts(values, rate, seed, variant, per_class):
    data = dataset(values)
    clean = data.labels
    noisy, truth = corrupt.symmetric(data, rate, seed=seed, variant=variant, per_class=per_class)
    assert truth.labels == clean
    assert data.labels == clean
    np.testing.assert_array_equal(truth.changed, noisy.labels.values != clean.values)
    np.testing.assert_array_equal(noisy.labels.known, clean.known)
    wanted = sum(math.floor(rate * n + 1e-9) for n in clean.counts()) if per_class else round(rate * clean.known.sum())
    assert truth.changed.sum() == wanted if variant == "exclusive" else truth.changed.sum() <= wanted
    if per_class and variant == "exclusive":
        for c, n in enumerate(clean.counts()):
            assert truth.changed[clean.values == c].sum() == math.floor(rate * n + 1e-9)
    again = corrupt.symmetric(data, rate, seed=seed, variant=variant, per_class=per_class)[0]
    assert again.labels == noisy.labels


def test_symmetric_is_even_over_the_classes():
    data = uniform(5)
    for variant, share in [("exclusive", 0.4), ("inclusive", 0.4 * 4 / 5)]:  # r (C - 1) / C
        noisy, truth = corrupt.symmetric(data, 0.4, seed=0, variant=variant)
        assert within(truth.changed.sum(), N, share) or truth.changed.sum() == share * N
        to = np.bincount(noisy.labels.values[truth.changed & (data.labels.values == 2)], minlength=5)
        assert to[2] == 0
        assert all(within(c, to.sum(), 1 / 4) for c in to[[0, 1, 3, 4]])
    assert corrupt.symmetric(data, 0.4, seed=1)[0].labels != corrupt.symmetric(data, 0.4, seed=2)[0].labels


def test_asymmetric_follows_the_map():
    cifar = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    data = uniform(10, names=cifar)
    noisy, truth = corrupt.asymmetric(data, 0.3, seed=0)
    to = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}
    for c, name in enumerate(cifar):
        rows = data.labels.values == c
        moved = noisy.labels.words()[rows & truth.changed]
        if name in to:
            assert set(moved) == {to[name]}
            assert within(len(moved), rows.sum(), 0.3)
        else:
            assert len(moved) == 0
    exact = corrupt.asymmetric(data, 0.3, seed=0, per_class=True)[1].changed
    assert [exact[data.labels.values == c].sum() for c in range(10)] == [600 if n in to else 0 for n in cifar]
    digits = load("digits")
    confused, told = corrupt.asymmetric(digits, 0.5, seed=0)
    pairs = {(int(a), int(b)) for a, b in zip(digits.labels.values[told.changed], confused.labels.values[told.changed], strict=True)}
    assert pairs == {(2, 7), (3, 8), (5, 6), (6, 5), (7, 1)}
    own = corrupt.asymmetric(dataset([0, 1, 2] * 10, ["a", "b", "c"]), 1.0, seed=0, mapping={"a": "b"})[0]
    assert own.labels.counts().tolist() == [0, 20, 10]


def test_cyclic_blocks():
    names = [f"c{j}" for j in range(100)]
    noisy, truth = corrupt.asymmetric(uniform(100, names=names), 0.2, seed=0)
    source, goal = np.arange(N)[truth.changed] % 100, noisy.labels.values[truth.changed]
    np.testing.assert_array_equal(goal, source // 5 * 5 + (source % 5 + 1) % 5)
    assert within(truth.changed.sum(), N, 0.2)
    assert corrupt.cyclic_map(["a", "b", "c", "d"], block=2) == {"a": "b", "b": "a", "c": "d", "d": "c"}
    with pytest.raises(InputError, match="4 classes do not divide into blocks of 3"):
        corrupt.cyclic_map(["a", "b", "c", "d"], block=3)


def test_transition_matrix():
    matrix = np.array([[0.7, 0.2, 0.1], [0, 1, 0], [0.5, 0.5, 0]])
    data = uniform(3)
    noisy, truth = corrupt.transition(data, matrix, seed=0)
    for c in range(3):
        counts = np.bincount(noisy.labels.values[data.labels.values == c], minlength=3)
        for j in range(3):
            assert within(counts[j], counts.sum(), matrix[c, j])
    assert not corrupt.transition(data, np.eye(3), seed=0)[1].changed.any()
    assert truth.rate == pytest.approx((0.3 + 0 + 1) / 3, abs=0.02)
    with pytest.raises(InputError, match="must be probabilities"):
        corrupt.transition(data, np.eye(3) * 2, seed=0)
    with pytest.raises(InputError, match="2 columns, but there are 3 classes"):
        corrupt.transition(data, np.eye(2), seed=0)


def test_instance_dependent_noise():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 4))
    data = Dataset(inputs=x, labels=ClassLabels(values=rng.integers(0, 4, N)))
    for rate in (0.0, 0.2, 0.5):
        noisy, truth = corrupt.instance_dependent(data, rate, seed=0)
        # the mean of the truncated normal is `rate` by symmetry, or a little above it near 0
        assert truth.rate == pytest.approx(rate, abs=0.015)
    # the wrong class depends on the inputs: it can be predicted from them far better than by chance (1/3)
    from sklearn.linear_model import LogisticRegression

    rows = truth.changed & (data.labels.values == 0)
    half = rng.random(rows.sum()) < 0.5
    goal = noisy.labels.values[rows]
    model = LogisticRegression().fit(x[rows][half], goal[half])
    assert model.score(x[rows][~half], goal[~half]) > 0.45
    # examples that agree in inputs and class share their probabilities, whatever their order
    same = Dataset(inputs=np.ones((N, 2)), labels=ClassLabels(values=np.zeros(N, dtype=int), names=["a", "b"]))
    with pytest.raises(InputError, match="At least two classes"):
        corrupt.instance_dependent(same, 0.2, seed=0)


@settings(max_examples=100, deadline=None)
@given(any_labels(), st.floats(0, 0.99), st.integers(0, 5))
def test_drop_of_every_kind(labels, rate, seed):
    data = Dataset(inputs=np.zeros((len(labels), 1)), labels=labels)
    dropped, truth = corrupt.drop(data, rate, seed=seed)
    assert type(dropped.labels) is type(labels)
    assert truth.labels == labels
    assert not dropped.known[truth.changed].any()
    # what was kept is what it was
    assert dropped.labels.take(~truth.changed) == labels.take(~truth.changed)
    if isinstance(labels, ClassLabels):
        expected = [n - math.floor(rate * n + 1e-9) for n in labels.counts()]
        assert dropped.labels.counts().tolist() == expected
    else:
        assert truth.changed.sum() == round(rate * data.known.sum())


def test_partial_and_positive_only():
    rng = np.random.default_rng(0)
    values = rng.integers(-1, 2, (300, 7))
    data = Dataset(inputs=np.zeros((300, 1)), labels=MultiLabels(values=values))
    known = int((values != UNKNOWN).sum())
    part, truth = corrupt.partial(data, 0.3, seed=0)
    assert (part.labels.values != UNKNOWN).sum() == known - round(0.3 * known)
    kept = part.labels.known
    np.testing.assert_array_equal(part.labels.values[kept], values[kept])
    np.testing.assert_array_equal(truth.changed, (part.labels.values != values).any(1))
    positive = corrupt.positive_only(data, seed=0)[0].labels.values
    np.testing.assert_array_equal(positive, np.where(values == 1, 1, UNKNOWN))
    single = corrupt.positive_only(data, seed=0, single=True)[0].labels.values
    np.testing.assert_array_equal((single == 1).sum(1), (values == 1).any(1))
    assert (values[single == 1] == 1).all()
    many = Dataset(inputs=np.zeros((N, 1)), labels=MultiLabels(values=np.ones((N, 4), dtype=int)))
    counts = (corrupt.positive_only(many, seed=0, single=True)[0].labels.values == 1).sum(0)
    assert all(within(c, N, 1 / 4) for c in counts)


def test_long_tail():
    data = uniform(10, 5000)
    tail, truth = corrupt.long_tail(data, 100, seed=0)
    # 500 * 100^(-c/9), rounded down: the profile of CIFAR-10-LT, ten times smaller
    assert tail.labels.counts().tolist() == [500, 299, 179, 107, 64, 38, 23, 13, 8, 5]
    assert truth.labels == tail.labels
    assert not truth.changed.any()
    np.testing.assert_array_equal(tail.labels.values, data.labels.values[tail.ids])
    assert corrupt.long_tail(data, 1, seed=0)[0].labels.counts().tolist() == [500] * 10
    with pytest.raises(InputError, match="Class 'b' has no example"):
        corrupt.long_tail(dataset([0, 2, 2], ["a", "b", "c"]), 10, seed=0)


def test_bags():
    rng = np.random.default_rng(0)
    data = dataset(rng.integers(0, 3, 103))
    bagged, truth = corrupt.bags(data, 10, seed=0)
    labels = bagged.require_labels(BagProportions)
    sizes = np.bincount(labels.values)
    assert sizes.tolist() == [10] * 9 + [13]
    for b in range(10):
        own = np.bincount(data.labels.values[labels.values == b], minlength=3) / sizes[b]
        np.testing.assert_allclose(labels.proportions[b], own)
    # all bags together give back the class counts
    np.testing.assert_allclose(sizes @ labels.proportions, data.labels.counts())
    assert truth.labels == data.labels
    assert corrupt.bags(data, 1000, seed=0)[0].labels.proportions.shape == (1, 3)
    with pytest.raises(InputError, match="labels are unknown"):
        corrupt.bags(dataset([0, 1, UNKNOWN]), 2, seed=0)


def test_points_in_boxes():
    boxes = Boxes(boxes=[[5, 5, 4, 2, 0], [0, 0, 10, 1, math.pi / 2]] * 500, classes=[0, 1] * 500, offsets=[0, 500, 500, 1000])
    data = Dataset(inputs=np.zeros((3, 1)), labels=boxes)
    centre, truth = corrupt.points(data, seed=0)
    np.testing.assert_array_equal(centre.labels.points, boxes.boxes[:, :2])
    assert truth.changed.tolist() == [True, False, True]
    spread = corrupt.points(data, seed=0, jitter=1.0)[0].require_labels(Points)
    shift = spread.points - boxes.boxes[:, :2]
    upright, turned = shift[::2], shift[1::2]
    assert np.abs(upright).max(0) == pytest.approx([2, 1], abs=0.02)
    assert np.abs(turned).max(0) == pytest.approx([0.5, 5], abs=0.05)  # a quarter turn swaps the sides
    assert upright.std(0) == pytest.approx(np.array([4, 2]) / math.sqrt(12), rel=0.1)
    np.testing.assert_array_equal(spread.classes, boxes.classes)


def test_weak_tags():
    spans = Spans(
        bounds=[[0, 1], [2, 3], [0, 4]], classes=[1, 1, 0], offsets=[0, 2, 2, 3, 3], seen=[True, True, True, False], names=["a", "b"]
    )
    masks = Masks(masks=[np.array([[0, 1], [-1, 1]]), None, np.array([1])], names=["a", "b"])
    expected = {
        0: (spans, [[0, 1], [0, 0], [1, 0], [-1, -1]]),
        1: (masks, [[1, 1], [-1, -1], [0, 1]]),
        2: (ClassLabels(values=[1, UNKNOWN, 0], names=["a", "b"]), [[0, 1], [-1, -1], [1, 0]]),
    }
    for labels, tags in expected.values():
        made, truth = corrupt.weak_tags(Dataset(inputs=np.zeros((len(labels), 1)), labels=labels), seed=0)
        assert made.labels.values.tolist() == tags
        assert not truth.changed.any()
    data = uniform(2)
    tags = corrupt.weak_tags(data, seed=0, miss=0.3, extra=0.1)[0].labels.values
    present = np.eye(2)[data.labels.values] == 1
    assert within((tags[present] == 0).sum(), N, 0.3)
    assert within((tags[~present] == 1).sum(), N, 0.1)


def test_what_is_refused():
    data = uniform(3, 30)
    for make, match in [
        (lambda: corrupt.symmetric(data, 1.1, seed=0), "rate must lie in"),
        (lambda: corrupt.symmetric(data, 0.1, seed=0, variant="both"), "variant must be one of"),
        (lambda: corrupt.asymmetric(data, 0.1, seed=0), "no customary map of confusions for 3 classes"),
        (lambda: corrupt.asymmetric(data, 0.1, seed=0, mapping={"0": "9"}), "class '9' is not in the labels"),
        (lambda: corrupt.drop(data, 1.0, seed=0), r"\[0, 1\)"),
        (lambda: corrupt.partial(data, 0.1, seed=0), "needs multi-labels; the dataset has class-labels"),
        (lambda: corrupt.long_tail(data, 0.5, seed=0), "ratio must lie in"),
        (lambda: corrupt.bags(data, 0, seed=0), "size must be >= 1"),
        (lambda: corrupt.points(data, seed=0), "needs boxes"),
        (lambda: corrupt.symmetric(dataset([0, 0, 0]), 0.1, seed=0), "At least two classes"),
    ]:
        with pytest.raises(InputError, match=match):
            make()


def test_only_the_rows_asked_for_change():
    data = Dataset(inputs=np.zeros((400, 1)), labels=ClassLabels(values=np.arange(400) % 5))
    rows = np.arange(400) % 2 == 0
    for where in (rows, np.flatnonzero(rows)):
        _, truth = corrupt.symmetric(data, 0.3, seed=0, rows=where)
        assert truth.changed.sum() == 60
        assert not truth.changed[~rows].any()
    _, truth = corrupt.symmetric(data, 0.3, seed=0, per_class=True, rows=rows)
    assert np.bincount(truth.labels.values[truth.changed], minlength=5).tolist() == [12] * 5
    mapping = corrupt.random_partners(data.labels.names, seed=3)
    noisy, truth = corrupt.asymmetric(data, 0.5, seed=0, mapping=mapping, rows=rows)
    assert 60 < truth.changed.sum() < 140
    assert not truth.changed[~rows].any()
    for c in range(5):
        went = set(noisy.labels.values[truth.changed & (truth.labels.values == c)].tolist())
        assert went == {int(mapping[str(c)])}


def test_random_partners_are_never_the_class_itself_and_depend_on_the_seed():
    names = [str(c) for c in range(7)]
    drawn = [corrupt.random_partners(names, seed=seed) for seed in range(200)]
    assert all(a != b for one in drawn for a, b in one.items())
    first = np.array([int(one["0"]) for one in drawn])
    assert np.bincount(first, minlength=7)[1:].min() > 15  # 33 expected of each
    assert drawn[0] == corrupt.random_partners(names, seed=0)
    with pytest.raises(InputError, match="at least two"):
        corrupt.random_partners(["a"], seed=0)
