"""How many local epochs each client of a round's cohort gets done: stragglers, and what fits before a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgefed.rng import stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def epochs_of(
    config: FederationConfig, number: int, clients: int, seconds: Callable[[Ints], Floats]
) -> tuple[Ints, Ints, Ints]:
    """Return the epochs that each of a cohort gets done [clients], who of it are stragglers, and who is late.

    Exactly a share of the cohort are stragglers: they get from 1 to E - 1 epochs done, uniformly (Li et al. 2020). With
    ``round-deadline`` and ``partial-work=accept`` nobody begins an epoch that does not fit, and whoever has none that
    does is late; with ``drop`` whoever has not done all by then is, and works until then.

    Parameters
    ----------
    config : FederationConfig
    number : int
        The round's, from 1.
    clients : int
        Size of the cohort.
    seconds : callable
        Returns the modelled seconds of a round in which each of the cohort does so many epochs [clients].
    """
    usual = config.local_epochs
    epochs, slow = np.full(clients, usual), np.zeros(0, np.int64)
    if config.stragglers:
        rng = stream(config.seed, "stragglers", number)
        slow = rng.choice(clients, round(config.stragglers * clients), replace=False)
        epochs[slow] = rng.integers(1, max(usual, 2), len(slow))
    late = np.zeros(clients, bool)
    if config.round_deadline:
        fitting = _fitting(config.round_deadline, np.full(clients, usual), seconds)
        if config.partial_work == "accept":
            epochs = np.minimum(epochs, fitting)
            late = epochs < 1
        else:
            late = np.minimum(epochs, fitting) < usual
    return epochs, slow, np.flatnonzero(late)


def _fitting(deadline: float, most: Ints, seconds: Callable[[Ints], Floats]) -> Ints:
    """Return the whole epochs, ``most`` [clients] of them, that fit before a deadline; more epochs take longer."""
    fewest = np.zeros_like(most)
    deadline *= 1 + 1e-9  # sums of the same seconds differ in their last bits
    while (fewest < most).any():
        middle = (fewest + most + 1) // 2
        fits = seconds(middle) <= deadline
        fewest, most = np.where(fits, middle, fewest), np.where(fits, most, middle - 1)
    return fewest
