"""Lines with a band: learning curves, and the gain at each learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefed.report.page.svg import Pen, Scale, markup, sheet, tick_words, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

POINTS = 240
"""Points up to which each is drawn; of more, evenly spaced ones with the last."""
LABEL = 13.0
"""Least distance of two labels at the lines' ends, in pixels."""


@dataclass(frozen=True)
class Line:
    """A line over shared places, its band where ``low`` and ``high`` are finite, and what stands at its end.

    Labels of lines that are not ``shown`` at first give way to no other; the page's script moves them when they are.
    In a frame with marks a line that is not ``marked`` is a guide to the others.
    """

    look: str
    mean: Floats
    low: Floats
    high: Floats
    label: str = ""
    shown: bool = True
    marked: bool = True


@dataclass(frozen=True)
class Frame:
    """What a line chart is drawn in: size in pixels, words on its axes, ticks of its own along x where given."""

    width: float
    height: float
    x_words: str
    y_words: str
    low: float
    high: float
    x_ticks: tuple[tuple[float, str], ...] = ()
    zero: bool = False
    margin: float = 34.0
    marks: bool = False


def line_chart(name: str, title: str, words: str, x: Floats, lines: Sequence[Line], frame: Frame) -> Markup:
    """Return lines over ``x`` in a frame; what lies beyond the frame is cut.

    Parameters
    ----------
    x : float ndarray [places]
        Shared by all lines, whose arrays have its shape.
    """
    root, pen = sheet(name, frame.width, frame.height, title, words, "lines")
    left, right, top, bottom = 44.0, frame.width - frame.margin, 24.0, frame.height - 42.0
    pad = 0.0 if not frame.marks else 0.09 * float(np.ptp(x) or 1)
    across = Scale(float(x.min()) - pad, float(x.max()) + pad, left, right)
    up = Scale(frame.low, frame.high, bottom, top)
    _axes(pen, frame, across, up, (left, right, top, bottom))
    kept = np.unique(np.linspace(0, len(x) - 1, min(POINTS, len(x))).round().astype(int))
    ends = []
    inner = pen.clipped(f"{name}-frame", left, top, right - left, bottom - top)
    for line in lines:
        group = inner.group(f"line {line.look}")
        outer = pen.group(f"line {line.look}")
        band, path, last = _paths(x[kept], line, kept, across, up)
        if band:
            group.path(band, "band")
        group.path(path, "stroke")
        if frame.marks and line.marked:
            _marks(group, x, line, across, up)
        if last is not None and line.label:
            ends.append((last, line, outer))
    ends.sort(key=lambda end: not end[1].shown)
    heights = _apart([last for last, line, _ in ends if line.shown], top, bottom)
    heights += [last for last, line, _ in ends if not line.shown]
    for height, (last, line, group) in zip(heights, ends, strict=True):
        group.element.set("data-end", f"{last:.1f}")
        group.line(right + 1, last, right + 8, height, "leader")
        group.text(right + 10, height + 4, line.label, "label")
    return markup(root)


def limits(lines: Sequence[Line], pad: float = 0.06, least: float = 1.0, zero: bool = False) -> tuple[float, float]:
    """Return the range of means and bands, padded; with ``zero`` it holds 0."""
    every = np.concatenate([np.concatenate([line.mean, line.low, line.high]) for line in lines] or [np.empty(0)])
    every = every[np.isfinite(every)]
    if zero:
        every = np.append(every, 0.0)
    if not len(every):
        return 0.0, 1.0
    around = pad * max(float(np.ptp(every)), least)
    return float(every.min()) - around, float(every.max()) + around


def _axes(pen: Pen, frame: Frame, across: Scale, up: Scale, box: tuple[float, float, float, float]) -> None:
    left, right, _, bottom = box
    values = ticks(frame.low, frame.high, 4 if frame.height < 240 else 6)
    for value, text in zip(values, tick_words(values), strict=True):
        pen.line(left, up(value), right, up(value), "against" if frame.zero and value == 0 else "grid")
        pen.text(left - 7, up(value) + 4, text, "tick", "end")
    marks = frame.x_ticks
    if not marks:
        whole = ticks(across.low, across.high, 5, whole=True)
        marks = tuple(zip(whole, tick_words(whole), strict=True))
    for value, text in marks:
        pen.line(across(value), bottom, across(value), bottom + 4, "rule")
        pen.text(across(value), bottom + 17, text, "tick", "middle")
    pen.line(left, bottom, right, bottom, "rule")
    pen.text((left + right) / 2, bottom + 35, frame.x_words, "axis", "middle")
    pen.text(0, 12, frame.y_words, "axis")


def _paths(x: Floats, line: Line, kept: NDArray[np.int64], across: Scale, up: Scale) -> tuple[str, str, float | None]:
    mean, low, high = line.mean[kept], line.low[kept], line.high[kept]
    there = np.isfinite(mean)
    if not there.any():
        return "", "M0 0", None
    xs = np.array([across(float(value)) for value in x])

    def heights(values: Floats) -> Floats:
        return np.array([up(float(value)) for value in values])

    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(xs[there], heights(mean[there]), strict=True))
    around = there & np.isfinite(low) & np.isfinite(high)
    band = ""
    if around.sum() > 1:
        over = [f"{a:.1f} {b:.1f}" for a, b in zip(xs[around], heights(high[around]), strict=True)]
        under = [f"{a:.1f} {b:.1f}" for a, b in zip(xs[around], heights(low[around]), strict=True)]
        band = "M" + "L".join(over + under[::-1]) + "Z"
    return band, path, float(np.clip(heights(mean[there])[-1], up.end, up.start))


def _marks(pen: Pen, x: Floats, line: Line, across: Scale, up: Scale) -> None:
    """Draw each place's mean as a dot and its interval as a bar: few places make no curve."""
    for place, value in enumerate(x):
        if np.isfinite(line.mean[place]):
            at = across(float(value))
            if np.isfinite(line.low[place]) and np.isfinite(line.high[place]):
                ends = [up(up.inside(float(end))) for end in (line.low[place], line.high[place])]
                pen.line(at, ends[0], at, ends[1], "interval")
            if up.holds(float(line.mean[place])):
                pen.dots([(at, up(float(line.mean[place])))], "point")


def _apart(heights: Sequence[float], top: float, bottom: float) -> list[float]:
    """Return heights moved apart, in their order, so that labels do not lie on each other."""
    order = np.argsort(heights, kind="stable")
    room = min(LABEL, (bottom - top) / max(1, len(heights)))
    placed: list[float] = []
    for index in order:
        least = placed[-1] + room if placed else top
        placed.append(max(heights[index], least))
    over = max(0.0, placed[-1] - bottom) if placed else 0.0
    limit = bottom
    for place in range(len(placed) - 1, -1, -1):
        if over:
            placed[place] = min(placed[place], limit)
            limit = placed[place] - room
    moved = [0.0] * len(placed)
    for place, index in enumerate(order):
        moved[index] = placed[place]
    return moved
