"""The budget guard, and the rounds on planted truth with a network that is plain label propagation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from labelwright.annotate.locle.answers import Ledger
from labelwright.annotate.locle.rounds import Fitted, Plan, rounds
from labelwright.errors import InputError
from labelwright.judges import CallableJudge
from labelwright.stats.graphs import adjacency, normalised

NAMES = ("ant", "bee")


def cliques(size: int, count: int = 2) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Complete graphs in a row, each joined to the next by one edge, and the number of each node's clique."""
    truth = np.repeat(np.arange(count), size)
    pairs = np.argwhere((truth[:, None] == truth[None]) & ~np.eye(len(truth), dtype=bool))
    bridges = np.array([[size * (k + 1) - 1, size * (k + 1)] for k in range(count - 1)]).reshape(-1, 2)
    return adjacency(np.concatenate([pairs, bridges]), len(truth)), truth


def perfect(truth: np.ndarray, asked: list[int], *, names: tuple[str, ...] = NAMES, wrong: frozenset[int] = frozenset()) -> CallableJudge:
    """A judge by node number that writes down what it is asked; wrong about some."""

    def answer(items: list[int]) -> np.ndarray:
        asked.extend(items)
        labels = np.array([(truth[i] + (i in wrong)) % len(names) for i in items])
        return np.eye(len(names))[labels] * 0.8 + 0.2 / len(names)

    return CallableJudge(name="oracle", classes=names, function=answer, takes="ids")


def propagate(graph: sparse.csr_matrix, nodes: np.ndarray, labels: np.ndarray, *, repair: bool, seed: int) -> Fitted:
    """Personalised smoothing of the given labels, in place of a network."""
    start = np.zeros((graph.shape[0], labels.max() + 1 if len(labels) else 1))
    start = np.zeros((graph.shape[0], max(2, start.shape[1])))
    start[nodes, labels] = 1
    values, step = start.copy(), normalised(graph.astype(np.float64), "row")
    for _ in range(10):
        values = 0.7 * (step @ values) + 0.3 * start
    values += 1e-3
    return Fitted(probs=values / values.sum(1, keepdims=True))


def ledger(n: int, budget: int, names: tuple[str, ...] = NAMES) -> Ledger:
    return Ledger(nodes=n, classes=names, budget=budget, items=lambda judge, nodes: nodes.tolist())


def test_no_node_is_asked_twice_and_the_budget_holds():
    asked: list[int] = []
    judge, book = perfect(np.array([0, 1] * 5), asked), ledger(10, 5)
    assert book.ask(judge, np.array([3, 3, 1]), stage=1).tolist() == [3, 1]
    assert book.ask(judge, np.array([1, 0, 3]), stage=2).tolist() == [0]
    assert book.ask(judge, np.array([9, 8, 7, 6]), stage=3).tolist() == [9, 8]
    assert book.ask(judge, np.array([5]), stage=4).tolist() == []
    assert asked == [3, 1, 0, 9, 8]
    assert (book.left, book.spent.calls) == (0, 5)
    assert book.stage.tolist() == [2, 1, 0, 1, 0, 0, 0, 0, 3, 3]


def test_an_answer_outside_the_classes_is_spent_and_gives_no_label():
    judge = CallableJudge(name="poet", classes=NAMES, function=lambda item: "moth" if item else "ant", each=True, takes="ids")
    book = ledger(3, 3)
    assert book.ask(judge, np.arange(3), stage=1).tolist() == [0]
    assert book.label.tolist() == [0, -1, -1]
    assert np.isnan(book.confidence).tolist() == [False, True, True]
    assert "outside the classes" in book.why[1]
    assert book.left == 0
    assert book.complaints().startswith("2 times: answer outside the classes")


def test_a_judge_of_other_classes_is_refused():
    judge = CallableJudge(name="other", classes=("cat", "dog"), function=lambda items: np.eye(2)[:1], takes="ids")
    with pytest.raises(InputError, match="classes of judge 'other'"):
        ledger(3, 3).ask(judge, np.array([0]), stage=1)


@pytest.mark.parametrize(("budget", "stages"), [(6, 3), (7, 4), (5, 1), (200, 3), (4, 9)])
def test_a_perfect_judge_of_cliques_gives_the_truth(budget, stages):
    graph, truth = cliques(12)
    asked: list[int] = []
    book = ledger(24, budget)
    plan = Plan(stages=stages, drop=0.0, per_cluster=True, clusters_per_class=1, rank=2, confident=3)
    done = rounds(graph, np.eye(2)[truth], book, lambda stage: perfect(truth, asked), propagate, plan, seed=0)
    assert (done.probs.argmax(1) == truth).all()
    assert len(asked) == len(set(asked)) == min(budget, 24)
    bought = np.flatnonzero(book.asked & ~done.refined)
    assert (done.used[bought] == truth[bought]).all()
    assert len(done.rounds) == stages
    assert not len(done.rounds[-1].critical)  # nothing is asked that nothing would learn from


def test_without_refinement_every_answer_stays_what_the_judge_said():
    graph, truth = cliques(10)
    asked: list[int] = []
    book = ledger(20, 10)
    plan = Plan(stages=3, drop=0.0, refine="none", per_cluster=True, rank=2, confident=2)
    done = rounds(graph, np.eye(2)[truth], book, lambda stage: perfect(truth, asked, wrong=frozenset({2, 13})), propagate, plan, seed=1)
    assert not done.refined.any()
    assert (done.used[book.asked] == book.label[book.asked]).all()
    assert_allclose(done.trust[book.asked], book.confidence[book.asked])


def test_the_network_that_overrules_has_not_learned_from_what_it_judges():
    graph, truth = cliques(10)
    taught: list[set[int]] = []

    def spy(adjacency, nodes, labels, *, repair, seed):
        if repair:
            taught.append(set(nodes.tolist()))
        return propagate(adjacency, nodes, labels, repair=repair, seed=seed)

    for refine in ("held-out", "all"):
        taught.clear()
        book = ledger(20, 10)
        plan = Plan(stages=3, drop=0.0, refine=refine, rank=2, confident=2)
        done = rounds(graph, np.eye(2)[truth], book, lambda stage: perfect(truth, []), spy, plan, seed=1)
        for here, seen in zip(done.rounds[:-1], taught, strict=True):
            assert (set(here.answered.tolist()) <= seen) == (refine == "all")
            assert set(here.trained_on.tolist()) <= seen


def test_a_floor_above_one_replaces_every_later_answer_by_the_network():
    graph, truth = cliques(10)
    wrong = frozenset(range(20))  # the judge is always wrong, but for the first stage below
    first = perfect(truth, [])
    later = perfect(truth, [], wrong=wrong)
    book = ledger(20, 8)
    plan = Plan(stages=3, first_share=0.25, drop=0.0, floor=1.01, per_cluster=True, clusters_per_class=1, rank=2, remove=0.0, add=0.0)
    done = rounds(graph, np.eye(2)[truth], book, lambda stage: first if stage == 1 else later, propagate, plan, seed=0)
    assert done.refined.sum() == 6
    assert (done.refined == (book.stage > 1)).all()
    done = rounds(graph, np.eye(2)[truth], ledger(20, 8), lambda stage: later, propagate, Plan(stages=1, drop=0.0), seed=0)
    assert not done.refined.any()


def test_answers_left_out_of_training_are_said_so_and_never_asked_again():
    graph, truth = cliques(15)
    asked: list[int] = []
    book = ledger(30, 16)
    plan = Plan(stages=2, drop=0.5, rank=2, per_cluster=True)
    done = rounds(graph, np.eye(2)[truth], book, lambda stage: perfect(truth, asked), propagate, plan, seed=0)
    assert done.dropped.sum() == 4  # half of the first eight
    assert len(asked) == len(set(asked)) == 16
    assert set(np.flatnonzero(done.dropped)).isdisjoint(done.rounds[0].trained_on)


@pytest.mark.parametrize(("said", "match"), [(None, "no label for any of the 4"), ("ant", "one class only, 'ant'")])
def test_answers_that_tell_nothing_apart_are_an_error(said, match):
    graph, truth = cliques(6)
    judge = CallableJudge(name="dull", classes=NAMES, function=lambda item: said, each=True, takes="ids")
    with pytest.raises(InputError, match=match):
        rounds(graph, np.eye(2)[truth], ledger(12, 8), lambda stage: judge, propagate, Plan(), seed=0)


def test_isolated_nodes_and_the_choice_at_random():
    graph, truth = cliques(8)
    graph = sparse.block_diag([graph, sparse.csr_matrix((3, 3))]).tocsr()
    truth = np.r_[truth, 0, 1, 0]
    asked: list[int] = []
    plan = Plan(stages=3, first="random", critical="margin", rank=2, keep_rewired=True)
    done = rounds(graph, np.eye(2)[truth], ledger(19, 12), lambda stage: perfect(truth, asked), propagate, plan, seed=3)
    assert np.isfinite(done.probs).all()
    assert len(set(asked)) == 12
