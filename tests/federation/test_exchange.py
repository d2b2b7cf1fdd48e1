"""Every message gets one answer: a reply, an error that names the node, or that it came too late."""

from collections import Counter
from types import SimpleNamespace

import pytest
from federations import queried, settings
from flwr.app import ConfigRecord, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.superlink.grid.http_grid import HttpGrid

from edgefed.engines import make_engine
from edgefed.federation import exchange as exchanges
from edgefed.federation.exchange import LATE, UNREACHABLE, through_grids
from edgefed.federation.rounds import run_rounds


class Clock:
    """A time that passes only while somebody sleeps."""

    def __init__(self):
        self.now, self.naps = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(exchanges, "time", found)
    return found


class Link:
    """A SuperLink as a grid shows it: messages are pushed, and replies pulled once they are there.

    ``after`` says when each node answers, ``gone`` which cannot be reached, ``down`` which answer with Flower's error
    for a dead node, sent by Flower's own node 1.
    """

    def __init__(self, clock, answer, after, gone=(), down=(), early=()):
        self.clock, self.answer, self.after, self.gone, self.down = clock, answer, after, gone, down
        self.sent, self.early, self.pulled = {}, list(early), []

    def push_messages(self, messages):
        names = []
        for message in messages:
            node = message.metadata.dst_node_id
            message.metadata.__dict__["_message_id"] = f"message-{len(self.sent)}-{node}"
            if node in self.gone:
                names.append(None)
                continue
            self.sent[message.metadata.message_id] = (message, self.clock.now)
            names.append(message.metadata.message_id)
        return names

    def pull_messages(self, names):
        assert None not in names
        self.pulled.append(sorted(names))
        replies, self.early = self.early, []
        for name in names:
            message, begun = self.sent[name]
            node = message.metadata.dst_node_id
            if self.clock.now - begun < self.after.get(node, 0):
                continue
            if node in self.down:
                reply = Message(Error(5, "Node Unavailable"), reply_to=message)
                reply.metadata.__dict__["_src_node_id"] = 1
            else:
                reply = self.answer(message)
            replies.append(reply)
        return replies


def told(message):
    return Message(RecordDict({"metrics": MetricRecord({"n": message.metadata.dst_node_id})}), reply_to=message)


def asked(nodes):
    queried(settings())  # gives messages their identity
    return [Message(RecordDict({"config": ConfigRecord({})}), node, MessageType.TRAIN) for node in nodes]


def test_everybody_answers_and_nobody_waits_for_longer(clock):
    link = Link(clock, told, {11: 0.0, 12: 7.0})
    (answers,) = through_grids(600)([(link, asked([11, 12]))])

    assert sorted(reply.metadata.src_node_id for reply in answers) == [11, 12]
    assert not any(reply.has_error() for reply in answers)
    assert 7 <= clock.now < 8  # a tenth of the time that has passed
    assert clock.naps[0] == pytest.approx(0.1)
    assert max(clock.naps) <= 3


def test_a_late_reply_is_late_and_the_wait_is_bounded(clock):
    link = Link(clock, told, {11: 0.0, 12: 1e6})
    (answers,) = through_grids(20)([(link, asked([11, 12]))])

    late = next(reply for reply in answers if reply.has_error())
    assert (late.metadata.src_node_id, late.error.code) == (12, LATE)
    assert late.error.reason == "no reply within 20 s"
    assert 20 <= clock.now <= 23


def test_a_reply_to_another_round_is_never_looked_at(clock):
    (stale,) = asked([12])
    stale.metadata.__dict__["_message_id"] = "of an earlier round"
    link = Link(clock, told, {}, early=[told(stale), told(stale)])
    (answers,) = through_grids(20)([(link, asked([11, 12]))])

    assert sorted(reply.metadata.src_node_id for reply in answers) == [11, 12]
    assert all(reply.metadata.reply_to_message_id.startswith("message-") for reply in answers)


def test_a_node_that_left_is_named_and_the_others_are_asked(clock):
    link = Link(clock, told, {}, gone=[12])
    (answers,) = through_grids(20)([(link, asked([11, 12, 13]))])

    gone = next(reply for reply in answers if reply.has_error())
    assert (gone.metadata.src_node_id, gone.error.code, gone.error.reason) == (12, UNREACHABLE, "the node is gone")
    assert len(answers) == 3
    assert clock.now == 0


def test_flowers_error_for_a_dead_node_names_the_dead_one(clock):
    link = Link(clock, told, {12: 59.0}, down=[12])
    (answers,) = through_grids(600)([(link, asked([11, 12]))])

    dead = next(reply for reply in answers if reply.has_error())
    assert (dead.metadata.src_node_id, dead.error.code, dead.error.reason) == (12, 5, "Node Unavailable")


def test_nobody_asked_is_nobody_waited_for(clock):
    link = Link(clock, told, {})
    assert through_grids(600)([(link, [])]) == [[]]
    assert link.pulled == []
    assert clock.now == 0


def test_a_round_says_who_was_late_and_who_was_gone(clock):
    """The link in front of the clients of a simulation: node ids are partition ids."""
    federation, trainer = queried(settings(partition="iid", num_server_rounds=2), make_engine("sequential"))
    grid = federation.grid
    federation.grid = Link(
        clock, lambda message: trainer.exchange([(grid, [message])])[0][0], {3: 1e6}, gone=[5], down=[7]
    )
    run_rounds([federation], through_grids(30))

    for row, entry in zip(federation.history, federation.clients, strict=True):
        assert row["clients"] == 7
        assert row["late"] == 1
        assert sorted(row["failed"]) == ["Node Unavailable", "the node is gone"]
        verdicts = dict(zip(entry.ids.tolist(), entry.verdicts, strict=True))
        assert verdicts[3] == "late: no reply within 30 s"
        assert verdicts[5] == "failed: the node is gone"
        assert verdicts[7] == "failed: Node Unavailable"
        assert list(verdicts.values()).count("ok") == 7


@pytest.mark.parametrize("privacy", ["none", "secagg"])
def test_who_is_late_is_not_waited_for_again_in_the_same_round(clock, privacy):
    """Client 3 misses round 1, and is back in round 2: one wait of 30 s, though both rounds end with a test."""
    config = settings(partition="iid", num_clients=4, num_server_rounds=2, client_test_fraction=0.2, privacy=privacy)
    federation, trainer = queried(config, make_engine("sequential"))
    grid, asked_to_test = federation.grid, []

    def answer(message):
        if message.metadata.message_type == "evaluate":
            asked_to_test.append((federation.round, message.metadata.dst_node_id))
        return trainer.exchange([(grid, [message])])[0][0]

    federation.grid = link = Link(clock, answer, {3: 1e6})
    federation.on_round = lambda _: link.after.clear()
    run_rounds([federation], through_grids(30))

    first, second = federation.history
    others = [(1, client) for client in range(3)]
    assert asked_to_test == others + [(2, client) for client in range(4)]
    assert clock.now < 31
    assert (first["late"], first["clients_test"]["clients"], "evaluation_late" in first) == (1, 3, False)
    assert ("late" in second, second["clients_test"]["clients"]) == (False, 4)
    verdicts = [dict(zip(rows.ids.tolist(), rows.verdicts, strict=True))[3] for rows in federation.clients]
    stage = "keys: " if privacy == "secagg" else ""
    assert verdicts == [f"late: {stage}no reply within 30 s; not asked to evaluate", "ok"]


def test_a_reply_in_time_is_not_late_however_long_the_naps(clock):
    """A nap ends with the time, and then there is one more look."""
    link = Link(clock, told, {11: 29.9})
    (answers,) = through_grids(30)([(link, asked([11]))])

    assert not any(reply.has_error() for reply in answers)
    assert clock.now <= 30.01


class Runtime:
    """A SuperLink's runtime interface as Flower's grid sees it: replies announced, of some not every piece."""

    def __init__(self, replies, missing):
        self.replies = {reply.metadata.reply_to_message_id: reply for reply in replies}
        self.pieces = {name: piece for reply in replies for name, piece in get_all_nested_objects(reply).items()}
        self.missing, self.tries = missing, Counter()

    def PullMessages(self, request):  # noqa: N802
        found = [self.replies.pop(name) for name in request.message_ids if name in self.replies]
        trees = [get_object_tree(reply) for reply in found]
        return PullAppMessagesResponse(
            messages_list=[message_to_proto(reply) for reply in found], message_object_trees=trees
        )

    def PullObject(self, request):  # noqa: N802
        self.tries[request.object_id] += 1
        assert self.tries[request.object_id] < 6, "still waiting"
        there = request.object_id not in self.missing
        content = self.pieces[request.object_id].deflate() if there else b""
        return PullObjectResponse(object_found=True, object_available=there, object_content=content)

    def ConfirmMessageReceived(self, request):  # noqa: N802
        pass


def test_a_reply_of_which_a_piece_never_comes_is_late_and_holds_nobody_up(monkeypatch):
    """Flower's own grid: it would wait for the piece until three minutes after the last one."""
    sent = asked([11, 12, 13])
    for message in sent:
        message.metadata.__dict__["_message_id"] = message.object_id
    replies = [told(message) for message in sent]
    for reply in replies:
        reply.metadata.__dict__["_message_id"] = reply.object_id
    grid = HttpGrid(token="a token")
    monkeypatch.setattr(grid, "_run", SimpleNamespace(run_id=1))
    monkeypatch.setattr(grid, "push_messages", lambda messages: [message.metadata.message_id for message in messages])
    lost = {name for name in get_all_nested_objects(replies[0]) if name != replies[0].object_id}
    monkeypatch.setattr(HttpGrid, "_runtime_client", Runtime(replies, lost))

    (answers,) = through_grids(0.2)([(grid, sent)])

    assert {a.metadata.src_node_id: a.error.code if a.has_error() else "whole" for a in answers} == {
        11: LATE,
        12: "whole",
        13: "whole",
    }
