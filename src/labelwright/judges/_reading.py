"""From what a language model said to a distribution over the classes: log-probabilities, frequencies, stated guesses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelwright.judges.base import Answer
from labelwright.judges.prompts import Prompt, read_guesses

__all__ = ["class_of_token", "from_distribution", "from_guesses", "from_replies", "from_tokens"]

LONGEST = 60
"""Characters of a reply quoted in a reason."""


def class_of_token(token: str, prompt: Prompt) -> int | None:
    """The class whose answer a token is, whatever blanks, tokenizer marks and case it comes with ("0", " 0", "▁0", "0\\n")."""
    word = token.strip(" \t\r\n\v\f▁Ġ").casefold()
    return next((j for j, answer in enumerate(prompt.answers) if answer.casefold() == word), None)


def from_distribution(logprobs: Mapping[str, float], prompt: Prompt) -> np.ndarray:
    """Probability of the tokens of each class, summed over their variants and not renormalised: float64 (C,)."""
    mass = np.zeros(len(prompt.classes))
    for token, logprob in logprobs.items():
        j = class_of_token(token, prompt)
        if j is not None:
            mass[j] += math.exp(min(float(logprob), 0.0))
    return mass


def from_tokens(positions: Sequence[Mapping[str, Any]], prompt: Prompt, **more: Any) -> Answer:
    """Read the first generated token that is a class token (OpenAI's ``logprobs.content``).

    With the list of likely tokens, the classes found in it are renormalised; a class not in it gets 0. Where only one of *two*
    classes is known, the other gets ``1 - p``: an approximation, since the mass of all other tokens goes with it. For more
    classes this would be wrong, so without a list the answer is unknown.
    """
    said = "".join(str(p.get("token", "")) for p in positions)
    for position in positions:
        chosen = class_of_token(str(position.get("token", "")), prompt)
        if chosen is None:
            continue
        listed = {str(t["token"]): float(t["logprob"]) for t in position.get("top_logprobs") or []}
        logprobs = {str(position["token"]): float(position["logprob"])} | listed
        mass = from_distribution(logprobs, prompt)
        raw = {"reply": said, "logprobs": logprobs}
        if (mass > 0).sum() == 1:
            if len(mass) > 2 and not listed:
                return Answer.unknown("the server lists no likely tokens, which more than two classes need", raw=raw, **more)
            if len(mass) == 2:
                mass[1 - chosen] = max(0.0, 1 - mass[chosen])
        return Answer.of(mass, raw=raw, **more)
    return outside(said, raw={"reply": said}, **more)


def from_replies(replies: Sequence[str], prompt: Prompt, **more: Any) -> Answer:
    """Frequencies of the classes in sampled replies; those that name no class are left out."""
    counts = np.zeros(len(prompt.classes))
    for reply in replies:
        j = prompt.spoken(reply)
        if j is not None:
            counts[j] += 1
    raw = {"replies": list(replies)}
    return Answer.of(counts, raw=raw, **more) if counts.any() else outside(replies[0] if replies else "", raw=raw, **more)


def from_guesses(replies: Sequence[str], prompt: Prompt, **more: Any) -> Answer:
    """Vote of sampled replies, each a list of guesses with stated confidences.

    Each reply votes for its first guess. Each also gives a distribution: its confidences, scaled down to sum to at most 1,
    what is missing spread over the classes it does not name. ``probs = (votes + mean distribution) / (replies + 1)``: the
    label has most votes, and among equals the highest stated confidence. `stated` is the mean confidence in that label
    over the replies that name it.
    """
    c = len(prompt.classes)
    votes, soft = np.zeros(c), np.zeros(c)
    said: list[list[float]] = [[] for _ in range(c)]
    valid = 0
    for reply in replies:
        found = read_guesses(reply, prompt.classes)
        if not found:
            continue
        valid += 1
        votes[found[0][0]] += 1
        row = np.zeros(c)
        for j, confidence in found:
            row[j] = confidence
            said[j].append(confidence)
        rest = np.ones(c, dtype=bool)
        rest[[j for j, _ in found]] = False
        total = row.sum()
        if total > 1 or (total > 0 and not rest.any()):
            row /= total
        elif rest.any():
            row[rest] = (1 - total) / rest.sum()
        else:
            row[:] = 1 / c
        soft += row
    raw = {"replies": list(replies)}
    if not valid:
        return outside(replies[0] if replies else "", raw=raw, **more)
    probs = (votes + soft / valid) / (valid + 1)
    return Answer.of(probs, stated=float(np.mean(said[int(probs.argmax())])), raw=raw, **more)


def outside(reply: str, **more: Any) -> Answer:
    """An answer that names none of the classes."""
    shown = " ".join(reply.split())
    quoted = repr(shown[:LONGEST] + ("…" if len(shown) > LONGEST else "")) if shown else "an empty reply"
    return Answer.unknown(f"answer outside the classes: {quoted}", **more)
