"""Label errors by an ensemble of judges; the pure functions are in the modules of this package."""

from __future__ import annotations

from labelwright.audit.judge_ensemble.method import JudgeEnsemble

__all__ = ["JudgeEnsemble"]
