"""Who holds what: training rows by client and class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from edgefed.report.glyphs import glyphs_told
from edgefed.report.holdings import Arrangement, arranged
from edgefed.report.style import (
    BLUE,
    GREY,
    INK,
    SMALL,
    TINY,
    caption,
    house_style,
    label,
    light_grid,
    new_figure,
    save,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

NUMBERED = 24
"""Classes up to which cells carry their number."""


@glyphs_told()
def plot_shards(
    class_counts: NDArray[Any],
    class_names: Sequence[str],
    target: Path,
    *,
    title: str = "",
    client_names: Sequence[str] = (),
    idle: Sequence[str] = (),
) -> list[Path]:
    """Draw who holds what and return the files: PNG and SVG, or the one format that the target's suffix names.

    Up to 50 clients have a row each. More are gathered by their largest class into groups that the picture names,
    beside the distributions of shard sizes and of classes held. Classes go from common to rare.

    Parameters
    ----------
    class_counts : integer ndarray [clients, classes]
        Training rows.
    class_names : sequence of str
    target : path
    title : str
        What is shared out, in front of the counts. Neutral: empty.
    client_names : sequence of str
        Neutral: clients are numbered from 0.
    idle : sequence of str
        For each client why the remedy does nothing there; empty text where it acts. Neutral: none.

    Raises
    ------
    SettingsError
        For a suffix other than .png, .svg and .pdf, or a folder that cannot be written.
    """
    counts = np.asarray(class_counts, np.int64).reshape(-1, len(class_names))
    return save(shards_figure(counts, class_names, title, client_names, idle), target)


@house_style()
def shards_figure(
    counts: Counts,
    class_names: Sequence[str],
    title: str = "",
    client_names: Sequence[str] = (),
    idle: Sequence[str] = (),
) -> Figure:
    """Return the picture that :func:`plot_shards` writes."""
    order = np.argsort(-counts.sum(0), kind="stable")
    counts, names = counts[:, order], [str(class_names[place]) for place in order]
    grid = arranged(counts, names, client_names)
    grouped = grid.grouped

    columns = float(np.clip(0.55 * len(names), 2.2, 7.0))
    right = 2.3 if grouped else 1.1
    margin = 0.6 + 0.062 * max(len(text) for text, _ in grid.blocks)
    lines = max(0.185 * len(grid.rows), 3.4 if grouped else 0.5)
    figure = new_figure(max(columns + right + margin + 1.0, 5.4), lines + 2.1, _title(title, counts))
    area = figure.add_gridspec(2, 2, height_ratios=[0.62, lines], width_ratios=[columns, right], hspace=0, wspace=0)
    main = figure.add_subplot(area[1, 0])
    _draw_grid(main, grid, names)
    _draw_class_totals(figure.add_subplot(area[0, 0], sharex=main), counts, columns / len(names))
    if grouped:
        # Bars need no more height than width: what is left below them stays empty.
        heights = [2.0, 2.0, max(0.1, lines + 0.6 - 4.0)]
        _draw_distributions(figure, area[:, 1].subgridspec(3, 1, height_ratios=heights), counts)
    else:
        _draw_sizes(figure.add_subplot(area[1, 1], sharey=main), grid.rows.sum(1), idle)
    caption(figure, _caption(counts, grid, grouped, idle))
    settle(figure)
    return figure


# ---------------------------------------------------------------------------------------------- parts of the picture
def _draw_grid(axes: Axes, grid: Arrangement, names: Sequence[str]) -> None:
    rows = grid.rows
    # A square root, so that a single row of a rare class still shows beside the large shards.
    norm = PowerNorm(0.5, vmin=-0.03 * max(1, rows.max(initial=1)), vmax=max(1, rows.max(initial=1)))
    shown = np.ma.masked_equal(rows, 0)
    shades = np.where(rows > 0, np.asarray(norm(rows)), 0.0)
    axes.pcolormesh(
        np.arange(rows.shape[1] + 1) - 0.5,
        np.arange(len(rows) + 1) - 0.5,
        shown,
        cmap=mpl.colormaps["Blues"],
        norm=norm,
        edgecolors="white",
        linewidth=0.6,
    )
    if len(names) <= NUMBERED:
        for (row, column), count in np.ndenumerate(rows):
            axes.text(
                column,
                row,
                f"{count:,}" if count else "·",
                ha="center",
                va="center_baseline",
                fontsize=TINY + 0.5,
                color="white" if shades[row, column] > 0.62 else INK if count else GREY,
            )
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    long = max(map(len, names)) * len(names) > 30
    axes.set_xticks(
        range(len(names)),
        [label(name, 26 if long else 14) for name in names],
        rotation=40 if long else 0,
        ha="right" if long else "center",
        rotation_mode="anchor" if long else "default",
    )
    axes.set_xlabel("class, from common to rare")
    _label_blocks(axes, grid)


def _label_blocks(axes: Axes, grid: Arrangement) -> None:
    sizes = np.array([size for _, size in grid.blocks])
    ends = np.cumsum(sizes)
    axes.set_yticks(ends - sizes / 2 - 0.5, [text for text, _ in grid.blocks])
    axes.set_ylabel("clients by their largest class (how many)" if grid.grouped else "client")
    if grid.grouped:
        for end in ends[:-1]:
            axes.axhline(end - 0.5, color=INK, linewidth=0.7)


def _draw_class_totals(axes: Axes, counts: Counts, cell: float) -> None:
    """Draw each class's rows as a bar, with the number of clients that hold it."""
    totals, holders = counts.sum(0), (counts > 0).sum(0)
    axes.bar(range(len(totals)), totals, width=0.62, color=BLUE)
    axes.set_ylim(0, max(1, totals.max()) * 1.02)
    words = "{:,} rows\nat {:,}" + (f" of {len(counts):,}" if cell > 0.7 else "") if cell > 0.5 else "{:,}\n{:,}"
    for place, (total, holding) in enumerate(zip(totals, holders, strict=True)):
        axes.annotate(
            words.format(total, holding),
            (place, total),
            (0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=TINY,
        )
    axes.set_axis_off()


def _draw_sizes(axes: Axes, sizes: Counts, idle: Sequence[str]) -> None:
    """Draw each client's rows as a bar; an empty client says so, and so does one where the remedy is idle."""
    axes.barh(range(len(sizes)), sizes, height=0.62, color=BLUE)
    for client, size in enumerate(sizes):
        why = idle[client] if client < len(idle) else ""
        text = "empty" if not size else f"{size:,}" + (f"  idle: {why}" if why else "")
        axes.annotate(text, (size, client), (3, 0), textcoords="offset points", va="center", fontsize=TINY + 0.5)
    axes.set_xlim(0, max(1, sizes.max(initial=1)))
    head = axes.annotate("training rows", (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points")
    head.set_fontsize(SMALL)
    head.set_in_layout(False)  # it stands in the free corner beside the class totals
    axes.set_axis_off()


def _draw_distributions(figure: Figure, area: Any, counts: Counts) -> None:
    """Draw how large the shards are and how many classes they hold."""
    sizes, kinds = counts.sum(1), (counts > 0).sum(1)
    upper, lower = figure.add_subplot(area[0]), figure.add_subplot(area[1])
    largest = int(sizes.max(initial=1))
    step = -(-largest // 25)
    edges = np.arange(1, largest + step + 1, step)
    heights, _ = np.histogram(sizes[sizes > 0], edges)
    upper.bar(edges[:-1] + (step - 1) / 2, heights, width=0.9 * step, color=BLUE)
    upper.set_xlabel("training rows of a client that has any")
    empty = int((sizes == 0).sum())
    upper.set_title(
        f"{_many(empty, 'client')} without rows, left out" if empty else "no client is empty", fontsize=SMALL
    )
    held = np.bincount(kinds, minlength=counts.shape[1] + 1)
    bars = lower.bar(range(len(held)), held, width=0.7, color=BLUE)
    if len(held) <= 12:
        lower.bar_label(bars, [f"{count:,}" if count else "" for count in held], fontsize=TINY - 0.5, padding=1)
    lower.set_xlabel("classes that a client holds")
    for axes in (upper, lower):
        axes.set_ylabel("clients")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        light_grid(axes, "y")


# ---------------------------------------------------------------------------------------------- words
def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 'es' if what.endswith('s') else 's'}"


def _title(title: str, counts: Counts) -> str:
    what = ", ".join(
        (
            _many(len(counts), "client"),
            _many(counts.shape[1], "class"),
            _many(int(counts.sum()), "training row"),
        )
    )
    return f"{title}: who holds what\n{what}" if title else f"Who holds what: {what}"


def _caption(counts: Counts, grid: Arrangement, grouped: bool, idle: Sequence[str]) -> str:
    empty = int((counts.sum(1) == 0).sum())
    parts = ["Above each column: rows of the class, and clients that hold it."]
    if grouped:
        each = "one client" if grid.group == 1 else f"up to {grid.group} clients added up"
        parts.insert(0, f"Each line of the grid is {each}, sorted by largest class; darker is more rows.")
    else:
        parts.insert(0, "Each cell: training rows of a class at a client (· none); darker is more.")
    if empty:
        parts.append(f"{_many(empty, 'client')} {'is' if empty == 1 else 'are'} empty.")
    reasons = [why for why in idle if why]
    if reasons:
        each_reason = ", ".join(f"{why} {reasons.count(why):,}" for why in dict.fromkeys(reasons))
        parts.append(f"The remedy does nothing at {len(reasons):,} of {_many(len(idle), 'client')} ({each_reason}).")
    return " ".join(parts)
