"""What judges may spend: calls and money, shared by threads and by the judges of an ensemble."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from labelwright import check

__all__ = ["Budget", "Prices"]

MILLION = 1_000_000
SLACK = 1e-9
"""Relative room for rounding when many small sums of money are added up."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Prices of a model per million tokens, in whatever money the budget counts."""

    input: float = 0.0
    """Price of a million tokens of prompt, >= 0."""
    output: float = 0.0
    """Price of a million tokens of answer, >= 0."""

    def __post_init__(self) -> None:
        check.in_range("input", self.input, low=0)
        check.in_range("output", self.output, low=0)

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Money for so many tokens."""
        return (self.input * tokens_in + self.output * tokens_out) / MILLION


class Budget:
    """At most `calls` requests and `money`; None sets no limit, 0 allows none: only answers that are stored already are used then.

    A judge reserves before each request and settles after it, so the limits are never passed, whatever runs at the same
    time: a request whose price is not known beforehand reserves an upper bound, and one that does not fit while others
    are under way waits for what those really cost. What the budget refuses becomes ``unknown`` with a reason.
    It counts what is spent through this object; what earlier runs spent is in the cache's accounts.
    """

    def __init__(self, *, calls: int | None = None, money: float | None = None) -> None:
        self.calls = None if calls is None else check.integer("calls", calls, low=0)
        self.money = None if money is None else float(check.in_range("money", money, low=0))
        self.spent_calls, self.spent_money, self.refused = 0, 0.0, 0
        self._open, self._promised = 0, 0.0
        self._change = threading.Condition()

    def reserve(self, *, money: float = 0.0) -> str:
        """Take one call and at most `money` out of the budget; says why not, or '' if granted (then :meth:`settle` it)."""
        with self._change:
            while True:
                if self.calls is not None and self.spent_calls + self._open >= self.calls:
                    if not self._open or self.spent_calls >= self.calls:
                        return self._refuse(f"budget of {self.calls:,} calls is spent")
                elif self.money is None or self.spent_money + self._promised + money <= self.money * (1 + SLACK):
                    if self.money != 0:
                        self._open += 1
                        self._promised += money
                        return ""
                    return self._refuse("budget of 0 money allows no call")
                elif not self._open:
                    return self._refuse(
                        f"budget of {self.money:g} money is spent ({self.spent_money:.6g}; the next call may cost {money:.6g})"
                    )
                self._change.wait()

    def _refuse(self, why: str) -> str:
        self.refused += 1
        return why

    def settle(self, *, reserved: float = 0.0, money: float = 0.0, called: bool = True) -> None:
        """Book what one reserved call cost; `called` is False for one that was never sent, which gives it back."""
        with self._change:
            self._open -= 1
            self._promised = max(0.0, self._promised - reserved) if self._open else 0.0
            self.spent_calls += called
            self.spent_money += money
            self._change.notify_all()

    @property
    def exhausted(self) -> bool:
        """Whether a request was refused, or none fits any more."""
        calls = self.calls is not None and self.spent_calls >= self.calls
        return self.refused > 0 or calls or (self.money is not None and self.spent_money >= self.money)

    def summary(self) -> str:
        """What was spent of what, and how many requests were refused, in one sentence."""
        calls = f"{self.spent_calls:,}" + (f" of {self.calls:,}" if self.calls is not None else "") + " calls"
        money = f"{self.spent_money:.4g}" + (f" of {self.money:g}" if self.money is not None else "") + " money"
        refused = f"; {self.refused:,} requests were refused, their items are unknown" if self.refused else ""
        return f"{calls} and {money} spent{refused}."

    def __repr__(self) -> str:
        return f"Budget(calls={self.calls}, money={self.money}): {self.summary()}"
