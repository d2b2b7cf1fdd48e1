"""The profile of the machine that this runs on: how fast it trains, measured; the rest as its person says."""

from __future__ import annotations

import os
import platform
import re
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import nnls

from edgefed.edge.clock import FLOPS_A_WEIGHT
from edgefed.edge.profiles import PROFILES, Profile, as_toml_table
from edgefed.errors import SettingsError, shown
from edgefed.learning.local_update import Batch, ClientUpdate, Hyper
from edgefed.learning.model import MLP
from edgefed.learning.training import torch_threads
from edgefed.runs import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Models that are trained: inputs, hidden widths, classes, rows a step. From all overhead to all arithmetic.
SIZES = ((4, (16,), 3, 10), (64, (64,), 10, 32), (256, (256,), 10, 128), (784, (256, 256), 10, 256))
REPEATS = 5


def measure_profile(budget: float = 2.0) -> Profile:
    """Train models of four sizes for a moment each and return this machine's profile.

    The time of a step is t = step_seconds + 6 weights rows / flops: the two are fitted by least squares in relative
    error. Memory is the machine's. What no program can measure (power, battery, bandwidth to a server that is not
    there yet) is taken from the profile ``laptop`` and said to be.

    Parameters
    ----------
    budget : float
        Seconds of training in all.
    """
    work = np.array([FLOPS_A_WEIGHT * MLP(i, h, c).size * rows for i, h, c, rows in SIZES], np.float64)
    took = np.array([_step_seconds(MLP(i, h, c), rows, budget / len(SIZES)) for i, h, c, rows in SIZES])
    step_seconds, flops = fitted(work, took)
    borrowed = PROFILES["laptop"]
    return Profile(
        step_seconds=step_seconds,
        flops=flops,
        memory=float(_memory()),
        down=borrowed.down,
        up=borrowed.up,
        latency=borrowed.latency,
        idle=borrowed.idle,
        compute=borrowed.compute,
        receive=borrowed.receive,
        send=borrowed.send,
        battery=borrowed.battery,
        source=f"step-seconds, flops and memory measured on this machine ({platform.machine()}, PyTorch "
        f"{torch.__version__}, one thread). Bandwidth, latency, power and battery are the laptop's: put in your own",
    )


def write_profile(path: Path, name: str = "this-machine", budget: float = 2.0) -> Profile:
    """Measure this machine and write its profile as TOML: what ``device-profiles`` takes.

    Raises
    ------
    SettingsError
        For a file that exists, or cannot be written; a name that TOML takes for no key.
    """
    if path.exists():
        raise SettingsError(f"--profile {path}: exists already; give another file")
    if not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise SettingsError(f"device name '{shown(name)}': expected letters, digits and dashes")
    found = measure_profile(budget)
    try:
        write_atomically(path, as_toml_table(name, found).encode())
    except OSError as error:
        raise SettingsError(f"--profile {path}: cannot be written ({error.strerror})") from None
    return found


def fitted(work: Floats, took: Floats) -> tuple[float, float]:
    """Return step_seconds and flops of t = step_seconds + work / flops, by least squares in relative error.

    Parameters
    ----------
    work : float ndarray [sizes]
        Operations of a step.
    took : float ndarray [sizes]
        Seconds of a step.
    """
    design = np.stack([1 / took, work / took], axis=1)
    scale = design.max(0)  # a second and an operation are of very different sizes
    (overhead, each), _ = nnls(design / scale, np.ones(len(took)))
    return float(overhead / scale[0]), float(scale[1] / max(each, 1e-12))


def _step_seconds(model: MLP, rows: int, budget: float) -> float:
    """Return the seconds of one training step of one client: the median of repeats."""
    update = ClientUpdate(model)
    params = torch.from_numpy(model.initial(0).astype(np.float32))[None]

    def number(value: float) -> torch.Tensor:
        return torch.full((1, 1, 1), value)

    ones, zeros = torch.ones(1, 1, model.classes), torch.zeros(1, 1, model.classes)
    hyper = Hyper(number(0.01), number(0), number(0), number(0), number(0), ones, ones, zeros, zeros)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, rows, model.inputs, generator=generator)
    targets = torch.nn.functional.one_hot(torch.arange(rows) % model.classes, model.classes).float()[None]
    batch = Batch(x, targets, torch.full((1, rows), 1 / rows))
    with torch.no_grad(), torch_threads(1):
        state = update.init(params)
        begun = time.perf_counter()
        for _ in range(3):
            update.step(state, batch, hyper, neutral_logits=True)
        one = (time.perf_counter() - begun) / 3
        count = max(1, int(budget / REPEATS / max(one, 1e-9)))
        found = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            for _ in range(count):
                update.step(state, batch, hyper, neutral_logits=True)
            found.append((time.perf_counter() - begun) / count)
    return float(np.median(found))


def _memory() -> int:
    """Return the machine's memory in bytes; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
