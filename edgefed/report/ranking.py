"""The ranking: every remedy's mean, interval and seeds, and beside it the paired difference to none in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from edgefed.notes import BEYOND, told_here_only
from edgefed.report.folder import CONTROL, CUT, RANKED, number, numbers, passes_its_ends, share_interval
from edgefed.report.style import (
    BLUE,
    GREY,
    INK,
    SMALL,
    VERMILLION,
    caption,
    house_style,
    label,
    light_grid,
    new_figure,
    settle,
)
from edgefed.report.swarm import draw_swarms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from edgefed.report.folder import ComparisonFolder

    Floats = NDArray[np.float64]

LOOKS = {"better": (BLUE, "^"), "worse": (VERMILLION, "v"), "control": (INK, "D")}
"""Colour and marker by the first word of a tier: the shape says it where the colour is lost."""
REFERENCES = {
    "pooled": "all training rows in one place",
    "pooled-before-tail": "the same before the tail thinned them",
    "local-only": "each client alone, mean over clients",
}
DOT = 2.9
"""Diameter of a seed's dot in points."""
DOTS = {"markersize": DOT - 0.3, "markerfacecolor": "#9A9A9A", "markeredgecolor": "#4D4D4D", "markeredgewidth": 0.3}
ROW = 0.38
"""Height of a row in inches."""


@dataclass(frozen=True)
class _Row:
    """One line of the ranking, in percent and points."""

    name: str
    mean: float
    low: float
    high: float
    values: Floats
    words: str
    colour: str = GREY
    marker: str = "o"
    difference: tuple[float, float, float] | None = None
    differences: Floats | None = None
    reference: bool = False


@house_style()
def ranking_figure(found: ComparisonFolder) -> Figure:
    """Return remedies from the highest mean to the lowest, every seed a dot, with references below them."""
    arms = _arm_rows(found)
    references = _reference_rows(found)
    rows = arms + references
    compared = any(row.difference for row in arms)
    figure = new_figure(8.2 if compared else 5.8, ROW * len(rows) + 1.85, _title(found))
    panels = figure.subplots(
        1, 2 if compared else 1, sharey=True, squeeze=False, width_ratios=[1.15, 1][: 1 + compared]
    )
    left = panels[0, 0]
    places = np.arange(len(rows)) + 0.6 * (np.arange(len(rows)) >= len(arms))
    left.set_ylim(places[-1] + 0.6, -0.6)
    left.set_yticks(places, [label(row.name, 34) for row in rows])
    for text, row in zip(left.get_yticklabels(), rows, strict=True):
        text.set_style("italic" if row.reference else "normal")
    _draw_scores(left, places, rows)
    _in_words(panels[0, -1], places, rows)
    if compared:
        _draw_differences(panels[0, 1], places, arms)
    for axes in panels[0]:
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        for line, place in enumerate(places):
            axes.axhspan(place - 0.5, place + 0.5, color=_stripe(line), linewidth=0, zorder=0)
    caption(figure, _words(found, arms, compared))
    settle(figure)
    _scatter(left, places, [row.values for row in rows], (0, 100))
    if compared:
        _scatter(panels[0, 1], places, [row.differences for row in arms], (-100, 100))
    return figure


# ---------------------------------------------------------------------------------------------- figures
def _arm_rows(found: ComparisonFolder) -> list[_Row]:
    control = found.control
    base = 100 * numbers(control[RANKED]["values"]) if control else None
    rows = []
    for arm in found.arms:
        score, gap = arm[RANKED], arm.get("difference")
        values = 100 * numbers(score["values"])
        tier = str(arm.get("tier") or "")
        here = "\non these rows" if told_here_only(arm) else ""
        colour, marker = LOOKS.get(tier.split(" ")[0], (GREY, "o"))
        rows.append(
            _Row(
                name=arm["name"],
                mean=100 * number(score["mean"]),
                low=_ends(score)[0],
                high=_ends(score)[1],
                values=values,
                words=tier + here + _p_value(gap).replace("\n", ", " if here else "\n"),
                colour=colour,
                marker=marker,
                difference=_gap(gap),
                differences=values - base if gap and base is not None and len(base) == len(values) else None,
            )
        )
    return rows


def _ends(score: dict[str, Any]) -> tuple[float, float]:
    low, high = share_interval(score)
    return 100 * low, 100 * high


def _gap(gap: dict[str, Any] | None) -> tuple[float, float, float] | None:
    return (100 * number(gap["mean"]), 100 * number(gap["low"]), 100 * number(gap["high"])) if gap else None


def _p_value(gap: dict[str, Any] | None) -> str:
    p = number(gap.get("p_holm")) if gap else np.nan
    if not np.isfinite(p):
        return ""
    return "\np < 0.001" if p < 0.001 else f"\np = {p:.3f}" if p < 0.1 else f"\np = {p:.2f}"


def _reference_rows(found: ComparisonFolder) -> list[_Row]:
    return [
        _Row(
            name=name,
            mean=100 * number(score["mean"]),
            low=_ends(score)[0],
            high=_ends(score)[1],
            values=100 * numbers(score["values"]),
            words=REFERENCES.get(name, ""),
            marker="s",
            reference=True,
        )
        for name, score in found.references.items()
    ]


# ---------------------------------------------------------------------------------------------- panels
def _draw_scores(axes: Axes, places: Floats, rows: Sequence[_Row]) -> None:
    arms = [row for row in rows if not row.reference]
    reach = _reach([row.values for row in arms], [(row.mean, row.low, row.high) for row in arms])
    low, high = max(0.0, reach[0]), min(100.0, reach[1])
    # A reference widens the axis only a little; one that is far away is named at the edge.
    span = max(high - low, 2.0)
    for row in rows:
        if row.reference and np.isfinite(row.mean) and low - 0.35 * span <= row.mean <= high + 0.35 * span:
            least, most = _reach([row.values], [(row.mean, row.low, row.high)])
            low, high = min(low, max(least, 0.0)), max(high, min(most, 100.0))
    pad = 0.05 * span
    low, high = low - pad, high + pad
    axes.set_xlim(low, high)
    for line, (place, row) in enumerate(zip(places, rows, strict=True)):
        if low <= row.mean <= high:
            _draw_interval(axes, place, (row.mean, row.low, row.high), row)
        elif np.isfinite(row.mean):
            left = row.mean < low
            axes.annotate(
                f"{'◄ ' if left else ''}{row.mean:.1f} ({row.low:.1f} to {row.high:.1f}){'' if left else ' ►'}",
                (0 if left else 1, place),
                (2 if left else -2, 0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="left" if left else "right",
                va="center",
                fontsize=SMALL,
                color="#404040",
                bbox={"facecolor": _stripe(line), "edgecolor": "none", "pad": 0.5},
            )
    control = next((row for row in arms if row.name == CONTROL), None)
    if control is not None and len(arms) > 1:
        axes.axvline(control.mean, color=INK, linestyle="--", linewidth=0.9, zorder=1)
        axes.annotate(
            f"none {control.mean:.1f} %",
            (control.mean, 1),
            (0, 2),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL,
        )
    _finish(axes, "test balanced accuracy, last round (%)")


def _stripe(line: int) -> str:
    return "white" if line % 2 else "#F4F4F4"


def _draw_differences(axes: Axes, places: Floats, arms: Sequence[_Row]) -> None:
    gaps = [row.difference for row in arms if row.difference]
    low, high = _reach([row.differences for row in arms], gaps)
    low, high = max(-100.0, min(low, 0.0)), min(100.0, max(high, 0.0))
    pad = 0.06 * max(high - low, 2.0)
    axes.set_xlim(low - pad, high + pad)
    axes.axvline(0, color=INK, linestyle="--", linewidth=0.9, zorder=1)
    for place, row in zip(places, arms, strict=False):
        if row.difference:
            _draw_interval(axes, place, row.difference, row)
    _finish(axes, "paired difference to none (points)")


def _reach(samples: Sequence[Floats | None], intervals: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Return the range of what is drawn; (0, 1) where there is nothing."""
    parts = [sample for sample in samples if sample is not None] + [np.array(interval) for interval in intervals]
    every = np.concatenate([np.asarray(part, float).ravel() for part in parts]) if parts else np.empty(0)
    every = every[np.isfinite(every)]
    return (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)


def _draw_interval(axes: Axes, place: float, interval: tuple[float, float, float], row: _Row) -> None:
    """Draw a mean and its interval above the row's dots; an end beyond the axis gets an arrow head."""
    mean, low, high = interval
    height = place - 0.24
    left, right = axes.get_xlim()
    if np.isfinite([low, high]).all():
        axes.hlines(height, max(low, left), min(high, right), color=row.colour, linewidth=1.6, zorder=3)
        for end, edge, head in ((low, left, 4), (high, right, 5)):
            beyond = end < left if head == 4 else end > right
            axes.plot(
                edge if beyond else end,
                height,
                marker=head if beyond else "|",
                color=row.colour,
                markersize=5,
                clip_on=False,
            )
    face = "white" if row.reference or row.marker == "o" else row.colour
    axes.plot(mean, height, row.marker, color=row.colour, markerfacecolor=face, markersize=4.5, zorder=4)


def _scatter(axes: Axes, places: Floats, samples: Sequence[Floats | None], within: tuple[float, float]) -> None:
    """Draw each seed's dot under its row's interval, none on top of another; the layout must be settled."""
    # A reference far away is named at the edge instead.
    draw_swarms(axes, places, samples, diameter=DOT, height=0.5, below=0.18, look=DOTS, within=within)


def _finish(axes: Axes, words: str) -> None:
    axes.set_xlabel(words)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    light_grid(axes, "x")


def _in_words(axes: Axes, places: Floats, rows: Sequence[_Row]) -> None:
    """Write each tier to the right of the last panel."""
    for place, row in zip(places, rows, strict=True):
        axes.annotate(
            row.words,
            (1, place),
            (6, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=row.colour if row.colour in (BLUE, VERMILLION) else INK,
            fontweight="bold" if row.colour in (BLUE, VERMILLION) else "normal",
            style="italic" if row.reference else "normal",
            annotation_clip=False,
        )


# ---------------------------------------------------------------------------------------------- words
def _title(found: ComparisonFolder) -> str:
    said = str(found.result.get("finding") or "")
    head = f"Imbalance remedies on {found.dataset}"
    return f"{head}: {said}" if said and len(said) < 90 else head


def _words(found: ComparisonFolder, arms: Sequence[_Row], compared: bool) -> str:
    seeds = len(found.seeds)
    parts = [f"Marker and bar: mean and 95 % t interval over {seeds} seeds; dots: the seeds."]
    if compared:
        family = sum(row.difference is not None for row in arms)
        parts.append(
            "Right: remedy minus none, paired by seed; ▲ better, ▼ worse, ○ neither. The words come from sign-flip "
            f"permutation tests, p adjusted by Holm's method for {family} contrast{'s' if family > 1 else ''}; the "
            "intervals are not adjusted. The order is not a finding."
        )
    if any(map(told_here_only, found.arms)):
        parts.append(f"On these rows: {BEYOND} (Nadeau and Bengio’s).")
    if passes_its_ends(figure[RANKED] for figure in found.arms) or passes_its_ends(found.references.values()):
        parts.append(CUT)
    if found.references:
        parts.append("Squares: references, not federations.")
    return " ".join([*parts, found.scope])
