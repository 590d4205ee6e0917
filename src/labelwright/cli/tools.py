"""The commands that are no verb: demo, advise, methods, cite, predict, run, rerun."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from labelwright.registry import methods as list_methods

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Text = Annotated[str | None, Parameter(negative_none="", show_default=False)]


def methods(*, have: Text = None, flaw: Text = None, want: Text = None, verb: Text = None, json: Flag = False) -> int:
    """List the methods.

    Parameters
    ----------
    have
        Labels you have: class-labels, multi-labels, soft-labels, proportions, votes, targets, spans, boxes, points, masks, captions, none.
    flaw
        What is wrong with them: noise, scarcity, partial, weak, imbalance, size, leak, private, shift.
    want
        What you want: findings, report, labels, selection, condensed, classifier, segmenter, detector, tagger, separator, encoder,
        forgetting, certificate.
    verb
        audit, annotate, select, condense, learn, forget, certify.
    json
        Print a list of objects.
    """
    entries = list_methods(have=have, flaw=flaw, want=want, verb=verb)
    if json:
        import json as _json
        import sys

        sys.stdout.write(_json.dumps([e.to_dict() for e in entries], ensure_ascii=False) + "\n")
        return 0
    from labelwright.cli.listing import table

    print(table(entries))
    return 0


def cite(method: str, /, *, json: Flag = False) -> int:
    """Print the reference of a method.

    Parameters
    ----------
    method
        Name as in labelwright methods.
    json
        Print a list of objects.
    """
    from labelwright.cli.listing import citations
    from labelwright.cli.output import emit_json, emit_lines

    found = citations(method)
    if json:
        emit_json([{"name": e.name, "verb": e.verb, "paper": e.paper} for e in found])
    else:
        emit_lines([line for e in found for line in (f"{e.verb} {e.name} ({e.title})", f"  {e.paper or 'no reference: a baseline'}")])
    return 0


def advise(data: str, /, *, labels: Text = None, inputs: Text = None, seed: int = 0, json: Flag = False, quiet: Flag = False) -> int:
    """Look at a dataset and name the methods that fit, why, and the commands to run.

    Parameters
    ----------
    data
        Dataset, as for every verb.
    labels
        Column that holds the labels.
    inputs
        Column that holds the inputs, or several separated by commas.
    seed
        Seed of the quick estimate of label noise.
    json
        Print one object.
    quiet
        No progress bars.
    """
    from labelwright.cli.output import bars, emit_json, emit_lines
    from labelwright.progress import shown
    from labelwright.recipes import advise as look

    with shown(bars(quiet)):
        advice = look(data, labels=labels, inputs=inputs, seed=seed)
    if json:
        emit_json(advice.to_dict())
    else:
        emit_lines(advice.lines())
    return 0


def predict(
    model: str,
    data: str,
    /,
    *,
    out: str,
    inputs: Text = None,
    labels: Text = None,
    device: str = "auto",
    batch_size: int = 512,
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Apply a learned model to a dataset.

    Parameters
    ----------
    model
        Folder written by labelwright learn.
    data
        Dataset, as for every verb.
    out
        File to write, .csv or .parquet: id, predicted class, its probability, one probability a class.
    inputs
        Column that holds the inputs, or several separated by commas.
    labels
        Column that holds labels, if the table has one: it is no input.
    device
        auto (CUDA where present), cpu, cuda, cuda:1, mps.
    batch_size
        Examples at a time.
    json
        Print one object.
    quiet
        No progress bars and no summary.
    """
    from labelwright.cli.output import bars, emit_json, emit_lines
    from labelwright.progress import shown
    from labelwright.recipes.prediction import predict as apply

    with shown(bars(quiet)):
        summary = apply(model, data, out=out, inputs=inputs, labels=labels, device=device, batch_size=batch_size)
    if json:
        emit_json(summary)
    elif not quiet:
        emit_lines([f"{summary['n']:,} predictions in {summary['out']}"])
    return 0


def demo(*, out: str = "labelwright-demo", seed: int = 0, device: str = "auto", json: Flag = False, quiet: Flag = False) -> int:
    """The main job end to end: handwritten digits with a quarter of the training labels wrong; audit, report, correct, learn, compare.

    Parameters
    ----------
    out
        Folder to write; absent or empty.
    seed
        First of three seeds; each draws its own wrong labels and split.
    device
        auto (CUDA where present), cpu, cuda, cuda:1, mps.
    json
        Print one object.
    quiet
        No progress bars and no summary.
    """
    from labelwright.cli.output import bars, emit
    from labelwright.progress import shown
    from labelwright.recipes import demo as show

    with shown(bars(quiet)):
        outcome = show(out, seed=seed, device=device)
    return emit(outcome, json=json, quiet=quiet)


def run(recipe: str, /, *, out: Text = None, json: Flag = False, quiet: Flag = False) -> int:
    """Run the steps of a recipe file into one folder with one report.

    Parameters
    ----------
    recipe
        TOML file: a list of [[step]] tables with verb, method and arguments as on the command line; "@name" is an earlier step's folder.
    out
        Folder to write; absent or empty. Default: the recipe's out, else labelwright-run.
    json
        Print one object.
    quiet
        No progress bars and no summary.
    """
    from labelwright.cli.output import bars, emit
    from labelwright.recipes import run as chain

    return emit(chain(recipe, out=out, show=bars(quiet)), json=json, quiet=quiet)


def rerun(folder: str, /, *, out: Text = None, json: Flag = False, quiet: Flag = False) -> int:
    """Repeat the run that made a folder, from its run.json, and compare the figures.

    Parameters
    ----------
    folder
        Output folder of an earlier run. Data paths in its run.json are relative to it.
    out
        Folder to write; absent or empty. Default: FOLDER-rerun.
    json
        Print one object.
    quiet
        No progress bars and no summary.
    """
    from labelwright.cli.output import bars, emit
    from labelwright.recipes import rerun as repeat

    return emit(repeat(folder, out=out, show=bars(quiet)), json=json, quiet=quiet)
