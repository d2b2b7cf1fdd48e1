"""Servers that are killed and links that are cut in the middle of a round, with real processes, TLS and keys."""

import csv
import json
import signal

import numpy as np
import pytest
from link import Link
from processes import free_port, stage

from edgefed.api.single import run as simulate
from edgefed.config import FederationConfig
from edgefed.data.device_file import write_shards
from edgefed.data.shards import federate
from edgefed.deploy.folder import DeviceIdentity
from edgefed.deploy.provision import provision
from edgefed.runs import Run, RunWriter

pytestmark = pytest.mark.runtime


class Lab:
    """A server and two devices, of which the last reaches it over a link that can be cut."""

    def __init__(self, here, folder):
        self.here = here
        self.deployment = provision(folder / "lab", ["127.0.0.1"], 2, port=free_port())
        self.link = Link(self.deployment.port)
        last = self.deployment.device_folder("device-1")
        DeviceIdentity("device-1", 1, f"127.0.0.1:{self.link.port}").write(last)
        self.config, data = federate(FederationConfig(num_clients=2, alpha=1.0, num_server_rounds=8))
        (folder / "shards").mkdir()
        self.files = write_shards(self.config, data, folder / "shards")
        self.server = self.serve("server")
        self.server.until(lambda: "2 devices may join" in self.server.said)
        for place, path in enumerate(self.files.clients):
            name = f"device-{place}"
            here.start(name, "launch-device", self.deployment.device_folder(name), "--data", path)

    def serve(self, name):
        return self.here.start(name, "launch-server", self.deployment.folder)

    def launch(self, name, out, *more):
        return self.here.start(name, "launch", self.deployment.folder, self.files.settings, "--out", out, *more)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survival")
    with stage(folder) as here:
        yield Lab(here, folder)


def told(folder):
    """Return the lines of the rounds that are told."""
    path = folder / "history.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def verdicts(folder):
    """Return each round's verdict on each client; no client is there twice."""
    path = folder / "clients.csv"
    with path.open(newline="") as file:
        rows = [(int(row["round"]), int(row["client"]), row["verdict"]) for row in csv.DictReader(file)]
    found = {(number, client): verdict for number, client, verdict in rows}
    assert len(found) == len(rows)
    return found


def of_client(folder, client):
    """Return one client's verdicts, round by round; none before there is a table."""
    if not (folder / "clients.csv").exists():
        return []
    return [verdict for (_, other), verdict in sorted(verdicts(folder).items()) if other == client]


def test_a_device_whose_link_was_cut_is_late_and_takes_part_again(lab, tmp_path):
    """Cut in the middle of a round: connections are reset, then refused. The other's rounds go on without it.

    It is waited for once a round: who misses the training is not asked for the test that follows.
    """
    folder = tmp_path / "run"
    more = ("num-server-rounds=1000", "round-timeout=8", "client-test-fraction=0.2")
    run = lab.launch("cut", folder, *(word for setting in more for word in ("-s", setting)))
    run.until(lambda: len(of_client(folder, 1)) >= 2)
    lab.link.cut()
    run.until(lambda: sum(verdict.startswith("late") for verdict in of_client(folder, 1)) >= 2)
    lab.link.heal()
    run.until(lambda: of_client(folder, 1)[-2:] == ["ok", "ok"])
    run.process.send_signal(signal.SIGINT)
    assert run.ended() == 130

    found = verdicts(folder)
    assert set(of_client(folder, 0)) == {"ok"}
    away = [number for (number, client), verdict in sorted(found.items()) if client == 1 and verdict != "ok"]
    assert len(away) >= 2
    assert {found[number, 1] for number in away} == {"late: no reply within 8 s; not asked to evaluate"}
    assert away == list(range(away[0], away[-1] + 1))
    rows = {row["round"]: row for row in map(json.loads, told(folder))}
    assert {rows[number]["clients_test"]["clients"] for number in away} == {1}
    assert not any("evaluation_late" in rows[number] for number in away)
    assert rows[max(rows)]["clients_test"]["clients"] == 2


def test_a_run_outlives_its_server_and_ends_as_if_nothing_had_been(lab, tmp_path):
    """Interrupted and at once resumed, while the process of before still has the folder; then its server is killed.

    A new server on the same deployment is given the run by ``edgefed launch`` itself; devices join again by themselves.
    """
    folder = tmp_path / "run"
    first = lab.launch("first", folder)
    first.until(lambda: len(told(folder)) >= 1)
    first.process.send_signal(signal.SIGINT)
    assert first.ended() == 130
    run = lab.launch("again", folder, "--resume")
    run.until(lambda: len(told(folder)) >= 4)
    lab.server.process.kill()
    lab.server.ended()
    committed, _ = RunWriter(folder).last_checkpoint()
    before = told(folder)[:committed]
    lab.server = lab.serve("server-again")
    assert run.ended() == 0, run.said

    assert committed >= 1
    assert told(folder)[:committed] == before
    assert "the server was started again: the run goes on from its last committed round" in run.said
    done = Run.read(folder)
    assert [row["round"] for row in done.rounds] == list(range(1, 9))
    assert set(verdicts(folder).values()) == {"ok"}
    assert done.summary["client_updates"] == 16
    whole = simulate(lab.config, engine="sequential", progress=False)
    for name, weights in whole.weights.items():
        np.testing.assert_allclose(done.weights[name], weights, rtol=0, atol=1e-5)
