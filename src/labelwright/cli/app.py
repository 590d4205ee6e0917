"""The tree of commands. Every command is a string, imported when it runs: ``--help`` imports neither torch nor NumPy."""

from __future__ import annotations

from cyclopts import App

from labelwright import __version__
from labelwright.cli.options import SETTINGS
from labelwright.registry import VERBS

__all__ = ["build"]

QUESTIONS = {
    "audit": "What is wrong with my data?",
    "annotate": "What should the labels be?",
    "select": "Which examples are worth keeping, or labelling next?",
    "condense": "What small set can stand in for it?",
    "learn": "What model can these labels support?",
    "forget": "How do I take data back out of a model?",
    "certify": "What can I prove?",
}
HELP = """State what labels you have and what you want: labelwright takes you there.

Start with: labelwright demo, labelwright advise DATA, labelwright audit DATA.
"""
TOOLS = {
    "demo": "The main job end to end on real data: audit, report, correct, learn, compare.",
    "advise": "Look at a dataset and name the methods that fit, why, and the commands to run.",
    "methods": "List the methods: by labels you have, flaw, and what you want.",
    "cite": "Print the reference of a method.",
    "predict": "Apply a learned model to a dataset.",
    "run": "Run the steps of a recipe file into one folder with one report.",
    "rerun": "Repeat the run that made a folder.",
}


def build() -> App:
    """The application; calling it with a list of words runs one command and returns the exit code."""
    app = App(name="labelwright", help=HELP, version=f"labelwright {__version__}", **SETTINGS)
    for verb in VERBS:
        app.command(f"labelwright.cli.verbs:{verb}", name=verb, help=QUESTIONS[verb], sort_key=VERBS.index(verb))
    for rank, (name, text) in enumerate(TOOLS.items(), start=len(VERBS)):
        app.command(f"labelwright.cli.tools:{name}", name=name, help=text, sort_key=rank)
    return app
