"""Dots of a strip moved aside so that none hides another: deterministic, no jitter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def swarm(places: Floats, diameter: float, height: float) -> tuple[Floats, Floats]:
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
            for aside in _outwards(diameter)
            for up in ups
            if _free(places[dot] + aside, up, taken, diameter * 0.999)
        )
        along[dot], across[dot] = aside, up
        taken.append((places[dot] + aside, up))
    return along, across


def _outwards(step: float) -> Iterator[float]:
    yield 0.0
    count = 1
    while True:
        yield count * step
        yield -count * step
        count += 1


def _free(place: float, up: float, taken: list[tuple[float, float]], distance: float) -> bool:
    return all((place - other) ** 2 + (up - level) ** 2 >= distance**2 for other, level in taken)
