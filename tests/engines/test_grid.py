"""The in-process grid and its engines as Flower sees them."""

import numpy as np
import pytest
from federations import ENGINES, Recorder, queried, settings
from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from edgefed.config import SettingsError
from edgefed.engines import ENGINES as CATALOGUE
from edgefed.engines import make_engine
from edgefed.federation.messages import ARRAYS, METRICS
from edgefed.federation.rounds import run_rounds


def contents_of(federation, engine):
    """Return what the server sends for training in each round, by training."""
    recorder = Recorder(engine)
    run_rounds([federation], recorder.exchange)
    return [messages[0].content for messages, _ in recorder.exchanges]


@pytest.mark.parametrize("name", ENGINES)
def test_each_message_is_answered_by_the_client_it_was_sent_to(name):
    federation, engine = queried(settings(), make_engine(name))
    content = contents_of(federation, engine)[0]
    nodes = [7, 2, 5]
    messages = [Message(content, node, MessageType.TRAIN) for node in nodes]

    replies = list(federation.grid.send_and_receive(messages))

    assert [reply.content.metric_records[METRICS]["partition-id"] for reply in replies] == nodes
    assert [reply.metadata.src_node_id for reply in replies] == nodes
    assert [reply.metadata.reply_to_message_id for reply in replies] == [m.metadata.message_id for m in messages]
    assert [reply.content.metric_records[METRICS]["num-examples"] for reply in replies] == [
        int(federation.rows[node]) for node in nodes
    ]


def test_messages_of_different_contents_are_answered_in_their_own_order():
    """A strategy may send each client something else; replies stay beside their messages."""
    federation, engine = queried(settings())
    first, second, third = contents_of(federation, engine)
    contents = [first, second, first, third]
    nodes = [3, 4, 5, 6]
    messages = [Message(content, node, MessageType.TRAIN) for content, node in zip(contents, nodes, strict=True)]

    together = list(federation.grid.send_and_receive(messages))

    for message, reply in zip(messages, together, strict=True):
        alone = next(iter(federation.grid.send_and_receive([message])))
        assert reply.content.metric_records[METRICS] == alone.content.metric_records[METRICS]
        for key, array in reply.content.array_records[ARRAYS].items():
            assert np.array_equal(array.numpy(), alone.content.array_records[ARRAYS][key].numpy())


@pytest.mark.parametrize("name", ENGINES)
def test_nothing_sent_is_nothing_received(name):
    federation, engine = queried(settings(), make_engine(name))

    assert len(list(federation.grid.send_and_receive([]))) == 0
    assert [len(replies) for replies in engine.exchange([(federation.grid, [])])] == [0]


@pytest.mark.parametrize("name", ENGINES)
def test_a_client_does_not_write_into_what_the_server_sent(name):
    """All messages share one content: whoever wrote into it would write into everyone's."""
    federation, engine = queried(settings(), make_engine(name))
    content = contents_of(federation, engine)[0]
    before = {key: array.numpy().copy() for key, array in content.array_records[ARRAYS].items()}

    list(federation.grid.send_and_receive([Message(content, node, MessageType.TRAIN) for node in range(3)]))

    for key, array in content.array_records[ARRAYS].items():
        assert np.array_equal(array.numpy(), before[key])


def test_one_type_of_message_at_a_time():
    federation, engine = queried(settings())
    content = contents_of(federation, engine)[0]
    items = [(federation.grid, [Message(content, 1, kind)]) for kind in (MessageType.TRAIN, MessageType.EVALUATE)]

    with pytest.raises(ValueError, match="one type of message"):
        engine.exchange(items)


def test_it_is_a_flower_grid_that_belongs_to_no_superlink():
    federation, engine = queried(settings())
    grid = federation.grid
    message = grid.create_message(contents_of(federation, engine)[0], MessageType.TRAIN, 3, "group")

    assert isinstance(grid, Grid)
    assert list(grid.get_node_ids()) == list(range(10))
    assert message.metadata.dst_node_id == 3
    for refused in (
        lambda: grid.run,
        lambda: grid.set_run(None),
        lambda: grid.push_messages([message]),
        lambda: grid.pull_messages(["1"]),
    ):
        with pytest.raises(RuntimeError, match="in-process"):
            refused()


def test_engines_are_made_by_name():
    assert set(ENGINES) < set(CATALOGUE)
    for name in ENGINES:
        assert make_engine(name) is not make_engine(name)
    with pytest.raises(SettingsError, match="unknown engine 'batch': did you mean batched"):
        make_engine("batch")
