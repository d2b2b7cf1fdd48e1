"""How clients walk through their rows: numbers of steps, widths of batches, and the rows of each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgefed.rng import counter_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from edgefed.learning.cohort import Cohort

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


def _balanced(position: Ints, cohort: Cohort) -> Ints:
    """Return positions [clients, steps, width] with those of balanced clients drawn anew, classes alike.

    A class that the client holds, uniformly, then one of its rows, uniformly: a row of class c has probability
    1 / (classes held x n_c). Named by (seed, round, client, step, place), like the walks.
    """
    assert cohort.balance is not None
    which = np.flatnonzero(cohort.balance.any(1))
    if not len(which):
        return position
    counts = cohort.balance[which]
    _, steps, width = position.shape
    names = (np.arange(steps, dtype=np.int64)[:, None] << 32) + np.arange(width)
    keys = counter_keys(
        cohort.seeds[which, None, None],
        "sampling",
        cohort.rounds[which, None, None],
        cohort.ids[which, None, None],
        names,
    )
    held = (counts > 0).sum(1)
    # The classes held come first, in their order.
    ranked = np.argsort(counts == 0, axis=1, kind="stable")
    low, high = keys & np.uint64(0xFFFFFFFF), keys >> np.uint64(32)
    place = (low % held[:, None, None].astype(np.uint64)).astype(np.int64)
    owner = np.arange(len(which))[:, None, None]
    label = ranked[owner, place]
    first = np.cumsum(counts, axis=1) - counts
    within = (high % counts[owner, label].astype(np.uint64)).astype(np.int64)
    position = position.copy()
    position[which] = first[owner, label] + within
    return position


def batches(schedule: Schedule, cohort: Cohort, steps: Ints) -> tuple[Tensor, Tensor]:
    """Return the rows of each step [steps, clients, width] and each row's share of its batch (0: padding).

    Each epoch is a fresh permutation of the client's drawn rows, cut into batches; its key for a row is named by
    (seed, round, client, epoch, position), so a client's batches are its own.
    """
    drawn = cohort.drawn_rows
    clients, most_steps, most_rows = len(drawn), int(steps.max(initial=0)), int(drawn.max(initial=0))
    width = int(schedule.widths(drawn).max(initial=1))
    per_epoch = np.maximum(schedule.steps_per_epoch(drawn), 1)
    epochs = int((-(-steps // per_epoch)).max(initial=0))
    names = (np.arange(epochs, dtype=np.int64)[:, None] << 32) + np.arange(most_rows)
    keys = counter_keys(
        cohort.seeds[:, None, None], "batches", cohort.rounds[:, None, None], cohort.ids[:, None, None], names
    )
    level = bool((drawn == most_rows).all())
    if not level:
        keys[np.broadcast_to(np.arange(most_rows) >= drawn[:, None, None], keys.shape)] = np.iinfo(np.uint64).max
    permutations = np.argsort(keys, axis=-1, kind="stable")
    if level:
        # Every client walks alike: each permutation, padded to whole batches, is the steps of an epoch.
        padded = int(per_epoch.max(initial=1)) * width
        position: Ints = np.zeros((clients, epochs, padded), np.int64)
        position[:, :, :most_rows] = permutations
        position = position.reshape(clients, -1, width)[:, :most_steps]
        within = np.arange(most_steps)[:, None] % per_epoch.max(initial=1) * width + np.arange(width)
        real = np.broadcast_to(within < most_rows, position.shape)
    else:
        step = np.arange(most_steps)
        epoch = step // per_epoch[:, None]
        first = (step % per_epoch[:, None]) * width
        place = first[:, :, None] + np.arange(width)
        real = (place < drawn[:, None, None]) & (step < steps[:, None])[:, :, None]
        place = np.where(real, epoch[:, :, None] * most_rows + place, 0)
        flat = permutations.reshape(clients, -1)
        position = np.take_along_axis(flat, place.reshape(clients, -1), axis=1).reshape(place.shape)
    if cohort.balance is not None:
        position = _balanced(position, cohort)
    # Padding repeats a row of the client's own: another's row, however wild, could overflow to nan, and 0 x nan is nan.
    rows = cohort.starts[:, None, None] + position
    share = real / np.maximum(real.sum(-1, keepdims=True), 1)
    return (
        torch.from_numpy(np.ascontiguousarray(rows.transpose(1, 0, 2))).to(cohort.params.device),
        torch.from_numpy(np.ascontiguousarray(share.transpose(1, 0, 2))).to(cohort.params),
    )
