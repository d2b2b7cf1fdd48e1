"""Small federations for tests, and what must be equal of two that are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import edgefed
from edgefed.api.assembly import in_process
from edgefed.config import FederationConfig
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.query import query
from edgefed.federation.record import client_rows
from edgefed.federation.rounds import run_rounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flwr.app import Message
    from flwr.serverapp import Grid

    from edgefed.data.shards import FederatedData
    from edgefed.engines.grid import Engine
    from edgefed.federation.federation import Federation
    from edgefed.runs import Run

ENGINES = ("batched", "sequential")


def settings(**changes: Any) -> FederationConfig:
    """Return settings of a short federation on iris with a long tail, where every remedy has something to do."""
    return FederationConfig(**({"num_server_rounds": 3, "local_epochs": 2, "long_tail": 10.0} | changes))


def private(**changes: Any) -> FederationConfig:
    """Return settings of a short federation under differential privacy."""
    return settings(**({"privacy": "dp-fixed", "standardize": "server"} | changes))


def trained(config: FederationConfig, engine: str = "batched", **arguments: Any) -> tuple[Run, list[Any]]:
    """Run a federation; return the run and the rows of its clients."""
    rows: list[Any] = []

    def look(federation: Federation) -> None:
        rows.extend(client_rows(federation, federation.round - 1))

    run = edgefed.run(config, engine=engine, progress=False, on_round=look, **arguments)
    return run, rows


def queried(
    config: FederationConfig, engine: Engine | None = None, data: FederatedData | None = None
) -> tuple[Federation, Engine]:
    """Return a federation that knows its clients and has not trained yet."""
    engine = engine or make_engine("batched")
    if data is None:
        config, data = federate(config)
    federation = in_process(config, data, engine)
    query([federation], engine.exchange, [range(config.num_clients)])
    return federation, engine


class Recorder:
    """An engine that keeps what is sent and answered: a (messages, replies) pair for each grid of each exchange."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.exchanges: list[tuple[Sequence[Message], Sequence[Message]]] = []

    def exchange(self, items: Sequence[tuple[Grid, Sequence[Message]]]) -> Sequence[Iterable[Message]]:
        """Pass on, and keep."""
        answers = self.engine.exchange(items)
        self.exchanges += [(messages, replies) for (_, messages), replies in zip(items, answers, strict=True)]
        return answers


def together(configs: Sequence[FederationConfig], engine: Engine) -> list[Federation]:
    """Train several federations in lockstep."""
    federations = [in_process(*federate(config), engine) for config in configs]
    query(federations, engine.exchange, [range(federation.config.num_clients) for federation in federations])
    run_rounds(federations, engine.exchange)
    return federations


def figures(run: Run) -> dict[str, Any]:
    """Return all that a run found out, without how long it took, its engine and its name."""
    summary = {key: value for key, value in run.summary.items() if key not in ("seconds", "engine", "run")}
    return {"summary": summary, "rounds": without_seconds(run.rounds), "manifest": _findings(run.manifest)}


def without_seconds(rounds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a history without how long each round took."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rounds]


def _findings(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key not in ("engine", "environment", "summary")}


def apart(first: Run, second: Run) -> float:
    """Return the largest difference between two runs' weights."""
    return max(
        float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
        for a, b in zip(first.weights.values(), second.weights.values(), strict=True)
    )
