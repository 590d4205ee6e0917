"""Output folders: resume what stopped, refuse what differs, leave nothing half-written; Ctrl-C; repeat a run from its folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest


def stop_after(monkeypatch, checkpoints: int) -> list[int]:
    """Ctrl-C at the start of the write of checkpoint number `checkpoints` + 1."""
    from labelwright.training import checkpoint

    write, calls = checkpoint.Checkpoint.write, []

    def counted(self, *state, **named):
        if len(calls) == checkpoints:
            raise KeyboardInterrupt
        calls.append(1)
        write(self, *state, **named)

    monkeypatch.setattr(checkpoint.Checkpoint, "write", counted)
    return calls


def test_a_stopped_run_resumes_and_ends_as_if_it_had_not_stopped(cli, here, monkeypatch):
    command = ("learn", "elr", "train.npz", "--test", "test.npz", "--epochs", "5", "--seed", "3", "--json")
    unbroken = json.loads(cli(*command, "--out", "whole").out)
    stop_after(monkeypatch, 2)
    ran = cli(*command, "--out", "out")
    assert ran.code == 130
    assert ran.err.count("\n") == 1
    assert "out.partial" in ran.err
    assert "same command" in ran.err
    assert not (here / "out").exists()
    assert json.loads((here / "out.partial/run.json").read_text())["status"] == "running"
    monkeypatch.undo()
    monkeypatch.chdir(here)
    calls = stop_after(monkeypatch, 99)
    resumed = json.loads(cli(*command, "--out", "out").out)
    assert len(calls) == 3  # epochs 3 to 5: the first two were not repeated
    assert resumed == unbroken
    assert (here / "out/history.csv").read_text() == (here / "whole/history.csv").read_text()
    assert not (here / "out.partial").exists()
    assert not (here / "out/checkpoints").exists()


def test_other_settings_or_other_data_do_not_resume(cli, here, monkeypatch):
    stop_after(monkeypatch, 1)
    assert cli("learn", "elr", "train.npz", "--epochs", "4", "--out", "out").code == 130
    monkeypatch.undo()
    monkeypatch.chdir(here)
    cli("learn", "elr", "train.npz", "--epochs", "5", "--out", "out").expect_refusal(
        "out.partial", "epochs is 4 there and 5 now", "remove it"
    )
    cli("learn", "cross-entropy", "train.npz", "--epochs", "4", "--out", "out").expect_refusal("other settings", "method")
    shutil.copy(here / "test.npz", here / "train.npz")
    cli("learn", "elr", "train.npz", "--epochs", "4", "--out", "out").expect_refusal("other data", "data has changed")
    assert (here / "out.partial/run.json").exists()


def test_ctrl_c_before_work_leaves_nothing(cli, here, monkeypatch):
    from labelwright.recipes import learning

    def stop(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "load_data", stop)
    ran = cli("learn", "elr", "train.npz", "--out", "out")
    assert ran.code == 130
    assert "nothing was written" in ran.err
    assert {p.name for p in here.iterdir()} == {"train.npz", "test.npz"}


@pytest.mark.slow
def test_a_signal_from_outside_stops_with_130_and_the_same_command_goes_on(here):
    code = "import sys; from labelwright.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "learn", "cross-entropy", "train.npz", "--epochs", "400", "--out", "out"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=here, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        place = here / "out.partial/checkpoints"
        for _ in range(600):
            if place.exists() and any(p.is_file() and p.stat().st_size for p in place.rglob("*")):
                break
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err.count("\n") == 1, err
    assert "out.partial" in err
    assert not (here / "out").exists()
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (here / "out/history.csv").read_text().count("\n") == 1 + 400


def test_two_runs_never_work_in_one_folder(cli, here):
    from labelwright.recipes.session import Session
    from labelwright.recipes.steps import Step

    step = Step.of("audit", "label-errors", {"data": "train.npz"})
    first = Session(here / "out", step)
    first.look()
    first.begin()
    cli("audit", "label-errors", "train.npz", "--out", "out").expect_refusal("Another process")
    first.give_up(ValueError())
    assert cli("audit", "label-errors", "train.npz", "--out", "out").code == 0


def test_run_json_holds_the_whole_configuration(cli, here):
    assert (
        cli("learn", "cross-entropy", "train.npz", "--test", "test.npz", "--epochs", "2", "--mixup", "0.5", "--out", "deep/out").code == 0
    )
    record = json.loads((here / "deep/out/run.json").read_text())
    assert (record["verb"], record["method"], record["seed"], record["status"]) == ("learn", "cross-entropy", 0, "complete")
    assert record["arguments"]["data"] == "../../train.npz"
    assert record["arguments"]["mixup"] == 0.5
    assert record["arguments"]["label_smoothing"] == 0.0  # a default, stated all the same
    assert record["resolved"]["fit"]["epochs"] == 2
    assert record["resolved"]["fit"]["optimizer"] == "adamw"
    assert record["resolved"]["net"]["net"] == "mlp"
    assert record["data"]["data"]["n"] == 150
    assert record["data"]["test"]["n"] == 60
    assert {"python", "torch", "numpy", "labelwright"} <= set(record["versions"])
    assert record["figures"]["test"]["n"] == 60
    assert str(here) not in (here / "deep/out/run.json").read_text()
    assert str(here) not in (here / "deep/out/learned.json").read_text()


def test_rerun_repeats_the_figures_and_moves_with_its_data(cli, here, monkeypatch):
    assert cli("learn", "elr", "train.npz", "--test", "test.npz", "--epochs", "2", "--out", "runs/a").code == 0
    shutil.copytree(here, here.parent / (here.name + "-moved"))
    moved = here.parent / (here.name + "-moved")
    monkeypatch.chdir(moved.parent)
    ran = cli("rerun", moved / "runs/a", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["same_figures"] is True
    assert (moved / "runs/a-rerun/run.json").exists()


def test_rerun_refuses_changed_data_and_unknown_keys(cli, here):
    assert cli("audit", "label-errors", "train.npz", "--out", "a").code == 0
    record = json.loads((here / "a/run.json").read_text())
    (here / "a/run.json").write_text(json.dumps(record | {"argumnts": {}}))
    cli("rerun", "a").expect_refusal("'argumnts'", "'arguments'")
    (here / "a/run.json").write_text(json.dumps(record | {"arguments": record["arguments"] | {"sead": 1}}))
    cli("rerun", "a").expect_refusal("'sead'", "'seed'")
    (here / "a/run.json").write_text(json.dumps(record))
    with np.load(here / "train.npz") as old:
        np.savez(here / "train.npz", x=old["x"] + 1, y=old["y"])
    cli("rerun", "a").expect_refusal("has changed since", "labelwright audit label-errors")
    cli("rerun", ".").expect_refusal("run.json")
    assert not (here / "a-rerun").exists()
