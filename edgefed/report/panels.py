"""A comparison by round: one small panel a remedy, so that lines that lie on each other stay readable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from edgefed.report.band import Band, band
from edgefed.report.curves import MARKED, count_rounds, draw_line, of_each_round
from edgefed.report.folder import CONTROL, RANKED
from edgefed.report.style import (
    BLUE,
    INK,
    SMALL,
    WIDTH,
    caption,
    house_style,
    label,
    light_grid,
    new_figure,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from edgefed.report.folder import ComparisonFolder

    Floats = NDArray[np.float64]

ACROSS = 3
"""Panels side by side."""


@dataclass(frozen=True)
class _Measure:
    """What a sheet of small panels shows: a number of each round, its scale and its words."""

    name: str
    title: str
    axis: str
    scale: float = 1.0
    unit: str = ""
    digits: int = 2
    paired: bool = False
    rising: bool = False


_ACCURACY = _Measure(
    name=f"test.{RANKED}",
    title="Test balanced accuracy by round",
    axis="test balanced\naccuracy (%)",
    scale=100,
    unit=" %",
    digits=1,
    rising=True,
)
_LOSS = _Measure("validation.log_loss", "Validation log-loss by round", "validation\nlog-loss (nats)")
_DIFFERENCE = _Measure(
    name=f"test.{RANKED}",
    title="Test balanced accuracy by round: difference to none",
    axis="difference in balanced\naccuracy (points)",
    scale=100,
    unit=" points",
    digits=1,
    paired=True,
)


MOST_PANELS = 12
"""Remedies that a sheet has panels for: with all twenty-eight nobody would read it, and it would take half a minute."""


def accuracy_by_round(found: ComparisonFolder) -> Figure | None:
    """Return test balanced accuracy against round, a panel a remedy with the control in each."""
    return _sheet(found, _ACCURACY)


def loss_by_round(found: ComparisonFolder) -> Figure | None:
    """Return validation log-loss against round; None where there are no validation rows."""
    return _sheet(found, _LOSS)


def difference_by_round(found: ComparisonFolder) -> Figure | None:
    """Return each remedy's paired difference to the control against round; None for a control alone."""
    return _sheet(found, _DIFFERENCE) if CONTROL in found.runs and found.remedies else None


@house_style()
def _sheet(found: ComparisonFolder, measure: _Measure) -> Figure | None:
    drawn = _drawn(found, measure)
    shown = [arm for arm in found.remedies or found.arms if arm["name"] in drawn]
    if not shown:
        return None
    left_out, shown = len(shown) - MOST_PANELS, shown[:MOST_PANELS]  # in order of rank
    rounds = next(iter(found.runs.values()))[0].history["round"]
    # With a remedy beside it the control is a dashed line in every panel; alone it is the panel.
    beside = None if measure.paired or not found.remedies else drawn.get(CONTROL)
    across = min(ACROSS, len(shown))
    down = -(-len(shown) // across)
    figure = new_figure(WIDTH if across > 1 else 6.2, 1.45 * down + (1.35 if down > 1 else 1.9), measure.title)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for arm, axes in zip(shown, grid.flat, strict=False):
        if measure.paired:
            axes.axhline(0, color=INK, linewidth=0.9, linestyle="--")
        elif beside is not None:
            draw_line(axes, rounds, band(beside).mean, color=INK, linestyle="--", linewidth=1, zorder=3)
        _draw_band(axes, rounds, _band(drawn[arm["name"]], measure))
        _name(axes, arm, band(drawn[arm["name"]]).mean, found, measure)
        light_grid(axes, "y")
    for spare in grid.flat[len(shown) :]:
        spare.set_visible(False)
    for place, axes in enumerate(grid.flat[: len(shown)]):
        axes.tick_params(labelbottom=place + across >= len(shown))
        if place >= across * (down - 1):
            axes.set_xlabel("round")
        if place % across == 0:
            axes.set_ylabel(measure.axis, fontsize=7.5)
    count_rounds(grid[0, 0], rounds)
    cut = _limit(grid[0, 0], list(drawn.values()), measure)
    if measure.paired or beside is not None:
        names = ["difference", "none"] if measure.paired else ["remedy", "none"]
        keys = [Line2D([], [], color=BLUE, linewidth=1.5), Line2D([], [], color=INK, linestyle="--", linewidth=1)]
        figure.legend(keys, names, loc="upper right", ncols=2).set_in_layout(False)  # beside the title
    words = _words(found, measure) + (" Bands wider than the panels are cut." if cut else "")
    caption(figure, words + (f" The {MOST_PANELS} highest ranked; report.html has all." if left_out > 0 else ""))
    settle(figure)
    return figure


def _drawn(found: ComparisonFolder, measure: _Measure) -> dict[str, Floats]:
    """Return [seeds, rounds] of each arm that has any number: its values, or what they are above the control's."""
    values = {
        arm: measure.scale * np.array([of_each_round(run, measure.name) for run in runs])
        for arm, runs in found.runs.items()
    }
    if measure.paired:
        values = {arm: sample - values[CONTROL] for arm, sample in values.items() if arm != CONTROL}
    return {arm: sample for arm, sample in values.items() if np.isfinite(sample).any()}


def _band(sample: Floats, measure: _Measure) -> Band:
    """Return mean and interval by round; that of a share is cut at 0 and 100 %."""
    return band(sample).within(0, 100) if measure is _ACCURACY else band(sample)


def _draw_band(axes: Axes, rounds: Floats, line: Band) -> None:
    there = np.isfinite(line.low)
    axes.fill_between(rounds[there], line.low[there], line.high[there], color=BLUE, alpha=0.22, linewidth=0)
    if there.sum() <= MARKED:
        axes.vlines(rounds[there], line.low[there], line.high[there], color=BLUE, linewidth=0.8)
    draw_line(axes, rounds, line.mean, color=BLUE, zorder=4)


def _limit(axes: Axes, samples: Sequence[Floats], measure: _Measure) -> bool:
    """Set the shared y limits to what the seeds reach, and return whether that cuts a band."""
    reach, inner = [], []
    for sample in samples:
        around = _band(sample, measure)
        edges = np.concatenate([around.low, around.high, around.mean])
        edges = edges[np.isfinite(edges)]
        reach.append(edges)
        inner.append(np.clip(edges, np.nanmin(sample), np.nanmax(sample)))
    wide, kept = np.concatenate(reach), np.concatenate([*inner, [0.0] if measure.paired else []])
    pad = 0.04 * float(np.ptp(kept)) or 0.01 * measure.scale
    # The note of each panel stands in the corner that curves leave free.
    low = float(kept.min()) - pad * (4 if measure.rising else 1)
    high = float(kept.max()) + pad * (1 if measure.rising else 4)
    axes.set_ylim(low, high)
    return bool(wide.min() < low or wide.max() > high)


# ---------------------------------------------------------------------------------------------- words
def _name(axes: Axes, arm: dict[str, Any], mean: Floats, found: ComparisonFolder, measure: _Measure) -> None:
    """Write an arm's name, and in a corner its learning rate and where it ended."""
    axes.set_title(label(arm["name"], 30), loc="left", fontsize=8, fontweight="bold", pad=3)
    tuned = (found.result.get("tuned") or {}).get(arm["name"]) or {}
    rate = f"rate {arm['learning_rate']:g}{' (edge)' if tuned.get('on_the_edge') else ''}"
    sign = "+" if measure.paired else ""
    note = f"{rate}, last round {mean[np.isfinite(mean)][-1]:{sign}.{measure.digits}f}{measure.unit}"
    note = note.replace("-", "−")
    if measure is _LOSS and arm.get("not_converged"):
        note += f"\n{arm['not_converged']} of {len(found.seeds)} seeds still falling"
    axes.annotate(
        note,
        (1, 0 if measure.rising else 1),
        (-2, 3 if measure.rising else -3),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="bottom" if measure.rising else "top",
        fontsize=SMALL - 0.5,
        color="#404040",
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        zorder=5,
    )


def _words(found: ComparisonFolder, measure: _Measure) -> str:
    seeds = len(found.seeds)
    if measure.paired:
        what = f"Mean over {seeds} seeds of remedy minus none, paired by seed, and its 95 % t interval (band)."
    elif found.remedies and found.control:
        what = f"Mean over {seeds} seeds and its 95 % t interval (band); dashed: the mean of none."
    else:
        what = f"Mean over {seeds} seeds and its 95 % t interval (band)."
    tuned = (found.result.get("tuned") or {}).values()
    edge = " (edge: the lowest or highest tried)" if any(arm.get("on_the_edge") for arm in tuned) else ""
    order = " Panels go from the highest final mean to the lowest." if len(found.remedies) > 1 else ""
    return f"{what} Each interval is for its round alone. Rate: the learning rate chosen{edge}.{order} {found.scope}"
