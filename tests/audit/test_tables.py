"""Missing values and constant columns, by hand."""

from __future__ import annotations

import numpy as np
import polars as pl

from labelwright.audit.tables import columns_of, constant_columns, missing_values
from labelwright.data import Dataset, Info, TableRows


def test_a_table_by_hand():
    frame = pl.DataFrame(
        {
            "number": [1.0, float("nan"), None, float("inf")],
            "word": ["a", "", " ", "b"],
            "same": [7, 7, None, 7],
            "empty": pl.Series([None] * 4, dtype=pl.Float64),
            "flag": [True, False, True, False],
        }
    )
    columns = columns_of(Dataset(inputs=TableRows(frame)))
    assert columns.missing.tolist() == [3, 2, 1, 4, 0]
    assert columns.row_missing.tolist() == [1, 3, 4, 2]
    # 'number' keeps one finite value, so it says nothing either
    assert constant_columns(columns) == ["number", "same", "empty"]
    found = missing_values(columns)
    assert found.index.tolist() == [1, 2]  # more than half of five
    assert found.reason[1] == "4 of 5 columns are missing"
    assert np.allclose(found.score, [0.5 + (0.6 - 0.5), 0.5 + (0.8 - 0.5)])
    assert found.facts["cells"] == 10
    assert found.facts["by_column"]["empty"] == {"rows": 4, "share": 1.0}
    assert "flag" not in found.facts["by_column"]


def test_vectors_by_hand():
    array = np.array([[1.0, 2.0, np.nan], [1.0, 3.0, 4.0], [1.0, 2.0, 5.0]])
    columns = columns_of(Dataset(inputs=array, info=Info(feature_names=("x", "y", "z"))))
    assert columns.missing.tolist() == [0, 0, 1]
    assert constant_columns(columns) == ["x"]
    assert len(missing_values(columns).index) == 0


def test_order_of_rows_does_not_matter():
    rng = np.random.default_rng(0)
    array = np.where(rng.random((50, 8)) < 0.5, np.nan, rng.normal(size=(50, 8)))
    order = rng.permutation(50)
    a, b = (missing_values(columns_of(Dataset(inputs=x))) for x in (array, array[order]))
    assert sorted(order[b.index].tolist()) == a.index.tolist()
    assert a.facts == b.facts
