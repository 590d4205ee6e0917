"""The few exceptions of the package. Every message says what is wrong, where, and how to mend it.

All derive from :class:`LabelwrightError`, so ``except LabelwrightError`` catches whatever the
library raises on purpose; the command line turns any of them into one line and exit code 2.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["InputError", "LabelwrightError", "MissingExtra", "OutputError", "ResourceError", "TrainingError", "require"]


class LabelwrightError(Exception):
    """Base of all errors raised on purpose. `hint` says how to mend the fault."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.hint = hint


class InputError(LabelwrightError, ValueError):
    """The caller's data or arguments break a rule."""


class OutputError(LabelwrightError, OSError):
    """A result cannot be written: the folder is taken, the disk is full, permission is denied."""

    def __str__(self) -> str:  # OSError would otherwise print an errno tuple
        return str(self.args[0])


class MissingExtra(LabelwrightError, ImportError):
    """An optional package is needed and absent; the message names the extra that brings it."""


class ResourceError(LabelwrightError, RuntimeError):
    """The machine cannot do what was asked: no such device, memory exhausted."""


class TrainingError(LabelwrightError, RuntimeError):
    """Training cannot go on: the loss is not finite, or a checkpoint belongs to other data."""


def require(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import an optional `module`, or say which extra brings it.

    Raises
    ------
    MissingExtra
        If the module is absent.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as err:
        raise MissingExtra(f"{feature} needs the package {module!r}.", hint=f"Install it with: pip install 'labelwright[{extra}]'") from err
