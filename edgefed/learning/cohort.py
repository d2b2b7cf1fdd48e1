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
#: Working set of a chunk's step: beyond it a core's cache no longer holds the chunk (measured: README of
#: experiments/speed).
CHUNK_BYTES = 4_000_000
#: Working set from which a cohort is shared out to the cores: below it a thread's start costs more than it saves.
SHARED_BYTES = 1_000_000
#: Working set of one client from which its matrix products are worth sharing out.
LARGE_CLIENT_BYTES = 2_000_000


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
def torch_threads(count: int) -> Iterator[None]:
    """Keep each operation of torch to so many threads within the block.

    One is right for edge models: their matrices are too small to share out. With two threads a busy second core made a
    federation fifty times slower (each operation waits for both).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def train(update: ClientUpdate, schedule: Schedule, cohort: Cohort) -> Trained:
    """Train every client of a cohort and return the results in the cohort's order.

    Clients are sorted by their number of steps, so that those still training are always the first: a finished client
    drops out of the batch. The cohort is cut into chunks, which keeps the working set in cache, bounds memory and
    shares the work out to cores; a chunk that does not fit in memory is halved and tried again.

    A client's result does not depend on its company: to the bit where rows and layers are aligned in memory (widths that
    are multiples of four, as far as was seen), else to the rounding of the matrix products (1e-6 in float32).
    """
    steps = schedule.steps(cohort.drawn_rows, cohort.shard_rows)
    params = torch.empty_like(cohort.params, memory_format=torch.contiguous_format)
    loss = np.zeros(len(cohort))

    @torch.no_grad()
    def train_chunk(which: Ints) -> None:
        try:
            chunk_params, chunk_loss = _train_chunk(update, schedule, cohort.take(which), steps[which])
        except (MemoryError, RuntimeError) as error:
            if len(which) == 1 or not _out_of_memory(error):
                raise
            for half in np.array_split(which, 2):
                train_chunk(half)
            return
        params[torch.from_numpy(which)] = chunk_params
        loss[which] = chunk_loss.double().cpu().numpy()

    workers = available_cores() if cohort.params.device.type == "cpu" else 1
    chunks = _chunks(update, schedule, cohort, steps, workers)
    if len(chunks) == 1 or workers == 1:
        # A lone client with a large model has the cores to itself: its products are worth sharing out.
        alone = len(cohort) == 1 and _step_bytes(update, schedule, cohort) > LARGE_CLIENT_BYTES
        with torch_threads(workers if alone else 1):
            for chunk in chunks:
                train_chunk(chunk)
    else:
        with torch_threads(1), ThreadPoolExecutor(workers) as pool:
            list(pool.map(train_chunk, chunks))
    return Trained(params.cpu(), loss, steps)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _step_bytes(update: ClientUpdate, schedule: Schedule, cohort: Cohort) -> int:
    """Return about how many bytes a step of one client touches: weights, gradient and activations."""
    model = update.model
    width = int(schedule.widths(cohort.drawn_rows).max(initial=1))
    units = model.inputs + 3 * (sum(model.hidden) + model.classes)
    return (2 * model.size + width * units) * cohort.params.element_size()


def _chunks(update: ClientUpdate, schedule: Schedule, cohort: Cohort, steps: Ints, workers: int) -> list[Ints]:
    """Cut a cohort into chunks of clients with batches of one width, those with the most steps first.

    A chunk's size follows from shapes: as many clients as keep a step's working set in a core's cache (on a CPU), and
    chunks enough for every worker as soon as there is work enough to share.
    """
    widths = schedule.widths(cohort.drawn_rows)
    order = np.lexsort((-steps, -widths))
    per_client = _step_bytes(update, schedule, cohort)
    most = max(1, CHUNK_BYTES // per_client) if cohort.params.device.type == "cpu" else len(order)
    chunks = []
    for group in np.split(order, np.flatnonzero(np.diff(widths[order])) + 1):
        count = -(-len(group) // most)
        if len(group) * per_client >= SHARED_BYTES:
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
