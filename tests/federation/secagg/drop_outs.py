"""A cohort of which some drop out at a stage of secure aggregation, and what the average must then be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from federations import Recorder, queried
from flwr.app import Error, Message

from edgefed.engines import make_engine
from edgefed.federation.clients import ROWS
from edgefed.federation.messages import PARTITION_ID
from edgefed.federation.rounds import run_rounds
from edgefed.private import without_privacy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from flwr.serverapp import Grid
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.federation.federation import Federation

TYPES = {
    "keys": "query.secagg_keys",
    "shares": "query.secagg_shares",
    "masked": "train",
    "unmask": "query.secagg_unmask",
}


class Dropping:
    """An engine of which some clients do not answer a stage, nor any after it."""

    def __init__(self, engine: Any, gone: Mapping[str, Collection[int]]) -> None:
        self.engine = engine
        self.gone = {TYPES[stage]: set(who) for stage, who in gone.items()}

    def exchange(self, items: Sequence[tuple[Grid, Sequence[Message]]]) -> list[Iterable[Message]]:
        """Pass on what still reaches somebody."""
        answers = []
        for grid, messages in items:
            kind = messages[0].metadata.message_type
            lost = self.gone.get(kind, set())
            there = [message for message in messages if message.metadata.dst_node_id not in lost]
            replies = list(self.engine.exchange([(grid, there)])[0]) if there else []
            replies += [
                Message(Error(5, "the node is gone"), reply_to=message)
                for message in messages
                if message.metadata.dst_node_id in lost
            ]
            answers.append(replies)
        return answers


class Changing:
    """An engine of which one client's reply to a stage is changed on its way."""

    def __init__(self, engine: Any, stage: str, client: int, change: Callable[[Message], Message | None]) -> None:
        self.engine, self.kind, self.client, self.change = engine, TYPES[stage], client, change

    def exchange(self, items: Sequence[tuple[Grid, Sequence[Message]]]) -> list[list[Message]]:
        """Pass on, and change what comes back."""
        answers = []
        for grid, messages in items:
            replies = list(self.engine.exchange([(grid, messages)])[0])
            if messages[0].metadata.message_type == self.kind:
                replies = [
                    (self.change(reply) or reply) if reply.metadata.src_node_id == self.client else reply
                    for reply in replies
                ]
            answers.append(replies)
        return answers


def one_round(
    config: FederationConfig, wrap: Callable[[Any], Any] = lambda engine: engine
) -> tuple[Federation, Recorder]:
    """Train one round; return the federation and what its server sent and saw."""
    recorder = Recorder(wrap(make_engine("batched")))
    federation, _ = queried(config.replace(num_server_rounds=1))
    run_rounds([federation], recorder.exchange)
    return federation, recorder


def updates_in_the_clear(
    config: FederationConfig,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights that the first round begins with, each client's update [clients, size], and its rows."""
    recorder = Recorder(make_engine("batched"))
    federation, _ = queried(without_privacy(config).replace(num_server_rounds=1))
    start = federation.weights.astype(np.float64)
    run_rounds([federation], recorder.exchange)
    replies: Any = recorder.exchanges[0][1]
    assert replies.metrics[PARTITION_ID].tolist() == list(range(config.num_clients))
    return start, replies.stack.astype(np.float64) - start, replies.metrics[ROWS].astype(np.float64)


def bound(config: FederationConfig, rows: NDArray[np.float64], most: float, largest: float) -> float:
    """Return how far the average of some clients may be off: by the derivation in ``Quantizer``.

    K steps over the sum of the weights, and what rounding a weight to a multiple of 2^-bits moves: half of that,
    relative to the client's own weight, times the largest update, on both sides of the fraction.
    """
    levels = 2.0**config.secagg_bits
    step, weights = 2 * config.secagg_clipping_range / levels, rows / most
    return len(rows) * step / weights.sum() + 2 * largest * (0.5 / levels) * len(rows) / weights.sum() + 1e-12
