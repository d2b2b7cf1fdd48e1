"""Federations whose class counts are given, client by client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from federations import settings

from edgefed.data.datasets import Dataset
from edgefed.data.partition import from_owners
from edgefed.data.shards import FederatedData, Shards
from edgefed.data.split import Split
from edgefed.federation.components import update_of
from edgefed.federation.guidance import Guidance
from edgefed.federation.moments import merged, scale_of, total_counts
from edgefed.learning.schedule import schedule_of
from edgefed.learning.training import train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.config import FederationConfig
    from edgefed.federation.clients import Clients
    from edgefed.learning.cohort import Cohort
    from edgefed.learning.training import Trained

#: Clients with one class, one row, nothing, one rare class, all of them; nobody holds the last class.
AWKWARD = [[5, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [7, 1, 0, 0], [9, 3, 1, 0], [4, 4, 4, 0], [0, 0, 2, 0]]


def holding(counts: Sequence[Sequence[int]], **changes: Any) -> tuple[FederationConfig, FederatedData]:
    """Return a federation whose client k holds ``counts[k][c]`` rows of class c, and a server with 10 of each."""
    table = np.array(counts)
    clients, classes = table.shape
    owners = np.repeat(np.arange(clients), table.sum(1))
    labels = np.concatenate([np.repeat(np.arange(classes), row) for row in table])
    held = np.repeat(np.arange(classes), 10)
    rng = np.random.default_rng(7)
    everything = np.concatenate([labels, held, held])
    centres = rng.normal(size=(classes, 4)) * 2
    features = (centres[everything] + rng.normal(size=(len(everything), 4))).astype(np.float32)
    names = tuple("abcdefgh"[:classes])
    dataset = Dataset(features, everything, ("p", "q", "r", "s"), names)
    pool, rest = np.arange(len(labels)), np.arange(len(labels), len(everything))
    split = Split(pool, rest[: len(held)], rest[len(held) :], np.empty(0, np.int64))
    train_rows = from_owners(owners, clients)
    nothing = from_owners(np.empty(0, np.int64), clients)
    shards = Shards(features, everything, train_rows, nothing, np.arange(clients), classes)
    config = settings(**({"num_clients": clients, "partition": "iid", "long_tail": 1.0} | changes))
    return config, FederatedData(dataset, split, shards)


def told(clients: Clients) -> Guidance:
    """Return what the query round would tell these clients."""
    found = clients.statistics(moments=True, class_counts=True)
    count, mean, m2 = merged(found)
    return Guidance(mean, scale_of(count, mean, m2), total_counts(clients.config, found["class-counts"]))


def everyone(clients: Clients) -> Cohort:
    """Return all clients ready for round 1."""
    weights = torch.from_numpy(clients.model.initial(0).astype(clients.config.dtype))
    return clients.cohort(told(clients), np.arange(len(clients.shards)), weights, 1)


def one_round(clients: Clients) -> Trained:
    """Train all clients for a round."""
    config = clients.config
    return train(update_of(config, clients.model), schedule_of(config), everyone(clients))
