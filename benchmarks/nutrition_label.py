"""Dataset nutrition label: statistics recomputed, build time, probabilistic models, planted faults, and speed against a profiler.

The five small-scale checks of the sheet:

1. every row of the Statistics module, recomputed with the csv and statistics modules alone, on two real tables;
2. seconds of processor time for a whole label with all renderers, and validity of its Croissant file;
3. dependence, simulated conditionals and held-out likelihood of the two models of rows;
4. planted faults (missing not at random, duplicated rows, a leaked label, an under-represented group): detections and false alarms;
5. 100,000 x 30 numbers against fg-data-profiling (once ydata-profiling) and pandas ``describe``, each in a process of its own.

Set LABELWRIGHT_PEER_PYTHON to the Python of an environment with fg-data-profiling; without it check 5 says "peer absent".
"""

from __future__ import annotations

import csv
import math
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn import datasets

import _harness as bench
from _nutrition_race import OURS, PANDAS, PEER, race
from labelwright.audit.nutrition import Reference, Settings, make_label, validate_croissant, write_label
from labelwright.audit.nutrition.chow_liu import fit_chow_liu
from labelwright.audit.nutrition.crosscat import fit_crosscat
from labelwright.audit.nutrition.table import Column, read_table

GOLDEN = {
    "count": 500,
    "min": 0.14,
    "median": 14.0,
    "max": 5000.0,
    "mean": 134.21,
    "sd": 501.99,
}
"""Published row of total_amount_of_payment_usdollars, of a file with 47 of its cells removed."""
DATA_CODES = ("missing", "constant", "identifier", "duplicate-rows", "imbalance", "leakage", "missing-not-at-random", "representation")


# 1. Statistics -------------------------------------------------------------------------------------------------------------------


def by_hand(path: Path, missing: set[str]) -> dict[str, dict[str, Any]]:
    """Statistics of every column with nothing but csv, Counter and statistics; both tables' rows for each column."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    head, body = rows[0], rows[1:]
    made = {}
    for j, name in enumerate(head):
        if not name:
            continue
        cells = [row[j] for row in body]
        present = [c for c in cells if c not in missing]
        counts = Counter(present)
        gone = len(cells) - len(present)
        ends = dict(counts) | ({"missing value": gone} if gone else {})
        top, low = max(ends.values()), min(ends.values())
        entry: dict[str, Any] = {"count": len(cells), "unique": len(ends), "missing": gone, "missing_percent": 100 * gone / len(cells)}
        for key, extreme in (("most_frequent", top), ("least_frequent", low)):
            held = [v for v, c in ends.items() if c == extreme]
            nothing = len(ends) == len(cells) or (key == "least_frequent" and len(ends) == 1)
            entry[key] = "--" if nothing else (held[0], extreme) if len(held) == 1 else "multiple detected"
        try:
            numbers = [float(c) for c in present]
        except ValueError:
            numbers = []
        if numbers:
            entry |= {
                "min": min(numbers),
                "max": max(numbers),
                "median": statistics.median(numbers),
                "mean": math.fsum(numbers) / len(numbers),
                "sd": statistics.pstdev(numbers),
                "zeros": sum(x == 0 for x in numbers),
            }
        made[name] = entry
    return made


def compare_statistics(path: Path, frame: pl.DataFrame, missing: set[str]) -> dict[str, Any]:
    """Cells of the Statistics module that agree with `by_hand`, over both ways to read each numeric column."""
    truth, cells, wrong = by_hand(path, missing), 0, []
    numeric = [n for n, t in frame.schema.items() if t.is_numeric()]
    for scales in (dict.fromkeys(frame.columns, "nominal"), dict.fromkeys(numeric, "continuous")):
        groups = make_label(frame, scales=scales, settings=Settings(back_end="none"), seed=0).module("statistics").data["groups"]
        for scale, rows in groups.items():
            keys = (
                ("min", "max", "median", "mean", "sd", "zeros")
                if scale in ("continuous", "discrete")
                else ("unique", "most_frequent", "least_frequent")
            )
            for row in rows:
                for key in ("count", "missing", "missing_percent", *keys):
                    cells += 1
                    if not same(row[key], truth[row["name"]][key]):
                        wrong.append(f"{row['name']}.{key}: {row[key]} against {truth[row['name']][key]}")
    return {"cells": cells, "wrong": len(wrong), "first_wrong": wrong[:5], "agree_percent": 100 * (1 - len(wrong) / cells)}


def same(ours: Any, theirs: Any) -> bool:
    """Equal text and counts; numbers to 1e-12 of their size; a value that is a number counts as the number it names."""
    if isinstance(ours, dict):
        if not isinstance(theirs, tuple) or ours["count"] != theirs[1]:
            return False
        try:
            return ours["value"] == theirs[0] or float(ours["value"]) == float(theirs[0])
        except ValueError:
            return False
    if isinstance(ours, float) and isinstance(theirs, (int, float)):
        return math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-12)
    return bool(ours == theirs)


# 2. Build time -------------------------------------------------------------------------------------------------------------------


def build(frame: pl.DataFrame, label_column: str, seed: int) -> dict[str, Any]:
    """A whole label with all renderers: processor seconds (a busy machine stretches the wall clock), wall seconds, size, errors."""
    start, wall = time.process_time(), time.perf_counter()
    label = make_label(frame, label_column=label_column, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_label(label, Path(folder) / "label")
        cpu, wall = time.process_time() - start, time.perf_counter() - wall
        size = next(p for p in paths if p.name == "label.html").stat().st_size
    errors, _ = validate_croissant(label.to_croissant())
    return {"cpu_seconds": cpu, "wall_seconds": wall, "html_bytes": size, "croissant_errors": len(errors)}


def sklearn_tables() -> dict[str, pl.DataFrame]:
    """The classification tables of scikit-learn, label last."""
    made = {}
    for name, loader in (("iris", datasets.load_iris), ("wine", datasets.load_wine), ("breast-cancer", datasets.load_breast_cancer)):
        bunch = loader()
        columns = {str(n): bunch.data[:, j] for j, n in enumerate(bunch.feature_names)}
        made[name] = pl.DataFrame(columns).with_columns(label=pl.Series(np.asarray(bunch.target_names)[bunch.target].astype(str)))
    return made


# 3. Probabilistic models ---------------------------------------------------------------------------------------------------------


def titanic(root: Path) -> pl.DataFrame:
    """The passenger list, with the digit sum of the passenger's number as the independent variable (the file has no tickets)."""
    frame = pl.read_csv(root / "tabular" / "titanic.csv", null_values=["NA"])
    digits = frame.get_column("").cast(pl.String).str.split("").list.eval(pl.element().cast(pl.Int64, strict=False)).list.sum()
    return frame.drop("", "Name", "SexCode").with_columns(digit_sum=digits)


def titanic_model(frame: pl.DataFrame, back_end: str, seed: int, quick: bool) -> dict[str, Any]:
    columns = columns_of(frame)
    if back_end == "chow-liu":
        model: Any = fit_chow_liu(frame, columns, seed=seed)
    else:
        model = fit_crosscat(frame, columns, seed=seed, sweeps=5 if quick else 100, chains=4 if quick else 16)
    place = {n: i for i, n in enumerate(model.names)}
    dependence = model.dependence()
    worst, published = 0.0, 0.0
    for sex in ("female", "male"):
        truth = (frame.filter(pl.col("Sex") == sex)["Survived"] == 1).mean()
        for n in (500, 20_000):
            drawn = model.simulate(["Survived"], {"Sex": sex}, n, seed=seed).get_column("Survived")
            gap = 100 * abs((drawn == "1").mean() - truth)
            worst, published = (max(worst, gap), published) if n > 500 else (worst, max(published, gap))
    return {
        "sex_survived": dependence[place["Sex"], place["Survived"]],
        "digits_survived": dependence[place["digit_sum"], place["Survived"]],
        "gap_points": worst,
        "gap_points_500": published,
    }


def columns_of(frame: pl.DataFrame) -> tuple[Column, ...]:
    scales = {n: "nominal" for n, t in frame.schema.items() if n != "digit_sum" and not t.is_float()}
    return read_table(frame, scales=scales, settings=Settings(), seed=0).columns


def held_out(seed: int) -> dict[str, Any]:
    """Mean held-out log-likelihood in nats of binarised digits: the tree against independent pixels with the same smoothing."""
    bits = (datasets.load_digits().data > 7).astype(int)
    order = np.random.default_rng(seed).permutation(len(bits))
    train, test = bits[order[:1200]], bits[order[1200:]]
    names = [f"p{j}" for j in range(64)]
    words = np.array(["off", "on"])
    frames = [pl.DataFrame({n: words[part[:, j]] for j, n in enumerate(names)}) for part in (train, test)]
    tree = fit_chow_liu(frames[0], columns_of(frames[0]), seed=seed)
    # the same states as the tree's tables (both values seen, one spare, missing), the same alpha
    states = np.array([c.size + 1 for c in tree.columns])
    on = (train.sum(0) + 0.5) / (len(train) + 0.5 * states)
    off = ((1 - train).sum(0) + 0.5) / (len(train) + 0.5 * states)
    alone = (test * np.log(on) + (1 - test) * np.log(off)).sum(1).mean()
    joint = tree.logpdf(frames[1]).mean()
    return {"tree": joint, "independent": alone, "gain_nats": joint - alone}


# 4. Planted faults ---------------------------------------------------------------------------------------------------------------


def clean_table(name: str, seed: int) -> pl.DataFrame:
    """A table with nothing planted: synthetic columns, or 80 % of a table of scikit-learn; a balanced group column added."""
    rng = np.random.default_rng(1000 + seed)
    if name == "synthetic":
        # columns share a factor (correlation 0.36): what goes missing by its own value alone shows only where others know of it
        x = 0.8 * rng.normal(size=(800, 14)) + 0.6 * rng.normal(size=(800, 1))
        label = np.where(x[:, 0] - x[:, 1] + rng.normal(size=800) > 0, "yes", "no")
        frame = pl.DataFrame({f"x{j}": x[:, j] for j in range(14)} | {f"w{j}": rng.choice(list("abcd"), 800) for j in range(5)})
        frame = frame.with_columns(label=pl.Series(label))
    else:
        frame = sklearn_tables()[name]
        frame = frame[np.sort(rng.permutation(frame.height)[: int(0.8 * frame.height)])]
    half = np.repeat(["f", "m"], [frame.height // 2, frame.height - frame.height // 2])
    return frame.with_columns(group=pl.Series(rng.permutation(half)))


def alerts_of(frame: pl.DataFrame, seed: int) -> list[tuple[str, tuple[str, ...]]]:
    reference = Reference(shares={"group": {"f": 0.5, "m": 0.5}})
    label = make_label(
        frame, label_column="label", sensitive=("group",), reference=reference, settings=Settings(back_end="none", plots=0), seed=seed
    )
    return [(a.code, a.columns) for a in label.alerts if a.code in DATA_CODES]


def planted(name: str, seed: int) -> dict[str, Any]:
    frame = clean_table(name, seed)
    rng = np.random.default_rng(seed)
    numeric = [n for n, t in frame.schema.items() if t.is_float()]
    before = alerts_of(frame, seed)
    column = str(rng.choice(numeric))
    holes = frame.with_columns(pl.when(pl.col(column) < pl.col(column).quantile(0.8)).then(pl.col(column)).alias(column))
    repeated = pl.concat([frame, frame[rng.choice(frame.height, frame.height // 20, replace=False)]])
    leaked = frame.with_columns(copy=pl.lit("class ") + pl.col("label"))
    women = np.flatnonzero((frame["group"] == "f").to_numpy())
    gone = rng.choice(women, len(women) // 2, replace=False)
    halved = frame[np.setdiff1d(np.arange(frame.height), gone)]
    return {
        "false_alerts_per_20_columns": 20 * len(before) / frame.width,
        "false": [f"{code} {' '.join(columns)}" for code, columns in before],
        "missing_found": any(c == "missing" and column in cols for c, cols in alerts_of(holes, seed)),
        "mnar_found": any(c == "missing-not-at-random" and cols[0] == column for c, cols in alerts_of(holes, seed)),
        "duplicates_found": any(c == "duplicate-rows" for c, _ in alerts_of(repeated, seed)),
        "leak_found": any(c == "leakage" and "copy" in cols for c, cols in alerts_of(leaked, seed)),
        "gap_found": any(c == "representation" for c, _ in alerts_of(halved, seed)),
    }


# The run -------------------------------------------------------------------------------------------------------------------------


def check_statistics(record: bench.Record, root: Path) -> None:
    folder = root / "tabular"
    sources = {
        "dollars-for-docs": (folder / "dollars_for_docs_sample.csv", {""}, []),
        "titanic": (folder / "titanic.csv", {"", "NA"}, ["NA"]),
    }
    for name, (path, missing, nulls) in sources.items():
        frame = pl.read_csv(path, null_values=nulls or None, infer_schema_length=None).drop("")  # row numbers
        record.run(f"statistics {name}", 0, lambda p=path, f=frame, m=missing: compare_statistics(p, f, m))
    frame = pl.read_csv(folder / "dollars_for_docs_sample.csv", infer_schema_length=None)
    rows = make_label(frame, settings=Settings(back_end="none"), seed=0).module("statistics").data["groups"]["continuous"]
    amount = next(r for r in rows if r["name"] == "total_amount_of_payment_usdollars")
    wrong = [record.values(f"statistics {n}", "wrong")[0] for n in sources]
    cells = [int(record.values(f"statistics {n}", "cells")[0]) for n in sources]
    record.claim(
        "every row of the Statistics module equals an independent recomputation",
        holds=not any(wrong),
        ours=f"{sum(cells) - int(sum(wrong))} of {sum(cells)} cells equal; payments: "
        + ", ".join(f"{k} {amount[k]:.2f}" for k in ("min", "median", "max", "mean", "sd")),
        paper="payments: " + ", ".join(f"{k} {GOLDEN[k]:.2f}" for k in ("min", "median", "max", "mean", "sd")),
        paper_setting="the prototype's sample with 9.40 % of these cells removed; ours is the sample without gaps",
    )


def check_build(record: bench.Record, root: Path, seeds: int) -> None:
    tables = {"titanic": (pl.read_csv(root / "tabular" / "titanic.csv", null_values=["NA"]), "Survived")}
    tables |= {n: (f, "label") for n, f in sklearn_tables().items()}
    for name, (frame, column) in tables.items():
        for seed in range(seeds):
            record.run(f"build {name}", seed, lambda f=frame, c=column, s=seed: build(f, c, s))
    times = {n: record.measure(f"build {n}", "cpu_seconds") for n in tables}
    errors = sum(sum(record.values(f"build {n}", "croissant_errors")) for n in tables)
    record.claim(
        "a label is built in less than 5 s on one core",
        holds=all(t.value < 5 for t in times.values()),
        ours="; ".join(f"{n} {t} s" for n, t in times.items()),
    )
    record.claim(
        "mlcroissant validates every Croissant file", holds=errors == 0, ours=f"{int(errors)} errors in {len(tables) * seeds} files"
    )


def check_models(record: bench.Record, root: Path, seeds: int, quick: bool) -> None:
    frame = titanic(root)
    for back_end in ("chow-liu", "crosscat"):
        for seed in range(seeds):
            record.run(f"{back_end} titanic", seed, lambda b=back_end, s=seed: titanic_model(frame, b, s, quick), setting={"quick": quick})
    for seed in range(seeds):
        record.run("chow-liu digits", seed, lambda s=seed: held_out(s))
    for back_end in ("chow-liu", "crosscat"):
        strong, absent, gap, few = (
            record.measure(f"{back_end} titanic", m) for m in ("sex_survived", "digits_survived", "gap_points", "gap_points_500")
        )
        record.claim(f"{back_end}: dependence(sex, survived) >= 0.95", holds=strong.value >= 0.95, ours=str(strong))
        record.claim(f"{back_end}: dependence(digit sum, survived) <= 0.2", holds=absent.value <= 0.2, ours=str(absent))
        record.claim(
            f"{back_end}: simulated P(survived | sex) within 3 points",
            holds=gap.high <= 3,
            ours=f"{gap} points with 20,000 draws, {few} with 500",
        )
    gain = record.measure("chow-liu digits", "gain_nats")
    record.claim("held-out likelihood of the tree above independent pixels", holds=gain.low > 0, ours=f"gain {gain} nats a digit")


def check_faults(record: bench.Record, seeds: int) -> None:
    tables = ("synthetic", "wine", "breast-cancer")
    for name in tables:
        for seed in range(seeds):
            record.run(f"faults {name}", seed, lambda n=name, s=seed: planted(n, s))
    for fault in ("missing_found", "mnar_found", "duplicates_found", "leak_found", "gap_found"):
        hits = {n: record.values(f"faults {n}", fault) for n in tables}
        every = sum(sum(v) for v in hits.values())
        total = sum(len(v) for v in hits.values())
        record.claim(
            f"planted fault is found: {fault.removesuffix('_found')}",
            holds=every == total,
            ours="; ".join(f"{n} {int(sum(v))}/{len(v)}" for n, v in hits.items()),
        )
    false = {n: record.measure(f"faults {n}", "false_alerts_per_20_columns") for n in tables}
    record.claim(
        "at most 1 false alert per 20 columns",
        holds=all(m.value <= 1 for m in false.values()),
        ours="; ".join(f"{n} {m}" for n, m in false.items()),
    )


def check_speed(record: bench.Record, seeds: int, quick: bool) -> None:
    rows, limit = (5_000, 300) if quick else (100_000, 900)
    peer = os.environ.get("LABELWRIGHT_PEER_PYTHON", "")
    for how in ("statistics", "whole report"):
        bodies = {"ours": (sys.executable, OURS), "pandas": (sys.executable, PANDAS)} | ({"peer": (peer, PEER)} if peer else {})
        setting = {"rows": rows, "columns": 30, "peer": "fg-data-profiling" if peer else "absent"}
        for seed in range(seeds):
            record.run(f"speed {how}", seed, lambda h=how, s=seed, b=bodies: race(rows, 30, s, h, b, limit), setting=setting)
        memory = record.measure(f"speed {how}", "ours_memory", setting=setting)
        record.claim(
            f"{how}: memory above the table at most 2x the table", holds=memory.value <= 2, ours=f"{memory} x {8 * rows * 30 / 1e6:.0f} MB"
        )
        naive = record.measure(f"speed {how}", "pandas_cpu_ratio", setting=setting)
        record.note(
            f"{how}: pandas describe() and isna() take {naive} of our processor time (they give 8 moments and quantiles, no report)."
        )
        if not peer:
            record.note(f"{how}: peer absent (LABELWRIGHT_PEER_PYTHON is not set).")
            continue
        wall, cpu, theirs = (
            record.measure(f"speed {how}", m, setting=setting) for m in ("peer_wall_ratio", "peer_cpu_ratio", "peer_memory")
        )
        record.claim(
            f"{how}: at least 5x faster than fg-data-profiling",
            holds=cpu.low >= 5 if cpu.n > 1 else cpu.value >= 5,
            ours=f"{cpu} x by processor time, {wall} x by wall clock; its memory {theirs} x the table",
        )
        gap = max(record.values(f"speed {how}", "peer_difference", setting=setting), default=math.nan)
        record.claim(
            f"{how}: same min, mean, max and missing as fg-data-profiling", holds=gap < 1e-9, ours=f"largest relative difference {gap:.1e}"
        )


def main() -> None:
    args = bench.arguments(__doc__)
    root = bench.data_root("tabular")
    record = bench.Record("nutrition-label", quick=args.quick)
    seeds = 1 if args.quick else args.seeds
    check_statistics(record, root)
    check_build(record, root, seeds)
    check_models(record, root, seeds, args.quick)
    check_faults(record, seeds)
    check_speed(record, 1 if args.quick else min(seeds, 3), args.quick)
    record.note(
        "speed is judged by processor time of one thread: the machine was shared, and the wall clock (shown too) varies with its load."
    )
    record.note(
        "crosscat: passengers are numbered by class, so the digit sum does depend on class and through it on survival; columns of one view count as dependent, however indirectly. It sees 500 of the 1,313 rows, whose own shares of survivors differ from all by up to 5.5 points in these five samples."
    )
    record.note("titanic.csv has 1,313 rows and no ticket column: the independent variable is the digit sum of the passenger's number.")
    record.note(
        "speed: 'statistics' is the peer's minimal mode against our Statistics module; 'whole report' is the peer's default page without its scatter plots of all pairs (with them it did not end within 300 s at 5,000 rows) against our page with pairs, dependence and the tree model."
    )
    record.report()


if __name__ == "__main__":
    main()
