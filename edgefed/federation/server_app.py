"""The ServerApp: the same round loop over whatever grid Flower hands it."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from flwr.serverapp import ServerApp

from edgefed.config import FederationConfig
from edgefed.data.shards import federate
from edgefed.federation.checkpoint import RunLog
from edgefed.federation.clients import Clients, model_of
from edgefed.federation.evaluation import HeldOut
from edgefed.federation.exchange import through_grids
from edgefed.federation.explanation import collect, keep
from edgefed.federation.federation import Federation, FederationError
from edgefed.federation.query import query
from edgefed.federation.record import environment, finished_run, opening_manifest
from edgefed.federation.rounds import run_rounds
from edgefed.federation.strategies import STRATEGIES
from edgefed.runs import RunWriter, new_folder

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.serverapp import Grid

WAIT_FOR_NODES = 60.0
"""Seconds that a run waits for its clients to be there."""

app = ServerApp()
log = logging.getLogger("flwr")


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one federation by the run config; ``run-folder`` says where it is kept."""
    config, data = federate(FederationConfig.from_mapping(context.run_config))
    model = model_of(config, data.dataset.features.shape[1], data.dataset.num_classes)
    folder = new_folder(config.run_folder, "") if config.run_folder else None
    federation = Federation(
        config=config,
        grid=grid,
        strategy=STRATEGIES[config.strategy](model, config),
        model=model,
        validation=HeldOut.of(data, "validation"),
        test=HeldOut.of(data, "test"),
        label_counts=data.class_counts,
        applied=Clients(config, data.shards).applied,
    )
    opening = opening_manifest(config, data, "flower", environment())
    writer = RunLog(federation, RunWriter(folder)) if folder is not None else None
    if writer is not None:
        writer.writer.begin(config, opening)

    def after_round(federation: Federation) -> None:
        if writer is not None:
            writer.write()
        scores = federation.history[-1].get("validation") or federation.history[-1].get("test") or {}
        log.info(
            "round %d of %d: balanced accuracy %s",
            federation.round,
            config.num_server_rounds,
            scores.get("balanced_accuracy", "not evaluated"),
        )

    federation.on_round = after_round
    exchange = through_grids(config.round_timeout)
    query([federation], exchange, [_nodes(grid, config.num_clients)])
    begun = time.perf_counter()
    with writer or nullcontext():
        run_rounds([federation], exchange)
    done = finished_run(federation, opening, folder.name if folder else "flower", time.perf_counter() - begun, folder)
    if writer is not None:
        writer.writer.end(done.weights, done.manifest)
        if config.explain == "yes":
            keep(writer.writer.folder, collect(federation, exchange))
    log.info("finished: %s", done.summary)


def _nodes(grid: Grid, expected: int) -> list[int]:
    """Return the ids of the nodes once all are there.

    Raises
    ------
    FederationError
        When too few have come within :data:`WAIT_FOR_NODES` seconds, or there are too many.
    """
    deadline = time.monotonic() + WAIT_FOR_NODES
    while len(nodes := list(grid.get_node_ids())) < expected:
        if time.monotonic() > deadline:
            raise FederationError(
                f"{len(nodes)} of {expected} clients are connected after {WAIT_FOR_NODES:.0f} s; "
                "start the others, or set num-clients (in a simulation num-supernodes) to what there is"
            )
        time.sleep(0.5)
    if len(nodes) > expected:
        raise FederationError(
            f"{len(nodes)} nodes are connected, num-clients={expected}: set num-clients (in a simulation "
            "num-supernodes) to the same number"
        )
    return nodes
