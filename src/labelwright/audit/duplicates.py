"""Exact and near duplicates, and those of them that lie in different splits (leaks).

Exact duplicates have equal content: bytes of files, arrays and rows; texts up to white space. Near duplicates are looked
for among the first copies:

- texts: cosine of TF-IDF vectors over words and word pairs (characters where there are no spaces) of at least 0.8;
- images: thumbnails *and* perceptual hashes close (:mod:`labelwright.audit.images`);
- vectors and tables: standardised and reduced inputs close.

"Close" is measured against the data: with r the median distance to the nearest neighbour and d the intrinsic dimension
(Levina and Bickel 2004, averaged as MacKay and Ghahramani 2005), a distance below ``q r`` is near, where

    q = min(ratio, (expected / (N ln 2)) ** (1 / d))

is such that N points that fall at random about as far apart as these give fewer than `expected` near pairs by chance: the share
of nearest neighbours within q r is about ``1 - 2 ** (-q ** d)``. In few dimensions points come close by chance, so q is small.

Memory: O(N k) for neighbours, and blocks; no N x N matrix is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.audit.found import Found
from labelwright.data import Dataset, Images, TableRows, Texts
from labelwright.stats.neighbours import top_k

__all__ = ["Pairs", "exact_copies", "exact_duplicates", "near_duplicates", "near_pairs", "split_leaks", "text_pairs"]

RATIO, EXPECTED = 0.5, 0.5
COSINE = 0.8
NEIGHBOURS = 5
HAMMING = 10
"""Most of the 63 bits of the hash that near images differ in; unrelated images differ in about 31."""
LEAST_CONTRAST = 0.02
SPACED, MOST_DOCUMENTS, ROUGH, BLOCK = 2.0, 500, 0.25, 1_024


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Near pairs: positions `i` < `j` int64 (P,) and `score` (P,): 1 for equal, 0.5 at the threshold."""

    i: np.ndarray
    j: np.ndarray
    score: np.ndarray


def exact_copies(inputs: Any) -> np.ndarray:
    """Position of the first example with the same content, int64 (N,); its own where there is none before it."""
    keys = _keys(inputs)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(first[inverse.reshape(-1)], dtype=np.int64)


def _keys(inputs: Any) -> np.ndarray:
    """One comparable key an example: 128-bit digests as byte strings, 64-bit hashes of table rows."""
    from hashlib import blake2b

    def digest(raw: Any) -> bytes:
        return blake2b(raw, digest_size=16).hexdigest().encode()  # hex: NumPy cuts trailing zero bytes

    if isinstance(inputs, TableRows):
        return inputs.frame.hash_rows(seed=0).to_numpy()
    if isinstance(inputs, Texts):
        return np.array([digest(" ".join(text.split()).encode("utf-8", "surrogatepass")) for text in inputs.texts])
    if isinstance(inputs, Images):
        return np.array([digest(s if isinstance(s, bytes) else s.read_bytes()) for s in inputs.sources])
    array = np.asarray(inputs.detach().cpu() if hasattr(inputs, "detach") else inputs)
    if np.issubdtype(array.dtype, np.inexact):
        array = array + 0.0  # -0.0 equals 0.0
    rows = np.ascontiguousarray(array).reshape(len(array), -1)
    return np.array([digest(row.data) for row in rows]) if len(rows) else np.empty(0, dtype="S32")


def intrinsic_dimension(distances: np.ndarray) -> float:
    """Maximum-likelihood dimension from distances (N, K) to the K nearest neighbours, ascending; at least 1."""
    positive = distances[(distances > 0).all(1)].astype(np.float64)
    if not len(positive) or positive.shape[1] < 2:
        return 1.0
    # the mean of log(T_K / T_j) is 1 / d exactly where density is flat; averaging it, not its inverse, keeps that
    return float(max(1.0, 1 / max(np.log(positive[:, -1:] / positive[:, :-1]).mean(), 1e-6)))


def near_pairs(points: np.ndarray, *, ratio: float = RATIO, hashes: np.ndarray | None = None) -> Pairs:
    """Pairs of points (N, D) that are close for the data they are in; with `hashes` uint64 (N,), both must agree."""
    n = len(points)
    none = Pairs(i=np.empty(0, dtype=np.int64), j=np.empty(0, dtype=np.int64), score=np.empty(0))
    if n < 3:
        return none
    index, distance = top_k(points, points, min(NEIGHBOURS, n - 1), same=True)
    nearest = distance[:, 0]
    if not (nearest > 0).any():
        return none
    usual = float(np.median(nearest[nearest > 0]))
    share = min(ratio, (EXPECTED / (n * np.log(2))) ** (1 / intrinsic_dimension(distance)))
    limit = share * usual
    rows, places = np.nonzero(distance <= limit)
    i, j = np.minimum(rows, index[rows, places]), np.maximum(rows, index[rows, places])
    pairs, chosen = np.unique(i * n + j, return_index=True)
    i, j, d = pairs // n, pairs % n, distance[rows, places][chosen]
    if hashes is not None:
        keep = np.bitwise_count(hashes[i] ^ hashes[j]) <= HAMMING
        i, j, d = i[keep], j[keep], d[keep]
    return Pairs(i=i, j=j, score=np.exp2(-d.astype(np.float64) / limit))


def text_pairs(texts: Sequence[str], *, cosine: float = COSINE) -> Pairs:
    """Pairs of texts whose TF-IDF vectors have at least this cosine.

    Pairs are first found through terms of at most 500 documents (a product of sparse blocks), then measured on all terms: two texts
    that share only more frequent words than that are not found.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    none = Pairs(i=np.empty(0, dtype=np.int64), j=np.empty(0, dtype=np.int64), score=np.empty(0))
    spaced = np.mean([len(t.split()) for t in texts[:1000]] or [0]) >= SPACED
    weigh = TfidfVectorizer(
        analyzer="word" if spaced else "char_wb", ngram_range=(1, 2) if spaced else (3, 5), dtype=np.float32, sublinear_tf=True
    )
    try:
        x = weigh.fit_transform(texts).tocsr()
    except ValueError:  # no words in any of them: nothing to compare
        return none
    documents = np.bincount(x.indices, minlength=x.shape[1])
    rare = x[:, np.flatnonzero((documents >= 2) & (documents <= MOST_DOCUMENTS))]
    turned = rare.T.tocsr()
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, x.shape[0], BLOCK):
        block = (rare[start : start + BLOCK] @ turned).tocoo()
        i, j = block.row + start, block.col
        keep = (i < j) & (block.data >= ROUGH * cosine)
        i, j = i[keep].astype(np.int64), j[keep].astype(np.int64)
        exact = np.concatenate(
            [
                np.asarray(x[i[s : s + BLOCK * 64]].multiply(x[j[s : s + BLOCK * 64]]).sum(1)).reshape(-1)
                for s in range(0, len(i), BLOCK * 64)
            ]
            or [np.empty(0)]
        )
        near = exact >= cosine
        found.append((i[near], j[near], exact[near]))
    if not found:
        return none
    i, j, similar = (np.concatenate(part) for part in zip(*found, strict=True))
    return Pairs(i=i, j=j, score=np.clip(0.5 + 0.5 * (similar - cosine) / max(1 - cosine, 1e-9), 0.5, 1))


def exact_duplicates(data: Dataset, first: np.ndarray) -> Found:
    """Every later copy of an example; says where copies have other labels. `first` int64 (N,) from :func:`exact_copies`.

    Facts: `groups` of equal examples, `conflicting` copies whose label differs from the first one's.
    """
    index = np.flatnonzero(first != np.arange(len(first)))
    words = _words(data)
    reason, conflicts = [], 0
    for i in index:
        here, there = words[i], words[first[i]]
        disagree = here is not None and there is not None and here != there
        conflicts += disagree
        reason.append(f"same content as id {data.ids[first[i]]}" + (f", but labelled {here}, there {there}" if disagree else ""))
    return Found(
        issue="exact_duplicate",
        index=index,
        score=np.ones(len(index)),
        flagged=np.ones(len(index), dtype=bool),
        reason=reason,
        facts={"groups": len(np.unique(first[index])), "conflicting": int(conflicts)},
    )


def near_duplicates(data: Dataset, pairs: Pairs) -> Found:
    """The later example of each near pair, with its closest earlier partner."""
    order = np.lexsort((pairs.i, -pairs.score, pairs.j))
    index, place = np.unique(pairs.j[order], return_index=True)
    partner, score = pairs.i[order][place], pairs.score[order][place]
    words = _words(data)
    conflict = [words[i] is not None and words[p] is not None and words[i] != words[p] for i, p in zip(index, partner, strict=True)]
    return Found(
        issue="near_duplicate",
        index=index,
        score=score,
        flagged=np.ones(len(index), dtype=bool),
        reason=[
            f"almost the same as id {data.ids[p]}" + (f", but labelled {words[i]}, there {words[p]}" if c else "")
            for i, p, c in zip(index, partner, conflict, strict=True)
        ],
        facts={"pairs": len(pairs.i), "conflicting": int(sum(conflict))},
    )


def split_leaks(data: Dataset, split: np.ndarray, first: np.ndarray, pairs: Pairs) -> Found:
    """Examples that occur, exactly or nearly, in another split too; all of them are flagged. `split` (N,) names each row's split.

    Facts: `between`, the number of examples by pair of splits.
    """
    words, place = np.unique(split.astype(str), return_inverse=True)
    n = len(split)
    # the first row of each (content, split) stands for its split; a copy is linked to the first one in each other split
    keys, lead = np.unique(first * len(words) + place, return_index=True)
    a, b, score = [pairs.i], [pairs.j], [pairs.score]
    for other in range(len(words)):
        at = np.searchsorted(keys, first * len(words) + other)
        there = (at < len(keys)) & (keys[np.minimum(at, len(keys) - 1)] == first * len(words) + other) & (place != other)
        a.append(np.flatnonzero(there))
        b.append(lead[at[there]])
        score.append(np.ones(int(there.sum())))
    i, j, s = np.concatenate([*a, *b]), np.concatenate([*b, *a]), np.concatenate([*score, *score])
    cross = place[i] != place[j]
    i, j, s = i[cross], j[cross], s[cross]
    order = np.lexsort((j, -s, i))
    index, at = np.unique(i[order], return_index=True)
    partner, best = j[order][at], s[order][at]
    between: dict[str, int] = {}
    for x, y in zip(place[index], place[partner], strict=True):
        key = " / ".join(sorted((str(words[x]), str(words[y]))))
        between[key] = between.get(key, 0) + 1
    return Found(
        issue="split_leak",
        index=index,
        score=best,
        flagged=np.ones(len(index), dtype=bool),
        reason=[
            f"in {words[place[x]]}, and {'the same' if q == 1 else 'almost the same'} in {words[place[y]]} (id {data.ids[y]})"
            for x, y, q in zip(index, partner, best, strict=True)
        ],
        facts={"between": between, "rows_compared": n},
    )


def _words(data: Dataset) -> np.ndarray:
    """Label of each example in words; None where there is none."""
    from labelwright.labels import ClassLabels

    return data.labels.words() if isinstance(data.labels, ClassLabels) else np.full(len(data), None, dtype=object)
