"""Signals: class probabilities, embeddings, neighbours, losses and training dynamics, computed once and shared by the verbs."""

from __future__ import annotations

from labelwright.signals.compute import compute, label_losses
from labelwright.signals.core import KnnGraph, Signals

__all__ = ["KnnGraph", "Signals", "compute", "label_losses"]
