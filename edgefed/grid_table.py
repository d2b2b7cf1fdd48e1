"""A grid of comparisons as tables for the terminal: no number and no name is cut where the terminal is narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from edgefed.comparison_table import folded, natural_width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BLOCKS_ACROSS = 5
"""Blocks side by side in a table, where there is room: more go on in a further table."""
MARKS = {"better than none": "▲", "worse than none": "▼"}


def gain_tables(result: Mapping[str, Any], width: int) -> list[Table]:
    """Return each remedy's gain in each block, as many blocks side by side as a terminal of some width has room for."""
    tables: list[Table] = []
    blocks = list(result["blocks"])
    title: str | None = (
        f"Gain over none in points of test balanced accuracy: {' by '.join(result['grid'])}, "
        f"{len(result['seeds'])} seeds"
    )
    while blocks:
        across = min(BLOCKS_ACROSS, len(blocks))
        while across > 1 and natural_width(_gains(result, blocks[:across], None)) > width:
            across -= 1
        tables.append(_gains(result, blocks[:across], title))
        blocks, title = blocks[across:], None
    return tables


def wins_table(result: Mapping[str, Any], width: int) -> Table:
    """Return in how many blocks each remedy is told apart from none; names folded where the terminal is narrow."""
    table = _wins(result, str)
    return table if natural_width(table) <= width else _wins(result, folded)


def _gains(result: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]], title: str | None) -> Table:
    gains = {(row["block"], row["strategy"]): row for row in result["gains"]}
    table = Table(title=title)
    table.add_column("remedy", no_wrap=True)
    for block in blocks:
        heading = "\n".join(f"{key}={_short(value)}" for key, value in block["settings"].items())
        table.add_column(heading, no_wrap=True)
    level = [entry for block in blocks for entry in block["strategies"] if entry["name"] == "none"]
    table.add_row("none itself (%)", *(f"  {100 * entry['balanced_accuracy']['mean']:.1f}" for entry in level))
    table.add_section()
    for win in result["wins"]:
        name = win["strategy"]
        table.add_row(name, *(_gain(gains[block["block"], name]) for block in blocks))
    return table


def _wins(result: Mapping[str, Any], named: Callable[[str], str]) -> Table:
    table = Table(
        title="In how many blocks each remedy is told apart from none",
    )
    for title in ("remedy", "better", "neither", "worse", "too few\nseeds", "least\ngain", "most\ngain"):
        table.add_column(title, justify="left" if title == "remedy" else "right", no_wrap=True)
    for win in result["wins"]:
        counts = (str(win[word]) for word in ("better", "indistinguishable", "worse", "undecided"))
        ends = (f"{100 * win[end]['mean']:+.1f}" for end in ("least", "most"))
        table.add_row(named(win["strategy"]), *counts, *ends)
    return table


def _short(value: float | str) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _gain(row: Mapping[str, Any]) -> str:
    within = {"better than none": "△", "worse than none": "▽"}.get(row["tier"], " ")
    mark = MARKS.get(row["tier_grid"], within)
    if row["mean"] is None:
        return "-"
    half = "" if row["low"] is None else f" ±{100 * (row['high'] - row['mean']):.1f}"
    return f"{mark} {round(100 * row['mean'], 1) + 0.0:+.1f}{half}"
