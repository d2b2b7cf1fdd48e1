"""How clients walk through their rows: numbers of steps, widths of batches, and how many rows that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig

    Ints = NDArray[np.int64]

#: Batches up to this size are not worth telling apart by their clients' rows.
SMALL_BATCH = 32


@dataclass(frozen=True)
class Schedule:
    """How a client walks through its drawn rows in a round.

    Attributes
    ----------
    batch_size : int
        0 takes all drawn rows in each step.
    local_epochs : int
    match_steps : bool
        True: ``local_epochs * ceil(shard rows / batch_size)`` steps, whatever a remedy drew; False: as many as the
        drawn rows ask for.
    """

    batch_size: int
    local_epochs: int
    match_steps: bool = True

    def steps_per_epoch(self, rows: Ints) -> Ints:
        """Return ceil(rows / batch_size)."""
        if self.batch_size == 0:
            return np.minimum(rows, 1)
        return -(-rows // self.batch_size)

    def widths(self, drawn_rows: Ints) -> Ints:
        """Return the rows that each client's batches are padded to, a function of its own rows alone.

        A small batch size is the width. A batch that may be large is as wide as the client's rows, rounded up to a
        quarter of a power of two: clients of like size share a width, and little is padded.
        """
        if 0 < self.batch_size <= SMALL_BATCH:
            return np.full(drawn_rows.shape, self.batch_size, np.int64)
        rows = np.maximum(drawn_rows, 1)
        grain: Ints = 2 ** np.maximum(np.frexp(rows)[1] - 3, 0).astype(np.int64)
        rounded: Ints = -(-rows // grain) * grain
        return np.minimum(rounded, self.batch_size) if self.batch_size else rounded

    def steps(self, drawn_rows: Ints, shard_rows: Ints, epochs: Ints | None = None) -> Ints:
        """Return the number of steps of each client; none for a client without rows.

        ``epochs`` [clients] are each one's own where not all do ``local_epochs``.
        """
        rows = np.where(drawn_rows > 0, shard_rows, 0) if self.match_steps else drawn_rows
        return (self.local_epochs if epochs is None else epochs) * self.steps_per_epoch(rows)

    def rows_walked(self, steps: Ints, drawn_rows: Ints) -> Ints:
        """Return over how many rows so many steps [clients] go, a row as often as it is in a batch.

            n = floor(K / m) d + min(b (K mod m), d),   m = ceil(d / b)

        where K are the steps, d the client's drawn rows and b the batch size: the last batch of an epoch has what is
        left of its rows. None for a client without rows.
        """
        per_epoch = np.maximum(self.steps_per_epoch(drawn_rows), 1)
        batch = self.batch_size or drawn_rows
        begun: Ints = np.minimum(steps % per_epoch * batch, drawn_rows)
        return steps // per_epoch * drawn_rows + begun


def schedule_of(config: FederationConfig) -> Schedule:
    """Return the walk through a client's rows that the settings name."""
    return Schedule(config.batch_size, config.local_epochs, match_steps=config.match == "steps")
