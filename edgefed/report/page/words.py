"""Numbers as the page writes them: percent, points, p values, bytes; a dash where there is none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgefed.report.folder import number, share_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTHING = "–"
"""Stands for a figure that is not there."""


def percent(value: Any, digits: int = 1) -> str:
    """Return a share as a number of percent, without the sign."""
    found = 100 * number(value)
    return f"{found:.{digits}f}" if math.isfinite(found) else NOTHING


def points(value: Any, digits: int = 1) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    found = 100 * number(value)
    if not math.isfinite(found):
        return NOTHING
    shown = f"{found:+.{digits}f}".replace("-", "−")
    return shown if shown.strip("+−0.") else shown[1:]  # what rounds to zero has no sign


def plain(value: Any, digits: int = 3) -> str:
    """Return a number with so many decimals."""
    found = number(value)
    # What rounds to zero has no sign.
    return f"{round(found, digits) + 0.0:.{digits}f}".replace("-", "−") if math.isfinite(found) else NOTHING


def p_value(value: Any) -> str:
    """Return a p value as papers print it."""
    p = number(value)
    if not math.isfinite(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def count(value: Any) -> str:
    """Return a whole number with thousands set apart by a thin space."""
    found = number(value)
    return f"{round(found):,}".replace(",", "\u202f") if math.isfinite(found) else NOTHING


def size(value: Any) -> str:
    """Return bytes in the unit that fits."""
    found = number(value)
    if not math.isfinite(found):
        return NOTHING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if found >= factor:
            return f"{found / factor:.3g} {unit}"
    return f"{found:.0f} B"


def seconds(value: Any) -> str:
    """Return a duration as people say it."""
    found = number(value)
    if not math.isfinite(found):
        return NOTHING
    return (
        f"{found:.2g} s"
        if found < 10
        else f"{found:.0f} s"
        if found < 90
        else f"{found / 60:.0f} min"
        if found < 5400
        else f"{found / 3600:.1f} h"
    )


def energy(value: Any) -> str:
    """Return joules in the unit that fits."""
    found = number(value)
    if not math.isfinite(found):
        return NOTHING
    for unit, factor in (("MJ", 1e6), ("kJ", 1e3)):
        if found >= factor:
            return f"{found / factor:.3g} {unit}"
    return f"{found:.3g} J"


def interval(figure: Any, say: Any = percent) -> str:
    """Return the interval of a figure over seeds, a share's cut at 0 and 100 %; empty where it has none."""
    low, high = share_interval(figure) if say is percent else (figure.get("low"), figure.get("high"))
    if not (math.isfinite(number(low)) and math.isfinite(number(high))):
        return ""
    return f"{say(low)} to {say(high)}"


def sentence(line: str) -> str:
    """Return a line of a log as a sentence; a setting that begins it stays as it is typed."""
    first, _, rest = line.partition(" ")
    if "=" in first:
        return f"`{first}` {rest}."
    return f"{line[0].upper()}{line[1:]}."


def listed(names: Sequence[str], last: str = "and") -> str:
    """Return names as a list in a sentence."""
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""


def many(amount: int, what: str) -> str:
    """Return a count with its noun in the plural where it needs one."""
    return f"{count(amount)} {what}{'' if amount == 1 else 'es' if what.endswith('s') else 's'}"
