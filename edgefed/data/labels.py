"""Class labels as text: which are missing, how they are ordered, and what makes a column no label column."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgefed.errors import SettingsError, shown, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_CLASSES = 1000
#: More different labels than this in a column are looked at twice: it may hold measurements or names.
_FEW = 20
_MISSING = {"", "na", "nan", "null", "none", "?"}


def is_missing(text: str) -> bool:
    """Return whether a cell's text stands for an empty cell."""
    return text.strip().lower() in _MISSING


def as_number(text: str) -> float | None:
    """Return the number that text is, None where it is none (1_000, which Python reads, is none)."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def natural_order(name: str) -> tuple[int, float, str]:
    """Order numbers by value, then text by letters."""
    number = as_number(name)
    return (1, 0.0, name) if number is None or not math.isfinite(number) else (0, number, name)


def class_names(
    column: str, rows: Sequence[int], labels: Sequence[str], wanted: Sequence[str], *, partial: bool = False
) -> tuple[str, ...]:
    """Return the classes of a label column: those wanted, or the sorted union of its labels.

    Parameters
    ----------
    column : str
    rows : sequence of int [rows]
        The rows' line numbers.
    labels : sequence of str [rows]
    wanted : sequence of str
        Classes in order; empty takes what the column holds.
    partial : bool
        The rows are a part of the data: one class, or none, will do.

    Raises
    ------
    SettingsError
        One line, for a row without a label, a label that is not wanted, one class only, or labels that look like
        measurements.
    """
    known = set(wanted)
    for row, text in zip(rows, labels, strict=True):
        if text in known or not (wanted or is_missing(text)):
            continue
        where = f"row {row}, column '{shown(column)}'"
        if is_missing(text):
            found = f"'{text}' counts as no label" if text else "a row without a label"
            instead = "list it in classes" if text else "give it one"
            raise SettingsError(f"{where}: {found}; remove the row, or {instead}", f"{where}: no label")
        line = f"not in classes={shown(','.join(wanted))}"
        raise SettingsError(f"{where}: {line}: {unknown('class', text, wanted)}", f"{where}: a label that is {line}")
    found_names = sorted(set(labels), key=natural_order)
    if len(found_names) < 2 and not partial:
        raise SettingsError(f"column '{shown(column)}': one class only ('{shown(labels[0])}'), expected at least two")
    if not wanted:
        _check_unasked(column, found_names, len(labels))
    return tuple(wanted) or tuple(found_names)


def _check_unasked(column: str, names: list[str], rows: int) -> None:
    """Refuse labels that nobody named in ``classes`` and that look like something else."""
    numbers = [as_number(name) for name in names]
    fractional = any(number is not None and not number.is_integer() for number in numbers)
    mostly_different = len(names) > rows / 2 and len(names) > 2
    many = len(names) > _FEW and (mostly_different or fractional)
    if len(names) > MAX_CLASSES or many or (mostly_different and fractional):
        raise SettingsError(
            f"column '{shown(column)}': {len(names)} different labels in {rows} rows; "
            "is it a measured number? name the label column with label-column"
        )
    for one, other, number in zip(names, names[1:], numbers, strict=False):
        if number is not None and number == as_number(other):
            raise SettingsError(
                f"column '{shown(column)}': labels '{shown(one)}' and '{shown(other)}' are the same number; "
                "write them alike, or name both in classes"
            )
