"""What each client and the server hold: shards over one shared feature matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgefed.categories import categories_text
from edgefed.data.datasets import load
from edgefed.data.partition import Partition, from_owners, partition
from edgefed.data.split import Split, split
from edgefed.errors import SettingsError
from edgefed.rng import counter_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.data.datasets import Dataset


@dataclass(frozen=True)
class Shards:
    """Rows of one or many clients: one feature matrix and index lists into it.

    A device holds ``Shards`` of one client, the simulator those of a million: the same code serves both.

    Attributes
    ----------
    features : float32 ndarray [rows, features]
        NaN where a cell was empty.
    labels : int64 ndarray [rows]
    train, held_out : Partition
        Rows that each client trains on, and rows that it never trains on (``client-test-fraction``).
    ids : int64 ndarray [clients]
        Partition ids: names of the clients' random streams.
    num_classes : int
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    train: Partition
    held_out: Partition
    ids: NDArray[np.int64]
    num_classes: int

    def __len__(self) -> int:
        return len(self.ids)

    def one(self, position: int) -> Shards:
        """Return one client's rows alone, copied out: what a device would hold."""
        train, held_out = self.train.rows(position), self.held_out.rows(position)
        rows = np.concatenate([train, held_out])
        return Shards(
            features=self.features[rows],
            labels=self.labels[rows],
            train=Partition(np.array([0, len(train)]), np.arange(len(train))),
            held_out=Partition(np.array([0, len(held_out)]), np.arange(len(train), len(rows))),
            ids=self.ids[position : position + 1],
            num_classes=self.num_classes,
        )


@dataclass(frozen=True)
class FederatedData:
    """A dataset shared out: the clients' shards, and the rows that the server holds."""

    dataset: Dataset
    split: Split
    shards: Shards

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Training rows of each class at each client [clients, classes]."""
        return self.shards.train.class_counts(self.dataset.labels, self.dataset.num_classes)


def with_categories_listed(config: FederationConfig, dataset: Dataset) -> FederationConfig:
    """Return settings whose ``categories`` list their values, where a name alone stands for what the file holds."""
    return config.replace(categories=categories_text(dataset.categories)) if config.categories else config


def federate(config: FederationConfig, dataset: Dataset | None = None) -> tuple[FederationConfig, FederatedData]:
    """Load, split and share out; return the settings as they turned out, and the data.

    ``partition=natural`` takes the number of clients from the data, and ``client-test-fraction``, unset, becomes 0.2
    where they are those of a CSV's column. ``categories`` lists the values that were found.

    Raises
    ------
    SettingsError
        For data or settings that cannot be shared out, in one line.
    """
    dataset = load(config) if dataset is None else dataset
    if config.partition != "natural":  # drawn clients are not the data's: they have no names
        dataset = replace(dataset, clients=None, client_names=())
    config = with_categories_listed(_natural_settings(config, dataset), dataset)
    parts = split(dataset, config)
    clients = None if dataset.clients is None else dataset.clients[parts.pool]
    shared = partition(dataset.labels[parts.pool], config, clients).mapped(parts.pool)
    ids = np.arange(len(shared))
    train, held_out = hold_out(shared, dataset.labels, ids, config)
    shards = Shards(
        features=dataset.features,
        labels=dataset.labels,
        train=train,
        held_out=held_out,
        ids=ids,
        num_classes=dataset.num_classes,
    )
    return config, FederatedData(dataset, parts, shards)


def _natural_settings(config: FederationConfig, dataset: Dataset) -> FederationConfig:
    if config.partition != "natural" or dataset.clients is None:
        return config
    if config.num_clients != type(config).num_clients:
        check_clients(config, dataset)
    # A person's own clients are judged on rows of their own; a benchmark's rows are shared out as its paper says.
    own_rows = 0.2 if config.dataset == "csv" and not config.differentially_private else 0.0
    asked = config.client_test_fraction
    return config.replace(num_clients=len(dataset.client_names), client_test_fraction=own_rows if asked < 0 else asked)


def check_clients(config: FederationConfig, dataset: Dataset) -> None:
    """Refuse another number of clients than ``partition=natural`` finds.

    :func:`federate` takes a number at its default as unsaid: whoever knows that it was given asks here.

    Raises
    ------
    SettingsError
    """
    found = len(dataset.client_names)
    if config.partition == "natural" and dataset.clients is not None and config.num_clients != found:
        whose = f"column '{config.client_column}'" if config.dataset == "csv" else f"dataset={config.dataset}"
        raise SettingsError(
            f"num-clients={config.num_clients} contradicts partition=natural: {whose} names {found} clients"
        )


def hold_out(
    shared: Partition, labels: NDArray[np.int64], ids: NDArray[np.int64], config: FederationConfig
) -> tuple[Partition, Partition]:
    """Split each shard into rows to train on and rows that the client never trains on, by class.

    A client's draws are named by its partition id (``ids`` [clients]): a device alone holds out the same rows.
    """
    fraction = max(config.client_test_fraction, 0.0)
    if not fraction:
        return shared, Partition(np.zeros_like(shared.offsets), np.empty(0, np.int64))
    owner = np.repeat(np.arange(len(shared)), shared.sizes)
    place = np.arange(len(owner)) - shared.offsets[owner]
    seed, named = config.split_stream, ids[owner]
    # A client's rows by class, shuffled within; then every 1/fraction-th is held out, from a random first one on,
    # so classes keep their shares.
    keys = counter_keys(seed, "client-test", 0, named, place)
    order = np.lexsort((keys, labels[shared.indices], owner))
    first = counter_keys(seed, "client-test", 1, named, 0) / 2.0**64
    taken = np.floor((place + 1) * fraction + first) > np.floor(place * fraction + first)
    # At least one row is left to train on.
    everything = np.bincount(owner, taken, minlength=len(shared)) == shared.sizes
    taken[shared.offsets[1:][everything & (shared.sizes > 0)] - 1] = False
    held = np.zeros(len(owner), bool)
    held[order] = taken

    def part(chosen: NDArray[np.bool_]) -> Partition:
        return from_owners(owner[chosen], len(shared)).mapped(shared.indices[chosen])

    return part(~held), part(held)
