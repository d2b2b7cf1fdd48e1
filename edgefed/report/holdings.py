"""Clients and their class counts as rows of a grid that fits on a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefed.report.style import label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

ONE_ROW_EACH = 50
"""Clients up to which each has a row of its own."""
GROUPS = 30
"""Rows that more clients are gathered into, about."""


@dataclass(frozen=True)
class Arrangement:
    """Rows of the grid from top to bottom, and the blocks of rows that share a label."""

    rows: Counts
    blocks: list[tuple[str, int]]
    group: int = 1
    grouped: bool = False


def arranged(counts: Counts, names: Sequence[str], client_names: Sequence[str] = ()) -> Arrangement:
    """Return each client as a row, or more than 50 of them gathered by largest class.

    Parameters
    ----------
    counts : int64 ndarray [clients, classes]
    names : sequence of str
        Of the classes.
    client_names : sequence of str
        Neutral: clients are numbered.
    """
    if len(counts) > ONE_ROW_EACH:
        return _groups(counts, names)
    shown = [label(name, 22, 1) for name in client_names] or [str(client) for client in range(len(counts))]
    return Arrangement(counts, [(name, 1) for name in shown])


def _groups(counts: Counts, names: Sequence[str]) -> Arrangement:
    """Gather clients with the same largest class into groups, those with the purest shards first."""
    held = counts.sum(1)
    some = np.flatnonzero(held)
    group = max(1, -(-len(some) // GROUPS))
    rows, blocks = [], []
    for place, name in enumerate(names):
        mine = some[counts[some].argmax(1) == place]
        if not len(mine):
            continue
        purest = mine[np.lexsort((-held[mine], -(counts[mine, place] / held[mine])))]
        parts = np.array_split(purest, -(-len(purest) // group))
        rows += [counts[part].sum(0) for part in parts]
        blocks.append((f"{label(name, 24, 1)} ({len(mine):,})", len(parts)))
    empty = len(counts) - len(some)
    if empty:
        rows.append(np.zeros(counts.shape[1], np.int64))
        blocks.append((f"empty ({empty:,})", 1))
    return Arrangement(np.array(rows), blocks, group, grouped=True)
