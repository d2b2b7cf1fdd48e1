"""What a comparison is read against: training on pooled rows, and each client alone.

References are not federations: they are local training, by the project's own step, without a remedy, for as many
epochs as a federation's rounds give a client on average, all seeds and rates as one cohort. Without a remedy ``pooled``
is no ceiling: a federation with one can pass it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgefed.data.partition import Partition
from edgefed.federation.clients import DTYPES, Clients, Guidance, merged, scale_of, schedule_of, update_of
from edgefed.federation.evaluation import HeldOut, StackedEvaluation
from edgefed.learning.cohort import join
from edgefed.learning.training import train

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.data.shards import FederatedData, Shards

NAMES = ("pooled", "pooled-before-tail", "local-only")


@dataclass(frozen=True)
class _Case:
    """One training without a federation: somebody's rows, under one seed and rate."""

    name: str
    rate: float
    seed: int
    clients: Clients
    validation: HeldOut
    test: HeldOut


def references(
    base: FederationConfig, data: Mapping[int, FederatedData], rates: Sequence[float]
) -> dict[str, list[float]]:
    """Return test balanced accuracy a seed for each reference, each at its own rate, tuned as the remedies are.

    ``pooled``: one model on all training rows. ``pooled-before-tail``: the same on the rows before the tail thinned
    them, tested without the rows that the tail dropped: the true ceiling. ``local-only``: each client with rows on its
    own, on the global test set, averaged over clients.

    Parameters
    ----------
    base : FederationConfig
    data : mapping of seed to FederatedData
    rates : sequence of float
    """
    cases = [
        case
        for rate in rates
        for seed, shared in data.items()
        for case in _cases(base.replace(seed=seed, learning_rate=rate, imbalance="none"), shared, rate, seed)
    ]
    scores = _train(base, cases)
    found: dict[str, list[float]] = {}
    for name in NAMES:
        by_rate = {}
        for rate in rates:
            rows = [score for case, score in zip(cases, scores, strict=True) if (case.name, case.rate) == (name, rate)]
            by_rate[rate] = np.array(rows)  # [seeds, (validation, test)]
        best = max(rates, key=lambda rate: np.nan_to_num(by_rate[rate][:, 0]).mean())
        found[name] = by_rate[best][:, 1].tolist()
    return found


def _cases(config: FederationConfig, data: FederatedData, rate: float, seed: int) -> list[_Case]:
    validation, test = HeldOut.of(data, "validation"), HeldOut.of(data, "test")
    split, shards = data.split, data.shards
    kept = ~np.isin(split.test, split.dropped)
    never_dropped = HeldOut(test.features[kept], test.labels[kept])
    before = np.sort(np.concatenate([split.pool, split.dropped]))
    return [
        _Case("pooled", rate, seed, Clients(config, _pooled(shards, split.pool)), validation, test),
        _Case("pooled-before-tail", rate, seed, Clients(config, _pooled(shards, before)), validation, never_dropped),
        _Case("local-only", rate, seed, Clients(config, shards), validation, test),
    ]


def _pooled(shards: Shards, rows: NDArray[np.int64]) -> Shards:
    everything = Partition(np.array([0, len(rows)]), rows)
    nothing = Partition(np.array([0, 0]), np.empty(0, np.int64))
    return replace(shards, train=everything, held_out=nothing, ids=np.zeros(1, np.int64))


def _train(base: FederationConfig, cases: Sequence[_Case]) -> list[tuple[float, float]]:
    """Return (validation, test) balanced accuracy of each case, a mean over its clients that have rows."""
    model = cases[0].clients.model
    dtype = DTYPES[base.dtype]
    cohorts, guidances = [], []
    for case in cases:
        guidance = _guidance(case.clients)
        initial = torch.from_numpy(model.initial(case.clients.config.init_stream)).to(case.clients.device, dtype)
        holders = np.flatnonzero(case.clients.shards.train.sizes)
        cohorts.append(case.clients.cohort(guidance, holders, initial, 0))
        guidances.append(guidance)
    schedule = schedule_of(base)
    epochs = max(1, round(schedule.local_epochs * base.num_server_rounds * base.fraction_train))
    whole = replace(schedule, local_epochs=epochs)
    # No pull: there are no global weights that a training without a federation should stay near.
    trained = train(update_of(base.replace(proximal_mu=0.0), model), whole, join(cohorts)).params.numpy()
    scores, start = [], 0
    for case, cohort, guidance in zip(cases, cohorts, guidances, strict=True):
        stack = trained[start : start + len(cohort)]
        start += len(cohort)
        pair = []
        for part in (case.validation, case.test):
            ready = part.ready(guidance, base.standardize)
            evaluation = StackedEvaluation(
                model,
                dtype,
                [ready] * len(stack),
                [part.labels] * len(stack),
                [np.zeros(model.classes)] * len(stack),
            )
            pair.append(float(np.mean([result["balanced_accuracy"] for result in evaluation(stack)])))
        scores.append((pair[0], pair[1]))
    return scores


def _guidance(clients: Clients) -> Guidance:
    count, mean, m2 = merged(clients.statistics(moments=True, class_counts=False))
    return Guidance(mean, scale_of(count, mean, m2))
