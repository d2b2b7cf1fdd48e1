"""The ledger names every field of every message that leaves a client, and its bytes are the run's."""

from collections import Counter

import numpy as np
import pytest
from federations import settings, trained
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MessageType, MetricRecord, RecordDict
from test_traffic import deflated

import edgefed
from edgefed.api.assembly import in_process
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.engines.grid import _claim_identity
from edgefed.errors import FederationError
from edgefed.federation.disclosure import ENVELOPE, FIELDS, OTHER, Disclosed, called_for
from edgefed.federation.exchange import LATE
from edgefed.federation.explanation import collect
from edgefed.federation.messages import Broadcast
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.federation.traffic import Traffic, field_bytes

CASES = {
    "plain": {},
    "evaluated by clients": {"client_test_fraction": 0.2, "long_tail": 1.0},
    "scaffold": {"strategy": "scaffold"},
    "fednova": {"strategy": "fednova"},
    "qfedavg": {"strategy": "qfedavg"},
    "climb": {"imbalance": "climb"},
    "class-balanced": {"imbalance": "class-balanced", "standardize": "none"},
    "noisy counts": {"imbalance": "class-weights-balanced-noisy"},
    "int8": {"compression": "int8"},
    "top-k": {"compression": "top-k"},
    "many clients": {"num_clients": 70, "fraction_train": 0.5},
    "missing values' means": {"missing": "mean"},
    "some lost": {"drop_out": 0.3, "stragglers": 0.3, "partial_work": "accept"},
    "refused": {"max_update_norm": 1e-9},
    "dp-fixed": {"privacy": "dp-fixed", "standardize": "server", "imbalance": "post-hoc"},
    "dp-adaptive": {"privacy": "dp-adaptive", "standardize": "server", "noise_multiplier": 0.5},
    "secagg": {"privacy": "secagg", "partition": "iid", "imbalance": "class-balanced", "num_server_rounds": 2},
}


class Opener:
    """An engine whose replies are opened as they come, one by one, before anybody else takes them apart.

    ``also`` is put into the metrics of every train reply: what a client sends that nobody asked for.
    """

    def __init__(self, engine, also=None):
        self.engine = engine
        self.also = also
        self.messages, self.array_bytes, self.total = Counter(), Counter(), 0

    def exchange(self, items):
        answers = [list(replies) for replies in self.engine.exchange(items)]
        for (_, messages), replies in zip(items, answers, strict=True):
            kind = messages.message_type if isinstance(messages, Broadcast) else messages[0].metadata.message_type
            for reply in replies:
                if reply.has_content():
                    self._open(kind, reply.content)
        return answers

    def _open(self, kind, content):
        if self.also and kind == "train":
            content["metrics"][self.also] = 0.5
        self.total += deflated(content)
        for name, record in content.items():
            if isinstance(record, ArrayRecord):
                self.messages[kind, name] += 1
                empty = deflated_record(ArrayRecord())
                self.array_bytes[kind, name] += deflated_record(record) if len(record) else empty
            else:
                assert isinstance(record, MetricRecord | ConfigRecord)
                self.messages.update((kind, field) for field in record)


def deflated_record(record):
    """Return the bytes of a record of arrays by Flower's objects alone."""
    objects = [record, *record.values(), *(chunk for array in record.values() for _, chunk in array.slice_array())]
    return sum(len(item.deflate()) for item in objects)


def finished(changes, engine):
    """Run a federation's query, rounds and explanation by this engine."""
    config, data = federate(settings(**changes))
    federation = in_process(config, data, engine)
    query([federation], engine.exchange, [range(config.num_clients)])
    run_rounds([federation], engine.exchange)
    if config.privacy == "none":
        collect(federation, engine.exchange)
    return federation


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_every_field_of_every_message_is_named_and_weighed(changes):
    opener = Opener(make_engine("sequential"))
    federation = finished(changes, opener)
    ledger = federation.disclosed.rows(federation.config)
    named = {(row["message"], row["field"]): row for row in ledger if row["field"] != ENVELOPE}

    assert all(field in FIELDS[kind] for kind, field in opener.messages), "a message carries what no row names"
    assert OTHER not in {field for _, field in named}
    assert asked_by(opener.messages) == called_for(federation.config)
    assert {key: row["messages"] for key, row in named.items()} == dict(opener.messages)
    assert {key: row["bytes"] for key, row in named.items() if key[1] in ("arrays", "masked")} == dict(
        opener.array_bytes
    )
    assert sum(row["bytes"] for row in ledger) == opener.total
    assert opener.total == federation.query_bytes[0] + federation.bytes_up + federation.explanation_bytes[0]
    assert all(row["bytes"] > 0 for row in ledger)
    assert finished(changes, make_engine("batched")).disclosed.rows(federation.config) == ledger


def asked_by(messages):
    """Return the fields of each type of message, but for who it is, keys and shares, and explanations asked later."""
    found = {}
    for kind, field in messages:
        if field != "partition-id" and kind not in ("query.class_moments", "query.explain") and "secagg" not in kind:
            found.setdefault(kind, set()).add(field)
    return found


def test_a_field_that_no_row_names_stands_out():
    federation = finished({}, Opener(make_engine("sequential"), also="weight-of-the-owner"))
    ledger = federation.disclosed.rows(federation.config)
    (stranger,) = [row for row in ledger if row["field"] == OTHER]
    assert (stranger["message"], stranger["messages"]) == ("train", 3 * federation.holders)
    assert sum(row["bytes"] for row in ledger) == (
        federation.query_bytes[0] + federation.bytes_up + federation.explanation_bytes[0]
    )


def test_fields_weigh_what_they_add_to_a_message():
    """Entries of a record follow each other: one more field weighs what the message grows by, but for its header."""
    few = {"num-examples": 12, "partition-id": 300}
    many = few | {"confusion": [1, 2, 3], "loss": 0.5}
    small, large = (field_bytes(RecordDict({"metrics": MetricRecord(part)})) for part in (few, many))
    assert {name: large[name] for name in few} == {name: small[name] for name in few}
    assert 0 <= large[ENVELOPE] - small[ENVELOPE] <= 2  # digits of the length in the header
    assert sum(large.values()) == deflated(RecordDict({"metrics": MetricRecord(many)}))


# ---------------------------------------------------------------------------------------------- in the run's folder
@pytest.mark.parametrize("changes", [{}, {"explain": "yes"}, {"client_test_fraction": 0.2, "long_tail": 1.0}])
def test_a_folders_ledger_sums_to_its_bytes(tmp_path, changes):
    run, _ = trained(settings(**changes), out=tmp_path / "run")
    kept = edgefed.Run.read(tmp_path / "run")
    ledger = kept.manifest["ledger"]
    assert sum(row["bytes"] for row in ledger) == run.summary["bytes"]["up"]
    assert ({row["message"] for row in ledger} >= {"query.explain", "query.class_moments"}) == (
        changes == {"explain": "yes"}
    )


def test_a_resumed_runs_ledger_is_the_uninterrupted_ones(tmp_path):
    config = settings(num_server_rounds=6, client_test_fraction=0.2, long_tail=1.0)
    whole, _ = trained(config)

    def stop(federation):
        if federation.round == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edgefed.run(config, out=tmp_path / "run", progress=False, on_round=stop)
    resumed = edgefed.run(config, out=tmp_path / "run", resume=True, progress=False)
    order = {(row["message"], row["field"]): row for row in resumed.manifest["ledger"]}
    assert order == {(row["message"], row["field"]): row for row in whole.manifest["ledger"]}


@pytest.mark.parametrize(
    ("changes", "statuses"),
    [
        ({}, {("train", "arrays"): "exact", ("train", "num-examples"): "exact"}),
        ({"compression": "int8"}, {("train", "arrays"): "exact"}),  # rounding hides nothing
        ({"imbalance": "post-hoc"}, {("query", "class-counts"): "exact"}),
        ({"imbalance": "class-weights-balanced-noisy"}, {("query", "class-counts"): "noised"}),
        (
            {"privacy": "dp-fixed", "standardize": "none", "imbalance": "post-hoc"},
            {
                ("train", "arrays"): "clipped and noised centrally",
                ("train", "train-loss"): "exact",
                ("query", "class-counts"): "noised",
            },
        ),
    ],
)
def test_what_protects_a_field_is_said(changes, statuses):
    run, _ = trained(settings(num_server_rounds=1, **changes))
    found = {(row["message"], row["field"]): row["status"] for row in run.manifest["ledger"]}
    assert {key: found[key] for key in statuses} == statuses
    assert found["train", ENVELOPE] == "no data"


def test_what_is_no_ledger_is_refused():
    def named(text):
        return np.frombuffer(text.encode(), np.uint8)

    ledger = Disclosed()
    ledger.note("train", {"arrays": 12}, 3)
    whole = dict(ledger.state())
    for state in (
        {"fields": whole["fields"]},
        whole | {"seen": np.zeros(3)},
        whole | {"fields": named("gossip/arrays")},
        whole | {"fields": named("train/arrays\ntrain/steps")},
    ):
        with pytest.raises(ValueError, match="no ledger of messages"):
            Disclosed().restore(state)
    other = Disclosed()
    other.restore({})  # a checkpoint that is older than the ledger
    other.restore(whole)
    assert other.rows(settings()) == ledger.rows(settings())


def test_what_devices_say_of_themselves_is_named_without_bytes():
    rows = Disclosed().rows(settings(), of_devices=True)
    assert {row["field"] for row in rows} >= {"name", "classes", "features"}
    assert all(row["bytes"] is None and row["status"] == "exact" for row in rows)


# ---------------------------------------------------------------------------------------------- what a client may do
def replied(record, name="metrics"):
    """Return a node's reply that holds one record."""
    return Message(RecordDict({name: record}), reply_to=Message(RecordDict(), 1, MessageType.TRAIN))


def refused(text, code=2):
    """Return a node's error."""
    return Message(Error(code, text), reply_to=Message(RecordDict(), 1, MessageType.TRAIN))


def test_the_words_of_an_error_are_weighed():
    _claim_identity()
    ledger, traffic = Disclosed(), Traffic()
    answers = [replied(MetricRecord({"steps": 3})), refused("row 17 holds äh"), refused("x"), refused("late", LATE)]
    left, up = traffic.left("train", answers)
    ledger.enter(left)
    rows = {row["field"]: row for row in ledger.rows(settings())}
    assert (rows["error"]["messages"], rows["error"]["bytes"]) == (2, 17)  # ä is two bytes; the server says who is late
    assert rows["steps"]["messages"] == 1
    assert sum(row["bytes"] for row in rows.values()) == up == 17 + deflated(answers[0].content)


class Raising:
    """An engine whose first client fails each time it trains."""

    def __init__(self, engine):
        self.engine = engine

    def exchange(self, items):
        answers = [list(replies) for replies in self.engine.exchange(items)]
        for (_, messages), replies in zip(items, answers, strict=True):
            if messages[0].metadata.message_type == "train":
                replies[0] = refused("ValueError: no such column")
        return answers

    def __getattr__(self, name):
        return getattr(self.engine, name)


def test_a_runs_bytes_hold_the_errors_of_its_clients():
    federation = finished({}, Raising(make_engine("sequential")))
    rows = federation.disclosed.rows(federation.config)
    (row,) = [row for row in rows if row["field"] == "error"]
    assert (row["message"], row["messages"], row["bytes"]) == ("train", 3, 3 * len("ValueError: no such column"))
    assert sum(row["bytes"] for row in rows) == (
        federation.query_bytes[0] + federation.bytes_up + federation.explanation_bytes[0]
    )


def test_a_round_that_stops_the_run_has_left_what_it_left():
    config, data = federate(settings(min_replies=10, drop_out=0.5))
    engine = make_engine("batched")
    federation = in_process(config, data, engine)
    query([federation], engine.exchange, [range(config.num_clients)])
    with pytest.raises(FederationError, match="min-replies=10"):
        run_rounds([federation], engine.exchange)
    rows = federation.disclosed.rows(config)
    assert federation.round == 0
    assert 0 < sum(row["messages"] for row in rows if row["field"] == "arrays") < 10
    assert sum(row["bytes"] for row in rows) == federation.query_bytes[0] + federation.bytes_up


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (MetricRecord({"steps": 1, "envelope": [1.0] * 1000}), "metrics"),
        (MetricRecord({"steps": 1, "error": [1.0] * 1000}), "metrics"),
        (MetricRecord({"steps": 1}), "row 17: forty-three, ä " * 300),
        (ArrayRecord({"w": Array(np.zeros(1000))}), "rows"),
    ],
    ids=["a field called envelope", "a field called error", "a record's name", "a record of arrays"],
)
def test_what_a_client_calls_things_hides_nothing(record, name):
    _claim_identity()
    reply, ledger = replied(record, name), Disclosed()
    left, up = Traffic().left("train", [reply])
    ledger.enter(left)
    rows = {row["field"]: row["bytes"] for row in ledger.rows(settings())}
    assert rows["other"] > 5000
    assert rows[ENVELOPE] < 200
    assert sum(rows.values()) == up == deflated(reply.content)


def test_arrays_weigh_what_they_hold_and_not_what_they_say_of_themselves():
    _claim_identity()
    traffic = Traffic()
    honest = Array(np.zeros((4, 8), np.float32))
    for data in (honest.data, b"x" * 100_000, honest.data):
        said = Array(dtype=honest.dtype, shape=honest.shape, stype=honest.stype, data=data)
        reply = replied(ArrayRecord({"w": said}), name="arrays")
        assert sum(traffic.fields([reply]).values()) == deflated(reply.content)


def test_a_client_with_ever_new_names_fills_no_memory(monkeypatch):
    _claim_identity()
    monkeypatch.setattr("edgefed.federation.traffic.MAX_KNOWN", 20)
    traffic = Traffic()
    for number in range(100):
        reply = replied(MetricRecord({f"name-{number}": 1}))
        assert sum(traffic.fields([reply]).values()) == deflated(reply.content)
    assert len(traffic._known) <= 21
