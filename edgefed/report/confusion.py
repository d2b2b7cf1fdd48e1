"""Confusion matrices: which class is taken for which, as recall and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Normalize

from edgefed.notes import tested_by_devices, tier_in_words
from edgefed.report.folder import CONTROL
from edgefed.report.glyphs import boxes_for_the_rest
from edgefed.report.style import GREY, INK, TINY, caption, house_style, label, new_figure, settle, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from edgefed.report.folder import ComparisonFolder
    from edgefed.runs import Run

    Counts = NDArray[np.int64]

COUNTED = 12
"""Classes up to which cells carry share and count; up to twice as many carry the share alone."""


def confusion_of(run: Run) -> Counts | None:
    """Return the last round's test confusion matrix [true class, predicted class]; None where there is none."""
    found = (run.rounds[-1].get("test") or {}).get("confusion") if run.rounds else None
    return None if found is None else np.array(found, np.int64)


def run_confusion(run: Run, title: str) -> Figure | None:
    """Return a run's confusion matrix, with the training rows of each class; None where there is none."""
    confusion = confusion_of(run)
    if confusion is None:
        return None
    names = list(run.manifest["classes"])
    shards = run.manifest.get("shards") or {}
    if shards.get("class_counts"):
        held = np.array(shards["class_counts"]).reshape(-1, len(names)).sum(0)
        rows = [f"{label(name, 20)}\n{count:,} to train on" for name, count in zip(names, held, strict=True)]
    else:
        rows = [label(name, 20) for name in names]
    return _figure([("", confusion)], names, rows, title, f"{tested_in_words(run)} after the last round. ")


def tested_in_words(run: Run) -> str:
    """Return which rows a run's test confusion matrix is of, to begin a sentence with."""
    return "Rows held out by the devices," if tested_by_devices(run) else "Test rows"


def explained_confusion(matrix: Counts, names: Sequence[str], title: str, said: str) -> Figure:
    """Return one confusion matrix [true class, predicted class], summed over whatever ``said`` says."""
    return _figure([("", matrix)], names, [label(name, 20) for name in names], title, said)


def arms_confusion(found: ComparisonFolder) -> Figure | None:
    """Return the control's and the best remedy's matrices, summed over seeds; None where there are none."""
    panels = _panels(found, lambda run, confusion: confusion)
    if panels is None:
        return None
    names = list(next(iter(found.runs.values()))[0].manifest["classes"])
    orders = _tail_orders(found)
    rare = {order[-1] for order in orders if order}
    if len(rare) > 1:
        note = f"summed over {len(found.seeds)} seeds; the rare class differs by seed"
    elif rare:
        note = f"summed over {len(found.seeds)} seeds; the rarest class is {rare.pop()}"
    else:
        note = f"summed over {len(found.seeds)} seeds"
    return _figure(panels, names, [label(name, 20) for name in names], f"Confusion, {note}", _scope(found))


def rarity_confusion(found: ComparisonFolder) -> Figure | None:
    """Return the same with classes in each seed's own order from common to rare, so that rare meets rare.

    None where every seed has the same order, or there is no tail.
    """
    if len({tuple(order) for order in _tail_orders(found)}) < 2:
        return None

    def by_rarity(run: Run, confusion: Counts) -> Counts:
        order = [run.manifest["classes"].index(name) for name in run.manifest["long_tail_order"]]
        return confusion[np.ix_(order, order)]

    panels = _panels(found, by_rarity)
    if panels is None:
        return None
    count = len(panels[0][1])
    middle = ["middle"] if count == 3 else [f"{_ordinal(place)} commonest" for place in range(2, count)]
    names = ["commonest", *middle, "rarest"]
    title = f"Confusion by rarity, classes in each seed's own order, summed over {len(found.seeds)} seeds"
    return _figure(panels, names, names, title, _scope(found))


def _ordinal(place: int) -> str:
    tail = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{tail}"


def _scope(found: ComparisonFolder) -> str:
    return f"Test rows after the last round; seeds share rows, so counts are not independent. {found.scope} "


def _tail_orders(found: ComparisonFolder) -> list[list[str]]:
    return [list(run.manifest.get("long_tail_order") or []) for run in next(iter(found.runs.values()))]


def _panels(found: ComparisonFolder, arranged: Any) -> list[tuple[str, Counts]] | None:
    """Return (title, matrix summed over seeds) of the control and of the remedy with the highest mean."""
    arms = [arm for arm in (found.control, *found.remedies[:1]) if arm]
    panels = []
    for arm in arms:
        parts = [(run, confusion_of(run)) for run in found.runs[arm["name"]]]
        if any(confusion is None for _, confusion in parts):
            return None
        total = np.sum([arranged(run, confusion) for run, confusion in parts], axis=0)
        words = "the control" if arm["name"] == CONTROL else f"highest mean of the remedies, {tier_in_words(arm)}"
        panels.append((f"{arm['name']}: {words}", total))
    return panels


# ---------------------------------------------------------------------------------------------- drawing
@house_style()
def _figure(
    panels: Sequence[tuple[str, Counts]], names: Sequence[str], row_names: Sequence[str], title: str, said: str
) -> Figure:
    count = len(names)
    cell = float(np.clip(3.4 / count, 0.36, 0.8)) if count <= COUNTED else max(0.28, 5.5 / count)
    margin = 0.55 + 0.062 * max(len(line) for name in row_names for line in name.split("\n"))
    turned = max(len(line) for name in names for line in label(name, 14).split("\n")) * 0.062 > cell
    width = max(len(panels) * (cell * count + 0.15) + margin, 4.4 if len(panels) == 1 else 6.4)
    figure = new_figure(width, width + 2, title)
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (head, confusion) in zip(grid, panels, strict=True):
        _draw(axes, confusion)
        axes.set_title(wrapped(head, (width - margin) / len(panels), 8), fontsize=8, loc="left")
        axes.set_xlabel("predicted class")
        axes.set_xticks(
            range(count),
            [label(name, 28, 1) if turned else label(name, 14) for name in names],
            rotation=90 if turned else 0,
        )
    grid[0].set_yticks(range(count), list(row_names))
    grid[0].set_ylabel("true class")
    cells = {True: "share of the true class's rows in percent, and rows", False: "share of the true class's rows"}
    caption(figure, f"{said}Each cell: {cells[count <= COUNTED]}; the diagonal is recall; empty cells hold no row.")
    _square(figure, grid[0])
    settle(figure)
    return figure


def _square(figure: Figure, axes: Axes) -> None:
    """Give the figure the height at which the cells are square."""
    with boxes_for_the_rest():
        figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    box = axes.get_position()
    figure.set_figheight(height + box.width * width - box.height * height)


def _draw(axes: Axes, confusion: Counts) -> None:
    held = confusion.sum(1, keepdims=True)
    shares = np.divide(100 * confusion, held, out=np.full(confusion.shape, np.nan), where=held > 0)
    count = len(confusion)
    edges = np.arange(count + 1) - 0.5
    axes.pcolormesh(
        edges, edges, np.ma.masked_where(confusion == 0, shares), cmap=mpl.colormaps["Blues"], norm=Normalize(-8, 100)
    )
    axes.set_ylim(count - 0.5, -0.5)
    for (row, column), rows in np.ndenumerate(confusion):
        if not rows or count > 2 * COUNTED:
            continue
        both = count <= COUNTED
        share = shares[row, column]
        text = f"{share:.0f}" if share >= 1 else "<1"
        axes.annotate(
            f"{text} %\n{rows:,}" if count <= 5 else f"{text}\n{rows:,}" if both else text,
            (column, row),
            ha="center",
            va="center",
            fontsize=TINY + (1.5 if count <= 5 else 0),
            color="white" if share > 60 else INK,
        )
    for row in np.flatnonzero(held[:, 0] == 0):
        axes.annotate("no test rows", ((count - 1) / 2, row), ha="center", va="center", fontsize=TINY, color=GREY)
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="#BFBFBF", linewidth=0.5, clip_on=False)
    axes.set_axisbelow(False)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
