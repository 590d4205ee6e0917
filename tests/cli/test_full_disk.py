"""A disk that fills up, and a limit on the size of files: one line with the place and the mend, and nothing left behind.

The real thing, in a process of its own: a limit on file sizes that the system enforces (no privileges needed), and a memory
disk of a few kilobytes in a private namespace where the system lets us mount one.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from labelwright.errors import OutputError
from labelwright.files import cannot_write, full_disk, write_csv, write_parquet, writing
from labelwright.labels import ClassLabels

resource = pytest.importorskip("resource")

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from labelwright.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""
COMMAND = "import sys; from labelwright.cli import main; sys.exit(main(sys.argv[1:]))"
MOUNTED = """
set -e
mount -t tmpfs -o size="$1" tmpfs tiny
shift
code=0
"$@" || code=$?
ls -A tiny > left.txt
exit $code
"""


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=4k tmpfs /mnt"]
    return subprocess.run(trial, capture_output=True, check=False, timeout=60).returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="the system lets us mount no memory disk")


def run(words: list[str], folder: Path) -> str:
    """What a command that must refuse says on standard error: one line."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert ran.returncode == 2, (ran.returncode, ran.stdout, ran.stderr)
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert "fault in labelwright" not in ran.stderr
    return ran.stderr


@pytest.fixture
def limited(work: Path) -> Callable[..., str]:
    """Run a command whose files may have so many bytes."""
    return lambda limit, *words: run([sys.executable, "-c", LIMITED, str(limit), *words], work)


@pytest.fixture
def tiny(work: Path) -> Callable[..., str]:
    """Run a command with a disk of the given size mounted at ``tiny``; what it left there is in ``left.txt``."""
    (work / "tiny").mkdir()
    return lambda size, *words: run(["unshare", "-rm", "sh", "-c", MOUNTED, "sh", size, sys.executable, "-c", COMMAND, *words], work)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels and probabilities, a table with findings, and a model."""
    from labelwright.cli import main

    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    n = 400
    x = rng.normal(size=(n, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    given = np.where(rng.random(n) < 0.1, 1 - y, y)
    probs = np.where(np.eye(2, dtype=bool)[y], 0.9, 0.1)
    np.save(folder / "labels.npy", given)
    np.save(folder / "probs.npy", probs)
    pl.DataFrame({f"x{j}": x[:, j] for j in range(4)} | {"label": given.astype(str)}).write_csv(folder / "table.csv")
    np.savez(folder / "train.npz", x=x, y=given)
    done = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["audit", "label-errors", "table.csv", "--out", "found"]) == 0
        assert main(["learn", "cross-entropy", "train.npz", "--epochs", "1", "--out", "model"]) == 0
    finally:
        os.chdir(done)
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path) -> Path:
    """A copy of what was made, to work in."""
    return Path(shutil.copytree(made, tmp_path / "work"))


AUDIT = ("audit", "labels.npy", "--probs", "probs.npy", "--json", "--out")
CORRECT = ("annotate", "correct", "table.csv", "--findings", "found", "--out")
PREDICT = ("predict", "model", "train.npz", "--out")
LEARN = ("learn", "cross-entropy", "train.npz", "--epochs", "2", "--out")


@pytest.mark.parametrize(
    ("words", "out", "limit"),
    [(AUDIT, "out", 2048), (AUDIT, "out", 8192), (CORRECT, "out", 2048), (PREDICT, "p.csv", 2048), (PREDICT, "p.parquet", 2048)],
)
def test_a_file_that_grows_over_the_limit(limited, work, words, out, limit):
    before = sorted(work.iterdir())
    said = limited(limit, *words, out)
    assert os.strerror(errno.EFBIG) in said
    assert out in said
    assert "ulimit -f" in said
    assert sorted(work.iterdir()) == before


def test_a_first_checkpoint_that_cannot_be_written_promises_none(limited, work):
    before = sorted(work.iterdir())
    said = limited(3000, *LEARN, "out")
    assert os.strerror(errno.EFBIG) in said
    assert "checkpoint" in said
    assert "kept" not in said
    assert sorted(work.iterdir()) == before


@needs_mount
@pytest.mark.parametrize(
    ("words", "out", "size"),
    [
        *((words, "tiny/out", size) for words in (AUDIT, CORRECT) for size in ("4k", "8k")),
        (LEARN, "tiny/out", "8k"),
        (PREDICT, "tiny/p.csv", "4k"),
        (PREDICT, "tiny/p.parquet", "4k"),
    ],
)
def test_a_disk_that_fills_up(tiny, work, words, out, size):
    said = tiny(size, *words, out)
    assert "The disk is full" in said
    assert os.strerror(errno.ENOSPC) in said
    assert out in said
    assert "Free some space" in said
    assert "kept" not in said
    assert (work / "left.txt").read_text() == ""


@pytest.mark.parametrize("suffix", ["csv", "parquet", "labels"])
def test_what_the_library_writes_leaves_no_part_of_a_file(tmp_path, suffix):
    frame = pl.DataFrame({"value": np.random.default_rng(0).random(5000)})
    path = tmp_path / f"file.{suffix}"
    write = {
        "csv": lambda: write_csv(frame, path),
        "parquet": lambda: write_parquet(frame, path),
        "labels": lambda: ClassLabels(values=np.random.default_rng(0).integers(0, 50, 90_000)).save(path),
    }[suffix]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match=rf"file\.{suffix} cannot be written: {os.strerror(errno.EFBIG)}"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_cause_that_the_writer_keeps_to_itself_is_asked_of_the_disk(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        instead = cannot_write(tmp_path / "x.parquet", pl.exceptions.ComputeError("parquet: Invalid thrift: transport error"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.strerror(errno.EFBIG) in str(instead)
    assert list(tmp_path.iterdir()) == []
    instead = cannot_write(tmp_path / "x.npy", OSError("1000 requested and 496 written"))  # and now there is room again
    assert "the disk took only a part of it. Free some space" in str(instead)


def test_other_errors_pass(tmp_path):
    with pytest.raises(pl.exceptions.ComputeError, match="nested"), writing(tmp_path / "x.csv"):
        pl.DataFrame({"x": [[1], [2]]}).write_csv(tmp_path / "x.csv")
    assert not full_disk(ZeroDivisionError("os error 28"))
    assert cannot_write(tmp_path, KeyboardInterrupt()) is None


def test_a_file_that_may_not_be_replaced_stays(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("mine")
    with pytest.raises(OutputError, match="No permission"), writing(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    assert path.read_text() == "mine"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES])
def test_an_input_that_fails_to_be_read_is_not_said_to_be_written(work, monkeypatch, cli, number):
    from labelwright.recipes import auditing

    def gone(*_args):
        raise OSError(number, os.strerror(number), "pictures/7.png")

    monkeypatch.chdir(work)
    monkeypatch.setattr(auditing, "load_data", gone)
    ran = cli("audit", "train.npz", "--out", "out")
    ran.expect_refusal(f"pictures/7.png: {os.strerror(number)}.")
    assert "writ" not in ran.err
