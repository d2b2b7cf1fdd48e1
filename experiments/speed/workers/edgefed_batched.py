"""The project's own round loop over its batched engine, through Flower's messages and StackedFedAvg (w1, w3, w4).

``--cohort`` draws so many of the clients in each round (w3); without it everyone takes part.
"""

from __future__ import annotations

import argparse
import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from edgefed.config import FederationConfig
from edgefed.data.partition import Partition
from edgefed.data.shards import Shards
from edgefed.engines import make_engine
from edgefed.engines.grid import InProcessGrid
from edgefed.federation.clients import Clients, model_of
from edgefed.federation.evaluation import HeldOut
from edgefed.federation.rounds import Federation, query, run_rounds
from edgefed.federation.strategies import STRATEGIES
from workload import WORKLOADS, Workload, add_options, client_rows, emit, peak_mib, resident_mib

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stages:
    """Seconds, memory at the end (MiB) and the largest memory so far of each stage."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float | None]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        self.found[name] = {"seconds": seconds, "resident_mib": resident_mib(), "peak_mib": peak_mib()}


def shards_of(work: Workload, clients: int) -> Shards:
    """Return clients of equally many rows each, which hold nothing out."""
    features, labels = client_rows(work, clients)
    nothing = Partition(np.zeros(clients + 1, np.int64), np.empty(0, np.int64))
    everything = Partition(np.arange(clients + 1) * work.rows, np.arange(clients * work.rows))
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
    asked = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    work, stages = WORKLOADS[asked.workload], Stages()
    with stages.stage("rows"):
        shards = shards_of(work, asked.clients)
    with stages.stage("federation"):
        config = FederationConfig(
            num_clients=asked.clients,
            num_server_rounds=asked.rounds + 1,
            fraction_train=1.0 if asked.cohort is None else asked.cohort / asked.clients,
            hidden="-".join(map(str, work.hidden)),
            local_epochs=work.epochs,
            batch_size=work.batch,
            learning_rate=work.rate,
        )
        model, engine = model_of(config, work.features, work.classes), make_engine("batched")
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

    ends = [time.perf_counter()]
    memory: list[dict[str, float | None]] = []

    def after_round(_: Federation) -> None:
        ends.append(time.perf_counter())
        memory.append({"resident_mib": resident_mib(), "peak_mib": peak_mib()})

    federation.on_round = after_round
    run_rounds([federation], engine.exchange)
    seconds = np.diff(ends).tolist()
    stages.found["first round"] = {"seconds": seconds[0], **memory[0]}
    stages.found["all rounds"] = {"seconds": sum(seconds), **memory[-1]}
    emit(
        seconds[1:],
        ["edgefed", "flwr", "numpy", "torch"],
        stages=stages.found,
        updates=federation.client_updates,
        torch_threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
