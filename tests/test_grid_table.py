"""A grid's tables in terminals of some width: every block is there once, and nothing is cut."""

from io import StringIO

import pytest
from rich.console import Console

from edgefed.grid_table import BLOCKS_ACROSS, gain_tables, wins_table


def grid(blocks):
    name = "class-weights-inverse-sqrt-global"
    gain = {"strategy": name, "mean": -0.115, "low": -0.194, "high": -0.036, "tier": "worse than none", "tier_grid": ""}
    level = [{"name": "none", "balanced_accuracy": {"mean": 0.933}}]
    return {
        "blocks": [
            {"block": place, "settings": {"alpha": 0.1, "long-tail": place}, "strategies": level}
            for place in range(blocks)
        ],
        "gains": [gain | {"block": place} for place in range(blocks)],
        "wins": [
            {"strategy": name, **dict.fromkeys(("better", "indistinguishable", "worse", "undecided"), 12)}
            | {end: {"mean": -0.115} for end in ("least", "most")}
        ],
        "grid": {"alpha": [0.1], "long-tail": list(range(blocks))},
        "seeds": list(range(30)),
    }


@pytest.mark.parametrize(("width", "across"), [(140, BLOCKS_ACROSS), (100, 4), (80, 2), (60, 1)])
def test_as_many_blocks_side_by_side_as_there_is_room_for(width, across):
    found = grid(7)
    tables = gain_tables(found, width)
    assert [len(table.columns) - 1 for table in tables[:-1]] == [across] * (len(tables) - 1)
    console = Console(width=width, file=StringIO(), markup=False, color_system=None)
    for table in [*tables, wins_table(found, width)] if width >= 80 else tables:
        console.print(table)
    said = console.file.getvalue()
    assert "…" not in said
    for place in range(7):
        assert said.count(f"long-tail={place} ") == 1
    assert said.count("▽ -11.5 ±7.9") == 7
    assert (width < 80) == ("neither" not in said)
