"""The batched engine on a Ray cluster: a round's cohort is dealt out to worker processes, on one machine or many.

``RAY_ADDRESS`` names the cluster; without it a local one is started with a worker a core. The rows are put into
Ray's object store once; a round sends weights out and back. A worker that dies is replaced and its part done again, so
it costs time and changes no bit.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgefed.config import SettingsError
from edgefed.engines.batched import BatchedEngine
from edgefed.federation.federation import FederationError
from edgefed.learning.training import Trained, available_cores, train

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from numpy.typing import NDArray

    from edgefed.learning.cohort import Cohort
    from edgefed.learning.local_update import ClientUpdate
    from edgefed.learning.schedule import Schedule
    from edgefed.learning.training import Execution

MAX_TRIES = 5
"""Times that a part of a cohort is tried before a cluster that kills every worker is given up."""

ANSWER_SECONDS = 10.0
"""For how long a cluster's head may take to answer."""

STRAGGLER_SECONDS = 20.0
"""For how long the first round waits for all workers once one has come: others may hold some of the cluster's cores."""

WORKER_SECONDS = 120.0
"""For how long a worker is waited for where there is none: it has to start, and others may hold the cores."""


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
        self._coming: dict[Any, Any] = {}
        """Workers on their way, by the promise that they hold the rows."""
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
        tasks = [(update, schedule, rowless.take(which), self.execution) for which in parts]
        params, loss = torch.empty_like(cohort.params, memory_format=torch.contiguous_format), np.zeros(len(cohort))
        for which, (weights, losses, _) in zip(parts, self._done(tasks), strict=True):
            params[torch.from_numpy(which)] = torch.from_numpy(weights.copy())
            loss[which] = losses
        return Trained(params, loss, steps)

    def _done(self, tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what each task gave; one whose worker died is done again by a worker that is left.

        A machine that is lost takes its cores with it, so nobody may ever come in a dead worker's place.
        """
        found: list[Any] = [None] * len(tasks)
        tries = [1] * len(tasks)
        asked = {
            worker.train.remote(*task): (place, worker)
            for place, (task, worker) in enumerate(zip(tasks, self._workers, strict=False))
        }
        while asked:
            (promise,), _ = self._ray.wait(list(asked), num_returns=1)
            place, worker = asked.pop(promise)
            try:
                found[place] = self._ray.get(promise)
            except self._ray.exceptions.RayActorError as error:
                if tries[place] == MAX_TRIES:
                    raise FederationError(
                        f"engine ray: {MAX_TRIES} workers died over one part of a round: is memory short there?"
                    ) from error
                self._bury(worker)
                tries[place] += 1
                other = self._workers[place % len(self._workers)]
                asked[other.train.remote(*tasks[place])] = (place, other)
        return found

    # ---- who is there
    def _put(self, cohort: Cohort) -> None:
        """Put the rows into the object store and hand them to every worker, once for as long as they stay the same."""
        if self._rows is not None and self._rows[0] is cohort.features:
            self._welcome(0.0)  # whoever came in a dead one's place
            return
        self._rows = (cohort.features, self._ray.put(cohort.features.numpy()), self._ray.put(cohort.targets.numpy()))
        everyone, self._workers, self._coming = [*self._workers, *self._coming.values()], [], {}
        for worker in everyone:
            self._hand_rows_to(worker)
        self._welcome(WORKER_SECONDS)
        self._welcome(STRAGGLER_SECONDS, len(everyone))

    def _hand_rows_to(self, worker: Any) -> None:
        assert self._rows is not None
        self._coming[worker.hold.remote(*self._rows[1:])] = worker

    def _welcome(self, patience: float, enough: int = 1) -> None:
        """Take over workers that hold the rows by now, waiting at most so many seconds until so many have come.

        Raises
        ------
        FederationError
            Where there is none then.
        """
        deadline = time.monotonic() + patience
        while self._coming:
            left = max(0.0, deadline - time.monotonic())
            wanted = min(max(1, enough - len(self._workers)), len(self._coming))
            self._ray.wait(list(self._coming), num_returns=wanted, timeout=left)
            came, _ = self._ray.wait(list(self._coming), num_returns=len(self._coming), timeout=0.0)
            for promise in came:
                worker = self._coming.pop(promise)
                try:
                    self._ray.get(promise)
                except self._ray.exceptions.RayActorError:
                    self._hand_rows_to(self._new_worker())
                else:
                    self._workers.append(worker)
            if len(self._workers) >= enough or not left:
                break
        if not self._workers:
            raise FederationError(
                f"engine ray: no worker came for {patience:g} s: is a core of the cluster free, and edgefed there?"
            )

    def _bury(self, worker: Any) -> None:
        """Take a dead worker off the list and ask for another; where none is left, wait for it."""
        if worker in self._workers:
            self._workers.remove(worker)
            logging.getLogger("edgefed").warning("a Ray worker died; its part of the round is done again")
            self._hand_rows_to(self._new_worker())
        if not self._workers:
            self._welcome(WORKER_SECONDS)


def _started() -> ModuleType:
    """Return Ray, connected to ``RAY_ADDRESS`` or to a local cluster of this machine's cores.

    Raises
    ------
    SettingsError
        Where Ray is not installed, or there is no cluster at that address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a note on a future default
    try:
        import ray
    except ImportError:
        raise SettingsError("engine ray: Ray is not installed; pip install 'edgefed[simulation]' brings it") from None
    if not ray.is_initialized():
        local: Mapping[str, Any] = {"address": "local", "num_cpus": available_cores(), "include_dashboard": False}
        address = os.environ.get("RAY_ADDRESS")
        if address:
            _require_answer(address)
        try:
            ray.init(
                **({"address": address} if address else local),
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
        except (ConnectionError, ValueError) as error:
            if not address:
                raise
            raise SettingsError(f"RAY_ADDRESS={address}: no cluster can be joined there: {error}") from error
    return ray


def _require_answer(address: str) -> None:
    """Refuse an address at which nobody listens, for which Ray itself waits for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError as error:
        raise SettingsError(
            f"RAY_ADDRESS={address}: nothing answers there ({error}); `ray status` on its head says the address"
        ) from None
