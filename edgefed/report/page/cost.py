"""Section on cost: to a target that is the same for all, and how good all are at a cost that all can afford."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgefed.report.folder import number, numbers
from edgefed.report.page import words
from edgefed.report.page.answer import kind_of
from edgefed.report.page.blocks import (
    Cell,
    Column,
    Figure,
    Section,
    Table,
    Text,
    empty,
    number_cell,
)
from edgefed.report.page.findings import line_of
from edgefed.report.page.strips import Panel, Row, Strip, strip_chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.report.folder import ComparisonFolder


def cost(found: ComparisonFolder) -> Section:
    """Return rounds and bytes to a target that is the same for all; not reached is said."""
    arms = [arm for arm in found.arms if arm.get("cost")]
    blocks: list[Any] = []
    seeds = len(found.seeds)
    if arms:
        target = number(arms[0]["cost"].get("target"))
        rounds = max(len(run.rounds) for runs in found.runs.values() for run in runs)
        rows = []
        for arm in arms:
            steps = arm["cost"]["rounds"]
            middle = number(steps.get("median"))
            reached = f"{steps.get('reached', 0)} of {seeds} reached"
            strip = Strip(
                middle if math.isfinite(middle) else rounds * 1.03, dots=numbers(steps["values"]), note=reached
            )
            rows.append(Row(str(arm["name"]), kind_of(arm), (strip,)))
        panel = Panel(f"rounds to {100 * target:.0f} % test balanced accuracy", 0, rounds * 1.06, notes=110, whole=True)
        blocks += [
            Text(
                f"The target is {100 * target:.0f} % for all: the mean of none in the last round, rounded down to a "
                "whole point. It is never chosen by looking at a remedy."
            ),
            Figure(
                [
                    (
                        "",
                        "",
                        strip_chart(
                            "cost", f"Rounds to {100 * target:.0f} %", _cost_in_words(arms), [("", rows)], [panel]
                        ),
                    )
                ],
                "Marker: median over all seeds, where a seed that never gets there counts as later than any round; a "
                "marker at the right edge: most seeds did not get there. Dots: the seeds that did.",
            ),
        ]
    if arms or any(arm.get("bytes") for arm in found.arms):
        blocks.append(_cost_table(found, seeds, bool(arms)))
    if any(arm.get("at_equal") for arm in found.arms):
        blocks.append(_equal_table(found))
    return Section("cost", "Cost: rounds, bytes, modelled time and energy", blocks)


#: A cost's heading and how its budget is said.
_EQUAL = {
    "bytes": ("At equal bytes", words.size),
    "seconds": ("At equal modelled time", words.seconds),
    "joules": ("At equal modelled energy", words.energy),
}


def _equal_table(found: ComparisonFolder) -> Table:
    """Return how each remedy scores when all have spent what the cheapest one spends, and its rank by that."""
    known = [name for name in _EQUAL if all(name in (arm.get("at_equal") or {}) for arm in found.arms)]
    columns = [Column("Remedy")]
    for name in known:
        heading, say = _EQUAL[name]
        columns.append(Column(heading, True, f"%, {say(number(found.arms[0]['at_equal'][name]['budget']))}"))
        columns.append(Column("Rank", True))
    lines = []
    for arm in found.arms:
        cells = []
        for name in known:
            entry = arm["at_equal"][name]
            mean = entry["mean"]  # nobody has one where a single round is dearer than the cheapest remedy's
            cells.append(empty() if mean is None else number_cell(mean, lambda value: words.plain(100 * value, 1)))
            cells.append(number_cell(entry.get("rank"), words.count))
        lines.append(line_of(arm, cells))
    caption = (
        "Test balanced accuracy at equal cost: the last evaluated round within what the cheapest remedy spends in all. "
        "Bytes are counted; time and energy are modelled from device profiles (docs/edge.md), not measured."
    )
    return Table("equal-table", caption, columns, lines)


def _cost_in_words(arms: Sequence[dict[str, Any]]) -> str:
    return " ".join(f"{arm['name']}: {_reached(arm['cost']['rounds'].get('median'), _rounds)}." for arm in arms)


def _rounds(value: Any) -> str:
    """Return a median of rounds: with an even number of seeds it may lie between two."""
    return f"{number(value):g}"


def _reached(value: Any, say: Any) -> str:
    return "not reached" if value is None else str(say(value))


def _cost_table(found: ComparisonFolder, seeds: int, targeted: bool) -> Table:
    lines = []
    for arm in found.arms:
        spent, moved = arm.get("cost") or {}, arm.get("bytes") or {}
        cells = []
        if targeted:
            steps, load = spent.get("rounds") or {}, spent.get("bytes") or {}
            cells += [
                Cell(_reached(steps.get("median"), _rounds), value=_late(steps.get("median"))),
                number_cell(steps.get("reached"), words.count),
                Cell(_reached(load.get("median"), words.size), value=_late(load.get("median"))),
            ]
        cells += [
            number_cell(moved.get("up"), words.size) if moved else empty(),
            number_cell(moved.get("down"), words.size) if moved else empty(),
            number_cell(arm.get("steps"), lambda value: words.plain(value, 1)) if "steps" in arm else empty(),
        ]
        lines.append(line_of(arm, cells))
    target = [
        Column("Rounds to target", True, "median"),
        Column("Seeds that reach it", True, f"of {seeds}"),
        Column("Bytes to target", True, "median"),
    ]
    columns = [
        Column("Remedy"),
        *(target if targeted else []),
        Column("Up, whole run", True),
        Column("Down, whole run", True),
        Column("Local steps", True, "a client a round"),
    ]
    caption = "What each remedy costs. Bytes are those of the messages' contents, all clients together."
    return Table("cost-table", caption, columns, lines)


def _late(value: Any) -> float:
    """Return what a cost sorts by: not reached is later than any round."""
    return math.inf if value is None else number(value)
