"""Bytes are those of the deflated objects of every real message, whichever way they are counted."""

import numpy as np
import pytest
from federations import ENGINES, Recorder, settings
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict

from edgefed.api.assembly import in_process
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.flat_record import to_record
from edgefed.federation.messages import Broadcast, CohortReplies
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.federation.traffic import Traffic, content_bytes
from edgefed.learning.model import MLP

MODEL = MLP(4, (16,), 3)


def deflated(content):
    """Count a content's bytes from Flower's objects alone: the record dictionary, its records, arrays, chunks."""
    objects = [content, *content.values()]
    for record in content.array_records.values():
        for array in record.values():
            objects += [array, *(chunk for _, chunk in array.slice_array())]
    return sum(len(item.deflate()) for item in objects)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"imbalance": "post-hoc", "dtype": "float64", "client_test_fraction": 0.2, "long_tail": 1.0},
        {"num_clients": 70, "standardize": "none", "hidden": ""},
        {"fraction_train": 0.3, "num_server_rounds": 5},
    ],
    ids=["default", "evaluated by clients", "seventy clients", "cohorts"],
)
def test_a_federation_counts_what_its_messages_weigh(engine, changes):
    recorder = Recorder(make_engine(engine))
    config, data = federate(settings(**changes))
    federation = in_process(config, data, recorder.engine)

    query([federation], recorder.exchange, [range(config.num_clients)])
    asked, answered = (
        [sum(deflated(message.content) for message in messages) for messages in kind]
        for kind in zip(*recorder.exchanges, strict=True)
    )
    assert federation.query_bytes == (answered[0], asked[0])

    recorder.exchanges.clear()
    run_rounds([federation], recorder.exchange)
    # A message's content is shared by its round, and the round number in it is updated: all are below 64.
    sent = sum(deflated(message.content) for messages, _ in recorder.exchanges for message in messages)
    received = sum(deflated(reply.content) for _, replies in recorder.exchanges for reply in replies)
    assert (federation.bytes_up, federation.bytes_down) == (received, sent)
    assert received > 0


def replies_of(metrics, stack=None):
    """Return a cohort's replies as a stack."""
    count = len(next(iter(metrics.values())))
    requests = Broadcast(RecordDict(), np.arange(count, dtype=np.uint64), MessageType.TRAIN)
    return CohortReplies(requests, None if stack is None else MODEL, stack, metrics)


#: Where a whole number gets a byte longer in protobuf's zigzag form: +-64, +-8192, ...
EDGES = sorted({sign * ((1 << 7 * step - 1) + off) for step in range(1, 9) for off in (-1, 0, 1) for sign in (-1, 1)})


def test_a_stack_weighs_what_its_messages_weigh():
    numbers = np.array(EDGES)
    metrics = {
        "partition-id": np.arange(len(numbers)),
        "num-examples": numbers,
        "pair": np.stack([numbers, numbers[::-1]], axis=1),
        "loss": np.linspace(-1, 1, len(numbers)),
        "losses": np.zeros((len(numbers), 3)),
    }
    stack = np.random.default_rng(0).normal(size=(len(numbers), MODEL.size)).astype(np.float32)
    for replies in (replies_of(metrics), replies_of(metrics, stack)):
        assert sum(Traffic().fields(replies).values()) == sum(deflated(reply.content) for reply in replies)
        assert sum(Traffic().fields(list(replies)).values()) == sum(Traffic().fields(replies).values())


def test_what_is_known_is_not_mistaken_for_something_else():
    """One counter sees cohorts of other sizes, types, names and lengths in turn, and gets each right."""
    traffic = Traffic()
    rng = np.random.default_rng(1)
    for count in (1, 2, 3, 2):
        for dtype in (np.float32, np.float64):
            for name in ("a", "b-longer-name"):
                for scale in (10, 10_000, 10**12):
                    metrics = {"partition-id": np.arange(count), name: rng.integers(0, scale, count)}
                    replies = replies_of(metrics, rng.normal(size=(count, MODEL.size)).astype(dtype))
                    assert sum(traffic.fields(replies).values()) == sum(deflated(reply.content) for reply in replies)


@pytest.mark.parametrize(
    "record",
    [
        ConfigRecord({"text": "ä€", "bytes": b"123", "flag": False, "number": 0, "share": 0.0}),
        ConfigRecord({"texts": ["a", "bc"], "flags": [True, False], "numbers": [1, -70, 10_000], "shares": [0.5]}),
        ConfigRecord({"none": []}),
        ConfigRecord({"ascii texts": ["ab", "cde"], "mixed": [1, 64]}),
        MetricRecord({"number": 2**62, "share": float("nan"), "numbers": [0], "shares": [0.0, -0.0]}),
        ArrayRecord({"a": Array(np.zeros((3, 4), np.float32)), "b": Array(np.ones(5))}),
    ],
    ids=["scalars", "lists", "an empty list", "lists again", "metrics", "arrays"],
)
def test_any_record_is_measured_as_it_is(record):
    traffic, content = Traffic(), RecordDict({"record": record})
    messages = Broadcast(content, np.arange(5, dtype=np.uint64), MessageType.TRAIN)

    assert content_bytes(content) == deflated(content)
    for _ in range(2):  # deflated first, known then
        assert traffic.sent(messages) == 5 * deflated(content)
        assert traffic.sent(list(messages)) == 5 * deflated(content)


@pytest.mark.parametrize(
    "form",
    [
        lambda text: text,
        lambda text: [text, text],
    ],
    ids=["text", "list of texts"],
)
def test_texts_of_several_bytes_a_letter_are_told_apart(form):
    traffic = Traffic()
    for text in ("ab", "äö", "€€"):
        content = RecordDict({"record": ConfigRecord({"text": form(text)})})
        assert traffic.sent([Message(content, 1, MessageType.TRAIN)]) == deflated(content)


def test_nothing_weighs_nothing():
    assert Traffic().sent([]) == 0
    assert sum(Traffic().fields([]).values()) == 0
    assert sum(Traffic().fields(replies_of({"partition-id": np.empty(0, np.int64)})).values()) == 0


# ---------------------------------------------------------------------------------------------- lazy records
FLAT = np.random.default_rng(2).normal(size=MODEL.size)


def plain_record():
    """Return Flower's own record of the same weights."""
    return ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in MODEL.state_dict(FLAT).items()})


def test_weights_that_were_never_serialised_read_as_an_ordinary_record():
    plain = plain_record()
    for read in (
        len,
        list,
        lambda record: list(record.keys()),
        lambda record: "0.weight" in record,
        lambda record: record["0.weight"].data,
        lambda record: [array.data for array in record.values()],
        lambda record: [(name, array.data) for name, array in record.items()],
        lambda record: [array.tobytes() for array in record.to_numpy_ndarrays()],
        lambda record: list(record.to_torch_state_dict()),
        lambda record: record.count_bytes(),
        lambda record: list(record.children),
        lambda record: len(record.copy()),
        lambda record: (record.pop("0.bias").data, list(record)),
        lambda record: ([array.tobytes() for array in record.to_numpy_ndarrays(keep_input=False)], len(record)),
    ):
        assert read(to_record(MODEL, FLAT)) == read(plain)
        plain = plain_record()


def test_weights_travel_as_flowers_own_records():
    """The header of a deflated object names its class, and a receiver looks that name up."""
    assert to_record(MODEL, FLAT).deflate() == plain_record().deflate()
    assert to_record(MODEL, FLAT).object_id == plain_record().object_id


def test_equal_weights_are_equal_records():
    assert to_record(MODEL, FLAT) == to_record(MODEL, FLAT)
    assert to_record(MODEL, FLAT) != to_record(MODEL, FLAT + 1)
    assert plain_record() == to_record(MODEL, FLAT)
