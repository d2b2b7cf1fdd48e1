"""Whether training fits a device's memory: a floor under what it needs, from shapes alone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.config import FederationConfig
    from edgefed.edge.profiles import Fleet


def least_memory(config: FederationConfig, features: int, classes: int, largest_shard: int) -> int:
    """Return the bytes that a client's training cannot do without.

        s (P (2 + m + k) + B sum_l w_l)

    with s bytes a number, P parameters (held, and their gradient), m moments of the optimiser (1 of SGD with momentum,
    2 of Adam), k further copies (the global weights where the update is pulled to or taken from them, SCAFFOLD's
    control variate and the server's, what top-k left out), B rows a step and w_l the widths of the layers, inputs and
    outputs among them. A floor: the framework, the operating system, the client's own rows, messages and whatever a
    library keeps beside are left out, since no shape tells them. What does not fit by this fits nowhere; what fits by
    it need not.

    Parameters
    ----------
    config : FederationConfig
    features, classes : int
        The model's inputs and outputs.
    largest_shard : int
        Rows of a step with ``batch-size`` 0.
    """
    widths = (features, *config.hidden_layers, classes)
    parameters = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(widths))
    moments = 2 if config.optimizer == "adam" else int(config.momentum > 0)
    begun = bool(config.pull) or config.compression != "none" or config.strategy == "scaffold"
    copies = begun + 2 * (config.strategy == "scaffold") + (config.compression == "top-k")
    rows = min(config.batch_size or largest_shard, max(largest_shard, 1))
    size = np.dtype(config.dtype).itemsize
    return size * (parameters * (2 + moments + copies) + rows * sum(widths))


def too_small(devices: Fleet, needed: int) -> list[tuple[str, int, float]]:
    """Return the devices that hold less memory than is needed: name, how many clients are one, its bytes."""
    found = []
    for kind, name in enumerate(devices.names):
        clients = devices.kind == kind
        if clients.any() and (held := float(devices.memory[clients][0])) < needed:
            found.append((name, int(clients.sum()), held))
    return found


def sizes_in_words(sizes: Sequence[float]) -> list[str]:
    """Return bytes as people say them of memory, in powers of 1024."""
    units = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
    return [
        next((f"{size / factor:.3g} {unit}" for factor, unit in units if size >= factor), f"{size:.0f} B")
        for size in sizes
    ]
