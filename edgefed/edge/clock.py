"""The modelled clock and energy: how long a client's round takes on its device, and what it draws.

Modelled, not measured: the training is real, the seconds and joules are what these equations make of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.edge.profiles import Fleet

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

FLOPS_A_WEIGHT = 6
"""Operations a weight and a row in a training step: a multiply and an add in each of the forward pass, the gradient of
the activations and that of the weights (Kaplan et al. 2020, section 2.1)."""


@dataclass(frozen=True)
class Times:
    """Seconds of each client's round [clients]: download, training, upload."""

    down: Floats
    compute: Floats
    up: Floats

    @property
    def total(self) -> Floats:
        """Seconds from the server's message to the reply."""
        return self.down + self.compute + self.up


def times(
    devices: Fleet,
    which: Ints,
    *,
    steps: Floats | Ints,
    rows: Floats | Ints,
    weights: int,
    down: int,
    up: int,
) -> Times:
    """Return how long some clients' rounds take.

        t_down = latency + 8 bytes_down / bandwidth_down
        t_compute = steps t_step + 6 weights rows / flops
        t_up = latency + 8 bytes_up / bandwidth_up

    Parameters
    ----------
    devices : Fleet
    which : int64 ndarray [which]
        Clients.
    steps, rows : ndarray [which]
        Training steps, and rows trained on over all of them.
    weights : int
        Parameters of the model.
    down, up : int
        Bytes of a message either way.
    """
    latency = devices.latency[which]
    return Times(
        down=latency + 8 * down / devices.down[which],
        compute=steps * devices.step_seconds[which] + FLOPS_A_WEIGHT * weights * rows / devices.flops[which],
        up=latency + 8 * up / devices.up[which],
    )


def joules(devices: Fleet, which: Ints, spent: Times, until: Floats | float) -> Floats:
    """Return what some clients draw in a round [which]: each phase at its power, and idle until the round ends.

    E = P_receive t_down + P_compute t_compute + P_send t_up + P_idle max(0, T - t)

    where T (``until``, seconds; an array [which] where they differ) is when a client's round ends. Clients that are not
    in the round draw nothing here: what they do meanwhile is their own.
    """
    waiting = np.maximum(until - spent.total, 0)
    return np.asarray(
        devices.receive[which] * spent.down
        + devices.compute[which] * spent.compute
        + devices.send[which] * spent.up
        + devices.idle[which] * waiting
    )


def up_to(spent: Times, share: NDArray[np.floating]) -> Times:
    """Return the times of clients that stop after a share of their round [clients], in the order of its phases."""
    left = share * spent.total
    down = np.minimum(spent.down, left)
    compute = np.minimum(spent.compute, left - down)
    return Times(down, compute, left - down - compute)


def round_seconds(counted: Floats, lost: Floats, deadline: float) -> float:
    """Return how long a round takes.

    Without a deadline as long as the slowest whose update counts, and where none does the slowest of all. With one the
    server waits for it as soon as anybody's update is missing, and no longer.

    Parameters
    ----------
    counted, lost : float64 ndarray
        Seconds of clients whose updates count, and of those whose do not.
    deadline : float
        Seconds; 0: none.
    """
    slowest = float(counted.max(initial=0.0))
    if deadline:
        return min(deadline, slowest) if not len(lost) else deadline
    return slowest if len(counted) else float(lost.max(initial=0.0))
