"""What the site generates: a page a method, tables of methods, options and verdicts, all from the registry and the benchmark results.

``pages()`` gives whole pages by their place in the site, ``fill(markdown)`` replaces ``<!-- generated: NAME -->`` in a written page.
``hooks.py`` hands both to mkdocs; ``tests/test_docs.py`` reads them too.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from labelwright._generate import field_docs
from labelwright.registry import VERBS, Entry, Flaw, Have, methods
from labelwright.stats.intervals import mean_interval

ROOT = Path(__file__).resolve().parent.parent
RESULTS, NOTES = ROOT / "benchmarks" / "results", Path(__file__).parent / "_notes"
PLACE = re.compile(r"^<!-- generated: ([a-z-]+)(?: ([a-z0-9-]+))? -->$", re.MULTILINE)
VERDICT = {True: "holds", False: "**does not hold**", None: "undecided"}
HAVE_WORDS = {
    Have.CLASS_LABELS: "One class an example, some of them wrong, unknown or rare.",
    Have.MULTI_LABELS: "Several classes an example; some cells may be unknown, or only presences are marked.",
    Have.SOFT_LABELS: "A probability for every class: from a model, or from a vote.",
    Have.PROPORTIONS: "Shares of the classes in bags of examples, and no label of a single one.",
    Have.VOTES: "Labels of several annotators, rules or models, not all of them everywhere.",
    Have.TARGETS: "Real-valued targets, several tasks, many cells unmeasured.",
    Have.SPANS: "Marked stretches of text.",
    Have.BOXES: "Boxes in images, upright or rotated.",
    Have.POINTS: "One point an object instead of its box or mask.",
    Have.MASKS: "Regions in images, pixel by pixel.",
    Have.CAPTIONS: "Images with a sentence each.",
    Have.NONE: "No labels at all, or methods that do not look at them.",
}
FLAW_WORDS = {
    Flaw.NOISE: "some labels are wrong",
    Flaw.SCARCITY: "few examples are labelled",
    Flaw.PARTIAL: "labels are incomplete",
    Flaw.WEAK: "labels say less than you need",
    Flaw.IMBALANCE: "some classes or groups are rare",
    Flaw.SIZE: "there is too much data",
    Flaw.LEAK: "test data is in the training data",
    Flaw.PRIVATE: "some data must go, or must not be seen",
    Flaw.SHIFT: "training and use differ",
}


def page_of(entry: Entry) -> str:
    """Place of a method's page."""
    return f"methods/{entry.verb}-{entry.name}.md"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table in a box that scrolls sideways on a narrow screen."""
    clean = [[" ".join(str(c).split()).replace("|", "\\|") for c in row] for row in rows]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *("| " + " | ".join(row) + " |" for row in clean)]
    return '<div class="wide" markdown>\n\n' + "\n".join(lines) + "\n\n</div>"


def method_rows(entries: Iterable[Entry], *, up: str, verb: bool = False) -> str:
    """A table of methods; available ones link to their page, relative to `up`. `verb` adds a column for it."""
    rows = []
    for e in entries:
        name = f"[{e.name}]({up}{page_of(e)})" if e.target else e.name
        rows.append([name, *([e.verb] if verb else []), ", ".join(e.has), ", ".join(e.flaw) or "–", ", ".join(e.gives), e.state])
    head = ["method", *(["verb"] if verb else []), "takes", "mends", "gives", "state"]
    return table(head, rows) if rows else "No method yet."


def markdown_of(docstring: str) -> str:
    """A docstring as Markdown: lines indented by four become code, roles and double backticks single ones."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", inspect.cleandoc(docstring))
    out: list[str] = []
    code: list[str] = []
    for line in [*text.split("\n"), ""]:
        if line.startswith("    ") or (code and not line.strip()):
            code.append(line)
            continue
        out += _fenced(code)
        code = []
        out.append(re.sub(r"::$", ":", line).replace("``", "`").replace("<", "&lt;"))
    return "\n".join([*out, *_fenced(code)]).strip()


def _fenced(code: Sequence[str]) -> list[str]:
    return ["", "```text", inspect.cleandoc("\n" + "\n".join(code)), "```", ""] if code else []


def fields_table(cls: type) -> str:
    """Every field of a method: type, default, what it says about itself."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= field_docs(base)
    rows = []
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        default = "required" if f.default is dataclasses.MISSING else f"`{f.default!r}`"
        rows.append([f"`{f.name}`", f"`{f.type}`", default, docs.get(f.name, "").replace("<", "&lt;")])
    return table(["field", "type", "default", "meaning"], rows) if rows else "It has no settings."


CALLS = {
    "audit": "result = method.audit(data, seed=0)\nresult.facts, result.findings",
    "annotate": "result = method.annotate(data, seed=0)\nresult.labels",
    "select": "result = method.select(data, keep=0.5, seed=0)\nresult.ids",
    "condense": "result = method.condense(data, default_net((1, 8, 8)), per_class=2, seed=0)\nresult.as_dataset()",
    "learn": "result = method.learn(data, default_net((1, 8, 8)), seed=0)\nresult.predict_proba(data)",
}
EXAMPLES = {
    "cross-modal-prototypes": """words = dict(zip("0123456789", "zero one two three four five six seven eight nine".split()))
data = load("digits")
data = data.with_columns(caption=[f"a handwritten {words[label]}" for label in data.labels.words()])
method = CrossModalPrototypes(definitions=words)""",
    "error-resilient-graph": """from labelwright.data import Graph, corrupt, node_dataset
from labelwright.nn import GAT
from labelwright.stats.neighbours import knn_graph
from labelwright.training import Fit

digits = load("digits")
pixels = digits.inputs.reshape(len(digits), -1)
near = knn_graph(pixels, 5)
near.data[:] = 1  # distances are no weights
data, truth = corrupt.symmetric(node_dataset(Graph(adjacency=near, features=pixels), digits.labels), 0.3, seed=0)
method = ErrorResilientGraph(dim=32)""",
    "labelled-flow-diffusion": """from labelwright.data.graphs import Graph, node_dataset
from labelwright.stats.neighbours import knn_graph

digits = load("digits")
near = knn_graph(digits.inputs.reshape(len(digits), -1), 10)
near.data[:] = 1  # distances are no weights
data = node_dataset(Graph(adjacency=near), digits.labels)
method = LabelledFlowDiffusion(seed_node=("0",))""",
    "locle": """from labelwright.data.graphs import Graph, node_dataset
from labelwright.judges import CallableJudge
from labelwright.stats.neighbours import knn_graph

digits = load("digits")
pixels = digits.inputs.reshape(len(digits), -1)
near = knn_graph(pixels, 5)
near.data[:] = 1  # distances are no weights
data = node_dataset(Graph(adjacency=near, features=pixels), digits.labels)
truth = digits.labels.words()  # a stand-in for a model or a person; Locle itself never looks at the labels
judge = CallableJudge(name="person", classes=digits.labels.names, takes="ids", each=True, function=lambda node: truth[int(node)])
method = Locle(judges=(judge,), budget=60, stages=2, rank=32, epochs=15)""",
}
"""Data and method of the methods that need more than the digits and their defaults."""
OWN_CALLS = {
    "error-resilient-graph": """result = method.learn(data, GAT(hidden=32, heads=4), fit=Fit(epochs=60, optimizer="amsgrad", lr=5e-3), seed=0)
result.predict_proba(data), result.labels, result.columns["confidence"]""",
}
"""How the methods are called that need more than a network for images."""
COMMANDS = {
    "audit": "labelwright audit {name} digits --out out",
    "annotate": "labelwright annotate {name} digits --out out",
    "select": "labelwright select {name} digits --keep 0.5 --out out",
    "condense": "labelwright condense {name} digits --per-class 2 --out out",
    "learn": "labelwright learn {name} digits --out out",
    "forget": "labelwright forget {name} MODEL DATA --ids FILE --out out",
    "certify": "labelwright certify {name} digits --out out",
}

OWN_COMMANDS = {
    "cross-modal-prototypes": "labelwright learn cross-modal-prototypes DATA --definitions definitions.csv --out out",
    "error-resilient-graph": "labelwright learn error-resilient-graph GRAPH --test GRAPH --out out",
    "labelled-flow-diffusion": "labelwright annotate labelled-flow-diffusion GRAPH --seed-node ID --out out",
    "locle": "labelwright annotate locle GRAPH --judges judges.yaml --budget 200 --out out",
}


def method_page(entry: Entry) -> str:
    """The page of an available method."""
    module_name, _, class_name = entry.target.partition(":")
    module = import_module(module_name)
    cls = getattr(module, class_name)
    described = (inspect.getdoc(cls) or "").split("\n\n", 1)
    facts = [
        ["verb", f"[{entry.verb}](../verbs/{entry.verb}.md)"],
        ["takes", ", ".join(entry.has)],
        ["mends", ", ".join(entry.flaw) or "–"],
        ["gives", ", ".join(entry.gives)],
        ["reference", entry.paper or "–"],
    ]
    parts = [f"# {entry.name}", entry.summary.replace("<", "&lt;").replace("``", "`"), "\n".join(f"- **{k}**: {v}" for k, v in facts)]
    if len(described) > 1:
        parts.append(markdown_of(described[1]))
    call = OWN_CALLS.get(entry.name, CALLS.get(entry.verb))
    if call:
        further = "\nfrom labelwright.nn import default_net" if "default_net" in call else ""
        code = f"from labelwright.{entry.verb} import {class_name}\nfrom labelwright.data import load{further}\n\n"
        made = EXAMPLES.get(entry.name, f'data = load("digits")\nmethod = {class_name}()')
        parts += ["## Use it", f"```python\n{code}{made}\n{call}\n```"]
    command = OWN_COMMANDS.get(entry.name, COMMANDS[entry.verb].format(name=entry.name))
    parts.append(f"On the [command line](../command-line.md):\n\n```text\n{command}\n```")
    parts += ["## Settings", fields_table(cls)]
    parts += ["## How it works", markdown_of(module.__doc__ or "")]
    note = NOTES / f"{entry.sheet}.md"
    if entry.sheet and note.exists():
        parts.append(note.read_text(encoding="utf-8").strip())
    parts += ["## Measured", *measured(entry.sheet)]
    return "\n\n".join(parts) + "\n"


def result_files(sheet: str | None) -> list[Path]:
    """Results of the benchmarks of a sheet: ``<sheet>.json`` and ``<sheet>-….json``, unless another sheet's name is longer and fits."""
    if not sheet or not RESULTS.is_dir():
        return []
    sheets = {e.sheet for e in methods() if e.sheet}
    found = []
    for path in sorted(RESULTS.glob("*.json"), key=lambda p: p.stem):
        owners = [s for s in sheets if path.stem == s or path.stem.startswith(f"{s}-")]
        if owners and max(owners, key=len) == sheet:
            found.append(path)
    return found


def measured(sheet: str | None) -> list[str]:
    """Verdicts, tables and notes of a sheet's benchmarks."""
    found = [record_page(path) for path in result_files(sheet)]
    return found or ["Nothing has been measured for this method on its own; see [benchmarks](../benchmarks.md)."]


def record_page(path: Path) -> str:
    """One results file as Markdown."""
    record = json.loads(path.read_text(encoding="utf-8"))
    parts = [f"### {path.stem}"]
    claims = record.get("claims", [])
    if claims:
        rows = [[c["claim"], c["ours"], VERDICT[c["holds"]], _paper(c)] for c in claims]
        parts.append(table(["claim", "measured here", "verdict", "the paper's figure, and its setting"], rows).replace("<=", "&lt;="))
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in record.get("runs", []):
        groups.setdefault(json.dumps(run["setting"], sort_keys=True), []).append(run)
    for setting, runs in groups.items():
        words = ", ".join(f"{k} = {v}" for k, v in json.loads(setting).items()) or "default setting"
        parts.append(f"**{words}** (mean ± half of the 95 % t-interval over seeds)\n\n{runs_table(runs)}")
    parts += [f"- {note}" for note in record.get("notes", [])][:1] and ["\n".join(f"- {note}" for note in record["notes"])]
    machines = [f"{m.get('processor')}, {m.get('cores')} cores, torch {m.get('torch')}" for m in record.get("machines", [])]
    parts.append(f"Measured on: {'; '.join(dict.fromkeys(machines))}. Source: `benchmarks/results/{path.name}`.")
    return "\n\n".join(parts)


def _paper(claim: Mapping[str, Any]) -> str:
    return f"{claim['paper']} ({claim['paper_setting']})" if claim.get("paper") else "–"


def runs_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Arms against metrics, whichever way is narrower."""
    arms = list(dict.fromkeys(r["arm"] for r in runs))
    good = {arm: [r for r in runs if r["arm"] == arm and "error" not in r] for arm in arms}
    names = list(dict.fromkeys(m for r in runs for m, v in r.get("metrics", {}).items() if _number(v) is not None))
    cells = {(arm, name): _cell([r["metrics"].get(name) for r in good[arm]]) for arm in arms for name in names}
    for arm in arms:
        failed = sum(r["arm"] == arm for r in runs) - len(good[arm])
        cells[arm, "seeds"] = f"{len(good[arm])}" + (f", {failed} failed" if failed else "")
        cells[arm, "seconds"] = f"{sum(r['seconds'] for r in good[arm]) / max(1, len(good[arm])):.1f}"
    names += ["seeds", "seconds"]
    if len(arms) >= len(names) or len(names) <= 7:
        return table(["arm", *names], ([arm, *(cells[arm, n] for n in names)] for arm in arms))
    return table(["", *arms], ([n, *(cells[a, n] for a in arms)] for n in names))


def _number(value: Any) -> float | None:
    value = value.get("value") if isinstance(value, Mapping) else value
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def _cell(values: Sequence[Any]) -> str:
    numbers = [n for v in values if (n := _number(v)) is not None]
    if not numbers:
        return "–"
    m = mean_interval(numbers)
    return f"{m.value:.4g}" if math.isnan(m.low) else f"{m.value:.4g} ± {m.half_width:.2g}"


def overview() -> str:
    """The table of all methods."""
    rows = methods()
    ready = sum(bool(e.target) for e in rows)
    parts = ["# Methods", f"{len(rows)} methods, {ready} available; the others are planned. `labelwright methods` prints the same list."]
    for verb in VERBS:
        parts += [f"## {verb}", method_rows((e for e in rows if e.verb == verb), up="../")]
    return "\n\n".join(parts) + "\n"


def by_labels(up: str) -> str:
    """A section a kind of labels, with the methods that take it; available ones first, those that need no labels last."""
    parts = []
    for kind in Have:
        entries = sorted(methods(have=kind.value), key=lambda e: not e.target)
        parts += [f"## {kind.value}", HAVE_WORDS[kind], method_rows(entries, up=up, verb=True)]
    return "\n\n".join(parts)


def by_flaw(up: str) -> str:
    """What is wrong with the labels, and the available methods against it."""
    rows = []
    for flaw in Flaw:
        names = [f"[{e.name}]({up}{page_of(e)})" for e in methods(flaw=flaw.value) if e.target]
        planned = sum(not e.target for e in methods(flaw=flaw.value))
        rows.append([flaw.value, FLAW_WORDS[flaw], ", ".join(names) or "–", str(planned)])
    return table(["flaw", "in words", "available", "planned"], rows)


def verdicts(up: str) -> str:
    """Every claim of every benchmark with its verdict."""
    parts = []
    for path in sorted(RESULTS.glob("*.json"), key=lambda p: p.stem) if RESULTS.is_dir() else []:
        claims = json.loads(path.read_text(encoding="utf-8")).get("claims", [])
        pages_of = [e for e in methods() if e.target and path in result_files(e.sheet)]
        links = ", ".join(f"[{e.name}]({up}{page_of(e)})" for e in pages_of)
        rows = [[c["claim"], VERDICT[c["holds"]], c["ours"].replace("<", "&lt;")] for c in claims]
        if rows:
            parts += [f"### {path.stem}", *([f"Methods: {links}"] if links else []), table(["claim", "verdict", "measured here"], rows)]
    return "\n\n".join(parts) or "No results yet."


def options(verb: str) -> str:
    """The arguments of a verb on the command line, without the fields of its methods."""
    from labelwright.cli.options import COMMON
    from labelwright.recipes.steps import CORRECT_ARGUMENTS, VERB_ARGUMENTS

    rows = []
    for o in (*(CORRECT_ARGUMENTS if verb == "correct" else VERB_ARGUMENTS[verb]), *COMMON):
        name = o.name.upper() if getattr(o, "positional", False) else "--" + o.name.replace("_", "-")
        empty = o.default is None or o.default is False or o.default == ()
        default = "required" if getattr(o, "required", False) else "–" if empty else f"`{o.default}`"
        rows.append([f"`{name}`", default, o.help.replace("<", "&lt;")])
    return table(["argument", "default", "meaning"], rows)


@cache
def pages() -> dict[str, str]:
    """Every generated page by its place."""
    return {"methods/index.md": overview()} | {page_of(e): method_page(e) for e in methods() if e.target}


def fill(markdown: str, *, up: str) -> str:
    """A written page with its generated parts in place; `up` leads from the page to the site's root."""

    def part(match: re.Match[str]) -> str:
        name, word = match.groups()
        if name == "methods":
            return method_rows(methods(verb=word), up=up)
        if name == "options":
            return options(word)
        if name == "record":
            return record_page(place) if (place := RESULTS / f"{word}.json").exists() else "Nothing has been measured yet."
        return {"by-labels": by_labels, "by-flaw": by_flaw, "verdicts": verdicts}[name](up)

    return PLACE.sub(part, markdown)


def navigation() -> list[dict[str, Any]]:
    """The contents of the site."""
    available = [e for e in methods() if e.target]
    by_verb = [{v: [{e.name: page_of(e)} for e in available if e.verb == v]} for v in VERBS if any(e.verb == v for e in available)]
    return [
        {"Home": ["index.md", {"Quickstart": "quickstart.md"}, {"What labels do you have?": "labels.md"}]},
        {"Verbs": [f"verbs/{v}.md" for v in VERBS]},
        {"Methods": ["methods/index.md", *by_verb]},
        {
            "Reference": [
                {"Command line": "command-line.md"},
                {"Data formats": "data-formats.md"},
                {"Judges": "judges.md"},
                {"Results and saving": "results.md"},
                {"How errors look": "errors.md"},
                {"Honest benchmarks": "benchmarks.md"},
                {"Labels people got wrong": "real-noise.md"},
            ]
        },
    ]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for place, text in pages().items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        (target / place).write_text(text, encoding="utf-8")
