"""Whose place is whose: a device cannot take another's, and one that says nothing holds nobody up."""

from collections import Counter

import pytest
from devices import carried, launch
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from test_devices import fleet_of, settings

from edgefed.engines.grid import _claim_identity
from edgefed.errors import FederationError
from edgefed.federation import fleet as fleets
from edgefed.federation.fleet import Fleet
from edgefed.federation.introduction import this_version
from edgefed.federation.places import FILE, Places
from edgefed.runs import Run


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("edgefed.federation.fleet.LOOK_EVERY", 0.001)


def names(folder):
    return [device["name"] for device in Run.read(folder).manifest["devices"]]


def test_a_key_is_for_one_place_whatever_its_device_says(tmp_path, monkeypatch, caplog):
    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run")
    grid.node_configs[102]["partition-id"] = 0
    places = Places(tmp_path / "places.json")
    places.write({100: 0, 101: 1, 102: 2})
    monkeypatch.setenv(FILE, str(places.path))

    launch(grid)

    assert names(tmp_path / "run") == ["device-0", "device-1"]
    assert "device device-2 is left out: it says partition-id=0, and its key is that of partition-id=2" in caplog.text


def test_where_keys_are_not_known_a_place_that_is_taken_stays_so_while_its_device_is_there(tmp_path, caplog):
    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run")
    grid.node_configs[102] |= {"partition-id": 0}

    launch(grid)

    assert names(tmp_path / "run") == ["device-0", "device-1"]
    assert "device device-2 is left out: device device-0 is connected as partition-id=0" in caplog.text


def test_a_node_that_is_not_known_yet_is_asked_once_it_is(tmp_path, monkeypatch):
    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run")
    places = Places(tmp_path / "places.json")
    places.write({100: 0, 101: 1})
    monkeypatch.setenv(FILE, str(places.path))
    answer = type(grid)._answer

    def then_known(self, message):
        if message.metadata.message_type == "train":
            places.write({100: 0, 101: 1, 102: 2})
        return answer(self, message)

    monkeypatch.setattr(type(grid), "_answer", then_known)
    launch(grid)

    assert names(tmp_path / "run") == ["device-0", "device-1", "device-2"]
    lines = (tmp_path / "run" / "clients.csv").read_text().splitlines()[1:]
    assert Counter(int(line.split(",")[1]) for line in lines) == {0: 3, 1: 3, 2: 2}


class Clock:
    """A time that passes only while somebody sleeps."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Silent:
    """A grid of devices 100, 101 and 102, of which some take their messages and never answer."""

    def __init__(self, silent):
        _claim_identity()
        self.silent, self.sent, self.asked = silent, {}, []

    def get_node_ids(self):
        return [100, 101, 102]

    def push_messages(self, messages):
        for message in messages:
            self.asked.append(message.metadata.dst_node_id)
            message.metadata.__dict__["_message_id"] = f"message-{len(self.asked)}"
            self.sent[message.metadata.message_id] = message
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, names):
        here = [name for name in names if self.sent[name].metadata.dst_node_id not in self.silent]
        return [self.reply(self.sent.pop(name)) for name in here]

    def reply(self, message):
        node = message.metadata.dst_node_id
        said = {"version": this_version(), "name": f"device-{node - 100}", "own-file": True, "problem": ""}
        said |= {"features": ["x"], "classes": ["a"], "label": "y"}
        place = MetricRecord({"partition-id": node - 100})
        reply = Message(RecordDict({"metrics": place, "config": ConfigRecord(said)}), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = node
        return reply


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(fleets, "time", found)
    monkeypatch.setattr(fleets, "LOOK_EVERY", 0.5)
    return found


def test_a_node_that_says_nothing_holds_up_a_start_for_as_long_as_one_that_is_not_there(clock):
    grid = Silent({101})
    fleet = Fleet(grid, None, settings(wait_for_clients=20.0))
    fleet.gather()
    assert sorted(fleet.members) == [0, 2]
    assert clock.now == pytest.approx(20, abs=1)
    assert sorted(grid.asked) == [100, 101, 102]


def test_where_nobody_says_anything_a_start_ends_in_time(clock, tmp_path):
    places = Places(tmp_path / "places.json")
    places.write({100: 0, 101: 1, 102: 2})
    fleet = Fleet(Silent({100, 101, 102}), None, settings(wait_for_clients=20.0), places)
    with pytest.raises(FederationError, match="0 of 3 clients are connected after 20 s"):
        fleet.gather()
    assert clock.now == pytest.approx(20, abs=1)


def test_it_holds_up_no_round_and_is_asked_again_later(clock):
    grid = Silent({101})
    fleet = Fleet(grid, None, settings(wait_for_clients=20.0))
    fleet.gather()
    begun = clock.now
    for _ in range(50):
        assert fleet._meet(grid.get_node_ids()) == []
    assert (clock.now, len(grid.asked)) == (begun, 3)
    clock.now += fleets.ASK_AGAIN
    fleet._meet(grid.get_node_ids())
    grid.silent = set()
    assert [member.node for member in fleet._meet(grid.get_node_ids())] == [101]
    assert sorted(grid.asked) == [100, 101, 101, 102]


def test_one_whose_answer_never_comes_whole_is_asked_again_later_and_not_at_once(clock):
    class Cut(Silent):
        def pull_messages(self, names):
            cut = [self.sent.pop(name) for name in names if self.sent[name].metadata.dst_node_id in self.silent]
            whole = super().pull_messages([name for name in names if name in self.sent])
            return whole + [Message(Error(ErrorCode.MESSAGE_UNAVAILABLE, "cut"), reply_to=message) for message in cut]

    grid = Cut({101})
    fleet = Fleet(grid, None, settings(wait_for_clients=20.0))
    fleet.gather()
    assert sorted(fleet.members) == [0, 2]
    for _ in range(50):
        assert fleet._meet(grid.get_node_ids()) == []
    assert sorted(grid.asked) == [100, 101, 102]
    clock.now += fleets.ASK_AGAIN
    grid.silent = set()
    assert [member.node for member in fleet._meet(grid.get_node_ids())] == [101]


def test_a_start_waits_for_devices_that_may_join_and_not_for_revoked_ones(clock, tmp_path):
    places = Places(tmp_path / "places.json")
    places.write({100: 0, 102: 2})
    fleet = Fleet(Silent(set()), None, settings(wait_for_clients=20.0), places)
    fleet.gather()
    assert sorted(fleet.members) == [0, 2]
    assert clock.now <= 1


def test_a_map_that_cannot_be_read_keeps_what_was_known(tmp_path, caplog):
    places = Places(tmp_path / "places.json")
    places.write({7: 1})
    assert places.read() == {7: 1}
    places.path.write_text("half")
    assert places.read() == {7: 1}
    assert "cannot be read" in caplog.text
    assert Places().read() is None
