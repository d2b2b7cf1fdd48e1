"""Dates among the cells of a text column: what tells a time apart from a category."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NEARLY_ALL = 0.9
"""Share of a column's values that are dates where it holds dates."""
_PARTS = re.compile(
    r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})"  # 26.11.2026, 11/26/2026, 2026/11/26
    r"(?:[T,]?\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*(?:[AaPp]\.?[Mm]\.?)?)?"  # 14:30, 2:30 PM
)


def are_dates(values: Sequence[str]) -> bool:
    """Return whether nearly all of some values are dates, with times or without."""
    return bool(values) and sum(map(is_date, values)) >= NEARLY_ALL * len(values)


def is_date(text: str) -> bool:
    """Return whether text is a date: as ISO 8601 writes it, or day, month and year in numbers and in either order."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return _in_numbers(text)
    return True


def _in_numbers(text: str) -> bool:
    found = _PARTS.fullmatch(text)
    if found is None:
        return False
    first, _, second, third, *clock = found.groups()
    if len(first) == 4:
        orders = [(first, second, third)]
    elif len(first) < 3 and len(third) in (2, 4):
        orders = [(third, second, first), (third, first, second)]
    else:
        return False
    return any(_is_day(*map(int, order)) for order in orders) and _is_time(*(int(part or 0) for part in clock))


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year or 2000, month, day)
    except ValueError:
        return False
    return True


def _is_time(hour: int, minute: int, second: int) -> bool:
    try:
        time(hour, minute, second)
    except ValueError:
        return False
    return True
