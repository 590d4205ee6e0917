"""What judges say, and what they may spend."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from labelwright.errors import InputError
from labelwright.judges import Answer, Budget, Prices, Verdicts
from labelwright.judges.base import digest

CLASSES = ("a", "b", "c")


def gather(*answers, n=None):
    return Verdicts.gather(enumerate(answers), len(answers) if n is None else n, CLASSES, judge="j")


def test_labels_confidence_and_accounts():
    verdicts = gather(
        Answer.of([1, 1, 2], calls=2, tokens=(5, 1), cost=0.5),
        Answer.unknown("why", calls=3, cost=0.25),
        Answer.of([4, 1, 3], stated=0.3, cached=True, calls=9, cost=9),
        n=4,
    )
    np.testing.assert_allclose(verdicts.probs[0], [0.25, 0.25, 0.5])
    assert np.isnan(verdicts.probs[[1, 3]]).all()
    assert verdicts.labels.tolist() == [2, -1, 0, -1]
    np.testing.assert_allclose(verdicts.confidence, [0.5, np.nan, 0.3, np.nan])
    assert verdicts.reason.tolist() == ["", "why", "", "no answer came"]
    # what was stored costs nothing now
    assert (verdicts.calls, verdicts.cached, verdicts.cost, verdicts.tokens) == (5, 1, 0.75, (5, 1))
    assert verdicts.reasons() == {"no answer came": 1, "why": 1}
    assert verdicts.summary().startswith("j: 2 of 4 judged (1 without a call; 5 calls, 0.75 money). 1 unknown: no answer came.")


def test_nobody_asked_is_no_verdict():
    verdicts = gather()
    assert len(verdicts) == 0
    assert verdicts.labels.shape == verdicts.confidence.shape == (0,)
    assert verdicts.to_frame().height == 0


def test_columns_are_put_in_the_order_of_the_labels():
    verdicts = gather(Answer.of([0.5, 0.3, 0.2]), Answer.unknown("x")).aligned(("c", "a", "b"))
    np.testing.assert_allclose(verdicts.probs[0], [0.2, 0.5, 0.3])
    assert verdicts.labels.tolist() == [1, -1]
    with pytest.raises(InputError, match=r"class 'aa' is not in the classes of judge 'j'\. Did you mean 'a'"):
        verdicts.aligned(("aa", "b", "c"))
    with pytest.raises(InputError, match="judge 'j': class 'b' is not in the classes of the labels"):
        verdicts.aligned(("a", "c"))


def test_a_frame_has_a_row_an_item():
    frame = gather(Answer.of([0.5, 0.3, 0.2]), Answer.unknown("x")).to_frame(np.array(["u", "v"]))
    assert frame.columns == ["id", "label", "confidence", "reason", "p_a", "p_b", "p_c"]
    assert frame.row(0) == ("u", "a", 0.5, "", 0.5, 0.3, 0.2)
    assert frame.row(1) == ("v", None, None, "x", None, None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": np.array(["", ""], dtype=object)},
        {"reason": np.array(["why", ""], dtype=object), "probs": np.full((2, 3), np.nan)},
        {"probs": np.array([[0.5, 0.5, 0.5], [np.nan] * 3])},
        {"probs": np.zeros((2, 2))},
        {"raw": (None,)},
    ],
)
def test_verdicts_that_contradict_themselves_are_refused(wrong):
    good = {"probs": np.array([[0.2, 0.3, 0.5], [np.nan] * 3]), "reason": np.array(["", "why"], dtype=object), "stated": np.full(2, np.nan)}
    Verdicts(classes=CLASSES, **good)
    with pytest.raises(InputError):
        Verdicts(classes=CLASSES, **(good | wrong))


def test_digests_keep_parts_apart():
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", "")}) == 4


def test_a_budget_counts_what_was_settled():
    budget = Budget(calls=3, money=1.0)
    assert budget.reserve(money=0.4) == budget.reserve(money=0.4) == ""
    budget.settle(reserved=0.4, money=0.1)
    budget.settle(reserved=0.4, money=0.5)
    assert (budget.spent_calls, budget.spent_money) == (2, 0.6)
    assert "0.6; the next call may cost 0.5" in budget.reserve(money=0.5)
    assert budget.reserve(money=0.4) == ""
    budget.settle(reserved=0.4, called=False)  # never sent: given back
    assert budget.reserve(money=0.1) == ""
    budget.settle(reserved=0.1, money=0.1)
    assert budget.reserve() == "budget of 3 calls is spent"
    assert budget.summary() == "3 of 3 calls and 0.7 of 1 money spent; 2 requests were refused, their items are unknown."


def test_what_does_not_fit_waits_for_what_is_under_way():
    budget, said = Budget(money=1.0), []
    assert budget.reserve(money=0.8) == ""
    thread = threading.Thread(target=lambda: said.append(budget.reserve(money=0.8)))
    thread.start()
    time.sleep(0.05)
    assert not said
    budget.settle(reserved=0.8, money=0.1)
    thread.join(5)
    assert said == [""]
    budget.settle(reserved=0.8, money=0.8)


def test_calls_under_way_are_waited_for_too():
    budget, said = Budget(calls=1), []
    assert budget.reserve() == ""
    thread = threading.Thread(target=lambda: said.append(budget.reserve()))
    thread.start()
    budget.settle(called=False)
    thread.join(5)
    assert said == [""]


def test_many_threads_never_pass_a_budget():
    budget = Budget(calls=50, money=3.0)

    def work():
        for _ in range(20):
            if not budget.reserve(money=0.1):
                budget.settle(reserved=0.1, money=0.07)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.spent_calls == 42  # 0.07 each: after 42 calls 2.94 is spent, and 0.1 more might pass 3
    assert budget.spent_money <= 3.0
    assert budget.refused == 160 - 42


@pytest.mark.parametrize("wrong", [{"calls": -1}, {"calls": 1.5}, {"money": -0.1}, {"money": float("nan")}])
def test_a_budget_is_a_number_from_zero(wrong):
    with pytest.raises(InputError):
        Budget(**wrong)
    with pytest.raises(InputError):
        Prices(input=-1)


def test_prices_are_for_a_million_tokens():
    assert Prices(input=3, output=15).cost(2_000_000, 100_000) == pytest.approx(7.5)
