"""How many features a federation needs: balanced accuracy against their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from edgefed.report.folder import number, numbers
from edgefed.report.style import (
    BLUE,
    INK,
    VERMILLION,
    WIDTH,
    caption,
    house_style,
    label,
    light_grid,
    new_figure,
    settle,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from edgefed.report.folder import ExplanationFolder

ORDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "forward": ("forward selection", {"color": BLUE, "marker": "o", "linestyle": "-"}),
    "filter": ("highest ANOVA F", {"color": VERMILLION, "marker": "s", "linestyle": "--"}),
}
NAMED = 10
"""Features whose place is listed beside the curve."""


@house_style()
def selection_figure(found: ExplanationFolder) -> Figure | None:
    """Return balanced accuracy by number of features, and how often each was chosen; None where none were selected."""
    chosen = found.selection
    if chosen is None:
        return None
    steps = chosen["steps"]
    counts = np.array([step["count"] for step in steps])
    figure = new_figure(WIDTH, 3.9, f"How many features does it need? {chosen['dataset']}")
    left, right = figure.subplots(1, 2, width_ratios=[1.3, 1])
    for place, (key, (name, look)) in enumerate(ORDERS.items()):
        mean, low, high = (100 * numbers([step[key][part] for step in steps]) for part in ("mean", "low", "high"))
        aside = 0.12 * (place - 0.5)
        around = [np.nan_to_num(mean - low), np.nan_to_num(high - mean)]
        left.errorbar(
            counts + aside,
            mean,
            yerr=around,
            markersize=4,
            linewidth=1.4,
            elinewidth=0.9,
            capsize=2,
            label=name,
            **look,
        )
    left.axhline(
        100 * number(chosen["all"]["mean"]),
        color=INK,
        linewidth=1,
        linestyle=":",
        label=f"all {len(chosen['features'])}",
    )
    left.set_xlabel("number of features")
    left.set_ylabel("test balanced accuracy (%)")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    light_grid(left, "y")
    left.set_ylim(top=min(left.get_ylim()[1], 100.8))
    left.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=3, borderaxespad=0, columnspacing=1.2)
    times = chosen["times"]
    order = sorted(times, key=lambda name: (-sum(times[name]), name))[:NAMED]
    seeds = len(chosen["seeds"])
    shares = np.array([times[name] for name in order], float) / seeds
    right.pcolormesh(
        np.arange(len(steps) + 1) + 0.5, np.arange(len(order) + 1) - 0.5, shares, cmap="Blues", vmin=0, vmax=1.1
    )
    right.set_ylim(len(order) - 0.5, -0.5)
    right.set_yticks(range(len(order)), [label(name, 22, 1) for name in order])
    right.set_xticks(counts)
    right.set_xlabel("among the first so many")
    right.tick_params(length=0)
    for (row, column), share in np.ndenumerate(shares):
        if share and len(steps) <= 12:
            right.annotate(
                f"{round(share * seeds)}",
                (column + 1, row),
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if share > 0.6 else INK,
            )
    caption(
        figure,
        f"{chosen['federations']:,} federations. Each of {seeds} seeds chooses on its own validation rows; test rows "
        f"only score what was chosen. Bars: 95 % intervals over seeds. Right: in how many of {seeds} seeds forward "
        "selection has the feature among its first so many.",
    )
    settle(figure)
    return figure
