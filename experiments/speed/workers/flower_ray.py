"""Flower's own simulation runtime: stock FedAvg and a plain PyTorch ClientApp on Ray, actors of one CPU each.

Time stamps are taken in the ServerApp, by the central evaluation that FedAvg calls after each round (it evaluates
nothing). ``startup_seconds`` is what the first round took beyond a later one, from the call of run_simulation on.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import time
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch_loop import module, train
from workload import WORKLOADS, add_options, client_rows, emit

WORK = WORKLOADS["w1"]
client = ClientApp()


@functools.cache
def rows(clients: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return everyone's rows, made once in each actor: no message pays for data."""
    features, labels = client_rows(WORK, clients)
    return torch.from_numpy(features), torch.from_numpy(labels)


@client.train()
def train_one(message: Message, context: Context) -> Message:
    """Train the client that the node's config names, from the weights that it was sent."""
    features, labels = rows(int(context.node_config["num-partitions"]))
    position = int(context.node_config["partition-id"])
    model = module(WORK)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    orders = [torch.randperm(WORK.rows) for _ in range(WORK.epochs)]
    train(WORK, model, features[position], labels[position], orders)
    content = RecordDict(
        {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": WORK.rows})}
    )
    return Message(content, reply_to=message)


def server(clients: int, rounds: int, stamps: list[float], last: list[Any]) -> ServerApp:
    """Return a ServerApp that runs stock FedAvg over everyone and notes when each round ends."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(
            fraction_train=1.0,
            fraction_evaluate=0.0,
            min_train_nodes=clients,
            min_evaluate_nodes=0,
            min_available_nodes=clients,
        )

        def stamp(server_round: int, arrays: ArrayRecord) -> MetricRecord:
            stamps.append(time.perf_counter())
            return MetricRecord()

        result = strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(module(WORK).state_dict()),
            num_rounds=rounds,
            evaluate_fn=stamp,
        )
        last.append(result.arrays)

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    asked = parser.parse_args()
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    logging.getLogger("flwr").setLevel(logging.ERROR)
    from flwr.simulation import run_simulation

    stamps: list[float] = []
    last: list[Any] = []
    begun = time.perf_counter()
    run_simulation(
        server_app=server(asked.clients, asked.rounds + 1, stamps, last),
        client_app=client,
        num_supernodes=asked.clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2}},
    )
    whole = time.perf_counter() - begun
    seconds = np.diff(stamps).tolist()  # the first stamp is that of round 0
    initial = module(WORK).state_dict()["0.weight"].numpy()
    emit(
        seconds[1:],
        ["flwr", "ray", "torch"],
        startup_seconds=stamps[1] - begun - float(np.median(seconds[1:])),
        whole_seconds=whole,
        weights_moved_by=float(np.abs(last[0]["0.weight"].numpy() - initial).max()),
    )


if __name__ == "__main__":
    # Under its real name, so that the actors import this file; as __main__ each message would carry it.
    import flower_ray

    flower_ray.main()
