r"""Categorical columns: the setting that lists their values, and the indicator features that they become.

    categories = "color=blue|green|red,size=L|M|S,city"

A name alone stands for the values that the file holds. A backslash takes the next character as it is: ``a\|b``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgefed.errors import SettingsError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_IN_NAMES, _IN_VALUES = "\\,|=\"'", "\\,|"
"""Before what a name and a value take a backslash; quotes around a setting's text are taken off, so none begins it."""


def parsed_categories(text: str) -> dict[str, tuple[str, ...]]:
    """Return the values of each column that the text names, in order; none for a name alone.

    Raises
    ------
    SettingsError
        One line: a name or a value that is empty or stands there twice.
    """
    given, found = f"categories={shown(text)}", dict[str, tuple[str, ...]]()
    if (len(text) - len(text.rstrip("\\"))) % 2:
        raise SettingsError(f"{given}: a backslash at the end; \\\\ is one that a value ends with")
    for part in _split(text, ","):
        if not part.strip():
            continue
        head, *rest = _split(part, "=")
        column = _plain(head)
        if not column:
            raise SettingsError(f"{given}: '{shown(part.strip())}' names no column, expected as color=blue|green")
        if column in found:
            raise SettingsError(f"{given}: '{shown(column)}' stands there twice, expected once")
        values = tuple(_plain(value) for value in _split("=".join(rest), "|")) if rest else ()
        if "" in values:
            raise SettingsError(f"{given}: an empty value of '{shown(column)}', expected as color=blue|green")
        twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
        if twice is not None:
            raise SettingsError(f"{given}: the value '{shown(twice)}' of '{shown(column)}' stands there twice")
        found[column] = values
    return found


def categories_text(categories: Mapping[str, Sequence[str]]) -> str:
    """Return the text that :func:`parsed_categories` reads back."""
    parts = []
    for column, values in categories.items():
        listed = "|".join(_escaped(value, _IN_VALUES) for value in values)
        parts.append(_escaped(column, _IN_NAMES) + (f"={listed}" if values else ""))
    return ",".join(parts)


def indicators(categories: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
    """Return the column and the value that each indicator feature stands for, by its name: ``color=blue``."""
    return {f"{column}={value}": (column, value) for column, values in categories.items() for value in values}


def feature_names(columns: Iterable[str], categories: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the features that columns become: a categorical one an indicator a value, any other itself."""
    return tuple(
        name
        for column in columns
        for name in (indicators({column: categories[column]}) if column in categories else (column,))
    )


def columns_of(features: Iterable[str], categories: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the columns that features come from, each once, in order."""
    of = indicators(categories)
    return tuple(dict.fromkeys(of[name][0] if name in of else name for name in features))


def columns_by_feature(features: Iterable[str], categories: Mapping[str, Sequence[str]]) -> tuple[int, ...]:
    """Return for each feature the place in ``categories`` of the column that it is an indicator of; -1 for a number.

    Empty where there are no categories.
    """
    of, places = indicators(categories), {column: place for place, column in enumerate(categories)}
    return tuple(places[of[name][0]] if name in of else -1 for name in features) if categories else ()


def columns_among(by_feature: Iterable[int]) -> int:
    """Return how many columns :func:`columns_by_feature` counts."""
    return max(by_feature, default=-1) + 1


def _split(text: str, mark: str) -> list[str]:
    """Split text at marks without a backslash before them; backslashes stay."""
    parts, escaped = [""], False
    for character in text:
        if character == mark and not escaped:
            parts.append("")
        else:
            parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL).strip()


def _escaped(text: str, marks: str) -> str:
    return "".join(f"\\{character}" if character in marks else character for character in text)
