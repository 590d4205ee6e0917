"""Progress is silent unless it is asked for, and never changes what is iterated."""

from __future__ import annotations

import pytest

from labelwright.progress import shown, track


def test_silent_by_default(capsys):
    assert list(track(range(3), "work")) == [0, 1, 2]
    with shown(False):
        assert list(track(iter("ab"), "work")) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_bars_go_to_standard_error_and_are_removed(capsys):
    from labelwright import progress

    with shown():
        bars = progress._BARS.get()
        seen = []
        for item in track([5, 6], "work"):
            seen.append((item, bars.tasks[0].completed, bars.tasks[0].total, bars.tasks[0].description))
            assert list(track(range(2), "inner")) == [0, 1]
        assert seen == [(5, 0, 2, "work"), (6, 1, 2, "work")]
        assert bars.tasks == []
    assert progress._BARS.get() is None
    assert capsys.readouterr().out == ""


def test_a_bar_is_removed_when_the_work_fails():
    from labelwright import progress

    def fail():
        for _ in track(range(3), "work"):
            raise ValueError("stop")

    with shown():
        with pytest.raises(ValueError, match="stop"):
            fail()
        assert progress._BARS.get().tasks == []
