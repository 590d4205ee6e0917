"""Separability measured the usual ways, to hold the label-free score against.

With labels: Fisher's discriminant ratio, Thornton's index, cross-validated logistic regression. Without:
Calinski-Harabasz and silhouette with k-means clusters. Embeddings are float (n, d), labels int (n,) without unknowns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError

__all__ = ["calinski_harabasz", "fisher_ratio", "fisher_ratio_1d", "logistic_regression", "reference_metrics", "thornton"]

FOLDS = 5


def _scatter(points: np.ndarray, labels: np.ndarray) -> tuple[float, float, int]:
    """Traces of the between- and within-group scatter matrices, and the number of groups."""
    check.same_length(points=points, labels=labels)
    points = np.asarray(points, dtype=np.float64)
    words, group = np.unique(labels, return_inverse=True)
    counts = np.bincount(group)
    means = np.zeros((len(words), points.shape[1]))
    np.add.at(means, group, points)
    means /= counts[:, None]
    between = float((counts * ((means - points.mean(0)) ** 2).sum(1)).sum())
    return between, float(((points - means[group]) ** 2).sum()), len(words)


def fisher_ratio(points: np.ndarray, labels: np.ndarray) -> float:
    """``tr(S_B) / tr(S_W)``: 0 for equal class means, infinite for classes that are single points."""
    between, within, _ = _scatter(points, labels)
    return between / within if within > 0 else float("inf") if between > 0 else 0.0


def fisher_ratio_1d(values: np.ndarray, labels: np.ndarray) -> float:
    """``(m_1 - m_2)^2 / (s_1^2 + s_2^2)`` of one feature (n,) and two classes, population variances.

    Raises
    ------
    InputError
        If there are not exactly two classes.
    """
    check.same_length(values=values, labels=labels)
    words = np.unique(labels)
    if len(words) != 2:
        raise InputError(f"fisher_ratio_1d takes two classes; the labels hold {len(words)}.", hint="Use fisher_ratio for more.")
    a, b = (np.asarray(values, dtype=np.float64)[labels == w] for w in words)
    spread, gap = float(a.var() + b.var()), float((a.mean() - b.mean()) ** 2)
    return gap / spread if spread > 0 else float("inf") if gap > 0 else 0.0


def thornton(points: np.ndarray, labels: np.ndarray) -> float:
    """Share of points whose nearest neighbour has the same label."""
    from labelwright.stats.neighbours import top_k

    check.same_length(points=points, labels=labels)
    near = top_k(points, points, 1, same=True)[0][:, 0]
    return float((labels[near] == labels).mean())


def calinski_harabasz(points: np.ndarray, labels: np.ndarray) -> float:
    """``[tr S_B / (k - 1)] / [tr S_W / (n - k)]`` of a clustering or of classes."""
    between, within, k = _scatter(points, labels)
    if k < 2 or k >= len(points):
        raise InputError(f"calinski_harabasz needs between 2 and n - 1 groups; got {k} of {len(points)} points.")
    return (between / (k - 1)) / (within / (len(points) - k)) if within > 0 else float("inf")


def logistic_regression(points: np.ndarray, labels: np.ndarray, *, seed: int) -> dict[str, float] | None:
    """Accuracy and macro one-vs-rest ROC-AUC of logistic regression on standardised features, out of fold.

    None where a class has too few examples for two folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    words, y = np.unique(labels, return_inverse=True)
    folds = min(FOLDS, int(np.bincount(y).min()))
    if folds < 2:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    probs = cross_val_predict(model, points, y, cv=splits, method="predict_proba")
    auc = roc_auc_score(y, probs[:, 1]) if len(words) == 2 else roc_auc_score(y, probs, multi_class="ovr")
    return {"accuracy": float((probs.argmax(1) == y).mean()), "auc": float(auc)}


def reference_metrics(points: np.ndarray, labels: np.ndarray, *, seed: int) -> dict[str, Any] | None:
    """All references for one sample with known labels; None where fewer than two classes occur in it.

    Ratios that are infinite are None. k-means looks for as many clusters as there are classes.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    words = np.unique(labels)
    if len(words) < 2 or len(points) <= len(words):
        return None
    regression = logistic_regression(points, labels, seed=seed)
    clusters = KMeans(n_clusters=len(words), n_init=3, random_state=seed).fit_predict(points)
    clustered = len(np.unique(clusters)) > 1
    values: dict[str, Any] = {
        "n": len(points),
        "classes": len(words),
        "fisher_ratio": fisher_ratio(points, labels),
        "thornton": thornton(points, labels),
        "logistic_accuracy": regression["accuracy"] if regression else None,
        "logistic_auc": regression["auc"] if regression else None,
        "calinski_harabasz_kmeans": calinski_harabasz(points, clusters) if clustered else None,
        "silhouette_kmeans": float(silhouette_score(points, clusters)) if clustered else None,
    }
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}
