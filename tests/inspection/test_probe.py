"""Picture of the response of scores to edits."""

import numpy as np
import pandas as pd
import pytest

from clapstack.inspection import ProbeDisplay


@pytest.fixture
def probed():
    columns = ["edit", "kind", "n_pairs", "change", "low", "high", "falls"]
    rows = [
        ["swap", "meaning", 40, -0.1, -0.3, 0.1, 0.554],
        ["drop", "meaning", 0, *[np.nan] * 4],
        ["case", "wording", 50, 0.2, np.nan, np.nan, 0.0],
        ["level", "clip", 50, -2.0, -2.5, -1.5, 1.0],
    ]
    return pd.DataFrame(rows, columns=columns)


def test_bars_are_mean_changes_of_the_edits_that_apply(probed):
    display = ProbeDisplay(probed=probed).plot()
    assert [bar.get_width() for bar in display.bars_] == [-0.1, 0.2, -2.0]
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["swap (40)", "case (50)", "level (50)"]
    assert [text.get_text() for text in display.ax_.texts] == ["55 %", "0 %", "100 %"]
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["meaning changed", "wording changed", "clip changed"]


def test_kinds_differ_by_more_than_colour(probed):
    bars = ProbeDisplay(probed=probed).plot().bars_
    assert len({bar.get_hatch() for bar in bars}) == 3
    assert len({bar.get_facecolor() for bar in bars}) == 3


def test_the_picture_in_words(probed):
    words = ProbeDisplay(probed=probed).describe()
    assert (
        "swap -0.10 (falls for 55 % of 40 pairs), case +0.20 (falls for 0 % of 50"
        in words
    )
    none = ProbeDisplay(probed=probed[1:2])
    assert none.describe() == "Mean change of the score: no edit applies."
    none.plot()


def test_the_same_picture_is_the_same_file(probed):
    display = ProbeDisplay(probed=probed)
    assert display.to_svg() == display.to_svg()


def test_tables_of_another_kind_are_refused(probed):
    with pytest.raises(ValueError, match=r"missing \['falls'\]"):
        ProbeDisplay(probed=probed.drop(columns="falls"))
    with pytest.raises(
        ValueError, match=r"has an edit more than once\. Pass the rows of one axis"
    ):
        ProbeDisplay(probed=pd.concat([probed, probed]))
