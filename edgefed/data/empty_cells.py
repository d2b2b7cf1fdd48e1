"""How many cells of each column a file leaves empty, which missing=mean fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgefed.data.labels import is_missing, natural_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.data.cells import Row


@dataclass(frozen=True)
class EmptyCells:
    """The empty cells of one column.

    Attributes
    ----------
    column : str
    cells, rows : int
        How many are empty, of how many.
    words : tuple of str
        Texts in a categorical column that count as empty, as ``none``: they may be meant as values.
    """

    column: str
    cells: int
    rows: int
    words: tuple[str, ...] = ()


def empty_cells(
    header: Sequence[str], rows: Sequence[Row], columns: Sequence[int], categories: Mapping[str, Sequence[str]]
) -> tuple[EmptyCells, ...]:
    """Return the columns with empty cells, the emptiest first; a category's listed value is none of them.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of (int, list of str)
    columns : sequence of int
        Places of the feature columns.
    categories : mapping of str to sequence of str
        The values of the categorical ones.
    """
    found = []
    for place in columns:
        values = categories.get(header[place], ())
        texts = [text for _, row in rows if is_missing(text := row[place].strip()) and text not in values]
        if texts:
            words = sorted(set(filter(None, texts)), key=natural_order) if header[place] in categories else ()
            found.append(EmptyCells(header[place], len(texts), len(rows), tuple(words)))
    return tuple(sorted(found, key=lambda column: -column.cells))
