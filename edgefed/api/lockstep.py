"""The federations of a comparison, block by block in lockstep: in this process, or shared out to several.

A federation's own Python takes one core whatever else there is, so more than one block is shared out to as many
processes as there are cores. Blocks are cut the same way wherever they run, and so are a federation's bits.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgefed.api.afar import EVERY, Listener, Teller
from edgefed.api.assembly import in_process
from edgefed.api.course import PackedRounds
from edgefed.api.plan import BLOCK, Cell, cell_name
from edgefed.data.datasets import fingerprint
from edgefed.data.shards import FederatedData, federate
from edgefed.engines import make_engine
from edgefed.errors import FederationError
from edgefed.federation.query import query
from edgefed.federation.record import client_rows, environment, finished_run, opening_manifest
from edgefed.federation.rounds import run_rounds
from edgefed.learning.training import available_cores
from edgefed.runs import Run, RunWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edgefed.api.progress import Show
    from edgefed.config import FederationConfig
    from edgefed.data.datasets import Dataset
    from edgefed.engines.grid import Engine

#: Each core has a process.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass
class SeededData:
    """Each seed's data, split and shared out once: the same for every remedy and rate."""

    base: FederationConfig
    dataset: Dataset
    _known: dict[int, tuple[FederationConfig, FederatedData]] = field(default_factory=dict)

    def __call__(self, seed: int) -> FederatedData:
        """Return a seed's data."""
        return self.settled(seed)[1]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the rows."""
        return fingerprint(self.dataset)

    def settled(self, seed: int) -> tuple[FederationConfig, FederatedData]:
        """Return the settings as they turned out under a seed, and the data."""
        if seed not in self._known:
            self._known[seed] = federate(self.base.replace(seed=seed), self.dataset)
        return self._known[seed]


@dataclass(frozen=True)
class Surroundings:
    """What all blocks of a comparison have in common.

    Attributes
    ----------
    base : FederationConfig
    engine : str
    folder : Path or None
        Where each federation's own folder is written as soon as its block is finished.
    environment : dict
        Of the manifests.
    """

    base: FederationConfig
    engine: str
    folder: Path | None
    environment: dict[str, Any]

    @classmethod
    def of(cls, base: FederationConfig, engine: str, folder: Path | None) -> Surroundings:
        """Return those of this machine."""
        return cls(base, engine, folder, environment(" ".join(sys.argv[1:])))


def blocks_of(cells: Sequence[Cell]) -> list[Sequence[Cell]]:
    """Cut federations into blocks."""
    return [cells[start : start + BLOCK] for start in range(0, len(cells), BLOCK)]


def processes_for(base: FederationConfig, engine: str, tasks: int, wanted: int | None = None) -> int:
    """Return how many processes are worth having for so many tasks; 1 keeps all of them in this one.

    A GPU and a Ray cluster have their own way of sharing out work.
    """
    if engine != "batched" or base.device != "cpu":
        return 1
    return max(1, min(available_cores() if wanted is None else wanted, tasks))


def run_cells(
    cells: Sequence[Cell],
    around: Surroundings,
    data: SeededData,
    engine: Engine,
    processes: int,
    show: Show,
    after_block: Callable[[], None],
) -> dict[Cell, Run]:
    """Run federations block by block, ``after_block`` each; the rounds of what comes back are packed."""
    runs: dict[Cell, Run] = {}
    blocks = blocks_of(cells)
    if processes == 1:
        with without_garbage_collection():
            for block in blocks:
                runs |= run_block(block, around, data, engine, show)
                gc.collect()  # a finished block's federations, once
                after_block()
        return runs
    with Listener(show, around.base.num_server_rounds) as listener:
        tasks = [
            (_block_elsewhere, (block, around, data.dataset, listener.path(place)))
            for place, block in enumerate(blocks)
        ]
        for place, done in in_processes(tasks, processes, listener.look):
            runs |= done
            listener.finished(place, next(iter(done.values())).rounds)
            after_block()
    return runs


def in_processes(
    tasks: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]],
    processes: int,
    look: Callable[[], None] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Yield tasks' places and results as they come, from processes that are kept for the next time.

    ``look`` is called about once a second while they work.

    Raises
    ------
    FederationError
        When a process was ended from outside, as by a system that ran out of memory.
    """
    # Imported here: only a larger comparison has a use for it.
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    executor = get_reusable_executor(
        max_workers=processes, initializer=_in_the_wake_of, initargs=(os.getpid(),), env=ONE_THREAD
    )
    # Not all at once: loky's own thread fails on what waits in its queue when the processes are ended.
    waiting, finished = deque(enumerate(tasks)), False
    running: dict[Future[Any], int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < 2 * processes:
                place, (task, arguments) = waiting.popleft()
                running[executor.submit(task, *arguments)] = place
            done, _ = wait(running, EVERY, FIRST_COMPLETED)
            if look is not None:
                look()
            for future in done:
                yield running.pop(future), future.result()
        finished = True
    except TerminatedWorkerError:
        raise FederationError(
            f"one of {processes} processes was ended from outside (out of memory?): --resume goes on, and "
            "--processes 1 takes the least memory"
        ) from None
    finally:
        if not finished:
            executor.shutdown(kill_workers=True)


def _in_the_wake_of(parent: int) -> None:
    """Begin a process: Ctrl-C, which a terminal sends to all at once, ends the parent alone, and it ends the others.

    A parent that was killed ends nobody: a process that finds itself without it goes too (not on Windows, where a
    process keeps the number of a parent that is gone).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_without, args=(parent,), name="is the parent there", daemon=True).start()


def _leave_without(parent: int) -> None:
    """Leave once the parent is gone. On Windows a dead parent's id stays, so that nothing is seen there."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _block_elsewhere(block: Sequence[Cell], around: Surroundings, dataset: Dataset, told: Path) -> dict[Cell, Run]:
    """Run a block in a process of its own: one thread, as every core has such a process."""
    data, engine = SeededData(around.base, dataset), make_engine(around.engine, threads=1)
    with without_garbage_collection():
        done = run_block(block, around, data, engine, Teller(told))
    gc.collect()
    return done


def run_block(
    cells: Sequence[Cell], around: Surroundings, data: SeededData, engine: Engine, show: Show
) -> dict[Cell, Run]:
    """Run federations in lockstep, and write the folder of each."""
    federations, openings = [], []
    for arm, rate, seed in cells:
        settled, shared = data.settled(seed)
        config = settled.replace(imbalance=arm, learning_rate=rate)
        federations.append(in_process(config, shared, engine))
        openings.append(opening_manifest(config, shared, around.engine, around.environment))
    federations[0].on_round = lambda federation: show(federation.history)
    begun = time.perf_counter()
    query(federations, engine.exchange, [range(federation.config.num_clients) for federation in federations])
    run_rounds(federations, engine.exchange)
    seconds = (time.perf_counter() - begun) / len(federations)
    runs = {}
    for cell, federation, opening in zip(cells, federations, openings, strict=True):
        home = None if around.folder is None else around.folder / "federations" / cell_name(cell)
        run = finished_run(federation, opening, cell_name(cell), seconds, home)
        if home is not None:
            home.mkdir(parents=True, exist_ok=True)
            writer = RunWriter(home, durable=False)
            writer.begin(federation.config, opening)
            writer.truncate(0)
            writer.rows(federation.history, client_rows(federation))
            writer.end(run.weights, run.manifest)
        runs[cell] = packed(run)
    return runs


def packed(run: Run) -> Run:
    """Return a run whose rounds take little memory: what is kept of hundreds of runs is mostly their rounds."""
    return replace(run, rounds=PackedRounds(run.rounds))


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Leave out the search for reference cycles: a comparison keeps what it makes, and each looks at all of it."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
