"""A comparison as a table for the terminal: a line a remedy, and two where the terminal is narrow; no number is cut."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from edgefed.notes import tier_in_words
from edgefed.report.folder import references_of, share_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = 20
"""Characters of a remedy's name on a line where the terminal is narrow."""
WIDE_ENOUGH = 1000


def comparison_table(result: Mapping[str, Any], width: int = WIDE_ENOUGH) -> tuple[Table, list[str]]:
    """Return a comparison's table for a terminal of some width, and the titles of what it has no room for.

    A line a remedy where that fits, else two, without what others can do without.
    """
    target = target_in_words(result)
    wide = _table(result, ("remedy", "mean", "95 % interval", "minus none, in points", "p (Holm)", "rate", target))
    if natural_width(wide) <= width:
        return wide, []
    stacked = ("remedy", "mean\n95 % interval", "minus none\nin points", "p\n(Holm)")
    both = _table(result, (*stacked, "rate", target.replace(" to ", "\nto ")), stacked=True)
    if natural_width(both) <= width:
        return both, []
    return _table(result, stacked, stacked=True), ["rates", target]


def natural_width(table: Table) -> int:
    """Return how wide a table is where nothing of it is folded."""
    console = Console(width=WIDE_ENOUGH, markup=False, emoji=False)
    title, table.title = table.title, None  # a sentence, which folds
    found = Measurement.get(console, console.options, table).maximum
    table.title = title
    return found


def folded(name: str) -> str:
    """Return a remedy's name on as many short lines as it needs, broken at its hyphens."""
    return "\n".join(part for line in name.split("\n") for part in textwrap.wrap(line, NAME))


def target_in_words(result: Mapping[str, Any]) -> str:
    """Return what rounds are counted to."""
    return f"rounds to {100 * result['target']:.0f} %"


def points(interval: Mapping[str, Any]) -> str:
    """Return an interval of a difference in percentage points."""
    return f"{100 * interval['low']:+.1f} to {100 * interval['high']:+.1f}"


def _table(result: Mapping[str, Any], titles: tuple[str, ...], stacked: bool = False) -> Table:
    """Return the table with the columns of these titles, and the finding; ``stacked``: intervals below their means."""
    table = Table(
        title=f"Test balanced accuracy, last round: {result['generalises_over']}",
        box=box.HORIZONTALS if stacked else box.HEAVY_HEAD,
        padding=(0, 1, 0, 0) if stacked else (0, 1),
        pad_edge=not stacked,
        show_edge=not stacked,
    )
    for title in (*titles, "finding"):
        table.add_column(title, justify="left" if title in ("remedy", "finding") else "right", no_wrap=True)
    between = "\n" if stacked else " "
    for entry in result["strategies"]:
        difference = entry["difference"]
        tier = tier_in_words(entry).replace(" than none", "").replace(" from none", "")
        gap, p = ("", "") if difference is None else (_gap(difference, stacked), f"{difference['p_holm']:.3f}")
        cells = [*_head(entry["name"], entry["balanced_accuracy"], stacked), gap, p, f"{entry['learning_rate']:g}"]
        cells += [_rounds(entry["cost"]["rounds"], between)]
        table.add_row(*cells[: len(titles)], tier.replace(" on these", "\non these") if stacked else tier)
    table.add_section()
    for name, reference in references_of(dict(result)).items():
        table.add_row(*_head(f"reference:{between}{name}", reference, stacked))
    return table


def _head(name: str, measure: dict[str, Any], stacked: bool) -> list[str]:
    low, high = share_interval(measure)
    mean, around = f"{measure['mean']:.3f}", f"{low:.3f} to {high:.3f}"
    if not stacked:
        return [name, mean, around]
    return [folded(name), f"{mean}\n{around}"]


def _gap(difference: Mapping[str, Any], stacked: bool) -> str:
    mean, around = f"{100 * difference['mean']:+.1f}", points(difference)
    return f"{mean}\n{around}" if stacked else f"{mean} ({around})"


def _rounds(found: Mapping[str, Any], between: str) -> str:
    """Return the median over seeds, and how many seeds reached the target where not all did."""
    median, seeds = found["median"], len(found["values"])
    said = "not reached" if median is None else f"{median:g}"
    return said if found["reached"] == seeds else f"{said}{between}({found['reached']}/{seeds})"
