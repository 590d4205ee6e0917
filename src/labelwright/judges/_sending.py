"""Requests to an OpenAI-compatible server that is slow, busy, wrong, or gone: pace, patience, and an account of what was spent.

The key is read from the environment when a judge is asked, lives in the client alone, and is cut out of whatever the
server says, so that it reaches no message, no store and no log.
"""

from __future__ import annotations

import math
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from labelwright.errors import InputError, require
from labelwright.judges._replies import QUOTED, Again, Failed, Refused, Unfit, checked, complaint, retry_after, usage

if TYPE_CHECKING:
    from labelwright.judges.budget import Budget
    from labelwright.judges.http import HTTPJudge

__all__ = ["Bill", "Session", "key_of"]

OPENAI_HOST, OPENAI_KEY, OTHER_KEY = "api.openai.com", "OPENAI_API_KEY", "LABELWRIGHT_JUDGE_KEY"
AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may pass on another try."""
LONGEST_WAIT = 30.0
"""Seconds between two tries at most, unless the server asks for more."""
PER_MESSAGE, PER_BYTE = 32, 1.0
"""Bound on tokens: one a byte (no byte-level tokenizer makes more) and so many a message for roles and separators."""


@dataclass
class Bill:
    """What one item has cost so far."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def fields(self) -> dict[str, Any]:
        """As fields of an answer."""
        return {"calls": self.calls, "tokens": (self.tokens_in, self.tokens_out), "cost": self.cost}


@dataclass
class Offers:
    """What the server was found to take; each falls once, at its first complaint."""

    logprobs: bool = True
    seen: bool = False
    """Whether log-probabilities ever came."""
    many: bool = True
    limit: str = "max_tokens"


class Pace:
    """At most `per_minute` requests, evenly spaced, over all threads; and a common pause when the server asks for one."""

    def __init__(self, per_minute: float) -> None:
        self.step = 60 / per_minute if math.isfinite(per_minute) else 0.0
        self.next, self.lock = 0.0, threading.Lock()

    def turn(self) -> float:
        """Seconds to wait before the next request; the place is taken."""
        with self.lock:
            now = time.monotonic()
            at = max(now, self.next)
            self.next = at + self.step
            return at - now

    def hold(self, seconds: float) -> None:
        """No request before so many seconds from now."""
        with self.lock:
            self.next = max(self.next, time.monotonic() + seconds)


def official(judge: HTTPJudge) -> bool:
    """Whether the server is OpenAI's own."""
    return urlsplit(judge.url).hostname == OPENAI_HOST


def key_of(judge: HTTPJudge) -> tuple[str, str]:
    """(name of the environment variable, its value): the key, '' where none is needed.

    Raises
    ------
    InputError
        If the variable the judge names is not set.
    """
    name = judge.key_env or (OPENAI_KEY if official(judge) else OTHER_KEY)
    key = os.environ.get(name, "").strip()
    if not key and (judge.key_env or official(judge)):
        raise InputError(f"Judge {judge.name!r} needs the key of {judge.url} in the environment variable {name}.", hint=f"export {name}=…")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"The environment variable {name} holds no key: it has blanks, line breaks or letters beyond ASCII.")
    return name, key


@dataclass
class Session:
    """One use of a judge: a client, its pace, and what the server was found to take. Shared by threads."""

    judge: HTTPJudge
    budget: Budget | None
    offers: Offers = field(default_factory=Offers)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.openai = require("openai", extra="llm", feature="A judge behind an HTTP server")
        self.key_name, self.key = key_of(self.judge)
        self.pace = Pace(self.judge.per_minute)
        self.client = self.openai.OpenAI(
            base_url=self.judge.url, api_key=self.key or "none", timeout=self.judge.timeout, max_retries=0
        )  # tries are ours: they count against the budget
        if not official(self.judge):  # what the environment says about an account at OpenAI is for OpenAI alone
            self.client.organization = self.client.project = None

    def close(self) -> None:
        """End all waiting and the connections."""
        self.stop.set()
        self.client.close()

    def clean(self, text: str) -> str:
        """`text` without the key."""
        return text.replace(self.key, "[key]") if self.key else text

    def ask(self, messages: list[dict[str, str]], bill: Bill, *, n: int, temperature: float, logprobs: bool) -> dict[str, Any]:
        """The server's reply, its ``choices`` checked, after as many tries as it takes.

        Raises
        ------
        Failed
            If no reply came, or the budget is spent.
        InputError
            If the server knows neither the key nor the model: asking on would be of no use.
        """
        attempt = 0
        while True:
            try:
                return self._try(self._payload(messages, n, temperature, logprobs), bill)
            except Unfit as err:  # the server does not take a parameter, and another form may do
                if not self._adapt(err.said, n, logprobs):
                    raise Failed(f"the server refuses the question: {err.said}") from None
                if not self.offers.many:
                    n = 1
                if not self.offers.logprobs and logprobs:
                    raise Failed("the server gives no log-probabilities") from None
            except Again as err:
                wait = min(self.judge.backoff * 2**attempt, LONGEST_WAIT) if err.after is None else err.after
                attempt += 1
                if attempt > self.judge.retries:
                    raise Failed(f"{err.said}, {attempt} times", down=True) from None
                if wait > self.judge.patience:
                    raise Failed(f"{err.said}, and the server asks to wait {wait:,.0f} s", down=True) from None
                if err.after is not None:
                    self.pace.hold(wait)  # all wait: the others would only be told the same
                if self.stop.wait(wait):
                    raise Failed("stopped") from None

    def _payload(self, messages: list[dict[str, str]], n: int, temperature: float, logprobs: bool) -> dict[str, Any]:
        payload: dict[str, Any] = {"model": self.judge.model, "messages": messages, "temperature": temperature}
        payload[self.offers.limit] = self.judge.tokens
        if n > 1 and self.offers.many:
            payload["n"] = n
        if logprobs:
            payload |= {"logprobs": True, "top_logprobs": self.judge.top}
        return payload | dict(self.judge.parameters)

    def _adapt(self, said: str, n: int, logprobs: bool) -> bool:
        """Take back what the server complains about; False if there is nothing to take back."""
        if "max_completion_tokens" in said and self.offers.limit == "max_tokens":
            self.offers.limit = "max_completion_tokens"
        elif "logprob" in said and logprobs:
            self.offers.logprobs = False
        elif n > 1 and self.offers.many:
            self.offers.many = False
        else:
            return False
        return True

    def _bound(self, payload: dict[str, Any]) -> tuple[int, int]:
        said = sum(len(m["content"].encode()) for m in payload["messages"])
        return math.ceil(PER_BYTE * said) + PER_MESSAGE * len(payload["messages"]), int(self.judge.tokens) * payload.get("n", 1)

    def _try(self, payload: dict[str, Any], bill: Bill) -> dict[str, Any]:
        """One request, reserved, paced, sent, settled."""
        bound = self._bound(payload)
        reserved = self.judge.prices.cost(*bound)
        if self.budget is not None and (why := self.budget.reserve(money=reserved)):
            raise Failed(why)
        tokens, called = (0, 0), False
        try:
            if self.stop.wait(self.pace.turn()):
                raise Failed("stopped")
            called = True
            bill.calls += 1
            tokens = bound  # until the server says what it was: a reply that is lost may have been charged
            try:
                body = self._send(payload)
            except (Unfit, Refused, InputError):
                tokens = (0, 0)
                raise
            tokens = usage(body, bound)
            return body
        finally:
            cost = self.judge.prices.cost(*tokens)
            bill.tokens_in, bill.tokens_out, bill.cost = bill.tokens_in + tokens[0], bill.tokens_out + tokens[1], bill.cost + cost
            if self.budget is not None:
                self.budget.settle(reserved=reserved, money=cost, called=called)

    def _send(self, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            # the raw reply: servers differ in what they leave out, and broken JSON must be told apart from a broken line
            create = self.client.chat.completions.with_raw_response.create
            raw = create(model=payload["model"], messages=payload["messages"], extra_body=payload)
            return checked(self.clean(raw.text))
        except self.openai.APITimeoutError:
            raise Again(f"no reply within {self.judge.timeout:g} s") from None
        except self.openai.APIStatusError as err:
            self._status(err.status_code, err.response.headers, self.clean(err.response.text))
        except self.openai.APIConnectionError as err:
            cause = err.__cause__
            raise Again(f"the connection failed ({self.clean(str(cause or err))[:QUOTED]})") from None

    def _status(self, status: int, headers: Any, text: str) -> NoReturn:
        where = f"{self.judge.url} (status {status})"
        if status in (401, 403):
            what = f"refuses the key in {self.key_name}" if self.key else f"wants a key, and {self.key_name} is not set"
            raise InputError(
                f"Judge {self.judge.name!r}: the server at {where} {what}.", hint="Correct the environment variable."
            ) from None
        if status == 404:
            raise InputError(
                f"Judge {self.judge.name!r}: the server at {where} has no model {self.judge.model!r}, or no chat completions there.",
                hint="The URL usually ends in /v1.",
            ) from None
        if status in AGAIN or status >= 500:
            raise Refused(f"status {status}", after=retry_after(headers)) from None
        raise Unfit(f"status {status}: {complaint(text)}") from None
