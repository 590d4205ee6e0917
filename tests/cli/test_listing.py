"""Help, the list of methods, references: fast, complete, without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from labelwright.registry import VERBS, methods

MARGIN = 1.6
"""The bars, 0.3 s and 0.1 s, are for an idle machine; here other tests run beside this one and share its caches."""


def seconds(*words: str) -> float:
    """Least processor time of a child over seven runs: waiting for other work does not count, and the rest of the noise only ever adds."""
    best = float("inf")
    for _ in range(7):
        before = os.times()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        after = os.times()
        best = min(best, after.children_user - before.children_user + after.children_system - before.children_system)
    return best


def test_help_and_methods_take_less_than_a_third_of_a_second():
    start = "import sys; from labelwright.cli import main; sys.exit(main(sys.argv[1:]))"
    assert seconds("-c", start, "--help") < 0.3 * MARGIN
    assert seconds("-c", start, "methods") < 0.3 * MARGIN


def test_importing_the_package_takes_less_than_a_tenth_of_a_second():
    assert seconds("-c", "import labelwright") - seconds("-c", "pass") < 0.1 * MARGIN


@pytest.mark.parametrize(
    "words", [["--help"], ["methods"], ["methods", "--json"], ["learn", "elr", "--help"], ["audit", "--help"], ["cite", "elr"]]
)
def test_listing_imports_nothing_heavy(words):
    code = (
        "import sys; from labelwright.cli import main; main(sys.argv[1:]); "
        "print(sorted({'torch', 'numpy', 'polars', 'sklearn', 'scipy', 'pyarrow'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_the_version(cli):
    import labelwright

    assert cli("--version").out.strip() == f"labelwright {labelwright.__version__}"


def test_help_names_every_verb_and_tool(cli):
    out = cli("--help").out
    for word in (*VERBS, "demo", "advise", "methods", "cite", "predict", "run", "rerun"):
        assert f" {word} " in out


def test_methods_as_json_has_the_keys_of_the_contract(cli):
    rows = json.loads(cli("methods", "--json").out)
    assert len({(r["verb"], r["name"]) for r in rows}) == len(rows)
    assert {frozenset(r) for r in rows} == {frozenset({"name", "verb", "sheet", "state", "has", "flaw", "gives", "paper"})}
    assert {r["state"] for r in rows} <= {"available", "planned"}
    assert len({r["sheet"] for r in rows} - {None}) == 58


def test_methods_are_filtered_by_every_condition(cli):
    rows = json.loads(cli("methods", "--have", "proportions", "--want", "classifier", "--json").out)
    assert [r["name"] for r in rows] == ["bag-belief-propagation"]
    rows = json.loads(cli("methods", "--verb", "certify", "--json").out)
    assert {r["verb"] for r in rows} == {"certify"}


def test_unknown_words_are_answered_with_the_nearest(cli):
    cli("methods", "--flaw", "nois").expect_refusal("--flaw", "'noise'")
    cli("methods", "--verb", "lern").expect_refusal("'learn'")
    cli("lern", "elr", "x").expect_refusal("lern", "'learn'")
    cli("learn", "elrr", "x").expect_refusal("learn has no method 'elrr'", "'elr'")
    cli("learn", "elr", "x", "--epoch", "3").expect_refusal("--epoch", "--epochs")
    cli("learn", "elr", "x", "--epochs", "three").expect_refusal("--epochs", "three")
    cli("learn", "elr").expect_refusal("DATA")
    cli("cite", "elrr").expect_refusal("'elr'")


def test_a_planned_method_says_so(cli):
    cli("learn", "graphium", "x").expect_refusal("planned")


def test_cite_prints_the_reference(cli):
    ran = cli("cite", "elr")
    assert ran.code == 0
    assert "2007.00151" in ran.out
    assert json.loads(cli("cite", "elr", "--json").out)[0]["verb"] == "learn"


@pytest.mark.parametrize("entry", [e for e in methods() if e.target], ids=lambda e: f"{e.verb}-{e.name}")
def test_help_of_a_method_lists_each_field(cli, entry, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = cli(entry.verb, entry.name, "--help").out
    for option in entry.options:
        assert f"--{option.name.replace('_', '-')}" in out
        assert option.help, f"{entry.name}.{option.name} has no docstring"
