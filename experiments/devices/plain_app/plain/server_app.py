"""The plain app's server: FedAvg, every node in every round, and how long it took."""

import json
import time
from pathlib import Path

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from plain.task import model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    rounds = context.run_config["num-server-rounds"]
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=1.0, min_available_nodes=3)
    begun = time.perf_counter()
    strategy.start(grid=grid, initial_arrays=ArrayRecord(model().state_dict()), num_rounds=rounds)
    seconds = time.perf_counter() - begun
    Path(context.run_config["result"]).write_text(json.dumps({"seconds": seconds, "rounds": rounds}))
