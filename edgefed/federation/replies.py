"""Replies in order, whoever sent them, and the failures in place of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from edgefed.federation.messages import PARTITION_ID, Broadcast, CohortReplies

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flwr.app import Message
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Failure:
    """A client's error in place of a reply: the node that sent it (Flower's own for a dead one) and the reason."""

    node: int
    reason: str


def sorted_replies(replies: Iterable[Message]) -> tuple[Sequence[Message], list[Failure]]:
    """Return replies with content in the order of their partition ids, and the failures in place of the others."""
    if isinstance(replies, CohortReplies):
        return replies.ordered(np.argsort(replies.metrics[PARTITION_ID], kind="stable")), []
    replies = list(replies)
    failed = [Failure(reply.metadata.src_node_id, _reason(reply)) for reply in replies if reply.has_error()]
    kept = [reply for reply in replies if not reply.has_error()]
    kept.sort(key=lambda reply: cast("int", next(iter(reply.content.metric_records.values()))[PARTITION_ID]))
    return kept, failed


def _reason(reply: Message) -> str:
    lines = (reply.error.reason or f"error code {reply.error.code}").strip().splitlines()
    return lines[-1] if lines else f"error code {reply.error.code}"


def senders(replies: Sequence[Message]) -> NDArray[np.uint64]:
    """Return the node that each reply came from [replies]."""
    if isinstance(replies, CohortReplies) and isinstance(replies.requests, Broadcast):
        return replies.requests.nodes
    return np.array([reply.metadata.src_node_id for reply in replies], np.uint64)
