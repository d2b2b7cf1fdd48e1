"""How messages reach the nodes of Flower's own runtimes, and what comes of those that nobody answers in time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flwr.app import Error, Message
from flwr.common.constant import ErrorCode

from edgefed.federation.uploads import pieces_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flwr.serverapp import Grid

    from edgefed.federation.federation import Exchange

LATE, UNREACHABLE = 1001, 1002
"""Codes, beside Flower's own, of the errors that stand for an answer that did not come."""

SHORTEST_POLL, LONGEST_POLL = 0.1, 3.0
"""Seconds between two looks for replies: a tenth of the time that has passed, within these."""


def through_grids(timeout: float) -> Exchange:
    """Return an exchange that asks each grid in turn and waits ``timeout`` seconds at most.

    Every message gets one answer: the node's reply, its error, or an error of the code :data:`LATE` or
    :data:`UNREACHABLE` that names the node. What comes later belongs to no round and is never looked at.
    """

    def exchange(items: Sequence[tuple[Grid, Sequence[Message]]]) -> list[Iterable[Message]]:
        return [_asked(grid, messages, timeout) for grid, messages in items]

    return exchange


def _asked(grid: Grid, messages: Sequence[Message], timeout: float) -> Iterable[Message]:
    if getattr(grid, "answers_at_once", False):
        return grid.send_and_receive(messages)
    # Not send_and_receive: it looks every 3 s, and a node that left since the cohort was drawn ends the run.
    sent = list(messages)
    reached = set(grid.push_messages(sent)) if sent else set()
    waiting = {message.metadata.message_id: message for message in sent}
    gone = [message for name, message in waiting.items() if name not in reached]
    waiting = {name: message for name, message in waiting.items() if name in reached}
    answers = [Message(Error(UNREACHABLE, "the node is gone"), reply_to=message) for message in gone]
    begun = time.monotonic()
    while waiting:
        passed = time.monotonic() - begun
        with pieces_until(begun + timeout):
            replies = grid.pull_messages(list(waiting))
        for reply in replies:
            if not reply.has_content() and reply.error.code == ErrorCode.MESSAGE_UNAVAILABLE and _over(begun, timeout):
                continue  # announced, and not whole in time
            message = waiting.pop(reply.metadata.reply_to_message_id, None)
            if message is not None:  # else a second answer, or one to another round
                # An error that Flower makes for a dead node comes from Flower's own node: here it is the dead one's.
                answers.append(reply if reply.has_content() else Message(_told(reply.error), reply_to=message))
        if passed >= timeout:  # looked at once more when the time was up
            break
        if waiting:
            time.sleep(min(max(SHORTEST_POLL, passed / 10), LONGEST_POLL, max(timeout - passed, 0.001)))
    late = f"no reply within {timeout:g} s"
    return answers + [Message(Error(LATE, late), reply_to=message) for message in waiting.values()]


def _over(begun: float, timeout: float) -> bool:
    return time.monotonic() - begun >= timeout


def _told(error: Error) -> Error:
    """Return a node's error, whose code does not pass for one of the server's own."""
    return Error(ErrorCode.UNKNOWN, error.reason) if error.code in (LATE, UNREACHABLE) else error
