"""A round's exchange: what a cohort is sent and replies, in the clear or under secure aggregation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgefed.federation.messages import Broadcast, in_sequence
from edgefed.federation.screening import NOTHING, Asked, Screened, expected_of_training, screen
from edgefed.federation.secagg.server import SecureRound
from edgefed.federation.traffic import payload_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flwr.app import Message
    from flwr.serverapp import Grid

    from edgefed.federation.disclosure import Left
    from edgefed.federation.federation import Exchange, Federation
    from edgefed.federation.participation import Round
    from edgefed.federation.traffic import Traffic

    Asking = tuple[Federation, Round, tuple[Grid, Sequence[Message]]]


@dataclass(frozen=True)
class Gathered:
    """What a round brought.

    Attributes
    ----------
    found : Screened
    up, down : int
        Bytes that it moved.
    payload : dict
        Those of the numbers alone, ``up`` and ``down``.
    left : list of (str, dict, int)
        What left the clients (:data:`~edgefed.federation.disclosure.Left`).
    summed : dict
        Columns of the round's row that came as sums over clients.
    """

    found: Screened
    up: int
    down: int
    payload: dict[str, int]
    left: Left
    summed: dict[str, Any] = field(default_factory=dict)


def gather(rounds: Sequence[Asking], exchange: Exchange, traffic: Traffic) -> list[Gathered]:
    """Send federations' train messages and return what came of them; all are private alike, or none is."""
    if rounds[0][0].config.privacy == "secagg":
        return _in_secret(rounds, exchange, traffic)
    answers = exchange([item for _, _, item in rounds])
    gathered = []
    for (federation, plan, (_, messages)), replies in zip(rounds, map(in_sequence, answers), strict=True):
        # Looked at before the strategy is: some of Flower's take the replies apart.
        (left, up), down = traffic.left("train", replies if len(messages) else []), traffic.sent(messages)
        asked = Asked(plan.clients, federation.nodes[plan.clients])
        found = screen(replies, expected_of_training(federation), asked) if len(messages) else NOTHING
        payload = {"up": len(found.kept) * federation.update_bytes, "down": payload_of(messages)}
        gathered.append(Gathered(found, up, down, payload, left))
    return gathered


def _in_secret(rounds: Sequence[Asking], exchange: Exchange, traffic: Traffic) -> list[Gathered]:
    """Advance federations' secure rounds stage by stage, all of them at once."""
    gathered: list[Gathered | None] = [None] * len(rounds)
    running: dict[int, tuple[SecureRound, Any]] = {}
    waiting: dict[int, Sequence[Message]] = {}

    def advance(place: int, replies: Sequence[Message] | None) -> None:
        secure, stages = running[place]
        try:
            waiting[place] = stages.send(replies)
        except StopIteration as end:
            gathered[place] = Gathered(end.value, secure.up, secure.down, secure.payload, secure.left, secure.row)
            del running[place]

    for place, (federation, plan, (_, messages)) in enumerate(rounds):
        if not len(messages):
            gathered[place] = Gathered(NOTHING, 0, 0, {"up": 0, "down": 0}, [])
            continue
        content = messages.content if isinstance(messages, Broadcast) else messages[0].content
        secure = SecureRound(federation, plan.clients, content, traffic)
        running[place] = (secure, secure.run())
        advance(place, None)
    while running:
        asked = [place for place in waiting if place in running]
        answers = exchange([(rounds[place][2][0], waiting[place]) for place in asked])
        for place, replies in zip(asked, answers, strict=True):
            advance(place, in_sequence(replies))
    return [found for found in gathered if found is not None]
