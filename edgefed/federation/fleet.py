"""Who is there: nodes of Flower's runtimes by partition id, those that come late or come back included."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.common.constant import ErrorCode

from edgefed.data.labels import natural_order
from edgefed.errors import FederationError, one_line, shown
from edgefed.federation.introduction import Introduction, introduction_request, read_introduction, this_version
from edgefed.federation.messages import Broadcast
from edgefed.federation.places import Places
from edgefed.federation.query import admit
from edgefed.federation.screening import Asked
from edgefed.federation.uploads import pieces_until
from edgefed.schema import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flwr.app import Message
    from flwr.serverapp import Grid

    from edgefed.config import FederationConfig
    from edgefed.federation.federation import Exchange, Federation

log = logging.getLogger("flwr")

LOOK_EVERY = 0.5
"""Seconds between two looks at which nodes are there."""
SOON, ASK_AGAIN = 10.0, 60.0
"""Seconds that a start waits for a node that has been asked who it is, and until one that said nothing, or was left out
by what its owner may change, is asked again. Nobody else waits for it: answers are looked for and not awaited."""
WHOLE_WITHIN = 5.0
"""Seconds within which an answer that has begun to come must be there; else it is asked for again later."""


@dataclass(eq=False)
class Fleet:
    """The nodes of one run.

    Parameters
    ----------
    grid : Grid
    exchange : Exchange
    config : FederationConfig
        ``num-clients`` is how many there are when all are there, ``wait-for-clients`` how long a run waits for them.
    places : Places
        Which place each node's key is for, where the server knows.
    """

    grid: Grid
    exchange: Exchange
    config: FederationConfig
    places: Places = field(default_factory=Places)
    members: dict[int, Introduction] = field(default_factory=dict)
    """By partition id."""
    left_out: dict[int, tuple[Introduction, str]] = field(default_factory=dict)
    """By node id: devices that do not fit, and why."""
    _met: set[int] = field(default_factory=set)
    _asked: dict[int, float] = field(default_factory=dict)
    _unanswered: dict[str, Message] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)

    @property
    def of_devices(self) -> bool:
        """Whether the nodes hold rows of their own."""
        return any(member.own_file for member in self.members.values())

    def absent(self) -> list[dict[str, Any]]:
        """Return a row a device that does not fit and is no member under another node id: who it is, and why."""
        rows = {
            who.partition_id: {"partition-id": who.partition_id, "name": who.name, "why": why}
            for who, why in self.left_out.values()
            if who.own_file and who.partition_id not in self.members
        }
        return [rows[partition_id] for partition_id in sorted(rows)]

    def asked(self, partition_ids: Iterable[int]) -> Asked:
        """Return members as who is asked: a node answers for the client that it introduced itself as."""
        ids = sorted(set(partition_ids))
        return Asked(np.array(ids, np.int64), np.array([self.members[number].node for number in ids], np.uint64))

    def gather(self) -> None:
        """Wait for the clients; devices that are late may still come, clients of a simulation must all be there.

        Raises
        ------
        FederationError
            When too few have come within ``wait-for-clients`` seconds, or there are too many.
        """
        expected, deadline = self.config.num_clients, time.monotonic() + self.config.wait_for_clients
        connected = list(self.grid.get_node_ids())
        while len(self.members) < self._awaited(connected):
            self._meet(connected)
            if self.members and not self.of_devices and len(connected) > expected:
                break
            if len(self.members) >= self._awaited(connected):
                break
            if time.monotonic() > deadline and not self._answers_soon():
                break
            time.sleep(LOOK_EVERY)
            connected = list(self.grid.get_node_ids())
        self._check_number(len(connected))

    def _awaited(self, connected: Sequence[int]) -> int:
        """Return for how many nodes a start waits: of devices, those whose keys may join and who agree to the run."""
        places, expected = self.places.read(), self.config.num_clients
        declined = sum(node in connected and bool(who.declines) for node, (who, _) in self.left_out.items())
        if places is not None:
            expected = max(1, len({place for place in places.values() if place < expected}))
        return expected - declined

    def _answers_soon(self) -> bool:
        """Return whether a start waits for an answer that is on its way; of a simulation's nodes none may lack."""
        devices = self.of_devices or self.places.read() is not None
        patience = min(SOON, self.config.wait_for_clients) if devices else self.config.round_timeout
        waiting = [self._asked[message.metadata.dst_node_id] for message in self._unanswered.values()]
        return any(time.monotonic() - asked < patience for asked in waiting)

    def _check_number(self, connected: int) -> None:
        expected = self.config.num_clients
        declined = [f"{who.who}: {why}" for who, why in self.left_out.values() if who.declines]
        if declined and not self.members:
            more = f"; and so do {len(declined) - 1} others" if len(declined) > 1 else ""
            raise FederationError(f"no device takes part: {declined[0]}{more}")
        if self.of_devices:
            without = [member.who for member in self.members.values() if not member.own_file]
            if without:
                raise FederationError(
                    f"{without[0]} has no file of its own (data-path in its node config) and others have; "
                    "start it with its data"
                )
            return
        if connected > expected:
            raise FederationError(
                f"{connected} nodes are connected, num-clients={expected}: set num-clients (in a simulation "
                "num-supernodes) to the same number"
            )
        if len(self.members) < expected:
            raise FederationError(
                f"{len(self.members)} of {expected} clients are connected after {self.config.wait_for_clients:g} s; "
                "start the others, or set num-clients (in a simulation num-supernodes) to what there is"
            )

    def _meet(self, connected: Sequence[int]) -> list[Introduction]:
        """Ask nodes that nobody has asked yet who they are; return those that are new or back under another id."""
        places = self.places.read()
        for node in self.left_out.keys() - {*connected}:  # started again, perhaps with another file or version
            self._met.discard(node)
            self._asked.pop(node, None)
        arrived = []
        for reply in self._introductions([node for node in connected if places is None or node in places]):
            self._met.add(reply.metadata.src_node_id)
            try:
                member = read_introduction(reply)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("node %d is left out: no introduction (%s)", reply.metadata.src_node_id, error)
                continue
            if problem := self._unfit(member):
                self._leave_out(member, one_line(problem))
                continue
            if problem := self._taken(member, places, connected):
                log.warning("%s is left out: %s", member.who, problem)
                continue
            self.members[member.partition_id] = member
            self.left_out.pop(member.node, None)
            arrived.append(member)
        return arrived

    def _leave_out(self, member: Introduction, why: str) -> None:
        """Note why a device does not fit, and ask it again: its owner may change its terms.

        Not about a file that cannot be used, as long as its device stays: each look at one that is under terms counts
        as an answer.
        """
        if self.left_out.get(member.node, (member, ""))[1] != why:
            log.warning("%s is left out: %s", member.who, why)
        self.left_out[member.node] = (member, why)
        if not member.problem:
            self._ask_later(member.node)

    def _ask_later(self, node: int) -> None:
        self._met.discard(node)
        self._asked[node] = time.monotonic()

    def _introductions(self, nodes: Sequence[int]) -> list[Message]:
        """Ask those of these nodes that are strangers, and return the answers that are there."""
        now = time.monotonic()
        strangers = [n for n in nodes if n not in self._met and now - self._asked.get(n, -ASK_AGAIN) >= ASK_AGAIN]
        content, message_type = introduction_request()
        messages = Broadcast(content, np.array(strangers, np.uint64), message_type)
        if getattr(self.grid, "answers_at_once", False):
            (replies,) = self.exchange([(self.grid, messages)]) if strangers else ([],)
            return [reply for reply in replies if reply.has_content()]
        # One that says nothing must hold nobody up, so this does not wait for answers.
        again = set(strangers)
        self._unanswered = {k: m for k, m in self._unanswered.items() if m.metadata.dst_node_id not in again}
        sent = list(messages) if strangers else []
        reached = set(self.grid.push_messages(sent)) if sent else set()
        for message in sent:
            if message.metadata.message_id in reached:
                self._asked[message.metadata.dst_node_id] = now
                self._unanswered[message.metadata.message_id] = message
        answers = []
        with pieces_until(now + WHOLE_WITHIN):
            replies = self.grid.pull_messages(list(self._unanswered)) if self._unanswered else ()
        for reply in replies:
            if (asked := self._unanswered.pop(reply.metadata.reply_to_message_id, None)) is None:
                continue
            if reply.has_content():
                answers.append(reply)
            elif reply.error.code != ErrorCode.MESSAGE_UNAVAILABLE:
                self._asked.pop(asked.metadata.dst_node_id, None)
        return answers

    def _taken(self, member: Introduction, places: Mapping[int, int] | None, connected: Sequence[int]) -> str:
        """Return why the place that a device says it has is not its own; empty text where it is."""
        if not member.own_file:
            return ""
        if places is not None:
            own = places.get(member.node)
            if own == member.partition_id:
                return ""
            return f"it says partition-id={member.partition_id}, and its key is that of partition-id={own}"
        holder = self.members.get(member.partition_id)
        if holder is None or holder.node == member.node or holder.node not in connected:
            return ""
        # It may be the same device, started again before the server has missed it: it is asked again.
        self._ask_later(member.node)
        return f"{holder.who} is connected as partition-id={member.partition_id}"

    def _unfit(self, member: Introduction) -> str:
        """Return why a node cannot take part; empty text where it can."""
        if member.version != this_version():
            return f"it runs edgefed {shown(member.version)}, the server {this_version()}; install the same"
        expected = self.config.num_clients
        if member.own_file and not 0 <= member.partition_id < expected and not member.problem:
            return f"partition-id={member.partition_id}, and num-clients={expected} expects 0 to {expected - 1}"
        if member.declines:
            return member.declines
        if self._told and member.own_file:
            return member.problem or self._differs(member)
        return ""

    # ---- devices: one order of columns and classes for all
    def agree(self, test_classes: Sequence[str] = ()) -> dict[str, str]:
        """Find the columns and classes of all devices' files and return them as settings that every device is told.

        Columns are those of the first device, by name; classes those that ``classes`` lists, or the sorted union of
        what the devices and the server's test rows hold.

        Raises
        ------
        FederationError
            One line that names the device: a file that cannot be read, other columns, or too few classes.
        """
        members = [self.members[partition_id] for partition_id in sorted(self.members)]
        for member in members:
            if member.problem:
                raise FederationError(f"{member.who}: {member.problem}")
        found = {*test_classes, *(name for member in members for name in member.classes)}
        classes = listed(self.config.classes) or tuple(sorted(found, key=natural_order))
        if len(classes) < 2:
            raise FederationError(f"one class only in all devices' files ({', '.join(found)}), expected at least two")
        first = members[0]
        for name in (*classes, *first.features):
            if "," in name:
                raise FederationError(f"the name '{shown(name)}' holds a comma, which a list cannot: rename it")
        told = {"classes": ",".join(classes), "feature-columns": ",".join(first.features), "label-column": first.label}
        self._told = told
        for member in members[1:]:
            if difference := self._differs(member):
                raise FederationError(f"{member.who}: {difference}")
        return told

    def _differs(self, member: Introduction) -> str:
        """Return in which columns or classes a device's file differs from what was agreed on."""
        features, classes = listed(self._told["feature-columns"]), listed(self._told["classes"])
        lacks, more = _names(features, member.features), _names(member.features, features)
        if lacks or more:
            parts = [f"lacks {lacks}"] * bool(lacks) + [f"has {more} as well"] * bool(more)
            return f"its feature columns differ: it {' and '.join(parts)}"
        if member.label != self._told["label-column"]:
            return f"its label column is '{shown(member.label)}', the others' is '{shown(self._told['label-column'])}'"
        if unheard := _names(member.classes, classes):
            return f"its labels {unheard} are none of the run's classes ({shown(', '.join(classes))})"
        return ""

    # ---- between rounds
    def before_round(self, federation: Federation) -> None:
        """Let devices that have come, or come back, take part from this round on, and leave out those that are gone.

        Raises
        ------
        FederationError
            When none is there, and none comes within ``wait-for-clients`` seconds.
        """
        deadline = time.monotonic() + self.config.wait_for_clients
        while True:
            connected = list(self.grid.get_node_ids())
            asked = {member.partition_id for member in self._meet(connected)}
            unknown = {n: m.node for n, m in self.members.items() if n not in asked and m.node != federation.nodes[n]}
            federation.unheard |= {node for node in unknown.values() if node not in connected}
            asked |= {number for number, node in unknown.items() if node in federation.unheard and node in connected}
            if asked and (let_in := admit(federation, self.exchange, self.asked(asked))):
                who = ", ".join(self.members[number].who for number in let_in)
                log.info("%s takes part from round %d", who, federation.round + 1)
            federation.present = np.isin(federation.nodes, np.array(connected, np.uint64))
            if (federation.rows[federation.present] > 0).any():
                return
            if time.monotonic() > deadline:
                raise FederationError(
                    f"no device with rows is connected, after {self.config.wait_for_clients:g} s; "
                    "what was committed is kept"
                )
            time.sleep(LOOK_EVERY)


def _names(wanted: Sequence[str], there: Sequence[str]) -> str:
    return shown(", ".join(f"'{name}'" for name in wanted if name not in there))
