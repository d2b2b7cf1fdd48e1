"""The trainings of this experiment: all initialisations, splits and rates of a question as one stacked cohort."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from edgefed.api.assembly import in_process
from edgefed.data.datasets import load
from edgefed.data.partition import Partition, partition
from edgefed.data.shards import FederatedData, Shards, federate
from edgefed.data.split import Split
from edgefed.engines import make_engine
from edgefed.federation.clients import Clients
from edgefed.federation.components import DTYPES, model_of, update_of
from edgefed.federation.evaluation import HeldOut, StackedEvaluation
from edgefed.federation.guidance import Guidance
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.learning.cohort import Cohort, join
from edgefed.learning.schedule import schedule_of
from edgefed.learning.training import train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgefed import FederationConfig

    Scores = dict[str, NDArray[np.float64]]

MEASURES = ("accuracy", "balanced_accuracy", "log_loss")
NO_ROWS = np.empty(0, np.int64)


# ---- who holds what
def tutorial_data(config: FederationConfig) -> FederatedData:
    """Return the tutorial's split, train_test_split(test_size=0.2, random_state=42), shared out by the seed."""
    dataset = load(config)
    rows = np.arange(len(dataset.labels))
    pool, test = (np.sort(part) for part in train_test_split(rows, test_size=0.2, random_state=42))
    shared = partition(dataset.labels[pool], config).mapped(pool)
    none_held_out = Partition(np.zeros_like(shared.offsets), NO_ROWS)
    ids = np.arange(len(shared))
    shards = Shards(dataset.features, dataset.labels, shared, none_held_out, ids, dataset.num_classes)
    return FederatedData(dataset, Split(pool, NO_ROWS, test, NO_ROWS), shards)


def own_split(config: FederationConfig) -> FederatedData:
    """Return the seed's own split, 60 % training, 20 % validation and 20 % test rows by class, shared out."""
    return federate(config)[1]


@dataclass(frozen=True)
class Problem:
    """One seed's data: shards, their scaler, and the rows to judge on."""

    config: FederationConfig
    data: FederatedData

    @property
    def guidance(self) -> Guidance:
        """Mean and deviation of the training rows, by scikit-learn."""
        scaler = StandardScaler().fit(self.data.dataset.features[self.data.split.pool].astype(np.float64))
        return Guidance(scaler.mean_, scaler.scale_)

    def pooled(self) -> Cohort:
        """Return all training rows as one client's, with the seed's initial weights."""
        everything = Partition(np.array([0, len(self.data.split.pool)]), self.data.split.pool)
        return self._cohort(replace(self.data.shards, train=everything, ids=np.zeros(1, np.int64)))

    def local(self) -> Cohort:
        """Return each client that has rows, on its own."""
        return self._cohort(self.data.shards)

    def _cohort(self, shards: Shards) -> Cohort:
        model = model_of(self.config, shards.features.shape[1], shards.num_classes)
        initial = torch.from_numpy(model.initial(self.config.init_stream)).to(DTYPES[self.config.dtype])
        return Clients(self.config, shards).cohort(self.guidance, np.flatnonzero(shards.train.sizes), initial, 0)

    def judged_on(self, rows: str) -> HeldOut:
        """Return the ``validation`` or ``test`` rows."""
        return HeldOut.of(self.data, rows)


# ---- training
def initialised(cohort: Cohort, config: FederationConfig, seeds: Sequence[int]) -> Cohort:
    """Return a cohort's one client once for each seed: its initial weights and its order of batches."""
    model = model_of(config, cohort.features.shape[1], cohort.targets.shape[1])
    return replace(
        cohort.take(np.zeros(len(seeds), np.int64)),
        params=torch.from_numpy(np.stack([model.initial(seed) for seed in seeds])).to(cohort.params.dtype),
        seeds=np.array(seeds, np.int64),
    )


def at_rates(cohort: Cohort, rates: Sequence[float]) -> Cohort:
    """Return a cohort's clients once for each learning rate, rate by rate."""
    copies = cohort.take(np.tile(np.arange(len(cohort)), len(rates)))
    like = copies.hyper.learning_rate
    column = torch.tensor(rates, dtype=like.dtype).repeat_interleave(len(cohort)).view(like.shape)
    return replace(copies, hyper=copies.hyper._replace(learning_rate=column))


def without_federation(
    config: FederationConfig, problems: Sequence[Problem], cohorts: Sequence[Cohort], rates: Sequence[float]
) -> dict[str, Scores]:
    """Train the problems' cohorts for as many epochs as a federation's rounds give, at every rate, in one stack.

    Returns
    -------
    dict
        ``validation`` and ``test``: each measure [problems, rates, clients], nan where a cohort has fewer clients.
    """
    model = model_of(config, cohorts[0].features.shape[1], cohorts[0].targets.shape[1])
    schedule = schedule_of(config)
    schedule = replace(schedule, local_epochs=schedule.local_epochs * config.num_server_rounds)
    trained = train(update_of(config, model), schedule, join([at_rates(cohort, rates) for cohort in cohorts]))
    counts = [len(cohort) * len(rates) for cohort in cohorts]
    found = {}
    for rows in ("validation", "test"):
        parts = [problem.judged_on(rows) for problem in problems]
        if not len(parts[0].labels):
            continue
        ready = [part.ready(problem.guidance, "federated") for part, problem in zip(parts, problems, strict=True)]
        evaluation = StackedEvaluation(
            model,
            trained.params.dtype,
            [features for features, count in zip(ready, counts, strict=True) for _ in range(count)],
            [part.labels for part, count in zip(parts, counts, strict=True) for _ in range(count)],
            [np.zeros(model.classes)] * sum(counts),
        )
        results = evaluation(trained.params.numpy())
        scores: Scores = {}
        for name in MEASURES:
            values = np.split(np.array([result[name] for result in results]), np.cumsum(counts)[:-1])
            scores[name] = np.full((len(cohorts), len(rates), max(map(len, cohorts))), np.nan)
            for place, (cohort, value) in enumerate(zip(cohorts, values, strict=True)):
                scores[name][place, :, : len(cohort)] = value.reshape(len(rates), -1)
        found[rows] = scores
    return found


def federated(problems: Sequence[Problem], rates: Sequence[float]) -> dict[str, Scores]:
    """Train one federation for each problem and rate, all in lockstep; return scores [problems, rates, 1]."""
    engine = make_engine("batched")
    federations = [
        in_process(problem.config.replace(learning_rate=rate), problem.data, engine)
        for problem in problems
        for rate in rates
    ]
    clients = problems[0].config.num_clients
    query(federations, engine.exchange, [range(clients)] * len(federations))
    run_rounds(federations, engine.exchange)
    last = [federation.history[-1] for federation in federations]
    return {
        rows: {
            name: np.array([row[rows][name] for row in last]).reshape(len(problems), len(rates), 1) for name in MEASURES
        }
        for rows in ("validation", "test")
        if rows in last[0]
    }


def mean_over_clients(scores: dict[str, Scores]) -> dict[str, Scores]:
    """Return scores [problems, rates]: a problem's mean over its clients that have rows."""
    return {
        rows: {name: np.nanmean(values, axis=2) for name, values in measured.items()}
        for rows, measured in scores.items()
    }


def best_rate(scores: dict[str, Scores]) -> int:
    """Return the place of the rate with the highest mean balanced accuracy on validation rows; ties: the lowest."""
    return int(scores["validation"]["balanced_accuracy"].mean(0).argmax())
