"""Confident learning against a slow transcription of its definitions, planted noise and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelwright.audit import LabelErrorFinder, _confident as core, find_label_errors, find_multilabel_errors, label_errors_streaming
from labelwright.audit.label_errors import FILTERS, SCORES
from labelwright.data import Dataset
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels
from labelwright.signals import Signals


def planted(n=600, c=5, noise=0.2, sharp=3.0, seed=0, dtype=np.float64):
    """(given, true, probs): class i is mistaken for i + 1 only; every class occurs."""
    rng = np.random.default_rng(seed)
    true = np.arange(n) % c
    logits = rng.normal(size=(n, c)) + rng.normal(size=c) / 3
    logits[np.arange(n), true] += sharp
    probs = np.exp(logits)
    labels = np.where(rng.random(n) < noise, (true + 1) % c, true)
    return labels, true, (probs / probs.sum(1, keepdims=True)).astype(dtype)


def brute(labels, probs, *, overall=True, min_examples=1):
    """All five filters, one example and one pair at a time."""
    n, c = probs.shape
    counts = [int((labels == j).sum()) for j in range(c)]
    t = [max(2e-6, probs[labels == j, j].mean()) if counts[j] else math.inf for j in range(c)]
    pairs, off = np.zeros((c, c)), np.zeros(n, dtype=bool)
    for i in range(n):
        reached = [j for j in range(c) if probs[i, j] >= t[j] - 1e-6]
        if reached:
            pool = range(c) if overall and len(reached) > 1 else reached
            g = max(pool, key=lambda j: (probs[i, j], -j))
            pairs[labels[i], g] += 1
            off[i] = g != labels[i]
    credited = pairs.copy()
    for j in range(c):
        credited[j, j] = max(1, credited[j, j])
    scaled = credited / credited.sum(1, keepdims=True) * np.array(counts)[:, None]
    joint = np.round(scaled)
    for i in range(c):  # largest remainders take what is missing
        while joint[i].sum() < counts[i]:
            joint[i, np.argmax(scaled[i] - joint[i])] += 1
        while joint[i].sum() > counts[i]:
            joint[i, np.argmin(scaled[i] - joint[i])] -= 1
    by_class, by_pair = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for i in range(c):
        rows = np.flatnonzero(labels == i)
        if counts[i] <= min_examples:
            continue
        keep = max(joint[i, i], min_examples)
        lack = keep - joint[i, i]
        nonzero = max(1, sum(joint[i, j] > 0 for j in range(c) if j != i))
        by_class[sorted(rows, key=lambda r: (probs[r, i], r))[: int(counts[i] - keep)]] = True
        for j in range(c):
            number = math.floor(max(0, joint[i, j] - lack / nonzero))
            if j != i and number:
                by_pair[sorted(rows, key=lambda r: (-(probs[r, j] - probs[r, i]), r))[:number]] = True
    wrong = np.array([int(np.argmax(p + 1e-6 * (np.arange(c) == y))) != y for p, y in zip(probs, labels, strict=True)])
    masks = {
        "prune_by_class": by_class,
        "prune_by_noise_rate": by_pair,
        "both": by_class & by_pair,
        "confident_learning": off,
        "predicted_neq_given": wrong,
    }
    return {k: v & wrong for k, v in masks.items()}, pairs, joint


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "c", "sharp"), [(150, 3, 1.0), (400, 8, 2.0), (60, 2, 1.5), (90, 12, 0.7)])
def test_all_filters_against_the_definitions(n, c, sharp, seed):
    labels, _, probs = planted(n=n, c=c, sharp=sharp, seed=seed)
    for collisions in ("overall", "confident"):
        masks, pairs, joint = brute(labels, probs, overall=collisions == "overall")
        # equal remainders may be rounded either way; compare the flags only where the joint leaves no choice
        found = find_label_errors(labels, probs, filter_by="confident_learning", collisions=collisions)
        np.testing.assert_array_equal(found.pairs, pairs)
        np.testing.assert_array_equal(found.mask, masks["confident_learning"])
        assert np.abs(found.joint - joint).max() <= 1
        for filter_by in FILTERS:
            found = find_label_errors(labels, probs, filter_by=filter_by, collisions=collisions)
            if (found.joint == joint).all() or filter_by in ("confident_learning", "predicted_neq_given"):
                np.testing.assert_array_equal(found.mask, masks[filter_by], err_msg=filter_by)


def test_the_joint_of_three_examples():
    # t = (0.9 + 0.2) / 2, 0.6; rows 0 and 2 reach their own class, row 1 reaches class 1
    found = find_label_errors([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], filter_by="confident_learning")
    np.testing.assert_allclose(found.thresholds, [0.55, 0.6])
    np.testing.assert_array_equal(found.pairs, [[1, 1], [0, 1]])
    np.testing.assert_array_equal(found.joint, [[1, 1], [0, 1]])
    assert found.mask.tolist() == [False, True, False]
    assert found.suggested.tolist() == [0, 1, 1]
    np.testing.assert_allclose(found.score, [0.1, 0.8, 0.4])
    assert found.noise_rate == pytest.approx(1 / 3)
    np.testing.assert_allclose(found.given_if_true, [[1, 0.5], [0, 0.5]])
    np.testing.assert_allclose(found.true_if_given, [[0.5, 0.5], [0, 1]])
    np.testing.assert_allclose(found.true_shares, [1 / 3, 2 / 3])


def test_collision_takes_the_reached_class_when_asked():
    # thresholds: class 0 from its sure examples 0.9, classes 1 and 2 about 0.3; the last row is (0.4, 0.32, 0.28), given 0 or not
    probs = np.array([[0.9, 0.05, 0.05]] * 20 + [[0.36, 0.32, 0.32]] * 2 + [[0.4, 0.3, 0.3]] * 2 + [[0.42, 0.31, 0.27]])
    labels = np.array([0] * 20 + [1, 2, 1, 2] + [2])
    overall, paper = (find_label_errors(labels, probs, filter_by="confident_learning", collisions=c) for c in ("overall", "confident"))
    assert overall.thresholds[0] == pytest.approx(0.9)
    assert overall.pairs[2, 0] == 1  # row 20..: 0.32 reaches both small thresholds, 0.36 is the largest but not confident
    assert paper.pairs[:, 0].tolist() == [20, 0, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_planted_noise_is_found_and_measured(dtype):
    labels, true, probs = planted(n=4000, c=5, noise=0.2, sharp=6, dtype=dtype)
    wrong = labels != true
    found = find_label_errors(labels, probs)
    assert (found.mask & wrong).sum() / wrong.sum() > 0.97
    assert (found.mask & wrong).sum() / found.mask.sum() > 0.97
    assert found.noise_rate == pytest.approx(wrong.mean(), abs=0.01)
    assert (found.suggested[found.mask & wrong] == true[found.mask & wrong]).mean() > 0.97
    rates = found.given_if_true
    for j in range(5):
        assert rates[(j + 1) % 5, j] == pytest.approx(0.2, abs=0.04)
    assert found.score[wrong].min() > np.median(found.score)
    assert set(found.ranked) == set(np.flatnonzero(found.mask))
    assert (np.diff(found.score[found.ranked]) <= 0).all()


def test_scores_in_closed_form():
    probs = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1]])
    labels = np.array([0, 0, 1, 2])
    score = {s: find_label_errors(labels, probs, score=s).score for s in SCORES}
    np.testing.assert_allclose(score["self_confidence"], [0.3, 0.75, 1.0, 0.9])
    np.testing.assert_allclose(score["normalized_margin"], [(1 - 0.5) / 2, (1 + 0.25) / 2, 1.0, (1 + 0.7) / 2])
    entropy = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)) / math.log(3)
    w = entropy / 0.7
    assert score["confidence_weighted_entropy"][0] == pytest.approx(1 - math.log(1 + w) / w)
    # certain and right: no error at all; certain and wrong: as if the given label had probability 1e-6
    certain = find_label_errors([0, 1, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], score="confidence_weighted_entropy").score
    w = (-1e-6 * math.log(1e-6) - (1 - 1e-6) * math.log1p(-1e-6)) / math.log(2) / 1e-6
    np.testing.assert_allclose(certain, [0, 1 - math.log(1 + w) / w, 0], rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(20, 80))
def test_order_of_rows_and_names_of_classes_do_not_matter(seed, c, n):
    labels, _, probs = planted(n=n, c=c, sharp=1.5, seed=seed)
    if len(np.unique(labels)) < c:
        return
    rng = np.random.default_rng(seed)
    rows, names = rng.permutation(n), rng.permutation(c)
    place = np.argsort(names)
    for filter_by in ("confident_learning", "predicted_neq_given", "prune_by_class"):
        plain = find_label_errors(labels, probs, filter_by=filter_by)
        shuffled = find_label_errors(labels[rows], probs[rows], filter_by=filter_by)
        renamed = find_label_errors(place[labels], probs[:, names], filter_by=filter_by)
        np.testing.assert_array_equal(plain.pairs, shuffled.pairs)
        np.testing.assert_array_equal(plain.pairs, renamed.pairs[np.ix_(place, place)])
        if (plain.joint == shuffled.joint).all():
            np.testing.assert_array_equal(plain.mask[rows], shuffled.mask)
        if (plain.joint == renamed.joint[np.ix_(place, place)]).all():
            np.testing.assert_array_equal(plain.mask, renamed.mask)
        assert not plain.mask[probs.argmax(1) == labels].any()
        assert (plain.joint.sum(1) == np.bincount(labels, minlength=c)).all()


def test_ties_are_flagged_in_order_of_rows():
    probs = np.array([[0.2, 0.8]] * 4 + [[0.9, 0.1]] * 4 + [[0.1, 0.9]] * 8)
    labels = np.array([0] * 8 + [1] * 8)
    rows = core.read_rows(labels, probs)
    chosen = core.prune_by_class(labels, rows, np.array([8, 8]), np.array([[6, 2], [0, 8]]), 1)
    assert np.flatnonzero(chosen).tolist() == [0, 1]
    chosen = core.prune_by_noise_rate(labels, probs, rows, np.array([8, 8]), np.array([[6, 2], [0, 8]]), 1)
    assert np.flatnonzero(chosen).tolist() == [0, 1]


def test_rounding_keeps_sums():
    assert core.round_keeping_sum(np.array([2.6, 1.3, 0.1])).tolist() == [3, 1, 0]
    assert core.round_keeping_sum(np.array([1.45, 1.3, 1.25])).tolist() == [2, 1, 1]  # the largest remainder takes what is missing
    assert core.round_keeping_sum(np.array([1.55, 1.7, 1.75])).tolist() == [1, 2, 2]
    for seed in range(20):
        x = np.random.default_rng(seed).random(7) * 5
        r = core.round_keeping_sum(x)
        assert r.sum() == round(x.sum())
        assert np.abs(r - x).max() < 1


def test_small_classes_are_left_alone_and_min_examples_kept():
    labels, _, probs = planted(n=200, c=4, sharp=0.5, seed=3)
    for m in (1, 30, 45):
        mask = find_label_errors(labels, probs, filter_by="prune_by_class", min_examples=m).mask
        kept = np.bincount(labels[~mask], minlength=4)
        assert (kept >= np.minimum(m, np.bincount(labels, minlength=4))).all()
    alone = np.where(np.arange(200) == 0, 3, np.minimum(labels, 2))  # class 3 has one example, which looks like class 0
    certain = np.vstack([[[0.97, 0.01, 0.01, 0.01]], probs[1:]])
    for filter_by in ("prune_by_class", "prune_by_noise_rate", "both"):
        assert not find_label_errors(alone, certain, filter_by=filter_by).mask[0]
    assert find_label_errors(alone, certain, filter_by="predicted_neq_given").mask[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("filter_by", FILTERS)
def test_streaming_gives_the_same_flags(filter_by, dtype):
    labels, _, probs = planted(n=900, c=7, sharp=1.0, seed=5, dtype=dtype)
    for score in SCORES:
        whole = find_label_errors(labels, probs, filter_by=filter_by, score=score)
        for size in (1, 64, 900):
            if size == 1 and score != "self_confidence":
                continue
            parts = [(labels[i : i + size], probs[i : i + size]) for i in range(0, 900, size)]
            got = label_errors_streaming([*parts, (labels[:0], probs[:0])], filter_by=filter_by, score=score)
            np.testing.assert_array_equal(got.index, np.flatnonzero(whole.mask))
            np.testing.assert_allclose(got.score, whole.score[whole.mask], rtol=1e-6)
            np.testing.assert_array_equal(got.suggested, whole.suggested[whole.mask])
            np.testing.assert_array_equal(got.given, labels[whole.mask])
            np.testing.assert_array_equal(got.joint, whole.joint)
            assert (got.n, got.noise_rate) == (900, whole.noise_rate)


def test_streaming_with_ties_everywhere():
    rng = np.random.default_rng(0)
    raw = rng.integers(1, 4, (500, 3)).astype(float)
    probs, labels = raw / raw.sum(1, keepdims=True), rng.integers(0, 3, 500)
    for filter_by in FILTERS:
        got = label_errors_streaming([(labels[i : i + 33], probs[i : i + 33]) for i in range(0, 500, 33)], filter_by=filter_by)
        np.testing.assert_array_equal(got.index, np.flatnonzero(find_label_errors(labels, probs, filter_by=filter_by).mask))


def test_streaming_refuses_what_it_cannot_read_twice():
    labels, _, probs = planted(n=60)
    with pytest.raises(InputError, match="only once"):
        label_errors_streaming((labels, probs) for _ in range(1))

    class Draining:
        def __init__(self):
            self.left = 4

        def __iter__(self):
            self.left -= 1
            return iter([(labels, probs)] * self.left)

    with pytest.raises(InputError, match="when first read"):
        label_errors_streaming(Draining())
    with pytest.raises(InputError, match="columns"):
        label_errors_streaming([(labels, probs), (np.zeros(60, int), probs[:, :2] / probs[:, :2].sum(1, keepdims=True))])
    with pytest.raises(InputError, match="N = 0"):
        label_errors_streaming([])


def test_a_memory_map_a_path_and_other_layouts_give_the_same(tmp_path, monkeypatch):
    labels, _, probs = planted(n=300, c=6, sharp=1, seed=2)
    expected = find_label_errors(labels, probs, score="normalized_margin")
    np.save(tmp_path / "probs.npy", probs)
    variants = [str(tmp_path / "probs.npy"), np.load(tmp_path / "probs.npy", mmap_mode="r"), np.asfortranarray(probs), probs.tolist()]
    monkeypatch.setattr(core, "BLOCK_BYTES", 7 * 6 * 8)  # seven rows a block
    monkeypatch.setattr(core, "GATHER_ELEMENTS", 40)
    for variant in variants:
        got = find_label_errors(labels, variant, score="normalized_margin")
        np.testing.assert_array_equal(got.mask, expected.mask)
        np.testing.assert_array_equal(got.score, expected.score)


def test_inputs_are_left_alone():
    labels, _, probs = planted()
    before = labels.copy(), probs.copy()
    for score in SCORES:
        find_label_errors(labels, probs, score=score)
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(probs, before[1])


def broken(probs, row, column, value):
    probs = probs.copy()
    probs[row, column] = value
    return probs


@pytest.mark.parametrize(
    ("labels", "probs", "words"),
    [
        (lambda y, p: y[:-1], lambda p: p, "Lengths differ"),
        (lambda y, p: y, lambda p: broken(p, 7, 1, np.nan), "first row 7"),
        (lambda y, p: y, lambda p: broken(p, 599, 1, 3.0), "first row 599"),
        (lambda y, p: y, lambda p: broken(broken(p, 9, 1, np.inf), 9, 2, -np.inf), "first row 9"),
        (lambda y, p: y, lambda p: p * 2, "600 of 600 rows"),
        (lambda y, p: y, lambda p: p[:, 0], "shape"),
        (lambda y, p: y * 0, lambda p: p[:, :1] * 0 + 1, "one class only"),
        (lambda y, p: y * 0, lambda p: p, "one class only"),
        (lambda y, p: np.minimum(y, 3), lambda p: p, "no example is labelled 4"),
        (lambda y, p: np.where(np.arange(600) == 11, 5, y), lambda p: p, "first row 11"),
        (lambda y, p: y - 1, lambda p: p, "0..4"),
        (lambda y, p: y + 0.5, lambda p: p, "integer"),
        (lambda y, p: y[:0], lambda p: p[:0], "N = 0"),
        (lambda y, p: y, lambda p: p.astype(str), "numbers"),
        (lambda y, p: y, lambda p: "nowhere/probs.npy", "does not exist"),
    ],
)
def test_bad_input_is_one_clear_line(labels, probs, words):
    y, _, p = planted()
    with pytest.raises(InputError, match=words) as caught:
        find_label_errors(labels(y, p), probs(p))
    assert "\n" not in str(caught.value)


def test_unknown_options_are_refused():
    y, _, p = planted()
    with pytest.raises(InputError, match="prune_by_class"):
        find_label_errors(y, p, filter_by="prune_by_clas")
    with pytest.raises(InputError, match="normalized_margin"):
        LabelErrorFinder(score="margin")


def test_empty_classes_when_allowed_are_never_counted_into():
    y, _, p = planted(n=1000, sharp=4)
    keep = y != 4
    found = find_label_errors(y[keep], p[keep], filter_by="confident_learning", allow_empty=True)
    assert np.isinf(found.thresholds[4])
    assert found.pairs[:, 4].sum() == 0
    assert found.joint[4].sum() == 0
    assert found.true_if_given[4].sum() == 0
    masks, _, _ = brute(y[keep], p[keep])
    np.testing.assert_array_equal(found.mask, masks["confident_learning"])


def multi(n=400, c=4, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.random((n, c)) < 0.4
    probs = 1 / (1 + np.exp(-(rng.normal(size=(n, c)) + np.where(true, 2.5, -2.5))))
    wrong = rng.random((n, c)) < 0.08
    return (true ^ wrong).astype(np.int64), probs, wrong


@pytest.mark.parametrize("filter_by", FILTERS)
def test_multilabel_is_one_against_the_rest(filter_by):
    labels, probs, wrong = multi()
    found = find_multilabel_errors(labels, probs, filter_by=filter_by)
    for j in range(4):
        masks, _, joint = brute(labels[:, j], np.stack([1 - probs[:, j], probs[:, j]], 1))
        np.testing.assert_array_equal(found.joint[j], joint)
        np.testing.assert_array_equal(found.cells[:, j], masks[filter_by])
    np.testing.assert_array_equal(found.mask, found.cells.any(1))
    np.testing.assert_array_equal(found.suggested != labels, found.cells)
    assert (found.cells & wrong).sum() / wrong.sum() > 0.75
    assert found.score[wrong.any(1)].mean() > found.score[~wrong.any(1)].mean() + 0.3


def test_multilabel_pooling_and_unknown_cells():
    labels, probs = np.array([[1, 0, 1], [1, -1, 0], [0, 1, 1], [-1, -1, -1]]), np.array([[0.9, 0.2, 0.4]] * 4)
    found = find_multilabel_errors(labels, probs)
    # cells 0.1, 0.2, 0.6: 0.8 * 0.6 + 0.2 * (0.8 * 0.2 + 0.2 * 0.1)
    assert found.score[0] == pytest.approx(0.8 * 0.6 + 0.2 * (0.8 * 0.2 + 0.2 * 0.1))
    assert found.score[1] == pytest.approx(0.8 * 0.4 + 0.2 * 0.1)
    assert found.score[3] == 0
    assert found.suggested[3].tolist() == [-1, -1, -1]
    assert not found.cells[labels < 0].any()
    with pytest.raises(InputError, match="1, 0 or -1"):
        find_multilabel_errors(labels + 1, probs)
    with pytest.raises(InputError, match=r"row 0, column 0"):
        find_multilabel_errors(labels, probs * 4)


def dataset(labels, names=("ant", "bee", "cat", "dog", "eel")):
    return Dataset(inputs=np.random.default_rng(0).normal(size=(len(labels), 3)), labels=ClassLabels(values=labels, names=names))


def test_auditor_gives_a_row_for_every_example():
    y, _, p = planted(n=300, sharp=5)
    y = y.copy()
    y[3] = -1
    data = dataset(y)
    audit = LabelErrorFinder().audit(data, signals=Signals.from_probs(p, out_of_sample=True, source="test"), seed=0)
    frame, known = audit.findings, y >= 0
    found = find_label_errors(y[known], p[known].astype(np.float32))
    assert frame["index"].to_list() == list(range(300))
    assert set(frame["issue"]) == {"label_error"}
    np.testing.assert_array_equal(frame["flagged"].to_numpy()[known], found.mask)
    np.testing.assert_allclose(frame["score"].to_numpy()[known], found.score, atol=1e-6)
    assert frame.row(3, named=True) | {"score": 0.0, "flagged": False, "given": None, "reason": "no label"} == frame.row(3, named=True)
    worst = frame.filter("flagged").sort("score", descending=True).row(0, named=True)
    names = data.labels.names
    assert worst["given"] == names[y[worst["index"]]]
    assert worst["suggested"] == names[p[worst["index"]].argmax()]
    assert f"{p[worst['index']].max():.3f} for {worst['suggested']}" in worst["reason"]
    agree = frame.filter(frame["given"] == frame["suggested"])
    assert len(agree) == 0
    assert audit.facts["noise_rate"] == pytest.approx(found.noise_rate)
    assert audit.facts["confused_pairs"][0]["examples"] == max(found.joint[i, j] for i in range(5) for j in range(5) if i != j)
    assert audit.counts() == {"label_error": int(found.mask.sum())}


def test_auditor_refuses_in_sample_probabilities_and_empty_classes():
    y, _, p = planted(n=100)
    inside = Signals.from_probs(p, out_of_sample=False, source="training fit")
    with pytest.raises(InputError, match="in-sample"):
        LabelErrorFinder().audit(dataset(y), signals=inside, seed=0)
    outside = Signals.from_probs(p, out_of_sample=True, source="test")
    with pytest.raises(InputError, match="'eel'"):
        LabelErrorFinder().audit(dataset(np.minimum(y, 3)), signals=outside, seed=0)
    allowed = LabelErrorFinder(allow_empty=True).audit(dataset(np.minimum(y, 3)), signals=outside, seed=0)
    assert len(allowed.findings) == 100
    with pytest.raises(InputError, match="5 columns"):
        LabelErrorFinder().audit(dataset(y % 2, names=("a", "b")), signals=outside, seed=0)
    with pytest.raises(InputError, match="Lengths differ"):
        LabelErrorFinder().audit(dataset(y[:50]), signals=outside, seed=0)
    with pytest.raises(InputError, match="no labels"):
        LabelErrorFinder().audit(Dataset(inputs=np.zeros((3, 2))), signals=outside, seed=0)


def test_auditor_of_multilabels():
    labels, probs, wrong = multi(n=120)
    data = Dataset(inputs=np.zeros((120, 2)), labels=MultiLabels(values=labels, names=("w", "x", "y", "z")))
    audit = LabelErrorFinder().audit(data, signals=Signals(probs=probs, out_of_sample=True, probs_source="test"), seed=0)
    found = find_multilabel_errors(labels, probs.astype(np.float32))
    np.testing.assert_array_equal(audit.findings["flagged"].to_numpy(), found.mask)
    i = int(np.flatnonzero(found.mask)[0])
    row = audit.findings.row(i, named=True)
    assert row["given"] == ", ".join(n for n, v in zip("wxyz", labels[i], strict=True) if v)
    assert row["suggested"] == ", ".join(n for n, v in zip("wxyz", found.suggested[i], strict=True) if v)
    assert audit.facts["noise_rate"] == pytest.approx(wrong.mean(), abs=0.03)


def test_without_signals_probabilities_are_made_here():
    rng = np.random.default_rng(0)
    true = np.arange(120) % 2
    x = rng.normal(size=(120, 3)) + 4 * true[:, None]
    given_ = np.where(np.arange(120) % 10 == 0, 1 - true, true)
    audit = LabelErrorFinder().audit(Dataset(inputs=x, labels=ClassLabels(values=given_, names=("a", "b"))), seed=0)
    flagged = np.flatnonzero(audit.findings["flagged"].to_numpy())
    assert set(flagged) <= set(range(0, 120, 10))
    assert len(flagged) >= 8
    assert "cross-validated" in audit.facts["probabilities"]
