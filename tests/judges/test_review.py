"""A person as a judge: a table written, filled in, read back."""

from __future__ import annotations

import polars as pl
import pytest

from labelwright.errors import InputError, OutputError
from labelwright.judges import ReviewJudge, write_questions

CLASSES = ("no", "yes")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_blanks_are_unknown_and_the_file_may_be_filled_in_later(tmp_path, ending):
    path = tmp_path / f"review{ending}"
    write_questions(path, [7, 8, 9], ["one, with a comma", 'two "quoted"\nlines', "three"], CLASSES)
    judge = ReviewJudge(path=path, classes=CLASSES)
    assert not judge.judge([7, 8, 9]).known.any()
    frame = pl.read_csv(path) if ending == ".csv" else pl.read_parquet(path)
    assert frame.get_column("text").to_list() == ["one, with a comma", 'two "quoted"\nlines', "three"]
    before = judge.fingerprint
    frame = frame.with_columns(label=pl.Series(["yes", None, " NO "]))
    frame.write_csv(path) if ending == ".csv" else frame.write_parquet(path)
    verdicts = judge.judge([9, 7, 8, 10])
    assert verdicts.labels.tolist() == [0, 1, -1, -1]
    assert verdicts.reason.tolist() == ["", "", "left blank", "not in the review file"]
    assert verdicts.calls == 0
    assert judge.fingerprint != before


def test_pairs_have_a_column_each(tmp_path):
    write_questions(tmp_path / "r.csv", ["a"], [("premise", "claim")], CLASSES)
    assert pl.read_csv(tmp_path / "r.csv").select("text_1", "text_2", "classes").row(0) == ("premise", "claim", "no | yes")


def test_a_persons_work_is_not_overwritten(tmp_path):
    (tmp_path / "r.csv").write_text("id,label\n1,yes\n")
    with pytest.raises(OutputError, match="may hold answers"):
        write_questions(tmp_path / "r.csv", [1], ["x"], CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n1,yes\n2,yess\n", r"row 2: label 'yess' is none of the 2 classes. Did you mean 'yes'"),
        ("id,label\n1,yes\n1,no\n", "row 2: id '1' is 'yes' in an earlier row"),
        ("id,verdict\n1,yes\n", "column 'label' is not in the review file"),
        ("id,label\n,yes\n", "row 1: no id"),
        ("", "cannot be read as csv"),
    ],
)
def test_a_table_with_a_fault_names_the_row(tmp_path, text, message):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        ReviewJudge(path=tmp_path / "r.csv", classes=CLASSES).judge([1])


def test_empty_rows_of_a_spreadsheet_are_passed_over(tmp_path):
    (tmp_path / "r.csv").write_text("id,label\n1,yes\n,\n")
    assert ReviewJudge(path=tmp_path / "r.csv", classes=CLASSES).judge([1]).known.tolist() == [True]


def test_a_missing_file_and_another_ending(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        ReviewJudge(path=tmp_path / "none.csv", classes=CLASSES).judge([1])
    with pytest.raises(InputError, match=r"must end in \.csv or \.parquet"):
        ReviewJudge(path=tmp_path / "r.xlsx", classes=CLASSES)
