"""Dots of a strip moved aside so that none hides another, and drawn: deterministic, no jitter."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ANYWHERE = (-math.inf, math.inf)
"""Bounds of a measure that has none."""


def draw_swarms(
    axes: Axes,
    places: Sequence[float] | NDArray[Any],
    samples: Sequence[Floats | None],
    *,
    diameter: float,
    height: float,
    below: float,
    look: Mapping[str, Any],
    within: tuple[float, float] = ANYWHERE,
) -> None:
    """Draw each row's values as dots below its mark, none upon another; the layout and both limits must be settled.

    Parameters
    ----------
    axes : Axes
    places : float sequence [rows]
        Where each row lies along the vertical axis.
    samples : sequence [rows] of float ndarray or None
        Values along the horizontal axis; those beyond its limits are left out.
    diameter : float
        Points between the middles of two dots that touch.
    height, below : float
        Height of a strip, and how far its middle lies below the row's place, in rows.
    look : mapping
        Of the dots, as :meth:`matplotlib.axes.Axes.plot` takes it.
    within : (float, float)
        What no value passes: a share lies between 0 and 100 %, and no dot is moved beyond. Neutral: anywhere.
    """
    low, high = axes.get_xlim()
    box = axes.get_window_extent()
    per_point = 72 / axes.figure.dpi
    across = (high - low) / (box.width * per_point)
    down = abs(float(np.diff(axes.get_ylim())[0])) / (box.height * per_point)
    for place, sample in zip(places, samples, strict=False):
        if sample is None:
            continue
        seen = sample[(sample >= low) & (sample <= high)]
        if len(seen):
            along, up = swarm(seen / across, diameter, height / down, (within[0] / across, within[1] / across))
            axes.plot(seen + along * across, place + below + up * down, "o", zorder=2, **look)


def swarm(
    places: Floats, diameter: float, height: float, within: tuple[float, float] = ANYWHERE
) -> tuple[Floats, Floats]:
    """Return how far each dot is moved (along, across), in the unit of the arguments.

    A dot stays at its own place as long as the strip has room across; only a pile of ties higher than the strip
    spreads along the axis, by whole diameters and as little as it takes.

    Parameters
    ----------
    places : float ndarray [dots]
        Positions along the axis. Not finite: not moved.
    diameter : float
        Of a dot.
    height : float
        Of the strip.
    within : (float, float)
        No dot is moved beyond, as long as there is room between. Neutral: anywhere.
    """
    levels = max(1, int(height / diameter))
    ups = sorted((step * diameter for step in range(-(levels // 2), (levels + 1) // 2)), key=lambda up: (abs(up), up))
    along, across = np.zeros(len(places)), np.zeros(len(places))
    taken: list[tuple[float, float]] = []
    for dot in np.argsort(places, kind="stable"):
        if not np.isfinite(places[dot]):
            continue
        aside, up = next(
            (aside, up)
            for aside in _outwards(diameter, places[dot] - within[0], within[1] - places[dot])
            for up in ups
            if _free(places[dot] + aside, up, taken, diameter * 0.999)
        )
        along[dot], across[dot] = aside, up
        taken.append((places[dot] + aside, up))
    return along, across


def _outwards(step: float, below: float, above: float) -> Iterator[float]:
    """Yield steps aside, the nearest first: those within the room below and above, and only then any others."""
    yield 0.0
    for count in itertools.takewhile(lambda count: count * step <= max(below, above), itertools.count(1)):
        if count * step <= above:
            yield count * step
        if count * step <= below:
            yield -count * step
    for count in itertools.count(1):
        yield count * step
        yield -count * step


def _free(place: float, up: float, taken: list[tuple[float, float]], distance: float) -> bool:
    return all((place - other) ** 2 + (up - level) ** 2 >= distance**2 for other, level in taken)
