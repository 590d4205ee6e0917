"""What a server's reply is good for: whether to ask again, when, and what it counted."""

from __future__ import annotations

import json
import math
import time
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = ["Again", "Failed", "Refused", "Unfit", "checked", "complaint", "retry_after", "usage"]

QUOTED = 160
"""Characters of a server's complaint that are passed on."""


class Failed(Exception):
    """A request came to nothing; `why` says so in words. `down` if the server, not the question, is at fault."""

    def __init__(self, why: str, *, down: bool = False) -> None:
        super().__init__(why)
        self.why, self.down = why, down


class Again(Exception):
    """No usable reply; another try may get one, `after` seconds if the server says when."""

    def __init__(self, said: str, *, after: float | None = None) -> None:
        super().__init__(said)
        self.said, self.after = said, after


class Refused(Again):
    """The server said that it did not do it, so nothing was charged."""


class Unfit(Exception):
    """The server does not take the request as it is."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


def checked(text: str) -> dict[str, Any]:
    """The reply as JSON that holds choices with a text each."""
    try:
        body = json.loads(text)
        choices = body["choices"]
        if not choices or not all(isinstance(c["message"]["content"] or "", str) for c in choices):
            raise ValueError("no choices")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Again("the reply is not what chat completions look like") from None
    return dict(body)


def usage(body: dict[str, Any], bound: tuple[int, int]) -> tuple[int, int]:
    """Tokens the server counted; the bound where it counted none."""
    said = body.get("usage")
    counted = [said.get(name) if isinstance(said, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    a, b = (
        int(c) if isinstance(c, (int, float)) and not isinstance(c, bool) and c >= 0 else w for c, w in zip(counted, bound, strict=True)
    )
    return a, b


def complaint(text: str) -> str:
    """The server's words, on one line."""
    try:
        error = json.loads(text)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        pass  # it does not speak OpenAI's form of errors: its text as it is
    words = " ".join(text.split())
    return words if len(words) <= QUOTED else words[: QUOTED - 1] + "…"


def retry_after(headers: Any, *, now: float | None = None) -> float | None:
    """Seconds the server asks to wait (``retry-after-ms``, or ``Retry-After`` in seconds or as a date); None if it does not say."""
    try:
        if (ms := headers.get("retry-after-ms")) is not None:
            seconds = float(ms) / 1000
        elif (text := headers.get("retry-after")) is None:
            return None
        elif text.strip().replace(".", "", 1).isdigit():
            seconds = float(text)
        else:
            seconds = parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
    except (ValueError, TypeError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
