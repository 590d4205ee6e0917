"""Every code block of README, CONTRIBUTING and the site runs; every link and generated part of the site resolves.

Blocks of one page share a folder and, in Python, their names. ``<!-- test: skip, WHY -->`` above a block leaves it out,
``<!-- test: exit 2 -->`` expects that exit code. Lines that start with ``labelwright`` run in this process, which spares
importing torch for each; what else a shell block holds goes to bash.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"^(?:<!-- test: (?P<mark>[^>]*?) -->\n)?(?P<indent> *)```(?P<kind>python|bash|console)\n(?P<body>.*?)\n(?P=indent)```$", re.M | re.S
)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(p for p in DOCS.rglob("*.md"))]
MOST_SKIPPED = 6


@dataclass(frozen=True)
class Block:
    kind: str
    body: str
    mark: str
    line: int


def blocks(text: str) -> list[Block]:
    found = []
    for m in BLOCK.finditer(text):
        lines = [line.removeprefix(m["indent"]) for line in m["body"].split("\n")]
        found.append(Block(m["kind"], "\n".join(lines), m["mark"] or "", text[: m.start()].count("\n") + 1))
    return found


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a shell block, each with the output a console block shows below it ("" where it shows none)."""
    if block.kind == "console":
        parts = re.split(r"^\$ ", block.body, flags=re.M)[1:]
        return [(line, " ".join(shown.split())) for line, _, shown in (part.partition("\n") for part in parts)]
    lines = block.body.replace("\\\n", " ").split("\n")
    return [(line.split("  #")[0].strip(), "") for line in lines if line.strip() and not line.startswith("#")]


def run_command(line: str) -> tuple[int, str]:
    """Exit code and all that was said, on one line."""
    words = shlex.split(line)
    if words[0] == "labelwright" and not set(words) & {"|", ">", "&&", ";"}:
        from labelwright.cli import main

        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
            code = main(words[1:])
        return code, " ".join(said.getvalue().split())
    environment = f'export PATH="{Path(sys.executable).parent}:$PATH"; '
    done = subprocess.run(["bash", "-c", environment + line], capture_output=True, text=True, timeout=60)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_code_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": f"docs_{page.stem.replace('-', '_')}"}
    module = type(sys)(str(names["__name__"]))  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.mark.startswith("skip"):
            continue
        if block.kind == "python":
            source = tmp_path / f"block_{block.line}.py"  # registration reads the source of a class
            source.write_text(block.body)
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.body, str(source), "exec"), module.__dict__)
            continue
        want = int(block.mark.removeprefix("exit ")) if block.mark.startswith("exit ") else 0
        for line, shown in commands(block):
            code, said = run_command(line)
            assert code == want, f"{page.name}:{block.line}: {line}: {said}"
            assert shown in (said, ""), f"{page.name}:{block.line}: {line}"


def test_blocks_that_do_not_run_say_why_and_are_few():
    marks = [b.mark for p in PAGES for b in blocks(p.read_text(encoding="utf-8")) if b.mark.startswith("skip")]
    assert all(re.match(r"skip, \w.{5,}", m) for m in marks)
    assert len(marks) <= MOST_SKIPPED


@pytest.fixture(scope="module")
def build():
    sys.path.insert(0, str(DOCS))
    try:
        import _build

        yield _build
    finally:
        sys.path.remove(str(DOCS))


def test_every_available_method_has_a_page_with_its_fields(build):
    from labelwright.registry import find, methods

    pages = build.pages()
    for entry in methods():
        if not entry.target:
            assert build.page_of(entry) not in pages
            continue
        text = pages[build.page_of(entry)]
        for name in find(entry.verb, entry.name)().fields():
            assert f"| `{name}` |" in text
        if entry.paper:
            assert entry.paper[:20].replace("|", "\\|") in text


def available():
    from labelwright.registry import methods

    return [e for e in methods() if e.target]


@pytest.mark.parametrize("entry", available(), ids=lambda e: f"{e.verb}-{e.name}")
def test_the_example_on_a_method_page_runs(build, entry, monkeypatch):
    from dataclasses import replace

    import labelwright.data
    from labelwright.training import defaults

    load, recipe = labelwright.data.load, defaults.recipe
    few = load("digits").take(range(120))  # the page's own code, on fewer digits and for fewer epochs
    monkeypatch.setattr(labelwright.data, "load", lambda name: few, raising=False)
    monkeypatch.setattr(defaults, "recipe", lambda *args, **more: replace(recipe(*args, **more), epochs=3))
    for block in blocks(build.pages()[build.page_of(entry)]):
        if block.kind == "python" and f"{entry.title}(" in block.body:
            exec(compile(block.body, entry.name, "exec"), {})
            return
    assert entry.verb not in build.CALLS


def test_every_planned_method_is_listed_as_planned(build):
    from labelwright.registry import methods

    text = build.pages()["methods/index.md"]
    for entry in methods():
        row = next(line for line in text.split("\n") if line.startswith((f"| {entry.name} |", f"| [{entry.name}](")))
        assert row.rstrip(" |").endswith(entry.state)


def test_generated_parts_of_written_pages_exist(build):
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        filled = build.fill(text, up="")
        assert "<!-- generated" not in filled, page.name


def test_docstrings_become_markdown(build):
    text = build.markdown_of("One ``x`` of :func:`~a.b.c`::\n\n    y = <x>\n\n    w = 2\n\nMore:\n    z = 1\nEnd <here>.")
    want = "One `x` of `a.b.c`:\n\n```text\ny = <x>\n\nw = 2\n```\n\nMore:\n\n```text\nz = 1\n```\n\nEnd &lt;here>."
    assert re.sub(r"\n{3,}", "\n\n", text) == want


def test_a_table_of_runs_gives_mean_and_interval(build):
    runs = [{"arm": "a", "seed": s, "setting": {}, "seconds": 2.0, "metrics": {"accuracy": v}} for s, v in enumerate((0.5, 0.7))]
    runs.append({"arm": "b", "seed": 0, "setting": {}, "seconds": 1.0, "error": "ValueError: no"})
    text = build.runs_table(runs)
    # mean 0.6; t(1) = 12.706, s = 0.1414, n = 2: half width 12.706 * 0.1
    assert "| a | 0.6 ± 1.3 | 2 | 2.0 |" in text
    assert "| b | – | 0, 1 failed | 0.0 |" in text


def test_pages_ask_no_other_server():
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in config
    assert "://" not in config
