"""The one training loop, its recipe, checkpoints and evaluation."""

from __future__ import annotations

from labelwright.data.batch import Batch, TensorData
from labelwright.training.defaults import default_fit
from labelwright.training.dynamics import Dynamics, Recorder
from labelwright.training.engine import is_first
from labelwright.training.evaluation import Evaluation, accuracy, evaluate, evaluating, predict_logits, predict_proba
from labelwright.training.fit import Fit
from labelwright.training.loop import EpochEnd, Run, Step, train
from labelwright.training.memory import ExampleTable
from labelwright.training.prepare import Prepared, judge_labels, prepare

__all__ = [
    "Batch",
    "Dynamics",
    "EpochEnd",
    "Evaluation",
    "ExampleTable",
    "Fit",
    "Prepared",
    "Recorder",
    "Run",
    "Step",
    "TensorData",
    "accuracy",
    "default_fit",
    "evaluate",
    "evaluating",
    "is_first",
    "judge_labels",
    "predict_logits",
    "predict_proba",
    "prepare",
    "train",
]
