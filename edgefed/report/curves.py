"""Learning curves: a run's by round, and a comparison's as one small panel a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy import stats

from edgefed.report.folder import CONTROL, RANKED
from edgefed.report.style import (
    BLUE,
    GREY,
    INK,
    SMALL,
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
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from edgefed.report.folder import ComparisonFolder
    from edgefed.runs import Run

    Floats = NDArray[np.float64]

PANELS_ACROSS = 3
_TRAINING: dict[str, Any] = {"color": VERMILLION, "linestyle": ":"}
_VALIDATION: dict[str, Any] = {"color": BLUE, "linestyle": "--"}
_TEST: dict[str, Any] = {"color": INK, "linestyle": "-"}
MARKED = 15
"""Points up to which each has a marker: a line alone would hide how few they are."""


# ---------------------------------------------------------------------------------------------- one run
@house_style()
def run_curves(run: Run, title: str) -> Figure | None:
    """Return losses and balanced accuracy against round; None for a run without either."""
    losses = {
        f"training ({run.config.loss})": (_of(run, "train_loss"), _TRAINING),
        "validation (log-loss)": (_of(run, "validation.log_loss"), _VALIDATION),
    }
    scores = {
        "validation": (100 * _of(run, f"validation.{RANKED}"), _VALIDATION),
        "test": (100 * _of(run, f"test.{RANKED}"), _TEST),
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
            _line(axes, _rounds(run), line, label=name, **look)
        axes.set_xlabel("round")
        _count_rounds(axes, _rounds(run))
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


def _of(run: Run, name: str) -> Floats:
    """Return a number of each round; nan where there is none."""
    try:
        return run.history[name]
    except KeyError:
        return np.full(len(run.rounds), np.nan)


def _rounds(run: Run) -> Floats:
    return run.history["round"]


def _line(axes: Axes, rounds: Floats, values: Floats, **look: Any) -> None:
    """Draw a line through the rounds that have a value, each marked where they are few."""
    there = np.isfinite(values)
    few = there.sum() <= MARKED
    axes.plot(rounds[there], values[there], marker="o" if few else None, markersize=3.5, **({"linewidth": 1.5} | look))


def _count_rounds(axes: Axes, rounds: Floats) -> None:
    """Set ticks at whole rounds; all rounds are shown, evaluated or not."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    pad = max(0.5, 0.03 * float(np.ptp(rounds)))
    axes.set_xlim(rounds.min() - pad, rounds.max() + pad)


def _log_if_wide(axes: Axes, lines: Sequence[Floats]) -> None:
    values = np.concatenate([line[np.isfinite(line)] for line in lines])
    if len(values) and values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter("")
        axes.set_ylabel(f"{axes.get_ylabel()}, log scale")


# ---------------------------------------------------------------------------------------------- a comparison
@dataclass(frozen=True)
class Band:
    """Mean over seeds by round with its 95 % t interval; low and high are nan below two seeds."""

    mean: Floats
    low: Floats
    high: Floats


def band(values: Floats) -> Band:
    """Return mean and 95 % t interval, mean +- t_{n-1} s / sqrt(n), of each column over its finite values.

    Parameters
    ----------
    values : float ndarray [seeds, rounds]
    """
    finite = np.isfinite(values)
    n = finite.sum(0).astype(float)
    n[n == 0] = np.nan
    mean = np.where(finite, values, 0).sum(0) / n
    squares = np.where(finite, (values - mean) ** 2, 0).sum(0)
    free = np.where(n > 1, n - 1, np.nan)
    half = stats.t.ppf(0.975, free) * np.sqrt(squares / free / n)
    return Band(mean, mean - half, mean + half)


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
    f"test.{RANKED}", "Test balanced accuracy by round", "test balanced\naccuracy (%)", 100, " %", 1, rising=True
)
_LOSS = _Measure("validation.log_loss", "Validation log-loss by round", "validation\nlog-loss (nats)")
_DIFFERENCE = _Measure(
    f"test.{RANKED}", "Test balanced accuracy by round: difference to none", "difference in balanced\naccuracy (points)", 100,
    " points", 1, paired=True,
)  # fmt: skip


def accuracy_curves(found: ComparisonFolder) -> Figure | None:
    """Return test balanced accuracy against round, a panel a remedy with the control in each."""
    return _sheet(found, _ACCURACY)


def loss_curves(found: ComparisonFolder) -> Figure | None:
    """Return validation log-loss against round; None where there are no validation rows."""
    return _sheet(found, _LOSS)


def difference_curves(found: ComparisonFolder) -> Figure | None:
    """Return each remedy's paired difference to the control against round; None for a control alone."""
    return _sheet(found, _DIFFERENCE) if found.control and found.remedies else None


@house_style()
def _sheet(found: ComparisonFolder, measure: _Measure) -> Figure | None:
    values = {
        arm: measure.scale * np.array([_of(run, measure.name) for run in runs]) for arm, runs in found.runs.items()
    }
    if not any(np.isfinite(sample).any() for sample in values.values()):
        return None
    rounds = _rounds(next(iter(found.runs.values()))[0])
    control = values.get(CONTROL)
    shown = found.remedies or found.arms
    across = min(PANELS_ACROSS, len(shown))
    down = -(-len(shown) // across)
    figure = new_figure(WIDTH if across > 1 else 6.2, 1.45 * down + (1.35 if down > 1 else 1.9), measure.title)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for arm, axes in zip(shown, grid.flat, strict=False):
        _panel(axes, arm, rounds, values[arm["name"]], control, measure)
    for spare in grid.flat[len(shown) :]:
        spare.set_visible(False)
    for place, axes in enumerate(grid.flat[: len(shown)]):
        axes.tick_params(labelbottom=place + across >= len(shown))
        if place >= across * (down - 1):
            axes.set_xlabel("round")
        if place % across == 0:
            axes.set_ylabel(measure.axis, fontsize=7.5)
    first = grid.flat[0]
    _count_rounds(first, rounds)
    cut = _limit(first, values, control if measure.paired else None, measure)
    if control is not None and found.remedies:
        names = ["difference", "none"] if measure.paired else ["remedy", "none"]
        keys = [Line2D([], [], color=BLUE, linewidth=1.5), Line2D([], [], color=INK, linestyle="--", linewidth=1)]
        figure.legend(keys, names, loc="upper right", ncols=2).set_in_layout(False)  # beside the title
    caption(figure, _words(found, measure) + (" Bands wider than the panels are cut." if cut else ""))
    settle(figure)
    return figure


def _limit(axes: Axes, values: dict[str, Floats], less: Floats | None, measure: _Measure) -> bool:
    """Set the shared y limits to what the seeds reach, and return whether that cuts a band."""
    reach, inner = [], []
    for arm, sample in values.items():
        if less is not None and arm == CONTROL:
            continue
        drawn = sample - less if less is not None else sample
        seen = drawn[np.isfinite(drawn)]
        if not len(seen):
            continue
        around = band(drawn)
        edges = np.concatenate([around.low, around.high, around.mean])
        edges = edges[np.isfinite(edges)]
        reach.append(edges)
        inner.append(np.clip(edges, seen.min(), seen.max()))
    wide, kept = np.concatenate(reach), np.concatenate(inner)
    pad = 0.04 * float(np.ptp(kept)) or 1 / measure.scale
    low, high = kept.min() - pad, kept.max() + pad
    if less is not None:
        low, high = min(low, -pad), max(high, pad)
    # The note of each panel stands in the corner that curves leave free.
    low, high = (low - 3 * pad, high) if measure.rising else (low, high + 3 * pad)
    axes.set_ylim(low, high)
    return bool(wide.min() < low or wide.max() > high)


def _panel(
    axes: Axes, arm: dict[str, Any], rounds: Floats, values: Floats, control: Floats | None, measure: _Measure
) -> None:
    own = arm["name"] == CONTROL
    if measure.paired and control is not None:
        values = values - control
        axes.axhline(0, color=INK, linewidth=0.9, linestyle="--")
    elif control is not None and not own:
        _line(axes, rounds, band(control).mean, color=INK, linestyle="--", linewidth=1, zorder=3)
    drawn = band(values)
    there = np.isfinite(drawn.low)
    axes.fill_between(rounds[there], drawn.low[there], drawn.high[there], color=BLUE, alpha=0.22, linewidth=0)
    if there.sum() <= MARKED:
        axes.vlines(rounds[there], drawn.low[there], drawn.high[there], color=BLUE, linewidth=0.8)
    _line(axes, rounds, drawn.mean, color=BLUE, zorder=4)
    axes.set_title(label(arm["name"], 30), loc="left", fontsize=8, fontweight="bold", pad=3)
    corner = 0 if measure.rising else 1
    ends = drawn.mean[np.isfinite(drawn.mean)]
    if len(ends):
        sign = "+" if measure.paired else ""
        axes.annotate(
            f"rate {arm['learning_rate']:g}, last round {ends[-1]:{sign}.{measure.digits}f}{measure.unit}",
            (1, corner),
            (-2, -3 if corner else 3),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            va="top" if corner else "bottom",
            fontsize=SMALL - 0.5,
            color=GREY if not own else INK,
        )
    light_grid(axes, "y")


def _words(found: ComparisonFolder, measure: _Measure) -> str:
    seeds = len(found.seeds)
    if measure.paired:
        what = f"Mean over {seeds} seeds of remedy minus none, paired by seed, and its 95 % t interval (band)."
    elif found.remedies and found.control:
        what = f"Mean over {seeds} seeds and its 95 % t interval (band); dashed: the mean of none."
    else:
        what = f"Mean over {seeds} seeds and its 95 % t interval (band)."
    order = " Panels go from the highest final mean to the lowest." if len(found.remedies) > 1 else ""
    return f"{what} Each interval is for its round alone. Rate: the learning rate chosen.{order} {found.scope}"
