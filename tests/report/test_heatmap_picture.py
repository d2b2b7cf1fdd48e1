"""The heat map: the grid's own figures in every cell, a mark and not colour alone, any number of panels."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text

from edgefed.config import SettingsError
from edgefed.report.heatmap import gain_figure, plot_grid

BETTER, WORSE, SAME, FEW = "better than none", "worse than none", "indistinguishable from none", "too few seeds"


def left_title(axes: Axes) -> Text:
    """Return the text that stands over the left end of axes."""
    title = axes.get_title(loc="left")
    (found,) = (child for child in axes.get_children() if isinstance(child, Text) and child.get_text() == title)
    return found


def result_of(
    grid: dict[str, list[Any]],
    gains: dict[str, list[float | None]],
    tiers: dict[str, list[tuple[str, str]]] | None = None,
) -> dict[str, Any]:
    """Return what ``grid.json`` holds of remedies with these gains a block, half an interval of 0.5 points each."""
    blocks, rows = [], []
    for number, values in enumerate(itertools.product(*grid.values())):
        name = f"block-{number}"
        settings = dict(zip(grid, values, strict=True))
        level = {"name": "none", "balanced_accuracy": {"mean": 0.8 + number / 1000}}
        blocks.append({"block": name, "settings": settings, "strategies": [level]})
        for remedy, means in gains.items():
            mean = means[number]
            within, whole = (tiers or {}).get(remedy, [(SAME, SAME)] * len(means))[number]
            rows.append(
                {
                    "block": name,
                    "strategy": remedy,
                    "mean": mean,
                    "low": None if mean is None else mean - 0.005,
                    "high": None if mean is None else mean + 0.005,
                    "tier": within,
                    "tier_grid": whole,
                }
            )
    return {
        "grid": grid,
        "blocks": blocks,
        "gains": rows,
        "wins": [{"strategy": remedy} for remedy in gains],
        "seeds": list(range(30)),
        "generalises_over": "on iris, over random splits (30 seeds)",
    }


def drawn(result: dict[str, Any]) -> Figure:
    figure = gain_figure(result)
    assert figure is not None
    return figure


def panels_of(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(loc="left").replace("\n", " "): axes for axes in figure.axes if axes.get_title(loc="left")}


def notes_of(axes: Axes) -> list[Annotation]:
    """Return a panel's texts, each of which belongs to a cell (column, row)."""
    assert all(isinstance(text, Annotation) for text in axes.texts)
    return [text for text in axes.texts if isinstance(text, Annotation)]


def words_of(axes: Axes) -> dict[tuple[int, int], list[str]]:
    """Return the texts of each cell (column, row), its lower line last."""
    found: dict[tuple[int, int], list[str]] = {}
    for text in notes_of(axes):
        column, row = text.xy
        found.setdefault((column, row), []).append(text.get_text())
    return found


def colours_of(axes: Axes) -> dict[tuple[int, int], tuple[float, ...]]:
    cells = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return {(round(cell.get_x() + 0.5), round(cell.get_y() + 0.5)): to_rgb(cell.get_facecolor()) for cell in cells}


TWO = {"alpha": [0.1, 1.0], "long-tail": [1.0, 3.0, 10.0]}


def test_every_cell_holds_its_gain_and_half_its_interval() -> None:
    """Blocks go through the last key first: block 4 is alpha 1 (second column), tail 3 (second row)."""
    gains = {"post-hoc": [0.001, 0.012, -0.023, 0.034, 0.045, 0.0], "smote": [0.0] * 6}
    panels = panels_of(drawn(result_of(TWO, gains)))

    assert list(panels) == ["none itself (%)", "post-hoc", "smote"]
    words = words_of(panels["post-hoc"])
    assert {place: texts[0] for place, texts in words.items()} == {
        (0, 0): "+0.1",
        (0, 1): "+1.2",
        (0, 2): "−2.3",
        (1, 0): "+3.4",
        (1, 1): "+4.5",
        (1, 2): "0.0",
    }
    assert {texts[1] for texts in words.values()} == {"±0.5"}
    assert words_of(panels["none itself (%)"])[1, 1][0] == "80.4"
    axes = panels["post-hoc"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.1", "1"]
    assert [text.get_text() for text in panels["none itself (%)"].get_yticklabels()] == ["1", "3", "10"]
    assert axes.get_xlabel() == "alpha"
    assert panels["none itself (%)"].get_ylabel() == "long-tail"


def test_cells_told_apart_are_marked_and_not_by_colour_alone() -> None:
    tiers = [(BETTER, BETTER), (BETTER, SAME), (WORSE, WORSE), (WORSE, SAME), (SAME, SAME), (FEW, FEW)]
    gains = [0.02, 0.02, -0.02, -0.02, 0.02, 0.02]
    panel = panels_of(drawn(result_of(TWO, {"a": gains}, {"a": tiers})))["a"]

    words = words_of(panel)
    assert [words[place][0] for place in itertools.product(range(2), range(3))] == [
        "▲ +2.0",
        "△ +2.0",
        "▼ −2.0",
        "▽ −2.0",
        "+2.0",
        "+2.0",
    ]
    bold = {text.xy for text in notes_of(panel) if text.get_fontweight() == "bold"}
    assert bold == {(0, 0), (0, 2)}


def test_colours_are_centred_on_no_difference() -> None:
    figure = drawn(result_of(TWO, {"a": [0.04, 0.0, -0.04, 0.02, -0.02, 0.01]}))
    colours = colours_of(panels_of(figure)["a"])

    assert colours[0, 1] == (1, 1, 1)
    red, _, blue = range(3)
    assert colours[0, 0][blue] > colours[0, 0][red]
    assert colours[0, 2][red] > colours[0, 2][blue]
    bar = next(axes for axes in figure.axes if axes.get_ylabel() == "gain over none (points)")
    assert bar.get_ylim() == pytest.approx((-4, 4))


def test_small_gains_stay_pale() -> None:
    figure = drawn(result_of(TWO, {"a": [0.001, -0.001, 0.0, 0.0, 0.0, 0.0]}))

    bar = next(axes for axes in figure.axes if axes.get_ylabel() == "gain over none (points)")
    assert bar.get_ylim() == pytest.approx((-1, 1))
    assert min(colours_of(panels_of(figure)["a"])[0, 0]) > 0.9


def test_one_gain_far_away_does_not_bleach_the_others() -> None:
    gains = [0.02] * 11 + [-0.6]
    figure = drawn(result_of({"alpha": [0.1, 1.0], "long-tail": [1, 2, 3, 4, 5, 6]}, {"a": gains}))

    bar = next(axes for axes in figure.axes if axes.get_ylabel() == "gain over none (points)")
    assert bar.get_ylim() == pytest.approx((-2, 2))
    assert words_of(panels_of(figure)["a"])[1, 5][0] == "−60.0"
    assert "colour scale ends" in figure.get_supxlabel().replace("\n", " ")


def test_one_key_is_a_line_a_remedy() -> None:
    figure = drawn(
        result_of({"dataset": ["iris", "wine", "digits"]}, {"a": [0.01, 0.02, 0.03], "b": [0.0, 0.0, -0.01]})
    )
    axes = figure.axes[0]

    assert [text.get_text() for text in axes.get_yticklabels()] == ["none itself (%)", "a", "b"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["iris", "wine", "digits"]
    words = words_of(axes)
    assert [words[column, 1][0] for column in range(3)] == ["+1.0", "+2.0", "+3.0"]
    assert [words[column, 2][0] for column in range(3)] == ["0.0", "0.0", "−1.0"]
    assert [words[column, 0][0] for column in range(3)] == ["80.0", "80.1", "80.2"]


def test_three_keys_have_a_panel_for_each_value_of_the_first() -> None:
    grid = {"dataset": ["iris", "wine"], **TWO}
    gains = {"a": [number / 1000 for number in range(12)]}
    panels = panels_of(drawn(result_of(grid, gains)))

    assert list(panels) == [
        "none itself (%) dataset=iris",
        "none itself (%) dataset=wine",
        "a dataset=iris",
        "a dataset=wine",
    ]
    # Block 6 is the first of wine: alpha 0.1, tail 1.
    assert words_of(panels["a dataset=wine"])[0, 0][0] == "+0.6"
    assert words_of(panels["a dataset=iris"])[1, 2][0] == "+0.5"


def test_what_has_no_value_says_so() -> None:
    panel = panels_of(drawn(result_of(TWO, {"a": [None, 0.01, 0.0, 0.0, 0.0, 0.0]})))["a"]

    assert words_of(panel)[0, 0][0] == "no value"
    assert words_of(panel)[0, 1][0] == "+1.0"


@pytest.mark.parametrize("count", [1, 2, 7, 26])
def test_any_number_of_remedies_is_legible(count: int) -> None:
    """No panel on another, every number within its cell, nothing beyond the page."""
    names = [f"class-weights-inverse-sqrt-{number}" for number in range(count)]
    tiers = [(WORSE, WORSE)] * 9
    grid = {"alpha": [0.1, 0.3, 1.0], "long-tail": [1.0, 3.0, 10.0]}
    figure = drawn(result_of(grid, dict.fromkeys(names, [-0.123] * 9), dict.fromkeys(names, tiers)))

    width, height = figure.get_size_inches() * figure.dpi
    assert width <= 10.2 * figure.dpi
    boxes = [axes.get_tightbbox() for axes in figure.axes if axes.get_title(loc="left")]
    assert len(boxes) == count + 1
    for box in boxes:
        assert box is not None
        assert box.x0 >= -1
        assert box.x1 <= width + 1
        assert box.y0 >= -1
        assert box.y1 <= height + 1
    insides = [axes.get_window_extent() for axes in figure.axes if axes.get_title(loc="left")]
    titles = [left_title(axes).get_window_extent() for axes in figure.axes if axes.get_title(loc="left")]
    for (one, inside), (other, title) in itertools.permutations(enumerate(zip(insides, titles, strict=True)), 2):
        assert not inside[0].overlaps(title[0]), (one, other)
        assert not inside[0].overlaps(title[1]), (one, other)
    panel = figure.axes[1]
    cell = panel.get_window_extent().width / 3
    for text in panel.texts:
        assert text.get_window_extent().width < cell


def test_the_words_below_say_which_tests_and_how_many() -> None:
    figure = drawn(result_of(TWO, {"a": [0.0] * 6, "b": [0.0] * 6}, {"a": [(FEW, FEW)] * 6}))

    said = figure.get_supxlabel().replace("\n", " ")
    assert "over all 12 contrasts of the grid" in said
    assert "over 30 seeds" in said
    assert "With so few seeds nothing could be told apart" in said
    assert "Holds on iris" in said
    title = figure.get_suptitle().replace("\n", " ")
    assert title == "Gain of each remedy over none by alpha and long-tail"


# ---------------------------------------------------------------------------------------------- files
def test_the_picture_is_drawn_from_the_folder_alone_and_twice_the_same(tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text(json.dumps(result_of(TWO, {"a": [0.01] * 6})))

    first = plot_grid(tmp_path)
    again = plot_grid(tmp_path, tmp_path / "again")

    assert first == [tmp_path / "plots" / "gain.png", tmp_path / "plots" / "gain.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_a_control_alone_is_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text(json.dumps(result_of(TWO, {})))

    assert plot_grid(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["{}", '{"grid": {"alpha": [1, 2]}, "blocks": [1], "gains": [], "wins": []}', "[]", "{"]
)
def test_a_file_that_was_edited_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "grid.json").write_text(text)

    with pytest.raises(SettingsError, match=r"grid\.json"):
        plot_grid(tmp_path)


def test_another_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not a finished grid"):
        plot_grid(tmp_path)
