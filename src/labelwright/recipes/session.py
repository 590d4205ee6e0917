"""An output folder: work happens in ``DIR.partial`` and success renames it, so nothing is ever half-written.

``DIR.partial`` holds ``run.json`` (the whole configuration, versions, seed, fingerprints of the data)
and checkpoints. The same configuration on the same data resumes; any other is an error. A run that
fails before work began leaves nothing; one that fails later leaves ``DIR.partial`` only where there is
something to resume.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from labelwright.errors import InputError, LabelwrightError, OutputError
from labelwright.files import cannot_write, full_disk, writing
from labelwright.recipes.steps import Step

__all__ = ["Interrupted", "Session", "read_run", "session", "write_json", "writing"]

FREE = ("device", "devices")
"""Arguments that may differ between the run that stopped and the one that resumes it: they say where, not what."""
FORMAT = 1
CHECKPOINTS = "checkpoints"
KEYS = {
    "format",
    "labelwright",
    "verb",
    "method",
    "arguments",
    "seed",
    "command",
    "versions",
    "data",
    "status",
    "figures",
    "resolved",
    "seconds",
    "started",
}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C after work began; the message says how to go on."""


@dataclass
class Session:
    """One run of one step into `out`. ``begin`` makes the partial folder, ``finish`` gives it its name.

    `resolved` holds what defaults came to be (the training recipe, the network), for ``run.json``.
    """

    out: Path
    step: Step
    partial: Path = field(init=False)
    resumed: bool = field(default=False, init=False)
    begun: bool = field(default=False, init=False)
    data: dict[str, Any] = field(default_factory=dict, init=False)
    resolved: dict[str, Any] = field(default_factory=dict, init=False)
    _start: float = field(default_factory=time.perf_counter, init=False)
    _lock: IO[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.partial = self.out.with_name(self.out.name + ".partial")

    @property
    def checkpoints(self) -> Path:
        """Folder for checkpoints; removed when the run is complete."""
        return self.partial / CHECKPOINTS

    def look(self) -> None:
        """Refuse a taken folder and an unfinished run with another configuration, before any work.

        Raises
        ------
        OutputError
            If `out` is a file or not empty, its parent is no folder, or ``DIR.partial`` belongs to another run.
        """
        if self.out.name in ("", ".", ".."):
            raise OutputError(f"{self.out} cannot be an output folder.", hint="Name a new folder with --out DIR.")
        if self.out.is_file():
            raise OutputError(f"{self.out} is a file.", hint="Name a new folder with --out DIR.")
        if self.out.exists() and any(self.out.iterdir()):
            raise OutputError(f"{self.out} exists and is not empty.", hint="Name another folder with --out DIR, or remove it first.")
        parent = next(p for p in self.out.absolute().parents if p.exists())
        if not parent.is_dir():
            raise OutputError(f"{self.out} cannot be made: {parent} is a file.", hint="Name another folder with --out DIR.")
        if not os.access(parent, os.W_OK):
            raise OutputError(f"{self.out} cannot be made: no permission to write in {parent}.", hint="Name another folder with --out DIR.")
        if not self.partial.exists():
            return
        if not (self.partial / "run.json").exists():
            raise OutputError(f"{self.partial} exists and is no unfinished run.", hint="Remove it or name another folder with --out DIR.")
        there = read_run(self.partial)
        here = {"verb": self.step.verb, "method": self.step.method, **self._arguments()}
        before = {"verb": there["verb"], "method": there["method"], **there["arguments"]}
        which = ("verb", "method")
        names = [*which, *sorted({*here, *before} - {*which})] if all(here[k] == before[k] for k in which) else which
        other = [k for k in names if k not in FREE and here.get(k) != before.get(k)]
        if other:
            changes = ", ".join(f"{k} is {before.get(k)!r} there and {here.get(k)!r} now" for k in other[:3])
            raise OutputError(
                f"{self.partial} holds an unfinished run with other settings: {changes}.",
                hint="Repeat its settings to resume it, remove it, or name another folder with --out DIR.",
            )
        self.resumed = True

    def begin(self, **datasets: Any) -> None:
        """Make ``DIR.partial`` with ``run.json``. `datasets`: what was loaded, by argument name; their fingerprints are kept.

        Raises
        ------
        OutputError
            If the disk does not take it, another process works there, or an unfinished run had other data.
        """
        self.data = {name: describe(data) for name, data in datasets.items() if data is not None}
        if self.resumed:
            before = read_run(self.partial)["data"]
            for name, facts in self.data.items():
                if name in before and before[name]["fingerprint"] != facts["fingerprint"]:
                    raise OutputError(
                        f"{self.partial} holds an unfinished run on other data: {name} has changed since.",
                        hint="Remove it to start anew, or name another folder with --out DIR.",
                    )
        with writing(self.partial):
            self.partial.mkdir(parents=True, exist_ok=True)
            self._hold()
            self.begun = True
            self.write_run(status="running", figures={})

    def write_run(self, *, status: str, figures: Mapping[str, Any]) -> None:
        """Replace ``run.json`` atomically."""
        from labelwright.results import plain, versions

        record = {
            "format": FORMAT,
            "labelwright": versions()["labelwright"],
            "verb": self.step.verb,
            "method": self.step.method,
            "arguments": self._arguments(),
            "seed": self.step.seed,
            "command": self.step.command(),
            "versions": versions(),
            "data": self.data,
            "status": status,
            "resolved": plain(self.resolved),
            "figures": plain(figures),
            "seconds": round(time.perf_counter() - self._start, 2),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - (time.perf_counter() - self._start))),
        }
        write_json(self.partial / "run.json", record)

    def finish(self, figures: Mapping[str, Any], *, status: str = "complete") -> Path:
        """Write the figures, drop checkpoints and rename the folder to its name, which is returned."""
        with writing(self.out):
            self.write_run(status=status, figures=figures)
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            self._release()
            if self.out.exists():
                self.out.rmdir()  # empty, as `look` saw; fails if somebody filled it meanwhile
            os.replace(self.partial, self.out)
        self.begun = False
        return self.out

    def give_up(self, error: BaseException) -> BaseException:
        """Tidy up after `error` and return what should be raised in its place."""
        self._release()
        if full_disk(error):
            error = cannot_write(self.partial, error) or error
        elif isinstance(error, OSError) and not isinstance(error, LabelwrightError) and error.errno is not None:
            elsewhere = error.filename is not None and not Path(str(error.filename)).is_relative_to(self.partial)
            if elsewhere:  # most likely an input
                error = InputError(f"{error.filename}: {error.strerror}.", hint="See that it is there and that you may use it.")
            else:
                error = cannot_write(self.partial, error) or error
        if not self.begun:
            if isinstance(error, KeyboardInterrupt):
                return Interrupted(_go_on(self.partial) if self.partial.exists() else "Stopped before work began; nothing was written.")
            return error
        worth = self.resumed or any(self.checkpoints.rglob("*")) if self.checkpoints.exists() else False
        if isinstance(error, KeyboardInterrupt):
            return Interrupted(_go_on(self.partial))
        if not worth:
            shutil.rmtree(self.partial, ignore_errors=True)
        return error

    def _arguments(self) -> dict[str, Any]:
        from labelwright.results import plain

        return plain(self.step.stored(self.out))  # type: ignore[no-any-return]

    def _hold(self) -> None:
        """A lock that dies with the process, so that two runs never work in one folder."""
        try:
            import fcntl
        except ImportError:  # Windows has no flock; there the rename at the end decides
            return
        self._lock = (self.partial / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            self._lock.close()
            self._lock = None
            raise OutputError(
                f"Another process is working in {self.partial}.", hint="Wait for it, or name another folder with --out DIR."
            ) from err

    def _release(self) -> None:
        if self._lock is not None:
            (self.partial / ".lock").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None


@contextmanager
def session(out: str | Path, step: Step) -> Iterator[Session]:
    """A session for `step` in folder `out`; checks the folder first and tidies up after a failure."""
    run = Session(Path(out).expanduser(), step)
    run.look()
    try:
        yield run
    except BaseException as error:  # Ctrl-C included: the folder must be left in order whatever happened
        instead = run.give_up(error)
        if instead is error:
            raise
        raise instead from error


def _go_on(partial: Path) -> str:
    return f"Stopped. What was done is kept in {partial}; run the same command again to resume, or remove that folder to start anew."


def describe(data: Any) -> dict[str, Any]:
    """What ``run.json`` keeps of a dataset: its fingerprint, size and kind. What is described already stays as it is."""
    if isinstance(data, Mapping):
        return dict(data)
    return {"fingerprint": data.fingerprint, "n": len(data), "kind": data.kind, "name": data.info.name}


def read_run(folder: Path) -> dict[str, Any]:
    """``run.json`` of an output folder.

    Raises
    ------
    InputError
        If it is absent, damaged, or has keys this version does not know.
    """
    from labelwright import check

    path = folder / "run.json"
    if not folder.is_dir() or not path.exists():
        check.path_exists("folder", folder)
        raise InputError(f"{folder} is not an output folder: it has no run.json.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as err:
        raise InputError(f"{path} cannot be read: {err}.", hint="Run the step again.") from err
    if not isinstance(record, dict):
        raise InputError(f"{path} does not describe a run.")
    for key in record:
        if key not in KEYS:
            raise InputError(f"{path} has an unknown key {key!r}.{check.nearest(key, KEYS)}")
    for key in sorted(KEYS):
        if key not in record:
            raise InputError(f"{path} lacks the key {key!r}.", hint="Run the step again.")
    return record


def write_json(path: Path, value: Any) -> None:
    """One JSON file, replaced atomically."""
    fresh = path.with_name(path.name + ".new")
    with writing(fresh):
        fresh.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(fresh, path)
