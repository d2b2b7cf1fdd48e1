"""What a server must tell all clients of a round alike: told different things, they leave noise and no update."""

import numpy as np
import pytest
from drop_outs import TYPES
from federations import queried
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from edgefed.config import FederationConfig
from edgefed.engines import make_engine
from edgefed.federation.flat_record import to_record
from edgefed.federation.rounds import run_rounds
from edgefed.federation.secagg.messages import told_alike

CONFIG = FederationConfig(privacy="secagg", partition="iid", dtype="float64", local_epochs=1, num_clients=6)
ALL_BUT_ONE = (0, 1, 2, 3, 5)


class Telling:
    """An engine of which a server tells some clients something else with the weights."""

    def __init__(self, engine, change, whom):
        self.engine, self.change, self.whom = engine, change, set(whom)

    def exchange(self, items):
        for _, messages in items:
            if messages[0].metadata.message_type == TYPES["masked"]:
                for message in messages:
                    if message.metadata.dst_node_id in self.whom:
                        self.change(message.content)
        return self.engine.exchange(items)


def scaled(content):
    """Have their updates weigh nothing: with nothing bound together, the sum would be the one client's update."""
    content["secagg"]["most-weight"] = 1e9


def stretched(content):
    content["secagg"]["most-rows"] = 1e9


def moved(content):
    arrays = {name: Array(array.numpy() + 1.0) for name, array in content["arrays"].items()}
    del content["arrays"]
    content["arrays"] = ArrayRecord(arrays)


def other_settings(content):
    settings = {**content["config"], "server-round": 2}
    del content["config"]
    content["config"] = ConfigRecord(settings)


@pytest.mark.parametrize("change", [scaled, stretched, moved, other_settings], ids=lambda change: change.__name__)
def test_clients_that_are_told_different_things_leave_noise(change):
    federation, _ = queried(CONFIG.replace(num_server_rounds=1))
    before = federation.weights.copy()

    run_rounds([federation], Telling(make_engine("sequential"), change, ALL_BUT_ONE).exchange)

    assert "the sum is none of vectors that these clients may send" in federation.history[0]["note"]
    assert np.array_equal(federation.weights, before)


@pytest.mark.parametrize("epochs", [0, -3])
def test_a_client_refuses_a_round_in_which_anybody_is_to_train_for_nothing(epochs):
    """The others' updates would be zero, and all are told so alike: the sum would be the one client's update."""

    def change(content):
        settings = {**content["config"], "work-ids": [*ALL_BUT_ONE], "work-epochs": [epochs] * 5}
        del content["config"]
        content["config"] = ConfigRecord(settings)

    federation, _ = queried(CONFIG.replace(num_server_rounds=1))
    run_rounds([federation], Telling(make_engine("sequential"), change, range(6)).exchange)

    reasons = federation.history[0]["failed"]
    assert reasons == ["masked: ValueError: work-epochs: a client asked for less than one local epoch"] * 6


STAGE = {"round": 3, "most-weight": 12.0, "most-rows": 12.0}


def content(**changes):
    federation, _ = queried(CONFIG)
    settings = {"server-round": 3, "mean": [0.1, 1e-17], "names": ["a"], "raw": b"\x00", "flag": True} | changes
    return RecordDict(
        {
            "arrays": to_record(federation.model, federation.weights),
            "config": ConfigRecord(settings),
            "secagg": ConfigRecord(STAGE),
        }
    )


def test_server_and_device_hash_the_same_and_anything_else_another():
    sent = content()
    got = recorddict_from_proto(recorddict_to_proto(sent))
    reference = told_alike(sent, STAGE, CONFIG)

    assert told_alike(got, dict(got["secagg"]), CONFIG) == reference
    others = [
        told_alike(content(**changes), STAGE, CONFIG)
        for changes in ({"mean": [0.1, 1e-16]}, {"flag": 1}, {"names": ["b"]}, {"raw": b"\x01"}, {"more": 1})
    ]
    for stage in ({"round": 4}, {"most-weight": 12.5}, {"most-rows": 13.0}):
        others.append(told_alike(sent, STAGE | stage, CONFIG))
    for settings in ({"learning_rate": 0.2}, {"seed": 1}):
        others.append(told_alike(sent, STAGE, CONFIG.replace(**settings)))
    moved(got)
    others.append(told_alike(got, STAGE, CONFIG))
    assert len({reference, *others}) == 12


def test_what_a_stage_tells_each_client_alone_is_not_in_it():
    sent = content()
    reference = told_alike(sent, STAGE, CONFIG)
    sent["secagg"]["clients"] = [1, 2]

    assert told_alike(sent, dict(sent["secagg"]), CONFIG) == reference


def test_what_is_a_devices_own_is_not_in_it():
    """Where its rows are, and what it is told with each message: names of columns and classes."""
    sent = content()
    own = CONFIG.replace(dataset="devices", label_column="kind", classes="a,b", run_folder="elsewhere")

    assert told_alike(sent, STAGE, own) == told_alike(sent, STAGE, CONFIG)
