"""Accuracy against what it cost: bytes moved, modelled seconds, modelled joules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.notes import tested_by_devices
from edgefed.report.folder import CONTROL, RANKED
from edgefed.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    WIDTH,
    WINE,
    caption,
    house_style,
    light_grid,
    new_figure,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from edgefed.report.folder import ComparisonFolder
    from edgefed.runs import Run

    Floats = NDArray[np.float64]

#: What accuracy is set against: name -> (words for the axis, larger units from the largest down).
COSTS: dict[str, tuple[str, tuple[tuple[str, float], ...]]] = {
    "bytes": ("moved, up and down", (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))),
    "seconds": ("modelled time", (("h", 3.6e3), ("min", 60.0), ("s", 1.0))),
    "joules": ("modelled energy, all clients", (("MJ", 1e6), ("kJ", 1e3), ("J", 1.0))),
}
MOST_LINES = 9
_COLORS = (INK, BLUE, VERMILLION, GREEN, GREY, ORANGE, PURPLE, SKY, WINE)
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (5, 1, 1, 1)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (9, 2)),
    (0, (8, 1, 1, 1, 1, 1)),
    (0, (3, 3)),
    (0, (1, 3)),
)
#: Each line has a colour and a dash of its own, so that it can be told in grey as well.
LOOKS: tuple[dict[str, Any], ...] = tuple(
    {"color": color, "linestyle": dashes} for color, dashes in zip(_COLORS, _DASHES, strict=True)
)
LEGEND_ROOM = 110
"""Characters that fit side by side over a picture, with nine a line for its mark."""
POINTS, EARLY = 200, 20
"""Places of an axis at which a mean over seeds is taken, and how many times as many as count as its beginning."""


def spent(run: Run, cost: str) -> Floats:
    """Return what a run had cost after each evaluated round [evaluated], its query round's bytes among it."""
    rows = list(run.rounds)
    if cost == "bytes":
        query = run.manifest["query_bytes"]
        each = [row["bytes_up"] + row["bytes_down"] for row in rows]
        begun = query["up"] + query["down"]
    else:
        each = [row["modelled"][cost] for row in rows]
        begun = 0
    total = begun + np.cumsum(np.array(each, np.float64))
    return np.asarray(total[[place for place, row in enumerate(rows) if "test" in row]])


def scores(run: Run) -> Floats:
    """Return test balanced accuracy after each evaluated round [evaluated]."""
    return np.array([row["test"][RANKED] for row in run.rounds if "test" in row], np.float64)


def mean_at(runs: Sequence[Run], cost: str, places: Floats) -> tuple[Floats, Floats]:
    """Return the mean over runs of the score that each had reached when it had cost so much, and its standard error.

    Between two evaluations the earlier score stands; nan before every run's first and beyond any run's last.
    """
    lines = []
    for run in runs:
        at, score = spent(run, cost), scores(run)
        index = np.searchsorted(at, places, side="right") - 1
        there = (index >= 0) & (places <= at[-1] * (1 + 1e-12))
        lines.append(np.where(there, score[np.maximum(index, 0)], np.nan))
    stack = np.stack(lines)
    spread = stack.std(0, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else np.full(len(places), np.nan)
    return stack.mean(0), spread


@house_style()
def cost_figure(groups: Mapping[str, Sequence[Run]], title: str, said: str = "") -> Figure | None:
    """Return accuracy against each cost, a line a group of runs; None where no run knows its costs.

    Runs on real devices have bytes alone: those are counted, while modelled time and energy say nothing of them.

    Parameters
    ----------
    groups : mapping of str to sequence of Run
        The runs of each line: one a seed.
    title, said : str
        Over and under the picture.
    """
    groups = {
        name: runs for name, runs in groups.items() if all(run.rounds and "modelled" in run.rounds[0] for run in runs)
    }
    groups = {name: runs for name, runs in groups.items() if all(len(scores(run)) for run in runs) and runs}
    if not groups:
        return None
    left_out, groups = len(groups) - MOST_LINES, dict(list(groups.items())[:MOST_LINES])
    real = any(run.config.dataset == "devices" for runs in groups.values() for run in runs)
    costs = {"bytes": COSTS["bytes"]} if real else COSTS
    figure = new_figure(WIDTH, 3.1 if len(groups) == 1 else 4.1, title)
    starts, lowest = [], []
    grid = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, (cost, (words, units)) in zip(grid, costs.items(), strict=True):
        most = max(float(spent(run, cost)[-1]) for runs in groups.values() for run in runs)
        unit, divisor = next((pair for pair in units if most >= 2 * pair[1]), units[-1])
        for look, (name, runs) in zip(LOOKS, groups.items(), strict=False):  # as many looks as lines at most
            end = min(float(spent(run, cost)[-1]) for run in runs)
            places = np.linspace(0, end, POINTS)
            mean, error = mean_at(runs, cost, places)
            axes.plot(places / divisor, 100 * mean, label=name, linewidth=1.4, drawstyle="steps-post", **look)
            known = 100 * mean[np.isfinite(mean)]
            starts.append(float(known.min(initial=np.inf)))
            lowest.append(float(known[len(known) // EARLY :].min(initial=np.inf)))
            axes.fill_between(
                places / divisor, 100 * (mean - error), 100 * (mean + error), color=look["color"], alpha=0.12,
                linewidth=0,
            )  # fmt: skip
        axes.set_xlabel(f"{words} ({unit})")
        axes.set_xlim(left=0)
        light_grid(axes)
    own = any(tested_by_devices(run) for runs in groups.values() for run in runs)
    grid[0].set_ylabel(f"{'held-out' if own else 'test'} balanced accuracy (%)")
    cut = len(groups) > 1 and min(starts) < min(lowest) - 5 < np.inf
    if cut:  # where remedies differ is above
        grid[0].set_ylim(bottom=min(lowest) - 4)
    if len(groups) > 1:
        across = max(1, min(4, LEGEND_ROOM // (max(map(len, groups)) + 9)))
        grid[0].legend(
            loc="lower left", bbox_to_anchor=(0, 1.01), ncols=across, borderaxespad=0, handlelength=3.2
        ).set_in_layout(False)
        room = 0.97 - 0.04 * -(-len(groups) // across)
        figure.set_layout_engine("constrained", rect=(0, 0, 1, room))
    said = f"{said} " if said else ""
    few = f"The first {MOST_LINES} of {MOST_LINES + left_out} are drawn. " if left_out > 0 else ""
    seeds = max(len(runs) for runs in groups.values())
    shown = "" if seeds == 1 else f"Mean over {seeds} seeds, with a standard error either way. "
    if seeds > 1:
        shown += (
            "A line ends where its cheapest seed has spent all that it spends: the others are before their last round "
            "there, so that it may end elsewhere than the ranking, which is of last rounds. "
        )
    shown += "Lines that start low begin below the frame. " if cut else ""
    modelled = " Seconds and joules are modelled from device profiles, not measured: see docs/edge.md."
    caption(figure, f"{shown}{said}{few}Bytes are Flower's deflated objects, as sent.{'' if real else modelled}")
    settle(figure)
    return figure


def run_costs(run: Run, title: str) -> Figure | None:
    """Return one run's accuracy against its costs."""
    return cost_figure({run.config.imbalance: [run]}, title)


def comparison_costs(found: ComparisonFolder) -> Figure | None:
    """Return accuracy against costs, a line a remedy, the control first."""
    names = [arm["name"] for arm in found.arms]
    names.sort(key=lambda name: name != CONTROL)
    return cost_figure(
        {name: found.runs[name] for name in names}, "Test balanced accuracy against what it cost", found.scope
    )
