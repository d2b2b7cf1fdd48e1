"""Bars to either side of zero: what speaks for and against the class of one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefed.report.page.svg import Scale, markup, sheet, shortened, tick_words, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from markupsafe import Markup
    from numpy.typing import NDArray

WIDTH, NAMES, ROW = 400.0, 176.0, 21.0


def bar_chart(
    name: str, title: str, words: str, labels: Sequence[str], values: NDArray[np.float64], reach: float, axis: str
) -> Markup:
    """Return a bar for each value, those above zero in one colour and shape, those below in the other.

    Parameters
    ----------
    labels : sequence of str
    values : float64 ndarray [bars]
    reach : float
        The axis goes from -reach to reach.
    axis : str
        What the values are.
    """
    bottom = ROW * len(labels) + 6
    root, pen = sheet(name, WIDTH, bottom + 40, title, words, "bars")
    across = Scale(-reach, reach, NAMES, WIDTH - 8)
    marks = ticks(-reach, reach, 4)
    for value, text in zip(marks, tick_words(marks), strict=True):
        pen.line(across(value), 2, across(value), bottom, "grid")
        pen.text(across(value), bottom + 15, text, "tick", "middle")
    for place, (label, value) in enumerate(zip(labels, values.tolist(), strict=True)):
        top = 2 + ROW * place
        group = pen.group("better" if value > 0 else "worse")
        ends = sorted((across(0), across(value)))
        group.box(ends[0], top + 3, ends[1] - ends[0], ROW - 7, "bar")
        pen.text(NAMES - 10, top + ROW / 2 + 4, shortened(label, 28), "tick", "end")
    pen.line(across(0), 2, across(0), bottom, "rule")
    pen.text((NAMES + WIDTH) / 2, bottom + 33, axis, "axis", "middle")
    return markup(root)
