"""A Flower Grid whose nodes live in this process. The only file that uses Flower's private names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flwr.app import Message, RecordDict

    from edgefed.federation.clients import Clients


class Engine(Protocol):
    """What trains in-process clients: answers many grids' messages at once."""

    def exchange(self, items: Sequence[tuple[Grid, Sequence[Message]]]) -> Sequence[Iterable[Message]]:
        """Return each grid's replies to its messages."""
        ...


class InProcessGrid(Grid):
    """A grid whose node ids are partition ids and whose nodes are answered by an engine.

    Parameters
    ----------
    clients : Clients
        The federation's clients.
    engine : Engine
        Shared by all grids that train in lockstep.
    """

    answers_at_once: ClassVar[bool] = True

    def __init__(self, clients: Clients, engine: Engine) -> None:
        self.clients = clients
        self.engine = engine
        _claim_identity()

    def get_node_ids(self) -> range:
        """Return every client's node id: its partition id."""
        return range(len(self.clients.shards))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Return the engine's replies; nothing is ever late in-process, so ``timeout`` has no say."""
        del timeout
        return self.engine.exchange([(self, list(messages))])[0]

    def set_run(self, run: Any) -> None:
        """Refuse: an in-process federation is no run of a SuperLink."""
        raise RuntimeError("an in-process grid belongs to no SuperLink run")

    @property
    def run(self) -> Any:
        """Refuse, as :meth:`set_run` does."""
        raise RuntimeError("an in-process grid belongs to no SuperLink run")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message to one of the nodes."""
        from flwr.app import Message

        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Refuse: in-process messages are answered where they are sent."""
        raise RuntimeError("an in-process grid answers at once: use send_and_receive")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Refuse, as :meth:`push_messages` does."""
        raise RuntimeError("an in-process grid answers at once: use send_and_receive")


def _claim_identity() -> None:
    """Give this process the identity without which Flower's Message cannot be made outside its runtimes."""
    try:
        _ = TaskIdentity.run_id
    except RuntimeError:
        TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
