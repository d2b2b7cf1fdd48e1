"""Softmax regression in NumPy, and local training as the papers write it: what federations are checked against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from federations import queried, settings
from sklearn.preprocessing import StandardScaler

from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.rounds import run_rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from flwr.app import Message
    from flwr.serverapp import Grid

    from edgefed.config import FederationConfig
    from edgefed.federation.federation import Federation

PLAIN = {
    "num_clients": 5,
    "hidden": "",
    "batch_size": 0,
    "local_epochs": 3,
    "dtype": "float64",
    "num_server_rounds": 4,
    "learning_rate": 0.3,
    "long_tail": 1.0,
    "partition": "iid",
}
"""Full batches, so that a step is one gradient; iid shards of iris are of two sizes."""


def plain(**changes: Any) -> FederationConfig:
    """Return settings of a federation that the few lines here can follow."""
    return settings(**(PLAIN | changes))


def rows_of(config: FederationConfig) -> list[tuple[Any, Any]]:
    """Return each client's standardised features and labels."""
    config, data = federate(config)
    shards = data.shards
    features = shards.features.astype(np.float64)
    scaler = StandardScaler().fit(features[shards.train.indices])
    return [
        (scaler.transform(features[rows]), shards.labels[rows])
        for rows in (shards.train.rows(client) for client in range(len(shards)))
    ]


def gradient(weights: Any, features: Any, labels: Any) -> Any:
    """Return the gradient of the mean cross-entropy of softmax regression: 4 inputs, 3 classes, W then b."""
    logits = features @ weights[:12].reshape(3, 4).T + weights[12:]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    error = (shares - np.eye(3)[labels]) / len(labels)
    return np.concatenate([(error.T @ features).ravel(), error.sum(0)])


def loss(weights: Any, features: Any, labels: Any) -> float:
    """Return the mean cross-entropy."""
    logits = features @ weights[:12].reshape(3, 4).T + weights[12:]
    logits = logits - logits.max(1, keepdims=True)
    return float(-(logits - np.log(np.exp(logits).sum(1, keepdims=True)))[np.arange(len(labels)), labels].mean())


def descended(
    start: Any, rows: tuple[Any, Any], steps: int, rate: float, extra: Callable[[Any], Any] | None = None
) -> Any:
    """Return weights after full-batch steps; ``extra`` of the weights is added to each gradient."""
    weights = start.copy()
    for _ in range(steps):
        weights -= rate * (gradient(weights, *rows) + (0 if extra is None else extra(weights)))
    return weights


def trained_weights(
    config: FederationConfig, engine: str = "batched", lost: Collection[tuple[int, int]] = ()
) -> tuple[Any, Federation]:
    """Return the weights after each round, the initial ones first, and the federation.

    ``lost`` holds the rounds and clients whose replies to train messages do not come.
    """
    federation, trainer = queried(config, make_engine(engine))
    courses = [federation.weights.copy()]
    federation.on_round = lambda federation: courses.append(federation.weights.copy())

    def exchange(items: Sequence[tuple[Grid, Sequence[Message]]]) -> list[Sequence[Message]]:
        gone = {client for number, client in lost if number == federation.round + 1}
        answers = trainer.exchange(items)
        return [[reply for reply in replies if reply.metadata.src_node_id not in gone] for replies in answers]

    run_rounds([federation], exchange if lost else trainer.exchange)
    return np.array(courses), federation
