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

    killed = []

    def kill_one(federation):
        if federation.round == 2 and not killed:
            killed.extend(worker_pids()[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    config = FederationConfig(num_server_rounds=4, imbalance="random-oversampling")
    batched = edgefed.run(config)
    dealt_out = edgefed.run(config, engine="ray", on_round=kill_one)
    print(json.dumps({
        "killed": len(killed),
        "batched": batched.summary["model_sha256"],
        "ray": dealt_out.summary["model_sha256"],
        "bytes": batched.summary["bytes"] == dealt_out.summary["bytes"],
    }))
"""


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="finds the workers to kill in /proc")  # noqa: PTH112
def test_a_killed_worker_costs_time_and_no_bit():
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    # A session of its own, so that whatever is left of it can be ended as a whole.
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUN)],
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
    result = json.loads(output.splitlines()[-1])
    assert result["killed"] == 1
    assert result["ray"] == result["batched"]
    assert result["bytes"]
