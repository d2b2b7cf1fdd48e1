"""What a remedy costs: to a target, and how good it is at a cost that all can afford. Time and energy are modelled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgefed.api.course import Course


def target_of(control: Sequence[float]) -> float:
    """Return the score to reach: the control's mean in the last round, rounded down to a whole point.

    The same for all remedies, and not chosen by looking at them. A mean over seeds: where a rarer class is an easier
    one, every arm gets there sooner, so costs are compared within a seed or as medians over all.
    """
    # A mean that is a whole point but for rounding stays that point.
    return math.floor(100 * float(np.mean(control)) + 1e-9) / 100


def cost(courses: Sequence[Course], target: float) -> dict[str, Any]:
    """Return what it took until test rows first score the target, a seed each; None where they never do.

    Rounds, bytes and, where runs know them, modelled seconds and joules.

    Rounds are those that were evaluated. The median is over all seeds, a target not reached counting as infinity: None
    where it is infinite.
    """
    found: dict[str, list[Any]] = {"rounds": []} | {name: [] for name in known_costs(courses)}
    for course in courses:
        there = np.flatnonzero(course.score >= target)
        for name, values in found.items():
            spent = course.rounds if name == "rounds" else spent_by(course, name)
            values.append(spent[there[0]].item() if len(there) else None)
    return {"target": target} | {name: _to_target(values) for name, values in found.items()}


#: What a run costs, beside rounds.
COSTS = ("bytes", "seconds", "joules")


def spent_by(course: Course, name: str) -> NDArray[Any]:
    """Return what a run had spent after each evaluated round [evaluated]; empty where it does not know."""
    return {"bytes": course.moved, "seconds": course.seconds, "joules": course.joules}[name]


def known_costs(courses: Sequence[Course]) -> list[str]:
    """Return the costs that every run knows."""
    return [name for name in COSTS if all(len(spent_by(course, name)) == len(course.score) for course in courses)]


def budgets(arms: Mapping[str, Sequence[Course]]) -> dict[str, float]:
    """Return, for each cost, what the cheapest arm spent in all, on average over seeds: what all can afford.

    Not chosen by looking at any arm's score. Neutral: where all spend alike, it is what they spend.
    """
    return {
        name: min(float(np.mean([spent_by(course, name)[-1] for course in courses])) for courses in arms.values())
        for name in known_costs([course for courses in arms.values() for course in courses])
    }


def scores_within(courses: Sequence[Course], name: str, budget: float) -> list[float]:
    """Return the score of the last evaluated round within a budget, a seed each; nan where none is.

    A budget is a mean over seeds: a run that spends less than it in all has its last round within it.
    """
    found = []
    for course in courses:
        place = int(np.searchsorted(spent_by(course, name), budget * (1 + 1e-9), side="right")) - 1
        found.append(float(course.score[place]) if place >= 0 else math.nan)
    return found


def _to_target(values: Sequence[Any]) -> dict[str, Any]:
    median = float(np.median([math.inf if value is None else value for value in values]))
    return {
        "values": list(values),
        "median": median if math.isfinite(median) else None,
        "reached": sum(value is not None for value in values),
    }
