"""Training a cohort: chunks that fit in cache and memory, cores, and the loop over steps."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgefed.learning.augmentation import jittered, mixed
from edgefed.learning.batches import batches
from edgefed.learning.local_update import Batch, ClientUpdate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from edgefed.learning.cohort import Cohort
    from edgefed.learning.schedule import Schedule

    Ints = NDArray[np.int64]

#: Elements of a chunk's batch order: bounds the memory of a cohort (8 bytes each, and as much again to sort).
MAX_ORDER_ELEMENTS = 4_000_000
#: Rows of several steps that are gathered at once.
MAX_GATHERED_ROWS = 200_000
#: Numbers that jitter draws at once, in float64.
MAX_DRAWN = 2_000_000
#: Working set of a chunk's step: a few times a core's second-level cache. Smaller chunks pay each operation's start
#: more often, larger ones fall out of cache.
CHUNK_BYTES = 4_000_000
#: Working set from which a cohort is shared out to the cores: below it a thread's start costs more than it saves.
SHARED_BYTES = 1_000_000
#: Working set of one client from which its matrix products are worth sharing out.
LARGE_CLIENT_BYTES = 2_000_000


@dataclass(frozen=True)
class Trained:
    """What a cohort's training gave.

    Attributes
    ----------
    params : Tensor [clients, size]
    loss : float64 ndarray [clients]
        Mean over the steps.
    steps : int64 ndarray [clients]
    rows, slots : int
        Rows that were trained on, over all steps, and the places of the batches that they lay in: the rest is padding.
    """

    params: Tensor
    loss: NDArray[np.float64]
    steps: Ints
    rows: int = 0
    slots: int = 0

    @property
    def padding(self) -> float:
        """Share of the work that was padding."""
        return 1 - self.rows / self.slots if self.slots else 0.0


@dataclass(frozen=True)
class Execution:
    """What training is shared out by: with the shapes, all that decides it. Timing has no say.

    It stands in a run's manifest, and a resumed run goes on by it, on whatever machine.

    Attributes
    ----------
    cores : int
        Threads of a lone client with a large model.
    chunk_bytes, shared_bytes : int
        Working set of a chunk, and that from which a cohort is shared out to the cores.
    """

    cores: int
    chunk_bytes: int = CHUNK_BYTES
    shared_bytes: int = SHARED_BYTES

    @classmethod
    def here(cls) -> Execution:
        """Return what fits this machine."""
        return cls(available_cores())


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
def train(
    update: ClientUpdate,
    schedule: Schedule,
    cohort: Cohort,
    execution: Execution | None = None,
    threads: int | None = None,
) -> Trained:
    """Train every client of a cohort and return the results in the cohort's order.

    Clients are sorted by their number of steps, so that those still training are always the first: a finished client
    drops out of the batch. The cohort is cut into chunks, which keeps the working set in cache, bounds memory and
    shares the work out to cores; a chunk that does not fit in memory is halved and tried again.

    A client's result does not depend on its company: to the bit where rows and layers are aligned in memory (widths
    that are multiples of four, as far as was seen), else to the rounding of the matrix products (1e-6 in float32).

    Parameters
    ----------
    update : ClientUpdate
    schedule : Schedule
    cohort : Cohort
    execution : Execution, optional
        Neutral: what fits this machine.
    threads : int, optional
        How many chunks train at once; no result depends on it. Neutral: one a core.
    """
    execution = execution or Execution.here()
    steps = schedule.steps(cohort.drawn_rows, cohort.shard_rows, cohort.epochs)
    params = torch.empty_like(cohort.params, memory_format=torch.contiguous_format)
    loss = np.zeros(len(cohort))
    work: list[tuple[int, int]] = []

    @torch.no_grad()
    def train_chunk(which: Ints) -> None:
        halves = []
        try:
            chunk_params, chunk_loss, chunk_work = _train_chunk(update, schedule, cohort.take(which), steps[which])
        except (MemoryError, RuntimeError) as error:
            if len(which) == 1 or not _out_of_memory(error):
                raise
            halves = np.array_split(which, 2)
        # Not within the except clause: there the error's frames still hold what did not fit.
        for half in halves:
            train_chunk(half)
        if not halves:
            params[torch.from_numpy(which)] = chunk_params
            loss[which] = chunk_loss.double().cpu().numpy()
            work.append(chunk_work)

    workers = 1 if cohort.params.device.type != "cpu" else available_cores() if threads is None else threads
    chunks = _chunks(update, schedule, cohort, steps, execution)
    if len(chunks) == 1 or workers == 1:
        # A lone client with a large model has the cores to itself: its products are worth sharing out.
        alone = len(cohort) == 1 and _step_bytes(update, schedule, cohort) > LARGE_CLIENT_BYTES
        with torch_threads(execution.cores if alone else 1):
            for chunk in chunks:
                train_chunk(chunk)
    else:
        with torch_threads(1), ThreadPoolExecutor(workers) as pool:
            list(pool.map(train_chunk, chunks))
    rows, slots = (sum(part) for part in zip(*work, strict=True)) if work else (0, 0)
    return Trained(params.cpu(), loss, steps, rows, slots)


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


def _chunks(update: ClientUpdate, schedule: Schedule, cohort: Cohort, steps: Ints, execution: Execution) -> list[Ints]:
    """Cut a cohort into chunks of clients with batches of one width, those with the most steps first.

    A chunk's size follows from shapes alone, never from timing or the number of cores, so a run resumed on another
    machine is cut alike: as many clients as keep a step's working set in a core's cache (on a CPU), and an even number
    of chunks as soon as there is work enough to share.
    """
    widths = schedule.widths(cohort.drawn_rows)
    order = np.lexsort((-steps, -widths))
    per_client = _step_bytes(update, schedule, cohort)
    most = max(1, execution.chunk_bytes // per_client) if cohort.params.device.type == "cpu" else len(order)
    chunks = []
    for group in np.split(order, np.flatnonzero(np.diff(widths[order])) + 1):
        count = -(-len(group) // most)
        if len(group) * per_client >= execution.shared_bytes:
            count += count % 2  # two cores end together
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


def _train_chunk(
    update: ClientUpdate, schedule: Schedule, cohort: Cohort, steps: Ints
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Return the chunk's weights and losses, and how many rows lay in how many places of its batches."""
    rows, share = batches(schedule, cohort, steps)
    state, hyper = update.init(cohort.params, cohort.correction), cohort.hyper
    neutral = bool((hyper.logit_scale == 1).all() and (hyper.logit_shift == 0).all() and (hyper.margin == 0).all())
    weighted = bool((hyper.class_weights != 1).any())
    most_steps, clients, width = rows.shape
    # Clients still training at each step: they are the first of the chunk.
    alive = np.searchsorted(-steps, -np.arange(most_steps), side="left")
    block = max(1, MAX_GATHERED_ROWS // max(clients * width, 1))
    if cohort.jitter is not None or cohort.mixup is not None:
        block = max(1, min(block, MAX_DRAWN // max(clients * width * cohort.features.shape[1], 1)))
    for start in range(0, most_steps, block):
        count = int(alive[start])
        picked = rows[start : start + block, :count].reshape(-1)
        shape = (-1, count, width)
        x = torch.index_select(cohort.features, 0, picked).view(*shape, cohort.features.shape[1])
        targets = torch.index_select(cohort.targets, 0, picked).view(*shape, cohort.targets.shape[1])
        if cohort.jitter is not None:
            x = jittered(x, cohort, start)
        if cohort.mixup is not None:
            x, targets = mixed(x, targets, share[start : start + block, :count] > 0, cohort, start)
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
    params, loss = update.final(state)
    return params, loss, (int(torch.count_nonzero(share)), int(steps.sum()) * width)
