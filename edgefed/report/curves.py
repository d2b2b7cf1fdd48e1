"""Lines by round, and a run's learning curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from edgefed.notes import tested_by_devices
from edgefed.report.folder import RANKED
from edgefed.report.style import (
    BLUE,
    INK,
    VERMILLION,
    WIDTH,
    caption,
    house_style,
    light_grid,
    new_figure,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from edgefed.runs import Run

    Floats = NDArray[np.float64]

_TRAINING: dict[str, Any] = {"color": VERMILLION, "linestyle": ":"}
_VALIDATION: dict[str, Any] = {"color": BLUE, "linestyle": "--"}
_TEST: dict[str, Any] = {"color": INK, "linestyle": "-"}
MARKED = 15
"""Points up to which each has a marker: a line alone would hide how few they are."""


@house_style()
def run_curves(run: Run, title: str) -> Figure | None:
    """Return losses and balanced accuracy against round; None for a run without either."""
    losses = {
        f"training ({run.config.loss})": (of_each_round(run, "train_loss"), _TRAINING),
        "validation (log-loss)": (of_each_round(run, "validation.log_loss"), _VALIDATION),
    }
    scores = {
        "validation": (100 * of_each_round(run, f"validation.{RANKED}"), _VALIDATION),
        "held out" if tested_by_devices(run) else "test": (100 * of_each_round(run, f"test.{RANKED}"), _TEST),
    }
    panels = {
        axis: {name: (line, look) for name, (line, look) in lines.items() if np.isfinite(line).any()}
        for axis, lines in {"loss": losses, "balanced accuracy (%)": scores}.items()
    }
    panels = {axis: lines for axis, lines in panels.items() if lines}
    if not panels:
        return None
    figure = new_figure(WIDTH, 3.3, title)
    for (axis, lines), axes in zip(panels.items(), figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        for name, (line, look) in lines.items():
            draw_line(axes, run.history["round"], line, label=name, **look)
        axes.set_xlabel("round")
        count_rounds(axes, run.history["round"])
        axes.set_ylabel(axis)
        light_grid(axes, "y")
        if axis == "loss":
            _log_if_wide(axes, [line for line, _ in lines.values()])
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=2, borderaxespad=0, columnspacing=1.2)
    ends = ", ".join(
        f"{name} {line[np.isfinite(line)][-1]:.1f} %"
        for name, (line, _) in panels.get("balanced accuracy (%)", {}).items()
    )
    caption(
        figure,
        (f"Balanced accuracy (mean recall over classes) after the last round: {ends}. " if ends else "")
        + "Training loss is the clients' mean. One run shows no spread: a comparison over seeds does.",
    )
    settle(figure)
    return figure


def of_each_round(run: Run, name: str) -> Floats:
    """Return a number of each round; nan where there is none."""
    try:
        return run.history[name]
    except KeyError:
        return np.full(len(run.rounds), np.nan)


def draw_line(axes: Axes, rounds: Floats, values: Floats, **look: Any) -> None:
    """Draw a line through the rounds that have a value, each marked where they are few."""
    there = np.isfinite(values)
    few = there.sum() <= MARKED
    axes.plot(rounds[there], values[there], marker="o" if few else None, markersize=3.5, **({"linewidth": 1.5} | look))


def count_rounds(axes: Axes, rounds: Floats) -> None:
    """Set ticks at whole rounds; all rounds are shown, evaluated or not."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
    pad = max(0.5, 0.03 * float(np.ptp(rounds)))
    axes.set_xlim(rounds.min() - pad, rounds.max() + pad)


def _log_if_wide(axes: Axes, lines: Sequence[Floats]) -> None:
    values = np.concatenate([line[np.isfinite(line)] for line in lines])
    if len(values) and values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter("")
        axes.set_ylabel(f"{axes.get_ylabel()}, log scale")
