"""One step of work as plain values: a verb, a method, its arguments. The command line, ``run.json`` and a recipe file all describe this.

:mod:`labelwright.recipes.arguments` says which arguments a verb takes. Options, help texts, the check of a recipe file and
of ``run.json`` are all read from them, and nothing heavy is imported: ``--help`` costs no torch.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from labelwright.errors import InputError
from labelwright.recipes.arguments import (
    CORRECT,
    CORRECT_ARGUMENTS,
    HIDDEN_FIT,
    PATH_FIELDS,
    TOOL_ARGUMENTS,
    VERB_ARGUMENTS,
    WHOLE_AUDIT,
    Argument,
)
from labelwright.registry import VERBS, Entry, Option, methods

__all__ = ["CORRECT", "TOOL_ARGUMENTS", "VERB_ARGUMENTS", "WHOLE_AUDIT", "Argument", "Step", "arguments_of", "entry_of", "options_of"]


def fit_options(entry: Entry | None) -> tuple[Option, ...]:
    """Fields of the training recipe as options with default None (the method's own recipe), less those the method has itself."""
    from labelwright._index import FIT

    own = {o.name for o in entry.options} if entry is not None else set()
    return tuple(
        replace(o, type=o.type | None, default=None, help=f"{o.help.rstrip('.')}. Default: the method's own.")
        for o in FIT
        if o.name not in own | HIDDEN_FIT
    )


def entry_of(verb: str, method: str) -> Entry:
    """The registry's line of an available method.

    Raises
    ------
    InputError
        If the verb or the method is unknown, or the method is only planned.
    """
    _known_verb(verb)
    entries = {e.name: e for e in methods(verb=verb)}
    if method not in entries:
        from labelwright import check

        words = [*entries, CORRECT] if verb == "annotate" else [*entries]
        raise InputError(
            f"{verb} has no method {method!r}.{check.nearest(method, words)}", hint=f"See them with: labelwright methods --verb {verb}"
        )
    if not entries[method].target:
        raise InputError(f"{verb} {method} is planned, not yet available.", hint="See what is available with: labelwright methods")
    return entries[method]


def _known_verb(verb: str) -> None:
    if verb not in VERBS:
        from labelwright import check  # imports NumPy, which help should not cost

        check.one_of("verb", verb, VERBS)


def arguments_of(verb: str, method: str) -> tuple[Argument, ...]:
    """The arguments of a verb, apart from a method's own fields."""
    if verb in TOOL_ARGUMENTS:
        return TOOL_ARGUMENTS[verb]
    return CORRECT_ARGUMENTS if (verb, method) == ("annotate", CORRECT) else VERB_ARGUMENTS[verb]


def options_of(verb: str, method: str) -> tuple[Option, ...]:
    """Everything a step may be given: the verb's arguments, the method's fields, the training recipe's where the verb trains."""
    if verb not in TOOL_ARGUMENTS:
        _known_verb(verb)
    shared = arguments_of(verb, method)
    if verb in TOOL_ARGUMENTS or (verb, method) == ("annotate", CORRECT):
        return shared
    entry = entry_of(verb, method)
    fit = fit_options(entry) if verb in ("learn", "condense", "forget") else ()
    taken = {o.name for o in shared}
    return (*shared, *entry.options, *(o for o in fit if o.name not in taken))


@dataclass(frozen=True, kw_only=True)
class Step:
    """A verb, a method and every argument, defaults included. `values` hold what `options_of` names, nothing else."""

    verb: str
    method: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, verb: str, method: str, given: Mapping[str, Any], *, place: str = "the arguments") -> Step:
        """A step from the arguments `given`; the others take their defaults.

        Raises
        ------
        InputError
            If a name is unknown (the nearest is suggested), a value has the wrong type, or a required one is missing.
        """
        from labelwright import check

        options = {o.name: o for o in options_of(verb, method)}
        for name in given:
            if name not in options:
                raise InputError(f"{name!r} is no argument of {verb} {method} ({place}).{check.nearest(name, options)}")
        values = {name: convert(o, given[name]) if name in given else o.default for name, o in options.items()}
        missing = [n for n, o in options.items() if isinstance(o, Argument) and o.required and values[n] is None]
        if missing:
            raise InputError(f"{verb} {method} needs {missing[0]!r} ({place}): {options[missing[0]].help}")
        return cls(verb=verb, method=method, values=values)

    @property
    def seed(self) -> int:
        return int(self.values["seed"])

    @property
    def paths(self) -> tuple[str, ...]:
        """Names of the arguments that are places on disk."""
        own = (o.name for o in options_of(self.verb, self.method) if o.name in PATH_FIELDS)
        return (*(a.name for a in arguments_of(self.verb, self.method) if a.path), *own)

    def method_fields(self) -> dict[str, Any]:
        """The arguments that are fields of the method class."""
        return {o.name: self.values[o.name] for o in entry_of(self.verb, self.method).options}

    def fit_fields(self) -> dict[str, Any]:
        """The fields of the training recipe that were given."""
        own = {o.name for o in entry_of(self.verb, self.method).options}
        names = {o.name for o in fit_options(None)} - own - {a.name for a in arguments_of(self.verb, self.method)}
        return {n: v for n, v in self.values.items() if n in names and v is not None}

    def stored(self, folder: Path) -> dict[str, Any]:
        """Values as ``run.json`` holds them: existing places relative to `folder` (``./…`` or ``../…``), so that both move together."""
        values = dict(self.values)
        for name in self.paths:
            if isinstance(values[name], str):
                values[name] = relative_to(values[name], folder)
            elif isinstance(values[name], tuple):
                values[name] = tuple(relative_to(v, folder) for v in values[name])
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def restore(cls, record: Mapping[str, Any], folder: Path) -> Step:
        """The step that `stored` wrote into `folder`."""
        verb, method = str(record.get("verb", "")), str(record.get("method", ""))
        arguments = dict(record.get("arguments", {}))
        step = cls.of(verb, method, arguments, place=f"{folder / 'run.json'}")

        def back(place: str) -> str:
            return str(Path(os.path.normpath(folder / place))) if place.startswith(("./", "../")) else place

        found = {
            n: back(v) if isinstance(v, str) else tuple(back(p) for p in v)
            for n in step.paths
            if isinstance(v := step.values[n], (str, tuple))
        }
        return replace(step, values={**step.values, **found})

    def command(self, *, folder: Path | None = None) -> str:
        """The command line that repeats this step, settings that are defaults left out."""
        words = ["labelwright", self.verb]
        if self.method and (self.verb, self.method) != ("audit", WHOLE_AUDIT):
            words.append(self.method)
        flags: list[str] = []
        for option in options_of(self.verb, self.method):
            value = self.values[option.name]
            if isinstance(option, Argument) and option.positional:
                words.append(final_name(value))
            elif value != option.default:
                flag = "--" + option.name.replace("_", "-")
                if isinstance(value, bool):
                    flags.append(flag if value else "--no-" + flag[2:])
                else:
                    flags += [w for v in (value if isinstance(value, (tuple, list)) else (value,)) for w in (flag, final_name(v))]
        if folder is not None:
            flags += ["--out", str(folder)]
        return shlex.join(words + flags)


def final_name(value: Any) -> str:
    """A value as text; an unfinished folder ``DIR.partial`` on its way goes by the name it will have."""
    return "/".join(part.removesuffix(".partial") for part in value.split("/")) if isinstance(value, str) else str(value)


def relative_to(place: str, folder: Path) -> str:
    """An existing place relative to `folder`, marked by a leading ``./`` or ``../``; a name that is no place stays as it is."""
    path = Path(place).expanduser()
    if not path.exists():
        return place
    try:
        found = os.path.relpath(path.resolve(), Path(folder).resolve())
    except ValueError:  # another drive
        return str(path.resolve())
    return found.replace(os.sep, "/") if found.startswith("..") else "./" + found.replace(os.sep, "/")


def convert(option: Option, value: Any) -> Any:
    """`value` as the option's type; integers pass for floats, lists for tuples, nothing else is bent.

    Raises
    ------
    InputError
        If it is of another type.
    """
    kinds = get_args(option.type) if _is_union(option.type) else (option.type,)
    for kind in kinds:
        ok, made = _as(kind, value)
        if ok:
            return made
    words = " or ".join(_word(k) for k in kinds if k is not type(None))
    raise InputError(f"{option.name} must be {words}; got {value!r}.")


def _is_union(kind: Any) -> bool:
    return type(kind).__name__ in ("UnionType", "Union", "_UnionGenericAlias")


def _as(kind: Any, value: Any) -> tuple[bool, Any]:
    if kind is None or kind is type(None):
        return value is None, None
    if get_origin(kind) is Literal:
        return value in get_args(kind), value
    if kind is tuple or get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            return False, None
        inner = get_args(kind)
        if not inner:
            return True, tuple(value)
        each = (inner[0],) * len(value) if len(inner) == 2 and inner[1] is Ellipsis else inner
        if len(each) != len(value):
            return False, None
        parts = [_as(k, v) for k, v in zip(each, value, strict=True)]
        return all(ok for ok, _ in parts), tuple(v for _, v in parts)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool), float(value) if isinstance(value, (int, float)) else None
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    return isinstance(value, kind), value


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(a) for a in get_args(kind))
    if get_origin(kind) is tuple:
        return "a list of " + _word(get_args(kind)[0])
    return {int: "an integer", float: "a number", str: "text", bool: "true or false"}.get(kind, str(kind))
