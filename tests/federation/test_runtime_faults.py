"""A SuperLink and its SuperNodes, stopped and killed in the middle of rounds: the run goes on and says who was away."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from test_flower_runtime import FLWR, REPOSITORY, free_ports, stopped

from edgefed.config import FederationConfig
from edgefed.runs import Run

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes are stopped by signals"),
]

WITHIN = 400
TIMEOUT = 40.0
"""Seconds of a round: three processes that start for its messages, on a machine that does other things as well."""


class Link:
    """A SuperLink with SuperNodes on this machine, each in a process group of its own, without TLS."""

    def __init__(self, folder, nodes):
        self.app, self.home = folder / "app", folder / "home"
        self.app.mkdir()
        self.home.mkdir()
        shutil.copytree(REPOSITORY / "edgefed", self.app / "edgefed", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "LICENSE", "README.md"):
            shutil.copy(REPOSITORY / name, self.app / name)
        port, *ports = free_ports(1 + nodes)
        (self.home / "config.toml").write_text(f'[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n')
        self.environment = os.environ | {
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "PATH": f"{FLWR.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        self.log = folder / "log"
        self.link = self.start("flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", port)
        self.nodes = [
            self.start(
                "flower-supernode",
                *("--insecure", "--superlink", f"127.0.0.1:{port}", "--port", own),
                *("--node-config", f"partition-id={place} num-partitions={nodes}"),
            )
            for place, own in enumerate(ports)
        ]

    def start(self, name, *arguments):
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(FLWR.with_name(name)), *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def flwr(self, *arguments):
        done = subprocess.run(
            [str(FLWR), *arguments], cwd=self.app, env=self.environment, capture_output=True, text=True, timeout=WITHIN
        )
        return done.stdout + done.stderr

    def submit(self, config):
        given = " ".join(f"{key}={json.dumps(value)}" for key, value in config.to_mapping().items())
        deadline = time.monotonic() + 60
        while True:
            said = self.flwr("run", ".", "here", "--run-config", given)
            if started := re.search(r"Successfully started run (\d+)", said):
                return started[1]
            assert time.monotonic() < deadline, said  # the SuperLink is not listening yet

    def status(self, run):
        listed = self.flwr("ls", "here", "--format", "json")
        return {row["run-id"]: row["status"] for row in json.loads(listed[listed.index("{") :])["runs"]}[run]

    def signal(self, node, number):
        os.killpg(self.nodes[node].pid, number)


@pytest.fixture
def link(tmp_path):
    if not FLWR.exists():
        pytest.skip(f"no {FLWR.name} beside this Python")
    found = Link(tmp_path, 3)
    try:
        yield found
    finally:
        for node in range(3):
            with contextlib.suppress(ProcessLookupError):
                found.signal(node, signal.SIGCONT)
        left = stopped(f"FLWR_HOME={found.home}")
        for process in (found.link, *found.nodes):
            process.wait()
    assert left == []


def told(folder):
    path = folder / "history.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def reached(link, run, folder, rounds):
    """Wait until a run has told so many rounds."""
    deadline = time.monotonic() + WITHIN
    while told(folder) < rounds:
        assert time.monotonic() < deadline, link.log.read_text(errors="replace")[-4000:]
        status = link.status(run)
        assert not status.startswith("finished:") or told(folder) >= rounds, (status, link.flwr("log", run, "here"))


def test_devices_that_stop_and_die_cost_their_rounds_and_nothing_else(link, tmp_path):
    """Node 0 sleeps through round 2 and is back, node 2 dies after round 3: its process group gets SIGKILL."""
    config = FederationConfig(
        num_clients=3,
        partition="iid",
        num_server_rounds=4,
        round_timeout=TIMEOUT,
        min_replies=1,
        run_folder=str(tmp_path / "run"),
    )
    run = link.submit(config)
    folder = tmp_path / "run"
    reached(link, run, folder, 1)
    link.signal(0, signal.SIGSTOP)
    reached(link, run, folder, 2)
    link.signal(0, signal.SIGCONT)
    reached(link, run, folder, 3)
    link.signal(2, signal.SIGKILL)
    reached(link, run, folder, 4)
    deadline = time.monotonic() + 60
    while not (status := link.status(run)).startswith("finished:"):
        assert time.monotonic() < deadline

    assert status == "finished:completed"
    done = Run.read(folder)
    assert [row["round"] for row in done.rounds] == [1, 2, 3, 4]
    with (folder / "clients.csv").open(newline="") as file:
        verdicts = {(int(row["round"]), int(row["client"])): row["verdict"] for row in csv.DictReader(file)}
    assert [verdicts[number, 1] for number in (1, 2, 3, 4)] == ["ok"] * 4
    assert verdicts[1, 0] == verdicts[1, 2] == verdicts[2, 2] == "ok"
    # Flower lets go of a node whose last heartbeat is a minute old, which may be before the round's time is up.
    assert re.match(f"late: no reply within {TIMEOUT:g} s|failed: Error: Node Unavailable", verdicts[2, 0])
    # It answers what it was asked while it slept first: on a machine that is busy the next round ends before.
    assert "ok" in (verdicts.get((3, 0)), verdicts[4, 0])
    assert re.match("late: no reply|failed: ", verdicts[4, 2])
    assert done.summary["client_updates"] == list(verdicts.values()).count("ok")
