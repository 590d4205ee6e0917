"""How an item is put to a language model: our own wordings, each known by the hash of its text.

A prompt has a part all items share (the instruction, kept in a model's cache) and a part for the item. Its *answers* are
the single words, one a class, with which the model is to reply; or the model is asked for its `guesses` with a stated
confidence (0 to 100), as Locle and LLMGNN do.

Wordings for two texts follow the four of Nahum et al. (EMNLP 2025, arXiv:2410.18889), which differ in terms only; the
sentences are ours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labelwright import check
from labelwright.errors import InputError
from labelwright.judges.base import class_names, digest

__all__ = ["PAIR_WORDINGS", "Prompt", "classify", "guesses", "pair_prompt", "pair_prompts", "read_guesses"]

SLOT = re.compile(r"\{(text|first|second)\}")
LETTERS = "BCDEFGHJKLMNOPQRSTUVWXYZ"
"""Signs of classes; without A and I, which are English words."""
PAIR_CLASSES = ("inconsistent", "consistent")
"""Classes of the wordings for two texts, in the order of their answers 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A way to ask about an item."""

    name: str
    """Short name, for reports."""
    classes: tuple[str, ...]
    """Names of the classes."""
    instruction: str
    """What all items share: the task, the classes, the form of the reply."""
    item: str
    """The item's part: ``{text}`` for one text, ``{first}`` and ``{second}`` for two."""
    answers: tuple[str, ...] = ()
    """The reply that stands for each class, in their order: single words, none the beginning of another. Empty for guesses."""
    guesses: int = 0
    """0: reply with one of `answers`. Above: reply with so many guesses and a confidence each, as JSON."""

    def __post_init__(self) -> None:
        class_names(self.classes)
        slots = set(SLOT.findall(self.item))
        if slots not in ({"text"}, {"first", "second"}):
            raise InputError(
                "item of a prompt must hold {text}, or {first} and {second}" + f"; it holds {sorted(slots) or 'none of them'}."
            )
        check.integer("guesses", self.guesses, low=0, high=len(self.classes))
        if self.guesses and self.answers:
            raise InputError("A prompt asks for answers or for guesses, not for both.")
        if not self.guesses:
            if len(self.answers) != len(self.classes):
                raise InputError(f"A prompt needs one answer a class; got {len(self.answers)} answers for {len(self.classes)} classes.")
            _words(self.answers)

    @property
    def pairs(self) -> bool:
        """Whether it asks about two texts."""
        return "{first}" in self.item

    @property
    def version(self) -> str:
        """Hash of everything that is said: another wording is another version."""
        return digest("prompt 1", *self.classes, self.instruction, self.item, *self.answers, str(self.guesses))

    def render(self, item: Any) -> str:
        """The item's part with its text or texts filled in.

        Raises
        ------
        InputError
            If the item is not a text (or a pair of texts, where the prompt asks about two).
        """
        if self.pairs:
            if not isinstance(item, (tuple, list)) or len(item) != 2 or not all(isinstance(part, str) for part in item):
                raise InputError(
                    f"Prompt {self.name!r} asks about two texts; got {type(item).__name__}.", hint="Give pairs (first, second)."
                )
            values = {"first": item[0], "second": item[1]}
        elif isinstance(item, str):
            values = {"text": item}
        else:
            raise InputError(
                f"Prompt {self.name!r} asks about one text; got {type(item).__name__}.", hint="Pairs need a prompt for two texts."
            )
        return SLOT.sub(lambda m: values[m[1]], self.item)  # one pass: braces inside the texts stay what they are

    def messages(self, item: Any) -> list[dict[str, str]]:
        """The question as chat messages: the shared instruction first."""
        return [{"role": "system", "content": self.instruction}, {"role": "user", "content": self.render(item)}]

    def spoken(self, reply: str) -> int | None:
        """The class a reply names: its first word that is one of the answers, in any case, or the whole reply; None if none."""
        folded = {a.casefold(): j for j, a in enumerate(self.answers)}
        bare = reply.strip().strip("\"'`*.:()[]").casefold()
        if bare in folded:
            return folded[bare]
        words = re.findall(r"[\w'-]+", reply.casefold())
        return next((folded[w] for w in words if w in folded), None)


def _words(answers: Sequence[str]) -> None:
    """Single words, none the beginning of another: a model's tokens may then be read one by one."""
    folded = [a.casefold() for a in answers]
    for j, word in enumerate(folded):
        if len(word.split()) != 1 or word != word.strip():
            raise InputError(f"Answers of a prompt must be single words; got {answers[j]!r}.")
        for k, other in enumerate(folded):
            if j != k and other.startswith(word):
                raise InputError(
                    f"Answers of a prompt must not begin with one another: {answers[j]!r} and {answers[k]!r}.",
                    hint="A tokenizer may cut the longer one after the shorter.",
                )


PAIR_WORDINGS: Mapping[str, tuple[str, str]] = {
    "texts": (
        "You compare two texts. The second is consistent with the first if everything it says is borne out by the first; it is "
        "contradictory if it says anything that the first denies or does not contain.\nReply with a single character: 1 if the second "
        "text is consistent with the first, 0 if it is contradictory.",
        "First text:\n{first}\n\nSecond text:\n{second}\n\nReply (0 or 1):",
    ),
    "document": (
        "You are given a document and a statement. Judge from the document alone.\nReply with a single character: 1 for yes, 0 for no.",
        "Document:\n{first}\n\nStatement:\n{second}\n\nQuestion: does the document support all that the statement says?\nReply (0 or 1):",
    ),
    "fact": (
        "You check statements against a fact that is taken to be true. A statement passes if it follows from the fact and adds nothing "
        "to it.\nReply with a single character: 1 if the statement passes, 0 if it does not.",
        "Fact:\n{first}\n\nStatement:\n{second}\n\nReply (0 or 1):",
    ),
    "premise": (
        "This is a task of natural language inference with two classes. Class 1: the hypothesis is entailed by the premise. Class 0: the "
        "hypothesis is not entailed, being neutral to the premise or in conflict with it.\nThe output must be exactly one character, "
        "the number of the class, without words, spaces or punctuation.",
        "Premise: {first}\nHypothesis: {second}\nClass:",
    ),
}
"""Instruction and item part by name: the same question in four sets of terms."""


def pair_prompt(wording: str, *, classes: Sequence[str] = PAIR_CLASSES) -> Prompt:
    """One of :data:`PAIR_WORDINGS`; `classes` names its answers 0 (does not follow) and 1 (follows)."""
    check.known_word("wording", wording, PAIR_WORDINGS, place="the wordings for two texts")
    instruction, item = PAIR_WORDINGS[wording]
    if len(classes) != 2:
        raise InputError(f"The wordings for two texts have two classes; got {len(classes)}.")
    return Prompt(name=wording, classes=class_names(classes), instruction=instruction, item=item, answers=("0", "1"))


def pair_prompts(*, classes: Sequence[str] = PAIR_CLASSES) -> list[Prompt]:
    """All four wordings for two texts: four members of an ensemble from one model."""
    return [pair_prompt(name, classes=classes) for name in PAIR_WORDINGS]


def classify(
    classes: Sequence[str],
    *,
    descriptions: Mapping[str, str] | None = None,
    task: str = "Decide which of the classes below the text belongs to.",
    name: str = "classify",
) -> Prompt:
    """Ask for the number of a text's class. `descriptions` (class → sentence) and `task` say what is meant.

    Up to 10 classes are numbered, up to 24 have letters, so that every answer is one token; more have numbers of equal length. A and I
    stand for no class: replies that begin with "A …" or "I cannot …" must not be taken for one.

    Raises
    ------
    InputError
        If a description names another class.
    """
    names = class_names(classes)
    answers = _signs(len(names))
    listed = "\n".join(f"{sign}: {line}" for sign, line in zip(answers, _described(names, descriptions), strict=True))
    word = "letter" if answers[0] in LETTERS else "number"
    instruction = f"{task}\nClasses:\n{listed}\nReply with the {word} of the best class ({answers[0]} to {answers[-1]}) and nothing else."
    item = f"Text:\n{{text}}\n\n{word.capitalize()} of the class:"
    return Prompt(name=name, classes=names, instruction=instruction, item=item, answers=answers)


def _signs(count: int) -> tuple[str, ...]:
    if 10 < count <= len(LETTERS):
        return tuple(LETTERS[:count])
    width = len(str(count - 1))
    return tuple(f"{j:0{width}d}" for j in range(count))


def guesses(
    classes: Sequence[str],
    *,
    top: int = 3,
    descriptions: Mapping[str, str] | None = None,
    task: str = "Decide which of the classes below the text belongs to.",
    name: str = "guesses",
) -> Prompt:
    """Ask for the `top` most likely classes (at most C), each with a confidence from 0 to 100, as JSON.

    Sampled several times at temperature 0.7 this is the annotator of Locle's first stage; ``top=1`` at 0.2 that of the second.
    """
    names = class_names(classes)
    top = min(check.integer("top", top, low=1), len(names))
    listed = "\n".join(f"- {line}" for line in _described(names, descriptions))
    wanted = "your best guess" if top == 1 else f"your {top} best guesses, the likeliest first"
    instruction = (
        f"{task}\nClasses:\n{listed}\nGive {wanted}, with a confidence from 0 (a blind guess) to 100 (certain) each. Reply with a JSON "
        'list and nothing else, with class names copied from above, such as [{"answer": ' + json.dumps(names[0]) + ', "confidence": 70}].'
    )
    return Prompt(name=name, classes=names, instruction=instruction, item="Text:\n{text}\n\nGuesses:", guesses=top)


def _described(names: tuple[str, ...], descriptions: Mapping[str, str] | None) -> list[str]:
    for name in descriptions or {}:
        check.known_word("description of class", name, names, place="the classes")
    return [f"{n} ({d.strip()})" if (d := (descriptions or {}).get(n, "")) else n for n in names]


def read_guesses(reply: str, classes: Sequence[str]) -> list[tuple[int, float]]:
    """(class, confidence in [0, 1]) of each guess in a reply, in its order; the first counts where a class is named twice.

    Guesses of unknown classes are left out, so an answer outside the classes is an empty list. Text around the JSON list
    is passed over; a confidence beyond 0 to 100 is clipped, one that is no number leaves its guess out.
    """
    places = {name.casefold(): j for j, name in enumerate(classes)}
    found: dict[int, float] = {}
    for guess in _json_list(reply):
        if not isinstance(guess, dict):
            continue
        answer, stated = guess.get("answer"), guess.get("confidence")
        if isinstance(answer, int) and not isinstance(answer, bool):
            answer = str(answer)  # classes may be called 1 to 5
        if isinstance(stated, str):
            stated = _number(stated)
        if not isinstance(answer, str) or isinstance(stated, bool) or not isinstance(stated, (int, float)) or not math.isfinite(stated):
            continue
        place = places.get(answer.strip().casefold())
        if place is not None:
            found.setdefault(place, min(max(float(stated) / 100, 0.0), 1.0))
    return list(found.items())


def _json_list(reply: str) -> list[Any]:
    start = reply.find("[")
    if start < 0:
        start = reply.find("{")
    if start < 0:
        return []
    try:
        value, _ = json.JSONDecoder().raw_decode(reply[start:])
    except (ValueError, RecursionError):
        return []
    return value if isinstance(value, list) else [value]


def _number(text: str) -> float | None:
    try:
        return float(text.strip().rstrip("%"))
    except ValueError:
        return None
