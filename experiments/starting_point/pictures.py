"""The pictures of this experiment, from the rows of its tables."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.analysis.statistics import t_interval
from edgefed.report.style import BLUE, GREEN, GREY, INK, VERMILLION, caption, house_style, new_figure, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Rows = list[dict[str, Any]]

WIDTH = 7.2
"""Inches: the text width of a two-column paper."""
ACTIVATION_LOOKS = {"sigmoid": (BLUE, "o", "-"), "tanh": (VERMILLION, "s", "--"), "relu": (GREEN, "^", ":")}
CHOSEN_SIZES = {"sigmoid": 10, "tanh": 8, "relu": 6}
"""Outlines that can be told apart where all three lie on one point."""
TRAINING_LOOKS = {"pooled": (BLUE, "o"), "federated": (VERMILLION, "s"), "local only": (GREEN, "^")}
MOST_DOTS = 200


def figures(sides: Rows, split: str, training: str, rate: float | None) -> tuple[NDArray[np.float64], float]:
    """Return test balanced accuracy [seeds] of one of the trainings side by side, and its rate (None: the chosen)."""
    rows = [row for row in sides if (row["split"], row["training"]) == (split, training)]
    rows = [row for row in rows if (row["chosen"] if rate is None else row["rate"] == rate)]
    return np.array([row["balanced_accuracy"] for row in rows]), rows[0]["rate"]


@house_style()
def draw_starting_point(rows: Rows, inits: int, published: Sequence[float], sides: Rows, target: Path) -> None:
    """Draw the tutorial's figures again, and the three trainings side by side.

    ``published`` is mean, SD, lowest and highest test accuracy.
    """
    figure = new_figure(WIDTH, 3.5, "The tutorial's network again, and its rows pooled, federated and alone")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    _draw_baseline(left, np.array([row["accuracy"] for row in rows]), inits, published)
    seeds = _draw_sides(right, sides)
    caption(
        figure,
        "(a) Black: mean and SD; grey: lowest to highest; dots: trainings (of 1,000, every fifth). (b) Black: mean and "
        f"95 % t interval over {seeds} seeds; dots: seeds; at the right: the learning rate that validation rows chose. "
        "Local only: each client's own model on all test rows, averaged over the clients that have rows. Iris, over "
        "random partitions into ten clients (Dirichlet 0.3), initialisations, orders of the rows and, where so named, "
        "splits.",
    )
    save(figure, target)


def _draw_baseline(axes: Axes, accuracy: NDArray[np.float64], inits: int, published: Sequence[float]) -> None:
    samples = {f"{inits}\ninitialisations": accuracy[:inits], f"{len(accuracy):,}\ninitialisations": accuracy}
    spreads = [tuple(published)]
    for height, sample in enumerate(samples.values(), start=1):
        _dots(axes, sample, height, BLUE, reach=0.3)
        spreads.append((sample.mean(), sample.std(ddof=1), sample.min(), sample.max()))
    for height, (mean, sd, low, high) in enumerate(spreads):
        axes.plot([low, high], [height, height], color=GREY, linewidth=0.8, marker="|", markersize=8, zorder=2)
        axes.errorbar(
            mean, height, xerr=sd, color=INK, marker="D", markersize=4.5, capsize=3.5, linewidth=1.4, zorder=4
        )
    axes.set_yticks(range(3), ["published\n(20, PyTorch)", *samples])
    axes.set_ylim(2.5, -0.5)
    axes.set(xlabel="test accuracy (one of 30 rows is 0.033)", title="(a) tutorial's split, Adam, rate 0.001")
    axes.grid(visible=True, axis="x")


def _draw_sides(axes: Axes, sides: Rows) -> int:
    """Draw the trainings side by side and return the number of seeds."""
    tutorial_rate = figures(sides, "tutorial", "pooled", None)[1]
    groups = (
        (f"tutorial's split,\nrate {tutorial_rate:g}", "tutorial", tutorial_rate),
        (f"split by seed,\nrate {tutorial_rate:g}", "by seed", tutorial_rate),
        ("split by seed,\nown rate", "by seed", None),
    )
    seeds = 0
    for group, (_, split, rate) in enumerate(groups):
        for place, (training, (color, marker)) in enumerate(TRAINING_LOOKS.items()):
            sample, used = figures(sides, split, training, rate)
            seeds, height, interval = len(sample), group + (place - 1) * 0.27, t_interval(sample)
            _dots(axes, sample, height, color, reach=0.09)
            axes.errorbar(
                interval.mean,
                height,
                xerr=interval.mean - interval.low,
                color=INK,
                marker=marker,
                markersize=5,
                markerfacecolor=color,
                capsize=2.5,
                linewidth=1.2,
                zorder=4,
                label=training if group == 0 else None,
            )
            if rate is None:
                axes.annotate(f"{used:g}", (1.02, height), fontsize=6.5, va="center", annotation_clip=False)
    axes.axvline(1 / 3, color=GREY, linewidth=0.7, linestyle=(0, (1, 1)))
    axes.annotate(
        "chance", (1 / 3, -0.48), xytext=(2, 0), textcoords="offset points", fontsize=6.5, color=GREY, va="top"
    )
    axes.set_yticks(range(3), [name for name, *_ in groups])
    axes.set_ylim(2.5, -0.5)
    axes.set_xlim(None, 1.01)
    axes.set(xlabel="test balanced accuracy", title="(b) 100 epochs of Adam in each")
    axes.legend(loc="lower left", handletextpad=0.4, frameon=True, facecolor="white", framealpha=1, edgecolor="none")
    axes.grid(visible=True, axis="x")
    return seeds


def _dots(axes: Axes, sample: NDArray[np.float64], height: float, color: str, reach: float) -> None:
    """Draw each value as a dot, equal ones one above the other, so that none hides another."""
    shown = sample[:: -(-len(sample) // MOST_DOTS)]
    rank = np.array([np.sum(shown[:place] == value) for place, value in enumerate(shown)])
    offset = (rank + 1) // 2 * np.where(rank % 2, 1, -1)
    step = min(reach / max(abs(offset).max(), 1), reach / 3)
    axes.scatter(shown, height + step * offset, s=6, color=color, alpha=0.6, linewidth=0, zorder=3)


@house_style()
def draw_rates(rows: Rows, seeds: int, target: Path) -> None:
    """Draw test balanced accuracy by rate: a panel a loss and optimiser, a line an activation."""
    figure = new_figure(WIDTH, 5.8, "Test balanced accuracy by learning rate")
    optimisers, losses = (list(dict.fromkeys(row[name] for row in rows)) for name in ("optimiser", "loss"))
    panels = figure.subplots(len(optimisers), len(losses), sharex=True, sharey=True)
    for (line, optimiser), (column, loss) in itertools.product(enumerate(optimisers), enumerate(losses)):
        axes = panels[line, column]
        of_panel = [row for row in rows if (row["loss"], row["optimiser"]) == (loss, optimiser)]
        for activation, (color, marker, style) in ACTIVATION_LOOKS.items():
            of_line = [row for row in of_panel if row["activation"] == activation]
            names = ("rate", "test_balanced_accuracy", "low", "high")
            rate, mean, low, high = (np.array([row[name] for row in of_line]) for name in names)
            axes.fill_between(rate, low, high, color=color, alpha=0.16, linewidth=0)
            axes.plot(rate, mean, color=color, marker=marker, markersize=3.2, linestyle=style, label=activation)
            best = next(place for place, row in enumerate(of_line) if row["chosen"])
            look = {"marker": marker, "markersize": CHOSEN_SIZES[activation], "markerfacecolor": "none"}
            axes.plot(rate[best], mean[best], color=INK, linestyle="none", zorder=5, **look)
        axes.axhline(1 / 3, color=GREY, linewidth=0.7, linestyle=(0, (1, 1)))
        axes.set_xscale("log")
        axes.set_xticks([0.001, 0.01, 0.1, 1, 10], ["0.001", "0.01", "0.1", "1", "10"])
        axes.set_xticks([], minor=True)
        axes.set_ylim(0.25, 1.02)
        axes.grid(visible=True)
        if line == 0:
            axes.set_title(loss)
        if column == 0:
            axes.set_ylabel(optimiser)
        if line == len(optimisers) - 1:
            axes.set_xlabel("learning rate")
    figure.supylabel("test balanced accuracy", fontsize=8)
    fastest = max(row["rate"] for row in rows)
    panels[0, -1].annotate("chance", (fastest, 1 / 3), fontsize=6.5, color=GREY, ha="right", va="bottom")
    panels[-1, 0].legend(loc="lower left", handlelength=3, borderaxespad=1.2)
    caption(
        figure,
        f"4 hidden units, 100 epochs on pooled rows. Mean over {seeds} seeds and its 95 % t interval (band). A black "
        "outline is the rate that validation rows chose (highest mean over the seeds). Iris, over random splits, "
        "initialisations and orders of the rows; all seeds share its 150 rows.",
    )
    save(figure, target)


@house_style()
def draw_choices(rows: Rows, seeds: int, target: Path) -> None:
    """Draw each combination at its own rate: mean and interval, and the paired difference to the tutorial's."""
    figure = new_figure(WIDTH, 5.6, "Every activation, loss and optimiser, each combination at its own rate")
    left, right = figure.subplots(1, 2, sharey=True)
    heights: list[float] = []
    for place, row in enumerate(rows):
        new_group = place == 0 or row["optimiser"] != rows[place - 1]["optimiser"]
        height = (heights[-1] + 1 if heights else 0) + 1.0 * new_group
        heights.append(height)
        if new_group:
            left.annotate(
                row["optimiser"],
                (0, height - 0.95),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 0),
                textcoords="offset points",
                fontsize=7.5,
                weight="bold",
                ha="right",
                va="center",
                annotation_clip=False,
            )
        color, marker, _ = ACTIVATION_LOOKS[row["activation"]]
        look = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1, "capsize": 2}
        left.errorbar(row["mean"], height, xerr=row["mean"] - row["low"], **look)
        if np.isnan(row["difference"]):
            right.plot(0, height, marker="*", markersize=8, color=INK, linestyle="none")
            continue
        filled = color if row["p_holm"] < 0.05 else "white"
        half = row["difference"] - row["difference_low"]
        right.errorbar(100 * row["difference"], height, xerr=100 * half, markerfacecolor=filled, **look)
    right.axvline(0, color=INK, linewidth=0.8)
    left.set_yticks(heights, [f"{row['loss']}, {row['activation']}, {row['rate']:g}" for row in rows])
    left.set_ylim(heights[-1] + 0.7, heights[0] - 1.6)
    left.set(xlabel="test balanced accuracy")
    right.set(xlabel="difference to the tutorial's (★), percentage points")
    for axes in (left, right):
        axes.grid(visible=True, axis="x")
    caption(
        figure,
        f"Loss, activation, and the rate that validation rows chose. Mean and 95 % t interval over {seeds} seeds; "
        "differences are paired by seed. A filled mark would differ from the tutorial's combination (sign-flip test, "
        "Holm-adjusted over the 26, p < 0.05); an open one does not. Iris, over random splits, initialisations and "
        "orders of the rows; all seeds share its 150 rows.",
    )
    save(figure, target)
