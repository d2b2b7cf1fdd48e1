"""The Ray engine against the batched one, with real worker processes, one of which is killed, and a lost node."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap

import pytest

import edgefed
from edgefed import FederationConfig
from edgefed.config import SettingsError

pytestmark = pytest.mark.runtime

RUN = """
    import json, os, signal, sys
    import ray
    from ray.cluster_utils import Cluster
    import edgefed
    from edgefed import FederationConfig

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address

    def worker_pids():
        # By the name that Ray gives an actor's process.
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    title = open(f"/proc/{entry}/cmdline").read()
                except OSError:
                    continue
                if title.startswith("ray::_Worker"):
                    found.append(int(entry))
        return found

    STRATEGIES = {
        "scaffold": {"fraction_train": 0.5, "drop_out": 0.2},
        "fednova": {"stragglers": 0.5, "partial_work": "accept", "compression": "int8"},
    }
    killed, lost = [], []

    def lose(federation):
        if federation.round == 2 and not killed:
            killed.extend(worker_pids()[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        if federation.round == 4 and not lost:
            lost.append(second)
            cluster.remove_node(second, allow_graceful=False)  # with its core: nobody can come in its worker's place

    strategies = {}
    for strategy, changes in STRATEGIES.items():
        config = FederationConfig(num_server_rounds=4, strategy=strategy, **changes)
        strategies[strategy] = [
            [found.summary["model_sha256"], found.summary["bytes"], found.manifest["edge"]]
            for found in (edgefed.run(config), edgefed.run(config, engine="ray"))
        ]
    plain = edgefed.run(FederationConfig(num_server_rounds=4))
    config = FederationConfig(num_server_rounds=6, imbalance="random-oversampling")
    batched = edgefed.run(config)
    dealt_out = edgefed.run(config, engine="ray", on_round=lose)
    print(json.dumps({
        "strategies": strategies,
        "plain": plain.summary["model_sha256"],
        "killed": len(killed),
        "lost": len(lost),
        "batched": batched.summary["model_sha256"],
        "ray": dealt_out.summary["model_sha256"],
        "bytes": batched.summary["bytes"] == dealt_out.summary["bytes"],
    }), flush=True)
    ray.shutdown()
    cluster.shutdown()
"""


EXPLAINED = """
    import json
    import numpy as np
    import edgefed
    from edgefed import FederationConfig

    run = edgefed.run(FederationConfig(num_server_rounds=4, client_test_fraction=0.2, imbalance="post-hoc"))
    batched, dealt_out = (edgefed.explain(run, engine=engine, progress=False) for engine in ("batched", "ray"))
    one, other = batched.collected[0], dealt_out.collected[0]
    print(json.dumps({
        "names": sorted(one) == sorted(other),
        "clients": len(one["client"]),
        "rows": int(one["rows"].sum()),
        "differ": [name for name in one if not np.array_equal(one[name], other[name])],
        "importance": batched.result["importance"] == dealt_out.result["importance"],
    }))
"""


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="finds the workers to kill in /proc")  # noqa: PTH112
def test_a_killed_worker_and_a_lost_node_cost_time_and_no_bit_and_strategies_end_alike():
    result = printed(RUN)
    assert (result["killed"], result["lost"]) == (1, 1)
    assert result["ray"] == result["batched"]
    assert result["bytes"]
    # Clients with a state of their own, clients that stop early: in the same session, since a cluster takes seconds.
    for strategy, (batched, dealt_out) in result["strategies"].items():
        assert dealt_out == batched, strategy
        assert batched[0] != result["plain"]


def test_clients_on_ray_say_the_same_of_a_model_to_the_bit():
    result = printed(EXPLAINED)
    assert result["clients"] > 5
    assert result["rows"] > 10
    assert (result["names"], result["differ"], result["importance"]) == (True, [], True)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:9", "nothing answers there (.*refused"),
        ("nonsense", "no cluster can be joined there: Invalid address"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_in_one_line(address, reason, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(SettingsError, match=re.escape(f"RAY_ADDRESS={address}: ") + reason.replace("(", r"\(")):
        edgefed.run(FederationConfig(num_server_rounds=1), engine="ray", out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def printed(script):
    """Run a script in a process of its own; return the object that it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    # A folder of its own, and short, since sockets lie in it: in the common one a cluster's head leaves its address,
    # where Flower's simulation, beside this test, would join it.
    folder = tempfile.mkdtemp(prefix="ray-")
    environment["RAY_TMPDIR"] = folder
    # A session of its own, so that whatever is left of it can be ended as a whole.
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    assert process.returncode == 0, errors
    # Beside it, Ray tells the driver of a node that is gone.
    (told,) = [line for line in output.splitlines() if line.startswith("{")]
    return json.loads(told)
