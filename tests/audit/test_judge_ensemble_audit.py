"""The auditor on datasets: findings that `annotate correct` follows, cleaning with controls, experts, votes, files, cheap judges first."""

import numpy as np
import polars as pl
import pytest

from labelwright.annotate.correct import correct
from labelwright.audit.judge_ensemble import JudgeEnsemble
from labelwright.audit.judge_ensemble.experts import blind_questions, random_check, read_gold
from labelwright.audit.judge_ensemble.mitigation import clean, random_flags, random_labels
from labelwright.data import Dataset
from labelwright.data.corrupt import symmetric
from labelwright.data.inputs import Texts
from labelwright.errors import InputError
from labelwright.judges import Budget, CallableJudge
from labelwright.labels import ClassLabels, MultiLabels, Votes
from labelwright.signals import Signals

NAMES = ("angry", "calm", "glad")


def case(n=240, *, noise=0.15, seed=0):
    """Texts that name their true class and their number; a share of labels wrong: dataset, truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    wrong = rng.random(n) < noise
    y = np.where(wrong, (truth + 1) % 3, truth)
    texts = Texts([f"{NAMES[t]} {i}" for i, t in enumerate(truth)])
    return Dataset(inputs=texts, labels=ClassLabels(values=y, names=NAMES), ids=[f"t{i}" for i in range(n)]), truth


def reader(name, *, p=0.9, silent=0, wrong=0, classes=NAMES, seed=1, log=None):
    """A judge that reads the class in the text with probability p; it fails on every `silent`-th text and errs on every `wrong`-th."""

    def say(items):
        rows = []
        for text in items:
            word, number = text.split()
            if log is not None:
                log.append(text)
            row = np.full(len(classes), (1 - p) / (len(classes) - 1))
            row[(classes.index(word) + (1 if wrong and int(number) % wrong == 0 else 0)) % len(classes)] = p
            rows.append(np.full(len(classes), np.nan) if silent and int(number) % silent == 0 else row)
        return np.array(rows)

    return CallableJudge(name=name, classes=classes, function=say)


def test_findings_name_the_errors_and_correct_restores_the_truth():
    data, truth = case()
    result = JudgeEnsemble(judges=(reader("a"), reader("b", p=0.99))).audit(data, seed=0)
    wrong = data.labels.values != truth
    rows = result.findings
    assert rows.height == len(data)
    assert np.array_equal(rows.get_column("flagged").to_numpy(), wrong)
    assert rows.get_column("score").to_numpy()[wrong] == pytest.approx(np.full(wrong.sum(), (0.9 + 0.99) / 2))
    assert rows.filter("flagged").get_column("suggested").to_list() == [NAMES[t] for t in truth[wrong]]
    assert rows.filter(~pl.col("flagged")).get_column("suggested").null_count() == int((~wrong).sum())
    assert "2 of 2 judges say" in rows.filter("flagged").get_column("reason")[0]
    relabelled, _ = correct(data, result)
    assert np.array_equal(relabelled.labels.values, truth)
    dropped, _ = correct(data, result, how="drop")
    assert len(dropped) == len(data) - wrong.sum()
    weighted, _ = correct(data, result, how="weight")
    assert weighted.columns["weight"][wrong] == pytest.approx(np.full(wrong.sum(), 1 - 0.945))
    assert not JudgeEnsemble(judges=(reader("a"),)).audit(relabelled, seed=0).flagged("label_error").size  # idempotent
    untouched, _ = correct(data, result, threshold=0.95)
    assert np.array_equal(untouched.labels.values, data.labels.values)


def test_judges_that_fail_are_left_out_example_by_example():
    data, _ = case()
    result = JudgeEnsemble(judges=(reader("a", silent=2), reader("b", p=0.6, silent=3))).audit(data, seed=0)
    number = np.arange(len(data))
    section = result.facts["judges"]
    assert section["abstained"] == int((number % 6 == 0).sum())
    assert [m["unknown"] for m in section["members"]] == [int((number % k == 0).sum()) for k in (2, 3)]
    assert section["members"][0]["reasons"] == {"the judge does not know": 120}
    silent = result.findings.filter(pl.col("index") % 6 == 0)
    assert set(silent.get_column("reason")) == {"no judge answered"}
    assert not silent.get_column("flagged").any()
    assert silent.get_column("score").to_list() == [0.0] * silent.height


def test_a_budget_of_nothing_leaves_everything_unknown():
    data, _ = case(30)
    judge = reader("a")
    assert judge.judge(["angry 1"], budget=Budget(calls=0)).reasons() == {"budget of 0 calls is spent": 1}
    result = JudgeEnsemble(judges=(reader("a", silent=1),)).audit(data, seed=0)
    assert result.facts["judges"]["judged"] == 0
    assert not result.findings.get_column("flagged").any()


def test_the_cheap_judge_settles_what_it_is_sure_of():
    data, truth = case()
    asked: list[str] = []
    dear = reader("dear", p=0.99, log=asked)
    result = JudgeEnsemble(judges=(reader("cheap", p=0.9, silent=10), dear), sure=0.85).audit(data, seed=0)
    number, wrong = np.arange(len(data)), data.labels.values != truth
    expected = np.flatnonzero(wrong | (number % 10 == 0))
    assert sorted(int(t.split()[1]) for t in asked) == expected.tolist()
    cost = result.facts["judges"]["cost"]
    assert cost["saved_judgements"] == len(data) - len(expected)
    assert cost["saved_share"] == pytest.approx((len(data) - len(expected)) / (2 * len(data)))
    assert np.array_equal(np.sort(result.findings.filter("flagged").get_column("index").to_numpy()), np.flatnonzero(wrong))
    asked.clear()
    JudgeEnsemble(judges=(reader("cheap", p=0.9), dear), sure=0.95).audit(data, seed=0)
    assert len(asked) == len(data)  # never sure enough


def test_experts_make_precision_rates_scores_and_a_curve(tmp_path):
    data, truth = case(600, noise=0.2)
    panel = tuple(reader(f"j{k}", p=0.8, wrong=w) for k, w in enumerate((7, 5, 11)))
    first = JudgeEnsemble(judges=panel, check_agreeing=50).audit(data, seed=0)
    disputed = first.findings.filter(pl.col("suggested").is_not_null()).get_column("id").to_list()
    check = first.facts["judges"]["random_check"]
    assert len(check) == 50
    assert not set(check) & set(disputed)
    place = data.positions([*disputed, *check])
    pl.DataFrame({"id": data.ids[place], "label": [NAMES[t] for t in truth[place]]}).write_csv(tmp_path / "gold.csv")
    again = JudgeEnsemble(judges=panel, check_agreeing=50, gold=str(tmp_path / "gold.csv"), population=6000).audit(data, seed=0)
    section, rate = again.facts["judges"], float((truth != data.labels.values).mean())
    assert section["rate"]["disagree_reviewed"] == len(disputed)
    assert section["rate"]["agree_reviewed"] == 50
    assert section["rate"]["confirmed"]["value"] <= rate
    assert section["rate"]["confirmed"]["low"] < section["rate"]["confirmed"]["value"]
    assert section["rate"]["estimate"]["low"] <= rate <= section["rate"]["estimate"]["high"]
    assert [r["size"] for r in section["curve"]] == [1, 2, 3]
    assert {m["name"] for m in section["models"]} == {"j0", "j1", "j2", "ensemble"}
    assert sum(b["reviewed"] for b in section["bins"]) == sum(b["disagree"] for b in section["bins"]) == section["disagree"]
    own = {m["name"]: m for m in section["models"]}["j0"]
    assert own["gold"]["accuracy"] > own["original"]["accuracy"]


def test_calibration_tames_an_overconfident_judge(tmp_path):
    data, truth = case(600, noise=0.2)
    panel = (reader("loud", p=0.9999, wrong=3), reader("modest", p=0.8, wrong=50))
    pl.DataFrame({"id": data.ids, "label": [NAMES[t] for t in truth]}).write_csv(tmp_path / "gold.csv")
    plain = JudgeEnsemble(judges=panel, gold=str(tmp_path / "gold.csv")).audit(data, seed=0)
    fitted = JudgeEnsemble(judges=panel, gold=str(tmp_path / "gold.csv"), calibrate=True).audit(data, seed=0)
    temperatures = [m["temperature"] for m in fitted.facts["judges"]["members"]]
    assert temperatures[0] > 2
    assert [m["temperature"] for m in plain.facts["judges"]["members"]] == [1, 1]
    assert fitted.facts["judges"]["detection"]["precision"] >= plain.facts["judges"]["detection"]["precision"]


def test_votes_are_a_panel_and_make_the_label_that_is_judged():
    votes = Votes(values=[[0, 0, 1], [1, 1, 1], [0, 1, -1], [1, 1, 0]], names=("bad", "good"), annotators=("w1", "w2", "w3"))
    data = Dataset(inputs=Texts(["a", "b", "c", "d"]), labels=votes)
    strict = JudgeEnsemble(crowd="strict", alarm="bad", theta=0.6).audit(data, seed=0)
    assert strict.findings.get_column("given").to_list() == ["bad", "good", "bad", "bad"]
    assert strict.findings.get_column("flagged").to_list() == [False, False, False, True]  # two of three say good
    majority = JudgeEnsemble().audit(data, seed=0)
    assert majority.findings.get_column("given").to_list() == ["bad", "good", None, "good"]
    assert majority.facts["judges"]["disagree"] == 0
    judge = CallableJudge(name="j", classes=("bad", "good"), function=lambda items: np.array([[0.9, 0.1]] * len(items)))
    both = JudgeEnsemble(judges=(judge,)).audit(data, seed=0).facts["judges"]["agreement"]
    assert set(both["groups"]) == {"judges", "annotators"}
    assert both["names"] == ["j", "w1", "w2", "w3", "ensemble", "given label"]


def test_annotators_with_few_votes_are_left_out_if_asked():
    votes = Votes(values=[[0, 0, 1], [1, 1, -1], [0, 1, -1], [1, 1, -1]], names=("bad", "good"), annotators=("w1", "w2", "novice"))
    data = Dataset(inputs=Texts(["a", "b", "c", "d"]), labels=votes)
    everyone = JudgeEnsemble(crowd="strict", alarm="good").audit(data, seed=0)
    assert everyone.findings.get_column("given").to_list() == ["good"] * 4
    skilled = JudgeEnsemble(crowd="strict", alarm="good", least_votes=2).audit(data, seed=0)
    assert skilled.findings.get_column("given").to_list() == ["bad", "good", "good", "good"]
    assert skilled.facts["judges"]["agreement"]["names"][:2] == ["w1", "w2"]
    with pytest.raises(InputError, match="No annotator gave 5 votes; the most is 4"):
        JudgeEnsemble(least_votes=5).audit(data, seed=0)
    with pytest.raises(InputError, match="needs votes"):
        JudgeEnsemble(least_votes=1).audit(case(20)[0], seed=0)


def test_as_many_judges_as_annotators_are_still_two_groups():
    data, truth = case(60)
    votes = Votes(values=np.stack([truth, data.labels.values], 1), names=NAMES, annotators=("w1", "w2"))
    made = JudgeEnsemble(judges=(reader("a"), reader("b"))).audit(data.with_labels(votes), seed=0).facts["judges"]["agreement"]
    assert set(made["groups"]) == {"judges", "annotators"}
    assert made["groups"]["annotators"]["pairwise"] == pytest.approx((truth == data.labels.values).mean())
    alone = JudgeEnsemble().audit(data.with_labels(votes), seed=0).facts["judges"]["agreement"]
    assert set(alone["groups"]) == {"judges"}


def test_gold_answers_as_spreadsheets_save_them(tmp_path):
    data, truth = case(30)
    data = Dataset(inputs=data.inputs, labels=data.labels, ids=np.arange(30))
    pl.DataFrame({"id": [4.0, None, 7.0], "label": [NAMES[truth[4]].upper(), "", " " + NAMES[truth[7]]]}).write_parquet(
        tmp_path / "g.parquet"
    )
    gold = read_gold(str(tmp_path / "g.parquet"), data, data.labels)
    assert gold[[4, 7]].tolist() == truth[[4, 7]].tolist()
    assert (np.delete(gold, [4, 7]) == -1).all()


def test_files_of_probabilities_and_votes_are_judges(tmp_path):
    data, truth = case()
    probs = 0.9 * np.eye(3)[truth] + 0.1 / 3
    np.save(tmp_path / "model.npy", probs)
    np.savez(tmp_path / "other.npz", probs=probs[:, ::-1], classes=np.array(NAMES[::-1]))
    Votes(values=np.stack([truth, truth], 1), names=NAMES, annotators=("x", "y")).save(tmp_path / "labels.parquet")
    files = tuple(str(tmp_path / f) for f in ("model.npy", "other.npz", "labels.parquet"))
    result = JudgeEnsemble(votes=files).audit(data, seed=0)
    assert [m["name"] for m in result.facts["judges"]["members"]] == ["model", "other", "x", "y"]
    assert np.array_equal(result.findings.get_column("flagged").to_numpy(), truth != data.labels.values)
    assert result.facts["judges"]["agreement"]["groups"]["judges"]["pairwise"] == 1


def test_without_judges_a_cross_validated_model_stands_in_and_says_so():
    data, truth = case()
    result = JudgeEnsemble(theta=0.5).audit(data, seed=0)
    assert result.facts["judges"]["stand_in"]
    assert not JudgeEnsemble(judges=(reader("a"),)).audit(data, seed=0).facts["judges"]["stand_in"]
    flagged, wrong = result.findings.get_column("flagged").to_numpy(), truth != data.labels.values
    assert wrong[flagged].mean() > 0.9


def test_probabilities_beside_judges_are_one_more_judge():
    data, truth = case()
    signals = Signals(probs=0.9 * np.eye(3)[truth] + 0.1 / 3, out_of_sample=True)
    alone = JudgeEnsemble().audit(data, signals=signals, seed=0)
    assert [m["name"] for m in alone.facts["judges"]["members"]] == ["given probabilities"]
    joined = JudgeEnsemble(judges=(reader("a", classes=("glad", "calm", "angry")),)).audit(data, signals=signals, seed=0)
    assert [m["name"] for m in joined.facts["judges"]["members"]] == ["a", "given probabilities"]
    for result in (alone, joined):
        assert np.array_equal(result.findings.get_column("flagged").to_numpy(), truth != data.labels.values)
    with pytest.raises(InputError, match="in-sample"):
        JudgeEnsemble().audit(data, signals=Signals(probs=signals.probs), seed=0)


def test_a_class_no_label_has_is_told_and_not_suggested():
    data, _ = case()
    judge = CallableJudge(name="j", classes=(*NAMES, "bored"), function=lambda items: np.array([[0.0, 0.0, 0.0, 1.0]] * len(items)))
    result = JudgeEnsemble(judges=(judge,)).audit(data, seed=0)
    assert result.findings.get_column("flagged").all()
    assert result.findings.get_column("suggested").null_count() == len(data)
    assert "say bored" in result.findings.get_column("reason")[0]
    kept, _ = correct(data, result)
    assert np.array_equal(kept.labels.values, data.labels.values)


# ---------------------------------------------------------------- cleaning


def test_cleaning_matches_its_control_in_number_and_spares_the_test_split():
    data, truth = case(900)
    data = data.with_columns(split=np.where(np.arange(900) < 300, "test", "train"))
    result = JudgeEnsemble(judges=(reader("a"),)).audit(data, seed=0)
    train, wrong = np.arange(900) >= 300, data.labels.values != truth
    flipped = clean(data, result, how="flip", theta=0.8)
    assert np.array_equal(flipped.changed, wrong & train)
    assert np.array_equal(flipped.data.labels.values, np.where(train, truth, data.labels.values))
    filtered = clean(data, result, how="filter", theta=0.8)
    assert len(filtered.data) == 900 - (wrong & train).sum()
    assert filtered.before == dict(zip(NAMES, data.labels.counts().tolist(), strict=True))
    assert filtered.after == dict(zip(NAMES, filtered.data.labels.counts().tolist(), strict=True))
    for how in ("filter", "flip"):
        control = clean(data, result, how=how, theta=0.8, control=True, seed=3)
        assert control.changed.sum() == (wrong & train).sum()
        assert not control.changed[:300].any()
    assert (control.data.labels.values != data.labels.values).sum() == (wrong & train).sum()
    assert not clean(data, result, how="flip", theta=0.95).changed.any()
    with pytest.raises(InputError, match="no findings of judges"):
        clean(data, result.__class__(findings=result.findings, provenance=result.provenance), how="flip")


def test_random_controls_overlap_the_flags_by_chance_only():
    eligible, flagged = np.ones(1000, dtype=bool), np.arange(1000) < 200
    shared = [int((random_flags(eligible, 200, seed=s) & flagged).sum()) for s in range(300)]
    assert np.mean(shared) == pytest.approx(200 * 200 / 1000, abs=3 * np.sqrt(40 * 0.8 * 0.8 / 300))
    y = np.random.default_rng(0).integers(0, 4, 1000)
    other = random_labels(y, flagged, 4, seed=0)
    assert np.array_equal(other != y, flagged)
    assert set(np.unique((other - y)[flagged] % 4)) == {1, 2, 3}


def test_a_control_has_nothing_to_do_with_the_corruption_of_the_same_seed():
    data, _ = case(1000, noise=0)
    noisy, truth = symmetric(data, 0.15, seed=3)
    result = JudgeEnsemble(judges=(reader("a"),)).audit(noisy, seed=3)
    control = clean(noisy, result, how="flip", theta=0.8, control=True, seed=3)
    assert control.changed.sum() == truth.changed.sum() == 150
    assert (control.changed & truth.changed).sum() == pytest.approx(150 * 0.15, abs=4 * np.sqrt(150 * 0.15 * 0.85 * 0.85))


# ---------------------------------------------------------------- experts and refusals


def test_the_blind_questions_come_in_random_order():
    data, _ = case(40)
    data = data.with_columns(reply=np.array([f"r{i}" for i in range(40)]))
    ids, items = blind_questions(data, data.ids[:30], second="reply", seed=0)
    assert ids.tolist() != data.ids[:30].tolist()
    assert sorted(ids.tolist()) == sorted(data.ids[:30].tolist())
    assert [(a.split()[1], b) for a, b in items] == [(i[1:], f"r{i[1:]}") for i in ids.tolist()]
    assert blind_questions(data, [], seed=0)[1] == []


def test_the_random_check_draws_agreeing_examples():
    picks = random_check(np.arange(40) % 2 == 0, 5, seed=0)
    assert (picks % 2 == 0).all()
    assert len(set(picks.tolist())) == 5
    assert random_check(np.zeros(4, dtype=bool), 5, seed=0).size == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"calibrate": True}, "needs gold labels"),
        ({"models": ("m.npy",)}, "needs gold labels"),
        ({"crowd": "strict"}, "alarm"),
        ({"alarm": "bad"}, "strict"),
        ({"gap": 2}, "ordinal"),
        ({"crowd": "median"}, "ordinal"),
        ({"theta": -0.1}, "theta"),
        ({"sure": 1.5}, "sure"),
        ({"check_agreeing": -1}, "check_agreeing"),
        ({"population": 0}, "population"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(fields, words):
    with pytest.raises(InputError, match=words):
        JudgeEnsemble(**fields)


def test_data_and_judges_that_do_not_fit_are_refused(tmp_path):
    data, truth = case(60)
    with pytest.raises(InputError, match="is no class of judge 'j'"):
        JudgeEnsemble(judges=(reader("j", classes=("angry", "calm", "happy")),)).audit(data, seed=0)
    with pytest.raises(InputError, match="different classes"):
        JudgeEnsemble(judges=(reader("j"), reader("k", classes=(*NAMES, "bored")))).audit(data, seed=0)
    with pytest.raises(InputError, match="two judges"):
        JudgeEnsemble(judges=(reader("j"),), sure=0.9).audit(data, seed=0)
    with pytest.raises(InputError, match="leaves nothing to find"):
        JudgeEnsemble(judges=(reader("j"),), scale="ordinal", gap=2).audit(data, seed=0)
    with pytest.raises(InputError, match="smaller than this sample"):
        JudgeEnsemble(judges=(reader("j"),), population=50).audit(data, seed=0)
    with pytest.raises(InputError, match="multi-labels"):
        JudgeEnsemble().audit(data.with_labels(MultiLabels(values=np.eye(3, dtype=np.int8)[truth], names=NAMES)), seed=0)
    with pytest.raises(InputError, match="has class-labels"):
        JudgeEnsemble(crowd="strict", alarm="calm").audit(data, seed=0)
    np.save(tmp_path / "p.npy", np.eye(4)[truth])
    with pytest.raises(InputError, match="4 columns"):
        JudgeEnsemble(votes=(str(tmp_path / "p.npy"),)).audit(data, seed=0)
    (tmp_path / "gold.csv").write_text("id,label\nt0,glad\n")
    with pytest.raises(InputError, match="models does not exist"):
        JudgeEnsemble(judges=(reader("j"),), gold=str(tmp_path / "gold.csv"), models=("none.npy",)).audit(data, seed=0)
    for rows, words in (
        ("id,label\nt0,happy\n", "none of the 3 classes"),
        ("id,label\nq,glad\n", "not in the dataset"),
        ("id,label\nt0,glad\nt0,calm\n", "earlier row"),
        ("id,label\nt0,\n", "no answers"),
        ("id,word\nt0,glad\n", "label"),
    ):
        (tmp_path / "gold.csv").write_text(rows)
        with pytest.raises(InputError, match=words):
            JudgeEnsemble(judges=(reader("j"),), gold=str(tmp_path / "gold.csv")).audit(data, seed=0)


def test_what_is_inside_a_judge_stays_out_of_the_record():
    data, _ = case(40)
    fields = JudgeEnsemble(judges=(reader("a"),)).audit(data, seed=0).provenance.fields
    assert set(fields["judges"][0]) == {"name", "fingerprint"}
