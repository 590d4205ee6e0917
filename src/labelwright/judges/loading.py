"""Judges from a file: ``judges.yaml`` (or ``.toml``), without a secret in it.

    classes: [negative, positive]          # left out: those of the labels
    task: Say what the review thinks of the film.
    descriptions: {positive: "on balance in favour"}
    cache: answers.sqlite                  # left out: judges.cache.sqlite beside the file
    budget: {calls: 20000, money: 5}
    judges:
      - kind: http                         # any OpenAI-compatible server
        url: https://api.openai.com/v1
        model: gpt-4o-mini
        prices: {input: 0.15, output: 0.6} # a million tokens
      - kind: model                        # a causal language model of transformers
        model: Qwen/Qwen3-0.6B
        prompts: [texts, fact]             # a judge for each wording
      - kind: classifier                   # a fine-tuned sequence classifier
        model: models/nli
        mapping: {entailment: positive, neutral: negative, contradiction: negative}
      - kind: review                       # a person's table
        path: review.csv

All other keys of a judge are the fields of its class. Paths are relative to the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from labelwright import check
from labelwright.errors import InputError, require
from labelwright.judges.base import Judge, class_names
from labelwright.judges.budget import Budget, Prices
from labelwright.judges.cache import Cached
from labelwright.judges.http import HTTPJudge
from labelwright.judges.local import LocalModelJudge
from labelwright.judges.prompts import PAIR_CLASSES, PAIR_WORDINGS, Prompt, classify, guesses, pair_prompt
from labelwright.judges.review import ReviewJudge
from labelwright.judges.sequence import SequenceClassifierJudge

__all__ = ["load_judges"]

KINDS: dict[str, type[Judge]] = {
    "http": HTTPJudge,
    "model": LocalModelJudge,
    "classifier": SequenceClassifierJudge,
    "review": ReviewJudge,
}
TOP = ("classes", "descriptions", "task", "cache", "budget", "judges")
WORDINGS = (*PAIR_WORDINGS, "classify", "guesses")
OWN_WORDING = ("name", "instruction", "item", "answers", "guesses")
SECRET_KEYS = re.compile(
    r"^((.*[-_])?(key|apikey|secret|password|passwd|authorization|credentials?)|((api|access|auth|bearer)[-_])?token|auth|bearer)$",
    re.IGNORECASE,
)
FREE_KEYS = ("descriptions", "mapping")
"""Below these the keys are names of classes and labels."""
SECRET_VALUES = re.compile(r"^(bearer\s+\S+|(sk|pk|rk|hf|gsk|xai|glpat|ghp)[-_][A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{30,})$", re.IGNORECASE)
TEXT = ("url", "model", "name", "revision", "key_env", "scores", "dtype", "device", "path")


def load_judges(path: str | Path, *, classes: Sequence[str] | None = None) -> list[Judge]:
    """The judges a file describes, their answers cached, under one budget.

    Parameters
    ----------
    path
        ``.yaml``, ``.yml`` or ``.toml``.
    classes
        Names of the classes, where the file gives none: those of the labels. Wordings for two texts take the file's only, since
        their order says which answer means what.

    Raises
    ------
    InputError
        If the file cannot be read, has a key nobody reads or a secret, or describes a judge that cannot be.
    MissingExtra
        For YAML, if the package yaml is absent.
    """
    path = check.path_exists("judges file", path)
    content = _mapping(_parse(path), path.name)
    _no_secret(content, path.name)
    _known(content, TOP, path.name)
    entries = content.get("judges")
    if not isinstance(entries, list) or not entries:
        raise InputError(
            f"{path.name}: judges must be a list with a judge at least.", hint="For example: judges: [{kind: review, path: review.csv}]"
        )
    shared = _Shared(path, content, classes)
    judges = [judge for number, entry in enumerate(entries, start=1) for judge in shared.judges(entry, f"{path.name}, judge {number}")]
    seen: set[str] = set()
    for judge in judges:
        if judge.name in seen:
            raise InputError(f"{path.name}: two judges are called {judge.name!r}.", hint="Give each a name of its own with the key name.")
        seen.add(judge.name)
    return judges


class _Shared:
    """What all judges of a file share."""

    def __init__(self, path: Path, content: Mapping[str, Any], classes: Sequence[str] | None) -> None:
        self.folder, self.file = path.parent, path.name
        self.named = _at(path.name, lambda: class_names(_list(content["classes"], "classes"))) if "classes" in content else None
        self.classes = self.named or (tuple(classes) if classes is not None else None)
        self.task = content.get("task")
        self.descriptions = _mapping(content.get("descriptions", {}), f"{path.name}: descriptions")
        for word, said in {"task": self.task, **self.descriptions}.items():
            if said is not None and not isinstance(said, str):
                raise InputError(f"{path.name}: {word} must be a text; got {said!r}.")
        cache = content.get("cache", f"{path.stem}.cache.sqlite")
        if not isinstance(cache, str) or not cache:
            raise InputError(f"{path.name}: cache must name a file; got {cache!r}.")
        self.cache = self.folder / Path(cache).expanduser()
        budget = _mapping(content.get("budget", {}), f"{path.name}: budget")
        _known(budget, ("calls", "money"), f"{path.name}, budget")
        self.budget = _at(f"{path.name}, budget", lambda: Budget(**budget)) if budget else None

    def judges(self, entry: Any, where: str) -> list[Judge]:
        """One judge, or one for each of its prompts."""
        entry = dict(_mapping(entry, where))
        kind = entry.pop("kind", None)
        if kind not in KINDS:
            said = f"kind {kind!r} is unknown" if kind is not None else "no kind"
            raise InputError(f"{where}: {said}.{check.nearest(str(kind), KINDS)} There are: {', '.join(KINDS)}.")
        cls = KINDS[kind]
        asks = kind in ("http", "model")
        taken = [f.name for f in fields(cls) if f.init and f.name not in ("prompt", "classes")]  # type: ignore[arg-type]
        _known(entry, (*taken, *(("prompts",) if asks else ())), where)
        for name in TEXT:
            if name in entry and not isinstance(entry[name], str):
                raise InputError(f"{where}: {name} must be a text; got {entry[name]!r}.", hint="Put it into quotes.")
        for name in ("mapping", "parameters"):
            if name in entry:
                _mapping(entry[name], f"{where}, {name}")
        if "prices" in entry:
            prices = _mapping(entry["prices"], f"{where}, prices")
            _known(prices, ("input", "output"), f"{where}, prices")
            entry["prices"] = _at(f"{where}, prices", lambda: Prices(**prices))
        self._paths(entry, kind)
        prompts = self._prompts(entry.pop("prompts", "classify"), where) if asks else [None]
        made: list[Judge] = []
        for prompt in prompts:
            given = entry | ({"prompt": prompt} if prompt is not None else {"classes": self._classes(where)})
            if "name" in entry and len(prompts) > 1 and prompt is not None:
                given["name"] = f"{entry['name']}/{prompt.name}"
            judge = _at(where, lambda given=given: cls(**given))  # type: ignore[misc]
            made.append(judge if kind == "review" else Cached(inner=judge, path=self.cache, budget=self.budget))
        return made

    def _paths(self, entry: dict[str, Any], kind: str) -> None:
        """Paths relative to the file; a model is a path where such a folder is there, or it starts like one."""
        if kind == "review" and "path" in entry:
            entry["path"] = self.folder / Path(entry["path"]).expanduser()
        if kind in ("model", "classifier") and "model" in entry:
            place = self.folder / Path(entry["model"]).expanduser()
            if place.is_dir() or entry["model"].startswith((".", "/", "~")):
                entry["model"] = str(check.path_exists("model", place))

    def _classes(self, where: str) -> tuple[str, ...]:
        if self.classes is None:
            raise InputError(f"{where}: which classes?", hint=f"Name them in {self.file}, as in classes: [negative, positive].")
        return self.classes

    def _prompts(self, asked: Any, where: str) -> list[Prompt]:
        if asked == "pairs":
            asked = list(PAIR_WORDINGS)
        return [_at(where, lambda one=one: self._prompt(one, where)) for one in (asked if isinstance(asked, list) else [asked])]  # type: ignore[misc]

    def _prompt(self, asked: Any, where: str) -> Prompt:
        if isinstance(asked, dict):
            _known(asked, OWN_WORDING, f"{where}, prompts")
            answers = tuple(str(a) for a in _list(asked.get("answers", []), "answers"))
            missing = [k for k in ("name", "instruction", "item") if not isinstance(asked.get(k), str)]
            if missing:
                raise InputError(f"a prompt of your own needs the text {missing[0]!r}.")
            return Prompt(classes=self._classes(where), **(asked | {"answers": answers}))
        if asked in PAIR_WORDINGS:
            return pair_prompt(asked, classes=self.named or PAIR_CLASSES)
        check.one_of("prompts", asked, WORDINGS)
        make: Callable[..., Prompt] = classify if asked == "classify" else guesses
        return make(self._classes(where), descriptions=self.descriptions, **({"task": self.task} if self.task else {}))


def _parse(path: Path) -> Any:
    if path.suffix not in (".yaml", ".yml", ".toml"):
        raise InputError(f"The judges file must end in .yaml, .yml or .toml; got {path.name!r}.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{path} cannot be read: {getattr(err, 'strerror', None) or 'it is not UTF-8'}.") from None
    if path.suffix == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as err:
            raise InputError(f"{path.name} is not TOML: {err}.") from None
    yaml = require("yaml", extra="llm", feature="A judges file in YAML")
    try:
        _no_repeats(yaml, yaml.compose(text, Loader=yaml.SafeLoader), path.name)
        return yaml.safe_load(text)
    except yaml.YAMLError as err:
        # the parser quotes the line, which may hold what should not be shown
        mark = getattr(err, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{path.name} is not YAML{place}: {getattr(err, 'problem', None) or 'it cannot be read'}.") from None


def _no_repeats(yaml: Any, node: Any, file: str) -> None:
    """A key that is given twice; YAML would take the last and say nothing."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                raise InputError(f"{file}, line {key.start_mark.line + 1}: key {str(key.value)!r} is given twice.")
            seen.add(str(key.value))
            _no_repeats(yaml, value, file)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _no_repeats(yaml, value, file)


def _no_secret(value: Any, where: str) -> None:
    """Refuse what is called, or looks like, a key; it is not repeated in the message."""
    hint = "Put it into the environment and name the variable, as in key_env: MY_KEY."
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, str) and not where.endswith(FREE_KEYS) and SECRET_KEYS.search(key):
                raise InputError(f"{where}: {key!r} would hold a secret, which does not belong into a file.", hint=hint)
            _no_secret(inner, f"{where}, {key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value, start=1):
            _no_secret(inner, f"{where}, {number}")
    elif isinstance(value, str) and SECRET_VALUES.search(value.strip()):
        raise InputError(f"{where}: this looks like a key, which does not belong into a file.", hint=hint)


def _known(content: Mapping[str, Any], allowed: Sequence[str], where: str) -> None:
    for key in content:
        if key not in allowed:
            raise InputError(f"{where}: unknown key {str(key)!r}.{check.nearest(str(key), allowed)} There are: {', '.join(allowed)}.")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} must hold keys and values; got {type(value).__name__}.")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{name} must be a list; got {value!r}.")
    return value


def _at(where: str, make: Callable[[], Any]) -> Any:
    """What `make` makes; its complaint begins with `where`."""
    try:
        return make()
    except InputError as err:
        raise InputError(f"{where}: {err}") from None
    except TypeError as err:  # a field without a default is left out
        lacking = re.findall(r"'(\w+)'", str(err))
        raise InputError(f"{where}: {' and '.join(lacking) or 'a key'} is missing.") from None
