"""What experts' answers say: rules by hand, unbiasedness against a known truth, brute force over subsets, scikit-learn's scores."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from labelwright.audit.judge_ensemble.ensemble import combine, disagreements
from labelwright.audit.judge_ensemble.evaluation import (
    audited_rate,
    closer_by_bin,
    confirmed_rate,
    detection,
    gold_labels,
    precision_by_bin,
    rescore,
    size_curve,
)
from labelwright.errors import InputError


def simulated(n=5000, judges=8, *, seed=0):
    """Binary truth, 12 % wrong labels, judges that share the difficulty of an item: truth, labels, probabilities (J, N, 2)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    given = np.where(rng.random(n) < 0.12, 1 - truth, truth)
    ease = rng.normal(2.0, 1.5, n)
    logit = (2 * truth - 1) * ease + rng.normal(0, 1.5, (judges, n))
    p = 1 / (1 + np.exp(-logit))
    return truth, given, np.stack([1 - p, p], axis=2)


def test_the_gold_rule_as_a_table():
    given, agree = [1, 1, 1, 1, 1, 1], [True, True, True, False, False, False]
    expert = [1, 0, -1, 1, 0, -1]
    disagrees = ~np.array(agree)
    assert gold_labels(given, disagrees, expert).tolist() == [1, 1, 1, 1, 0, -1]
    assert gold_labels(given, disagrees, expert, trust_agreeing=False).tolist() == [1, 0, 1, 1, 0, -1]


def test_precision_counts_the_disagreements_somebody_looked_at():
    made = combine([[[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.9, 0.1]]])
    bins = precision_by_bin(made, [1, 1, 1, 1, 0], [0, 1, -1, 0, 0], (0.5, 0.8, 1.0), seed=0)
    assert [(b.n, b.share.value) for b in bins] == [(1, 1.0), (2, 0.5)]


def test_who_is_closer_on_a_scale():
    made = combine([np.eye(5)[[4, 4, 4, 4]]])
    (row,) = closer_by_bin(made, [0, 0, 0, 3], [4, 1, 2, 4], (0.2, 1.0), seed=0)  # ensemble, label, tie; the last is adjacent: no dispute
    assert (row.ensemble.value, row.given, row.tie) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert row.ensemble.n == 3


def test_the_confirmed_share_is_a_lower_bound_and_the_audited_rate_is_unbiased():
    """Known truth, all disagreements and 200 random agreeing examples looked at, 300 times."""
    truth, given, probs = simulated(4000, 3, seed=2)
    d = disagreements(combine(probs).probs, given)
    rate = float((truth != given).mean())
    rng = np.random.default_rng(0)
    estimates, covered = [], 0
    for _ in range(300):
        seen = d.copy()
        seen[rng.permutation(np.flatnonzero(~d))[:200]] = True
        expert = np.where(seen, truth, -1)
        lower = confirmed_rate(given, d, expert)
        assert lower.value <= rate
        estimate = audited_rate(d.astype(int), given, expert)
        estimates.append(estimate.value)
        covered += estimate.low <= rate <= estimate.high
    assert np.mean(estimates) == pytest.approx(rate, abs=3 * np.std(estimates) / np.sqrt(300))
    assert covered / 300 >= 0.93
    everything = audited_rate(d.astype(int), given, truth)
    assert (everything.low, everything.value, everything.high) == pytest.approx((rate, rate, rate))


def test_bins_as_strata_stay_unbiased_when_confident_disputes_are_looked_at_more():
    truth, given, probs = simulated(4000, 3, seed=3)
    made = combine(probs)
    d = disagreements(made.probs, given)
    strata = np.where(d, 1 + (made.confidence > 0.8), 0)
    rate, rng = float((truth != given).mean()), np.random.default_rng(1)
    found = []
    for _ in range(200):
        expert = np.full(4000, -1)
        for s, n in ((0, 150), (1, 40), (2, 200)):
            rows = rng.permutation(np.flatnonzero(strata == s))[:n]
            expert[rows] = truth[rows]
        found.append(audited_rate(strata, given, expert).value)
    assert np.mean(found) == pytest.approx(rate, abs=3 * np.std(found) / np.sqrt(200))


def test_detection_by_hand():
    rows = detection([[True, True, False, False], [False] * 4], [True, False, True, False])
    assert rows["f1"].tolist() == [0.5, 0.0]
    assert (rows["precision"][0], rows["recall"][0]) == (0.5, 0.5)
    perfect = detection([True, False], [True, False])
    assert (perfect["precision"], perfect["recall"], perfect["f1"]) == (1, 1, 1)


def test_scores_under_both_labels_against_scikit_learn():
    rng = np.random.default_rng(4)
    gold = rng.integers(0, 3, 300)
    original = np.where(rng.random(300) < 0.2, (gold + 1) % 3, gold)
    good, poor = (np.eye(3)[gold] * k + rng.dirichlet(np.ones(3), 300) for k in (1.0, 0.2))
    copy = np.eye(3)[original] * 0.6 + rng.dirichlet(np.ones(3), 300)
    models = {k: v / v.sum(1, keepdims=True) for k, v in {"good": good, "poor": poor, "copies the labels": copy}.items()}
    rows = {r["name"]: r for r in rescore(models, original, gold)}
    for name, p in models.items():
        for kind, y in (("original", original), ("gold", gold)):
            s = rows[name][kind]
            assert s.auroc == pytest.approx(np.mean([roc_auc_score(y == c, p[:, c]) for c in range(3)]))
            assert s.f1 == pytest.approx(f1_score(y, p.argmax(1), average="weighted"))
            assert s.accuracy == pytest.approx((p.argmax(1) == y).mean())
    assert rows["good"]["rank_gold"] == 1
    assert rows["copies the labels"]["rank_original"] == 1
    assert rows["good"]["rise"] == rows["good"]["rank_original"] - 1
    with pytest.raises(InputError, match="no example with both"):
        rescore({"silent": np.full((300, 3), np.nan)}, original, gold)


def test_the_curve_equals_all_subsets_by_brute_force():
    truth, given, probs = simulated(400, 4, seed=5)
    wrong = given != truth
    rows = size_curve(probs, given, truth, permutations=600, area=False, seed=0)
    for size in range(1, 5):
        exact = [detection(disagreements(combine(probs[list(s)]).probs, given), wrong)["f1"] for s in combinations(range(4), size)]
        spread = np.std(exact) / np.sqrt(600)
        assert rows[size - 1]["f1"] == pytest.approx(np.mean(exact), abs=4 * spread + 1e-9)
    whole = combine(probs)
    last = size_curve(probs, given, truth, permutations=20, seed=0)[-1]
    assert last["auroc_sd"] == 0  # there is one panel of all
    assert last["auroc"] == pytest.approx(roc_auc_score(truth, whole.probs[:, 1]))
    assert last["f1_sd"] == 0


def test_gold_of_one_class_has_no_roc_area():
    probs = simulated(50, 2, seed=6)[2]
    row = size_curve(probs, np.zeros(50, int), np.zeros(50, int), permutations=2, seed=0)[-1]
    assert np.isnan(row["auroc"])
    assert row["f1"] == 0


def test_larger_panels_detect_more_and_confidence_means_precision():
    truth, given, probs = simulated()
    rows = size_curve(probs, given, truth, permutations=10, area=False, seed=0)
    f1 = [r["f1"] for r in rows]
    assert all(b >= a for a, b in pairwise(f1))
    assert f1[-1] - f1[0] >= 0.1
    shares = [b.share.value for b in precision_by_bin(combine(probs), given, truth, (0.5, 0.65, 0.8, 0.95, 1.0), seed=0)]
    assert all(b > a for a, b in pairwise(shares))
    assert shares[-1] >= 0.9
