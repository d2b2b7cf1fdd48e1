"""Clients that attack: an engine whose chosen clients send something else than what they trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.federation.messages import CohortReplies
from edgefed.rng import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

ATTACKS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "none": lambda start, trained: trained,
    "sign-flip": lambda start, trained: start - 3 * (trained - start),
    "scaled": lambda start, trained: start + 1e6 * (trained - start),
    "constant": lambda start, trained: np.full_like(trained, 5.0),
}
"""name -> what attackers send [clients, size], of the weights that the round began with [size] and those trained."""


def attackers_among(clients: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Return the attackers' partition ids: so large a share of these clients, drawn by the seed."""
    return np.sort(stream(seed, "cohort", 0, 1).choice(clients, round(share * len(clients)), replace=False))


class Attacked:
    """A batched engine in which some clients attack.

    Parameters
    ----------
    engine : BatchedEngine
    federation : Federation
        Whose weights the rounds begin with.
    attack : str
        A key of :data:`ATTACKS`.
    attackers : int64 ndarray
        Partition ids.
    """

    def __init__(self, engine: Any, federation: Any, attack: str, attackers: NDArray[np.int64]) -> None:
        self.engine, self.federation, self.attack, self.attackers = engine, federation, ATTACKS[attack], attackers

    def exchange(self, items: Sequence[Any]) -> Sequence[Any]:
        """Answer as the engine does, but for what attackers trained."""
        answers = self.engine.exchange(items)
        return [self._spoilt(replies) for replies in answers]

    def _spoilt(self, replies: CohortReplies) -> CohortReplies:
        if replies.stack is None:
            return replies
        places = np.flatnonzero(np.isin(replies.metrics["partition-id"], self.attackers))
        stack = replies.stack.copy()
        stack[places] = self.attack(self.federation.weights, stack[places])
        return CohortReplies(replies.requests, replies.model, stack, replies.metrics)
