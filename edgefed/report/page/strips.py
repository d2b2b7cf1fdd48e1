"""Rows of dots with their mean and interval: tiers, paired differences, rounds to a target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from edgefed.report.page.svg import MARKERS, Pen, Scale, markup, sheet, shortened, tick_words, ticks
from edgefed.report.swarm import ANYWHERE, swarm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WIDE, NARROW = 880.0, 340.0
"""Widths in pixels: one drawing for wide screens and paper, one for telephones, where text would shrink."""
ROW, HEAD = 38.0, 30.0
DOT = 4.4
NAMES = 212.0


@dataclass(frozen=True)
class Strip:
    """One row in one panel; what is nan is not drawn."""

    mean: float
    low: float = float("nan")
    high: float = float("nan")
    dots: Floats = field(default_factory=lambda: np.empty(0))
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A line of the chart: a strip a panel, None where it has none there.

    ``kind`` is a key of :data:`~edgefed.report.page.svg.MARKERS`.
    """

    name: str
    kind: str
    strips: tuple[Strip | None, ...]


@dataclass(frozen=True)
class Panel:
    """An axis: its words, its range, a value that all rows are read against, and what no value passes."""

    words: str
    low: float
    high: float
    against: float = float("nan")
    against_words: str = ""
    share: float = 1.0
    notes: float = 0.0
    whole: bool = False
    within: tuple[float, float] = ANYWHERE


Groups = list[tuple[str, list[Row]]]
"""Headings with their rows."""


def strip_chart(name: str, title: str, words: str, groups: Groups, panels: Sequence[Panel]) -> Markup:
    """Return the chart twice: side by side for wide screens, one panel under the other for narrow ones.

    A page shows one of the two; the other is not displayed, to screen readers neither.
    """
    wide = _chart(f"{name}-wide", title, words, groups, panels, list(range(len(panels))), "wide")
    narrow = [
        _chart(f"{name}-narrow-{place}", f"{title}: {panel.words}", words, groups, panels, [place], "narrow")
        for place, panel in enumerate(panels)
    ]
    return Markup("").join([wide, *narrow])


def reach(strips: Sequence[Strip], pad: float = 0.05, least: float = 2.0) -> tuple[float, float]:
    """Return the range that holds all that is drawn, padded; (0, 1) where there is nothing."""
    parts = [np.concatenate([strip.dots, [strip.mean, strip.low, strip.high]]) for strip in strips]
    every = np.concatenate(parts) if parts else np.empty(0)
    every = every[np.isfinite(every)]
    if not len(every):
        return 0.0, 1.0
    around = pad * max(float(np.ptp(every)), least)
    return float(every.min()) - around, float(every.max()) + around


def _chart(
    name: str, title: str, words: str, groups: Groups, panels: Sequence[Panel], shown: list[int], look: str
) -> Markup:
    wide = look == "wide"
    width = WIDE if wide else NARROW
    row = ROW if wide else ROW + 17
    top = 26.0
    kept = [(head, [line for line in rows if any(line.strips[place] for place in shown)]) for head, rows in groups]
    kept = [(head, rows) for head, rows in kept if rows]
    bottom = top + sum(HEAD * bool(head) + row * len(rows) for head, rows in kept) + 6
    root, pen = sheet(name, width, bottom + 40, title, words, look)
    scales = _scales(panels, shown, width, NAMES if wide else 8.0)
    for place, scale in scales.items():
        _axis(pen, panels[place], scale, top, bottom)
    at = top
    for head, rows in kept:
        if head:
            pen.text(0, at + 20, head, "head")
            pen.line(0, at + HEAD - 3, width, at + HEAD - 3, "rule")
            at += HEAD
        for line in rows:
            group = pen.group(f"row {line.kind}")
            if wide:
                group.text(0, at + row / 2 + 1, shortened(line.name, 33), "name")
            else:
                group.text(0, at + 15, shortened(line.name, 36), "name")
            for place, scale in scales.items():
                strip = line.strips[place]
                if strip is not None:
                    _strip(group, strip, scale, at + row - ROW, line.kind, panels[place].within)
                    room = (scale.end + 8, "start") if wide else (width, "end")
                    height = at + row / 2 + 1 if wide else at + 15
                    group.text(room[0], height, strip.note, "note", room[1])
            at += row
    return markup(root)


def _scales(panels: Sequence[Panel], shown: list[int], width: float, left: float) -> dict[int, Scale]:
    chosen = [panels[place] for place in shown]
    one = len(shown) == 1 and width == NARROW
    notes = 0.0 if one else sum(panel.notes for panel in chosen)
    gap = 44.0  # the last number of an axis and the first of the next stay apart
    free = width - left - 8 - notes - gap * (len(chosen) - 1)
    total = sum(panel.share for panel in chosen)
    scales = {}
    for place, panel in zip(shown, chosen, strict=True):
        size = free * panel.share / total
        scales[place] = Scale(panel.low, panel.high, left, left + size)
        left += size + gap + (0 if one else panel.notes)
    return scales


def _axis(pen: Pen, panel: Panel, scale: Scale, top: float, bottom: float) -> None:
    values = ticks(panel.low, panel.high, 6 if scale.end - scale.start > 270 else 4, panel.whole)
    for value, text in zip(values, tick_words(values), strict=True):
        pen.line(scale(value), top, scale(value), bottom, "grid")
        pen.text(scale(value), bottom + 15, text, "tick", "middle")
    pen.text((scale.start + scale.end) / 2, bottom + 33, panel.words, "axis", "middle")
    if scale.holds(panel.against):
        pen.line(scale(panel.against), top - 6, scale(panel.against), bottom, "against")
        middle = min(max(scale(panel.against), scale.start + 30), scale.end - 30)
        pen.text(middle, top - 11, panel.against_words, "tick", "middle")


def _strip(pen: Pen, strip: Strip, scale: Scale, top: float, kind: str, within: tuple[float, float] = ANYWHERE) -> None:
    height = top + 11
    if not np.isfinite(strip.mean):
        return
    if not scale.holds(strip.mean):
        left = strip.mean < scale.low
        words = f"◂ {strip.mean:.1f}" if left else f"{strip.mean:.1f} ▸"
        pen.text(scale.start if left else scale.end, height + 10, words, "note", "start" if left else "end")
        return
    seen = strip.dots[np.isfinite(strip.dots)]
    seen = seen[(seen >= scale.low) & (seen <= scale.high)]
    places = np.array([scale(float(value)) for value in seen])
    along, across = swarm(places, DOT, 14.0, (scale(within[0]), scale(within[1])))
    pen.dots(zip(places + along, height + 14 + across, strict=True), "dots")
    if np.isfinite(strip.low) and np.isfinite(strip.high):
        ends = [scale(scale.inside(end)) for end in (strip.low, strip.high)]
        pen.line(ends[0], height, ends[1], height, "interval")
        for end, value, turn in ((ends[0], strip.low, -4), (ends[1], strip.high, 4)):
            if scale.holds(value):
                pen.line(end, height - 4, end, height + 4, "interval")
            else:  # the interval goes on beyond the axis
                pen.path(f"M{-turn}-4 0 0 {-turn} 4", "interval", (end, height))
    pen.path(MARKERS[kind], "mark", (scale(strip.mean), height))
