"""``labelwright audit``: the files, columns and figures of the command line's contract."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from conftest import blobs, probabilities

COLUMNS = ["id", "index", "issue", "score", "flagged", "given", "suggested", "reason"]


def save_case(folder, *, n=300, classes=3, noise=0.1, words=None):
    """Labels, probabilities of a good model, and which labels are wrong."""
    _, y, wrong = blobs(n, classes, noise=noise)
    probs = probabilities(y, wrong, classes)
    np.save(folder / "labels.npy", y if words is None else np.array(words)[y])
    np.save(folder / "probs.npy", probs)
    return y, probs, wrong


def test_labels_and_probabilities_give_the_files_of_the_contract(cli, here):
    y, _, wrong = save_case(here)
    ran = cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "a", "--json")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    assert summary["n"] == 300
    assert summary["issues"]["label_error"]["flagged"] == int(wrong.sum())  # planted, and the probabilities are right about all of them
    assert {p.name for p in (here / "a").iterdir()} >= {"findings.parquet", "summary.json", "report.html", "run.json", "croissant.json"}
    assert json.loads((here / "a/summary.json").read_text()) == summary
    rows = pl.read_parquet(here / "a/findings.parquet")
    assert rows.columns == COLUMNS
    labels = rows.filter(pl.col("issue") == "label_error").sort("index")
    assert labels.get_column("index").to_list() == list(range(300))
    assert labels.get_column("given").to_list() == [str(v) for v in y]
    assert np.array_equal(labels.get_column("flagged").to_numpy(), wrong)
    hit = labels.filter("flagged")
    assert hit.get_column("suggested").to_list() == [str((v - 1) % 3) for v in y[wrong]]
    assert labels.get_column("score").is_between(0, 1).all()
    assert hit.get_column("score").min() > labels.filter(~pl.col("flagged")).get_column("score").max()


def test_the_page_is_self_contained_and_says_that_probabilities_were_declared(cli, here):
    save_case(here)
    cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "a")
    page = (here / "a/report.html").read_text()
    assert "declared out-of-sample" in page
    for address in ("http://", "https://", "//cdn", "<script", "<link"):
        assert address not in page.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("form", ["npy", "npz", "csv", "csv-header", "npz-classes"])
def test_columns_of_probabilities_for_words(cli, here, form):
    """Words: column j is the j-th name in sorted order; a header or an array `classes` overrides."""
    words = ["pear", "apple", "fig"]
    _, probs, wrong = save_case(here, words=words)
    in_order = probs[:, [1, 2, 0]]  # apple, fig, pear
    name = {"npy": "p.npy", "npz": "p.npz", "csv": "p.csv", "csv-header": "p.csv", "npz-classes": "p.npz"}[form]
    if form == "npy":
        np.save(here / name, in_order)
    elif form == "npz":
        np.savez(here / name, probs=in_order)
    elif form == "npz-classes":
        np.savez(here / name, probs=probs, classes=np.array(words))
    elif form == "csv":
        np.savetxt(here / name, in_order, delimiter=",")
    else:
        np.savetxt(here / name, probs, delimiter=",", header=",".join(words), comments="")
    ran = cli("audit", "labels.npy", "--probs", name, "--out", "a", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["issues"]["label_error"]["flagged"] == int(wrong.sum())


def test_a_header_of_integers_is_told_from_a_row_of_probabilities(cli, here):
    """ "0,1" sums to one: only the number of lines says that it is a header; here the columns are swapped."""
    _, y, wrong = blobs(80, 2, noise=0.1)
    np.save(here / "labels.npy", y)
    np.savetxt(here / "p.csv", probabilities(y, wrong, 2)[:, ::-1], delimiter=",", header="1,0", comments="")
    ran = cli("audit", "labels.npy", "--probs", "p.csv", "--out", "a", "--json")
    assert json.loads(ran.out)["issues"]["label_error"]["flagged"] == int(wrong.sum())


def test_integer_labels_with_a_gap_keep_their_columns(cli, here):
    """Labels 0, 1, 3 with four columns: column 3 is class 3, and class 2 is empty, which only --allow-empty accepts."""
    _, y, wrong = blobs(300, 3, noise=0.1)
    wide = np.zeros((300, 4))
    wide[:, [0, 1, 3]] = probabilities(y, wrong, 3)
    np.save(here / "labels.npy", np.where(y == 2, 3, y))
    np.save(here / "probs.npy", wide)
    cli("audit", "label-errors", "labels.npy", "--probs", "probs.npy", "--out", "a").expect_refusal("empty", "'2'", "--allow-empty")
    ran = cli("audit", "label-errors", "labels.npy", "--probs", "probs.npy", "--allow-empty", "--out", "a", "--json")
    assert json.loads(ran.out)["issues"]["label_error"]["flagged"] == int(wrong.sum())


def test_fail_on_gives_exit_code_one_and_a_line(cli, here):
    _, _, wrong = save_case(here)
    share = wrong.mean()
    ran = cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "a", "--fail-on", f"label_error={share - 0.01}")
    assert ran.code == 1
    assert "label_error" in ran.err
    assert (here / "a/report.html").exists()
    ran = cli(
        "audit", "labels.npy", "--probs", "probs.npy", "--out", "b", "--fail-on", f"label_error={share + 0.01}", "--fail-on", "outlier=1"
    )
    assert (ran.code, ran.err.count("Limit")) in ((0, 0), (2, 0))


def test_fail_on_is_checked_before_work(cli, here):
    save_case(here)
    cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "a", "--fail-on", "label_error").expect_refusal("--fail-on", "ISSUE=RATE")
    cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "a", "--fail-on", "label_error=2").expect_refusal("ISSUE=RATE")
    cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "a", "--fail-on", "label_eror=0.1").expect_refusal(
        "label_eror", "'label_error'"
    )
    assert not (here / "a").exists()
    assert not (here / "a.partial").exists()


def test_probabilities_made_here_are_out_of_sample_and_find_planted_errors(cli, here):
    ran = cli("audit", "train.npz", "--out", "a", "--json", "--only", "label_error")
    assert ran.code == 0, ran.err
    _, _, wrong = blobs(150, noise=0.1)
    rows = pl.read_parquet(here / "a/findings.parquet").sort("index")
    flagged = rows.get_column("flagged").to_numpy()
    assert (flagged & wrong).sum() >= 0.8 * wrong.sum()
    assert "cross-validated" in (here / "a/report.html").read_text()


def test_given_features_are_used(cli, here):
    x = np.load(here / "train.npz")["x"].copy()
    x[7] += 500
    np.save(here / "f.npy", x)
    ran = cli("audit", "train.npz", "--features", "f.npy", "--only", "outlier", "--out", "a", "--json")
    assert json.loads(ran.out)["issues"] == {"outlier": {"flagged": 1, "share": round(1 / 150, 6)}}
    assert pl.read_parquet(here / "a/findings.parquet").filter("flagged").get_column("index").to_list() == [7]


def test_rows_of_a_csv_of_probabilities_follow_its_ids(cli, here):
    _, y, wrong = blobs(120, 3, noise=0.1)
    pl.DataFrame({"id": [f"r{i}" for i in range(120)], "x": np.arange(120.0), "z": np.sin(np.arange(120)), "label": y}).write_csv(
        here / "d.csv"
    )
    order = np.random.default_rng(0).permutation(120)
    probs = probabilities(y, wrong, 3)[order]
    columns = {"id": [f"r{i}" for i in order]} | {str(j): probs[:, j] for j in range(3)}
    pl.DataFrame(columns).write_csv(here / "p.csv")
    ran = cli("audit", "label-errors", "d.csv", "--probs", "p.csv", "--out", "a", "--json")
    assert ran.code == 0, ran.err
    found = pl.read_parquet(here / "a/findings.parquet").filter("flagged").get_column("index").to_numpy()
    assert sorted(found.tolist()) == np.flatnonzero(wrong).tolist()


def test_float64_probabilities_in_a_large_file_are_mapped_not_copied(cli, here, monkeypatch):
    from labelwright.recipes import sources

    save_case(here)
    matrix = sources.read_matrix(here / "probs.npy", what="probs")
    assert isinstance(matrix.values, np.memmap)
    assert matrix.values.dtype == np.float64


def test_json_is_all_there_is_on_standard_output(cli, here):
    save_case(here)
    ran = cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "a", "--json")
    assert ran.out.count("\n") == 1
    json.loads(ran.out)
    assert ran.err == ""
    assert cli("audit", "labels.npy", "--probs", "probs.npy", "--out", "b", "--quiet").out == ""
