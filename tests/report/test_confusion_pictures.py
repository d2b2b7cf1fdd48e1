"""Confusion matrices: sums over seeds, shares of the true class, and what is summed is said."""

from pathlib import Path

import numpy as np
import pytest
from made_folders import IRIS, write_comparison, write_run
from matplotlib.axes import Axes

from edgefed.report.confusion import arms_confusion, rarity_confusion, run_confusion
from edgefed.report.folder import ComparisonFolder
from edgefed.runs import Run


def counts_of(axes: Axes, classes: int = 3) -> np.ndarray:
    """The counts written in the cells."""
    found = np.zeros((classes, classes), int)
    for text in axes.texts:
        if "\n" in text.get_text():
            column, row = text.xy
            found[row, column] = int(text.get_text().split("\n")[1].replace(",", ""))
    return found


def summed(found: ComparisonFolder, arm: str) -> np.ndarray:
    return np.sum([run.rounds[-1]["test"]["confusion"] for run in found.runs[arm]], axis=0)


def test_a_run_shows_counts_recall_and_training_rows(tmp_path: Path) -> None:
    write_run(tmp_path / "r", seed=1)
    run = Run.read(tmp_path / "r")
    figure = run_confusion(run, "made up")
    assert figure is not None
    (axes,) = figure.axes
    confusion = np.array(run.rounds[-1]["test"]["confusion"])
    assert counts_of(axes).tolist() == confusion.tolist()
    said = {tuple(text.xy): text.get_text() for text in axes.texts}
    for label in range(3):
        assert said[label, label] == f"{10 * confusion[label, label]} %\n{confusion[label, label]}"
    held = np.sum(run.manifest["shards"]["class_counts"], axis=0)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"{name}\n{rows} to train on" for name, rows in zip(IRIS, held, strict=True)
    ]


def test_the_control_and_the_first_remedy_are_summed_over_seeds(comparison: Path) -> None:
    found = ComparisonFolder.read(comparison)
    figure = arms_confusion(found)
    assert figure is not None
    left, right = figure.axes
    assert counts_of(left).tolist() == summed(found, "none").tolist()
    assert counts_of(right).tolist() == summed(found, "post-hoc").tolist()
    assert counts_of(right).sum() == 8 * 30
    assert " ".join(right.get_title(loc="left").split()) == "post-hoc: highest mean of the remedies, better than none"
    assert "summed over 8 seeds; the rare class differs by seed" in " ".join(figure.get_suptitle().split())


def test_by_rarity_each_seeds_classes_are_put_in_its_own_order(comparison: Path) -> None:
    found = ComparisonFolder.read(comparison)
    figure = rarity_confusion(found)
    assert figure is not None
    expected = np.zeros((3, 3), int)
    for run in found.runs["none"]:
        order = [IRIS.index(name) for name in run.manifest["long_tail_order"]]
        confusion = run.rounds[-1]["test"]["confusion"]
        for row in range(3):
            for column in range(3):
                expected[row, column] += confusion[order[row]][order[column]]
    assert counts_of(figure.axes[0]).tolist() == expected.tolist()
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["commonest", "middle", "rarest"]


def test_one_order_for_all_seeds_needs_no_picture_by_rarity(tmp_path: Path) -> None:
    write_comparison(tmp_path / "c", {"none": 0.0}, seeds=2, rotate=False)
    found = ComparisonFolder.read(tmp_path / "c")
    assert rarity_confusion(found) is None
    figure = arms_confusion(found)
    assert figure is not None
    assert "the rarest class is virginica" in " ".join(figure.get_suptitle().split())


def test_a_class_without_test_rows_says_so(tmp_path: Path) -> None:
    write_run(tmp_path / "r")
    run = Run.read(tmp_path / "r")
    run.rounds[-1]["test"]["confusion"] = [[10, 0, 0], [0, 0, 0], [1, 0, 199]]
    figure = run_confusion(run, "made up")
    assert figure is not None
    said = {tuple(text.xy): text.get_text() for text in figure.axes[0].texts}
    assert said == {(0, 0): "100 %\n10", (0, 2): "<1 %\n1", (2, 2): "100 %\n199", (1, 1): "no test rows"}


def test_cells_are_square_for_any_number_of_classes(tmp_path: Path) -> None:
    for count in (2, 10):
        write_run(tmp_path / str(count), classes=tuple(f"a rather long name {place}" for place in range(count)))
        figure = run_confusion(Run.read(tmp_path / str(count)), "made up")
        assert figure is not None
        box = figure.axes[0].get_window_extent()
        assert box.width == pytest.approx(box.height, rel=0.02)


def test_a_run_without_a_test_set_has_no_matrix(tmp_path: Path) -> None:
    write_run(tmp_path / "r")
    run = Run.read(tmp_path / "r")
    del run.rounds[-1]["test"]
    assert run_confusion(run, "made up") is None
