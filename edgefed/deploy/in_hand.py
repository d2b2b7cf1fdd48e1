"""What a SuperNode lets go of is gone: no message of a run that was stopped keeps the next one from its answer.

Flower's loop takes a message, waits for a reply and sends it. A run that is stopped while its message is still on the
way leaves both the message and the task to answer it behind: whoever took the task waits for the rest of the message
for hours, or its reply is taken for that to the next message. And of each message that it did answer the node keeps the
task for as long as it lives: 1.8 kB, and all of them are looked through whenever the worker asks for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flwr.common.constant import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flwr.app import Message


class InHand:
    """Stands between the SuperNode's loop and its two steps, and knows which message it holds."""

    def __init__(self) -> None:
        self.held = ""

    def pulling(self, pull: Callable[..., int | None]) -> Callable[..., int | None]:
        """Return the step that takes a message: what it does not keep is taken out of the node's store."""

        def step(*, state: Any, object_store: Any, receive: Callable[[], Any], **rest: Any) -> int | None:
            begun: list[str] = []

            def noted() -> Any:
                found = receive()
                if found is not None:
                    begun.append(found[0].metadata.message_id)
                return found

            run = pull(state=state, object_store=object_store, receive=noted, **rest)
            if run is None and begun:
                state.delete_messages(message_ids=begun)
                object_store.delete(begun[0])
            self.held = begun[0] if run is not None and begun else ""
            return run

        return step

    def pushing(self, push: Callable[..., None]) -> Callable[..., None]:
        """Return the step that waits for the reply and sends it: a reply to another message is thrown away."""

        def step(*, state: Any, object_store: Any, **rest: Any) -> None:
            push(state=_Replies(state, object_store, self.held), object_store=object_store, **rest)
            forget_finished(state)

        return step


def forget_finished(state: Any) -> None:
    """Take the tasks that are finished out of a node's store: nobody asks for them any more."""
    with state.lock_task_store:
        finished = [number for number, task in state.task_store.items() if task.status.status == Status.FINISHED]
        for number in finished:
            del state.task_store[number]


class _Replies:
    """A node's store, of whose replies only those to one message are shown."""

    def __init__(self, state: Any, object_store: Any, held: str) -> None:
        self._state, self._object_store, self._held = state, object_store, held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def get_messages_legacy(self, *, is_reply: bool) -> Sequence[Message]:
        """Return the replies that are there."""
        found = self._state.get_messages_legacy(is_reply=is_reply)
        for other in [reply for reply in found if reply.metadata.reply_to_message_id != self._held]:
            self._state.delete_messages(message_ids=[other.metadata.message_id])
            self._object_store.delete(other.metadata.message_id)
        return [reply for reply in found if reply.metadata.reply_to_message_id == self._held]
