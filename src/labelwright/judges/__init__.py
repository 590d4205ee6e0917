"""The judge protocol: anything that answers yes, no, unknown, or a class with a probability.

A judge has ``name``, ``classes`` and ``judge(items) -> Verdicts``. Nothing heavy is imported before a judge is asked.
"""

from __future__ import annotations

from labelwright.judges.base import Answer, Judge, Verdicts, items_for
from labelwright.judges.budget import Budget, Prices
from labelwright.judges.prompts import PAIR_WORDINGS, Prompt, classify, guesses, pair_prompt, pair_prompts
from labelwright.judges.simple import CallableJudge, ClassifierJudge

__all__ = [
    "PAIR_WORDINGS",
    "Answer",
    "Budget",
    "CallableJudge",
    "ClassifierJudge",
    "Judge",
    "Prices",
    "Prompt",
    "Verdicts",
    "classify",
    "guesses",
    "items_for",
    "pair_prompt",
    "pair_prompts",
]
