"""How the Ray engine keeps its workers, on a stand-in for a cluster: on a real one, losses cannot be timed.

``test_ray.py`` has real workers, one of which is killed, and a node that is lost.
"""

from types import SimpleNamespace

import pytest
import torch
from ray import exceptions

from edgefed.engines import ray as engine
from edgefed.errors import FederationError


class Cluster:
    """Ray as the engine sees it: promises are kept at once or never, and time passes as it is waited for."""

    exceptions = exceptions

    def __init__(self, cores, arrive=None):
        self.cores, self.arrive = cores, cores if arrive is None else arrive
        self.now, self.made, self.puts, self.tasks = 0.0, 0, [], []
        self.outcomes = []
        """What comes of the next tasks: an exception, or None for a result."""

    def cluster_resources(self):
        return {"CPU": float(self.cores)}

    def remote(self, **_):
        return lambda cls: SimpleNamespace(remote=self.worker)

    def worker(self):
        self.made += 1
        name = self.made
        ready = SimpleNamespace(remote=lambda: ("ready", name, name <= self.arrive))
        return SimpleNamespace(
            name=name, ready=ready, train=SimpleNamespace(remote=lambda *task: self.task(name, task))
        )

    def task(self, name, task):
        self.tasks.append((name, task[0]))
        return ("task", len(self.tasks), True, self.outcomes.pop(0) if self.outcomes else None, name)

    def wait(self, promises, num_returns=1, timeout=None):
        kept = [promise for promise in promises if promise[2]]
        if len(kept) < num_returns:
            assert timeout is not None, "would wait for ever"
            self.now += timeout
        return kept[:num_returns], [promise for promise in promises if promise not in kept[:num_returns]]

    def get(self, promise):
        if promise[0] == "task" and promise[3] is not None:
            raise promise[3]
        return f"by {promise[4]}" if promise[0] == "task" else None

    def put(self, array):
        self.puts.append(array)
        return len(self.puts)


@pytest.fixture
def workers(monkeypatch):
    def made(cluster):
        monkeypatch.setattr(engine, "_started", lambda: cluster)
        monkeypatch.setattr(engine.time, "monotonic", lambda: cluster.now)
        return engine.RayEngine()

    return made


@pytest.mark.parametrize(
    "lost",
    [
        exceptions.ActorDiedError(),
        exceptions.ObjectLostError("00" * 28, None, ""),
        exceptions.OutOfMemoryError("memory"),
    ],
    ids=lambda lost: type(lost).__name__,
)
def test_a_part_that_is_lost_is_done_again_by_another(workers, lost):
    cluster = Cluster(cores=3)
    found = workers(cluster)
    found._gather()
    cluster.outcomes = [None, lost, None]

    assert found._done([("a",), ("b",), ("c",)]) == ["by 1", "by 3", "by 3"]
    assert cluster.tasks == [(1, "a"), (2, "b"), (3, "c"), (3, "b")]
    assert cluster.made == 4  # one was asked for in the dead one's place
    assert cluster.now == 0


def test_a_part_that_kills_every_worker_ends_the_run_in_one_line(workers):
    cluster = Cluster(cores=2, arrive=100)
    found = workers(cluster)
    found._gather()
    cluster.outcomes = [exceptions.ActorDiedError()] * 9

    with pytest.raises(FederationError, match="engine ray: 5 workers died over one part of a round"):
        found._done([("a",)])


def test_others_that_hold_the_cores_are_waited_for_once(workers, caplog):
    cluster = Cluster(cores=4, arrive=3)
    found = workers(cluster)
    found._gather()

    assert cluster.now == engine.STRAGGLER_SECONDS
    assert "3 of 4 Ray workers have come" in caplog.text
    for _ in range(5):
        found._gather()
    assert cluster.now == engine.STRAGGLER_SECONDS
    cluster.arrive = 4
    found._coming = {(*promise[:2], True): worker for promise, worker in found._coming.items()}
    found._gather()
    assert len(found._workers) == 4


def test_a_cluster_without_a_free_core_is_said_in_one_line(workers):
    cluster = Cluster(cores=2, arrive=0)
    with pytest.raises(FederationError, match="engine ray: no worker came for 120 s: is a core of the cluster free"):
        workers(cluster)._gather()


def test_rows_of_federations_that_take_turns_are_put_once(workers):
    cluster = Cluster(cores=1)
    found = workers(cluster)
    cohorts = [SimpleNamespace(features=torch.ones(3, 2), targets=torch.ones(3, 1)) for _ in range(engine.MOST_ROWS)]
    for _ in range(3):
        places = [found._rows_of(cohort) for cohort in cohorts]
    assert len(cluster.puts) == 2 * len(cohorts)
    assert places[0] == (1, 2)
    found._rows_of(SimpleNamespace(features=torch.ones(3, 2), targets=torch.ones(3, 1)))
    assert len(found._rows) == engine.MOST_ROWS  # the longest unused are let go
