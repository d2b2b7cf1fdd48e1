"""Pictures of the study: where the named features rank, and what remedies change of the model's attention.

    python experiments/explain/pictures.py [DIR]

draws them again from the results.json that is kept beside this file, or in DIR.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from edgefed.report.explained_features import METHODS
from edgefed.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    VERMILLION,
    WIDTH,
    caption,
    house_style,
    label,
    light_grid,
    new_figure,
    save,
    settle,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8
MARKS = {"o": (BLUE, 5.5), "s": (VERMILLION, 5.0), "^": (GREEN, 6.0)}
"""Colour and size of each named feature's mark, by its shape: all look equally large."""
LOOKS = {
    "none": {"color": INK, "marker": "D"},
    "random-oversampling": {"color": BLUE, "marker": "o"},
    "balanced-softmax": {"color": VERMILLION, "marker": "s"},
    "post-hoc": {"color": GREEN, "marker": "^"},
}


@house_style()
def ranks_figure(datasets: dict[str, Any], seeds: int) -> Figure:
    """Return the rank of each feature that the literature names, by method: every seed a dot."""
    figure = new_figure(WIDTH, 4.4, "Where do the features rank that the literature names?")
    grid = figure.subplots(1, len(datasets), sharey=True)
    methods = list(METHODS)
    for axes, (dataset, found) in zip(grid, datasets.items(), strict=True):
        for which, (name, (marker, (colour, size))) in enumerate(zip(found["named"], MARKS.items(), strict=False)):
            for place, method in enumerate(methods):
                ranks = np.array(found["ranks"][method][name], float)
                aside = place + 0.27 * (which - (len(found["named"]) - 1) / 2)
                spread = np.linspace(-0.07, 0.07, len(ranks))
                axes.plot(
                    ranks,
                    aside + spread,
                    linestyle="none",
                    marker=marker,
                    markersize=0.45 * size,
                    color=colour,
                    alpha=0.5,
                    markeredgewidth=0,
                )
                axes.plot(
                    [np.median(ranks)],
                    [aside],
                    marker=marker,
                    markersize=size,
                    color=colour,
                    markeredgecolor=INK,
                    markeredgewidth=0.8,
                    label=label(name.replace("_", " "), 20, 1) if not place else None,
                    linestyle="none",
                )
        axes.axvline(len(found["named"]) + 0.5, color=GREY, linestyle="--", linewidth=0.8, zorder=1)
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_xlim(0.3, len(found["features"]) + 0.7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.set_xlabel(f"rank among {len(found['features'])}")
        axes.set_title(dataset, loc="left")
        light_grid(axes, "x")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.18), fontsize=6.5, borderaxespad=0)
    grid[0].set_yticks(range(len(methods)), [METHODS[name] for name in methods])
    caption(
        figure,
        f"Small marks: {seeds} seeds; large, edged in black: their median. Left of the dashed line a feature is among "
        "as many as are named. Rows held out by clients, no tail, no remedy.",
    )
    settle(figure)
    return figure


@house_style()
def attention_figure(datasets: dict[str, Any], seeds: int) -> Figure:
    """Return each feature's share of the attributions under each remedy, with a tail."""
    figure = new_figure(WIDTH, 4.3, "Do remedies change what the model looks at?")
    grid = figure.subplots(1, len(datasets))
    for axes, (dataset, found) in zip(grid, datasets.items(), strict=True):
        rows = found["remedies"]["features"][:SHOWN]
        for which, (arm, look) in enumerate(LOOKS.items()):
            places = np.arange(len(rows)) + 0.19 * (which - 1.5)
            mean, low, high = (
                100 * np.array([row["shares"][arm][key] for row in rows], float) for key in ("mean", "low", "high")
            )
            axes.errorbar(
                mean,
                places,
                xerr=[mean - low, high - mean],
                linestyle="none",
                markersize=3.6,
                elinewidth=0.9,
                label=arm,
                **look,
            )
        axes.set_yticks(range(len(rows)), [label(row["feature"].replace("_", " "), 16) for row in rows], fontsize=6.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("share of SHAP (%)")
        axes.set_title(dataset, loc="left", pad=22)
        axes.set_xlim(left=0)
        light_grid(axes, "x")
        axes.tick_params(axis="y", length=0)
    legend = grid[0].legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, borderaxespad=0, columnspacing=1.5)
    legend.set_in_layout(False)  # it is wider than its panel
    caption(
        figure,
        "Mean absolute SHAP value by class, mean over classes, as a share of all features: mean and 95 % interval "
        f"over {seeds} seeds; the {SHOWN} largest under none. Rows held out by clients, long tail of 10.",
    )
    settle(figure)
    return figure


def draw(found: dict[str, Any], home: Path) -> None:
    """Draw both pictures of what results.json holds into a folder."""
    save(ranks_figure(found["datasets"], found["seeds"]), home / "ranks")
    save(attention_figure(found["datasets"], found["seeds"]), home / "attention")


if __name__ == "__main__":
    kept = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results"
    draw(json.loads((kept / "results.json").read_text()), kept)
