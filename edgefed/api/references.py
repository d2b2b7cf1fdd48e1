"""What a comparison is read against: training on pooled rows, and each client alone.

References are not federations: they are local training, by the project's own step, of clients that nobody averages,
for as many rounds as a federation asks of a client on average; all of them as one cohort. Without a remedy ``pooled``
is no ceiling, a federation with one can pass it; so every remedy has a pooled reference of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgefed.api.afar import Listener, Teller
from edgefed.api.lockstep import SeededData, in_processes
from edgefed.api.plan import CONTROL, RANKED
from edgefed.data.partition import Partition
from edgefed.federation.clients import Clients
from edgefed.federation.components import DTYPES, update_of
from edgefed.federation.evaluation import HeldOut, StackedEvaluation
from edgefed.federation.guidance import Guidance
from edgefed.federation.moments import merged, scale_of, total_counts
from edgefed.imbalance import REMEDIES
from edgefed.learning.cohort import join
from edgefed.learning.schedule import schedule_of
from edgefed.learning.training import torch_threads, train
from edgefed.private import without_privacy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgefed.api.progress import Show
    from edgefed.config import FederationConfig
    from edgefed.data.datasets import Dataset
    from edgefed.data.shards import FederatedData, Shards
    from edgefed.learning.cohort import Cohort
    from edgefed.learning.local_update import ClientUpdate
    from edgefed.learning.schedule import Schedule

    Ints = NDArray[np.int64]

SEEDS_AT_ONCE = 5
"""Seeds whose references train as one cohort: enough clients for large batches, few enough to share out."""

NAMES = ("pooled", "pooled-before-tail", "local-only", "local-only-own-mix")


@dataclass(frozen=True)
class References:
    """Test balanced accuracy of what is no federation.

    Attributes
    ----------
    named : dict
        A name of :data:`NAMES` -> a value a seed. ``pooled``: one model on all training rows. ``pooled-before-tail``:
        the same on the rows before the tail thinned them, tested without the rows that the tail dropped: the true
        ceiling. ``local-only``: each client with rows on its own, on the global test set, averaged over clients.
        ``local-only-own-mix``: the same, each on the classes it holds, mixed as it holds them (recall by class weighted
        with the client's label shares).
    pooled : dict
        A remedy -> a value a seed: one model on all training rows with this remedy.
    empty_clients : list of int
        Clients without a training row, a number a seed: no part of the local references.
    """

    named: dict[str, list[float]]
    pooled: dict[str, list[float]]
    empty_clients: list[int]


@dataclass(frozen=True)
class _Case:
    """Trainings without a federation: somebody's rows, under one seed, at every rate."""

    kind: str
    clients: Clients
    validation: HeldOut
    test: HeldOut

    @property
    def holders(self) -> Ints:
        """Positions of the clients that have rows."""
        return np.flatnonzero(self.clients.shards.train.sizes)


@dataclass(frozen=True)
class _Score:
    """What one training came to: what its rate is chosen by (higher is better), and its test score."""

    merit: tuple[float, float]
    test: float


def references(
    base: FederationConfig,
    data: Mapping[int, FederatedData],
    rates: Sequence[float],
    arms: Sequence[str] = (CONTROL,),
    *,
    processes: int = 1,
    show: Show | None = None,
) -> References:
    """Train the references, each at its own rate, tuned as the remedies are.

    Parameters
    ----------
    base : FederationConfig
    data : mapping of seed to FederatedData
        As the seeds' settings give them.
    rates : sequence of float
    arms : sequence of str
        Remedies to train on pooled rows; the control is always among them.
    processes : int
        As for :func:`~edgefed.api.lockstep.run_cells`.
    show : callable, optional
        Called as trainings go on, with no rounds of history: each part of the seeds advances by a federation's rounds.
    """
    arms = list(dict.fromkeys([CONTROL, *arms]))
    parts = parts_of(list(data))
    show = show or _unseen
    found: dict[int, dict[str, dict[float, _Score]]] = {}
    if processes == 1:
        for part in parts:
            found |= _scores_of(base, {seed: data[seed] for seed in part}, rates, arms, show)
    else:
        with Listener(show, base.num_server_rounds) as listener:
            dataset = next(iter(data.values())).dataset  # all seeds share its rows
            tasks = [
                (_scores_elsewhere, (base, dataset, part, rates, arms, listener.path(place)))
                for place, part in enumerate(parts)
            ]
            for place, scores in in_processes(tasks, processes, listener.look):
                found |= scores
                listener.finished(place, [])
    by_kind: dict[str, list[dict[float, _Score]]] = {}  # a list entry a seed
    for seed in data:
        for kind, by_rate in found[seed].items():
            by_kind.setdefault(kind, []).append(by_rate)
    tuned = {kind: _at_the_best_rate(seeds, rates) for kind, seeds in by_kind.items()}
    pooled = {arm: tuned[_pooled_with(arm)] for arm in arms}
    named = {"pooled": pooled[CONTROL]} | {name: tuned[name] for name in NAMES[1:]}
    empty = [int((shared.shards.train.sizes == 0).sum()) for shared in data.values()]
    return References(named, pooled, empty)


def parts_of(seeds: Sequence[int]) -> list[Sequence[int]]:
    """Cut seeds into parts whose references train as one cohort."""
    return [seeds[start : start + SEEDS_AT_ONCE] for start in range(0, len(seeds), SEEDS_AT_ONCE)]


def _unseen(rounds: Sequence[Mapping[str, Any]], advanced: int = 1) -> None:
    """Show nothing."""


def _scores_elsewhere(
    base: FederationConfig,
    dataset: Dataset,
    seeds: Sequence[int],
    rates: Sequence[float],
    arms: Sequence[str],
    told: Path,
) -> dict[int, dict[str, dict[float, _Score]]]:
    """Train some seeds' references in a process of its own."""
    data = SeededData(base, dataset)
    return _scores_of(base, {seed: data(seed) for seed in seeds}, rates, arms, Teller(told), threads=1)


def _scores_of(
    base: FederationConfig,
    data: Mapping[int, FederatedData],
    rates: Sequence[float],
    arms: Sequence[str],
    show: Show,
    threads: int | None = None,
) -> dict[int, dict[str, dict[float, _Score]]]:
    """Return the scores of some seeds' references: seed -> what it is a reference of -> rate -> score."""
    cases, of_seed = [], []
    for seed, shared in data.items():
        own = _cases(base.replace(seed=seed), shared, arms)
        cases += own
        of_seed += [seed] * len(own)
    found: dict[int, dict[str, dict[float, _Score]]] = {seed: {} for seed in data}
    for seed, scores in zip(of_seed, _scores(base, cases, rates, threads, show), strict=True):
        found[seed] |= scores
    return found


def _at_the_best_rate(seeds: Sequence[Mapping[float, _Score]], rates: Sequence[float]) -> list[float]:
    """Return test scores at the rate whose validation score is best in the mean over seeds, then its loss."""

    def merit(rate: float) -> tuple[float, float]:
        score, loss = np.mean([seed[rate].merit for seed in seeds], axis=0)
        return float(score), float(loss)

    best = max(rates, key=merit)
    return [seed[best].test for seed in seeds]


# ---------------------------------------------------------------------------------------------- cases
def _pooled_with(arm: str) -> str:
    return f"pooled with {arm}"


def _cases(config: FederationConfig, data: FederatedData, arms: Sequence[str]) -> list[_Case]:
    config = without_privacy(config)
    validation, test = HeldOut.of(data, "validation"), HeldOut.of(data, "test")
    split, shards = data.split, data.shards
    kept = ~np.isin(split.test, split.dropped)
    never_dropped = HeldOut(test.features[kept], test.labels[kept])
    trained_on = np.sort(shards.train.indices)  # without what clients hold out
    before = np.sort(np.concatenate([trained_on, split.dropped]))
    plain = config.replace(imbalance=CONTROL)
    pooled = _pooled(shards, trained_on)
    return [
        *(_Case(_pooled_with(arm), Clients(config.replace(imbalance=arm), pooled), validation, test) for arm in arms),
        _Case("pooled-before-tail", Clients(plain, _pooled(shards, before)), validation, never_dropped),
        _Case("local-only", Clients(plain, shards), validation, test),
    ]


def _pooled(shards: Shards, rows: Ints) -> Shards:
    """Return all rows as the shard of one client: a remedy that works by client has all of them."""
    everything = Partition(np.array([0, len(rows)]), rows)
    nothing = Partition(np.array([0, 0]), np.empty(0, np.int64))
    return replace(shards, train=everything, held_out=nothing, ids=np.zeros(1, np.int64))


def _guidance(clients: Clients) -> Guidance:
    """Return what a server would have learned from these clients."""
    remedy = REMEDIES[clients.config.imbalance]
    found = clients.statistics(moments=True, class_counts=remedy.needs_global_counts)
    count, mean, m2 = merged(found)
    counts = total_counts(clients.config, found["class-counts"]) if remedy.needs_global_counts else None
    return Guidance(mean, scale_of(count, mean, m2), counts)


# ---------------------------------------------------------------------------------------------- training
def _scores(
    base: FederationConfig, cases: Sequence[_Case], rates: Sequence[float], threads: int | None, show: Show
) -> list[dict[str, dict[float, _Score]]]:
    """Train and score each case at every rate: what it is a reference of -> rate -> score."""
    guidances = [_guidance(case.clients) for case in cases]
    started = [_cohort(case, guidance) for case, guidance in zip(cases, guidances, strict=True)]
    # Pooled, many remedies train alike: local and global counts are the same, and there is nobody to aggregate.
    distinct: dict[Any, int] = {}
    wanted: list[int] = []
    walks = []
    for place, (case, cohort) in enumerate(zip(cases, started, strict=True)):
        # No pull: there are no global weights that a training without a federation should stay near.
        update = update_of(case.clients.config.replace(proximal_mu=0.0, strategy="fedavg"), case.clients.model)
        walks.append((update, schedule_of(case.clients.config)))
        wanted.append(distinct.setdefault((walks[-1], _content(cohort)), place))
    alike: dict[Any, list[int]] = {}
    for place in distinct.values():
        alike.setdefault(walks[place], []).append(place)
    trained: dict[tuple[int, float], NDArray[np.floating]] = {}
    rounds = max(1, round(base.num_server_rounds * base.fraction_train))
    work = _Work(show, base.num_server_rounds, len(alike) * rounds)
    for (update, schedule), places in alike.items():
        parts = [(place, rate) for place in places for rate in rates]
        cohorts = [_at_rate(started[place], rate) for place, rate in parts]
        stack = _alone(update, schedule, join(cohorts), rounds, threads, work)
        ends = np.cumsum([len(cohort) for cohort in cohorts])
        trained |= dict(zip(parts, np.split(stack, ends[:-1]), strict=True))
    with torch_threads(1):  # products of an edge model are too small to share out
        return [
            _scored(case, guidance, {rate: trained[place, rate] for rate in rates})
            for case, guidance, place in zip(cases, guidances, wanted, strict=True)
        ]


@dataclass
class _Work:
    """How far trainings of so many rounds in all are, shown as parts of a federation's number of rounds."""

    show: Show
    of: int
    rounds: int
    done: int = 0

    def advance(self) -> None:
        """Count a round."""
        before, self.done = self.done * self.of // self.rounds, self.done + 1
        if (by := self.done * self.of // self.rounds - before) > 0:
            self.show([], by)


def _alone(
    update: ClientUpdate, schedule: Schedule, cohort: Cohort, rounds: int, threads: int | None, work: _Work
) -> NDArray[np.floating]:
    """Return the weights [clients, size] after rounds in which each client goes on from its own weights."""
    for number in range(1, rounds + 1):
        now = replace(cohort, rounds=np.full(len(cohort), number, np.int64))
        params = train(update, schedule, now, threads=threads).params
        cohort = replace(cohort, params=params.to(cohort.params.device))
        work.advance()
    return cohort.params.cpu().numpy()


def _cohort(case: _Case, guidance: Guidance) -> Cohort:
    clients = case.clients
    weights = clients.model.initial(clients.config.init_stream)
    initial = torch.from_numpy(weights).to(clients.device, DTYPES[clients.config.dtype])
    return clients.cohort(guidance, case.holders, initial, 0)


def _at_rate(cohort: Cohort, rate: float) -> Cohort:
    learning_rate = torch.full_like(cohort.hyper.learning_rate, rate)
    return replace(cohort, hyper=cohort.hyper._replace(learning_rate=learning_rate))


def _content(cohort: Cohort) -> bytes:
    """Return bytes that are equal where two cohorts would train alike."""
    digest = hashlib.sha256()
    for field in fields(cohort):
        value = getattr(cohort, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            array = part.cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part)
            digest.update(f"{field.name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes() if array.dtype != object else repr(part).encode())
    return digest.digest()


# ---------------------------------------------------------------------------------------------- scores
def _scored(
    case: _Case, guidance: Guidance, stacks: Mapping[float, NDArray[np.floating]]
) -> dict[str, dict[float, _Score]]:
    """Return the scores of weights [clients that have rows, size] a rate, a mean over those clients."""
    shards, holders = case.clients.shards, case.holders
    validation, test = (_measured(case, part, guidance, stacks) for part in (case.validation, case.test))
    counts = shards.train.class_counts(shards.labels, shards.num_classes)[holders]
    found: dict[str, dict[float, _Score]] = {case.kind: {}}
    if case.kind == "local-only":
        found["local-only-own-mix"] = {}
    for rate in stacks:
        loss = -float(np.mean([result["log_loss"] for result in validation[rate]]))
        chosen_by, score = (
            float(np.mean([result[RANKED] for result in results[rate]])) for results in (validation, test)
        )
        found[case.kind][rate] = _Score(_number(chosen_by, loss), score)
        if case.kind == "local-only":
            chosen_by, score = (_own_mix(results[rate], counts) for results in (validation, test))
            found["local-only-own-mix"][rate] = _Score(_number(chosen_by, loss), score)
    return found


def _number(score: float, loss: float) -> tuple[float, float]:
    """Return a merit that can be compared: without validation rows there is one rate, and nothing to choose."""
    return (0.0, 0.0) if np.isnan(score) else (score, loss)


def _own_mix(results: Sequence[Mapping[str, Any]], counts: Ints) -> float:
    """Return the mean over clients of sum_c q_kc recall_kc, q_k the label shares of client k [clients, classes].

    Classes without rows to measure on are left out, and a client that holds no others.
    """
    recall = np.array([result["recall"] for result in results], float)
    weight = np.where(np.isnan(recall), 0, counts)
    total = weight.sum(1)
    own = (weight * np.nan_to_num(recall)).sum(1)[total > 0] / total[total > 0]
    return float(own.mean()) if len(own) else float("nan")


def _measured(
    case: _Case, part: HeldOut, guidance: Guidance, stacks: Mapping[float, NDArray[np.floating]]
) -> dict[float, list[dict[str, Any]]]:
    """Return the measures of each client's weights, a list a rate."""
    config, model = case.clients.config, case.clients.model
    shift = REMEDIES[config.imbalance](config).prediction_shift(guidance.class_counts, model.classes)
    clients = len(case.holders)
    count = clients * len(stacks)
    ready = part.ready(guidance, config.standardize)
    evaluation = StackedEvaluation(
        model, DTYPES[config.dtype], [ready] * count, [part.labels] * count, [shift] * count, [part.mix] * count
    )
    results = evaluation(np.concatenate(list(stacks.values())))
    return {rate: results[start * clients : (start + 1) * clients] for start, rate in enumerate(stacks)}
