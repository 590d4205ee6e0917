"""Text enhancement and anchors: the graph's properties, fixed points, and counts by hand."""

import numpy as np
import pytest

from labelwright.errors import InputError
from labelwright.learn.noisy.cross_modal.anchors import AnchorSelector, TextEnhancer, edge_weights, random_anchors
from labelwright.learn.noisy.cross_modal.texts import unit_rows


@pytest.fixture
def scene():
    """60 examples of three classes: visual features, text embeddings, class texts, labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    visual = 3 * np.eye(3, 6)[labels] + rng.normal(size=(60, 6))
    text = unit_rows((4 * np.eye(3, 8)[labels] + rng.normal(size=(60, 8))).astype(np.float32))
    return visual, text, np.eye(3, 8), labels


@pytest.mark.parametrize("rerank", ["lists", "graph", "none"])
@pytest.mark.parametrize("equal", [False, True])
def test_rows_sum_to_one_support_is_symmetric_and_nobody_is_its_own_neighbour(scene, rerank, equal):
    graph = TextEnhancer(neighbours=4, rerank=rerank, equal=equal).graph(scene[0]).toarray()
    assert np.allclose(graph.sum(1), 1)
    assert ((graph > 0) == (graph > 0).T).all()
    assert (np.diag(graph) == 0).all()
    assert (graph >= 0).all()
    assert ((graph > 0).sum(1) >= 4).all()


def test_nearer_neighbours_weigh_more():
    """The authors' code has it the other way round: the distance itself is the weight."""
    index, distance = np.array([[1, 2], [0, 2], [0, 1]]), np.array([[0.1, 0.7], [0.1, 0.5], [0.7, 0.5]])
    graph = edge_weights(index, distance).toarray()
    assert np.allclose(graph, [[0, 0.75, 0.25], [0.9 / 1.4, 0, 0.5 / 1.4], [0.3 / 0.8, 0.5 / 0.8, 0]])
    assert np.allclose(edge_weights(index, distance, equal=True).toarray(), (1 - np.eye(3)) / 2)
    # only one direction was found: the larger of 0 and its weight stands on both sides
    graph = edge_weights(np.array([[1], [0], [0]]), np.array([[0.2], [0.2], [0.6]])).toarray()
    assert np.allclose(graph, [[0, 0.8 / 1.2, 0.4 / 1.2], [1, 0, 0], [1, 0, 0]])


def test_every_text_is_the_weighted_mean_of_its_neighbours(scene):
    visual, text, _, _ = scene
    enhancer = TextEnhancer(neighbours=3)
    graph, got = enhancer.graph(visual).toarray(), enhancer.fit_transform(visual, text)
    for i in (0, 17, 59):
        assert np.allclose(got[i], sum(graph[i, j] * text[j] for j in range(60)), atol=1e-6)


def test_equal_texts_stay_and_a_large_own_weight_keeps_the_input(scene):
    visual, text, _, _ = scene
    same = np.tile(text[:1], (60, 1))
    assert np.allclose(TextEnhancer().fit_transform(visual, same), same, atol=1e-6)
    assert np.allclose(TextEnhancer(self_weight=1e9).fit_transform(visual, text), text, atol=1e-6)
    half = TextEnhancer(self_weight=1.0).fit_transform(visual, text)
    assert np.allclose(half, (TextEnhancer().fit_transform(visual, text) + text) / 2, atol=1e-6)


def test_missing_texts_are_filled_from_neighbours(scene):
    visual, text, classes, labels = scene
    missing = np.random.default_rng(1).random(60) < 0.3
    gaps = np.where(missing[:, None], 0, text)
    got = TextEnhancer(neighbours=5).fit_transform(visual, gaps)
    assert ((got @ classes.T).argmax(1) == labels)[missing].mean() > 0.9


def test_few_examples_have_fewer_neighbours():
    points = np.random.default_rng(0).normal(size=(3, 2))
    assert np.allclose(TextEnhancer(neighbours=5).graph(points).toarray() > 0, 1 - np.eye(3))
    with pytest.raises(InputError, match="at least two"):
        TextEnhancer().graph(points[:1])


@pytest.mark.parametrize("count", [1, 7, 20, 25])
def test_exactly_k_anchors_a_class_or_all_it_has(scene, count):
    _, text, classes, labels = scene
    labels = labels.copy()
    labels[:9] = -1  # unknown, or held out: never an anchor
    chosen = AnchorSelector(count=count).select(text, classes, labels)
    assert [int(chosen[labels == c].sum()) for c in range(3)] == [min(count, 17)] * 3
    assert not chosen[:9].any()


def test_the_order_of_the_examples_does_not_matter(scene):
    _, text, classes, labels = scene
    order = np.random.default_rng(2).permutation(60)
    chosen = AnchorSelector(count=6).select(text, classes, labels)
    assert np.array_equal(AnchorSelector(count=6).select(text[order], classes, labels[order]), chosen[order])


def test_anchors_are_the_examples_whose_text_fits_their_label(scene):
    _, text, classes, truth = scene
    wrong = np.random.default_rng(3).random(60) < 0.4
    labels = np.where(wrong, (truth + 1) % 3, truth)
    chosen = AnchorSelector(count=8).select(text, classes, labels)
    assert not wrong[chosen].any()
    by_chance = random_anchors(labels, 8, num_classes=3, seed=0)
    assert [int(by_chance[labels == c].sum()) for c in range(3)] == [8, 8, 8]
    assert wrong[by_chance].any()
    assert np.array_equal(by_chance, random_anchors(labels, 8, num_classes=3, seed=0))


def test_cells_have_trusted_positives_and_negatives_that_agree_with_them(scene):
    _, text, classes, truth = scene
    cells = (np.arange(3) == truth[:, None]).astype(np.int64)
    cells[truth == 0, 1] = np.arange(20) % 2  # half of class 0 wrongly bears class 1 as well
    cells[::10] = -1
    chosen = AnchorSelector(count=5).select(text, classes, cells)
    for c in range(3):
        assert chosen[cells[:, c] == 1, c].sum() == 5
        assert chosen[cells[:, c] == 0, c].sum() == 5
    assert not chosen[::10].any()
    assert (truth[chosen[:, 1] & (cells[:, 1] == 1)] == 1).all()
    by_chance = random_anchors(cells, 5, num_classes=3, seed=1)
    assert (by_chance & (cells == 1)).sum(0).tolist() == [5, 5, 5]
    assert (by_chance & (cells == 0)).sum(0).tolist() == [5, 5, 5]


@pytest.mark.parametrize(("make", "word"), [(lambda: TextEnhancer(neighbours=0), "neighbours"), (lambda: AnchorSelector(count=0), "count")])
def test_bad_settings(make, word):
    with pytest.raises(InputError, match=word):
        make()
