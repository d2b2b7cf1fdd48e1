"""The ClientApp's side of secure aggregation: three stages that it answers, and a mod that masks what training sends.

A device's process is new with each message, so a client's secrets of a round wait in its node's ``context.state``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flwr.app import Context, Message

from edgefed.config import FederationConfig
from edgefed.federation.introduction import DATA_PATH, settings_of_device
from edgefed.federation.messages import ARRAYS, METRICS
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
    update_between,
)
from edgefed.federation.secagg.participant import Participant, in_hand

if TYPE_CHECKING:
    from flwr.clientapp import ClientApp
    from flwr.clientapp.typing import ClientAppCallable


def add_stages(app: ClientApp) -> None:
    """Let a ClientApp answer the stages beside the train message's."""

    @app.query(KEYS)
    def keys(message: Message, context: Context) -> Message:
        config = _settings(context)
        identity = int(context.node_config["partition-id"])
        before, number = Participant.load(context.state), asked_of(message)["round"]
        participant = Participant.begin(identity, number, config.secagg_threshold, before)
        participant.save(context.state)
        return Message(keys_reply(participant), reply_to=message)

    @app.query(SHARES)
    def shares(message: Message, context: Context) -> Message:
        participant = in_hand(Participant.load(context.state))
        reply = Message(shares_reply(participant, asked_of(message)), reply_to=message)
        participant.save(context.state)
        return reply

    @app.query(UNMASK)
    def unmask(message: Message, context: Context) -> Message:
        participant = in_hand(Participant.load(context.state))
        reply = Message(unmask_reply(participant, asked_of(message)), reply_to=message)
        participant.save(context.state)
        return reply


def secagg_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Put what a train handler replies under masks, in a run whose settings say ``privacy=secagg``.

    Raises
    ------
    ValueError
        For a train message that would have the update leave in the clear, or a request that the client refuses.
    """
    secure = context.run_config.get("privacy") == "secagg"
    if not secure and SECAGG not in message.content.config_records:
        return call_next(message, context)
    asked, config, participant = asked_of(message), _settings(context), in_hand(Participant.load(context.state))
    told = told_alike(message.content, asked, config)  # before anybody may write into it
    reply = call_next(message, context)
    if reply.has_error():
        return reply
    update = update_between(message.content.array_records[ARRAYS], reply.content.array_records[ARRAYS])
    content = masked_reply(participant, asked, told, config, update, reply.content.metric_records[METRICS])
    participant.save(context.state)
    return Message(content, reply_to=message)


def _settings(context: Context) -> FederationConfig:
    """Return the run's settings as this client has them.

    Raises
    ------
    ValueError
        For a run without secure aggregation: its secrets would serve nobody's sum.
    """
    if DATA_PATH in context.node_config:
        config = settings_of_device(context.node_config, context.run_config)
    else:
        config = FederationConfig.from_mapping(context.run_config)
    if config.privacy != "secagg":
        raise ValueError("this run's settings do not say privacy=secagg")
    return config
