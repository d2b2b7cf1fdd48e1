"""Panels by round: means, bands and differences equal the runs' histories."""

from pathlib import Path

import numpy as np
import pytest
from made_folders import write_comparison
from matplotlib.axes import Axes
from scipy import stats

from edgefed.report.folder import ComparisonFolder
from edgefed.report.panels import accuracy_by_round, band, difference_by_round, loss_by_round


def accuracy(found: ComparisonFolder, arm: str) -> np.ndarray:
    return 100 * np.array([run.history["test.balanced_accuracy"] for run in found.runs[arm]])


def solid(axes: Axes) -> np.ndarray:
    (line,) = [line for line in axes.lines if line.get_linestyle() == "-"]
    return np.asarray(line.get_ydata())


def dashed(axes: Axes) -> np.ndarray:
    (line,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    return np.asarray(line.get_ydata())


def test_a_band_by_hand() -> None:
    # Two seeds, 1 and 3: mean 2, s = sqrt(2), s / sqrt(n) = 1, t_{1, 0.975} = 12.706.
    found = band(np.array([[1.0, 5.0, np.nan], [3.0, np.nan, np.nan]]))
    assert found.mean[:2].tolist() == [2, 5]
    assert [found.low[0], found.high[0]] == pytest.approx([2 - 12.7062, 2 + 12.7062], abs=1e-4)
    assert np.isnan(found.low[1])  # one seed shows no spread
    assert np.isnan(found.mean[2])


def test_a_band_equals_scipys_interval_column_by_column() -> None:
    values = np.random.default_rng(3).normal(80, 5, (9, 4))
    found = band(values)
    for column in range(4):
        sample = values[:, column]
        low, high = stats.t.interval(0.95, 8, loc=sample.mean(), scale=stats.sem(sample))
        assert [found.mean[column], found.low[column], found.high[column]] == pytest.approx([sample.mean(), low, high])


def test_each_remedy_has_a_panel_with_its_mean_and_the_controls(comparison: Path) -> None:
    found = ComparisonFolder.read(comparison)
    figure = accuracy_by_round(found)
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left").replace("\n", "") for axes in panels] == [arm["name"] for arm in found.remedies]
    for axes, arm in zip(panels, found.remedies, strict=True):
        assert solid(axes) == pytest.approx(accuracy(found, arm["name"]).mean(0))
        assert dashed(axes) == pytest.approx(accuracy(found, "none").mean(0))


def test_differences_are_paired_by_seed(comparison: Path) -> None:
    found = ComparisonFolder.read(comparison)
    figure = difference_by_round(found)
    assert figure is not None
    for axes, arm in zip(figure.axes, found.remedies, strict=False):
        paired = accuracy(found, arm["name"]) - accuracy(found, "none")
        assert solid(axes) == pytest.approx(paired.mean(0))
        assert solid(axes)[-1] == pytest.approx(100 * arm["difference"]["mean"])
        bars = next(part for part in axes.collections if hasattr(part, "get_segments"))
        last = bars.get_segments()[-1][:, 1]
        assert last == pytest.approx([100 * arm["difference"]["low"], 100 * arm["difference"]["high"]])


def test_validation_loss_is_drawn_where_there_is_one(comparison: Path, tmp_path: Path) -> None:
    found = ComparisonFolder.read(comparison)
    figure = loss_by_round(found)
    assert figure is not None
    assert solid(figure.axes[0]) == pytest.approx([1.3, 0.8, 0.3 + 1 / 3])
    write_comparison(tmp_path / "c", {"none": 0.0, "post-hoc": 0.1}, seeds=2, validation=False)
    assert loss_by_round(ComparisonFolder.read(tmp_path / "c")) is None


def test_rounds_without_evaluation_are_bridged_not_drawn_as_zero(tmp_path: Path) -> None:
    write_comparison(tmp_path / "c", {"none": 0.0, "post-hoc": 0.1}, seeds=3, rounds=7, evaluate_every=3)
    found = ComparisonFolder.read(tmp_path / "c")
    figure = accuracy_by_round(found)
    assert figure is not None
    (line,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    assert line.get_xdata().tolist() == [3, 6, 7]
    assert line.get_marker() == "o"
    assert figure.axes[0].get_xlim()[0] < 1


def test_a_control_alone_has_curves_and_no_differences(tmp_path: Path) -> None:
    write_comparison(tmp_path / "c", {"none": 0.0}, seeds=2)
    found = ComparisonFolder.read(tmp_path / "c")
    figure = accuracy_by_round(found)
    assert figure is not None
    assert solid(figure.axes[0]) == pytest.approx(accuracy(found, "none").mean(0))
    assert difference_by_round(found) is None


def test_panels_say_rate_final_figure_edge_and_convergence(comparison: Path) -> None:
    found = ComparisonFolder.read(comparison)
    first = found.remedies[0]
    found.result["tuned"] = {first["name"]: {"on_the_edge": True}}
    first["not_converged"] = 3
    accuracies, losses = accuracy_by_round(found), loss_by_round(found)
    assert accuracies is not None
    assert losses is not None
    mean = 100 * first["balanced_accuracy"]["mean"]
    assert accuracies.axes[0].texts[0].get_text() == f"rate 0.3 (edge), last round {mean:.1f} %"
    assert losses.axes[0].texts[0].get_text().endswith("3 of 8 seeds still falling")
    said = " ".join(accuracies.get_supxlabel().split())
    assert "Mean over 8 seeds and its 95 % t interval" in said
    assert "edge: the lowest or highest tried" in said
    assert "over random splits, partitions and initialisations (8 seeds)" in said


def test_a_band_wider_than_the_panel_is_said_to_be_cut(tmp_path: Path) -> None:
    write_comparison(tmp_path / "c", {"none": 0.0, "post-hoc": 0.1}, seeds=2)
    figure = accuracy_by_round(ComparisonFolder.read(tmp_path / "c"))
    assert figure is not None
    assert "Bands wider than the panels are cut." in " ".join(figure.get_supxlabel().split())
