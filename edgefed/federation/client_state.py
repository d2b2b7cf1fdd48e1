"""What a client keeps between rounds: SCAFFOLD's control variate, what compression left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

RECORD, SEEN = "client-state", "client-rounds"
"""Names in a Flower node's ``context.state``: the arrays, and the last round that the node trained in."""


class ClientState:
    """Arrays of many clients, or of a device's one: a row a client, zeros until it is first written.

    Parameters
    ----------
    clients : int
    """

    def __init__(self, clients: int) -> None:
        self.arrays: dict[str, NDArray[np.floating]] = {}
        self.seen = np.zeros(clients, np.int64)
        """The last round that each client trained in [clients]; 0 is never."""

    def rows(self, name: str, which: Ints, size: int, dtype: Any) -> NDArray[np.floating]:
        """Return some clients' array of a name [which, size]."""
        return self._array(name, size, dtype)[which]

    def put(self, name: str, which: Ints, values: NDArray[np.floating]) -> None:
        """Set some clients' array of a name [which, size]."""
        self._array(name, values.shape[1], values.dtype)[which] = values

    def _array(self, name: str, size: int, dtype: Any) -> NDArray[np.floating]:
        if name not in self.arrays:
            self.arrays[name] = np.zeros((len(self.seen), size), dtype)
        return self.arrays[name]

    # ---- a checkpoint
    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays of all clients by name, where any client keeps any."""
        return {name: array.copy() for name, array in {**self.arrays, SEEN: self.seen}.items()} if self.arrays else {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what :meth:`state` returned.

        Raises
        ------
        ValueError
            When an array is not of as many clients.
        """
        for name, array in state.items():
            if len(array) != len(self.seen):
                raise ValueError(f"{name} is of {len(array)} clients, not of {len(self.seen)}")
        self.arrays = {name: array.copy() for name, array in state.items() if name != SEEN}
        self.seen = state[SEEN].copy() if SEEN in state else np.zeros_like(self.seen)

    # ---- a device's context
    def load(self, kept: RecordDict) -> None:
        """Take the one client's arrays from what its node kept; where it kept none, those of another run are gone."""
        found = kept.array_records.get(RECORD)
        self.arrays = {name: array.numpy()[None].copy() for name, array in found.items()} if found is not None else {}
        self.seen[:] = kept.metric_records[SEEN]["round"] if SEEN in kept.metric_records else 0

    def save(self, kept: RecordDict) -> None:
        """Give the one client's arrays to its node to keep."""
        if self.arrays:
            put_record(kept, RECORD, ArrayRecord({name: Array(array[0]) for name, array in self.arrays.items()}))
            put_record(kept, SEEN, MetricRecord({"round": int(self.seen[0])}))

    def one(self, position: int) -> ClientState:
        """Return one client's state: what its device would keep, sharing memory."""
        alone = ClientState(1)
        alone.arrays = {name: array[position : position + 1] for name, array in self.arrays.items()}
        alone.seen = self.seen[position : position + 1]
        return alone

    def take_back(self, position: int, alone: ClientState) -> None:
        """Put back what one client keeps."""
        for name, array in alone.arrays.items():
            self.put(name, np.array([position]), array)
        self.seen[position] = alone.seen[0]


def put_record(content: RecordDict, name: str, record: ArrayRecord | ConfigRecord | MetricRecord) -> None:
    """Put a record in the place of another; Flower warns of each one that is overwritten."""
    if name in content:
        del content[name]
    content[name] = record
