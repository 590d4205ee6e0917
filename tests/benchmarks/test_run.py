"""``make bench``: only what has no finished result runs, and one failure does not stop the rest."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("bench_run", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("_harness", None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELWRIGHT_DATA", str(tmp_path))
    here = tmp_path / "benchmarks"
    (here / "results").mkdir(parents=True)
    for name in ("_harness", "run", "was_run", "cut_off", "bad", "new"):
        code = 1 if name == "bad" else 0
        (here / f"{name}.py").write_text(
            f"import pathlib, sys\npathlib.Path(__file__).with_suffix('.ran').write_text(' '.join(sys.argv[1:]))\nraise SystemExit({code})\n"
        )
    (here / "results" / "was-run.json").write_text(json.dumps({"runs": [], "summary": ["x"]}))
    (here / "results" / "cut-off.json").write_text(json.dumps({"runs": []}))
    return here


def ran(folder):
    return sorted(path.stem for path in folder.glob("*.ran"))


def test_only_what_has_no_finished_result_runs_and_a_failure_does_not_stop_the_rest(run, folder, capsys):
    assert run.main(folder, []) == 1
    assert ran(folder) == ["bad", "cut_off", "new"]
    assert "1 of 3 benchmarks failed: bad." in capsys.readouterr().err


def test_named_ones_run_whatever_is_recorded_and_flags_are_passed_on(run, folder):
    assert run.main(folder, ["was_run", "--quick"]) == 0
    assert ran(folder) == ["was_run"]
    assert (folder / "was_run.ran").read_text() == "--quick"


def test_an_unknown_name_is_one_line_with_the_nearest(run, folder, capsys):
    assert run.main(folder, ["cutoff"]) == 2
    assert capsys.readouterr().err == "There is no benchmark 'cutoff'; did you mean 'cut_off'?\n"
    assert ran(folder) == []


def test_without_data_nothing_starts(run, folder, monkeypatch):
    monkeypatch.delenv("LABELWRIGHT_DATA")
    with pytest.raises(SystemExit) as stopped:
        run.main(folder, [])
    assert stopped.value.code == 2
    assert ran(folder) == []


def test_the_list_of_the_project_names_every_script(run, capsys):
    assert run.main(FOLDER, ["--list"]) == 0
    words = {line.split()[1]: line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert words["elr"] == "finished"
    assert not {"run", "_harness", "_nutrition_race"} & set(words)
