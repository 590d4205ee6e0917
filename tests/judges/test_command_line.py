"""A judges file on the command line: a wrong key, a budget of zero, replies outside the classes, a server that is gone."""

from __future__ import annotations

import json
import math

import pytest
from nasty_server import Reply, chat, serving, token

from labelwright.cli import main
from labelwright.results import load as load_result

pytest.importorskip("openai")
SECRET = "sk-never-shown-0123456789"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_KEY", SECRET)
    rows = [f"good film {i},{'plus' if i else 'minus'}" for i in range(6)] + [f"bad film {i},minus" for i in range(6)]
    (tmp_path / "reviews.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return tmp_path


def audit(folder, url, capsys, *, out, budget="{}", more=""):
    text = f"budget: {budget}\njudges: [{{kind: http, url: '{url}', model: m, key_env: MY_KEY, retries: 0, give_up: 2{more}}}]\n"
    (folder / "judges.yaml").write_text(text)
    code = main(["audit", "judge-ensemble", "reviews.csv", "--judges", "judges.yaml", "--out", out, "--json"])
    said = capsys.readouterr()
    for place in [said.out, said.err, *(p.read_bytes().decode("latin-1") for p in folder.rglob("*") if p.is_file())]:
        assert SECRET not in place
    return code, said


def honest(payload, n):
    word = "1" if "good" in payload["messages"][-1]["content"] else "0"
    top = {word: math.log(0.97), "01".replace(word, ""): math.log(0.03)}
    return chat(word, logprobs=[token(word, math.log(0.97), top)], usage=(90, 1))


def test_a_wrong_key_is_one_line_and_exit_code_2(folder, capsys):
    with serving(lambda p, n: Reply({"error": {"message": f"no such key: {SECRET}"}}, status=401)) as (url, _):
        code, said = audit(folder, url, capsys, out="out")
    assert code == 2
    assert "refuses the key in MY_KEY" in said.err
    assert said.err.strip().count("\n") == 0
    assert not (folder / "out").exists()


def test_the_planted_error_is_found_and_the_second_run_costs_nothing(folder, capsys):
    with serving(honest) as (url, log):
        assert audit(folder, url, capsys, out="one")[0] == 0
        assert len(log.requests) == 12
        assert audit(folder, url, capsys, out="two", budget="{calls: 0, money: 0}")[0] == 0
        assert len(log.requests) == 12
    for out in ("one", "two"):
        import polars as pl

        found = pl.read_parquet(folder / out / "findings.parquet").filter(pl.col("flagged"))
        assert found.get_column("id").cast(pl.String).to_list() == ["0"]


@pytest.mark.parametrize(
    ("answer", "budget", "reason"),
    [
        (honest, "{calls: 0}", "budget of 0 calls is spent"),
        (honest, "{money: 0}", "budget of 0 money allows no call"),
        (lambda p, n: chat("I would rather not"), "{}", "answer outside the classes"),
        (lambda p, n: Reply(cut=True), "{}", "the connection failed"),
    ],
    ids=["no-calls", "no-money", "outside", "gone"],
)
def test_what_is_not_known_is_said_and_no_label_is_flagged(folder, capsys, answer, budget, reason):
    with serving(answer) as (url, log):
        code, said = audit(folder, url, capsys, out="out", budget=budget, more=", scores: sampling, samples: 1")
        assert bool(log.requests) == (budget == "{}")
    assert code == 0
    assert json.loads(said.out)["issues"]["label_error"]["flagged"] == 0
    assert reason in json.dumps(load_result(folder / "out").facts["judges"])


def test_a_misspelt_key_of_the_file_is_named(folder, capsys):
    code, said = audit(folder, "http://h/v1", capsys, out="out", more=", concurency: 2")
    assert code == 2
    assert "Did you mean 'concurrency'" in said.err
