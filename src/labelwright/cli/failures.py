"""One clear line on standard error and an exit code, for whatever went wrong. ``LABELWRIGHT_DEBUG=1`` shows the traceback too."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path

from labelwright.errors import LabelwrightError

__all__ = ["INTERRUPTED", "report"]

BAD, INTERRUPTED = 2, 130


def report(error: BaseException) -> int:
    """Print one line about `error` on standard error and return the exit code."""
    if os.environ.get("LABELWRIGHT_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, BrokenPipeError):
        # the reader of our output has gone (labelwright … | head): nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    line = " ".join(explain(error).split())
    print(line, file=sys.stderr)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else BAD


def explain(error: BaseException) -> str:
    """What went wrong, where, and how to mend it."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "Stopped before work began; nothing was written."
    if isinstance(error, LabelwrightError):
        return f"Error: {error}"
    if type(error).__module__.startswith("cyclopts"):
        return f"Error: {_usage(error)}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        where = "GPU memory" if type(error).__name__ == "OutOfMemoryError" else "Memory"
        return f"Error: {where} is exhausted. Use a smaller --batch-size, a smaller network or fewer examples, or --device cpu."
    if isinstance(error, UnicodeDecodeError):
        return f"Error: the input is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
    if isinstance(error, OSError):
        return f"Error: {_system(error)}"
    from labelwright.files import full_disk

    if full_disk(error):  # said by a library in its own words
        return "Error: the disk is full. Free some space, or name a folder on another disk with --out."
    return f"Error: this is a fault in labelwright, not in your input: {_origin(error)}. Please report it; LABELWRIGHT_DEBUG=1 shows more."


def _usage(error: BaseException) -> str:
    """A message of the parser as a sentence, with the place to look."""
    from labelwright import check
    from labelwright.registry import methods

    text = str(error).strip()
    unused = [str(t) for t in getattr(error, "unused_tokens", None) or []]
    command = " ".join(getattr(error, "command_chain", None) or ())
    if type(error).__name__ == "UnknownCommandError" and unused:
        planned = [e for e in methods(verb=command) if e.name == unused[0] and not e.target] if command else []
        if planned:
            text = f"{command} {unused[0]} is planned, not yet available. See what is available with: labelwright methods --verb {command}."
        else:
            words = text.partition("Available commands: ")[2].strip(". ").split(", ")
            what = f"{command} has no method {unused[0]!r}." if command else f"There is no command {unused[0]!r}."
            text = f"{what}{check.nearest(unused[0], words)}"
    elif type(error).__name__ == "UnusedCliTokensError" and unused:
        text = f"Unexpected {' '.join(unused)!r}."
    return f"{text} Help: labelwright {command + ' ' if command else ''}--help"


def _system(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{place}the disk is full. Free some space, or name a folder on another disk with --out."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place}permission denied. Choose another place or change its permissions."
    return f"{place}{error.strerror or error}."


def _origin(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "labelwright" in f.filename] or frames
    place = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}: {error}{place}"
