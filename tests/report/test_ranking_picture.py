"""The ranking draws the folder's figures, and says in words what they amount to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_folders import write_comparison
from matplotlib.axes import Axes

from edgefed.report.folder import ComparisonFolder
from edgefed.report.ranking import ranking_figure


def dots_of(axes: Axes) -> list[np.ndarray]:
    """The seeds' dots of each row, from top to bottom."""
    return [np.sort(line.get_xdata()) for line in axes.lines if line.get_markerfacecolor() == "#9A9A9A"]


def means_of(axes: Axes) -> list[float]:
    shapes = ("D", "o", "^", "v", "s")
    lines = [line for line in axes.lines if line.get_marker() in shapes and len(line.get_xdata()) == 1]
    return [float(line.get_xdata()[0]) for line in lines if line.get_markersize() == 4.5]


def words_of(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def arms_of(found: ComparisonFolder) -> list[dict[str, Any]]:
    return list(found.result["strategies"])


def test_means_intervals_and_seeds_are_the_folders(comparison: Path) -> None:
    found = ComparisonFolder.read(comparison)
    left, right = ranking_figure(found).axes
    arms = arms_of(found)
    shown = len(arms)
    assert [label.get_text() for label in left.get_yticklabels()][:shown] == [arm["name"] for arm in arms]
    assert means_of(left)[:shown] == pytest.approx([100 * arm["balanced_accuracy"]["mean"] for arm in arms])
    for arm, dots in zip(arms, dots_of(left), strict=False):
        assert dots == pytest.approx(np.sort(100 * np.array(arm["balanced_accuracy"]["values"])), abs=1.2)
    gaps = [arm["difference"] for arm in arms if arm["difference"]]
    assert means_of(right) == pytest.approx([100 * gap["mean"] for gap in gaps])
    low, high = right.get_xlim()
    drawn = [bar.get_segments()[0][:, 0] for bar in right.collections if len(bar.get_segments()) == 1]
    expected = [np.clip([100 * gap["low"], 100 * gap["high"]], low, high) for gap in gaps]
    assert np.array(drawn) == pytest.approx(np.array(expected))


def test_seeds_that_tie_at_all_or_nothing_are_drawn_within_what_a_share_can_be(tmp_path: Path) -> None:
    write_comparison(tmp_path / "c", {"none": 0.0, "post-hoc": 0.0}, seeds=30, rounds=1)
    found = ComparisonFolder.read(tmp_path / "c")
    for arm, share in zip(arms_of(found), (1.0, 0.0), strict=True):
        arm["balanced_accuracy"] |= {"mean": share, "low": share, "high": share, "values": [share] * 30}
    all_right, all_wrong = dots_of(ranking_figure(found).axes[0])[:2]

    assert len(np.unique(all_right)) > 2
    assert all_right.max() == pytest.approx(100)
    assert len(np.unique(all_wrong)) > 2
    assert all_wrong.min() == pytest.approx(0)


def test_seeds_that_tie_are_all_drawn(tmp_path: Path) -> None:
    write_comparison(tmp_path / "c", {"none": 0.0, "post-hoc": 0.0}, seeds=30, rounds=1)
    found = ComparisonFolder.read(tmp_path / "c")
    for axes in ranking_figure(found).axes:
        places = [
            (line.get_xdata(), line.get_ydata()) for line in axes.lines if line.get_markerfacecolor() == "#9A9A9A"
        ]
        for x, y in places:
            assert len(x) == 30
            assert len(set(zip(np.round(x, 6), np.round(y, 6), strict=True))) == 30


def test_tiers_are_written_beside_their_remedies_with_p_values(comparison: Path) -> None:
    found = ComparisonFolder.read(comparison)
    words = words_of(ranking_figure(found).axes[1])
    for arm, text in zip(arms_of(found), words, strict=False):
        assert text.startswith(arm["tier"])
        assert ("p = " in text or "p < " in text) == (arm["difference"] is not None)
    assert [text.split("\n")[0] for text in words[:4]] == [
        "better than none",
        *("indistinguishable from none", "control")[:: 1 if arms_of(found)[2]["name"] == "none" else -1],
        "worse than none",
    ]


def test_what_holds_on_these_rows_alone_is_written_there_and_explained(comparison: Path) -> None:
    found = ComparisonFolder.read(comparison)
    caveat = "for other rows of the kind the interval includes zero"
    assert caveat not in " ".join(ranking_figure(found).get_supxlabel().split())
    first, *_, last = arms_of(found)
    first["nadeau_bengio"], last["nadeau_bengio"] = {"low": -0.01, "high": 0.1}, {"low": -0.2, "high": -0.01}

    figure = ranking_figure(found)

    words = words_of(figure.axes[1])
    assert words[0].startswith("better than none\non these rows, p ")
    assert words[3].startswith("worse than none\np ")
    assert f"On these rows: {caveat}" in " ".join(figure.get_supxlabel().split())


def test_the_control_is_a_line_through_both_panels(comparison: Path) -> None:
    found = ComparisonFolder.read(comparison)
    left, right = ranking_figure(found).axes
    control = found.control
    assert control is not None
    mean = 100 * control["balanced_accuracy"]["mean"]
    assert [line.get_xdata()[0] for line in left.lines if line.get_linestyle() == "--"] == pytest.approx([mean])
    assert [line.get_xdata()[0] for line in right.lines if line.get_linestyle() == "--"] == [0]
    assert f"none {mean:.1f} %" in words_of(left)


def test_a_reference_far_away_is_named_at_the_edge_and_not_lost(tmp_path: Path) -> None:
    write_comparison(tmp_path / "c", {"none": 0.0, "post-hoc": 0.02}, seeds=12, rounds=40)
    found = ComparisonFolder.read(tmp_path / "c")
    left = ranking_figure(found).axes[0]
    score = found.result["references"]["local-only"]
    assert left.get_xlim()[0] > 100 * score["high"]
    said = [text for text in words_of(left) if text.startswith("◄")]
    assert said == [f"◄ {100 * score['mean']:.1f} ({100 * score['low']:.1f} to {100 * score['high']:.1f})"]


def test_the_caption_defines_interval_test_and_scope(comparison: Path) -> None:
    figure = ranking_figure(ComparisonFolder.read(comparison))
    said = " ".join(figure.get_supxlabel().split())
    assert "mean and 95 % t interval over 8 seeds" in said
    assert "Holm's method for 3 contrasts" in said
    assert "on iris, over random splits, partitions and initialisations (8 seeds)" in said


def test_a_control_alone_has_one_panel(tmp_path: Path) -> None:
    write_comparison(tmp_path / "c", {"none": 0.0}, seeds=3)
    (axes,) = ranking_figure(ComparisonFolder.read(tmp_path / "c")).axes
    assert "control" in words_of(axes)


def test_values_that_are_missing_leave_gaps(comparison: Path) -> None:
    found = ComparisonFolder.read(comparison)
    arm = found.result["strategies"][1]
    arm["balanced_accuracy"] = {"mean": None, "low": None, "high": None, "values": [None] * 7 + [0.8]}
    arm["difference"] = {"mean": None, "low": None, "high": None, "p_holm": None}
    left, right = ranking_figure(found).axes
    assert len(dots_of(left)[1]) == 1
    assert len(means_of(right)) == 3
    assert np.isnan(means_of(right)[1])


def test_no_text_lies_on_another(comparison: Path) -> None:
    figure = ranking_figure(ComparisonFolder.read(comparison))
    right = figure.axes[1]
    boxes = [text.get_window_extent() for text in right.texts]
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])
        assert box.x1 <= figure.bbox.x1
    assert all(label.get_window_extent().x0 >= 0 for label in figure.axes[0].get_yticklabels())
