"""The seven verbs: one sub-application each, one command a method, made when asked for. A module attribute is
``<verb>`` (the sub-application) or ``<verb>/<method>`` (one command), so the command tree can name them as strings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cyclopts import App

from labelwright.cli.options import COMMON, SETTINGS, command
from labelwright.recipes.steps import CORRECT, WHOLE_AUDIT, arguments_of, entry_of, fit_options
from labelwright.registry import VERBS, methods

CORRECT_HELP = "Apply the findings of an audit: write a dataset folder that learn reads, with the original labels and a reason per change."
TRAINS = ("learn", "condense", "forget")


def __getattr__(name: str) -> object:
    verb, _, method = name.partition("/")
    if verb not in VERBS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return method_command(verb, method) if method else application(verb)


def application(verb: str) -> App:
    """The sub-application of a verb. ``audit`` without a METHOD runs the whole audit."""
    from labelwright.cli.app import QUESTIONS

    app = App(name=verb, help=f"{QUESTIONS[verb]}\n\nPlanned methods: labelwright methods --verb {verb}", **SETTINGS)
    entries = [e for e in methods(verb=verb) if e.target]
    if verb == "audit" and any(e.name == WHOLE_AUDIT for e in entries):
        app.default(method_command(verb, WHOLE_AUDIT))
    if verb == "annotate":
        app.command(f"{__name__}:{verb}/{CORRECT}", name=CORRECT, help=CORRECT_HELP)
    for entry in entries:
        app.command(f"{__name__}:{verb}/{entry.name}", name=entry.name, help=entry.summary)
    return app


def method_command(verb: str, method: str) -> Callable[..., int]:
    """The command of one method: its own fields, the verb's arguments, the training recipe where it trains."""
    work = partial(run_step, verb, method)
    if (verb, method) == ("annotate", CORRECT):
        return command(CORRECT, work, arguments=arguments_of(verb, method), help=CORRECT_HELP)
    entry = entry_of(verb, method)
    taken = {a.name for a in arguments_of(verb, method)}
    fit = [o for o in fit_options(entry) if o.name not in taken] if verb in TRAINS else []
    text = f"{entry.summary}\n\n{entry.paper}" if entry.paper else entry.summary
    return command(method, work, arguments=arguments_of(verb, method), fields=entry.options, fit=fit, common=COMMON, help=text)


def run_step(verb: str, method: str, /, *, out: str | None, json: bool, quiet: bool, **given: Any) -> int:
    """Run one step into its folder, print the summary, return the exit code."""
    from labelwright.cli.output import bars, emit
    from labelwright.recipes.perform import perform
    from labelwright.recipes.steps import Step

    step = Step.of(verb, method, given)
    outcome = perform(step, out or f"labelwright-{verb}", show=bars(quiet))
    return emit(outcome, json=json, quiet=quiet)
