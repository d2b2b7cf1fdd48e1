"""What a server has started ends with it: processes that ignore signals, and a ServerApp whose parent is gone."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgefed.deploy.ending import end_group
from edgefed.deploy.started import Starting

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)
STARTING = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], "--parent-pid", str(os.getpid())], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.readline()
os._exit(0)
"""
ORPHAN = """
import time
from edgefed.deploy import started
started.LOOK_EVERY, started.GRACE = 0.01, 0.0
started.end_with_parent()
print("ready", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def started(code, *arguments):
    """Start Python in a session of its own; yield the process and the id that it prints. Nobody of it is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    with process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def runs(pid):
    """Return whether a process is there and has not ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid):
    deadline = time.monotonic() + 60
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not runs(pid)


def test_a_group_is_ended_even_where_a_grandchild_does_not_listen():
    with started(STARTING) as (leader, child):
        assert runs(child)
        end_group(leader, grace=0.2)
        assert leader.returncode == -signal.SIGTERM
        assert gone(child)


def test_a_process_ends_with_its_parent_though_nobody_has_waited_for_that_one():
    """Flower's own watch asks for a process of its parent's id: what has ended keeps it until somebody waits."""
    with started(PARENT, ORPHAN) as (parent, child):
        assert runs(child)
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert gone(child)
        os.kill(parent.pid, 0)  # its id is there still


def test_a_serverapp_is_started_watched_and_nothing_else_is(monkeypatch):
    commands = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: commands.append(command))
    serverapp = ["flwr-serverapp", "--token", "t", "--parent-pid", "7"]
    for command in (serverapp, ["flwr-simulation", "--token", "t"]):
        Starting().Popen(command)
    assert commands == [
        [sys.executable, "-P", "-m", "edgefed.deploy.started", *serverapp],
        ["flwr-simulation", *serverapp[1:3]],
    ]
