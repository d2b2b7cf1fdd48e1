"""``flwr run`` with Flower's own processes ends where the batched engine ends."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from federations import apart, trained

import edgefed
from edgefed.config import FederationConfig
from edgefed.runs import Run, read_arrays

pytestmark = pytest.mark.runtime

FLWR = Path(sys.executable).with_name("flwr")
REPOSITORY = Path(edgefed.__file__).parents[1]
RUN_WITHIN = 240
STOP_WITHIN = 60


def free_ports(count):
    """Return ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def processes_with(marker):
    """Return the processes whose environment holds this text: what was started with it, and what that started."""
    if Path("/proc/self/environ").exists():
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):  # gone by now, or not ours
                    if marker.encode() in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
        return found
    listed = subprocess.run(["ps", "-axEww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    lines = [line.split(None, 1) for line in listed.stdout.splitlines() if marker in line]
    return [int(pid) for pid, _ in lines if int(pid) != os.getpid()]


@dataclass
class Flower:
    """Flower's command line with a home and ports of its own."""

    app: Path
    environment: dict[str, str]

    def __call__(self, *arguments):
        return subprocess.run(
            [str(FLWR), *arguments],
            cwd=self.app,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=RUN_WITHIN,
        )

    def run(self, config, nodes):
        """Run the app to its end; return the run's status and what was logged."""
        settings = " ".join(f"{key}={json.dumps(value)}" for key, value in config.to_mapping().items())
        federation = f"num-supernodes={nodes} client-resources-num-cpus=1"
        done = self("run", ".", "--stream", "--federation-config", federation, "--run-config", settings)
        log = done.stdout + done.stderr
        started = re.search(r"Successfully started run (\d+)", log)
        assert started, log
        listed = self("ls", "--format", "json").stdout
        runs = json.loads(listed[listed.index("{") :])["runs"]
        return {run["run-id"]: run["status"] for run in runs}[started[1]], log


@pytest.fixture(scope="module")
def flower(tmp_path_factory):
    if not FLWR.exists():
        pytest.skip(f"no {FLWR.name} beside this Python")
    folder = tmp_path_factory.mktemp("flower")
    app, home = folder / "app", folder / "home"
    app.mkdir()
    shutil.copytree(REPOSITORY / "edgefed", app / "edgefed", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(REPOSITORY / name, app / name)
    home.mkdir()
    http, control = free_ports(2)
    environment = os.environ | {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": http,
        "FLWR_LOCAL_CONTROL_API_PORT": control,
        "PATH": f"{FLWR.parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    try:
        yield Flower(app, environment)
    finally:
        left = stopped(f"FLWR_HOME={home}")
    assert left == []


def stopped(marker):
    """Kill what was started until nothing is left; return what would not go."""
    deadline = time.monotonic() + STOP_WITHIN
    while (left := processes_with(marker)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
    return left


CASES = {
    "float32": {},
    "float64": {
        "dtype": "float64",
        "imbalance": "random-oversampling",
        "client_test_fraction": 0.2,
        "fraction_train": 0.5,
        "num_clients": 8,
        "explain": "yes",
    },
}


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-9)])
def test_flowers_simulation_ends_where_the_batched_engine_ends(flower, tmp_path, dtype, bound):
    config = FederationConfig(num_server_rounds=10, **CASES[dtype])

    status, log = flower.run(config.replace(run_folder=str(tmp_path / "run")), config.num_clients)

    assert status == "finished:completed", log
    deployed = Run.read(tmp_path / "run")
    # Kept in a folder as well: one in memory alone asks for no explanation, whose bytes count.
    simulated, clients = trained(config, out=tmp_path / "simulated")
    assert apart(deployed, simulated) <= bound
    assert deployed.summary["engine"] == "flower"
    assert deployed.summary["bytes"] == simulated.summary["bytes"]
    assert deployed.manifest["query_bytes"] == simulated.manifest["query_bytes"]
    assert deployed.summary["client_updates"] == simulated.summary["client_updates"]
    assert [row["clients"] for row in deployed.rounds] == [row["clients"] for row in simulated.rounds]
    assert deployed.manifest["prediction"] == simulated.manifest["prediction"]
    lines = (tmp_path / "run" / "clients.csv").read_text().splitlines()[1:]
    assert [line.split(",")[:4] for line in lines] == [[str(cell) for cell in row[:4]] for row in clients]
    assert all(line.endswith(",ok") for line in lines)
    if config.explain == "yes":
        said = read_arrays(tmp_path / "run" / "explanation" / "collected.npz")
        expected = edgefed.explain(simulated, progress=False).collected[0]
        for name in expected.keys() - {"model-sha256"}:
            np.testing.assert_allclose(said[name], expected[name], rtol=1e-6, atol=1e-6, err_msg=name)
        assert (said["rows"].sum(1) > 0).sum() > 3


def test_a_run_that_fails_says_why_and_is_not_taken_for_a_success(flower, tmp_path):
    """Flower's own exit code is 0 all the same."""
    config = FederationConfig(num_clients=3, num_server_rounds=1, run_folder=str(tmp_path / "run"))

    status, log = flower.run(config, nodes=4)

    assert status == "finished:failed"
    assert "4 nodes are connected, num-clients=3" in log
    assert not (tmp_path / "run" / "model.npz").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "scaffold", "compression": "int8", "drop_out": 0.2},
        {"strategy": "fednova", "compression": "top-k", "stragglers": 0.5, "partial_work": "accept"},
    ],
    ids=["scaffold", "fednova"],
)
def test_clients_with_a_state_of_their_own_end_where_the_batched_engine_ends(flower, tmp_path, changes):
    """Control variates and what compression left out stay with the nodes; bytes are those of what was sent."""
    config = FederationConfig(num_clients=4, num_server_rounds=4, dtype="float64", partition="iid", **changes)

    status, log = flower.run(config.replace(run_folder=str(tmp_path / "run")), config.num_clients)

    assert status == "finished:completed", log
    deployed = Run.read(tmp_path / "run")
    simulated, _ = trained(config)
    assert apart(deployed, simulated) <= 1e-9
    assert deployed.summary["bytes"] == simulated.summary["bytes"]
    assert deployed.summary["modelled"] == simulated.summary["modelled"]
    assert deployed.manifest["edge"] == simulated.manifest["edge"]
