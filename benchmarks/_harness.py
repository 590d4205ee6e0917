"""Shared by the benchmark scripts: arguments, data, records that resume, tables, verdicts.

A script reads like this::

    import _harness as bench

    args = bench.arguments(__doc__)                       # --seeds N, --quick
    root = bench.data_root("cifar10")                     # $LABELWRIGHT_DATA, or one line and exit code 2
    record = bench.Record("elr", quick=args.quick)        # benchmarks/results/elr.json; --quick writes to .benchmarks/ instead
    for seed in range(args.seeds):
        for arm in ("cross-entropy", "elr"):
            # the function runs only if this (arm, seed, setting) is not on disk yet; its dict of numbers is saved at once
            record.run(arm, seed, lambda: train_and_test(arm, seed), setting={"noise": 0.4, "epochs": 20})
    print(record.table("accuracy", setting={"noise": 0.4, "epochs": 20}))   # mean ± 95 % t-interval over seeds, seconds
    gain = bench.paired_difference(record.values("elr", "accuracy"), record.values("cross-entropy", "accuracy"))
    record.claim("ELR beats cross-entropy at 40 % noise", holds=gain.low > 0, ours=f"gain {gain}",
                 paper="89.2 against 68.0", paper_setting="CIFAR-10, ResNet-34, 40 % symmetric")
    record.note("20 epochs instead of 120: no GPU.")
    record.report()                                       # prints all tables and verdicts

`setting` says what else the numbers depend on (plain values); runs of different settings never mix in a table. The
file keeps, for each run: arm, seed, setting, metrics, seconds, machine (a place in
`machines`), or the error if it failed. A failed run is shown as
such and tried again the next time. To measure anew, delete the file. `Record.values` lists the metric in order of
seed, so two arms with the same seeds pair up.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labelwright.stats.intervals import Measure, mean_interval, paired_difference

__all__ = ["Record", "arguments", "data_root", "machine", "mean_interval", "median_seconds", "paired_difference"]

HERE = Path(__file__).resolve().parent


def arguments(doc: str | None, *, seeds: int = 5, **flags: str | tuple[str, str]) -> argparse.Namespace:
    """``--seeds N`` and ``--quick`` (smallest size that still runs every arm), and for each of `flags` a boolean flag
    (name=help) or an option with a value (name=(default, help))."""
    parser = argparse.ArgumentParser(description=(doc or "").strip().split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds, help=f"number of seeds (default {seeds})")
    parser.add_argument("--quick", action="store_true", help="a smoke run: tiny sizes, results under .benchmarks/, not for reporting")
    for name, text in flags.items():
        word = f"--{name.replace('_', '-')}"
        if isinstance(text, tuple):
            parser.add_argument(word, default=text[0], help=f"{text[1]} (default {text[0]})")
        else:
            parser.add_argument(word, action="store_true", help=text)
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error("--seeds must be at least 1")
    return args


def data_root(*needs: str) -> Path:
    """The folder named by ``$LABELWRIGHT_DATA``; without it, or without one of the sub-folders `needs`: one line, exit code 2."""
    value = os.environ.get("LABELWRIGHT_DATA", "")
    if not value:
        sys.stderr.write("LABELWRIGHT_DATA is not set: export it as the folder that holds the benchmark data, then run again.\n")
        raise SystemExit(2)
    root = Path(value).expanduser()
    missing = [str(p) for p in (root, *(root / n for n in needs)) if not p.exists()]
    if missing:
        sys.stderr.write(f"LABELWRIGHT_DATA={value} lacks {missing[0]}: point it at the folder that holds the benchmark data.\n")
        raise SystemExit(2)
    return root


def machine() -> dict[str, Any]:
    """What the figures were taken on: cores, processor, Python and libraries. No host names, no paths."""
    import numpy
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "accelerator": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "torch": torch.__version__,
    }


def median_seconds(functions: Mapping[str, Callable[[], object]], *, repeats: int = 5) -> dict[str, float]:
    """Median wall time of each function; they take turns, so that a busy machine slows all alike. One untimed round first."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Measure):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):  # NumPy and torch scalars and arrays
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> float | None:
    """The number of a stored metric: itself, or the `value` of a stored Measure."""
    if isinstance(value, Mapping):
        value = value.get("value")
    return float(value) if isinstance(value, (int, float)) else None


class Record:
    """What a benchmark has measured so far, in ``benchmarks/results/<slug>.json``; see the module's docstring."""

    def __init__(self, slug: str, *, quick: bool = False) -> None:
        self.slug, self.quick = slug, quick
        self.path = (HERE.parent / ".benchmarks" if quick else HERE / "results") / f"{slug}.json"
        self.data: dict[str, Any] = {"slug": slug, "machines": [], "runs": [], "claims": [], "notes": []}
        if self.path.exists():
            self.data |= json.loads(self.path.read_text(encoding="utf-8"))
        # verdicts and notes belong to the present run of the script; only measurements are kept
        self.data["claims"], self.data["notes"] = [], []

    def run(
        self, arm: str, seed: int, function: Callable[[], Mapping[str, Any]], *, setting: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """The metrics of (arm, seed, setting): from disk, or by calling `function` (saved at once). None if it fails."""
        wanted = _plain(dict(setting or {}))
        done = self._find(arm, seed, wanted)
        if done is not None and "error" not in done:
            return done["metrics"]
        entry: dict[str, Any] = {"arm": arm, "seed": seed, "setting": wanted, "machine": self._machine()}
        start = time.perf_counter()
        try:
            entry["metrics"] = _plain(dict(function()))
        except Exception as err:  # any failure of an arm is a result to record; the other arms go on
            traceback.print_exc()
            entry["error"] = f"{type(err).__name__}: {err}"
        entry["seconds"] = round(time.perf_counter() - start, 3)
        self.data["runs"] = [r for r in self.data["runs"] if r is not done] + [entry]
        self.save()
        sys.stderr.write(f"[{self.slug}] {arm} seed {seed} {wanted or ''}: {entry.get('error', 'done')} in {entry['seconds']:.1f} s\n")
        return entry.get("metrics")

    def done(self, arm: str, seed: int, *, setting: Mapping[str, Any] | None = None) -> bool:
        """Whether (arm, seed, setting) is on disk without an error: lets a script skip what only that run needs."""
        found = self._find(arm, seed, _plain(dict(setting or {})))
        return found is not None and "error" not in found

    def _machine(self) -> int:
        """Place of this machine in the file's list; a resumed record may hold several."""
        here = machine()
        if here not in self.data["machines"]:
            self.data["machines"].append(here)
        return self.data["machines"].index(here)

    def _find(self, arm: str, seed: int, setting: Mapping[str, Any]) -> dict[str, Any] | None:
        return next((r for r in self.data["runs"] if (r["arm"], r["seed"], r["setting"]) == (arm, seed, setting)), None)

    def _runs(self, arm: str | None, setting: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        wanted = None if setting is None else _plain(dict(setting))
        rows = [r for r in self.data["runs"] if (arm is None or r["arm"] == arm) and (wanted is None or r["setting"] == wanted)]
        return sorted(rows, key=lambda r: r["seed"])

    def values(self, arm: str, metric: str, *, setting: Mapping[str, Any] | None = None) -> list[float]:
        """`metric` of the successful runs of `arm`, in order of seed; `setting` None takes runs of every setting."""
        found = (_number(r.get("metrics", {}).get(metric)) for r in self._runs(arm, setting))
        return [v for v in found if v is not None]

    def measure(self, arm: str, metric: str, *, setting: Mapping[str, Any] | None = None) -> Measure:
        """Mean of `metric` over seeds with its 95 % t-interval; NaN without runs."""
        values = self.values(arm, metric, setting=setting)
        return mean_interval(values) if values else Measure(math.nan, math.nan, math.nan, 0)

    def table(self, *metrics: str, setting: Mapping[str, Any] | None = None) -> str:
        """One line an arm and setting: mean ± half-width of the 95 % t-interval over seeds, number of seeds, mean seconds, failures."""
        rows = self._runs(None, setting)
        keys = list(dict.fromkeys((r["arm"], json.dumps(r["setting"], sort_keys=True)) for r in rows))
        names = metrics or tuple(dict.fromkeys(m for r in rows for m, v in r.get("metrics", {}).items() if _number(v) is not None))
        lines = [["arm", "setting", *names, "seeds", "seconds", "failed"]]
        for arm, text in keys:
            wanted = json.loads(text)
            group = self._runs(arm, wanted)
            good = [r for r in group if "error" not in r]
            cells = []
            for name in names:
                m = self.measure(arm, name, setting=wanted)
                cells.append("--" if m.n == 0 else f"{m.value:.4g}" if m.n == 1 else f"{m.value:.4g} ± {m.half_width:.2g}")
            shown = " ".join(f"{k}={v}" for k, v in wanted.items())
            seconds = f"{statistics.mean(r['seconds'] for r in good):.1f}" if good else "--"
            lines.append([arm, shown, *cells, str(len(good)), seconds, str(len(group) - len(good))])
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)

    def claim(self, text: str, *, holds: bool | None, ours: str, paper: str = "", paper_setting: str = "") -> None:
        """Record a verdict: the claim, the paper's number with its own setting, ours, and whether it holds (None: not decided)."""
        self.data["claims"].append(
            {"claim": text, "paper": paper, "paper_setting": paper_setting, "ours": ours, "holds": None if holds is None else bool(holds)}
        )
        self.save()

    def note(self, text: str) -> None:
        """Record a remark on how to read the figures."""
        self.data["notes"].append(text)
        self.save()

    def save(self) -> None:
        """Write the file whole: beside its place, then renamed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(f".{os.getpid()}.tmp")
        beside.write_text(json.dumps(self.data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(beside, self.path)

    def tables(self) -> str:
        """One table for each group of runs that measure the same things."""
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for run in self.data["runs"]:
            names = tuple(m for m, v in run.get("metrics", {}).items() if _number(v) is not None)
            groups.setdefault(names, []).append(run)
        whole, parts = self.data, []
        try:
            for names, runs in groups.items():
                self.data = whole | {"runs": runs}
                parts.append(self.table(*names))
        finally:
            self.data = whole
        return "\n\n".join(parts)

    def report(self, *metrics: str) -> None:
        """Print a table (of `metrics`, or one for each group of runs that measure the same), the verdicts and the notes."""
        self.data["summary"] = (self.table(*metrics) if metrics else self.tables()).splitlines()
        self.save()
        out = [f"{self.slug}: mean ± half of the 95 % t-interval over seeds", *self.data["summary"], ""]
        words = {True: "holds", False: "FAILS", None: "undecided"}
        for c in self.data["claims"]:
            paper = f"; paper: {c['paper']} ({c['paper_setting']})" if c["paper"] else ""
            out.append(f"[{words[c['holds']]}] {c['claim']}: ours {c['ours']}{paper}")
        out += [f"note: {n}" for n in self.data["notes"]]
        sys.stdout.write("\n".join(out) + "\n")
