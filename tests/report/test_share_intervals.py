"""Intervals of shares end at 0 and 100 % wherever they are shown, and that is said; the folder's numbers stay."""

import numpy as np
import pytest
from made_folders import write_comparison
from page_reader import read

from edgefed.report.band import band
from edgefed.report.folder import CUT, ComparisonFolder, passes_its_ends, share_interval
from edgefed.report.page import words
from edgefed.report.ranking import ranking_figure
from edgefed.runs import read_json, write_json


@pytest.fixture
def folder(tmp_path):
    """A comparison whose control's interval passes 100 % and whose remedy's difference is as wide."""
    home = tmp_path / "compared"
    write_comparison(home, {"none": 0.1, "post-hoc": 0.15}, seeds=4, references=False)
    result = read_json(home / "comparison.json")
    control = next(arm for arm in result["strategies"] if arm["name"] == "none")
    control["balanced_accuracy"] |= {"mean": 0.94, "low": 0.85, "high": 1.03}
    write_json(home / "comparison.json", result)
    return home


def test_only_what_cannot_be_is_cut():
    assert share_interval({"low": 0.2, "high": 0.7}) == (0.2, 0.7)
    assert share_interval({"low": -0.1, "high": 1.2}) == (0.0, 1.0)
    assert np.isnan(share_interval({"low": None, "high": None})).all()
    assert [passes_its_ends([{"low": low, "high": high}]) for low, high in ((0, 1), (-0.1, 1), (0, 1.1))] == [
        False,
        True,
        True,
    ]
    assert not passes_its_ends([{"low": None, "high": None}])


def test_a_share_is_cut_and_a_difference_is_not():
    wide = {"mean": 0.94, "low": 0.85, "high": 1.03}
    assert words.interval(wide) == "85.0 to 100.0"
    assert words.interval({"mean": 0.0, "low": -1.5, "high": 1.5}, words.points) == "−150.0 to +150.0"
    assert words.interval({"mean": 0.9, "low": -0.2, "high": 1.4}, words.plain) == "−0.200 to 1.400"


def test_a_band_is_cut_where_it_is_asked_to_be():
    whole = band(np.array([[60.0, 99.0], [100.0, 100.0]]))
    assert whole.high[0] > 100
    cut = whole.within(0, 100)
    np.testing.assert_array_equal(cut.mean, whole.mean)
    assert (cut.low[0], cut.high[0]) == (0.0, 100.0)


def test_page_and_picture_show_the_cut_interval_and_say_so(folder):
    page = read(folder)
    assert page.row("differences", "none")[2].split(" ", 1) == ["94.0", "85.0 to 100.0"]
    assert CUT in page.text

    (left, *_) = ranking_figure(ComparisonFolder.read(folder)).axes
    ends = [float(line.get_segments()[0][:, 0].max()) for line in left.collections if len(line.get_segments()) == 1]
    assert max(ends) == 100.0
    kept = {arm["name"]: arm["balanced_accuracy"] for arm in read_json(folder / "comparison.json")["strategies"]}
    assert kept["none"]["high"] == 1.03


def test_nothing_is_said_where_nothing_is_cut(tmp_path):
    write_comparison(tmp_path / "c", {"none": 0.0, "post-hoc": 0.01}, seeds=4, references=False)
    result = read_json(tmp_path / "c" / "comparison.json")
    assert not passes_its_ends([arm["balanced_accuracy"] for arm in result["strategies"]])
    assert CUT not in read(tmp_path / "c").text
