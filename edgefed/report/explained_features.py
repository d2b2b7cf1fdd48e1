"""Which features matter, as pictures: over all clients, by method, by client, by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.ticker import MaxNLocator

from edgefed.notes import FEWEST_ORDERED
from edgefed.report.folder import client_names, number, numbers
from edgefed.report.style import (
    BLUE,
    GREY,
    INK,
    TINY,
    VERMILLION,
    WIDTH,
    caption,
    house_style,
    label,
    light_grid,
    new_figure,
    settle,
    wrapped,
)
from edgefed.report.swarm import draw_swarms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from edgefed.report.folder import ExplanationFolder

    Floats = NDArray[np.float64]

SHOWN, CLIENTS, IN_CELLS = 20, 30, 12
"""Features and clients drawn at most, and columns up to which cells carry numbers."""
ROW, DOT = 0.34, 2.6
METHODS = {
    "loss": "permutation:\nlog-loss",
    "accuracy": "permutation:\nbal. accuracy",
    "shap": "SHAP",
    "integrated-gradients": "integrated\ngradients",
    "anova-f": "ANOVA F\n(rows alone)",
    "mutual-information": "mutual inform.\n(rows alone)",
}


def rows_in_words(result: dict[str, Any]) -> str:
    """Return which rows an explanation rests on."""
    clients = result["clients"]["explained"]
    kind = "rows that clients never train on" if result["rows"] == "held-out" else "the clients' training rows"
    over = f" under {result['runs']} seeds" if result["runs"] > 1 else ""
    return f"{result['rows_explained']:,} of {kind}, {clients:,} clients{over}"


@house_style()
def importance_figure(found: ExplanationFolder) -> Figure:
    """Return every feature's importance with its interval: dots are seeds, or clients where there is one seed."""
    rows = found.result["importance"]
    return _importance(found, rows, "feature", [found.dots(place) for place in range(len(rows[:SHOWN]))])


@house_style()
def columns_figure(found: ExplanationFolder) -> Figure | None:
    """Return every column's importance with its interval, categories permuted whole; dots are seeds."""
    seeds = found.result["interval_over"] == "seeds"
    dots = [numbers(row["values"]) if seeds else np.empty(0) for row in found.columns[:SHOWN]]
    return _importance(found, found.columns, "column", dots) if found.columns else None


def _importance(found: ExplanationFolder, rows: Sequence[dict[str, Any]], kind: str, dots: Sequence[Floats]) -> Figure:
    result, shown, over = found.result, rows[:SHOWN], found.result["interval_over"]
    figure = new_figure(WIDTH, ROW * len(shown) + 1.75, f"Which {kind}s matter: {result['explained']}")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    places, seeds = np.arange(len(shown)), over == "seeds"
    lost = [100 * numbers(row["accuracy"]["values"]) if seeds else np.empty(0) for row in shown]
    left.set_ylim(len(shown) - 0.4, -0.6)
    left.set_yticks(places, [label(row[kind], 26) for row in shown])
    for axes, key, scale, words, own in (
        (left, None, 1.0, "increase in log-loss when permuted", dots),
        (right, "accuracy", 100.0, "balanced accuracy lost (points)", lost),
    ):
        measures = [row if key is None else row[key] for row in shown]
        # Every seed is in sight; a single client far out would leave the marks no room.
        _draw(axes, places, measures, scale, own if seeds else ())
        axes.set_xlabel(words)
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        light_grid(axes, "x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    left_out = len(rows) - len(shown)
    beyond = _beyond(left, dots)
    cut = f" ({beyond} dot{'' if beyond == 1 else 's'} beyond the axis)" if beyond else ""
    drawn = f"dots are {found.dots_in_words}{cut}; " if any(len(own) for own in dots) else ""
    caption(
        figure,
        f"{rows_in_words(result)}; {result['repeats']} permutations of each {kind}, each within a client's own rows. "
        f"Means are weighted by rows; bars are 95 % intervals over {over}; {drawn}filled marks: the interval lies "
        "above 0." + (f" {left_out} weaker {kind}s are left out." if left_out else ""),
    )
    settle(figure)
    _scatter(left, places, dots)
    _scatter(right, places, lost)
    return figure


def _draw(
    axes: Axes, places: NDArray[np.int64], measures: Sequence[dict[str, Any]], scale: float, held: Sequence[Floats]
) -> None:
    """Draw means with their intervals, on an axis that holds them and the samples ``held``."""
    ends = [value for sample in held for value in sample.tolist() if np.isfinite(value)]
    for place, measure in zip(places, measures, strict=True):
        mean, low, high = (scale * number(measure[key]) for key in ("mean", "low", "high"))
        sure = np.isfinite(low) and low > 0
        if np.isfinite(low) and np.isfinite(high):
            axes.plot([low, high], [place, place], color=BLUE if sure else GREY, linewidth=1.6, zorder=3)
        axes.plot(
            [mean],
            [place],
            marker="D" if sure else "o",
            markersize=5,
            color=BLUE if sure else GREY,
            markerfacecolor=BLUE if sure else "white",
            zorder=4,
        )
        ends += [value for value in (mean, low, high, 0.0) if np.isfinite(value)]
    pad = 0.06 * (max(ends) - min(ends) or 1.0)
    axes.set_xlim(min(ends) - pad, max(ends) + pad)


def _beyond(axes: Axes, dots: Sequence[Floats]) -> int:
    """Return how many dots lie beyond the axis, where none is drawn."""
    low, high = axes.get_xlim()
    return sum(int(((sample < low) | (sample > high)).sum()) for sample in dots)


def _scatter(axes: Axes, places: NDArray[np.int64], dots: Sequence[Floats]) -> None:
    """Draw each seed's or client's value below its mark, none upon another."""
    look = {"markersize": DOT, "color": GREY, "alpha": 0.75, "markeredgewidth": 0}
    draw_swarms(axes, places, dots, diameter=DOT, height=0.34, below=0.27, look=look)


@house_style()
def methods_figure(found: ExplanationFolder) -> Figure:
    """Return how alike every two methods rank the features, and how alike one ranks them again."""
    result = found.result
    names = list(METHODS)
    known = result["agreement"]["methods"]
    order = [known.index(name) for name in names]
    between, again = found.correlations()
    matrix, again = between[np.ix_(order, order)], again[order]
    figure = new_figure(WIDTH, 4.9, f"Do the methods agree? {result['explained']}")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[len(names), 1.1])
    _heat(left, matrix, TwoSlopeNorm(0, -1, 1), "RdBu", "{:+.2f}")
    _heat(right, again[:, None], TwoSlopeNorm(0, -1, 1), "RdBu", "{:+.2f}")
    left.set_xticks(range(len(names)), [METHODS[name] for name in names], fontsize=6.5)
    left.set_yticks(range(len(names)), [METHODS[name] for name in names])
    right.set_xticks([0], [f"itself,\nother {result['interval_over']}"], fontsize=6.5)
    left.set_xlabel("rank correlation of two methods")
    caption(
        figure,
        f"Spearman's rank correlation of the features' order; 1 is the same order, 0 no relation. Right: the same "
        f"method from one of the {result['interval_over']} to the next, mean over all pairs"
        + (" of clients with at least ten rows." if result["interval_over"] == "clients" else ".")
        + (
            " Empty: not measured there."
            if len(found.features) >= FEWEST_ORDERED
            else f" Empty: fewer than {FEWEST_ORDERED} features have too few orders for a correlation to mean anything."
        )
        + " ANOVA F and mutual information know the rows only, not the model.",
    )
    settle(figure)
    return figure


@house_style()
def clients_figure(found: ExplanationFolder) -> Figure | None:
    """Return the increase in log-loss at each client, those with the most rows first."""
    result = found.result
    table = result["by_client"]
    if not table["client"]:
        return None
    count = min(CLIENTS, len(table["client"]))
    shown = found.features[:SHOWN]
    values = np.array([numbers(row) for row in table["loss"][:count]])[:, : len(shown)]
    named = client_names(found.run)
    names = [
        f"{label(named.get(client, f'client {client}'), 26, 1)}, {rows} {'row' if rows == 1 else 'rows'}"
        for client, rows in zip(table["client"][:count], table["rows"][:count], strict=True)
    ]
    seed = f", seed {result['seeds'][0]}" if result["runs"] > 1 else ""
    figure = new_figure(WIDTH, 0.23 * count + 2.3, f"Where clients disagree: {result['explained']}{seed}")
    axes = figure.subplots()
    reach = max(float(np.nanpercentile(np.abs(values), 97)), 1e-9)
    _heat(axes, values, TwoSlopeNorm(0, -reach, reach), "RdBu", "{:+.2f}" if len(shown) <= IN_CELLS else "")
    axes.set_yticks(range(count), names)
    _feature_ticks(axes, shown)
    if len(shown) > IN_CELLS:
        bar = figure.colorbar(axes.collections[0], ax=axes, shrink=0.8, pad=0.02)
        bar.set_label("increase in log-loss when permuted")
    more = table["clients"] - count
    caption(
        figure,
        "Increase in log-loss when a feature is permuted among a client's own rows. A client of one class, or of few "
        "rows, can say little."
        + (f" The {count} clients with the most rows; {more:,} more are left out." if more else ""),
    )
    settle(figure)
    return figure


@house_style()
def classes_figure(found: ExplanationFolder) -> Figure:
    """Return importance by true class: permutation on the left, SHAP on the right."""
    result = found.result
    shown = found.features[:SHOWN]
    rows = result["classes"]
    names = [f"{label(row['class'], 18)}\n{row['rows']:,} rows" for row in rows]
    figure = new_figure(WIDTH, 0.42 * len(rows) + 2.4, f"Class by class: {result['explained']}")
    grid = figure.subplots(1, 2, sharey=True)
    heads = {"loss": "increase in log-loss when permuted", "shap": "mean absolute SHAP value (probability)"}
    for axes, (key, head) in zip(grid, heads.items(), strict=True):
        values = np.array([numbers(row[key]) for row in rows])[:, : len(shown)]
        reach = max(float(np.nanmax(np.abs(values), initial=0.0)), 1e-9)
        norm = TwoSlopeNorm(0, -reach, reach) if key == "loss" else Normalize(0, reach)
        _heat(axes, values, norm, "RdBu" if key == "loss" else "Blues", "{:.2f}" if len(shown) <= 6 else "")
        axes.set_title(wrapped(head, WIDTH / 2 - 0.6, 8), fontsize=8, loc="left")
        _feature_ticks(axes, shown)
        if len(shown) > 6:
            figure.colorbar(axes.collections[0], ax=axes, shrink=0.9, pad=0.02)
    grid[0].set_yticks(range(len(rows)), names)
    caption(
        figure,
        f"Rows of each true class. {rows_in_words(result)}. SHAP values are of the probability that the model gives "
        f"the row's own class, against up to {result['background_rows']} training rows of the same client.",
    )
    settle(figure)
    return figure


def _feature_ticks(axes: Axes, names: Sequence[str]) -> None:
    turned = len(names) > 4
    axes.set_xticks(
        range(len(names)),
        [label(name, 24, 1) if turned else label(name, 13) for name in names],
        rotation=90 if turned else 0,
        fontsize=7,
    )


def _heat(axes: Axes, values: Floats, norm: Normalize, colours: str, form: str) -> None:
    rows, columns = values.shape
    across, down = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5
    axes.pcolormesh(across, down, np.ma.masked_invalid(values), cmap=mpl.colormaps[colours], norm=norm)
    axes.set_ylim(rows - 0.5, -0.5)
    for (row, column), value in np.ndenumerate(values):
        if form and np.isfinite(value):
            red, green, blue, _ = mpl.colormaps[colours](float(norm(value)))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            axes.annotate(
                form.format(round(value, 2) + 0.0).replace("-", "−"),
                (column, row),
                ha="center",
                va="center",
                fontsize=TINY + 0.5,
                color="white" if dark else INK,
            )
    axes.set_xticks(across, minor=True)
    axes.set_yticks(down, minor=True)
    axes.grid(which="minor", color="#BFBFBF", linewidth=0.4, clip_on=False)
    axes.set_axisbelow(False)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


SPEAKS_FOR, SPEAKS_AGAINST = BLUE, VERMILLION
"""Colours of what raises and what lowers a probability."""
