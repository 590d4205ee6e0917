"""Label quality by group: Wilson's interval by formula, the planted bad group called out."""

from __future__ import annotations

import math

import numpy as np

from labelwright.audit.groups import group_quality, groups_of


def test_rates_and_wilson_interval_by_formula():
    column = np.array(["a"] * 10 + ["b"] * 40 + ["c"] * 2)
    flagged = np.zeros(52, dtype=bool)
    flagged[:3] = True
    known = np.arange(52) < 50
    rows = group_quality(flagged, known, column)
    assert [(r["group"], r["n"], r["flagged"]) for r in rows] == [("a", 10, 3), ("b", 40, 0)]
    z, p, n = 1.959963984540054, 0.3, 10
    centre, half = (p + z * z / (2 * n)) / (1 + z * z / n), z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert math.isclose(rows[0]["low"], centre - half, rel_tol=1e-9)
    assert math.isclose(rows[0]["high"], centre + half, rel_tol=1e-9)
    assert rows[0]["worse"]
    assert not rows[1]["worse"]


def test_a_planted_bad_annotator_is_the_only_one_called_worse():
    rng = np.random.default_rng(0)
    who = rng.integers(0, 5, 2_000)
    flagged = rng.random(2_000) < np.where(who == 3, 0.4, 0.1)
    rows = group_quality(flagged, np.ones(2_000, dtype=bool), who)
    assert [r["group"] for r in rows if r["worse"]] == ["3"]


def test_only_columns_that_name_groups():
    found, left = groups_of({"domain": np.array(["x", "y"] * 5), "group": np.zeros(10), "height": np.arange(10)})
    assert list(found) == ["domain"]
    assert list(left) == ["group"]
    assert "1 group;" in left["group"]
