"""The stages of secure aggregation for clients of this process: each its own participant, as on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Error, Message

from edgefed.federation.secagg.messages import (
    KEYS,
    SECAGG,
    SHARES,
    UNMASK,
    asked_of,
    keys_reply,
    masked_reply,
    shares_reply,
    told_alike,
    unmask_reply,
)
from edgefed.federation.secagg.participant import Participant, in_hand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flwr.app import RecordDict
    from numpy.typing import NDArray

    from edgefed.federation.clients import Clients

CLIENT_APP_RAISED = 2
"""Flower's error code for a ClientApp that raised."""


def is_secure(messages: Sequence[Message]) -> bool:
    """Return whether train messages ask for masked vectors."""
    return SECAGG in messages[0].content.config_records


def _keys(clients: Clients, position: int, asked: Mapping[str, Any]) -> RecordDict:
    identity = int(clients.shards.ids[position])
    before, share = clients.participants.get(position), clients.config.secagg_threshold
    clients.participants[position] = Participant.begin(identity, asked["round"], share, before)
    return keys_reply(clients.participants[position])


def _kept(clients: Clients, position: int) -> Participant:
    return in_hand(clients.participants.get(position))


STAGES: dict[str, Callable[[Clients, int, Mapping[str, Any]], RecordDict]] = {
    f"query.{KEYS}": _keys,
    f"query.{SHARES}": lambda clients, position, asked: shares_reply(_kept(clients, position), asked),
    f"query.{UNMASK}": lambda clients, position, asked: unmask_reply(_kept(clients, position), asked),
}
"""Message type -> a client's reply, for the stages beside training."""


def stage_replies(kind: str, clients: Clients, messages: Sequence[Message]) -> list[Message]:
    """Return each client's reply to a stage; one that refuses answers with an error, as a ClientApp that raises."""

    def answer(message: Message) -> RecordDict:
        return STAGES[kind](clients, message.metadata.dst_node_id, asked_of(message))

    return [_reply(message, answer) for message in messages]


def masked_replies(
    clients: Clients,
    messages: Sequence[Message],
    start: NDArray[np.floating],
    stack: NDArray[np.floating],
    columns: Mapping[str, NDArray[np.generic]],
) -> list[Message]:
    """Return each client's masked vector, of what it has trained.

    Parameters
    ----------
    clients : Clients
    messages : sequence of Message
    start : ndarray [size]
        The weights that the round began with.
    stack : ndarray [messages, size]
        Trained weights.
    columns : mapping of str to ndarray [messages]
        What a reply in the clear would say.
    """
    places = {id(message): place for place, message in enumerate(messages)}

    def answer(message: Message) -> RecordDict:
        place = places[id(message)]
        participant, asked = _kept(clients, message.metadata.dst_node_id), asked_of(message)
        told = told_alike(message.content, asked, clients.config)
        update = stack[place].astype(np.float64) - start
        metrics = {name: values[place] for name, values in columns.items()}
        return masked_reply(participant, asked, told, clients.config, update, metrics)

    return [_reply(message, answer) for message in messages]


def _reply(message: Message, answer: Callable[[Message], RecordDict]) -> Message:
    try:
        return Message(answer(message), reply_to=message)
    except Exception as error:
        return Message(Error(CLIENT_APP_RAISED, f"{type(error).__name__}: {error}"), reply_to=message)
