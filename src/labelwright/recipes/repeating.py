"""Repeat a run from its folder and compare the figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labelwright.errors import InputError
from labelwright.recipes.perform import Outcome, perform
from labelwright.recipes.session import read_run
from labelwright.recipes.steps import Step

__all__ = ["differences", "rerun"]

SHOWN = 5
SAME = 1e-9
"""Figures closer than this count as equal: the last bits of a mean may depend on the number of threads."""


def rerun(folder: str, *, out: str | None = None, show: bool = False) -> Outcome:
    """Run the step recorded in ``folder/run.json`` again, into `out` (default ``folder-rerun``).

    Data paths there are relative to `folder`: the folder and its data may move together.

    Raises
    ------
    InputError
        If `folder` is no output folder, its ``run.json`` holds an unknown key, or the data have changed since.
    """
    place = Path(folder).expanduser()
    record = read_run(place)
    step = Step.restore(record, place)
    check_data(step, record, place)
    target = Path(out).expanduser() if out else place.with_name(place.name + "-rerun")
    outcome = perform(step, target, show=show)
    changed = list(differences(record["figures"], outcome.figures))
    if changed:
        shown = "; ".join(changed[:SHOWN]) + (f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")
        note = f"Figures differ from {place}: {shown}."
    else:
        note = f"Figures are those of {place}."
    return replace(outcome, summary={**outcome.summary, "same_figures": not changed}, lines=(*outcome.lines, note))


def check_data(step: Step, record: Mapping[str, Any], place: Path) -> None:
    """Refuse data that are not those of the recorded run, before any work."""
    from labelwright.recipes.sources import load_data, load_second, signals_from

    for name, facts in record["data"].items():
        if name == "recipe":
            from labelwright.recipes.chain import describe_file

            if describe_file(Path(step.values["recipe"]))["fingerprint"] != facts["fingerprint"]:
                raise InputError(
                    f"recipe {step.values['recipe']} has changed since {place} was made.", hint="Run it again with labelwright run."
                )
            continue
        if name == "data":
            data: Any = signals_from(step, load_data(step))[0] if step.verb == "audit" else load_data(step)
        else:
            data = load_second(step, name)
        if data is not None and data.fingerprint != facts["fingerprint"]:
            raise InputError(
                f"{name} {step.values[name]} is not what {place} was made from: it has changed since.",
                hint=f"For the present data run: {step.command()} --out DIR",
            )


def differences(before: Any, now: Any, at: str = "") -> Iterator[str]:
    """Places where two nested figures differ, in words."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from differences(before.get(key), now.get(key), f"{at}.{key}" if at else str(key))
    elif isinstance(before, (list, tuple)) and isinstance(now, (list, tuple)) and len(before) == len(now):
        for k, (a, b) in enumerate(zip(before, now, strict=True)):
            yield from differences(a, b, f"{at}[{k}]")
    elif isinstance(before, (int, float)) and isinstance(now, (int, float)):
        if not math.isclose(before, now, rel_tol=SAME, abs_tol=SAME):
            yield f"{at} was {before:.6g} and is {now:.6g}"
    elif before != now:
        yield f"{at} was {before!r} and is {now!r}"
