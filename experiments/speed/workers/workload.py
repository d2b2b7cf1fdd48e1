"""The workloads' numbers, data and output, alike for every system; needs only NumPy."""

from __future__ import annotations

import itertools
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


class Workload(NamedTuple):
    """What one client holds and trains in a round, by SGD without momentum."""

    rows: int
    features: int
    hidden: tuple[int, ...]
    classes: int
    epochs: int
    batch: int
    rate: float

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of all layers, the input's first."""
        return (self.features, *self.hidden, self.classes)


WORKLOADS = {
    "w1": Workload(rows=15, features=4, hidden=(16,), classes=3, epochs=5, batch=10, rate=0.1),
    "w4": Workload(rows=600, features=784, hidden=(200, 200), classes=10, epochs=1, batch=10, rate=0.1),
}


def client_rows(work: Workload, clients: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features [clients, rows, features] ~ N(0, 1) and labels [clients, rows], the same for every system."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((clients, work.rows, work.features), dtype=np.float32)
    return features, rng.integers(0, work.classes, (clients, work.rows))


def initial_weights(work: Workload) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return (weight [out, in], bias [out]) of each layer: Glorot-uniform weights, zero biases."""
    rng = np.random.default_rng(1)
    layers = []
    for fan_in, fan_out in itertools.pairwise(work.widths):
        limit = np.sqrt(6 / (fan_in + fan_out))
        weight = rng.uniform(-limit, limit, (fan_out, fan_in)).astype(np.float32)
        layers.append((weight, np.zeros(fan_out, np.float32)))
    return layers


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every worker of w1 and w4 takes."""
    parser.add_argument("--workload", choices=WORKLOADS, default="w1")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one to warm up")


def timed(one_round: Callable[[], object], rounds: int) -> list[float]:
    """Run one round to warm up and return the seconds of each further one."""
    one_round()
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        one_round()
        seconds.append(time.perf_counter() - begun)
    return seconds


def peak_mib() -> float | None:
    """Return the largest resident memory that this process had, as the operating system counts it."""
    return _status("VmHWM")


def resident_mib() -> float | None:
    """Return this process's resident memory now."""
    return _status("VmRSS")


def _status(name: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), None)


def emit(round_seconds: Sequence[float], packages: Sequence[str], **facts: Any) -> None:
    """Print a worker's one line: the seconds of each timed round, and what else there is to know."""
    found = {
        "round_seconds": list(round_seconds),
        "peak_mib": peak_mib(),
        "versions": {name: version(name) for name in packages},
    }
    print(json.dumps(found | facts), flush=True)
