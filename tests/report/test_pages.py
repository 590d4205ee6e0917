"""Pages: escaped, self-contained, below their limit, with what the result holds; charts count what they draw; Croissant reads back."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from labelwright.data import Dataset, Info, Texts
from labelwright.labels import ClassLabels
from labelwright.report import audit_page, croissant, result_page
from labelwright.report.charts import heat_map, histogram, lines, ticks
from labelwright.report.examples import Showcase
from labelwright.report.page import LIMIT, compact, number, percent
from labelwright.results import Audit, Provenance

EVIL = '<script>alert("x")</script>&"\''


class Balanced(HTMLParser):
    """Every element that opens is closed, in order."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


def audited(data: Dataset, wrong: np.ndarray, **facts) -> Audit:
    n = len(data)
    frame = Audit.findings_frame(
        data,
        "label_error",
        index=np.arange(n),
        score=np.where(wrong, 0.9, 0.1),
        flagged=wrong,
        given=data.labels.words(),
        suggested=np.where(wrong, data.labels.names[0], None),
        reason=np.where(wrong, EVIL, None),
    )
    return Audit(findings=frame, facts=facts, provenance=Provenance(verb="audit", method="data-audit", fingerprint="f" * 32))


def texts(n: int = 40) -> tuple[Dataset, np.ndarray]:
    labels = ClassLabels(values=np.arange(n) % 2, names=(EVIL, "plain"))
    wrong = np.arange(n) % 10 == 1
    return Dataset(inputs=Texts([f"{EVIL} text {i} " + "word " * 200 for i in range(n)]), labels=labels, info=Info(name=EVIL)), wrong


def test_everything_from_users_is_escaped():
    data, wrong = texts()
    page = audit_page(audited(data, wrong, checked=["label_error"]), data=data, command=f"labelwright audit '{EVIL}'", next=((EVIL, EVIL),))
    assert "script" not in parsed(page).tags
    assert EVIL not in page
    assert "&lt;script&gt;" in page


def test_headline_numbers_and_excerpts():
    data, wrong = texts()
    page = audit_page(audited(data, wrong, checked=["label_error", "outlier"], skipped={"dark": "no images"}), data=data, command="c")
    assert "<b>40</b> examples" in page
    assert "<b>4</b> labels look wrong (10.0 %)" in page
    assert "no images" in page
    assert page.count('class="ex"') == 4
    assert "word " * 150 not in page  # cut to an excerpt


def test_thousands_of_large_images_stay_below_three_megabytes():
    rng = np.random.default_rng(0)
    data = Dataset(
        inputs=rng.integers(0, 255, (400, 3, 256, 256), dtype=np.uint8), labels=ClassLabels(values=np.arange(400) % 2, names=("a", "b"))
    )
    everything = np.ones(400, dtype=bool)
    audit = audited(data, everything)
    more = [Audit.findings_frame(data, f"issue_{k}", index=np.arange(400), score=0.5, flagged=True, reason="r") for k in range(40)]
    audit = Audit(findings=pl.concat([audit.findings, *more]), facts={}, provenance=audit.provenance)
    page = audit_page(audit, data=data, command="c")
    assert len(page.encode()) < LIMIT
    assert "data:image/jpeg;base64," in page
    assert "image left out to keep the page small" in page


def test_small_images_are_embedded_pixel_by_pixel():
    import base64
    import io

    from PIL import Image

    picture = np.random.default_rng(0).random((1, 1, 8, 8)).astype(np.float32)
    shown = Showcase(Dataset(inputs=picture))(0)
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.image.partition(",")[2]))))
    assert np.array_equal(decoded, np.rint(picture[0, 0] * 255))


def test_labels_without_inputs_have_a_page():
    data = Dataset(inputs=np.zeros((30, 0), dtype=np.float32), labels=ClassLabels(values=np.arange(30) % 3))
    page = audit_page(audited(data, np.arange(30) < 3), data=data, command="c")
    assert page.count('class="ex"') == 3


def test_a_histogram_accounts_for_every_example():
    scores = np.random.default_rng(0).random(500)
    svg = str(histogram(scores, scores > 0.7, x_label="score"))
    per_bin = {
        (a, b): (int(n.replace(",", "")), int(m.replace(",", "")))
        for a, b, n, m in re.findall(r"<title>(\S+) to (\S+): ([\d,]+) examples, ([\d,]+) flagged", svg)
    }
    assert sum(n for n, _ in per_bin.values()) == 500
    assert sum(m for _, m in per_bin.values()) == int((scores > 0.7).sum())


def test_a_heat_map_keeps_the_classes_that_are_confused_most():
    matrix = np.eye(30) * 0.9
    matrix[4, 27] = 0.1
    svg = str(heat_map(matrix, [f"c{j}" for j in range(30)], row_label="given", column_label="true"))
    assert svg.count("<rect") == 20 * 20
    assert "given c4, likely c27: 10.0%" in svg


def test_ticks_are_round_and_inside():
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1.0]
    assert ticks(3, 3) == [3]
    marks = ticks(0.013, 0.087)
    assert all(0.013 <= t <= 0.087 for t in marks)
    assert len(marks) >= 2


def test_curves_survive_missing_and_equal_values():
    assert "NaN" not in str(lines({"a": [(1, float("nan")), (2, 1.0), (3, 1.0)]}, x_label="epoch"))
    assert str(lines({"a": []}, x_label="epoch")) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(1234567, "1,234,567"), (0.123456, "0.123"), (2.0, "2"), (None, "–"), (float("nan"), "–"), (True, "yes")]
)
def test_numbers_as_people_read_them(value, text):
    assert number(value) == text


def test_shares_and_long_values():
    assert percent(0.2345) == "23.4 %" or percent(0.2345) == "23.5 %"
    assert percent(0.0002) == "< 0.1 %"
    assert percent(0.0) == "0.0 %"
    assert len(compact(list(range(1000)), 100)) == 100


def test_a_page_of_any_result():
    data = Dataset(inputs=np.zeros((5, 2)), labels=ClassLabels(values=np.array([0, 1, 0, 1, 0])))
    page = result_page(audited(data, np.zeros(5, dtype=bool), score=0.25), data=data, command="labelwright audit x", verdict=EVIL)
    assert "script" not in parsed(page).tags
    assert "0.25" in page


def test_croissant_is_read_and_found_valid_by_mlcroissant(tmp_path):
    mlc = pytest.importorskip("mlcroissant")
    data, wrong = texts()
    audit = audited(data, wrong)
    audit.findings.write_parquet(tmp_path / "findings.parquet")
    summary = {"n": 40, "issues": {"label_error": {"flagged": 4}}}
    (tmp_path / "croissant.json").write_text(json.dumps(croissant(data, tmp_path / "findings.parquet", summary)))
    dataset = mlc.Dataset(jsonld=str(tmp_path / "croissant.json"))
    assert not dataset.metadata.issues.errors
    rows = list(dataset.records("findings"))
    assert len(rows) == 40
    assert sum(bool(r["findings/flagged"]) for r in rows) == 4
