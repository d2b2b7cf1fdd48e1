"""A rehearsal: a whole deployment on one machine, with real processes, TLS and keys, held against the simulation."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.api.single import run as simulate
from edgefed.config import FederationConfig, read_settings
from edgefed.data.device_file import write_shards
from edgefed.data.shards import federate
from edgefed.deploy.control import Control
from edgefed.deploy.launch import launch
from edgefed.deploy.provision import provision
from edgefed.errors import FederationError, SettingsError
from edgefed.runs import new_folder
from edgefed.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgefed.deploy.folder import Deployment
    from edgefed.runs import Run

START_WITHIN, STOP_WITHIN = 120.0, 20.0
"""Seconds that a server and its devices may take to be there, and to be gone."""
LOOPBACK = "127.0.0.1"


def rehearse(
    devices: int, rounds: int, given: Mapping[str, Any], *, out: Path | None = None, progress: bool = True
) -> dict[str, Any]:
    """Do on this machine all that a deployment does, and compare it with the simulation of the same shards.

    Provisions, writes each device's rows, starts the server and the devices as processes, runs, simulates, stops
    everything that it started.

    Parameters
    ----------
    devices, rounds : int
    given : mapping of str to scalar
        Further settings.
    out : Path, optional
        A folder to keep it all in, made new. Neutral: a temporary one.
    progress : bool
        Say on stderr what is being done.

    Returns
    -------
    dict
        ``rounds``, ``seconds_per_round``, ``max_weight_difference``, ``test``, and what each part took; ``noised``:
        whether devices and simulation had noise, each its own, so that they differ by it.

    Raises
    ------
    SettingsError, FederationError
        In one line: what did not start, or did not end as it should.
    """
    settings = {"num-clients": devices, "num-server-rounds": rounds, "alpha": 1.0, **given}
    config = FederationConfig.from_mapping(settings)
    if (config.num_clients, config.num_server_rounds) != (devices, rounds):
        raise SettingsError("num-clients and num-server-rounds are --devices and --rounds")
    say = note if progress else lambda _: None
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgefed-rehearsal-")) if out is None else ""
        home = new_folder(out, "", instead="give another folder").resolve() if out is not None else Path(temporary)
        begun = time.monotonic()
        say(f"rehearsal: keys and certificates for {devices} devices, and their rows")
        (home / "shards").mkdir()
        config, data = federate(config)
        files = write_shards(config, data, home / "shards")
        deployment = provision(home / "deployment", [LOOPBACK], devices, port=_free_port())
        say(f"rehearsal: starting the server and {devices} devices, over TLS with keys")
        with _processes(deployment, files.clients) as processes:
            _await_devices(deployment, processes, devices)
            started = time.monotonic()
            carried = read_settings(files.settings) | {"test-path": str(files.test)}
            deployed = launch(deployment.folder, carried, out=home / "run", progress=progress)
            ended = time.monotonic()
            memory = [_resident(process) for _, process in processes[1:]]
        stopped = time.monotonic()
    say("rehearsal: everything is stopped; simulating the same")
    simulated = simulate(config, engine="sequential", progress=False)
    seconds = [row["seconds"] for row in deployed.rounds]
    return {
        "devices": devices,
        "rounds": deployed.summary["rounds"],
        "seconds_per_round": round(float(np.mean(seconds)), 3),
        "max_weight_difference": _apart(deployed, simulated),
        "noised": config.differentially_private,
        "test": deployed.summary["test"],
        "simulation": {key: simulated.summary[key] for key in ("test", "model_sha256", "bytes")},
        "model_sha256": deployed.summary["model_sha256"],
        "bytes": deployed.summary["bytes"],
        "megabytes_a_device": round(max(memory), 1) if all(memory) else None,
        "seconds": {
            "start": round(started - begun, 1),
            "run": round(ended - started, 1),
            "stop": round(stopped - ended, 1),
        },
    }


@contextmanager
def _processes(deployment: Deployment, files: tuple[Path, ...]) -> Iterator[list[tuple[str, subprocess.Popen[bytes]]]]:
    """Start a server and its devices; whatever happens, none of them is left when this ends."""
    started: list[tuple[str, subprocess.Popen[bytes]]] = []
    try:
        started.append(("the server", _edgefed(deployment, "launch-server", deployment.folder)))
        for device, path in zip(deployment.active, files, strict=True):
            folder = deployment.device_folder(device.name)
            started.append((device.name, _edgefed(deployment, "launch-device", folder, "--data", path)))
        yield started
    finally:
        for _, process in reversed(started):
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN
        for _, process in reversed(started):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                # Its whole session: what it has started itself must not outlive it.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _edgefed(deployment: Deployment, *words: str | Path) -> subprocess.Popen[bytes]:
    log = (deployment.folder / f"{words[0]}-{Path(words[1]).name}.log").open("wb")
    with log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "edgefed", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C is for the rehearsal, which stops them itself.
            start_new_session=True,
        )


def _await_devices(deployment: Deployment, processes: list[tuple[str, subprocess.Popen[bytes]]], expected: int) -> None:
    """Wait until the server lists all devices as connected.

    Raises
    ------
    FederationError
        One line, where a process ends early or time runs out.
    """
    control = Control(deployment.port, deployment.server / "ca.crt")
    deadline = time.monotonic() + START_WITHIN
    online = 0
    try:
        while online < expected:
            for name, process in processes:
                if process.poll() is not None:
                    raise FederationError(f"{name} ended at once: {_last_words(deployment, name)}")
            if time.monotonic() > deadline:
                raise FederationError(f"{online} of {expected} devices are connected after {START_WITHIN:g} s")
            time.sleep(0.3)
            try:
                online = sum(node["status"] == "online" for node in control.nodes())
            except (SettingsError, FederationError):  # not up yet
                continue
    finally:
        control.close()


def _last_words(deployment: Deployment, name: str) -> str:
    which = f"launch-device-{name}" if name != "the server" else f"launch-server-{deployment.folder.name}"
    lines = (deployment.folder / f"{which}.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _resident(process: subprocess.Popen[bytes]) -> float:
    """Return the megabytes that a process holds in memory; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _apart(first: Run, second: Run) -> float:
    """Return the largest difference between two runs' weights."""
    return max(
        float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
        for a, b in zip(first.weights.values(), second.weights.values(), strict=True)
    )
