"""Texts: TF-IDF and truncated SVD, centred and brought to one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.data.features.base import Featuriser
from labelwright.errors import InputError

if TYPE_CHECKING:
    import torch
    from sklearn.feature_extraction.text import TfidfVectorizer

    from labelwright.data.dataset import Dataset

__all__ = ["TextFeaturiser"]

DIM = 256
MAX_TERMS = 20_000  # the SVD basis then takes 20 MB
BLOCK = 4_096  # documents at a time
SPACED = 2.0  # mean number of space-separated words below which text is read by characters (Chinese, SMILES, proteins)
RARE = 1_000  # documents from which on terms of a single document are left out


@dataclass(frozen=True, kw_only=True, eq=False)
class TextFeaturiser(Featuriser, kind="texts"):
    """Texts to (N, D): TF-IDF over words and word pairs (characters where there are no spaces), D leading SVD
    directions, each centred, all divided by one number so that their mean variance is 1 (distances keep their proportions).

    `terms` (V,), `idf` float64 (V,), `basis` float32 (V, D), `mean` and `scale` float64 (D,). A text without
    any known term maps to the image of the zero vector.
    """

    terms: tuple[str, ...]
    analyzer: str
    idf: np.ndarray
    basis: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.basis.shape[1],)

    @classmethod
    def fit(cls, data: Dataset, *, seed: int, dim: int = DIM) -> TextFeaturiser:
        """Vocabulary, weights and directions from all texts."""
        from sklearn.decomposition import TruncatedSVD

        texts = [data.inputs[i] for i in range(len(data))]
        analyzer = "word" if np.mean([len(t.split()) for t in texts[:RARE]] or [0]) >= SPACED else "char_wb"
        # scikit-learn refuses min_df above the number of documents and an empty vocabulary with the same ValueError
        vectorizer = _vectorizer(analyzer, min_df=2 if len(texts) >= RARE else 1)
        try:
            counts = vectorizer.fit_transform(texts)
        except ValueError as err:
            raise InputError(
                "The texts hold no words to learn from; all are empty or punctuation.", hint="Is this the right text column?"
            ) from err
        size = max(1, min(dim, counts.shape[0], counts.shape[1]))
        if size < min(counts.shape):
            basis = TruncatedSVD(size, random_state=seed).fit(counts).components_.T
        else:  # few documents or terms: the exact decomposition is small, and the randomised one needs size < min(shape)
            basis = np.linalg.svd(counts.toarray().astype(np.float64), full_matrices=False)[2][:size].T
        places = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
        blank = cls(
            terms=tuple(places),
            analyzer=analyzer,
            idf=np.asarray(vectorizer.idf_, dtype=np.float64),
            basis=np.ascontiguousarray(basis, dtype=np.float32),
            mean=np.zeros(size),
            scale=np.ones(size),
        )
        projected = (counts @ blank.basis).astype(np.float64)
        # one scale for all: dividing each direction by its own deviation would blow up the trailing ones, which are noise
        spread = float(np.sqrt(projected.var(0).mean()))
        scale = np.full(size, 1.0 / spread if spread > 0 else 0.0)
        return cls(terms=blank.terms, analyzer=analyzer, idf=blank.idf, basis=blank.basis, mean=projected.mean(0), scale=scale)

    @cached_property
    def _fitted(self) -> TfidfVectorizer:
        vectorizer = _vectorizer(self.analyzer, vocabulary={t: j for j, t in enumerate(self.terms)})
        vectorizer.idf_ = self.idf
        return vectorizer

    def _project(self, texts: list[str]) -> np.ndarray:
        out = np.empty((len(texts), self.basis.shape[1]), dtype=np.float32)
        for start in range(0, len(texts), BLOCK):
            out[start : start + BLOCK] = self._fitted.transform(texts[start : start + BLOCK]) @ self.basis
        return out

    def _transform(self, data: Dataset) -> torch.Tensor:
        import torch

        projected = self._project([data.inputs[i] for i in range(len(data))])
        return torch.from_numpy(((projected - self.mean) * self.scale).astype(np.float32))

    def _spec(self) -> dict[str, Any]:
        return {"analyzer": self.analyzer}

    def arrays(self) -> dict[str, np.ndarray]:
        # no term holds a line break, so the vocabulary is one array of UTF-8 bytes
        terms = np.frombuffer("\n".join(self.terms).encode(), dtype=np.uint8)
        return {"terms": terms, "idf": self.idf, "basis": self.basis, "mean": self.mean, "scale": self.scale}

    @classmethod
    def _restore(cls, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Featuriser:
        terms = tuple(arrays["terms"].tobytes().decode().split("\n"))
        return cls(terms=terms, analyzer=spec["analyzer"], **{k: arrays[k] for k in ("idf", "basis", "mean", "scale")})


def _vectorizer(analyzer: str, **options: Any) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    limit = {} if "vocabulary" in options else {"max_features": MAX_TERMS}
    return TfidfVectorizer(
        analyzer=analyzer,
        token_pattern=r"(?u)\b\w+\b" if analyzer == "word" else None,  # words of one letter too, which the default drops
        ngram_range=(1, 2) if analyzer == "word" else (1, 3),
        sublinear_tf=True,
        dtype=np.float32,
        **limit,
        **options,
    )
