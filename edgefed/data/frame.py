"""Feature rows of a data frame (pandas, polars), read as the same rows of a CSV file are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from edgefed.categories import columns_of, feature_names
from edgefed.data.cells import MEANS_FILL, Reading
from edgefed.errors import SettingsError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray


EMPTY = ("nan", "NaN", "<NA>", "NaT")
"""How pandas writes an empty cell."""


class Frame(Protocol):
    """A table with named columns, each of which gives its cells in turn."""

    @property
    def columns(self) -> Iterable[Any]:
        """The columns' names."""
        ...

    def __getitem__(self, name: Any, /) -> Iterable[Any]:
        """Return a column's cells."""
        ...


def is_frame(rows: object) -> TypeGuard[Frame]:
    """Return whether rows come with named columns."""
    return hasattr(rows, "columns") and hasattr(rows, "__getitem__")


def feature_rows(
    frame: Frame,
    names: Sequence[str],
    *,
    categories: Mapping[str, Sequence[str]],
    allow_missing: bool,
    else_said: str = MEANS_FILL,
) -> NDArray[np.float32]:
    """Return named features of a data frame [rows, features]; other columns are passed over.

    Parameters
    ----------
    frame : data frame
    names, categories, allow_missing, else_said
        As for :func:`edgefed.data.csv_file.read_feature_rows`.

    Raises
    ------
    SettingsError
        One line: the row (counted from 0) and column, what was found, what would do.
    """
    there = {str(name): name for name in frame.columns}
    if len(there) < len(list(frame.columns)):
        raise SettingsError("data frame: two columns have the same name")
    if all(name in there for name in names):  # indicators of categories are columns already
        categories = {}
    columns = columns_of(names, categories)
    for column in columns:
        if column not in there:
            raise SettingsError(f"data frame: no column '{shown(column)}', which the model learned from")
    cells = zip(*([_text(cell) for cell in frame[there[column]]] for column in columns), strict=True)
    rows = [(place, list(row)) for place, row in enumerate(cells)]
    reading = Reading(categories, allow_missing, else_said=else_said)
    try:
        values, known = reading.features(columns, rows, range(len(columns)))
    except SettingsError as error:
        raise SettingsError(f"data frame: {error}") from None
    order = feature_names(columns, known)
    return values if order == tuple(names) else values[:, [order.index(name) for name in names]]


def _text(cell: Any) -> str:
    """Return a cell as a file holds it; what a frame has for an empty one is no text."""
    text = str(cell)
    return "" if cell is None or text in EMPTY else text
