"""A judge behind a real HTTP server, truthful or not."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from email.utils import formatdate

import numpy as np
import pytest
from nasty_server import Reply, chat, serving, token

from labelwright.errors import InputError
from labelwright.judges import Budget, HTTPJudge, Prices, classify, guesses, pair_prompt
from labelwright.judges._replies import retry_after
from labelwright.judges._sending import Pace

pytest.importorskip("openai")  # and loaded before anything is timed

ASK = classify(("minus", "plus"))
SECRET = "sk-verysecret-0123456789"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.delenv("LABELWRIGHT_JUDGE_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def judge_at(url, **more):
    return HTTPJudge(**({"url": url, "model": "m", "prompt": ASK, "backoff": 0.01, "timeout": 5} | more))


def said_of(payload):
    """The item inside a question."""
    return payload["messages"][-1]["content"].split("\n")[1]


def plus(payload, n):
    return chat("1", logprobs=[token("1", math.log(0.8), {"1": math.log(0.8), "0": math.log(0.1), " 0": math.log(0.1)})], usage=(100, 1))


def test_class_tokens_are_summed_over_their_variants_and_renormalised():
    top = {"1": math.log(0.5), " 1": math.log(0.1), "0": math.log(0.15), "yes": math.log(0.25)}
    with serving(lambda p, n: chat("1", logprobs=[token("1", math.log(0.5), top)])) as (url, log):
        verdicts = judge_at(url).judge(["good"])
    np.testing.assert_allclose(verdicts.probs, [[0.15 / 0.75, 0.6 / 0.75]], atol=1e-12)
    assert verdicts.raw[0]["logprobs"]["yes"] == pytest.approx(math.log(0.25))
    sent = log.requests[0]
    assert (sent["temperature"], sent["max_tokens"], sent["logprobs"], sent["top_logprobs"]) == (0.0, 2, True, 20)
    assert [m["role"] for m in sent["messages"]] == ["system", "user"]


def test_the_first_generated_class_token_counts_also_behind_a_blank():
    positions = [token(" ", math.log(0.9)), token("0", math.log(0.7))]
    with serving(lambda p, n: chat(" 0", logprobs=positions)) as (url, _):
        verdicts = judge_at(url).judge(["x"])
    np.testing.assert_allclose(verdicts.probs, [[0.7, 0.3]], atol=1e-12)  # two classes, no list: the other one gets 1 - p


def test_more_than_two_classes_need_the_list_of_likely_tokens():
    three = classify(("a", "b", "c"))
    with serving(lambda p, n: chat("2", logprobs=[token("2", math.log(0.6))])) as (url, _):
        verdicts = judge_at(url, prompt=three).judge(["x"])
        assert "more than two classes" in verdicts.reason[0]
    top = {"2": math.log(0.6), "0": math.log(0.2), "maybe": math.log(0.1)}
    with serving(lambda p, n: chat("2", logprobs=[token("2", math.log(0.6), top)])) as (url, _):
        np.testing.assert_allclose(judge_at(url, prompt=three).judge(["x"]).probs, [[0.25, 0, 0.75]], atol=1e-12)


def test_without_logprobs_replies_are_sampled_and_counted():
    with serving(lambda p, n: chat(*(["1", "0", "1.", " 1\n"][: p.get("n", 1)]), usage=(50, 2))) as (url, log):
        judge = judge_at(url, samples=4, prices=Prices(input=1, output=10))
        verdicts = judge.judge(["x", "y"])
        np.testing.assert_allclose(verdicts.probs, [[0.25, 0.75]] * 2)
        # one request was spent on finding out (two, where both items asked before the first reply came)
        assert verdicts.calls == len(log.requests) in (3, 4)
        assert log.requests[-1]["n"] == 4
        assert log.requests[-1]["temperature"] == 1.0
        assert verdicts.tokens == (50 * len(log.requests), 2 * len(log.requests))
        assert verdicts.cost == pytest.approx((50 * 1 + 2 * 10) * len(log.requests) / 1e6)
        assert "no log-probabilities" in judge_at(url, scores="logprobs").judge(["x"]).reason[0]


def test_an_empty_reply_does_not_say_that_the_server_has_no_logprobs():
    def answer(payload, n):
        first = "nothing" in said_of(payload)
        return chat("", logprobs=[]) if first else plus(payload, n)

    with serving(answer) as (url, log):
        verdicts = judge_at(url, concurrency=1).judge(["nothing", "x"])
    assert "empty reply" in verdicts.reason[0]
    np.testing.assert_allclose(verdicts.probs[1], [0.2, 0.8])
    assert log.requests[-1]["logprobs"]


def test_a_server_that_gives_one_reply_a_request_is_asked_as_often_as_needed():
    with serving(lambda p, n: chat(str(n % 2))) as (url, log):
        verdicts = judge_at(url, scores="sampling", samples=4).judge(["x"])
    assert (len(log.requests), verdicts.calls) == (4, 4)
    np.testing.assert_allclose(verdicts.probs, [[0.5, 0.5]])


@pytest.mark.parametrize("complaint", ["logprobs are not supported", "n must be 1", "use max_completion_tokens instead of max_tokens"])
def test_a_parameter_the_server_does_not_take_is_left_out(complaint):
    def answer(payload, n):
        bad = {"logprobs are not supported": "logprobs", "n must be 1": "n"}.get(complaint, "max_tokens")
        return Reply({"error": {"message": complaint}}, status=400) if bad in payload else chat("1")

    with serving(answer) as (url, _):
        assert judge_at(url, scores="auto" if "logprobs" in complaint else "sampling", samples=2).judge(["x"]).labels.tolist() == [1]


def test_a_question_the_server_refuses_is_unknown_and_not_asked_again():
    with serving(lambda p, n: Reply({"error": {"message": "maximum context length is 10 tokens"}}, status=400)) as (url, log):
        verdicts = judge_at(url, scores="logprobs").judge(["x"])
    assert verdicts.reason[0] == "the server refuses the question: status 400: maximum context length is 10 tokens"
    assert len(log.requests) == 1


def test_an_answer_outside_the_classes_is_unknown_with_the_reply():
    with serving(lambda p, n: chat("I cannot say", logprobs=[token("I", -0.1), token(" cannot", -0.1)])) as (url, _):
        verdicts = judge_at(url).judge(["x"])
    assert verdicts.reason.tolist() == ["answer outside the classes: 'I cannot'"]
    assert verdicts.labels.tolist() == [-1]
    assert np.isnan(verdicts.probs).all()


def test_guesses_are_sampled_and_voted():
    replies = [
        'Sure: [{"answer": "b", "confidence": 60}, {"answer": "a", "confidence": 30}]',
        '[{"answer": "A", "confidence": 90}]',
        '[{"answer": "b", "confidence": "40%"}, {"answer": "z", "confidence": 60}]',
    ]
    with serving(lambda p, n: chat(*replies)) as (url, log):
        verdicts = judge_at(url, prompt=guesses(("a", "b", "c"), top=2)).judge(["x"])
    assert (log.requests[0]["n"], log.requests[0]["temperature"]) == (3, 0.7)
    # votes b a b; distributions (.3 .6 .1), (.9 .05 .05), (.3 .4 .3): their mean is one vote more
    np.testing.assert_allclose(verdicts.probs, [[(1 + 0.5) / 4, (2 + 0.35) / 4, 0.15 / 4]], atol=1e-12)
    assert verdicts.labels.tolist() == [1]
    np.testing.assert_allclose(verdicts.confidence, [0.5])  # mean of 60 and 40


@pytest.mark.parametrize(
    "fault",
    [
        Reply(cut=True),
        Reply(chat("1"), cut=True),
        Reply("{'choices': [", headers={}),
        Reply("[]"),
        Reply({"choices": []}),
        Reply({"choices": [{"message": {"content": 5}}]}),
        Reply({"error": "overloaded"}, status=503),
        Reply("<html>", status=500, headers={"content-type": "text/html"}),
        Reply({}, status=429, headers={"retry-after": "0"}),
        Reply(chat("1"), delay=1.2),
    ],
    ids=["dropped", "cut", "malformed", "list", "no-choices", "no-text", "503", "500", "429", "slow"],
)
def test_a_fault_that_passes_is_overcome_and_one_that_stays_is_unknown(fault):
    patience = 0.5 if fault.delay else 10
    with serving(lambda p, n: fault if n < 2 else plus(p, n)) as (url, log):
        verdicts = judge_at(url, retries=2, timeout=patience).judge(["x"])
        assert verdicts.labels.tolist() == [1]
        assert (verdicts.calls, len(log.requests)) == (3, 3)
    with serving(lambda p, n: fault) as (url, log):
        verdicts = judge_at(url, retries=1, timeout=patience).judge(["x"])
        assert not verdicts.known.any()
        assert "2 times" in verdicts.reason[0]
        assert len(log.requests) == 2


def test_the_server_says_how_long_to_wait_and_all_wait():
    with serving(lambda p, n: Reply({}, status=429, headers={"retry-after": "0.4"}) if n == 0 else plus(p, n)) as (url, log):
        start = time.monotonic()
        assert judge_at(url, concurrency=1).judge(["a", "b"]).known.all()
        assert log.times[1] - log.times[0] >= 0.39
        assert time.monotonic() - start < 2
    with serving(lambda p, n: Reply({}, status=429, headers={"retry-after": "3600"})) as (url, log):
        assert "asks to wait 3,600 s" in judge_at(url).judge(["a"]).reason[0]
        assert len(log.requests) == 1


def test_retry_after_in_all_its_forms():
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after-ms": "250", "retry-after": "7"}) == 0.25
    assert retry_after({"retry-after": formatdate(1_000_030, usegmt=True)}, now=1_000_000.0) == 30
    assert retry_after({"retry-after": formatdate(999_000, usegmt=True)}, now=1_000_000.0) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def test_pauses_between_tries_double():
    with serving(lambda p, n: Reply({}, status=500)) as (url, log):
        judge_at(url, retries=3, backoff=0.1).judge(["x"])
    np.testing.assert_array_less([0.1, 0.2, 0.4], np.diff(log.times))
    assert log.times[-1] - log.times[0] < 3


def test_requests_run_side_by_side_up_to_the_bound():
    def slow(payload, n):
        return Reply(plus(payload, n), delay=0.1)

    with serving(slow) as (url, log):
        start = time.monotonic()
        assert judge_at(url, concurrency=8).judge([f"t{i}" for i in range(40)]).known.all()
        assert time.monotonic() - start < 40 * 0.1 / 1.5  # one by one it would be 4 seconds, 8 at a time half a second
        assert 4 <= log.most_busy <= 8


def test_the_rate_limit_spaces_requests():
    with serving(plus) as (url, log):
        judge_at(url, per_minute=1200, concurrency=8).judge([f"t{i}" for i in range(9)])
    assert log.times[-1] - log.times[0] >= 0.3
    pace = Pace(1200)
    waits = [pace.turn() for _ in range(9)]
    np.testing.assert_allclose(np.diff(waits), 0.05, atol=0.01)
    pace.hold(2)
    assert 1.9 < pace.turn() <= 2
    assert [Pace(math.inf).turn() for _ in range(3)] == [0, 0, 0]


def test_answers_belong_to_their_items_whatever_the_order_they_come_in():
    def answer(payload, n):
        word = said_of(payload)
        return Reply(chat("0" if word.endswith(("0", "2", "4", "6", "8")) else "1"), delay=0.03 if n % 3 == 0 else 0)

    with serving(answer) as (url, _):
        verdicts = judge_at(url, scores="sampling", samples=1).judge([f"t{i}" for i in range(30)])
    assert verdicts.labels.tolist() == [i % 2 for i in range(30)]


def test_a_server_that_is_gone_is_given_up_and_the_rest_is_unknown():
    with serving(plus) as (url, _):
        pass  # the port is free again
    verdicts = judge_at(url, retries=0, give_up=3, concurrency=1).judge([f"t{i}" for i in range(50)])
    assert not verdicts.known.any()
    assert verdicts.calls <= 5
    assert sum("not asked, after 3 failures in a row" in why for why in verdicts.reason) >= 45


def test_failures_in_between_do_not_add_up_to_giving_up():
    with serving(lambda p, n: Reply({}, status=500) if n % 2 else plus(p, n)) as (url, _):
        verdicts = judge_at(url, retries=0, give_up=2, concurrency=1).judge([f"t{i}" for i in range(10)])
    assert verdicts.known.sum() == 5


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_stops_at_once_and_is_never_shown(monkeypatch, status):
    monkeypatch.setenv("MY_KEY", SECRET)
    with serving(lambda p, n: Reply({"error": {"message": f"Incorrect API key provided: {SECRET}"}}, status=status)) as (url, log):
        with pytest.raises(InputError) as caught:
            judge_at(url, key_env="MY_KEY", concurrency=2).judge([f"t{i}" for i in range(100)])
        assert len(log.requests) <= 4
        assert log.headers[0]["authorization"] == f"Bearer {SECRET}"
    message = str(caught.value)
    assert (
        message == f"Judge 'm/classify': the server at {url} (status {status}) refuses the key in MY_KEY. Correct the environment variable."
    )
    error = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        assert SECRET not in repr(vars(error))
        error = error.__cause__


def test_a_key_the_server_repeats_is_cut_out_of_answers_and_complaints(monkeypatch):
    monkeypatch.setenv("LABELWRIGHT_JUDGE_KEY", SECRET)
    with serving(lambda p, n: chat(f"you sent {SECRET}")) as (url, _):
        verdicts = judge_at(url, scores="sampling", samples=1).judge(["x"])
    assert SECRET not in repr(verdicts)
    assert "[key]" in verdicts.reason[0]
    with serving(lambda p, n: Reply({"error": {"message": f"bad key {SECRET}"}}, status=422)) as (url, _):
        assert "bad key [key]" in judge_at(url).judge(["x"]).reason[0]


def test_the_key_reaches_neither_output_nor_traceback_even_when_the_client_logs(tmp_path):
    script = (
        "import logging; logging.basicConfig(level=logging.DEBUG)\n"
        "from labelwright.judges import HTTPJudge, classify\n"
        "import sys\n"
        "judge = HTTPJudge(url=sys.argv[1], model='m', prompt=classify(('a', 'b')), key_env='MY_KEY')\n"
        "print(judge, vars(judge))\n"
        "judge.judge(['x'])\n"
    )
    with serving(lambda p, n: Reply({"error": {"message": f"wrong key {SECRET}"}}, status=401)) as (url, _):
        done = subprocess.run(
            [sys.executable, "-c", script, url],
            capture_output=True,
            text=True,
            env={"MY_KEY": SECRET, "OPENAI_LOG": "debug", "PATH": ""},
            cwd=tmp_path,
        )
    assert done.returncode == 1
    assert "refuses the key in MY_KEY" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_keys_come_from_the_environment_only_and_go_to_their_server_only(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_ORG_ID", "our-account")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "our-account")
    with serving(plus) as (url, log):
        judge_at(url).judge(["x"])
        assert SECRET not in log.headers[0]["authorization"]  # OpenAI's key is not for other servers
        assert "our-account" not in repr(log.headers)
        with pytest.raises(InputError, match="in the environment variable NO_SUCH_KEY"):
            judge_at(url, key_env="NO_SUCH_KEY").judge(["x"])
        monkeypatch.setenv("NO_SUCH_KEY", "two words\nand lines")
        with pytest.raises(InputError, match="holds no key") as caught:
            judge_at(url, key_env="NO_SUCH_KEY").judge(["x"])
    assert "two words" not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        judge_at("https://api.openai.com/v1").judge(["x"])


def test_an_unknown_model_stops_at_once():
    with serving(lambda p, n: Reply({"error": {"message": "no such model"}}, status=404)) as (url, log):
        with pytest.raises(InputError, match="no model 'm'"):
            judge_at(url, concurrency=1).judge(["x"] * 20)
        assert len(log.requests) <= 2


def test_a_budget_of_calls_counts_further_tries_too():
    with serving(lambda p, n: Reply({}, status=500) if n % 2 else plus(p, n)) as (url, log):
        budget = Budget(calls=5)
        verdicts = judge_at(url, concurrency=1).judge([f"t{i}" for i in range(10)], budget=budget)
    # requests 0 good; 1 bad, 2 good; 3 bad, 4 good; then nothing is left
    assert len(log.requests) == budget.spent_calls == verdicts.calls == 5
    assert verdicts.known.sum() == 3
    assert (verdicts.reason[3:] == "budget of 5 calls is spent").all()


def test_a_budget_of_money_is_never_passed_whatever_runs_at_the_same_time():
    price = Prices(input=10, output=0)  # a reply costs 100 tokens: 0.001
    with serving(lambda p, n: Reply(plus(p, n), delay=0.005)) as (url, log):
        budget = Budget(money=0.0105)
        verdicts = judge_at(url, prices=price, concurrency=8).judge([f"t{i}" for i in range(40)], budget=budget)
    assert verdicts.cost == pytest.approx(budget.spent_money)
    assert budget.spent_money <= 0.0105
    bound = (sum(len(m["content"].encode()) for m in log.requests[0]["messages"]) + 64) / 1e6 * 10
    assert verdicts.known.sum() == math.floor((0.0105 - bound) / 0.001) + 1  # the next one might have passed it
    assert "money is spent" in verdicts.reason[~verdicts.known][0]


@pytest.mark.parametrize("budget", [Budget(calls=0), Budget(money=0)], ids=["calls", "money"])
def test_a_budget_of_zero_sends_nothing(budget):
    with serving(plus) as (url, log):
        verdicts = judge_at(url).judge(["x", "y"], budget=budget)
    assert not log.requests
    assert not verdicts.known.any()
    assert budget.exhausted
    assert "0" in verdicts.reason[0]
    assert "2 requests were refused" in budget.summary()


def test_items_that_do_not_fit_the_prompt_are_told_before_anything_is_sent():
    with serving(plus) as (url, log):
        with pytest.raises(InputError, match="asks about one text; got tuple"):
            judge_at(url).judge(["x", ("a", "b")])
        with pytest.raises(InputError, match="asks about two texts; got str"):
            judge_at(url, prompt=pair_prompt("fact")).judge(["x"])
    assert not log.requests


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"url": "localhost:8000"}, "must be an address"),
        ({"url": f"https://user:{SECRET}@host/v1"}, "holds a user or a password"),
        ({"url": f"https://host/v1?api_key={SECRET}"}, "must end before"),
        ({"url": f"host/v1?api_key={SECRET}"}, "must be an address"),
        ({"scores": "logits"}, "one of 'auto', 'logprobs', 'sampling'"),
        ({"concurrency": 0}, "concurrency must be >= 1"),
        ({"per_minute": 0}, "per_minute must lie in"),
        ({"top": 21}, "top must be between 0 and 20"),
        ({"parameters": {"temperature": 1}}, "must not hold 'temperature'"),
        ({"model": ""}, "model must name"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(InputError, match=message) as caught:
        judge_at(**({"url": "http://localhost/v1"} | setting))
    assert SECRET not in str(caught.value)


def test_the_fingerprint_follows_model_revision_wording_and_decoding_only():
    base = judge_at("http://h/v1")
    same = [judge_at("http://h/v1/"), judge_at("http://h/v1", name="other"), judge_at("http://h/v1", concurrency=3, timeout=9)]
    other = [
        judge_at("http://h/v1", **more)
        for more in (
            {"model": "n"},
            {"revision": "2"},
            {"prompt": classify(("minus", "plus"), task="Say.")},
            {"samples": 9},
            {"parameters": {"seed": 1}},
        )
    ]
    assert {j.fingerprint for j in same} == {base.fingerprint}
    assert len({j.fingerprint for j in [base, *other]}) == 6
