"""Run the benchmarks that have no finished result yet, one after the other.

``python benchmarks/run.py [NAME …] [--quick] [--list]``; names are scripts without ``.py``, and are run whatever is recorded
(what each script has measured already it does not measure again). A script that fails does not keep the others from running.
"""

from __future__ import annotations

import argparse
import difflib
import json
import subprocess
import sys
from pathlib import Path

import _harness as bench


def scripts(folder: Path) -> dict[str, Path]:
    """Benchmarks by name, in alphabetical order."""
    return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_") and path.stem != "run"}


def finished(folder: Path, name: str) -> bool:
    """Whether a benchmark has come to its end: it then has written its summary."""
    path = folder / "results" / f"{name.replace('_', '-')}.json"
    return path.exists() and "summary" in json.loads(path.read_text(encoding="utf-8"))


def main(folder: Path = Path(__file__).parent, arguments: list[str] | None = None) -> int:
    """Run what is asked or missing; 1 if any failed, 2 for names that do not exist."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="benchmarks to run; all unfinished ones without any")
    parser.add_argument("--quick", action="store_true", help="smoke runs at tiny sizes, results under .benchmarks/")
    parser.add_argument("--list", action="store_true", help="say which are finished and stop")
    args = parser.parse_args(arguments)
    known = scripts(folder)
    for name in args.names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            sys.stderr.write(f"There is no benchmark {name!r}" + (f"; did you mean {near[0]!r}?" if near else ".") + "\n")
            return 2
    if args.list:
        sys.stdout.write("".join(f"{'finished' if finished(folder, name) else 'missing':10}{name}\n" for name in known))
        return 0
    wanted = args.names or [name for name in known if args.quick or not finished(folder, name)]
    if not wanted:
        sys.stdout.write("Every benchmark has its result; name one to run it again.\n")
        return 0
    bench.data_root()
    failed = [
        name
        for name in wanted
        if subprocess.run([sys.executable, str(known[name]), *(["--quick"] if args.quick else [])], check=False).returncode != 0
    ]
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(wanted)} benchmarks failed: {', '.join(failed)}.\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
