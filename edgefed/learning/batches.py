"""The rows of each step of clients' walks, drawn by names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgefed.rng import counter_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from edgefed.learning.cohort import Cohort
    from edgefed.learning.schedule import Schedule

    Ints = NDArray[np.int64]


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
