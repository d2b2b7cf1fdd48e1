"""Flower's own node loop, with a run that is stopped while its message is on the way: nothing of it is left."""

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supernode import start_client_internal as loop
from flwr.supernode.nodestate import NodeStateFactory

from edgefed.deploy.in_hand import InHand
from edgefed.engines.grid import _claim_identity

RUN = 7


class Node:
    """A SuperNode's store, and the two steps of its loop between which :class:`InHand` stands."""

    def __init__(self):
        _claim_identity()
        stores = ObjectStoreFactory()
        self.state = NodeStateFactory(objectstore_factory=stores).state()
        self.store = stores.store()
        self.state.set_node_id(3)
        self.state.store_run(Run.create_empty(RUN))
        self.hand = InHand()
        self.sent = []

    def pull(self, message, *, stopped_at=""):
        """Take a message; ``stopped_at`` says with which request its run turns out to be stopped."""
        objects = {name: part.deflate() for name, part in get_all_nested_objects(message).items()}

        def stop(what):
            if what == stopped_at:
                raise RunNotRunningException

        def receive():
            message.metadata.__dict__["_message_id"] = message.object_id
            return message, get_object_tree(message)

        def pull_object(run, name):
            stop("object")
            return objects[name]

        return self.hand.pulling(loop._pull_and_store_message)(
            state=self.state, object_store=self.store, node_config={}, receive=receive, get_run=None, get_fab=None,
            pull_object=pull_object, confirm_message_received=lambda run, name: stop("confirm"),
            trusted_entities=None,
        )  # fmt: skip

    def answer(self, message):
        """Put a reply into the store, as the worker does."""
        loop._insert_message(
            Message(RecordDict({"c": ConfigRecord({"n": 1})}), reply_to=message), self.state, self.store
        )

    def work(self, message):
        """Answer a message as the worker does: claim its task, put the reply into the store, finish the task."""
        (task,) = self.state.get_tasks(statuses=["pending"])
        assert self.state.claim_task(task.task_id)
        self.state.activate_task(task.task_id)
        self.answer(message)
        assert self.state.finish_task(task.task_id, "completed", "")

    def push(self):
        def send(message, tree, seconds):
            self.sent.append(message.metadata.reply_to_message_id)
            return set(), ""

        self.hand.pushing(loop._push_messages)(
            state=self.state, object_store=self.store, send=send, push_object=lambda *arguments: None
        )


def message(number):
    made = Message(RecordDict({"c": ConfigRecord({"number": number})}), dst_node_id=3, message_type="train")
    made.metadata.__dict__["_run_id"] = RUN
    return made


@pytest.mark.parametrize("stopped_at", ["object", "confirm"])
def test_a_message_whose_run_is_stopped_on_the_way_leaves_nothing_behind(stopped_at):
    node, lost = Node(), message(1)

    assert node.pull(lost, stopped_at=stopped_at) is None

    assert node.state.get_messages_legacy() == []
    assert [node.store.get(name) for name in get_all_nested_objects(lost)] == [None] * len(get_all_nested_objects(lost))


def test_a_reply_to_a_message_that_was_let_go_of_is_not_taken_for_the_next_ones():
    node, lost, kept = Node(), message(1), message(2)
    node.pull(lost, stopped_at="confirm")
    assert node.pull(kept) == RUN
    node.answer(lost)
    node.answer(kept)

    node.push()

    assert node.sent == [kept.object_id]
    assert node.state.get_messages_legacy() == []


@pytest.mark.parametrize("mended", [True, False], ids=["", "Flower by itself"])
def test_a_task_that_is_finished_is_forgotten(mended, monkeypatch):
    """Of each message Flower keeps its task for good; a week of a message a second is a gigabyte."""
    if not mended:
        monkeypatch.setattr("edgefed.deploy.in_hand.forget_finished", lambda state: None)
    node = Node()
    for number in range(5):
        asked = message(number)
        node.pull(asked)
        node.work(asked)
        node.push()
    node.pull(message(5))
    assert len(node.sent) == 5
    assert len(node.state.get_tasks()) == (1 if mended else 6)
    assert [task.status.status for task in node.state.get_tasks(statuses=["pending"])] == ["pending"]


def test_flower_by_itself_keeps_both():
    """Why it is there: should Flower mend this, it can go."""
    node, lost = Node(), message(1)
    node.hand.pulling = lambda step: step
    node.pull(lost, stopped_at="object")
    assert [each.object_id for each in node.state.get_messages_legacy()] == [lost.object_id]
