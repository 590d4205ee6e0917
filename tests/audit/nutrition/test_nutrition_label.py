"""The label as a whole: round trips, determinism, privacy, renderers, Croissant, difference and check."""

from __future__ import annotations

import html.parser
import json
import re

import numpy as np
import polars as pl
import pytest

from labelwright.audit.nutrition import (
    Label,
    NutritionLabel,
    Party,
    Questionnaire,
    Reference,
    Settings,
    UseCase,
    check,
    diff,
    from_croissant,
    make_label,
    missing_required,
    validate_croissant,
    write_label,
)
from labelwright.audit.nutrition.croissant import REQUIRED
from labelwright.data import Dataset, Images, TableRows, Texts
from labelwright.errors import InputError, OutputError
from labelwright.labels import ClassLabels

QUICK = Settings(resamples=8, permutations=20, simulations=200)
SAID = {
    "metadata": {
        "name": "visits",
        "filename": "visits.csv",
        "license": "CC-BY-4.0",
        "description": "Visits to clinics.",
        "url": "https://example.org/visits",
        "released": "2026-01-31",
        "range_from": "2024-01-01",
        "range_to": "2025-12-31",
        "keywords": ("health", "visits"),
        "version": "1.2.0",
        "sha256": "0" * 64,
    },
    "provenance": {
        "source": {"name": "Clinic <A>"},
        "author": {"name": "Ada", "url": "https://example.org/ada"},
        "derived_from": ("https://example.org/raw",),
    },
    "variables": {"age": "Age in years.", "sex": "Sex as recorded."},
    "questionnaire": {
        "purpose": "Planning.",
        "known_biases": "Urban clinics only.",
        "missing_data": "Ages under 18 are left out.",
        "intended_uses": ["capacity planning"],
        "collection_method": "Routine records.",
        "annotation_protocol": "Two readers.",
        "maintenance_plan": "Yearly.",
    },
}


def visits(n=300, seed=0):
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n, p=[0.6, 0.4])
    return pl.DataFrame(
        {
            "age": pl.Series(rng.normal(50, 12, n).round(1)).set(pl.Series(rng.random(n) < 0.1), None),
            "sex": sex,
            "town <b>&": rng.choice(["Aston", "Bury", "Corby", "Derby"], n, p=[0.5, 0.3, 0.19, 0.01]),
            "visits": rng.poisson(3, n),
            "outcome": np.where(rng.random(n) < np.where(sex == "f", 0.8, 0.3), "well", "ill"),
        }
    )


@pytest.fixture(scope="module")
def label():
    reference = Reference(shares={"sex": {"f": 0.5, "m": 0.5}})
    return make_label(visits(), **SAID, reference=reference, label_column="outcome", sensitive=("sex",), settings=QUICK, seed=0)


def test_json_round_trip_is_exact(label):
    text = label.to_json()
    again = Label.from_json(text)
    assert again.to_json() == text
    assert again.alerts == label.alerts
    assert again.to_html() == label.to_html()
    assert again.to_markdown() == label.to_markdown()
    assert again.to_croissant() == label.to_croissant()
    assert not diff(label, again)


def test_same_input_same_text(label):
    reference = Reference(shares={"sex": {"f": 0.5, "m": 0.5}})
    other = make_label(visits(), **SAID, reference=reference, label_column="outcome", sensitive=("sex",), settings=QUICK, seed=0)
    assert other.to_json() == label.to_json()
    keys = list(json.loads(label.to_json()))
    assert keys == sorted(keys)
    assert "20" + "26-11" not in label.to_json()  # no day of making


def test_what_is_no_label_is_refused():
    with pytest.raises(InputError, match="not valid JSON"):
        Label.from_json("{")
    with pytest.raises(InputError, match="not a labelwright nutrition label"):
        Label.from_json('{"label": "something else"}')


def test_both_missing_shares_are_named(label):
    data = label.module("metadata").data
    missing = visits()["age"].null_count()
    assert data["missing_share_of_all_cells"] == pytest.approx(missing / (300 * 5))
    assert data["missing_share_of_columns_with_gaps"] == pytest.approx(missing / 300)


def test_modules_are_lazy(monkeypatch):
    from labelwright.audit.nutrition import build

    monkeypatch.setattr(build, "fit_chow_liu", lambda *a, **k: pytest.fail("the model was fitted"))
    lazy = make_label(visits(), seed=0)
    assert lazy.module("metadata").data["rows"] == 300
    assert lazy.module("statistics").status == "complete"


def test_simulated_shares_are_multiples_of_the_draws_and_follow_the_data(label):
    (condition,) = [c for c in label.module("probabilistic model").data["conditions"] if c["given"] == "sex"]
    for row in condition["rows"]:
        shares = [c["simulated"] for c in row["cells"]]
        assert sum(shares) == pytest.approx(1)
        assert all(abs(200 * s - round(200 * s)) < 1e-9 for s in shares)
        truth = visits().filter(pl.col("sex") == row["value"])
        for cell in row["cells"]:
            assert cell["observed"] == pytest.approx((truth["outcome"] == cell["value"]).mean())
            assert abs(cell["simulated"] - cell["observed"]) < 0.12


def test_no_cell_under_the_floor_is_shown(label):
    pairs = label.module("pair plots").data
    cells = [c for p in pairs["plots"] for row in p["counts"] for c in row] + [c for h in pairs["marginals"].values() for c in h["counts"]]
    assert None in cells
    assert not any(c is not None and 0 < c < 5 for c in cells)
    for condition in label.module("probabilistic model").data["conditions"]:
        assert all(row["n"] >= 5 for row in condition["rows"])
    open_label = make_label(visits(), settings=Settings(floor=0, back_end="none"), seed=0)
    shown = [c for p in open_label.module("pair plots").data["plots"] for row in p["counts"] for c in row]
    assert None not in shown


def test_any_pair_can_be_asked_for_and_its_transpose(label):
    ab, ba = label.plot("sex", "outcome"), label.plot("outcome", "sex")
    assert ab["counts"] == [list(row) for row in zip(*ba["counts"], strict=True)]
    truth = visits().filter((pl.col("sex") == "f") & (pl.col("outcome") == "well")).height
    assert ab["counts"][0][0] == truth
    with pytest.raises(InputError, match="Did you mean 'sex'"):
        label.plot("sexx", "outcome")


def test_exposure_switches_modules_off():
    quiet = make_label(visits(), settings=Settings(exposure="medium"), label_column="outcome", seed=0)
    assert [m.name for m in quiet.modules if m.status == "off"] == ["pair plots", "probabilistic model"]
    assert quiet.module("pair plots").data == {}
    low = make_label(visits(), settings=Settings(exposure="low"), seed=0)
    assert low.module("statistics").status == "off"
    assert "Switched off" in low.to_html()
    assert "Switched off" in low.to_markdown()
    assert Label.from_json(low.to_json()).to_json() == low.to_json()
    assert validate_croissant(low.to_croissant())[0] == []


def test_sensitive_numbers_hide_their_extremes():
    rows = make_label(visits(), sensitive=("age",), seed=0).module("statistics").data["groups"]["continuous"]
    assert (rows[0]["min"], rows[0]["max"]) == (None, None)
    assert rows[0]["mean"] == pytest.approx(visits()["age"].mean())


class _Page(html.parser.HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src", "data", "action")]
        assert not any(k.startswith("on") for k, _ in attrs)

    def handle_data(self, data):
        self.text.append(data)


def test_page_is_self_contained_and_escaped(label):
    text = label.to_html()
    page = _Page()
    page.feed(text)
    assert not {"script", "iframe", "link", "img", "object"} & set(page.tags)
    assert all(link.startswith(("#", "https://example.org")) for link in page.links)
    assert not re.search(r"url\(|@import", text)
    assert "<b>&" not in text
    assert any("town <b>&" in t for t in page.text)
    assert "Clinic <A>" in " ".join(page.text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert len(text) < 3_000_000


def test_addresses_that_are_no_web_pages_do_not_become_links():
    text = make_label(visits(40), metadata={"url": "javascript:alert(1)"}, settings=QUICK, seed=0).to_html()
    assert "javascript:alert(1)" in text
    assert 'href="javascript' not in text


def test_markdown_escapes_tables(label):
    text = label.to_markdown()
    assert "town \\<b\\>&" in text
    widths = {
        line.count("|") - line.count("\\|") for line in text.split("### Nominal")[1].split("###")[0].splitlines() if line.startswith("|")
    }
    assert len(widths) == 1


def test_croissant_has_every_required_key_and_validates(label):
    document = label.to_croissant()
    assert all(key in document for key in REQUIRED)
    assert missing_required(document) == []
    errors, _ = validate_croissant(document)
    assert errors == []
    (records,) = document["recordSet"]
    assert records["annotation"][0]["value"] == 300
    assert records["annotation"][0]["dataType"] == "wd:Q4049983"
    fields = {f["name"]: f for f in records["field"]}
    assert fields["age"]["dataType"] == "sc:Float"
    assert {a["name"]: a["value"] for a in fields["age"]["annotation"]}["mean"] == pytest.approx(visits()["age"].mean())
    assert document["rai:dataUseCases"] == ["capacity planning"]
    assert document["rai:dataCollectionTimeframe"] == ["2024-01-01", "2025-12-31"]
    json.dumps(document, allow_nan=False)


def test_a_label_that_knows_nothing_still_validates():
    document = make_label(visits(60), settings=Settings(back_end="none"), seed=0).to_croissant()
    assert validate_croissant(document)[0] == []
    assert missing_required(document) == ["description", "license", "url", "creator", "datePublished"]


def test_croissant_import_gives_back_what_was_said(label):
    said = from_croissant(json.dumps(label.to_croissant()))
    again = make_label(visits(), **said, label_column="outcome", sensitive=("sex",), settings=QUICK, seed=0)
    assert again.to_croissant() == label.to_croissant()
    assert said["variables"] == SAID["variables"]
    assert said["questionnaire"].known_biases == "Urban clinics only."
    assert said["provenance"].source.name == "Clinic <A>"
    with pytest.raises(InputError, match="not a Croissant"):
        from_croissant({"@type": "sc:Person"})


def test_diff_names_what_changed(label):
    frame = visits().with_columns(age=pl.col("age") + 1).rename({"visits": "calls"})
    changed = diff(label, make_label(frame, **SAID, label_column="outcome", sensitive=("sex",), settings=QUICK, seed=0))
    rows = {(m, c, i): (a, b) for m, c, i, a, b in changed.rows}
    before, after = rows["statistics", "age", "mean"]
    assert after - before == pytest.approx(1)
    assert rows["variables", "visits", "column"] == ("present", "absent")
    assert rows["variables", "calls", "column"] == ("absent", "present")
    assert changed.to_frame().height == len(changed.rows)
    assert "| statistics | age | mean |" in changed.to_markdown()


def test_check_passes_and_fails_with_reasons(label):
    good = check(
        label, {"max_missing_percent": 20, "min_rows": 300, "require": ["age"], "require_license": True, "max_representation_gap": 15}
    )
    assert good
    bad = check(
        label,
        {
            "max_missing_percent": {"age": 5},
            "max_rows": 10,
            "columns": ["age"],
            "forbid_alerts": ["missing"],
            "max_severity": "low",
            "require_definitions": True,
        },
    )
    assert not bad
    rules = {f.split(":")[0] for f in bad.failures}
    assert rules == {"max_missing_percent", "max_rows", "columns", "forbid_alerts", "max_severity", "require_definitions"}
    with pytest.raises(InputError, match="Did you mean 'min_rows'"):
        check(label, {"min_row": 3})
    with pytest.raises(InputError, match="is off"):
        check(make_label(visits(), settings=Settings(exposure="low"), seed=0), {"max_missing_percent": 3})


def test_folder_is_written_whole(label, tmp_path):
    paths = write_label(label, tmp_path / "out")
    assert sorted(p.name for p in paths) == ["croissant.json", "label.html", "label.json", "label.md"]
    assert Label.from_json((tmp_path / "out" / "label.json").read_text()).to_json() == label.to_json()
    with pytest.raises(OutputError, match="not empty"):
        write_label(label, tmp_path / "out")


def test_misspelt_fields_are_refused():
    with pytest.raises(InputError, match="Did you mean 'license'"):
        make_label(visits(20), metadata={"licence": "x"}, seed=0)
    with pytest.raises(InputError, match="Did you mean 'age'"):
        make_label(visits(20), variables={"agee": "x"}, seed=0)
    with pytest.raises(InputError, match="date like"):
        make_label(visits(20), metadata={"released": "last year"}, seed=0)


def test_questionnaire_counts_answers():
    asked = Questionnaire(purpose="x", intended_uses=(UseCase(use="a"), {"use": "b", "intended": False})).answered()
    assert asked[0] == 2
    assert Party().name == "unknown"


# Sources ---------------------------------------------------------------------------------------------------------------------------


def test_images_become_sizes_and_exposure():
    from io import BytesIO

    from PIL import Image

    raw = []
    for level, size in ((0, (8, 4)), (255, (6, 6)), (128, (10, 5))):
        buffer = BytesIO()
        Image.new("RGB", size, (level,) * 3).save(buffer, "PNG")
        raw.append(buffer.getvalue())
    data = Dataset(inputs=Images(raw), labels=ClassLabels(values=np.array([0, 1, 1]), names=("cat", "dog")))
    frame = make_label(data, seed=0).builder.table.frame
    assert frame["width"].to_list() == [8, 6, 10]
    assert frame["dark_share"].to_list() == [1, 0, 0]
    assert frame["bright_share"].to_list() == [0, 1, 0]
    assert frame["brightness"][2] == pytest.approx(128 / 255, abs=1e-6)
    assert frame["label"].to_list() == ["cat", "dog", "dog"]
    array = Dataset(inputs=np.zeros((4, 1, 3, 5), dtype=np.uint8))
    assert make_label(array, seed=0).builder.table.frame["aspect"].to_list() == [pytest.approx(5 / 3)] * 4


def test_texts_become_lengths_language_and_repetition():
    texts = [
        "The cat is on the mat and that is it.",
        "Der Hund und die Katze sind nicht da.",
        "これはペンです",
        "Это не кошка",
        "the CAT is on  the mat and that is it.",
    ]
    findings = {"toxicity": {"flagged": {"toxic": 1}}}
    made = make_label(Dataset(inputs=Texts(texts)), results=findings, seed=0)
    frame = made.builder.table.frame
    assert frame["language"].to_list() == ["en", "de", "ja", "unknown", "en"]
    assert frame["script"].to_list() == ["latin", "latin", "kana", "cyrillic", "latin"]
    assert frame["repeats_earlier"].to_list() == [False] * 4 + [True]
    assert frame["words"].to_list() == [10, 8, 1, 3, 10]
    assert made.module("results").data["results"] == findings
    assert "toxic" in made.to_html()


def test_frames_of_other_libraries():
    import pandas as pd

    frame = visits(50)
    table = pd.DataFrame({"size": pd.Categorical(["S", "L", "S"], categories=["S", "M", "L"], ordered=True), "n": [1.5, 2.5, 4.0]})
    assert make_label(table, seed=0).builder.table.by_name["size"].scale == "ordinal"
    ours, arrow = make_label(frame, seed=0), make_label(frame.to_arrow(), seed=0)
    assert not diff(ours, arrow)
    numbered = frame.with_row_index("").with_columns(pl.col("").cast(pl.Int64))
    assert not diff(ours, make_label(numbered, seed=0))
    with pytest.raises(InputError, match="cannot be made of int"):
        make_label(3, seed=0)


# The method ------------------------------------------------------------------------------------------------------------------------


def test_audit_flags_duplicate_rows_and_holds_the_label():
    frame = pl.concat([visits(50), visits(50)[[4, 9]]])
    data = Dataset(inputs=TableRows(frame), ids=np.array([f"r{i}" for i in range(52)]))
    audit = NutritionLabel(resamples=8).audit(data, seed=0)
    assert audit.flagged("duplicate_row").tolist() == ["r50", "r51"]
    held = Label.from_dict(audit.facts["label"])
    assert held.module("metadata").data["duplicate_rows"] == 2
    assert NutritionLabel(resamples=8).audit(data, seed=0).facts == audit.facts
    with pytest.raises(InputError, match="empty"):
        NutritionLabel().audit(data.take(np.zeros(0, dtype=int)), seed=0)
    with pytest.raises(InputError, match="exposure must be one of"):
        NutritionLabel(exposure="none")


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"a": [1]}),
        pl.DataFrame({"a": [None, None]}),
        pl.DataFrame({"a": pl.Series([], dtype=pl.Int64)}),
        pl.DataFrame({"a": [float("nan")] * 3, "b": [float("inf"), 1.0, 2.0]}),
        pl.DataFrame({"list": [[1, 2], [3], [1, 2]], "struct": [{"x": 1}] * 3, "bytes": [b"a", None, b"b"], "yes": [True, None, False]}),
        pl.DataFrame({"x y%": ["<script>", "&amp;", '"'] * 4, "x-y": [1, 2, 3] * 4, "": ["a", "b", "c"] * 4}),
    ],
    ids=["one cell", "all missing", "no rows", "not finite", "nested", "odd names"],
)
def test_odd_tables_have_labels_too(frame):
    made = make_label(frame, settings=QUICK, seed=0)
    assert "<script>" not in made.to_html()
    assert Label.from_json(made.to_json()).to_json() == made.to_json()
    assert validate_croissant(made.to_croissant())[0] == []
    cells = [c for c in made.module("statistics").data["groups"].values() for c in c]
    assert sum(r["missing"] for r in cells) == sum(
        int((frame[c].is_null() | (frame[c].is_nan() if frame[c].dtype.is_float() else False)).sum()) for c in frame.columns
    )
