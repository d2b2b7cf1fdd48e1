"""A comparison's table in terminals of some width: all that decides is there, and no number is cut."""

from io import StringIO

import pytest
from rich.console import Console

from edgefed.comparison_table import comparison_table, natural_width

MEAN, AROUND, GAP, GAP_AROUND, P = "0.890", "0.837 to 0.944", "-10.5", "-14.3 to -10.2", "0.047"


def comparison(names):
    score = {"mean": 0.89, "low": 0.837, "high": 0.944}
    gap = {"mean": -0.105, "low": -0.143, "high": -0.102, "p_holm": 0.047}
    rounds = {"median": None, "values": [None] * 30, "reached": 14}
    of_all = {"balanced_accuracy": score, "learning_rate": 0.03, "cost": {"rounds": rounds}}
    wider = {"low": -0.3, "high": 0.1}
    arms = [{"name": name, "tier": "worse than none", "difference": gap, "nadeau_bengio": wider} for name in names] + [
        {"name": "none", "tier": "control", "difference": None, "nadeau_bengio": None}
    ]
    return {
        "strategies": [arm | of_all for arm in arms],
        "references": {"pooled": score, "pooled-before-tail": score | {"values": [1]}, "local-only": score},
        "generalises_over": "on iris, over random splits, partitions and initialisations (30 seeds)",
        "target": 0.84,
    }


@pytest.mark.parametrize(
    ("width", "lines", "left_out"),
    [(160, 1, []), (120, 2, []), (100, 2, []), (80, 2, ["rates", "rounds to 84 %"])],
)
def test_no_number_is_cut_and_no_column_that_decides_is_missing(width, lines, left_out):
    names = ["class-weights-inverse-sqrt-global", "class-weights-balanced-local", "post-hoc"]
    table, without = comparison_table(comparison(names), width)
    console = Console(width=width, file=StringIO(), markup=False, color_system=None)
    console.print(table)
    said = console.file.getvalue()

    assert without == left_out
    assert "…" not in said
    assert natural_width(table) <= width
    rows = said.splitlines()
    first = next(place for place, row in enumerate(rows) if "post-hoc" in row)
    both = " ".join(rows[first : first + lines])
    cells = [MEAN, AROUND, GAP, GAP_AROUND, P, "worse", "on these rows"]
    for cell in cells if without else [*cells, "0.03", "not reached", "(14/30)"]:
        assert cell in both
    # A name that is folded is whole: its parts stand in one column, below each other.
    parts = ["class-weights-", "inverse-sqrt-global"] if lines == 2 else names[:1]
    first = next(place for place, row in enumerate(rows) if parts[-1] in row) - len(parts) + 1
    assert [row.strip("│┃ ").split("  ")[0].split(" │")[0] for row in rows[first : first + len(parts)]] == parts
    assert "pooled-before-tail" in said
