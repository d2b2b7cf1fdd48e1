"""The batched engine on a Ray cluster: a round's cohort is dealt out to worker processes, on one machine or many.

``RAY_ADDRESS`` names the cluster; without it a local one is started with a worker a core. The rows are put into
Ray's memory once; a round sends weights out and back. A worker that dies is replaced and its part done again, so
it costs time and changes no bit.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgefed.config import SettingsError
from edgefed.engines.batched import BatchedEngine
from edgefed.errors import FederationError
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

MOST_ROWS = 16
"""Feature matrices of different federations that stay in Ray's memory: a comparison's come back in turn."""

STRAGGLER_SECONDS = 20.0
"""For how long the first round waits for all workers once one has come: others may hold some of the cluster's cores."""

WORKER_SECONDS = 120.0
"""For how long a worker is waited for where there is none: it has to start, and others may hold the cores."""


class _Worker:
    """A process that trains parts of cohorts."""

    def ready(self) -> None:
        """Answer, once the process is there."""

    def train(
        self,
        update: ClientUpdate,
        schedule: Schedule,
        part: Cohort,
        execution: Execution | None,
        features: NDArray[Any],
        targets: NDArray[Any],
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Train clients that come without their rows; return weights and losses.

        The rows lie in Ray's memory, once a machine; nothing writes to them.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            rows = torch.from_numpy(features), torch.from_numpy(targets)
        trained = train(update, schedule, replace(part, features=rows[0], targets=rows[1]), execution)
        return trained.params.numpy(), trained.loss


class RayEngine(BatchedEngine):
    """The batched engine, its cohorts trained by Ray workers."""

    def __init__(self, execution: Execution | None = None) -> None:
        super().__init__(execution)
        self._ray = _started()
        self._workers: list[Any] = []
        self._coming: dict[Any, Any] = {}
        """Workers on their way, by the promise that they answer."""
        self._rows: dict[int, tuple[torch.Tensor, Any, Any]] = {}
        """Rows in Ray's memory by the id of the tensor, which stands beside them so that nothing else takes the id."""
        for _ in range(max(1, int(self._ray.cluster_resources().get("CPU", 1)))):
            self._ask_for_worker()

    def _trained(self, update: ClientUpdate, schedule: Schedule, cohort: Cohort) -> Trained:
        self._gather()
        steps = schedule.steps(cohort.drawn_rows, cohort.shard_rows, cohort.epochs)
        order = np.argsort(-steps, kind="stable")
        # Dealt like cards: every worker gets its share of the clients with many steps.
        parts = [order[place :: len(self._workers)] for place in range(min(len(self._workers), len(order)))]
        # What travels each round is each client's weights and numbers.
        rowless = replace(cohort, features=cohort.features[:0].clone(), targets=cohort.targets[:0].clone())
        rows = self._rows_of(cohort)
        tasks = [(update, schedule, rowless.take(which), self.execution, *rows) for which in parts]
        params, loss = torch.empty_like(cohort.params, memory_format=torch.contiguous_format), np.zeros(len(cohort))
        for which, (weights, losses) in zip(parts, self._done(tasks), strict=True):
            params[torch.from_numpy(which)] = torch.from_numpy(weights.copy())
            loss[which] = losses
        return Trained(params, loss, steps)

    def _rows_of(self, cohort: Cohort) -> tuple[Any, Any]:
        """Return the rows' features and targets in Ray's memory: put there once, as long as they come back."""
        key = id(cohort.features)
        kept = self._rows.pop(key, None)
        if kept is None:
            kept = (
                cohort.features,
                self._ray.put(cohort.features.numpy()),
                self._ray.put(cohort.targets.numpy()),
            )
        self._rows[key] = kept  # the newest last
        while len(self._rows) > MOST_ROWS:
            del self._rows[next(iter(self._rows))]
        return kept[1:]

    def _done(self, tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what each task gave; one whose worker died is done again by a worker that is left.

        A machine that is lost takes its cores with it, so nobody may ever come in a dead worker's place; it may also
        take a result with it that was ready.
        """
        errors = self._ray.exceptions
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
            except (errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError) as error:
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
    def _ask_for_worker(self) -> None:
        worker = self._ray.remote(num_cpus=1)(_Worker).remote()
        self._coming[worker.ready.remote()] = worker

    def _gather(self) -> None:
        """Wait for the workers, once in an engine's life; later only look who has come in a dead one's place."""
        if self._workers:
            self._welcome(0.0)
            return
        wanted = len(self._coming)
        self._welcome(WORKER_SECONDS)
        self._welcome(STRAGGLER_SECONDS, wanted)
        if len(self._workers) < wanted:
            logging.getLogger("edgefed").warning(
                "%d of %d Ray workers have come: others seem to hold the cluster's cores; the rest may join later",
                len(self._workers),
                wanted,
            )

    def _welcome(self, patience: float, enough: int = 1) -> None:
        """Take over workers that have come, waiting at most so many seconds until there are so many.

        Raises
        ------
        FederationError
            Where there is none then.
        """
        deadline = time.monotonic() + patience
        while True:
            left = max(0.0, deadline - time.monotonic())
            wanted = min(enough - len(self._workers), len(self._coming))
            if wanted > 0:
                self._ray.wait(list(self._coming), num_returns=wanted, timeout=left)
            coming = list(self._coming)
            came = self._ray.wait(coming, num_returns=len(coming), timeout=0.0)[0] if coming else []
            for promise in came:
                worker = self._coming.pop(promise)
                try:
                    self._ray.get(promise)
                except self._ray.exceptions.RayActorError:
                    self._ask_for_worker()
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
            self._ask_for_worker()
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
