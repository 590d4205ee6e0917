"""The command line: ``labelwright VERB …``. Thin: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (``--fail-on`` exceeded), 2 (one line says why), 130 (Ctrl-C)."""
    from labelwright.cli.failures import report

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows ASCII only still gets its line
    try:
        from labelwright.cli.app import build

        code = build()(list(sys.argv[1:] if argv is None else argv))
        return code if isinstance(code, int) else 0
    except (Exception, KeyboardInterrupt) as error:  # the one place where whatever went wrong becomes one line
        return report(error)
