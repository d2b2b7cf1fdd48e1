"""The critical-difference diagram: mean ranks of arms over blocks, with bars over those that cannot be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefed.report.glyphs import glyphs_told
from edgefed.report.style import (
    BLUE,
    GREY,
    INK,
    SMALL,
    WIDTH,
    caption,
    house_style,
    label,
    new_figure,
    save,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONTROL = "none"
LEVEL = 0.05
LINE = 0.2
"""Inches from one name to the next."""

MOST_NUMBERED = 14
"""Ranks up to which each has its number on the scale."""


@glyphs_told()
def plot_critical_difference(result: Mapping[str, Any], path: str | Path) -> list[Path]:
    """Draw what :func:`~edgefed.analysis.blocks.across_blocks` found and return the files.

    Parameters
    ----------
    result : mapping
    path : path
        A file (.png, .svg, .pdf), or a stem: PNG and SVG are written.

    Returns
    -------
    list of Path
        Empty where there were too few blocks or arms to test anything.

    Raises
    ------
    SettingsError
        For another format, or a folder that cannot be written.
    """
    figure = critical_difference_figure(result)
    return [] if figure is None else save(figure, Path(path))


@house_style()
def critical_difference_figure(result: Mapping[str, Any]) -> Figure | None:
    """Return the diagram (Demšar 2006), or None where nothing was tested."""
    if result["friedman"] is None:
        return None
    arms, ranks, cliques = list(result["arms"]), result["ranks"], list(result["cliques"])
    lines = (len(arms) + 1) // 2
    # From the axis down: a bar a clique, then the names of either half.
    levels = _levels([(ranks[clique[0]], ranks[clique[-1]]) for clique in cliques])
    depth = 0.55 * (max(levels, default=-1) + 1) + 0.8
    height = LINE * (depth + lines + 2.2)
    figure = new_figure(WIDTH, height + 1.35, f"Mean ranks over {len(result['blocks'])} blocks")
    axes = figure.subplots()
    axes.set_axis_off()
    count = len(arms)
    # Names stand beside the axis, in two columns as wide as the longest of them.
    room = 0.68 * (count - 1)
    axes.set_xlim(1 - room, count + room)
    axes.set_ylim(depth + lines - 0.4, -2.6)
    _scale(axes, count)
    _difference(axes, result["critical_difference"], count)
    for level, clique in zip(levels, cliques, strict=True):
        ends = (ranks[clique[0]], ranks[clique[-1]])
        axes.plot(ends, [0.55 * (level + 1)] * 2, color=INK, linewidth=3.2, solid_capstyle="round", gid="clique")
    for place, arm in enumerate(arms):
        left = place < lines
        line = depth + (place if left else count - 1 - place)
        _name(axes, arm, ranks[arm], line, 1 - 0.06 * count if left else count + 0.06 * count, left=left)
    caption(figure, _words(result))
    settle(figure)
    return figure


def _scale(axes: Axes, count: int) -> None:
    axes.plot([1, count], [0, 0], color=INK, linewidth=0.9)
    every = 1 if count <= MOST_NUMBERED else 3  # 28 numbers would run into each other
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [-0.28, 0], color=INK, linewidth=0.9)
        if (rank - 1) % every == 0:
            axes.text(rank, -0.4, str(rank), ha="center", va="bottom")
        if rank < count:
            axes.plot([rank + 0.5] * 2, [-0.15, 0], color=INK, linewidth=0.6)
    axes.text(1 - 0.06 * count, -0.4, "best", ha="right", va="bottom", style="italic")
    axes.text(count + 0.06 * count, -0.4, "worst", ha="left", va="bottom", style="italic")


def _difference(axes: Axes, difference: float, count: int) -> None:
    """Draw the critical difference as a length above the scale; one that is wider than the scale is told in words."""
    words = f"critical difference {difference:.2f}"
    if difference > count - 1:
        axes.text((1 + count) / 2, -1.75, f"{words}: more than the whole scale", ha="center", va="center")
        return
    axes.plot([1, 1 + difference], [-1.75] * 2, "|-", color=INK, linewidth=0.9, markersize=6)
    axes.text(1 + difference + 0.03 * count, -1.75, words, ha="left", va="center")


def _name(axes: Axes, arm: str, rank: float, line: float, edge: float, *, left: bool) -> None:
    colour = BLUE if arm == CONTROL else GREY
    axes.plot([edge, rank, rank], [line, line, 0], color=colour, linewidth=0.8, solid_joinstyle="miter", zorder=1)
    axes.plot(rank, 0, "o", color=colour, markersize=3.4, zorder=3)
    number = f"{rank:.2f}"
    name = label(arm, 34, lines=1)
    weight = "bold" if arm == CONTROL else "normal"
    axes.annotate(
        f"{name}  {number}" if left else f"{number}  {name}",
        (edge, line),
        (-3 if left else 3, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=SMALL + 0.5,
        fontweight=weight,
        gid="arm",
    )


def _levels(spans: list[tuple[float, float]]) -> list[int]:
    """Return on which line each bar is drawn, so that no two on a line touch."""
    ends: list[float] = []
    levels = []
    for low, high in spans:
        free = next((level for level, end in enumerate(ends) if end < low), len(ends))
        ends[free : free + 1] = [high]
        levels.append(free)
    return levels


def _words(result: Mapping[str, Any]) -> str:
    blocks, test = list(result["blocks"]), result["friedman"]
    named = ", ".join(blocks) if len(blocks) <= 8 else f"{', '.join(blocks[:7])} and {len(blocks) - 7} more"
    if float(test["p"]) <= LEVEL:
        bars = "Bars join arms that cannot be told apart (Nemenyi's test, 5 %)"
    else:
        bars = "No difference was found, so that one bar joins all arms"
    return (
        f"Rank 1 is the best mean over seeds on a block; blocks: {named}. Friedman's chi-square "
        f"{test['statistic']:.1f}, {_p_value(test['p'])}. {bars}. It speaks of blocks like these, and mean ranks "
        "depend on which arms take part."
    )


def _p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
