"""From the registry's options to the functions the parser reads: names, types, defaults and help come from the generated index."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from cyclopts import Group, Parameter

from labelwright.recipes.steps import Argument
from labelwright.registry import Option

__all__ = ["COMMON", "SETTINGS", "command"]

SETTINGS: dict[str, Any] = {
    "help_on_error": False,
    "print_error": False,  # failures.report prints the one line
    "exit_on_error": False,
    "suppress_keyboard_interrupt": False,
    "result_action": "return_value",
    "help_format": "plaintext",
}
COMMON = (
    Option(name="out", type=str | None, default=None, help="Folder to write; absent or empty. Default: labelwright-<verb>."),
    Option(name="json", type=bool, default=False, help="Print a JSON summary on standard output, and nothing else there."),
    Option(name="quiet", type=bool, default=False, help="No progress bars and no summary."),
)
GROUPS = {
    "data": Group("Data", sort_key=0),
    "method": Group("Method", sort_key=1),
    "fit": Group("Training recipe", sort_key=2),
    "run": Group("Run", sort_key=3),
}
RUN_NAMES = frozenset({"seed", "device", "out", "json", "quiet", "net"})


def command(
    name: str,
    work: Callable[..., int],
    *,
    arguments: Sequence[Option],
    fields: Sequence[Option] = (),
    fit: Sequence[Option] = (),
    common: Sequence[Option] = COMMON,
    help: str = "",
) -> Callable[..., int]:
    """A function with one parameter an option, that calls ``work(**values)``."""
    rows: list[tuple[Option, str]] = [(o, "run" if o.name in RUN_NAMES else "data") for o in arguments]
    rows += [(o, "method") for o in fields] + [(o, "fit") for o in fit] + [(o, "run") for o in common]

    first = [_parameter(o, group) for o, group in rows if isinstance(o, Argument) and o.positional]
    rest = [_parameter(o, group) for o, group in rows if not (isinstance(o, Argument) and o.positional)]
    by_position = [p.name for p in first]
    defaults = {o.name: o.default for o, _ in rows}  # the parser passes on only what was given

    def called(*positional: Any, **values: Any) -> int:
        return work(**defaults | dict(zip(by_position, positional, strict=False)) | values)

    called.__name__ = name
    called.__doc__ = help
    called.__signature__ = inspect.Signature([*first, *rest])  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in (*first, *rest)}
    return called


def _parameter(option: Option, group: str) -> inspect.Parameter:
    positional = isinstance(option, Argument) and option.positional
    required = isinstance(option, Argument) and option.required
    flag = "--" + option.name.replace("_", "-")
    settings: dict[str, Any] = {"help": option.help, "group": GROUPS[group], "negative_iterable": "", "negative_none": ""}
    if positional:
        settings["name"] = option.name.upper()
    else:
        settings["name"] = flag
    if option.type is bool and option.default is False:
        settings["negative"] = ""
    if option.default is None or option.default == ():
        settings["show_default"] = False
    kind: Any = option.type
    return inspect.Parameter(
        option.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD if positional else inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else option.default,
        annotation=Annotated[kind, Parameter(**settings)],
    )
