"""The same faults on Flower's own FedAvg and round loop, and on edgefed's: who notices what.

    python experiments/faults/beside_flower.py

One of ten clients is hostile in the first of two rounds; the faults are those that the tests use. Clients, messages
and engine are the same on both sides; only the strategy's loop differs. Prints a table.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg

from edgefed import FederationConfig
from edgefed.api.assembly import in_process
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.engines.grid import InProcessGrid
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.federation.strategies import WHOLE_COHORT

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "federation"))
from hostile import MESSAGE_FAULTS, Hostile

CONFIG = FederationConfig(partition="iid", num_server_rounds=2, local_epochs=2)


def federation_of(fault: Any) -> tuple[Any, Any]:
    """Return a federation that has been queried, and its engine with a hostile client."""
    config, data = federate(CONFIG)
    engine = make_engine("sequential")
    federation = in_process(config, data, engine)
    query([federation], engine.exchange, [range(config.num_clients)])
    return federation, Hostile(engine, fault, (1,))


def ours(fault: Any) -> str:
    """Return what edgefed makes of a fault."""
    federation, hostile = federation_of(fault)
    run_rounds([federation], hostile.exchange)
    refused = federation.history[0].get("refused", {})
    said = "; ".join(refused.values()) if refused else "counted"
    return f"{said}; the run ended, {federation.history[1]['clients']} of 10 in round 2"


def flowers(fault: Any, clean: np.ndarray) -> str:
    """Return what Flower's FedAvg makes of it: its own loop, ``Strategy.start``."""
    federation, hostile = federation_of(fault)
    grid = InProcessGrid(federation.grid.clients, hostile)
    strategy = FedAvg(**WHOLE_COHORT)
    arrays = {
        name: Array(np.ascontiguousarray(a)) for name, a in federation.model.state_dict(federation.weights).items()
    }
    try:
        result = strategy.start(
            grid, ArrayRecord(arrays), num_rounds=2, train_config=ConfigRecord(dict(federation._config))
        )
        found = {name: array.numpy() for name, array in result.arrays.items()}
        flat = np.concatenate([array.ravel() for array in found.values()])
    except Exception as error:
        return f"the run is lost: {type(error).__name__}"
    if set(found) != set(federation.model.shapes):
        return f"accepted: the model has {len(found)} arrays, not {len(federation.model.shapes)}"
    if any(found[name].shape != shape for name, shape in federation.model.shapes.items()):
        return "accepted: the model has another shape"
    if not np.isfinite(flat).all():
        return "accepted: the model is NaN or infinite"
    off = float(np.abs(flat - clean).max())
    return "no change to the model" if off < 1e-5 else f"accepted: a weight is off by {off:.3g}"


def main() -> int:
    """Print the table."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    federation, hostile = federation_of(lambda reply: None)
    run_rounds([federation], hostile.exchange)
    print("| fault | Flower 1.41, FedAvg | edgefed |\n|---|---|---|")
    for name, (fault, _) in MESSAGE_FAULTS.items():
        print(f"| {name} | {flowers(fault, federation.weights)} | {ours(fault)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
