"""The batched engine on a Ray cluster: a round's cohort is dealt out to worker processes, on one machine or many.

``RAY_ADDRESS`` names the cluster; without it a local one is started with a worker a core. The rows are put into
Ray's object store once; a round sends weights out and back. A worker that dies is replaced and its part done again, so
it costs time and changes no bit.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgefed.config import SettingsError
from edgefed.engines.batched import BatchedEngine
from edgefed.learning.training import Trained, available_cores, train

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from numpy.typing import NDArray

    from edgefed.learning.cohort import Cohort
    from edgefed.learning.local_update import ClientUpdate
    from edgefed.learning.schedule import Schedule
    from edgefed.learning.training import Execution

MAX_TRIES = 5
"""Times that a part of a cohort is tried before a cluster that kills every worker is given up."""


class _Worker:
    """A process that holds the rows and trains parts of cohorts on them."""

    def hold(self, features: NDArray[Any], targets: NDArray[Any]) -> None:
        """Keep the rows of all clients; copied, since Ray's own memory cannot be written to."""
        self.features, self.targets = torch.from_numpy(features.copy()), torch.from_numpy(targets.copy())

    def train(
        self, update: ClientUpdate, schedule: Schedule, part: Cohort, execution: Execution | None
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.int64]]:
        """Train clients that come without their rows; return weights, losses and steps."""
        trained = train(update, schedule, replace(part, features=self.features, targets=self.targets), execution)
        return trained.params.numpy(), trained.loss, trained.steps


class RayEngine(BatchedEngine):
    """The batched engine, its cohorts trained by Ray workers."""

    def __init__(self, execution: Execution | None = None) -> None:
        super().__init__(execution)
        self._ray = _started()
        cores = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._workers = [self._new_worker() for _ in range(cores)]
        self._rows: tuple[torch.Tensor, Any, Any] | None = None

    def _new_worker(self) -> Any:
        return self._ray.remote(num_cpus=1)(_Worker).remote()

    def _trained(self, update: ClientUpdate, schedule: Schedule, cohort: Cohort) -> Trained:
        self._put(cohort)
        steps = schedule.steps(cohort.drawn_rows, cohort.shard_rows, cohort.epochs)
        order = np.argsort(-steps, kind="stable")
        # Dealt like cards: every worker gets its share of the clients with many steps.
        parts = [order[place :: len(self._workers)] for place in range(min(len(self._workers), len(order)))]
        # The workers hold the rows: what travels is each client's weights and numbers.
        rowless = replace(cohort, features=cohort.features[:0].clone(), targets=cohort.targets[:0].clone())
        asked = [(place, which, rowless.take(which)) for place, which in enumerate(parts)]
        waiting = [
            self._workers[place].train.remote(update, schedule, part, self.execution) for place, _, part in asked
        ]
        params, loss = torch.empty_like(cohort.params, memory_format=torch.contiguous_format), np.zeros(len(cohort))
        for (place, which, part), promise in zip(asked, waiting, strict=True):
            weights, losses, _ = self._collected(place, promise, (update, schedule, part, self.execution))
            params[torch.from_numpy(which)] = torch.from_numpy(weights.copy())
            loss[which] = losses
        return Trained(params, loss, steps)

    def _put(self, cohort: Cohort) -> None:
        """Put the rows into the object store and hand them to every worker, once for as long as they stay the same."""
        if self._rows is None or self._rows[0] is not cohort.features:
            features, targets = cohort.features.numpy(), cohort.targets.numpy()
            self._rows = (cohort.features, self._ray.put(features), self._ray.put(targets))
            self._ray.get([self._hold(worker) for worker in self._workers])

    def _hold(self, worker: Any) -> Any:
        assert self._rows is not None
        return worker.hold.remote(*self._rows[1:])

    def _collected(self, place: int, promise: Any, task: tuple[Any, ...]) -> Any:
        """Return a part's result; a worker that died is replaced and asked again."""
        for _ in range(MAX_TRIES):
            try:
                return self._ray.get(promise)
            except self._ray.exceptions.RayActorError:
                logging.getLogger("edgefed").warning("a Ray worker died; its part of the round is done again")
                self._workers[place] = self._new_worker()
                self._hold(self._workers[place])
                promise = self._workers[place].train.remote(*task)
        return self._ray.get(promise)


def _started() -> ModuleType:
    """Return Ray, connected to ``RAY_ADDRESS`` or to a local cluster of this machine's cores.

    Raises
    ------
    SettingsError
        Where Ray is not installed.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a note on a future default
    try:
        import ray
    except ImportError:
        raise SettingsError("engine ray: Ray is not installed; pip install 'edgefed[simulation]' brings it") from None
    if not ray.is_initialized():
        local: Mapping[str, Any] = {"num_cpus": available_cores(), "include_dashboard": False}
        address = os.environ.get("RAY_ADDRESS")
        ray.init(
            **({"address": address} if address else local),
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    return ray
