"""What a federation has cost so far, modelled, and what its server knows of each client for the next choice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass
class Ledger:
    """Modelled costs, and each client's last known figures: arrays with an entry a client.

    Attributes
    ----------
    clients : int
    clock : float
        Modelled seconds since the first round began.
    busy, joules : float64 ndarray [clients]
        Seconds at work, and what was drawn.
    loss : float64 ndarray [clients]
        Training loss of the last update that counted; infinite before the first.
    last : int64 ndarray [clients]
        Round of the last update that counted; 0 before the first.
    counted, asked : int64 ndarray [clients]
        Updates that counted, and rounds that the client was drawn for.
    """

    clients: int
    clock: float = 0.0
    busy: Floats = field(init=False)
    joules: Floats = field(init=False)
    loss: Floats = field(init=False)
    last: NDArray[np.int64] = field(init=False)
    counted: NDArray[np.int64] = field(init=False)
    asked: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.busy, self.joules = np.zeros(self.clients), np.zeros(self.clients)
        self.loss = np.full(self.clients, np.inf)
        self.last, self.counted, self.asked = (np.zeros(self.clients, np.int64) for _ in range(3))

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return everything by name: a checkpoint's."""
        return {"clock": np.array(self.clock)} | {name: getattr(self, name).copy() for name in _ARRAYS}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what :meth:`state` returned.

        Raises
        ------
        ValueError
            When a name is missing or extra, or an array is not of as many clients.
        """
        if set(state) != {"clock", *_ARRAYS} or any(state[name].shape != (self.clients,) for name in _ARRAYS):
            raise ValueError(f"its ledger is not one of {self.clients} clients")
        self.clock = float(state["clock"])
        for name in _ARRAYS:
            setattr(self, name, state[name].copy())


_ARRAYS = ("busy", "joules", "loss", "last", "counted", "asked")
