"""The benchmarks' harness: what is measured once stays, intervals are Student's, a missing data folder is one line."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[2] / "benchmarks" / "_harness.py"


@pytest.fixture
def bench(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("_harness", HARNESS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path / "benchmarks")
    return module


def fail():
    raise ZeroDivisionError("no luck")


def test_a_second_start_measures_only_what_is_missing(bench):
    first = bench.Record("slug")
    for seed, value in enumerate((1.0, 2.0, 3.0)):
        first.run("a", seed, lambda v=value: {"acc": v, "note": "text"}, setting={"n": 5})
    assert first.run("b", 0, fail, setting={"n": 5}) is None
    again = bench.Record("slug")
    assert again.run("a", 1, fail, setting={"n": 5}) == {"acc": 2.0, "note": "text"}
    assert again.done("a", 1, setting={"n": 5})
    assert not again.done("b", 0, setting={"n": 5})
    assert not again.done("a", 1, setting={"n": 6})
    assert again.run("b", 0, lambda: {"acc": 7.0}, setting={"n": 5}) == {"acc": 7.0}  # a failure is tried again
    assert again.values("a", "acc") == [1.0, 2.0, 3.0]
    m = again.measure("a", "acc", setting={"n": 5})
    assert m.half_width == pytest.approx(4.302652729749464 / math.sqrt(3))
    assert len(again.data["runs"]) == 4


def test_the_file_says_what_it_was_measured_on_but_not_where(bench, tmp_path):
    record = bench.Record("slug")
    record.run("a", 0, lambda: {"acc": bench.Measure(0.5, 0.25, 0.75, 4), "gap": math.nan})
    record.run("bad", 0, fail)
    record.claim("a is good", holds=False, ours="0.5", paper="0.9", paper_setting="elsewhere")
    record.note("small data")
    record.report()
    stored = json.loads((tmp_path / "benchmarks" / "results" / "slug.json").read_text())
    assert stored["runs"][0]["metrics"] == {"acc": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}, "gap": None}
    assert stored["runs"][1]["error"] == "ZeroDivisionError: no luck"
    assert stored["claims"][0]["holds"] is False
    assert {"cores", "python", "torch"} <= set(stored["machines"][0])
    assert str(tmp_path) not in json.dumps(stored)
    assert not list(tmp_path.rglob("*.tmp"))


def test_tables_show_uncertainty_and_failures(bench):
    record = bench.Record("slug", quick=True)
    assert record.path.parent.name == ".benchmarks"
    for seed in range(2):
        record.run("a", seed, lambda s=seed: {"acc": 0.5 + s}, setting={"k": 1})
    record.run("b", 0, fail, setting={"k": 1})
    head, a, b = (line.split() for line in record.table("acc").splitlines())
    assert head == ["arm", "setting", "acc", "seeds", "seconds", "failed"]
    assert a[:5] == ["a", "k=1", "1", "±", "6.4"]  # t_{1, 0.975} / 2 = 12.706 / 2
    assert b == ["b", "k=1", "--", "0", "--", "1"]


def test_missing_data_is_one_line_and_exit_code_two(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("LABELWRIGHT_DATA", raising=False)
    with pytest.raises(SystemExit) as stopped:
        bench.data_root()
    assert stopped.value.code == 2
    monkeypatch.setenv("LABELWRIGHT_DATA", str(tmp_path))
    assert bench.data_root() == tmp_path
    with pytest.raises(SystemExit):
        bench.data_root("cifar10")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "LABELWRIGHT_DATA is not set" in lines[0]
    assert "cifar10" in lines[1]


def test_functions_take_turns(bench):
    order = []
    seconds = bench.median_seconds({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2)
    assert order == ["a", "b"] * 3
    assert set(seconds) == {"a", "b"}
