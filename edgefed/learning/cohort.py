"""A cohort: clients that train in one batch, as arrays with one entry a client."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgefed.learning.local_update import Hyper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Cohort:
    """Clients that train in one batch: arrays with one entry a client.

    Attributes
    ----------
    params : Tensor [clients, size]
        Global weights that each starts from (may be an expanded view).
    features : Tensor [rows, features]
        Every client's drawn rows, standardised.
    targets : Tensor [rows, classes]
    starts, drawn_rows, shard_rows : int64 ndarray [clients]
        Client k's drawn rows are ``starts[k] ... starts[k] + drawn_rows[k] - 1``; ``shard_rows`` counts them before
        resampling.
    seeds, rounds, ids : int64 ndarray [clients]
        Names of the clients' random streams.
    hyper : Hyper
    balance : int64 ndarray [clients, classes] or None
        Drawn rows of each class for a client whose steps draw their rows anew, classes alike, from rows sorted by
        class; zeros for a client that walks through its rows. None where all walk.
    jitter, mixup : float64 ndarray [clients] or None
        SD of the noise on a step's rows, and alpha of the share that they are mixed by. None where all are 0.
    epochs : int64 ndarray [clients] or None
        Local epochs of each client in this round. None where all do the schedule's.
    correction : Tensor [clients, size] or None
        Added to every gradient of a client. None where nothing is.
    """

    params: Tensor
    features: Tensor
    targets: Tensor
    starts: Ints
    drawn_rows: Ints
    shard_rows: Ints
    seeds: Ints
    rounds: Ints
    ids: Ints
    hyper: Hyper
    balance: Ints | None = None
    jitter: Floats | None = None
    mixup: Floats | None = None
    epochs: Ints | None = None
    correction: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: Ints) -> Cohort:
        """Return some of the clients, in the order given."""
        rows = torch.from_numpy(which)
        return replace(
            self,
            params=self.params[rows],
            starts=self.starts[which],
            drawn_rows=self.drawn_rows[which],
            shard_rows=self.shard_rows[which],
            seeds=self.seeds[which],
            rounds=self.rounds[which],
            ids=self.ids[which],
            hyper=Hyper(*(value[rows] for value in self.hyper)),
            balance=None if self.balance is None else self.balance[which],
            jitter=None if self.jitter is None else self.jitter[which],
            mixup=None if self.mixup is None else self.mixup[which],
            epochs=None if self.epochs is None else self.epochs[which],
            correction=None if self.correction is None else self.correction[rows],
        )


def join(cohorts: Sequence[Cohort], pool: Pool | None = None) -> Cohort:
    """Return several cohorts as one over one feature matrix, in order.

    ``pool`` holds their rows joined already (from :func:`pool_of`), for cohorts that come back round after round.
    """
    if len(cohorts) == 1:
        return cohorts[0]
    pool = pool_of(cohorts) if pool is None else pool
    starts = [cohort.starts + base for cohort, base in zip(cohorts, pool.bases, strict=True)]
    return Cohort(
        params=torch.cat([cohort.params for cohort in cohorts]),
        features=pool.features,
        targets=pool.targets,
        starts=np.concatenate(starts),
        drawn_rows=np.concatenate([cohort.drawn_rows for cohort in cohorts]),
        shard_rows=np.concatenate([cohort.shard_rows for cohort in cohorts]),
        seeds=np.concatenate([cohort.seeds for cohort in cohorts]),
        rounds=np.concatenate([cohort.rounds for cohort in cohorts]),
        ids=np.concatenate([cohort.ids for cohort in cohorts]),
        hyper=Hyper(*(torch.cat(values) for values in zip(*(cohort.hyper for cohort in cohorts), strict=True))),
        balance=_joined([(cohort.balance, (len(cohort), cohort.targets.shape[1])) for cohort in cohorts]),
        jitter=_joined([(cohort.jitter, (len(cohort),)) for cohort in cohorts]),
        mixup=_joined([(cohort.mixup, (len(cohort),)) for cohort in cohorts]),
    )


def _joined(parts: Sequence[tuple[NDArray[Any] | None, tuple[int, ...]]]) -> NDArray[Any] | None:
    """Return optional arrays joined, zeros of the given shape where there is none; None where there are none at all."""
    if all(values is None for values, _ in parts):
        return None
    kind = next(values.dtype for values, _ in parts if values is not None)
    return np.concatenate([np.zeros(shape, kind) if values is None else values for values, shape in parts])


@dataclass(frozen=True)
class Pool:
    """Rows of several cohorts joined: ``bases`` [cohorts] is where each cohort's rows begin."""

    features: Tensor
    targets: Tensor
    bases: Ints


def pool_of(cohorts: Sequence[Cohort]) -> Pool:
    """Return the rows of several cohorts as one matrix; rows that cohorts share are there once."""
    places: dict[int, int] = {}
    distinct: list[Cohort] = []
    rows = 0
    bases = []
    for cohort in cohorts:
        if id(cohort.features) not in places:
            places[id(cohort.features)] = rows
            distinct.append(cohort)
            rows += len(cohort.features)
        bases.append(places[id(cohort.features)])
    if len(distinct) == 1:
        return Pool(distinct[0].features, distinct[0].targets, np.array(bases, np.int64))
    return Pool(
        torch.cat([cohort.features for cohort in distinct]),
        torch.cat([cohort.targets for cohort in distinct]),
        np.array(bases, np.int64),
    )
