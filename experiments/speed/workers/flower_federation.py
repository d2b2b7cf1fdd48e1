"""One federation of the default comparison on Flower's Ray engine: the project's own ServerApp and ClientApp.

The data are loaded, split and shared out once in each actor, where the shipped ClientApp does so for each message:
what is timed is Flower's runtime, not our housekeeping.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import time
from typing import TYPE_CHECKING

import numpy as np
from flwr.serverapp import Grid, ServerApp
from workload import emit

from edgefed.api.plan import comparison_defaults
from edgefed.config import FederationConfig
from edgefed.data.shards import FederatedData, federate
from edgefed.federation.client_app import make_client_app
from edgefed.federation.clients import Clients

if TYPE_CHECKING:
    from flwr.app import Context

SETTINGS = "EDGEFED_SPEED_SETTINGS"
"""Environment variable that carries the settings to the actors: run_simulation takes no run config."""


@functools.cache
def shared_out() -> tuple[FederationConfig, FederatedData]:
    """Return the settings as they turned out and everyone's data, made once a process."""
    return federate(FederationConfig.from_mapping(json.loads(os.environ[SETTINGS])))


def clients_of(context: Context) -> Clients:
    """Return the one client that a node's config names."""
    config, data = shared_out()
    return Clients(config, data.shards.one(int(context.node_config["partition-id"])))


client = make_client_app(clients_of)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--server-rounds", type=int, default=100)
    asked = parser.parse_args()
    config = comparison_defaults({"seed": asked.seed, "num-server-rounds": asked.server_rounds})
    os.environ |= {
        SETTINGS: json.dumps(config.to_mapping()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
    logging.getLogger("flwr").setLevel(logging.ERROR)
    from flwr.simulation import run_simulation

    from edgefed.federation import server_app

    server = ServerApp()
    stamps: list[float] = []

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        context.run_config = config.to_mapping()
        stamps.append(time.perf_counter())
        server_app.main(grid, context)
        stamps.append(time.perf_counter())

    begun = time.perf_counter()
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=config.num_clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2}},
    )
    emit([time.perf_counter() - begun], ["edgefed", "flwr", "ray", "torch"], server_seconds=float(np.diff(stamps)[0]))


if __name__ == "__main__":
    # Under its real name, so that the actors import this file; as __main__ each message would carry it.
    import flower_federation

    flower_federation.main()
