"""Duplicates and leaks: brute force on small data, planted copies found, chance not mistaken for copies."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
from PIL import Image
from sklearn.datasets import load_sample_image
from sklearn.feature_extraction.text import TfidfVectorizer

from labelwright.audit.duplicates import (
    Pairs,
    exact_copies,
    exact_duplicates,
    intrinsic_dimension,
    near_duplicates,
    near_pairs,
    split_leaks,
    text_pairs,
)
from labelwright.audit.images import look_at
from labelwright.data import Dataset, Images, TableRows, Texts
from labelwright.labels import ClassLabels
from labelwright.stats.neighbours import top_k

NO_PAIRS = Pairs(i=np.empty(0, dtype=np.int64), j=np.empty(0, dtype=np.int64), score=np.empty(0))


def test_exact_copies_of_every_kind_of_inputs():
    wanted = [0, 1, 0, 3, 1, 0]
    rows = np.array([[1.0, 0.0], [2, 3], [1, -0.0], [4, 4], [2, 3], [1, 0]])
    assert exact_copies(rows).tolist() == wanted
    assert exact_copies(rows.reshape(6, 1, 1, 2).astype(np.uint8)).tolist() == wanted
    assert exact_copies(Texts(["a b", "c", "a  b\n", "d", "c", "a b"])).tolist() == wanted
    assert exact_copies(Images([b"a", b"b", b"a", b"c", b"b", b"a"])).tolist() == wanted
    table = TableRows(pl.DataFrame({"x": [1, 2, 1, 4, 2, 1], "y": ["a", None, "a", "b", None, "a"]}))
    assert exact_copies(table).tolist() == wanted


def test_findings_of_exact_copies_say_where_labels_disagree():
    data = Dataset(
        inputs=np.array([[1.0], [2], [1], [1]]), labels=ClassLabels(values=np.array([0, 1, 0, 1]), names=("cat", "dog")), ids=list("pqrs")
    )
    found = exact_duplicates(data, exact_copies(data.inputs))
    assert found.index.tolist() == [2, 3]
    assert found.reason == ["same content as id p", "same content as id p, but labelled dog, there cat"]
    assert found.facts == {"groups": 1, "conflicting": 1}


def test_intrinsic_dimension_of_flat_data():
    rng = np.random.default_rng(0)
    for d in (1, 2, 5):
        points = rng.random((3_000, d)) @ rng.normal(size=(d, 20))
        distances = top_k(points, points, 10, same=True)[1]
        assert abs(intrinsic_dimension(distances) - d) < 0.12 * d + 0.05


def test_chance_makes_few_near_pairs_whatever_the_dimension():
    for d in (1, 2, 3, 10, 40):
        number = sum(len(near_pairs(np.random.default_rng(seed).normal(size=(500, d))).i) for seed in range(10))
        assert number <= 15  # 0.5 expected in each of ten sets; brute force over seeds allows for the tail


def test_planted_near_copies_are_found():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 10))
    copies = points[:20] + 0.01 * rng.normal(size=(20, 10))
    pairs = near_pairs(np.vstack([points, copies]))
    assert {(i, 300 + i) for i in range(20)} <= set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
    assert len(pairs.i) <= 22
    assert (pairs.score[pairs.j >= 300] > 0.8).all()


def test_scale_does_not_matter():
    points = np.random.default_rng(3).normal(size=(200, 4))
    points[7] = points[3] + 1e-4
    a, b = near_pairs(points), near_pairs(points * 1e4)
    assert a.i.tolist() == b.i.tolist()
    assert (3, 7) in set(zip(a.i.tolist(), a.j.tolist(), strict=True))


def test_texts_against_brute_force():
    rng = np.random.default_rng(0)
    words = np.array([f"word{k}" for k in range(300)])
    texts = [" ".join(rng.choice(words, 30)) for _ in range(60)]
    texts += [t.replace(t.split()[4], "changed") for t in texts[:8]]
    x = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    cosines = (x @ x.T).toarray()
    wanted = {(i, j) for i in range(68) for j in range(i + 1, 68) if cosines[i, j] >= 0.8}
    pairs = text_pairs(texts)
    assert set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True)) == wanted
    assert {(i, 60 + i) for i in range(8)} <= wanted
    for i, j, score in zip(pairs.i, pairs.j, pairs.score, strict=True):
        assert abs(score - (0.5 + 2.5 * (cosines[i, j] - 0.8))) < 1e-5


def test_texts_without_words_have_no_pairs():
    assert len(text_pairs(["", "?", "!"]).i) == 0


def test_recompressed_and_resized_photographs():
    photo = Image.fromarray(load_sample_image("china.jpg"))
    pictures = [photo.crop((x, y, x + 48, y + 48)) for x in range(0, 580, 64) for y in range(0, 370, 64)]
    pictures = [p for p in pictures if np.asarray(p.convert("L")).std() > 20]  # bare sky looks alike
    n = len(pictures)
    pictures += [p.resize((36, 36)).resize((48, 48)) for p in pictures[:5]] + [
        p.point(lambda v: min(255, int(v * 1.1))) for p in pictures[5:10]
    ]
    raw = []
    for k, picture in enumerate(pictures):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG" if k >= n else "PNG")
        raw.append(buffer.getvalue())
    look = look_at(Dataset(inputs=Images(raw)))
    pairs = near_pairs(look.thumbs, hashes=look.hashes)
    found = set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
    wanted = {(k, n + k) for k in range(10)}
    assert len(wanted & found) >= 9
    assert len(found - wanted) <= 2


def test_near_findings_name_the_closest_earlier_example():
    data = Dataset(inputs=np.zeros((4, 1)), ids=list("wxyz"))
    pairs = Pairs(i=np.array([0, 1, 0]), j=np.array([2, 2, 3]), score=np.array([0.6, 0.9, 0.7]))
    found = near_duplicates(data, pairs)
    assert found.index.tolist() == [2, 3]
    assert found.score.tolist() == [0.9, 0.7]
    assert found.reason == ["almost the same as id x", "almost the same as id w"]


def test_leaks_against_brute_force():
    rng = np.random.default_rng(0)
    content = rng.integers(0, 25, 60)
    split = rng.choice(["train", "val", "test"], 60)
    data = Dataset(inputs=content[:, None].astype(float))
    found = split_leaks(data, split, exact_copies(data.inputs), NO_PAIRS)
    wanted = [i for i in range(60) if any(content[i] == content[j] and split[i] != split[j] for j in range(60))]
    assert found.index.tolist() == wanted
    assert sum(found.facts["between"].values()) == len(wanted)


def test_near_leaks_flag_both_sides():
    data = Dataset(inputs=np.zeros((3, 1)), ids=list("abc"))
    pairs = Pairs(i=np.array([0, 0]), j=np.array([1, 2]), score=np.array([0.8, 0.7]))
    found = split_leaks(data, np.array(["train", "train", "test"]), np.arange(3), pairs)
    assert found.index.tolist() == [0, 2]
    assert found.reason == ["in train, and almost the same in test (id c)", "in test, and almost the same in train (id a)"]
    assert found.facts["between"] == {"test / train": 2}
