"""Who holds what: every row is counted once, whatever the number of clients."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from edgefed.config import SettingsError
from edgefed.report import plot_shards
from edgefed.report.holdings import arranged
from edgefed.report.shards import shards_figure

COUNTS = np.array([[1, 0, 4], [0, 0, 0], [0, 2, 7]])
NAMES = ("a", "b", "c")


def numbers_of(figure: Figure) -> list[list[int]]:
    """The numbers in the cells of the grid, by row."""
    axes = figure.axes[0]
    cells = {tuple(text.get_position()): text.get_text() for text in axes.texts}
    rows, columns = (1 + max(place[axis] for place in cells) for axis in (1, 0))
    return [
        [0 if cells[column, row] == "·" else int(cells[column, row].replace(",", "")) for column in range(columns)]
        for row in range(rows)
    ]


def test_a_few_clients_have_a_row_each_with_classes_from_common_to_rare() -> None:
    figure = shards_figure(COUNTS, NAMES)
    main, top, side = figure.axes
    # Totals: a 1, b 2, c 11.
    assert [label.get_text() for label in main.get_xticklabels()] == ["c", "b", "a"]
    assert numbers_of(figure) == [[4, 0, 1], [0, 0, 0], [7, 2, 0]]
    assert [bar.get_height() for bar in top.patches] == [11, 2, 1]
    assert [text.get_text() for text in top.texts] == ["11 rows\nat 2 of 3", "2 rows\nat 1 of 3", "1 rows\nat 1 of 3"]
    assert [bar.get_width() for bar in side.patches] == [5, 0, 9]
    assert [text.get_text() for text in side.texts][:3] == ["5", "empty", "9"]
    assert "1 client is empty." in " ".join(figure.get_supxlabel().split())


def test_clients_keep_their_names_and_idle_ones_say_why() -> None:
    figure = shards_figure(COUNTS, NAMES, "made up", ("north", "south", "west"), ("", "empty shard", "one class only"))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["north", "south", "west"]
    assert figure.axes[2].texts[2].get_text() == "9  idle: one class only"
    said = " ".join(figure.get_supxlabel().split())
    assert "The remedy does nothing at 2 of 3 clients (empty shard 1, one class only 1)." in said


@pytest.mark.parametrize("clients", [51, 400, 1000])
def test_many_clients_are_gathered_without_losing_a_row(clients: int) -> None:
    rng = np.random.default_rng(clients)
    counts = rng.poisson(0.4, (clients, 10))
    counts[0] = 0
    figure = shards_figure(counts, [f"class {label}" for label in range(10)])
    shown = np.array(numbers_of(figure))
    assert len(shown) <= 30 + 10 + 1
    assert shown.sum(0).tolist() == sorted(counts.sum(0).tolist(), reverse=True)
    empty = int((counts.sum(1) == 0).sum())
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[-1] == f"empty ({empty:,})"
    assert sum(int(text.split("(")[1].strip(")").replace(",", "")) for text in labels) == clients
    said = " ".join(figure.get_supxlabel().split())
    assert "sorted by largest class" in said
    _, _, sizes, kinds = figure.axes
    assert sum(bar.get_height() for bar in sizes.patches) == clients - empty
    assert [bar.get_height() for bar in kinds.patches] == np.bincount((counts > 0).sum(1), minlength=11).tolist()


def test_a_group_holds_clients_of_one_largest_class() -> None:
    counts = np.zeros((60, 2), int)
    counts[:40, 0], counts[:40, 1], counts[40:, 1] = 3, 1, 2
    found = arranged(counts, ("x", "y"))
    assert [name for name, _ in found.blocks] == ["x (40)", "y (20)"]
    first = found.blocks[0][1]
    assert found.rows[:first].sum(0).tolist() == [120, 40]
    assert found.rows[first:].sum(0).tolist() == [0, 40]
    assert found.rows[:, 0].max() <= 3 * found.group


def test_sixty_empty_clients_can_be_drawn() -> None:
    assert numbers_of(shards_figure(np.zeros((60, 2), int), ("x", "y"))) == [[0, 0]]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_suffix_decides_the_format(tmp_path: Path, suffix: str) -> None:
    wanted = tmp_path / "new" / f"who{suffix}"
    assert plot_shards(COUNTS, NAMES, wanted) == [wanted]
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert wanted.read_bytes().startswith(start)


def test_another_suffix_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"who\.jpg: pictures are written as \.png, \.svg or \.pdf") as caught:
        plot_shards(COUNTS, NAMES, tmp_path / "who.jpg")
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        plot_shards(COUNTS, NAMES, tmp_path / "file" / "who.png")


def test_a_class_may_be_called_anything(tmp_path: Path) -> None:
    names = ("$5 to $10", "a_b^c <&>", "")
    (path,) = plot_shards(COUNTS, names, tmp_path / "who.svg")
    text = path.read_text(encoding="utf-8")
    assert "$5 to $10" in text
    assert "a_b^c &lt;&amp;&gt;" in text
    assert "(unnamed)" in text
