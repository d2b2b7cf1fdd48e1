"""Seconds a round and memory of a device: edgefed beside a plain Flower PyTorch app on the same three nodes.

    python experiments/devices/run.py [--rounds 5] [--repeats 3] [--out results.json]

Both train (five local epochs, batches of ten) and evaluate on each of three SuperNodes in every round, one after the
other on this machine; the plain app in the clear, which costs it nothing, edgefed over TLS with keys.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
NODES = 3
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {"plain": [], "edgefed": []}
    for repeat in range(arguments.repeats):
        for name, measure in (("plain", plain), ("edgefed", edgefed)):
            figures = measure(arguments.rounds)
            print(f"{name}, repeat {repeat + 1}: {figures}", file=sys.stderr, flush=True)
            found[name].append(figures)
    result = {
        "nodes": NODES,
        "rounds": arguments.rounds,
        "machine": {"cores": os.cpu_count(), "system": platform.system(), "machine": platform.machine()},
        **found,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))


def table(result: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| app | seconds a round, mean (least to most) | MB a node at most |", "|---|---|---|"]
    for name in ("plain", "edgefed"):
        seconds = [run["seconds_per_round"] for run in result[name]]
        memory = max(run["megabytes_a_node"] for run in result[name])
        mean = sum(seconds) / len(seconds)
        lines.append(f"| {name} | {mean:.2f} ({min(seconds):.2f} to {max(seconds):.2f}) | {memory:.0f} |")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------ the plain app
def plain(rounds: int) -> dict[str, float]:
    """Measure Flower's own SuperLink and SuperNodes with the plain app."""
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        home = Path(temporary)
        port, result = free_port(), home / "result.json"
        environment = {**os.environ, **QUIET, "FLWR_HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        (home / "config.toml").write_text(f'[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n')
        link = [BIN / "flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port)]
        stack.enter_context(process(link, environment))
        await_port(port)
        nodes = []
        for place in range(NODES):
            node = [
                *(BIN / "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}"),
                *("--port", str(free_port()), "--node-config", f"partition-id={place} num-partitions={NODES}"),
            ]
            nodes.append(stack.enter_context(process(node, environment)))
        memory = stack.enter_context(watched([node.pid for node in nodes]))
        config = f'num-server-rounds={rounds} result="{result}"'
        submitted = subprocess.run(
            [BIN / "flwr", "run", HERE / "plain_app", "here", "--run-config", config],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if submitted.returncode:
            sys.exit(submitted.stdout + submitted.stderr)
        while not result.exists():
            time.sleep(0.2)
        time.sleep(0.2)
        told = json.loads(result.read_text())
        return {"seconds_per_round": round(told["seconds"] / rounds, 3), "megabytes_a_node": round(max(memory), 1)}


# ------------------------------------------------------------------------------------------------ edgefed
def edgefed(rounds: int) -> dict[str, float]:
    """Measure a rehearsal, whose devices evaluate on rows of their own as well."""
    command = [
        *(sys.executable, "-m", "edgefed", "rehearse", "--devices", str(NODES), "--rounds", str(rounds)),
        *("-s", "client-test-fraction=0.2", "--format", "json"),
    ]
    done = subprocess.run(command, env={**os.environ, **QUIET}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    told = json.loads(done.stdout)
    return {
        "seconds_per_round": told["seconds_per_round"],
        "megabytes_a_node": told["megabytes_a_device"],
        "max_weight_difference": told["max_weight_difference"],
    }


# ------------------------------------------------------------------------------------------------ processes
@contextmanager
def process(command: list[Any], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, in a session of its own that ends with it."""
    started = subprocess.Popen(
        [str(word) for word in command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


@contextmanager
def watched(processes: list[int]) -> Iterator[list[float]]:
    """Yield a list that grows by each node's resident megabytes, its children's included, a few times a second."""
    seen: list[float] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.3):
            children: dict[int, list[int]] = {}
            pages: dict[int, int] = {}
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        stat = (entry / "stat").read_text().rpartition(")")[2].split()
                        pages[int(entry.name)] = int((entry / "statm").read_text().split()[1])
                    except (OSError, IndexError):
                        continue
                    children.setdefault(int(stat[1]), []).append(int(entry.name))
            for node in processes:
                family, waiting = [], [node]
                while waiting:
                    family.append(waiting.pop())
                    waiting += children.get(family[-1], [])
                seen.append(sum(pages.get(pid, 0) for pid in family) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def await_port(port: int) -> None:
    """Wait until somebody listens."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
