"""Training a cohort: batch orders, padding, and the loop over steps around :class:`ClientUpdate`."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgefed.learning.local_update import Batch, ClientUpdate, Hyper
from edgefed.rng import counter_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Ints = NDArray[np.int64]

#: Elements of a chunk's batch order: bounds the memory of a cohort (8 bytes each, and as much again to sort).
MAX_ORDER_ELEMENTS = 4_000_000
#: Rows of several steps that are gathered at once.
MAX_GATHERED_ROWS = 200_000
#: Batches up to this size are not worth telling apart by their clients' rows.
SMALL_BATCH = 32
#: Clients that train as one stack: their activations stay in a core's cache.
CHUNK_CLIENTS = 512


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

    Clients are sorted by their number of steps, so that those still training are always the first: a finished client
    drops out of the batch. The cohort is cut into chunks, which bounds memory and shares the work out to threads; a
    client's result does not depend on its company.
    """
    steps = schedule.steps(cohort.drawn_rows, cohort.shard_rows)
    params = torch.empty_like(cohort.params, memory_format=torch.contiguous_format)
    loss = np.zeros(len(cohort))

    def train_chunk(which: Ints) -> None:
        chunk_params, chunk_loss = _train_chunk(update, schedule, cohort.take(which), steps[which])
        params[torch.from_numpy(which)] = chunk_params
        loss[which] = chunk_loss.double().cpu().numpy()

    chunks = _chunks(schedule, cohort, steps)
    with one_thread():
        if len(chunks) < 2:
            for chunk in chunks:
                train_chunk(chunk)
        else:
            with ThreadPoolExecutor(_workers()) as pool:
                list(pool.map(torch.no_grad()(train_chunk), chunks))
    return Trained(params.cpu(), loss, steps)


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(schedule: Schedule, cohort: Cohort, steps: Ints) -> list[Ints]:
    """Cut a cohort into chunks of clients with batches of one width, those with the most steps first."""
    widths = schedule.widths(cohort.drawn_rows)
    order = np.lexsort((-steps, -widths))
    workers = _workers()
    chunks = []
    for group in np.split(order, np.flatnonzero(np.diff(widths[order])) + 1):
        count = -(-len(group) // CHUNK_CLIENTS)
        if len(group) >= CHUNK_CLIENTS // 2 * workers:
            count = -(-count // workers) * workers  # no worker is left without a chunk at the end
        size = -(-len(group) // max(count, 1))
        drawn, start = cohort.drawn_rows[group], 0
        # A remedy that draws few of many rows walks through them often, and a chunk's orders are of one size.
        epochs = -(-steps[group] // np.maximum(schedule.steps_per_epoch(drawn), 1))
        elements = np.maximum(steps[group] * widths[group], _largest_ahead(epochs) * _largest_ahead(drawn))
        while start < len(group):
            stop = start + max(1, min(size, MAX_ORDER_ELEMENTS // max(int(elements[start]), 1)))
            chunks.append(group[start:stop])
            start = stop
    return chunks


def _largest_ahead(values: Ints) -> Ints:
    """Return the largest of each value and those after it."""
    return np.maximum.accumulate(values[::-1])[::-1]


def _train_chunk(update: ClientUpdate, schedule: Schedule, cohort: Cohort, steps: Ints) -> tuple[Tensor, Tensor]:
    rows, share = _batches(schedule, cohort, steps)
    state, hyper = update.init(cohort.params), cohort.hyper
    neutral = bool((hyper.logit_scale == 1).all() and (hyper.logit_shift == 0).all())
    weighted = bool((hyper.class_weights != 1).any())
    most_steps, clients, width = rows.shape
    # Clients still training at each step: they are the first of the chunk.
    alive = np.searchsorted(-steps, -np.arange(most_steps), side="left")
    block = max(1, MAX_GATHERED_ROWS // max(clients * width, 1))
    for start in range(0, most_steps, block):
        count = int(alive[start])
        picked = rows[start : start + block, :count].reshape(-1)
        shape = (-1, count, width)
        x = torch.index_select(cohort.features, 0, picked).view(*shape, cohort.features.shape[1])
        targets = torch.index_select(cohort.targets, 0, picked).view(*shape, cohort.targets.shape[1])
        weight = share[start : start + block, :count]
        if weighted:
            weight = (targets * hyper.class_weights[:count]).sum(-1) * weight
        for place in range(len(x)):
            now = int(alive[start + place])
            if now < clients:
                state_now, hyper_now = state.head(now), hyper.head(now)
            else:
                state_now, hyper_now = state, hyper
            batch = Batch(x[place, :now], targets[place, :now], weight[place, :now])
            update.step(state_now, batch, hyper_now, neutral_logits=neutral)
    return update.final(state)


def _batches(schedule: Schedule, cohort: Cohort, steps: Ints) -> tuple[Tensor, Tensor]:
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
    # Padding repeats a row of the client's own: another's row, however wild, could overflow to nan, and 0 x nan is nan.
    rows = cohort.starts[:, None, None] + position
    share = real / np.maximum(real.sum(-1, keepdims=True), 1)
    return (
        torch.from_numpy(np.ascontiguousarray(rows.transpose(1, 0, 2))).to(cohort.params.device),
        torch.from_numpy(np.ascontiguousarray(share.transpose(1, 0, 2))).to(cohort.params),
    )
