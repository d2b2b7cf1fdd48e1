"""Training a cohort: batch orders, padding, and the loop over steps around :class:`ClientUpdate`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgefed.learning.local_update import Batch, ClientUpdate, Hyper, State
from edgefed.rng import counter_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Ints = NDArray[np.int64]

#: Elements of a chunk's batch order: bounds the memory of a cohort (8 bytes each, and as much again to sort).
MAX_ORDER_ELEMENTS = 4_000_000


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

    def steps(self, drawn_rows: Ints, shard_rows: Ints) -> Ints:
        """Return the number of steps of each client; none for a client without rows."""
        rows = np.where(drawn_rows > 0, shard_rows, 0) if self.match_steps else drawn_rows
        return self.local_epochs * self.steps_per_epoch(rows)


@dataclass(frozen=True)
class Cohort:
    """Clients that train in one batch: arrays with one entry a client.

    Attributes
    ----------
    params : Tensor [clients, size]
        Global weights that each starts from (may be an expanded view).
    features : Tensor [rows, features]
        Every client's drawn rows, standardised.
    targets : Tensor [rows, classes]
    starts, drawn_rows, shard_rows : int64 ndarray [clients]
        Client k's drawn rows are ``starts[k] ... starts[k] + drawn_rows[k] - 1``; ``shard_rows`` counts them before
        resampling.
    seeds, rounds, ids : int64 ndarray [clients]
        Names of the clients' random streams.
    hyper : Hyper
    """

    params: Tensor
    features: Tensor
    targets: Tensor
    starts: Ints
    drawn_rows: Ints
    shard_rows: Ints
    seeds: Ints
    rounds: Ints
    ids: Ints
    hyper: Hyper

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: Ints) -> Cohort:
        """Return some of the clients, in the order given."""
        rows = torch.from_numpy(which)
        return replace(
            self,
            params=self.params[rows],
            starts=self.starts[which],
            drawn_rows=self.drawn_rows[which],
            shard_rows=self.shard_rows[which],
            seeds=self.seeds[which],
            rounds=self.rounds[which],
            ids=self.ids[which],
            hyper=Hyper(*(value[rows] for value in self.hyper)),
        )


def join(cohorts: Sequence[Cohort], pool: Pool | None = None) -> Cohort:
    """Return several cohorts as one over one feature matrix, in order.

    ``pool`` holds their rows joined already (from :func:`pool_of`), for cohorts that come back round after round.
    """
    if len(cohorts) == 1:
        return cohorts[0]
    pool = pool_of(cohorts) if pool is None else pool
    starts = [cohort.starts + base for cohort, base in zip(cohorts, pool.bases, strict=True)]
    return Cohort(
        params=torch.cat([cohort.params for cohort in cohorts]),
        features=pool.features,
        targets=pool.targets,
        starts=np.concatenate(starts),
        drawn_rows=np.concatenate([cohort.drawn_rows for cohort in cohorts]),
        shard_rows=np.concatenate([cohort.shard_rows for cohort in cohorts]),
        seeds=np.concatenate([cohort.seeds for cohort in cohorts]),
        rounds=np.concatenate([cohort.rounds for cohort in cohorts]),
        ids=np.concatenate([cohort.ids for cohort in cohorts]),
        hyper=Hyper(*(torch.cat(values) for values in zip(*(cohort.hyper for cohort in cohorts), strict=True))),
    )


@dataclass(frozen=True)
class Pool:
    """Rows of several cohorts joined: ``bases`` [cohorts] is where each cohort's rows begin."""

    features: Tensor
    targets: Tensor
    bases: Ints


def pool_of(cohorts: Sequence[Cohort]) -> Pool:
    """Return the rows of several cohorts as one matrix; rows that cohorts share are there once."""
    places: dict[int, int] = {}
    distinct: list[Cohort] = []
    rows = 0
    bases = []
    for cohort in cohorts:
        if id(cohort.features) not in places:
            places[id(cohort.features)] = rows
            distinct.append(cohort)
            rows += len(cohort.features)
        bases.append(places[id(cohort.features)])
    return Pool(
        torch.cat([cohort.features for cohort in distinct]),
        torch.cat([cohort.targets for cohort in distinct]),
        np.array(bases, np.int64),
    )


@dataclass(frozen=True)
class Trained:
    """What a cohort's training gave: weights [clients, size], mean loss [clients], steps [clients]."""

    params: Tensor
    loss: NDArray[np.float64]
    steps: Ints


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread within the block.

    The matrices of an edge model are too small to share out: with two threads a busy second core made a federation
    fifty times slower (each operation waits for both), and one thread also leaves no order of summation to chance.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def train(update: ClientUpdate, schedule: Schedule, cohort: Cohort) -> Trained:
    """Train every client of a cohort and return the results in the cohort's order.

    Clients are sorted by their number of steps, so that those still training are always the first: a finished
    client drops out of the batch. Memory is bounded by training in chunks. A client's result does not depend on its
    company beyond the rounding of batched matrix products.
    """
    with one_thread():
        return _train(update, schedule, cohort)


def _train(update: ClientUpdate, schedule: Schedule, cohort: Cohort) -> Trained:
    steps = schedule.steps(cohort.drawn_rows, cohort.shard_rows)
    order = np.argsort(-steps, kind="stable")
    params = torch.empty_like(cohort.params, memory_format=torch.contiguous_format)
    loss = np.zeros(len(cohort))
    start = 0
    while start < len(order):
        stop = _chunk_end(order, steps, schedule, cohort, start)
        which = order[start:stop]
        chunk_params, chunk_loss = _train_chunk(update, schedule, cohort.take(which), steps[which])
        params[torch.from_numpy(which)] = chunk_params
        loss[which] = chunk_loss.double().numpy()
        start = stop
    return Trained(params, loss, steps)


def _chunk_end(order: Ints, steps: Ints, schedule: Schedule, cohort: Cohort, start: int) -> int:
    """Return the end of the longest chunk whose batch order stays within the bound."""
    widest = max(int(cohort.drawn_rows.max(initial=1)), schedule.batch_size, 1)
    # A remedy that draws few of many rows walks through them often, and every client's order is as long.
    epochs = int((-(-steps // np.maximum(schedule.steps_per_epoch(cohort.drawn_rows), 1))).max(initial=1))
    per_client = max(int(steps[order[start]]) * (schedule.batch_size or widest), epochs * widest)
    return start + max(1, MAX_ORDER_ELEMENTS // per_client)


def _train_chunk(update: ClientUpdate, schedule: Schedule, cohort: Cohort, steps: Ints) -> tuple[Tensor, Tensor]:
    rows, share = _batches(schedule, cohort, steps)
    state = update.init(cohort.params)
    clients, width = rows.shape[0], rows.shape[2]
    still = [int(np.searchsorted(-steps, -step, side="left")) for step in range(rows.shape[1])]
    finished: list[tuple[Tensor, Tensor]] = []
    active = clients
    for step, alive in enumerate(still):
        if alive < active:
            # The tail of the batch is done: keep its results, go on with the head.
            finished.append(update.final(_part(state, slice(alive, None))))
            state = _part(state, slice(alive))
            active = alive
        picked = rows[:alive, step].reshape(-1)
        batch = Batch(
            cohort.features[picked].view(alive, width, -1),
            cohort.targets[picked].view(alive, width, -1),
            share[:alive, step],
        )
        state = update.step(state, batch, cohort.hyper.head(alive))
    finished.append(update.final(state))
    finished.reverse()
    return torch.cat([params for params, _ in finished]), torch.cat([loss for _, loss in finished])


def _part(state: State, clients: slice) -> State:
    """Return the state of some clients of the leading dimension."""
    return State(
        params=state.params[clients],
        start=state.start[clients],
        first=None if state.first is None else state.first[clients],
        second=None if state.second is None else state.second[clients],
        steps=state.steps[clients],
        loss=state.loss[clients],
    )


def _batches(schedule: Schedule, cohort: Cohort, steps: Ints) -> tuple[Tensor, Tensor]:
    """Return the rows of each step [clients, steps, width] and each row's share of its batch (0: padding).

    Each epoch is a fresh permutation of the client's drawn rows, cut into batches; its key for a row is named by
    (seed, round, client, epoch, position), so a client's batches are its own.
    """
    drawn = cohort.drawn_rows
    most_steps, most_rows = int(steps.max(initial=0)), int(drawn.max(initial=0))
    width = schedule.batch_size or most_rows
    per_epoch = np.maximum(schedule.steps_per_epoch(drawn), 1)
    epochs = int((-(-steps // per_epoch)).max(initial=0))
    names = (np.arange(epochs, dtype=np.int64)[:, None] << 32) + np.arange(most_rows)
    keys = counter_keys(
        cohort.seeds[:, None, None], "batches", cohort.rounds[:, None, None], cohort.ids[:, None, None], names
    )
    keys[np.broadcast_to(np.arange(most_rows) >= drawn[:, None, None], keys.shape)] = np.iinfo(np.uint64).max
    permutations = np.argsort(keys, axis=-1, kind="stable")
    step = np.arange(most_steps)
    epoch = step // per_epoch[:, None]
    first = (step % per_epoch[:, None]) * (schedule.batch_size or most_rows)
    position = first[:, :, None] + np.arange(width)
    real = (position < drawn[:, None, None]) & (step < steps[:, None])[:, :, None]
    position = np.where(real, epoch[:, :, None] * most_rows + position, 0)
    flat = permutations.reshape(len(drawn), -1)
    picked = np.take_along_axis(flat, position.reshape(len(drawn), -1), axis=1).reshape(position.shape)
    # Padding repeats a row of the client's own: another's row, however wild, could overflow to nan, and 0 x nan is nan.
    rows = cohort.starts[:, None, None] + picked
    count = real.sum(-1, keepdims=True)
    share = real / np.maximum(count, 1)
    return torch.from_numpy(rows), torch.from_numpy(share).to(cohort.params.dtype)
