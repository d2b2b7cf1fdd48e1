"""Feature cells as float32: numbers as they are, a category as an indicator for each of its values."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from edgefed.categories import categories_text, feature_names
from edgefed.data.dates import are_dates
from edgefed.data.labels import as_number, is_missing, natural_order
from edgefed.errors import MOST_NAMES, SettingsError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    #: The number of the line on which a row starts, and its cells.
    Row = tuple[int, list[str]]
    Values = NDArray[np.float32]

#: More features than this are a mistake (a transposed file, a column of names) or a job for another tool.
MAX_COLUMNS = 10_000
MOST_VALUES, FEW_VALUES = 100, 20
"""Values that a column may hold unless they are listed, and so many may each be on one row."""
ANY_VALUES = 5
"""Different values that may each be on one row in a column that is proposed as a category."""
_FLOAT32_MAX = float(np.finfo(np.float32).max)
MEANS_FILL = "missing=mean fills it with the feature's mean"
"""What would do where a cell is empty."""


@dataclass(frozen=True)
class Reading:
    """How feature cells are read, and what is said of one that cannot be.

    Attributes
    ----------
    categories : mapping
        Column -> its values, for categorical columns; no values: those that the rows hold.
    allow_missing : bool
        An empty cell is NaN, in each of a category's indicators; else it is refused.
    partial : bool
        The rows are a device's: what their cells hold stays there.
    dropped : sequence of str or None
        Columns that are left out; None: the file is read for a model, and columns are what they are.
    else_said : str
        What would do where a cell is empty.
    taken_label : str
        The column that is taken for the label where nobody said which it is. Before that is said no column of text is
        proposed as a category: it may be the label. Neutral: none.
    """

    categories: Mapping[str, Sequence[str]]
    allow_missing: bool = False
    partial: bool = False
    dropped: Sequence[str] | None = None
    else_said: str = MEANS_FILL
    taken_label: str = ""

    def features(
        self, header: Sequence[str], rows: Sequence[Row], columns: Sequence[int]
    ) -> tuple[Values, dict[str, tuple[str, ...]]]:
        """Return the features [rows, features] that columns become, in their order, and the categories' values.

        A category whose values are not listed has the sorted union of those in the rows.

        Raises
        ------
        SettingsError
            One line: the row and column, what was found, what would do.
        """
        names = [header[column] for column in columns]
        known = {
            column: tuple(values) or _values_found(column, header.index(column), rows)
            for column, values in self.categories.items()
            if column in names
        }
        width = len(feature_names(names, known))
        if width > MAX_COLUMNS:
            line = f"{width} features with an indicator for each category; at most {MAX_COLUMNS} are learnt from"
            raise SettingsError(line, line)
        numeric = [column for column in columns if header[column] not in known]
        numbers = self._numbers(header, rows, numeric)
        if not known:
            return numbers, known
        found = np.empty((len(rows), width), np.float32)
        begin = 0
        for column in columns:
            values = known.get(header[column])
            if values is None:
                part = numbers[:, numeric.index(column), None]
            else:
                part = self._indicators(header[column], [(line, row[column].strip()) for line, row in rows], values)
            found[:, begin : begin + part.shape[1]] = part
            begin += part.shape[1]
        return found, known

    def _numbers(self, header: Sequence[str], rows: Sequence[Row], columns: list[int]) -> Values:
        found = np.empty((len(rows), len(columns)), np.float32)
        for position, (line, row) in enumerate(rows):
            try:
                found[position] = [_number(row[column], self.allow_missing) for column in columns]
            except ValueError:
                for column in columns:
                    try:
                        _number(row[column], self.allow_missing)
                    except ValueError:
                        self._refuse_number(header, rows, columns, column, line, row[column].strip())
                raise
        return found

    def _indicators(self, column: str, cells: Sequence[tuple[int, str]], values: Sequence[str]) -> Values:
        """Return 1 where a cell holds a value, 0 where it holds another [rows, values]; NaN for an empty cell."""
        places = {value: place for place, value in enumerate(values)}
        found = np.zeros((len(cells), len(values)), np.float32)
        for position, (line, text) in enumerate(cells):
            place = places.get(text)
            if place is not None:
                found[position, place] = 1
            elif is_missing(text) and self.allow_missing:
                found[position] = math.nan
            elif is_missing(text):
                self._refuse_empty(line, column, text, "" if self.dropped is None else ", or list it in categories")
            else:
                more = f" and {len(values) - MOST_NAMES} more" if len(values) > MOST_NAMES else ""
                known = f"none of its categories ({', '.join(map(shown, values[:MOST_NAMES]))}{more})"
                # Not which row: whoever writes the settings could try value after value on one.
                told = f"column '{shown(column)}': a value that is none of its categories"
                raise SettingsError(f"row {line}, column '{shown(column)}': '{shown(text)}' is {known}", told)
        return found

    def _refuse_empty(self, line: int, column: str, text: str, if_text: str = "") -> NoReturn:
        where = f"row {line}, column '{shown(column)}'"
        found = f"'{text}' for an empty cell; {self.else_said}{if_text}" if text else f"empty cell; {self.else_said}"
        raise SettingsError(f"{where}: {found}", f"{where}: empty cell; {self.else_said}")

    def _refuse_number(
        self, header: Sequence[str], rows: Sequence[Row], columns: list[int], column: int, line: int, text: str
    ) -> NoReturn:
        """Refuse a cell that is no number, in words."""
        name = header[column]
        where = f"row {line}, column '{shown(name)}'"
        if is_missing(text):
            self._refuse_empty(line, name, text)
        if text == name:
            said = f"{where}: the column's name again, expected a number; remove the repeated header line"
            raise SettingsError(said, said)
        if as_number(text) is None:
            hint = "; write decimals with a point" if re.fullmatch(r"[+-]?\d+,\d+", text) else ""
            do, told = self._instead(header, rows, columns, column)
            found = f"'{shown(text)}' is not a number{hint}"
            raise SettingsError(f"{where}: {found}; {do}", f"{where}: not a number; {told}")
        within = f"out of range, expected a number within ±{_FLOAT32_MAX:.2g}"
        raise SettingsError(f"{where}: {shown(text)} is {within}", f"{where}: {within}")

    def _instead(
        self, header: Sequence[str], rows: Sequence[Row], columns: Sequence[int], column: int
    ) -> tuple[str, str]:
        """Return what would do where a cell is text, and the same without what the cells hold.

        All columns of text are named at once: no line of a file should be read for each.
        """
        if self.dropped is None:
            said = "the model learned from numbers there"
            return said, said
        found = {place: _values(rows, place) for place in columns}
        texts = {header[place]: values for place, values in found.items() if _is_text(values, rows)}
        out = _listed([*self.dropped, *texts, header[column]])
        dated = [name for name, values in texts.items() if are_dates(values)]
        like_categories = ((n, v) for n, v in texts.items() if n not in dated and not _tells_rows_apart(v, rows))
        few = dict(itertools.islice(like_categories, MOST_NAMES))
        said_of_dates = _look_like_dates(dated)
        if not few:
            told = f"to leave out every column like it, drop-columns={out}"
            return told + said_of_dates, told
        if self.taken_label:
            said = f"'{shown(self.taken_label)}', the last column left, is taken for the label: give --label COL, "
            said += f"that or another ({_listed(few)} hold text), to be told what would do"
            return said, said
        rest = _listed([*self.dropped, *(name for name in [*texts, header[column]] if name not in few)])
        also = f" and drop-columns={rest}" if rest else ""
        leave = f"{also}; to leave out every column like it, drop-columns={out}"
        text = categories_text({**self.categories, **(few if self.partial else dict.fromkeys(few, ()))})
        told = f"to learn from text, list the values of {_listed(few)} in categories"
        return f"to learn from text, categories={text}{leave}{said_of_dates}", told + leave


def _listed(names: Iterable[str]) -> str:
    """Return names as a setting lists them: whole ones, so that what is read can be typed."""
    return ",".join(itertools.islice(dict.fromkeys(names), MOST_NAMES))


def _number(text: str, allow_missing: bool) -> float:
    """Return a cell's number, NaN for an empty one where that is allowed; else raise ValueError."""
    value = as_number(text)
    if value is not None and abs(value) <= _FLOAT32_MAX:
        return value
    if allow_missing and is_missing(text):
        return math.nan
    raise ValueError(text)


def _is_text(values: Sequence[str], rows: Sequence[Row]) -> bool:
    """Tell whether a column's values are text: none is a number, or few are there and some are none (8001, A12)."""
    numbers = sum(as_number(value) is not None for value in values)
    return bool(values) and (numbers == 0 or (numbers < len(values) and not _many(values, rows)))


def _values(rows: Sequence[Row], column: int) -> tuple[str, ...]:
    """Return the sorted union of the values in a column, empty cells apart."""
    return tuple(sorted({row[column].strip() for _, row in rows if not is_missing(row[column])}, key=natural_order))


def _many(values: Sequence[str], rows: Sequence[Row]) -> bool:
    """Tell whether so many values look like names of rows, or like measurements."""
    return len(values) > MOST_VALUES or (len(values) > FEW_VALUES and len(values) > len(rows) / 2)


def _tells_rows_apart(values: Sequence[str], rows: Sequence[Row]) -> bool:
    """Tell whether a column is none to propose as a category: most of its values are different."""
    return _many(values, rows) or (len(values) > ANY_VALUES and len(values) > len(rows) / 2)


def _look_like_dates(columns: Sequence[str]) -> str:
    if not columns:
        return ""
    named = ", ".join(f"'{shown(name)}'" for name in columns[:MOST_NAMES])
    return f"; {named} {'looks like a date' if len(columns) == 1 else 'look like dates'}"


def _values_found(column: str, place: int, rows: Sequence[Row]) -> tuple[str, ...]:
    values = _values(rows, place)
    if not values:
        raise SettingsError(f"column '{shown(column)}': every cell is empty; drop it with drop-columns")
    if _many(values, rows):
        raise SettingsError(
            f"column '{shown(column)}': {len(values)} different values in {len(rows)} rows are many for a category; "
            f"drop-columns={shown(column)} leaves out names and ids, and categories takes as many as it lists"
        )
    for one, other in itertools.pairwise(values):
        number = as_number(one)
        if number is not None and number == as_number(other):
            raise SettingsError(
                f"column '{shown(column)}': '{shown(one)}' and '{shown(other)}' are the same number; write them alike, "
                "or list both in categories"
            )
    return values
