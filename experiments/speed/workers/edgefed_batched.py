"""The project's own round loop over its batched engine, through Flower's messages and StackedFedAvg (all but w2).

``--kept`` writes a checkpoint and the rounds' rows to a temporary folder each round, as a run with ``--out`` does.
``--cohort`` draws so many of the clients in each round (w3); without it everyone takes part. ``--rows ragged`` gives
clients 1 to 10,000 rows, log-uniform, ``--rows level`` as many in all, each client the same.
"""

from __future__ import annotations

import argparse
import cProfile
import logging
import pstats
import sys
import time
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from workload import WORKLOADS, Workload, add_options, client_rows, emit, peak_mib, resident_mib

from edgefed.config import FederationConfig
from edgefed.data.partition import Partition
from edgefed.data.shards import Shards
from edgefed.engines.batched import BatchedEngine
from edgefed.engines.grid import InProcessGrid
from edgefed.federation.checkpoint import RunLog
from edgefed.federation.clients import Clients
from edgefed.federation.components import model_of
from edgefed.federation.evaluation import HeldOut
from edgefed.federation.federation import Federation
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.federation.strategies import STRATEGIES
from edgefed.runs import RunWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgefed.learning.cohort import Cohort
    from edgefed.learning.local_update import ClientUpdate
    from edgefed.learning.schedule import Schedule
    from edgefed.learning.training import Trained


class Counting(BatchedEngine):
    """The engine, which also counts how much of its work is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = self.slots = 0

    def _trained(self, update: ClientUpdate, schedule: Schedule, cohort: Cohort) -> Trained:
        trained = super()._trained(update, schedule, cohort)
        self.rows += trained.rows
        self.slots += trained.slots
        return trained

    @property
    def padding(self) -> float:
        """Share of the places of all batches that held no row."""
        return 1 - self.rows / self.slots


class Stages:
    """Seconds, memory at the end (MiB) and the largest memory so far of each stage.

    Parameters
    ----------
    profiled : bool
        Print to stderr where each stage's time goes.
    """

    def __init__(self, profiled: bool) -> None:
        self.profiled = profiled
        self.found: dict[str, dict[str, float | None]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done within the block."""
        profile = cProfile.Profile() if self.profiled else nullcontext()
        begun = time.perf_counter()
        with profile:
            yield
        self.note(name, time.perf_counter() - begun)
        if isinstance(profile, cProfile.Profile):
            print(f"{name}:", file=sys.stderr)
            pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(12)

    def note(self, name: str, seconds: float) -> None:
        """Keep a stage's seconds and the memory now."""
        self.found[name] = {"seconds": seconds, "resident_mib": resident_mib(), "peak_mib": peak_mib()}


MOST_ROWS = 10_000


def sizes_of(rows: str, work: Workload, clients: int) -> NDArray[np.int64]:
    """Return each client's rows [clients]: the workload's, or 1 to 10,000 log-uniform, or level at their mean."""
    if not rows:
        return np.full(clients, work.rows)
    ragged = np.exp(np.random.default_rng(2).uniform(0, np.log(MOST_ROWS), clients)).astype(np.int64)
    return ragged if rows == "ragged" else np.full(clients, round(ragged.mean()))


def shards_of(work: Workload, sizes: NDArray[np.int64]) -> Shards:
    """Return clients of so many rows each, which hold nothing out."""
    clients, total = len(sizes), int(sizes.sum())
    features, labels = client_rows(work._replace(rows=1), total)
    nothing = Partition(np.zeros(clients + 1, np.int64), np.empty(0, np.int64))
    everything = Partition(np.concatenate([[0], np.cumsum(sizes)]), np.arange(total))
    return Shards(
        features=features.reshape(-1, work.features),
        labels=labels.reshape(-1),
        train=everything,
        held_out=nothing,
        ids=np.arange(clients),
        num_classes=work.classes,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--cohort", type=int)
    parser.add_argument("--profile", action="store_true", help="print where each stage's time goes; it takes longer")
    parser.add_argument("--kept", action="store_true", help="commit each round to a folder")
    parser.add_argument("--rows", choices=["ragged", "level"], default="")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    asked = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    work, stages = WORKLOADS[asked.workload], Stages(asked.profile)
    with stages.stage("rows"):
        sizes = sizes_of(asked.rows, work, asked.clients)
        shards = shards_of(work, sizes)
    with stages.stage("federation"):
        config = FederationConfig(
            num_clients=asked.clients,
            num_server_rounds=asked.rounds + 1,
            fraction_train=1.0 if asked.cohort is None else asked.cohort / asked.clients,
            hidden="-".join(map(str, work.hidden)),
            local_epochs=work.epochs,
            batch_size=work.batch,
            learning_rate=work.rate,
            device=asked.device,
        )
        model, engine = model_of(config, work.features, work.classes), Counting()
        nothing = HeldOut(shards.features[:0], shards.labels[:0])
        federation = Federation(
            config=config,
            grid=InProcessGrid(Clients(config, shards), engine),
            strategy=STRATEGIES["fedavg"](model),
            model=model,
            validation=nothing,
            test=nothing,
        )
    with stages.stage("query round"):
        query([federation], engine.exchange, [range(asked.clients)])

    ends: list[float] = []

    kept = ExitStack()
    folder = Path(kept.enter_context(TemporaryDirectory())) if asked.kept else None
    log = kept.enter_context(RunLog(federation, RunWriter(folder))) if folder is not None else None

    def after_round(_: Federation) -> None:
        if log is not None:
            log.write()
        ends.append(time.perf_counter())
        if len(ends) == 1:
            stages.note("first round", ends[0] - begun)

    federation.on_round = after_round
    with stages.stage("all rounds"), kept:
        begun = time.perf_counter()
        run_rounds([federation], engine.exchange)
    emit(
        np.diff(ends).tolist(),
        ["edgefed", "flwr", "numpy", "torch"],
        stages=stages.found,
        updates=federation.client_updates,
        rows_a_round=int(sizes.sum()) * work.epochs if asked.cohort is None else None,
        padding=engine.padding,
        device=asked.device,
    )


if __name__ == "__main__":
    main()
