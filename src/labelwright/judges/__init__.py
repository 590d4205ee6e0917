"""The judge protocol: anything that answers yes, no, unknown, or a class with a probability.

A judge has ``name``, ``classes`` and ``judge(items) -> Verdicts``. Nothing heavy is imported before a judge is asked.
"""

from __future__ import annotations

from labelwright.judges.base import Answer, Judge, Verdicts, items_for
from labelwright.judges.budget import Budget, Prices
from labelwright.judges.cache import Cached, stored
from labelwright.judges.http import HTTPJudge
from labelwright.judges.loading import load_judges
from labelwright.judges.local import LocalModelJudge
from labelwright.judges.prompts import PAIR_WORDINGS, Prompt, classify, guesses, pair_prompt, pair_prompts
from labelwright.judges.review import ReviewJudge, write_questions
from labelwright.judges.sequence import SequenceClassifierJudge
from labelwright.judges.simple import CallableJudge, ClassifierJudge

__all__ = [
    "PAIR_WORDINGS",
    "Answer",
    "Budget",
    "Cached",
    "CallableJudge",
    "ClassifierJudge",
    "HTTPJudge",
    "Judge",
    "LocalModelJudge",
    "Prices",
    "Prompt",
    "ReviewJudge",
    "SequenceClassifierJudge",
    "Verdicts",
    "classify",
    "guesses",
    "items_for",
    "load_judges",
    "pair_prompt",
    "pair_prompts",
    "stored",
    "write_questions",
]
