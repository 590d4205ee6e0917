"""Correction: what changes, what is spared, and what a review may say."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from labelwright.annotate.correct import correct, write_review
from labelwright.data import Dataset
from labelwright.errors import InputError, OutputError
from labelwright.labels import ClassLabels
from labelwright.results import Audit, Provenance

NAMES = ("cat", "dog", "owl")


def dataset(**columns) -> Dataset:
    labels = ClassLabels(values=np.array([0, 1, 2, 0, -1, 1]), names=NAMES)
    return Dataset(inputs=np.arange(6.0)[:, None], labels=labels, ids=list("abcdef"), columns=columns)


def audit_of(data: Dataset) -> Audit:
    """b (dog, really owl) and d (cat, really dog) are flagged; f is suspected, not flagged."""
    findings = Audit.findings_frame(
        data,
        "label_error",
        index=np.arange(6),
        score=[0.1, 0.9, 0.2, 0.75, 0.0, 0.6],
        flagged=[False, True, False, True, False, False],
        given=data.labels.words(),
        suggested=["cat", "owl", "owl", "dog", "cat", "cat"],
        reason=None,
    )
    return Audit(findings=findings, provenance=Provenance(verb="audit", method="data-audit", seed=3))


def words(data: Dataset) -> list:
    return data.labels.words().tolist()


def table(tmp_path, rows: str, name: str = "review.csv"):
    path = tmp_path / name
    path.write_text("id,action,label,note\n" + rows, encoding="utf-8")
    return path


def test_relabel():
    data = dataset()
    fixed, annotation = correct(data, audit_of(data))
    assert words(fixed) == ["cat", "owl", "owl", "dog", None, "dog"]
    assert fixed.columns["given_label"].tolist() == ["cat", "dog", "owl", "cat", "", "dog"]
    assert [bool(r) for r in fixed.columns["reason"]] == [False, True, False, True, False, False]
    assert "from dog to owl" in fixed.columns["reason"][1]
    assert "0.900" in fixed.columns["reason"][1]
    assert "weight" not in fixed.columns
    assert np.allclose(annotation.confidence, [0.9, 0.9, 0.8, 0.75, 0.0, 0.4])
    assert annotation.abstained.tolist() == [False, False, False, False, True, False]
    assert annotation.facts["relabelled"] == 2
    assert words(data) == ["cat", "dog", "owl", "cat", None, "dog"]  # the input is not modified
    assert (annotation.provenance.method, annotation.provenance.seed) == ("correct", 3)


def test_drop():
    data = dataset()
    fixed, annotation = correct(data, audit_of(data), how="drop")
    assert fixed.ids.tolist() == ["a", "c", "e", "f"]
    assert annotation.ids.tolist() == list("abcdef")
    assert annotation.abstained.tolist() == [False, True, False, True, True, False]
    assert annotation.facts["dropped"] == 2
    assert annotation.facts["unchanged"] == 4


def test_weights_are_one_minus_the_score_times_what_was_there():
    data = dataset(weight=np.array([1.0, 0.5, 1, 1, 1, 0.25]))
    fixed, _ = correct(data, audit_of(data), how="weight")
    assert np.allclose(fixed.columns["weight"], [1, 0.05, 1, 0.25, 1, 0.25])
    assert words(fixed) == words(data)


@pytest.mark.parametrize(
    ("threshold", "changed"), [(0.95, []), (0.9, ["b"]), (0.7, ["b", "d"]), (0.5, ["b", "d", "f"]), (0.0, ["b", "d", "f"])]
)
def test_a_threshold_takes_the_place_of_the_flags(threshold, changed):
    data = dataset()
    fixed, _ = correct(data, audit_of(data), threshold=threshold)
    assert [i for i, reason in zip(fixed.ids, fixed.columns["reason"], strict=True) if reason] == changed


def test_held_out_splits_are_spared_unless_asked():
    data = dataset(split=np.array(["train", "test", "train", "Val", "train", "train"]))
    fixed, annotation = correct(data, audit_of(data))
    assert words(fixed) == words(data)
    assert annotation.facts["spared_in_held_out_splits"] == 2
    assert words(correct(data, audit_of(data), held_out=True)[0])[1] == "owl"


def test_twice_keeps_the_first_labels():
    data = dataset()
    once, _ = correct(data, audit_of(data))
    twice, _ = correct(once, audit_of(once))
    assert twice.columns["given_label"].tolist() == ["cat", "dog", "owl", "cat", "", "dog"]


def test_a_person_decides_whatever_the_audit_says(tmp_path):
    data = dataset()
    review = table(tmp_path, "b,keep,,it is a dog\nd,,,\ne,relabel,owl,\na,drop,,blurred\nf,relabel,,\n")
    fixed, annotation = correct(data, audit_of(data), how="drop", review=review)
    assert fixed.ids.tolist() == ["b", "c", "e", "f"]  # d as the audit says, a as the person says
    assert words(fixed) == ["dog", "owl", "owl", "cat"]
    assert fixed.columns["reason"][0] == "kept as dog in review: it is a dog"
    assert annotation.confidence[[0, 1, 4, 5]].tolist() == [1, 1, 1, 1]
    assert annotation.facts["reviewed"] == 4


def test_the_written_template_changes_nothing_until_it_is_filled_in(tmp_path):
    data = dataset()
    audit = audit_of(data)
    for name in ("review.csv", "review.parquet"):
        path = tmp_path / name
        write_review(audit, data, path)
        frame = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
        assert frame.get_column("id").to_list() == ["b", "d"]  # worst first
        assert frame.get_column("suggested").to_list() == ["owl", "dog"]
        fixed, annotation = correct(data, audit, review=path)
        assert words(fixed) == words(correct(data, audit)[0])
        assert annotation.facts["reviewed"] == 0
        with pytest.raises(OutputError, match="may hold decisions"):
            write_review(audit, data, path)


def test_integer_ids_survive_a_spreadsheet(tmp_path):
    data = dataset()
    numbered = Dataset(inputs=data.inputs, labels=data.labels, ids=np.arange(10, 16))
    path = tmp_path / "review.parquet"
    pl.DataFrame({"id": [11.0, 13.0], "action": ["keep", "drop"]}).write_parquet(path)
    fixed, _ = correct(numbered, audit_of(numbered), review=path)
    assert fixed.ids.tolist() == [10, 11, 12, 14, 15]
    assert words(fixed)[1] == "dog"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,keep,,\nz,drop,,\n", "row 2: id 'z' is not in the dataset"),
        ("b,relable,,\n", "row 1: action must be one of keep, relabel, drop; got 'relable'. Did you mean 'relabel'"),
        ("b,relabel,dogg,\n", "row 1: label 'dogg' is not one of the 3 classes. Did you mean 'dog'"),
        ("b,keep,,\nc,keep,,\nb,drop,,\n", "row 3: id 'b' is decided otherwise in row 1"),
        ("b,relabel,cat,\nb,relabel,owl,\n", "row 2: id 'b' is decided otherwise in row 1"),
        ("b,keep,owl,\n", "row 1: label 'owl' contradicts the action keep"),
        ("b,,owl,\n", "row 1: label 'owl' without an action"),
    ],
)
def test_a_review_that_cannot_be_meant(tmp_path, rows, message):
    data = dataset()
    with pytest.raises(InputError, match=message):
        correct(data, audit_of(data), review=table(tmp_path, rows))


def test_a_repeated_decision_is_no_conflict(tmp_path):
    data = dataset()
    _, annotation = correct(data, audit_of(data), review=table(tmp_path, "b,keep,,\nb,keep,dog,\n"))
    assert annotation.facts["reviewed"] == 1


def test_other_data_other_labels_other_files(tmp_path):
    data = dataset()
    audit = audit_of(data)
    with pytest.raises(InputError, match="about other data"):
        correct(data.take([0, 1, 2]), audit)
    with pytest.raises(InputError, match="about other labels: 1 of 6 differ, first id a"):
        correct(data.with_labels(ClassLabels(values=np.array([1, 1, 2, 0, -1, 1]), names=NAMES)), audit)
    with pytest.raises(InputError, match="say nothing about labels"):
        correct(data, Audit(findings=audit.findings.filter(pl.col("issue") == "outlier"), provenance=audit.provenance))
    with pytest.raises(InputError, match=r"must end in .csv or .parquet"):
        write_review(audit, data, tmp_path / "review.xlsx")
    path = tmp_path / "bad.csv"
    path.write_text("ident,action\nb,keep\n")
    with pytest.raises(InputError, match="column 'id' is not in the review file"):
        correct(data, audit, review=path)
    path.write_bytes(b"id,action\nb,k\xff\xfeeep\n")
    with pytest.raises(InputError, match="UTF-8"):
        correct(data, audit, review=path)
    everything = table(tmp_path, "".join(f"{i},drop,,\n" for i in "abcdef"))
    with pytest.raises(InputError, match="Every example would be dropped"):
        correct(data, audit, review=everything)
    with pytest.raises(InputError, match="how must be one of"):
        correct(data, audit, how="fix")


def test_findings_of_judges_are_followed_when_asked_for():
    """A whole audit with judges holds two opinions: here the judges dispute a alone, the model b and d."""
    data = dataset()
    plain = audit_of(data)
    judges = Audit.findings_frame(
        data, "judge_disagreement", index=[0], score=[0.9], flagged=[True], given=["cat"], suggested=["owl"], reason=None
    )
    both = Audit(findings=pl.concat([plain.findings, judges]), provenance=plain.provenance)
    assert words(correct(data, both)[0]) == words(correct(data, plain)[0])
    assert words(correct(data, both, issue="judge_disagreement")[0]) == ["owl", "dog", "owl", "cat", None, "dog"]
    with pytest.raises(InputError, match="by judges"):
        correct(data, plain, issue="judge_disagreement")
    with pytest.raises(InputError, match="issue must be one of"):
        correct(data, both, issue="outlier")
