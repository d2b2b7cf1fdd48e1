"""Partitions: who holds which rows, as pure functions from labels to compressed index lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefed.errors import SettingsError
from edgefed.plugins import Registry
from edgefed.rng import stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig

    Owners = NDArray[np.int64]

#: Dirichlet draws that are tried for ``min-rows`` before the request is refused.
MAX_DRAWS = 50


@dataclass(frozen=True)
class Partition:
    """Rows of each client in compressed form: two arrays, however many clients there are.

    Attributes
    ----------
    offsets : int64 ndarray [clients + 1]
    indices : int64 ndarray [rows]
        Client k holds rows ``indices[offsets[k]:offsets[k + 1]]``, in ascending order.
    """

    offsets: NDArray[np.int64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self, client: int) -> NDArray[np.int64]:
        """Return the rows of one client."""
        return self.indices[self.offsets[client] : self.offsets[client + 1]]

    def take(self, clients: NDArray[np.int64]) -> Partition:
        """Return the partition of some clients alone, in the order given."""
        sizes = self.sizes[clients]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        place = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][clients] - offsets[:-1], sizes)
        return Partition(offsets, self.indices[place])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of rows of each client [clients]."""
        return np.diff(self.offsets)

    def class_counts(self, labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
        """Return how many rows of each class each client holds [clients, classes]."""
        owner = np.repeat(np.arange(len(self)), self.sizes)
        flat = np.bincount(owner * num_classes + labels[self.indices], minlength=len(self) * num_classes)
        return flat.reshape(len(self), num_classes)

    def mapped(self, rows: NDArray[np.int64]) -> Partition:
        """Return the same partition with position i standing for ``rows[i]`` (ascending)."""
        return Partition(self.offsets, rows[self.indices])


def from_owners(owners: Owners, num_clients: int) -> Partition:
    """Return the partition in which row i belongs to client ``owners[i]``."""
    offsets = np.zeros(num_clients + 1, np.int64)
    np.cumsum(np.bincount(owners, minlength=num_clients), out=offsets[1:])
    return Partition(offsets, np.argsort(owners, kind="stable"))


def iid(labels: NDArray[np.int64], config: FederationConfig, rng: np.random.Generator) -> Owners:
    """Rows shuffled and dealt out evenly."""
    owners = np.arange(len(labels)) % config.num_clients
    return rng.permutation(owners)


def dirichlet(labels: NDArray[np.int64], config: FederationConfig, rng: np.random.Generator) -> Owners:
    """Label skew: each class's proportions over clients ~ Dir(alpha) (Hsu et al. 2019)."""
    return _drawn_until(_dirichlet_once, labels, config, rng)


def _dirichlet_once(labels: NDArray[np.int64], config: FederationConfig, rng: np.random.Generator) -> Owners:
    owners = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(config.num_clients, config.alpha))
        owners[rows] = np.repeat(np.arange(config.num_clients), _rounded(shares, len(rows)))
    return owners


def quantity(labels: NDArray[np.int64], config: FederationConfig, rng: np.random.Generator) -> Owners:
    """Quantity skew: sizes ~ Dir(alpha), labels alike (Li et al. 2022)."""
    return _drawn_until(_quantity_once, labels, config, rng)


def _quantity_once(labels: NDArray[np.int64], config: FederationConfig, rng: np.random.Generator) -> Owners:
    shares = rng.dirichlet(np.full(config.num_clients, config.alpha))
    owners = np.repeat(np.arange(config.num_clients), _rounded(shares, len(labels)))
    return rng.permutation(owners)


def classes(labels: NDArray[np.int64], config: FederationConfig, rng: np.random.Generator) -> Owners:
    """Each client holds classes-per-client classes, each class shared evenly by its holders."""
    present = np.unique(labels)
    clients, each = config.num_clients, config.classes_per_client
    if each > len(present):
        raise SettingsError(
            f"classes-per-client={each}: the training rows hold {len(present)} classes; at most {len(present)} fits"
        )
    if clients * each < len(present):
        raise SettingsError(
            f"classes-per-client={each}: {clients} clients would leave a class without a holder; "
            f"at least {-(-len(present) // clients)} fits {len(present)} classes"
        )
    keys = rng.random((clients, len(present)))
    # Every class gets one holder for certain, the rest is random: a key below 0 is always chosen, and no
    # client gets more such keys than it has places.
    holders = rng.permutation(clients)[np.arange(len(present)) % clients]
    keys[holders, np.arange(len(present))] -= 1.0
    chosen = np.argsort(keys, axis=1)[:, :each]
    holds = np.zeros(keys.shape, bool)
    np.put_along_axis(holds, chosen, True, axis=1)
    owners = np.empty(len(labels), np.int64)
    for place, label in enumerate(present):
        rows = rng.permutation(np.flatnonzero(labels == label))
        owners_of_class = rng.permutation(np.flatnonzero(holds[:, place]))
        owners[rows] = owners_of_class[np.arange(len(rows)) % len(owners_of_class)]
    return owners


def shards(labels: NDArray[np.int64], config: FederationConfig, rng: np.random.Generator) -> Owners:
    """Rows sorted by label, cut into shards, shards-per-client dealt to each (McMahan et al. 2017)."""
    pieces = config.num_clients * config.shards_per_client
    if pieces > len(labels):
        clients, each, rows = config.num_clients, config.shards_per_client, len(labels)
        fits = [f"at most {rows // clients} a client fits {clients} clients"] if rows >= clients else []
        fits += [f"at most num-clients={rows // each} fits {each} a client"] if rows >= each else []
        raise SettingsError(
            f"shards-per-client={each}: {pieces} shards cannot be cut from {rows} training rows; "
            f"{', '.join(fits) or f'at most {rows} in all'}"
        )
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    piece_of_row = np.arange(len(labels)) * pieces // len(labels)
    dealt = rng.permutation(pieces) % config.num_clients
    owners = np.empty(len(labels), np.int64)
    owners[order] = dealt[piece_of_row]
    return owners


def natural(labels: NDArray[np.int64], config: FederationConfig, rng: np.random.Generator) -> Owners:
    """Each row stays with the client that the data name: a CSV's client-column, or the dataset itself."""
    raise AssertionError("natural owners are read from the data, not drawn")


PARTITIONS: Registry[Callable[[NDArray[np.int64], FederationConfig, np.random.Generator], Owners]] = Registry(
    "edgefed.partitions",
    {
        "iid": iid,
        "dirichlet": dirichlet,
        "classes": classes,
        "shards": shards,
        "quantity": quantity,
        "natural": natural,
    },
)


def partition(
    labels: NDArray[np.int64], config: FederationConfig, clients: NDArray[np.int64] | None = None
) -> Partition:
    """Share out rows by the settings' partition.

    Parameters
    ----------
    labels : int64 ndarray [rows]
    config : FederationConfig
        ``partition``, ``num-clients``, their parameters, and the partition's seed.
    clients : int64 ndarray [rows], optional
        The rows' own clients, for ``natural``.

    Returns
    -------
    Partition
        Every row in exactly one shard; the same seed gives the same shards.

    Raises
    ------
    SettingsError
        At once, for a request that cannot be met, with what would fit.
    """
    if config.min_rows * config.num_clients > len(labels):
        raise SettingsError(
            f"min-rows={config.min_rows}: {config.num_clients} clients would need "
            f"{config.min_rows * config.num_clients} training rows, there are {len(labels)}; "
            f"at most {len(labels) // config.num_clients} fits"
        )
    if config.partition == "natural":
        if clients is None:
            raise SettingsError(
                "partition=natural needs dataset=csv and client-column, the CSV column that names each row's client, "
                f"or a dataset that names them itself; dataset={config.dataset} names none"
            )
        owners = clients
    else:
        rng = stream(config.partition_stream, "partition")
        owners = _checked(PARTITIONS[config.partition](labels, config, rng), len(labels), config)
    result = from_owners(owners, config.num_clients)
    fewest = int(result.sizes.min())
    if fewest < config.min_rows:
        raise SettingsError(
            f"min-rows={config.min_rows}: partition={config.partition} leaves a client with {fewest} rows; "
            f"at most {fewest} fits"
        )
    return result


def _checked(owners: Owners, rows: int, config: FederationConfig) -> Owners:
    """Refuse what a plug-in's partition may return and no partition is."""
    found = np.asarray(owners)
    fits = found.shape == (rows,) and np.issubdtype(found.dtype, np.integer)
    if not fits or not ((found >= 0) & (found < config.num_clients)).all():
        raise SettingsError(
            f"partition={config.partition} returned {found.dtype} {found.shape}: expected a client from 0 to "
            f"{config.num_clients - 1} for each of {rows} rows, as whole numbers"
        )
    return found.astype(np.int64, copy=False)


def _drawn_until(
    draw: Callable[[NDArray[np.int64], FederationConfig, np.random.Generator], Owners],
    labels: NDArray[np.int64],
    config: FederationConfig,
    rng: np.random.Generator,
) -> Owners:
    """Draw again until every client holds ``min-rows``, a bounded number of times."""
    best = 0
    for _ in range(MAX_DRAWS if config.min_rows else 1):
        owners = draw(labels, config, rng)
        if not config.min_rows:
            return owners
        fewest = int(np.bincount(owners, minlength=config.num_clients).min())
        if fewest >= config.min_rows:
            return owners
        best = max(best, fewest)
    raise SettingsError(
        f"min-rows={config.min_rows}: the best of {MAX_DRAWS} draws with alpha={config.alpha:g} leaves a client "
        f"with {best} rows; min-rows={best} or a larger alpha would do"
    )


def _rounded(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Return whole numbers near ``shares * total`` that sum to ``total`` (rounded cumulative sums)."""
    edges = np.floor(np.cumsum(shares) * total + 0.5).astype(np.int64)
    edges[-1] = total
    return np.diff(np.minimum(edges, total), prepend=0)
