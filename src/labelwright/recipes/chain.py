"""A recipe file: steps chained by verb, each into its own folder inside one folder, with one report over all.

    title = "Clean, then learn"
    seed = 0

    [[step]]
    name = "check"                  # the folder; default: number and method
    verb = "audit"
    data = "train.csv"              # relative to the recipe file
    labels = "species"

    [[step]]
    name = "mend"
    verb = "annotate"
    method = "correct"
    data = "train.csv"
    labels = "species"
    findings = "@check"             # an earlier step's folder
    how = "relabel"

    [[step]]
    verb = "learn"
    method = "elr"
    data = "@mend"
    test = "test.csv"

A step takes what its command takes, by the same names. An unknown key is an error.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labelwright import check
from labelwright.errors import InputError
from labelwright.recipes.perform import Outcome, Written, perform, perform_once
from labelwright.recipes.session import Session, write_json, writing
from labelwright.recipes.steps import TOOL_ARGUMENTS, WHOLE_AUDIT, Step, options_of
from labelwright.recipes.tags import words_of_cells
from labelwright.registry import VERBS

__all__ = ["Planned", "read_recipe", "run", "work"]

TOP = ("title", "seed", "out", "step")
REFERENCE = "@"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A step of a recipe: its folder name, and the step with references still in it."""

    name: str
    step: Step


def run(recipe: str, *, out: str | None = None, show: bool = False) -> Outcome:
    """Run the steps of a recipe file into `out` (default: the recipe's ``out``, else ``labelwright-run``).

    Raises
    ------
    InputError
        If the file is no recipe, a key is unknown, or a step refers to none before it.
    """
    path = check.path_exists("recipe", recipe)
    head, _ = read_recipe(path)
    target = Path(out) if out else path.parent / head["out"] if head["out"] else Path("labelwright-run")
    return perform(Step.of("run", "", {"recipe": str(path), "seed": head["seed"]}), target, show=show)


def read_recipe(path: Path) -> tuple[dict[str, Any], tuple[Planned, ...]]:
    """Title, seed and out of a recipe, and its steps, all checked before any runs."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as err:
        raise InputError(f"{path} is not a TOML file: {err}.") from err
    for key in found:
        if key not in TOP:
            raise InputError(f"{path} has an unknown key {key!r}.{check.nearest(key, TOP)}", hint=f"There are: {', '.join(TOP)}.")
    tables = found.get("step")
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise InputError(f"{path} has no steps.", hint="Each step is a table that starts with [[step]].")
    head = {"title": str(found.get("title", path.stem)), "out": found.get("out"), "seed": found.get("seed", 0)}
    check.integer("seed", head["seed"])
    planned: list[Planned] = []
    for number, table in enumerate(tables, start=1):
        planned.append(_planned(table, number, head, [p.name for p in planned], path))
    return head, tuple(planned)


def _planned(table: Mapping[str, Any], number: int, head: Mapping[str, Any], earlier: list[str], path: Path) -> Planned:
    place = f"{path}, step {number}"
    given = {str(k).replace("-", "_"): v for k, v in table.items()}
    verb, method = given.pop("verb", None), given.pop("method", None)
    if not isinstance(verb, str):
        raise InputError(f'{place} needs verb = "…".', hint="One of audit, annotate, select, condense, learn, forget, certify.")
    check.known_word("verb", verb, [*VERBS, *TOOL_ARGUMENTS], place="the verbs")
    if verb in TOOL_ARGUMENTS:
        raise InputError(f"{place}: {verb} cannot be a step.")
    if method is None and verb == "audit":
        method = WHOLE_AUDIT
    if not isinstance(method, str):
        raise InputError(f'{place} needs method = "…".', hint=f"See them with: labelwright methods --verb {verb}")
    name = given.pop("name", f"{number}-{method}")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InputError(f"{place}: name {name!r} must be a folder name of letters, digits, '-', '_' and '.'.")
    if name in earlier:
        raise InputError(f"{place}: name {name!r} is taken by an earlier step.")
    if "seed" in {o.name for o in options_of(verb, method)}:
        given.setdefault("seed", head["seed"])
    step = Step.of(verb, method, given, place=place)
    values = dict(step.values)
    for argument in step.paths:
        value = values[argument]
        if isinstance(value, str) and value.startswith(REFERENCE):
            check.known_word("step", value[1:].partition("/")[0], earlier, place=f"the steps before {place}")
        elif isinstance(value, str) and not Path(value).is_absolute() and (path.parent / value).exists():
            values[argument] = str(path.parent / value)
    return Planned(name=name, step=replace(step, values=values))


def describe_file(path: Path) -> dict[str, Any]:
    """What ``run.json`` keeps of a recipe file."""
    raw = path.read_bytes()
    return {"fingerprint": hashlib.blake2b(raw, digest_size=16).hexdigest(), "n": len(raw), "kind": "recipe", "name": path.name}


def work(session: Session) -> Written:
    """Run the steps one after another."""
    from labelwright.report.overview import StepRow, overview_page

    path = Path(session.step.values["recipe"])
    head, planned = read_recipe(path)
    session.begin(recipe=describe_file(path))
    done: dict[str, Outcome] = {}
    for item in planned:
        values = {k: _resolve(v, session.partial) if k in item.step.paths else v for k, v in item.step.values.items()}
        done[item.name] = perform_once(replace(item.step, values=values), session.partial / item.name)
    figures = {name: dict(outcome.figures) for name, outcome in done.items()}
    rows = [
        StepRow(name=f"{p.step.verb} {p.step.method}", text=_words(done[p.name]), folder=p.name, link=_page(session.partial, p.name))
        for p in planned
    ]
    page = overview_page(
        title=head["title"],
        verdict=f"{len(planned)} steps, all complete.",
        kind="recipe",
        command=session.step.command(),
        rows=[("Recipe", path.name), ("Seed", str(head["seed"]))],
        steps=rows,
        steps_lead="Each step has a folder of its own with its result, its page and its run.json.",
    )
    with writing(session.partial):
        (session.partial / "report.html").write_text(page, encoding="utf-8")
        write_json(session.partial / "summary.json", figures)
    lines = [f"{p.name}: {_words(done[p.name])}" for p in planned]
    exceeded = tuple(line for outcome in done.values() for line in outcome.exceeded)
    return Written(summary={"steps": figures}, lines=(*lines, "Report: {out}/report.html"), exceeded=exceeded)


def _resolve(value: Any, folder: Path) -> Any:
    return str(folder / value[1:]) if isinstance(value, str) and value.startswith(REFERENCE) else value


def _page(folder: Path, name: str) -> str:
    return f"{name}/report.html" if (folder / name / "report.html").exists() else ""


def _words(outcome: Outcome) -> str:
    """The outcome of a step in a few words."""
    figures = outcome.figures
    if "map" in figures.get("test", {}):
        return words_of_cells(figures["test"])
    if "test" in figures:
        return f"test accuracy {figures['test']['accuracy']:.1%} on {figures['test']['n']:,} examples"
    if "issues" in figures:
        found = [f"{issue.replace('_', ' ')} {facts['flagged']:,}" for issue, facts in figures["issues"].items() if facts["flagged"]]
        return f"{figures['n']:,} examples; flagged: {', '.join(found) or 'nothing'}"
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in figures.items() if isinstance(v, (int, float, str)))
