"""Two datasets of one kind as one, to look for examples they share."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright.data import Dataset, Images, LazyInputs, TableRows, Texts
from labelwright.errors import InputError

__all__ = ["joined"]


def joined(a: Dataset, b: Dataset) -> Dataset:
    """Two datasets in a row, with ids that say where an example comes from; labels and columns are left out.

    Raises
    ------
    InputError
        If they hold different kinds of inputs or different shapes.
    """
    import polars as pl

    x, y = a.inputs, b.inputs
    inputs: Any
    if a.kind != b.kind or type(x) is not type(y):
        raise InputError(f"The second dataset holds {b.kind}, this one {a.kind}.", hint="Read both the same way.")
    if isinstance(x, Texts):
        inputs = Texts([*x.texts, *y.texts])
    elif isinstance(x, Images):
        inputs = Images([*x.sources, *y.sources], names=[*x.names, *y.names])
    elif isinstance(x, TableRows):
        if set(x.frame.columns) != set(y.frame.columns):
            raise InputError("The second dataset has other columns.", hint="Read both the same way.")
        inputs = TableRows(pl.concat([x.frame, y.frame.select(x.frame.columns)], how="vertical_relaxed"))
    elif isinstance(x, LazyInputs) or tuple(x.shape[1:]) != tuple(y.shape[1:]):
        raise InputError("The second dataset's examples have another shape.", hint="Read both the same way.")
    else:
        inputs = np.concatenate([np.asarray(x), np.asarray(y)])
    ids = np.concatenate([a.ids.astype(str), np.char.add("second dataset: ", b.ids.astype(str))])
    return Dataset(inputs=inputs, ids=ids, info=a.info)
