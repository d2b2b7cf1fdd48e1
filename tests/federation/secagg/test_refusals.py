"""What needs one client's values is refused with secure aggregation, by name and before anything is trained."""

import pytest
from devices import DeviceGrid
from federations import queried
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from edgefed.config import FederationConfig, SettingsError
from edgefed.errors import FederationError
from edgefed.private import without_privacy

CONTRADICTS = {
    **{
        f"strategy={name}": {"strategy": name}
        for name in (
            "qfedavg",
            "scaffold",
            "fednova",
            "fedmedian",
            "fedtrimmedavg",
            "krum",
            "multikrum",
            "bulyan",
        )
    },
    "imbalance=climb": {"imbalance": "climb"},
    **{f"selection={name}": {"selection": name} for name in ("power-of-choice", "oort")},
    **{f"compression={name}": {"compression": name} for name in ("float16", "int8", "top-k")},
    "max-update-norm=3.0": {"max_update_norm": 3.0},
}


@pytest.mark.parametrize("named", CONTRADICTS)
def test_what_looks_at_one_client_is_refused_by_name(named):
    FederationConfig(**CONTRADICTS[named])

    with pytest.raises(SettingsError) as refused:
        FederationConfig(privacy="secagg", **CONTRADICTS[named])

    assert str(refused.value).startswith(f"{named} contradicts privacy=secagg: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"num_clients": 2}, "a round asks 2 of num-clients=2, expected at least 3"),
        ({"fraction_train": 0.2}, "a round asks 2 of num-clients=10, expected at least 3"),
        ({"num_clients": 1024}, "secagg-bits=22: expected at most 21, as the sum over a round's 1024 clients"),
        ({"secagg_neighbors": 7}, "secagg-neighbors=7: expected an even number"),
        ({"secagg_neighbors": 4}, "secagg-neighbors=4: expected"),
        ({"secagg_bits": 15}, "secagg-bits=15: expected"),
        ({"secagg_threshold": 0.5}, "secagg-threshold=0.5: expected"),
    ],
)
def test_settings_under_which_no_sum_would_be_safe_or_right(changes, line):
    with pytest.raises(SettingsError) as refused:
        FederationConfig(privacy="secagg", **changes)

    assert line in str(refused.value)


def test_a_run_in_which_two_alone_hold_rows_is_refused_before_it_trains():
    with pytest.raises(FederationError) as refused:
        queried(FederationConfig(privacy="secagg", num_clients=3, alpha=0.05))

    assert str(refused.value) == "privacy=secagg: 2 of 3 clients hold rows to train on, at least 3 make a sum"


@pytest.mark.parametrize(("clients", "bits"), [(1023, 22), (3, 30), (255, 24)])
def test_as_many_clients_and_bits_as_fit(clients, bits):
    assert clients * 2**bits < 2**32
    FederationConfig(privacy="secagg", num_clients=clients, secagg_bits=bits)
    with pytest.raises(SettingsError):
        FederationConfig(privacy="secagg", num_clients=clients, secagg_bits=bits + 1)


def test_its_settings_are_refused_without_it_and_taken_out_with_it():
    with pytest.raises(SettingsError, match="secagg-bits=20 contradicts privacy=none: it belongs to privacy=secagg"):
        FederationConfig(secagg_bits=20)
    secure = FederationConfig(privacy="secagg", secagg_bits=20, secagg_threshold=0.8, secagg_neighbors=8, seed=3)
    assert without_privacy(secure) == FederationConfig(seed=3)


def reply_to(config, message_type, content):
    grid = DeviceGrid(config.to_mapping(), {5: {"partition-id": 5, "num-partitions": 10}})
    (reply,) = grid.send_and_receive([Message(content, 5, message_type)])
    return reply


def test_a_client_does_not_train_in_the_clear_in_a_secure_run():
    """A server that leaves the stages out gets nothing."""
    content = RecordDict({"arrays": ArrayRecord(), "config": ConfigRecord({"server-round": 1})})

    reply = reply_to(FederationConfig(privacy="secagg"), "train", content)

    assert reply.error.reason == (
        "ValueError: this run's updates leave under secure aggregation alone: a message without it is refused"
    )


def test_a_client_gives_no_keys_in_a_run_without():
    reply = reply_to(FederationConfig(), "query.secagg_keys", RecordDict({"secagg": ConfigRecord({"round": 1})}))

    assert reply.error.reason == "ValueError: this run's settings do not say privacy=secagg"


def test_a_device_that_was_started_again_says_so():
    reply = reply_to(
        FederationConfig(privacy="secagg"), "query.secagg_unmask", RecordDict({"secagg": ConfigRecord({"round": 1})})
    )

    assert "the device was started again since" in reply.error.reason
