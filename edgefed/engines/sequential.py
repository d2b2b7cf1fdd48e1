"""The sequential engine: Flower's ClientApp, called message by message. Slow, plain, and the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flwr.app import Context, Error, Message, RecordDict

from edgefed.federation.client_app import make_client_app
from edgefed.federation.client_state import ClientState
from edgefed.federation.clients import Clients
from edgefed.federation.secagg.participant import Participant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid

    from edgefed.engines.grid import InProcessGrid
    from edgefed.learning.training import Execution

CLIENT_APP_RAISED = 2
"""Flower's error code for a ClientApp that raised."""


class SequentialEngine:
    """Answers each message by the ClientApp that a device would run, on that client's rows alone."""

    def __init__(self, execution: Execution | None = None) -> None:
        self.execution = execution

    def exchange(self, items: Sequence[tuple[Grid, Sequence[Message]]]) -> list[list[Message]]:
        """Return each grid's replies; a client that raises answers with an error, as in Flower."""
        return [self._answer(cast("InProcessGrid", grid).clients, messages) for grid, messages in items]

    def _answer(self, everyone: Clients, messages: Sequence[Message]) -> list[Message]:
        app = make_client_app(
            lambda context: Clients(everyone.config, everyone.shards.one(int(context.node_config["partition-id"]))),
            self.execution,
        )
        return [self._reply(app, message, everyone) for message in messages]

    @staticmethod
    def _reply(app: ClientApp, message: Message, everyone: Clients) -> Message:
        node = message.metadata.dst_node_id
        context = Context(
            run_id=message.metadata.run_id,
            node_id=node,
            node_config={"partition-id": node, "num-partitions": len(everyone.shards)},
            state=RecordDict(),
            run_config=everyone.config.to_mapping(),
        )
        alone = everyone.state.one(node)
        alone.save(context.state)
        if node in everyone.participants:
            everyone.participants[node].save(context.state)
        try:
            reply = app(message, context)
        except Exception as error:
            return Message(Error(CLIENT_APP_RAISED, f"{type(error).__name__}: {error}"), reply_to=message)
        alone = ClientState(1)
        alone.load(context.state)
        everyone.state.take_back(node, alone)
        kept = Participant.load(context.state)
        if kept is not None:
            everyone.participants[node] = kept
        return reply
