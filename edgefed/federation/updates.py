"""What single clients send in a round: the updates themselves, which no strategy has averaged yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgefed.federation.federation import CohortView, Exchange, Federation
from edgefed.federation.messages import PARTITION_ID, ask_for, in_sequence, stacked_weights
from edgefed.federation.screening import Asked, expected_of_training, screen
from edgefed.learning.training import torch_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray


def updates(
    federation: Federation,
    exchange: Exchange,
    which: NDArray[np.int64],
    round_number: int,
    epochs: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Return what clients send back in a round that begins with the federation's weights; nothing is averaged.

    Parameters
    ----------
    federation : Federation
        Queried by this exchange. Its history and weights stay as they are.
    exchange : Exchange
    which : int64 ndarray [asked]
        Partition ids, ascending, of clients that hold rows.
    round_number : int
        Names the round's random streams: under the weights that it began with, the updates are those of that round.
    epochs : int64 ndarray [asked], optional
        Local epochs that each gets done. Neutral: all of them.

    Returns
    -------
    partition ids [answered], and each one's weights as the server reads them from its reply [answered, size]
    """
    if not len(which):
        return which, stacked_weights(federation.model, [])
    usual = federation.config.local_epochs
    ask_for(federation._config, which, np.full(len(which), usual) if epochs is None else epochs, usual)
    view = CohortView(federation.grid, federation.nodes[which], federation.holders)
    with torch_threads(1):
        messages = in_sequence(
            federation.strategy.configure_train(round_number, federation._arrays, federation._config, view)
        )
        (answers,) = exchange([(federation.grid, messages)])
    found = screen(in_sequence(answers), expected_of_training(federation), Asked(which, federation.nodes[which]))
    if not len(found.kept):
        return which[:0], stacked_weights(federation.model, [])
    return found.metrics[PARTITION_ID].astype("int64"), stacked_weights(federation.model, found.kept)
