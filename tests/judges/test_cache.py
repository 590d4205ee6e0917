"""Answers on disk: asked once, kept through a kill, shared by processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from nasty_server import Reply, chat, serving, token

from labelwright.errors import InputError
from labelwright.judges import Answer, Budget, Cached, CallableJudge, HTTPJudge, classify, stored
from labelwright.judges.base import item_key

CLASSES = ("a", "b")


def simulator(asked, **more):
    def function(item):
        asked.append(item)
        if item == "broken":
            return Answer.unknown("the line broke", lasting=False, calls=1)
        if item == "odd":
            return "neither"
        return Answer.of([1, 2 + len(item)], raw={"x": 1 / 3}, stated=0.25, calls=2, tokens=(10, 3), cost=0.5)

    return CallableJudge(**({"name": "sim", "classes": CLASSES, "function": function, "each": True} | more))


def test_what_was_asked_is_read_back_bit_by_bit(tmp_path):
    asked = []
    judge = Cached(inner=simulator(asked), path=tmp_path / "deep" / "cache.sqlite")
    first = judge.judge(["x", "yy", "odd"])
    again = judge.judge(["odd", "yy", "new", "x"])
    assert asked == ["x", "yy", "odd", "new"]
    assert (first.calls, first.cached, first.cost, first.tokens) == (5, 0, 1.0, (20, 6))
    assert (again.calls, again.cached, again.cost, again.tokens) == (2, 3, 0.5, (10, 3))
    np.testing.assert_array_equal(again.probs[[3, 1, 0]], first.probs)
    assert again.reason[0] == first.reason[2] != ""
    assert again.stated[3] == 0.25
    assert again.raw[3] == {"x": 1 / 3}
    assert again.raw[0] == "neither"
    account = stored(tmp_path / "deep" / "cache.sqlite")[judge.fingerprint]
    assert account == {"answers": 4, "unknown": 1, "calls": 7, "tokens_in": 30, "tokens_out": 9, "cost": 1.5}


def test_equal_items_are_asked_once_and_failures_are_not_kept(tmp_path):
    asked = []
    judge = Cached(inner=simulator(asked), path=tmp_path / "c")
    verdicts = judge.judge(["x", "broken", "x", "x"])
    assert asked == ["x", "broken"]
    assert (verdicts.cached, verdicts.calls) == (2, 3)
    assert verdicts.labels.tolist() == [1, -1, 1, 1]
    assert judge.judge(["broken", "x"]).cached == 1
    assert asked == ["x", "broken", "broken"]
    twice = judge.judge(["broken", "broken", "x"])
    assert (twice.cached, twice.calls, asked.count("broken")) == (1, 1, 3)  # a failure is no answer without a call, and is paid for once


def test_another_model_or_wording_is_asked_anew(tmp_path):
    asked = []
    for revision in ("1", "2", "1"):
        Cached(inner=simulator(asked, revision=revision), path=tmp_path / "c").judge(["x"])
    assert asked == ["x", "x"]


def test_with_a_budget_of_zero_only_stored_answers_are_used(tmp_path):
    asked = []
    Cached(inner=simulator(asked), path=tmp_path / "c").judge(["x"])
    verdicts = Cached(inner=simulator(asked), path=tmp_path / "c", budget=Budget(calls=0)).judge(["x", "y"])
    assert asked == ["x"]
    assert verdicts.known.tolist() == [True, False]
    assert verdicts.reason[1] == "budget of 0 calls is spent"
    assert Cached(inner=simulator(asked), path=tmp_path / "c").judge(["y"]).known.all()  # a refusal is not kept


def test_keys_tell_items_apart():
    items = ["ab", "a", ("a", "b"), ("ab",), ("ab", ""), ("", "ab"), 1, 1.0, True, np.array([1]), np.array([1.0]), np.array([[1]])]
    assert len({item_key(i) for i in items}) == len(items)
    assert item_key(np.int64(1)) == item_key(1)
    assert item_key(["a", "b"]) == item_key(("a", "b"))
    with pytest.raises(InputError, match="got dict"):
        item_key({})


def test_a_file_that_is_no_cache_is_left_alone(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not a database " * 100)
    with pytest.raises(InputError, match="cannot be used"):
        Cached(inner=simulator([]), path=text).judge(["x"])
    assert text.read_text() == "not a database " * 100
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE precious (x)")
    with pytest.raises(InputError, match="no cache of judges"):
        Cached(inner=simulator([]), path=other).judge(["x"])
    with pytest.raises(InputError, match="cannot be opened"):
        Cached(inner=simulator([]), path=tmp_path).judge(["x"])
    with pytest.raises(InputError, match="There is no cache"):
        stored(tmp_path / "none")


@pytest.mark.parametrize("what", ["pages", "answer"])
def test_damage_inside_the_file_is_told_in_one_line(tmp_path, what):
    path, items = tmp_path / "c", [f"text {i}" * 40 for i in range(100)]
    judge = Cached(inner=simulator([]), path=path)
    judge.judge(items)
    if what == "pages":
        raw = path.read_bytes()
        path.write_bytes(raw[:4096] + b"\xab" * (len(raw) - 4096))
    else:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE answers SET probs = '[0.5, '")
    with pytest.raises(InputError, match=r"cache .*c cannot be used: .*remove this one"):
        judge.judge(items)
    if what == "pages":
        with pytest.raises(InputError, match="cannot be used"):
            stored(path)


def test_several_threads_and_connections_write_one_file(tmp_path):
    def work(k):
        judge = Cached(inner=simulator([], name="sim"), path=tmp_path / "c")
        return judge.judge([f"{i}" for i in range(k * 20, k * 20 + 60)])

    with ThreadPoolExecutor(4) as pool:
        assert all(v.known.all() for v in pool.map(work, range(4)))
    assert next(iter(stored(tmp_path / "c").values()))["answers"] == 120


WORKER = """
import sys
from labelwright.judges import Cached, HTTPJudge, classify
judge = HTTPJudge(url=sys.argv[1], model="m", prompt=classify(("a", "b")), concurrency=4, key_env="MY_KEY")
verdicts = Cached(inner=judge, path=sys.argv[2]).judge([f"item {i}" for i in range(int(sys.argv[3]))])
print(verdicts.known.sum(), verdicts.calls, verdicts.cached, verdicts.labels.sum())
"""
SECRET = "sk-not-to-be-stored-987"


def test_a_kill_in_the_middle_loses_what_was_under_way_and_nothing_else(tmp_path):
    """A process killed by SIGKILL among 600 judgements; the next one asks only what had not been stored."""
    total, path = 600, tmp_path / "cache.sqlite"

    def answer(payload, n):
        number = int(payload["messages"][-1]["content"].split("\n")[1].split()[1])
        word = str(number % 2)
        return Reply(chat(word, logprobs=[token(word, -0.25, {word: -0.25})], usage=(30, 1)), delay=0.004)

    def start(url):
        command = [sys.executable, "-c", WORKER, url, str(path), str(total)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"MY_KEY": SECRET})

    with serving(answer) as (url, log):
        process = start(url)
        deadline = time.monotonic() + 60
        while len(log.requests) < 200 and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        time.sleep(0.1)  # requests under way reach the log
        sent = len(log.requests)
        kept = next(iter(stored(path).values()))["answers"]
        assert 200 <= sent < total
        assert sent - 4 - 4 <= kept <= sent  # four under way, four answered and not yet stored
        said, errors = start(url).communicate(timeout=60)
    assert said.split() == [str(total), str(total - kept), str(kept), str(total // 2)]
    assert len(log.requests) == sent + total - kept
    assert len(set(log.texts)) == total
    assert log.headers[0]["authorization"] == f"Bearer {SECRET}"
    for file in tmp_path.iterdir():
        assert SECRET.encode() not in file.read_bytes()
    assert SECRET not in said + errors


def test_a_broken_server_leaves_what_it_answered(tmp_path):
    with serving(lambda p, n: chat("1") if n < 5 else Reply({}, status=500)) as (url, _):
        judge = HTTPJudge(url=url, model="m", prompt=classify(CLASSES), scores="sampling", samples=1, retries=0, concurrency=1)
        verdicts = Cached(inner=judge, path=tmp_path / "c").judge([f"{i}" for i in range(8)])
        assert verdicts.known.sum() == 5
        assert Cached(inner=judge, path=tmp_path / "c", budget=Budget(money=0)).judge([f"{i}" for i in range(8)]).cached == 5
