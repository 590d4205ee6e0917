"""The race of `nutrition_label.py`: our statistics and whole labels against pandas and a profiler, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["OURS", "PANDAS", "PEER", "race"]

MEASURE = """
import json, os, resource, sys, time
import numpy as np
def peak():
    return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) * 1024
def now():
    return int(next(l for l in open('/proc/self/status') if l.startswith('VmRSS')).split()[1]) * 1024
path, how, out = sys.argv[1:4]
values = np.load(path)
names = [f'x{j}' for j in range(values.shape[1])]
def cpu():
    return sum(resource.getrusage(w).ru_utime + resource.getrusage(w).ru_stime for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
"""
OURS = """
import polars as pl
from labelwright.audit.nutrition import Settings, make_label
table = pl.DataFrame({n: values[:, j] for j, n in enumerate(names)}); del values
def work():
    label = make_label(table, seed=0)
    if how == 'statistics':
        rows = label.module('statistics').data['groups']['continuous']
    else:
        label.to_html()
        rows = label.module('statistics').data['groups']['continuous']
    return {r['name']: [r['min'], r['mean'], r['max'], r['missing']] for r in rows}
"""
PANDAS = """
import pandas as pd
table = pd.DataFrame(values, columns=names); del values
def work():
    d, gone = table.describe(), table.isna().sum()
    return {n: [float(d[n]['min']), float(d[n]['mean']), float(d[n]['max']), int(gone[n])] for n in names}
"""
PEER = """
import pandas as pd, warnings
warnings.simplefilter('ignore')
from data_profiling import ProfileReport
table = pd.DataFrame(values, columns=names); del values
def work():
    more = {} if how == 'statistics' else {'interactions': {'continuous': False}}
    report = ProfileReport(table, minimal=how == 'statistics', progress_bar=False, **more)
    if how != 'statistics':
        report.to_html()
    d = report.get_description().variables
    return {n: [float(d[n]['min']), float(d[n]['mean']), float(d[n]['max']), int(d[n]['n_missing'])] for n in names}
"""
CLOSE = """
whole, table = table, table[:200]
work()  # a first small round, so that imports and compilation are charged to nobody
table = whole
open('/proc/self/clear_refs', 'w').write('5')
before, started, burnt = now(), time.perf_counter(), cpu()
rows = work()
wall, used, most = time.perf_counter() - started, cpu() - burnt, peak() - before
json.dump({'wall': wall, 'cpu': used, 'extra_bytes': most, 'rows': rows}, open(out, 'w'))
"""


def measured(python: str, body: str, how: str, path: Path, limit: int) -> dict[str, Any]:
    """Wall and processor seconds, and memory above the loaded table, of one process on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS"), "1")
        env |= {"MPLBACKEND": "Agg", "YDATA_PROFILING_NO_ANALYTICS": "True", "DATA_PROFILING_NO_ANALYTICS": "True"}
        try:
            run = subprocess.run(
                [python, "-c", MEASURE + body + CLOSE, str(path), how, str(out)],
                env=env,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"not finished after {limit} s") from None
        if run.returncode:
            raise RuntimeError(run.stderr.strip().splitlines()[-1] if run.stderr.strip() else f"exit code {run.returncode}")
        return dict(json.loads(out.read_text()))


def race(rows: int, columns: int, seed: int, how: str, bodies: dict[str, tuple[str, str]], limit: int) -> dict[str, Any]:
    """All contestants on one table, one after the other; differences of their figures from ours."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, columns)) * np.exp(rng.normal(size=columns))
    values[rng.random(values.shape) < 0.02] = np.nan
    made: dict[str, Any] = {"table_bytes": values.nbytes}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "values.npy"
        np.save(path, values)
        found = {}
        for name, (python, body) in bodies.items():
            found[name] = measured(python, body, how, path, limit)
            made |= {
                f"{name}_wall": found[name]["wall"],
                f"{name}_cpu": found[name]["cpu"],
                f"{name}_memory": found[name]["extra_bytes"] / values.nbytes,
            }
        ours = np.array([found["ours"]["rows"][f"x{j}"] for j in range(columns)])
        for name in found:
            theirs = np.array([found[name]["rows"][f"x{j}"] for j in range(columns)])
            made[f"{name}_difference"] = float(np.max(np.abs(ours - theirs) / np.maximum(1e-300, np.maximum(np.abs(ours), 1e-3))))
            made[f"{name}_cpu_ratio"] = found[name]["cpu"] / found["ours"]["cpu"]
            made[f"{name}_wall_ratio"] = found[name]["wall"] / found["ours"]["wall"]
    return made
