"""A language model behind an OpenAI-compatible server as a judge."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from labelwright import check
from labelwright.errors import InputError
from labelwright.judges._reading import from_guesses, from_replies, from_tokens
from labelwright.judges._replies import Failed
from labelwright.judges._sending import Bill, Session
from labelwright.judges.base import Answer, Judge, digest
from labelwright.judges.budget import Prices
from labelwright.judges.prompts import Prompt

if TYPE_CHECKING:
    from labelwright.judges.budget import Budget

__all__ = ["HTTPJudge"]

Scores = Literal["auto", "logprobs", "sampling"]
WORDS_OF_A_GUESS, WORDS_AROUND = 40, 40
"""Tokens allowed for each guess, and for what is around them."""
OWN = ("model", "messages", "n", "temperature", "logprobs", "top_logprobs", "max_tokens", "max_completion_tokens", "stream")


@dataclass(frozen=True, kw_only=True)
class HTTPJudge(Judge):
    """Ask any OpenAI-compatible server (``/chat/completions``), many items at a time. Needs the extra ``llm``.

    Probabilities come from the log-probabilities of the first class token in the reply where the server gives them, else
    from the frequencies of several sampled replies; a prompt of guesses is sampled and voted on. Busy and broken servers
    are asked again, as they wish (``Retry-After``) or after growing pauses; what still fails is unknown. After `give_up`
    items in a row that failed for the server's fault the rest is not asked, and unknown. A key the server refuses, or a
    model it has not, stops at once.

    Raises
    ------
    InputError
        If a setting is out of range; when asked, if the key or the model is wrong, or an item does not fit the prompt.
    MissingExtra
        When asked, if the package openai is absent.
    """

    url: str
    """Base address, such as ``https://api.openai.com/v1`` or ``http://localhost:8000/v1``."""
    model: str
    """Model name, as the server knows it."""
    prompt: Prompt
    """How an item is put."""
    name: str = ""
    """Shown in reports; empty: model and prompt."""
    revision: str = ""
    """Whatever tells this state of the model from others of its name (a date, a commit): stored answers are found by it."""
    key_env: str = ""
    """Environment variable that holds the key. Empty: OPENAI_API_KEY for api.openai.com, else LABELWRIGHT_JUDGE_KEY if it is set."""
    scores: Scores = "auto"
    """Where probabilities come from: logprobs, sampling, or auto (log-probabilities if the server gives them, else sampling)."""
    samples: int | None = None
    """Replies an item where they are sampled, >= 1. None: 3 for guesses of several classes, 1 for a single one, else 5."""
    temperature: float | None = None
    """Of the sampling, >= 0. None: 0 for log-probabilities; 0.7 for guesses of several classes, 0.2 for a single one; else 1."""
    max_tokens: int | None = None
    """Length of a reply, >= 1. None: 2 for answers (the answer, or a blank before it), enough for the JSON of guesses."""
    top: int = 20
    """Likely tokens asked for, 0 to 20 (OpenAI's bound)."""
    concurrency: int = 8
    """Requests under way at a time, >= 1."""
    per_minute: float = math.inf
    """Requests a minute at most, > 0."""
    timeout: float = 60.0
    """Seconds without a sign of the server after which a request has failed, > 0."""
    retries: int = 5
    """Further tries of a request that failed, >= 0."""
    backoff: float = 0.5
    """Seconds before the first further try, >= 0; doubled each time, at most 30."""
    patience: float = 120.0
    """Seconds the server may ask to wait; if it wants more, the request has failed."""
    give_up: int = 20
    """Items in a row that fail for the server's fault, after which the rest is left unasked, >= 1."""
    prices: Prices = field(default_factory=Prices)
    """What its tokens cost."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request, such as ``{"seed": 1}`` or ``{"reasoning_effort": "low"}``."""
    classes: tuple[str, ...] = field(init=False)
    """Those of the prompt."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"url must be an address such as http://localhost:8000/v1; got {_without_secret(self.url)!r}.")
        if parts.username or parts.password:
            raise InputError("url holds a user or a password.", hint="Put the key into the environment and name it with key_env.")
        if parts.query or parts.fragment:  # reports show addresses, and keys are passed this way too
            raise InputError("url must end before '?' or '#'.", hint="Put a key into the environment and name it with key_env.")
        if not self.model:
            raise InputError("model must name a model of the server.")
        check.one_of("scores", self.scores, ("auto", "logprobs", "sampling"))
        for name in ("samples", "max_tokens"):
            if getattr(self, name) is not None:
                check.integer(name, getattr(self, name), low=1)
        if self.temperature is not None:
            check.in_range("temperature", self.temperature, low=0)
        check.integer("top", self.top, low=0, high=20)
        for name in ("concurrency", "give_up"):
            check.integer(name, getattr(self, name), low=1)
        check.integer("retries", self.retries, low=0)
        if self.per_minute != math.inf:
            check.in_range("per_minute", self.per_minute, low=0, closed="neither")
        check.in_range("timeout", self.timeout, low=0, closed="neither")
        check.in_range("backoff", self.backoff, low=0)
        check.in_range("patience", self.patience, low=0)
        for name in OWN:
            if name in self.parameters:
                raise InputError(f"parameters must not hold {name!r}: the judge sets it itself.")
        object.__setattr__(self, "classes", self.prompt.classes)
        object.__setattr__(self, "name", self.name or f"{self.model}/{self.prompt.name}")

    @property
    def sampled(self) -> int:
        """Replies an item where they are sampled."""
        return self.samples or (5 if not self.prompt.guesses else 1 if self.prompt.guesses == 1 else 3)

    @property
    def warmth(self) -> float:
        """Temperature of the sampling."""
        if self.temperature is not None:
            return self.temperature
        return 1.0 if not self.prompt.guesses else 0.2 if self.prompt.guesses == 1 else 0.7

    @property
    def tokens(self) -> int:
        """Length of a reply."""
        longest = max((len(n.encode()) for n in self.classes), default=0)
        return self.max_tokens or (self.prompt.guesses * (WORDS_OF_A_GUESS + longest) + WORDS_AROUND if self.prompt.guesses else 2)

    @property
    def fingerprint(self) -> str:
        decoding = [self.scores, self.sampled, self.temperature, self.tokens, self.top, dict(self.parameters)]
        return digest("http", self.url.rstrip("/"), self.model, self.revision, self.prompt.version, json.dumps(decoding, sort_keys=True))

    def answers(self, items: Sequence[Any], *, budget: Budget | None = None) -> Iterator[tuple[int, Answer]]:
        questions = [self.prompt.messages(item) for item in items]  # what does not fit the prompt is told before anything is sent
        if not questions:
            return
        session = Session(self, budget)
        pool = ThreadPoolExecutor(min(self.concurrency, len(questions)), thread_name_prefix="judge")
        try:
            yield from self._run(session, pool, questions)
        finally:
            session.close()
            pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, session: Session, pool: ThreadPoolExecutor, questions: list[Any]) -> Iterator[tuple[int, Answer]]:
        waiting = iter(range(len(questions)))
        under_way: dict[Future[tuple[Answer, bool]], int] = {}
        failed, last = 0, ""
        while True:
            while failed < self.give_up and len(under_way) < 2 * self.concurrency and (i := next(waiting, None)) is not None:
                under_way[pool.submit(self._one, session, questions[i])] = i
            if not under_way:
                break
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                answer, down = future.result()
                failed, last = (failed + 1, answer.reason) if down else (0, last)
                yield under_way.pop(future), answer
        for i in waiting:
            yield i, Answer.unknown(f"not asked, after {self.give_up} failures in a row: {last}", lasting=False)

    def _one(self, session: Session, messages: list[dict[str, str]]) -> tuple[Answer, bool]:
        """The answer to one question, and whether it failed for the server's fault."""
        bill = Bill()
        try:
            if not self.prompt.guesses and self.scores != "sampling" and session.offers.logprobs:
                answer = self._by_logprobs(session, messages, bill)
                if answer is not None:
                    return answer, False
            if not self.prompt.guesses and self.scores == "logprobs":
                raise Failed("the server gives no log-probabilities")
            replies: list[str] = []
            while len(replies) < self.sampled:
                body = session.ask(messages, bill, n=self.sampled - len(replies), temperature=self.warmth, logprobs=False)
                replies += [str(choice["message"]["content"] or "") for choice in body["choices"]]
            read = from_guesses if self.prompt.guesses else from_replies
            return read(replies[: self.sampled], self.prompt, **bill.fields()), False
        except Failed as err:
            return Answer.unknown(err.why, lasting=False, **bill.fields()), err.down

    def _by_logprobs(self, session: Session, messages: list[dict[str, str]], bill: Bill) -> Answer | None:
        """From the log-probabilities; None if the server gives none and sampling may take their place."""
        try:
            body = session.ask(messages, bill, n=1, temperature=self.temperature or 0.0, logprobs=True)
        except Failed:
            if session.offers.logprobs or self.scores == "logprobs":
                raise
            return None
        choice = body["choices"][0]
        try:
            positions = list((choice.get("logprobs") or {}).get("content") or [])
            if positions:
                session.offers.seen = True
                return from_tokens(positions, self.prompt, **bill.fields())
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # not the form in which OpenAI gives them: as good as none
        if self.scores == "logprobs":
            raise Failed("the server gives no log-probabilities")
        if choice["message"]["content"]:  # an empty reply has none anywhere
            session.offers.logprobs = session.offers.seen  # one reply without them, from a server that has given them, changes nothing
        return None


def _without_secret(url: str) -> str:
    """An address that is refused, without what may be a password in it."""
    return url.rpartition("@")[2].partition("?")[0]
