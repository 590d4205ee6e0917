"""The answers that were bought: who was asked, in which stage, what was said, and what is left of the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwright import check
from labelwright.judges import Judge, Verdicts
from labelwright.labels import UNKNOWN

__all__ = ["Items", "Ledger", "Spent"]

Items = Callable[[Judge, np.ndarray], Sequence[Any]]
"""What a judge is shown of the nodes at some positions."""


@dataclass
class Spent:
    """What the answers took: `calls` sent, nodes answered from a store (`cached`), `tokens` of prompts and answers, `cost` in money."""

    calls: int = 0
    cached: int = 0
    tokens: tuple[int, int] = (0, 0)
    cost: float = 0.0

    def add(self, said: Verdicts) -> None:
        """Book what one round of questions took."""
        self.calls, self.cached, self.cost = self.calls + said.calls, self.cached + said.cached, self.cost + said.cost
        self.tokens = self.tokens[0] + said.tokens[0], self.tokens[1] + said.tokens[1]


@dataclass(kw_only=True)
class Ledger:
    """Answers of judges about V nodes: no node is asked about twice, and no more than `budget` of them in all.

    A failed answer counts: it was asked for. `label` int64 (V,), -1 where none came; `confidence` float64 (V,), NaN there;
    `stage` int64 (V,), 0 where nobody was asked; `why` says for each node without a label what was wrong.
    """

    nodes: int
    classes: tuple[str, ...]
    budget: int
    items: Items
    label: np.ndarray = field(init=False)
    confidence: np.ndarray = field(init=False)
    stage: np.ndarray = field(init=False)
    why: dict[int, str] = field(init=False, default_factory=dict)
    spent: Spent = field(init=False, default_factory=Spent)

    def __post_init__(self) -> None:
        check.integer("budget", self.budget, low=1)
        self.label = np.full(self.nodes, UNKNOWN, dtype=np.int64)
        self.confidence = np.full(self.nodes, np.nan)
        self.stage = np.zeros(self.nodes, dtype=np.int64)

    @property
    def asked(self) -> np.ndarray:
        """bool (V,): nodes somebody was asked about."""
        return self.stage > 0

    @property
    def left(self) -> int:
        """Questions that may still be asked."""
        return self.budget - int(self.asked.sum())

    def ask(self, judge: Judge, nodes: np.ndarray, *, stage: int) -> np.ndarray:
        """Ask about `nodes`, less those asked about before and those the budget has no room for; gives those that got a label, int64."""
        wanted = np.unique(np.asarray(nodes, dtype=np.int64), return_index=True)
        fresh = wanted[0][np.argsort(wanted[1])]  # each once, in the order of preference
        fresh = fresh[~self.asked[fresh]][: self.left]
        if not len(fresh):
            return fresh
        said = judge.judge(self.items(judge, fresh)).aligned(self.classes)
        self.stage[fresh] = stage
        self.label[fresh], self.confidence[fresh] = said.labels, np.clip(said.confidence, 0, 1)
        self.why.update({int(v): str(said.reason[i]) for i, v in enumerate(fresh) if not said.known[i]})
        self.spent.add(said)
        return fresh[said.known]

    def complaints(self) -> str:
        """The commonest reasons why answers gave no label, for a message."""
        reasons = list(self.why.values())
        common = sorted(set(reasons), key=lambda r: -reasons.count(r))[:2]
        return "; ".join(f"{reasons.count(r):,} times: {r}" for r in common)
