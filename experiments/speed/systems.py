"""Which systems there are, and one measurement of one of them in a process and an environment of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
WORKERS = HERE / "workers"
ENVIRONMENTS = HERE / ".peers"
TIME_LIMIT = 3600.0
"""Seconds after which a measurement is given up."""

#: Set by people and schedulers alike, and different from machine to machine: each worker sets its own threads.
FOREIGN_VARIABLES = (
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PYTHONPATH",
    "RAY_ADDRESS",
    "XLA_FLAGS",
)


class System(NamedTuple):
    """One way to do the work of a round.

    Attributes
    ----------
    worker : str
        File in ``workers``.
    environment : str
        Made by ``install_peers.py``; empty for the project's own.
    options : tuple of str
        For the worker, beside clients and rounds.
    most_updates : int
        Client updates timed in one measurement, at most: a slow system runs fewer rounds, at least one.
    most_clients : int
        Clients beyond which a round of it would take minutes; it is left out there.
    """

    worker: str
    environment: str = ""
    options: tuple[str, ...] = ()
    most_updates: int = 1_000_000
    most_clients: int = 1_000_000

    def rounds(self, wanted: int, clients: int) -> int:
        """Return the rounds to time."""
        return max(1, min(wanted, self.most_updates // clients))


EDGEFED = System("edgefed_batched.py")

#: What ``--peers`` names -> the systems that it stands for.
PEERS: dict[str, dict[str, System]] = {
    "flower": {"flower": System("flower_ray.py", most_updates=2_000, most_clients=1_000)},
    "pfl": {
        "pfl": System("pfl_backend.py", "pfl", (), 2_000, 10_000),
        "pfl x2": System("pfl_backend.py", "pfl", ("--processes=2",), 4_000, 10_000),
    },
    "fedjax": {"fedjax": System("fedjax_jit.py", "fedjax", (), 4_000, 10_000)},
    "loop": {"loop": System("torch_loop.py", most_updates=2_000, most_clients=10_000)},
    "fused": {
        "fused": System("numba_fused.py", "fused", ("--threads=1",)),
        "fused x2": System("numba_fused.py", "fused", ("--threads=2",)),
    },
}


@dataclass(frozen=True, eq=False)
class Case:
    """What is measured: a system at a size.

    Attributes
    ----------
    system : str
        Name to show.
    clients : int
    updates : int
        Client updates of one timed round; 0 until the worker says.
    worker, environment : str
    options : list of str
    refused : str
        Why it is not measured at all; empty where it is.
    """

    system: str
    clients: int
    updates: int
    worker: str
    options: list[str]
    environment: str = ""
    refused: str = ""


class MeasurementError(Exception):
    """A system that gave no measurement; the message is one line."""


class NotInstalledError(MeasurementError):
    """A peer whose environment is not there."""


def python_of(environment: str, folder: Path) -> Path:
    """Return an environment's interpreter.

    Raises
    ------
    NotInstalledError
        When ``install_peers.py`` has not made it.
    """
    if not environment:
        return Path(sys.executable)
    home = folder / environment
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        raise NotInstalledError(f"not installed: python experiments/speed/install_peers.py {environment}")
    return python


def measure(worker: str, options: list[str], environment: str = "", folder: Path = ENVIRONMENTS) -> dict[str, Any]:
    """Run a worker to its end and return what it printed.

    Raises
    ------
    MeasurementError
        When it fails, takes longer than :data:`TIME_LIMIT`, or prints no result.
    """
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    variables |= {"PYTHONPATH": str(WORKERS), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    process = subprocess.Popen(
        [python_of(environment, folder), WORKERS / worker, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        start_new_session=True,
    )
    try:
        printed, said = process.communicate(timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"no end within {TIME_LIMIT:.0f} s") from None
    finally:
        _end(process)
    if process.returncode:
        raise MeasurementError(_last_words(said) or f"exit code {process.returncode}")
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    if not lines:
        raise MeasurementError("printed no result")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _last_words(said: str) -> str:
    """Return the last line that names an error, else the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")


def _end(process: subprocess.Popen[str]) -> None:
    """End a worker and all that it started, where it has not ended by itself."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()


def alternated(
    cases: Sequence[Case], repeats: int, folder: Path
) -> tuple[dict[Case, list[dict[str, Any]]], list[dict[str, Any]]]:
    """Measure the cases in turn, repeat after repeat; return each one's measurements, and which were left out and why.

    Cases of one size follow each other, and each repeat begins with another of them: what a machine does beside the
    measurement falls on all alike. A case that fails is left out altogether.
    """
    left_out = [_left_out(case, case.refused) for case in cases if case.refused]
    found: dict[Case, list[dict[str, Any]]] = {case: [] for case in cases if not case.refused}
    for repeat in range(repeats):
        for size in sorted({case.clients for case in found}):
            alike = [case for case in found if case.clients == size]
            turn = repeat % len(alike)
            for case in alike[turn:] + alike[:turn]:
                print(f"repeat {repeat + 1} of {repeats}, {case.system}, {case.clients:,} clients", file=sys.stderr)
                try:
                    found[case].append(_measured_or_again(case, folder))
                except MeasurementError as error:
                    del found[case]
                    left_out.append(_left_out(case, str(error)))
    return found, left_out


def _measured_or_again(case: Case, folder: Path) -> dict[str, Any]:
    """Measure a case; a second time where the first failed: processes that meet over sockets now and then miss."""
    try:
        return measure(case.worker, case.options, case.environment, folder)
    except NotInstalledError:
        raise
    except MeasurementError as error:
        print(f"  again, since: {error}", file=sys.stderr)
        return measure(case.worker, case.options, case.environment, folder)


def _left_out(case: Case, why: str) -> dict[str, Any]:
    return {"system": case.system, "clients": case.clients, "why": why}
