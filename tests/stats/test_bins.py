"""Shares by bin."""

import numpy as np
import pytest

from labelwright.errors import InputError
from labelwright.stats.bins import bin_of, binned_share

EDGES = (0.5, 0.65, 0.8, 0.95, 1.0)


def test_edges_belong_to_the_bin_above_but_the_last_to_the_last():
    assert bin_of([0.5, 0.64, 0.65, 0.95, 1.0, 0.49, 1.01, np.nan], EDGES).tolist() == [0, 0, 1, 3, 3, -1, -1, -1]
    with pytest.raises(InputError, match="increasing"):
        bin_of([0.5], [0, 0])


def test_shares_by_hand():
    bins = binned_share([True, False, True, True, False], [0.5, 0.6, 0.7, 0.99, 0.2], EDGES, seed=0)
    assert [b.n for b in bins] == [2, 1, 0, 1]
    assert [b.share.value for b in bins] == pytest.approx([0.5, 1.0, np.nan, 1.0], nan_ok=True)
    assert (bins[1].share.low, bins[1].share.high) == (1.0, 1.0)
    assert (bins[0].low, bins[0].high) == (0.5, 0.65)


def test_the_bootstrap_interval_is_close_to_the_binomial_one_and_repeats():
    true = np.random.default_rng(1).random(400) < 0.7
    one = binned_share(true, np.full(400, 0.9), EDGES, draws=4000, seed=3)[2].share
    assert one.high - one.low == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 400), rel=0.1)
    assert binned_share(true, np.full(400, 0.9), EDGES, draws=4000, seed=3)[2].share == one
