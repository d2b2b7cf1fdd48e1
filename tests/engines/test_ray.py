"""The Ray engine against the batched one, with real worker processes, one of which is killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.runtime

RUN = """
    import json, os, signal, sys
    import edgefed
    from edgefed import FederationConfig

    def worker_pids():
        # Children of the raylet that this process started, by the name that Ray gives an actor's process.
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
    killed = []

    def kill_one(federation):
        if federation.round == 2 and not killed:
            killed.extend(worker_pids()[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    config = FederationConfig(num_server_rounds=4, imbalance="random-oversampling")
    batched = edgefed.run(config)
    dealt_out = edgefed.run(config, engine="ray", on_round=kill_one)
    strategies = {}
    for strategy, changes in STRATEGIES.items():
        config = FederationConfig(num_server_rounds=4, strategy=strategy, **changes)
        strategies[strategy] = [
            [found.summary["model_sha256"], found.summary["bytes"], found.manifest["edge"]]
            for found in (edgefed.run(config), edgefed.run(config, engine="ray"))
        ]
    plain = edgefed.run(FederationConfig(num_server_rounds=4))
    print(json.dumps({
        "strategies": strategies,
        "plain": plain.summary["model_sha256"],
        "killed": len(killed),
        "batched": batched.summary["model_sha256"],
        "ray": dealt_out.summary["model_sha256"],
        "bytes": batched.summary["bytes"] == dealt_out.summary["bytes"],
    }))
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
def test_a_killed_worker_costs_time_and_no_bit_and_strategies_end_alike():
    result = printed(RUN)
    assert result["killed"] == 1
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


def printed(script):
    """Run a script in a process of its own; return the object that it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
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
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])
