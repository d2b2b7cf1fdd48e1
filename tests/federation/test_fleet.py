"""Which devices a run is made with: who is late, leaves, is left out or lies; a server that starts again."""

import re

import pytest
from devices import WRONG, DeviceGrid, carried, fleet_of, launch, settings, spoiled
from federations import apart, trained
from flwr.app import Error, Message

from edgefed.config import SettingsError
from edgefed.errors import FederationError
from edgefed.federation.exchange import LATE
from edgefed.federation.fleet import Fleet
from edgefed.runs import Run


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("edgefed.federation.fleet.LOOK_EVERY", 0.001)


def test_a_device_that_comes_late_takes_part_from_the_next_round_and_one_that_left_does_not(tmp_path):
    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run", **{"num-server-rounds": 4})
    grid.node_configs[202] = grid.node_configs[102]
    trainings = [[100, 101], [100, 101], [100, 101, 102], [101, 202]]  # in round 4, device-2 is back as another node

    def connected():
        asked = sum(kind == "train" for _, kind in grid.asked)
        return next(nodes for begun, nodes in enumerate(trainings) if asked == sum(map(len, trainings[:begun])))

    grid.connected = connected

    launch(grid)

    lines = (tmp_path / "run" / "clients.csv").read_text().splitlines()[1:]
    took_part = [tuple(map(int, line.split(",")[:2])) for line in lines]
    assert took_part == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2), (4, 1), (4, 2)]
    devices = Run.read(tmp_path / "run").manifest["devices"]
    assert [device["partition-id"] for device in devices] == [0, 1, 2]
    assert all(device["rows"] > 0 for device in devices)
    # Asked once each: who it is, and how many rows it holds.
    queries = [(node, kind) for node, kind in grid.asked if kind.startswith("query")]
    assert sorted(queries) == [(node, kind) for node in (100, 101, 102, 202) for kind in ("query", "query.introduce")]


def test_late_devices_that_do_not_fit_are_left_out(tmp_path, caplog):
    files = carried(settings(), tmp_path / "shards")
    spoiled(files, 2, WRONG["another column"][0])
    grid = fleet_of(files, tmp_path / "run", classes="")
    grid.node_configs[103] = {**grid.node_configs[102], "partition-id": 3, "data-path": str(files.clients[0])}
    grid.connected = lambda: [100, 101, 102, 103] if any(kind == "train" for _, kind in grid.asked) else [100, 101]

    launch(grid)

    assert Run.read(tmp_path / "run").summary["client_updates"] == 6
    assert "device device-2 is left out: its feature columns differ" in caplog.text
    assert "left out: partition-id=3, and num-clients=3 expects 0 to 2" in caplog.text


def test_a_device_that_was_left_out_is_asked_again_once_it_has_been_away(tmp_path):
    """Its file was mended and it was started again: with a key, under the node id of before."""
    files = carried(settings(), tmp_path / "shards")
    good = files.clients[2].read_text()
    spoiled(files, 2, WRONG["text in a number"][0])
    grid = fleet_of(files, tmp_path / "run", **{"num-server-rounds": 5})
    there = [[100, 101], [100, 101, 102], [100, 101, 102], [100, 101], [100, 101, 102]]

    def connected():
        nodes = there[sum(asked == (100, "train") for asked in grid.asked)]
        if nodes is there[3]:
            files.clients[2].write_text(good)
        return nodes

    grid.connected = connected
    launch(grid)

    assert [kind for node, kind in grid.asked if node == 102] == ["query.introduce"] * 2 + ["query", "train"]
    assert "left-out" not in Run.read(tmp_path / "run").manifest


@pytest.mark.parametrize(
    ("joins", "lost"), [("at the start", LATE), ("late", LATE), ("and dies", 5)], ids=["at the start", "late", "lost"]
)
def test_a_device_whose_answer_to_the_query_did_not_come_is_asked_again(tmp_path, monkeypatch, joins, lost):
    """One that was lost before it could answer once it is back, with a key under the same node id."""
    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run")
    two, three = [100, 101], [100, 101, 102]
    there = {"at the start": [three, three, three], "late": [two, three, three], "and dies": [three, two, three]}[joins]
    grid.connected = lambda: there[grid.asked.count((100, "train"))]
    answer = DeviceGrid._answer

    def late_once(self, message):
        first = (102, "query") not in self.asked
        reply = answer(self, message)
        if first and self.asked[-1] == (102, "query"):
            return Message(Error(lost, "no reply"), reply_to=message)
        return reply

    monkeypatch.setattr(DeviceGrid, "_answer", late_once)
    launch(grid)

    run = Run.read(tmp_path / "run")
    assert [row["clients"] for row in run.rounds] == ([3, 3, 3] if joins == "at the start" else [2, 2, 3])
    trained_by_it = ["train"] * (3 if joins == "at the start" else 1)
    assert [kind for node, kind in grid.asked if node == 102] == ["query.introduce", "query", "query", *trained_by_it]
    assert run.manifest["devices"][2]["rows"] > 0


def test_a_device_with_another_version_is_left_out_and_both_versions_are_named(tmp_path, caplog, monkeypatch):
    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run")
    answer = DeviceGrid._answer

    def with_old_version(self, message):
        reply = answer(self, message)
        if message.metadata.message_type == "query.introduce" and message.metadata.dst_node_id == 101:
            reply.content.config_records["config"]["version"] = "0.0.9"
        return reply

    monkeypatch.setattr(DeviceGrid, "_answer", with_old_version)
    launch(grid)

    assert "device device-1 is left out: it runs edgefed 0.0.9, the server 0.1.0; install the same" in caplog.text
    assert [device["name"] for device in Run.read(tmp_path / "run").manifest["devices"]] == ["device-0", "device-2"]


def test_a_run_that_no_device_is_left_of_stops_in_one_line_and_goes_on_later(tmp_path):
    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run")
    grid.connected = lambda: [] if sum(kind == "train" for _, kind in grid.asked) >= 3 else list(grid.node_configs)

    with pytest.raises(FederationError, match=r"no device with rows is connected, after 0.005 s; what was committed"):
        launch(grid)
    assert not (tmp_path / "run" / "model.npz").exists()

    launch(fleet_of(files, tmp_path / "run"))
    simulated, _ = trained(settings(), "sequential")
    assert apart(Run.read(tmp_path / "run"), simulated) <= 1e-6
    (tmp_path / "run" / "model.npz").unlink()
    with pytest.raises(FederationError, match="began with other settings"):
        launch(fleet_of(files, tmp_path / "run", **{"learning-rate": 0.2}))


def test_an_introduction_of_nonsense_keeps_only_its_sender_out(tmp_path, caplog, monkeypatch):
    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run")
    monkeypatch.setattr("edgefed.federation.fleet.read_introduction", _failing_for(102))

    launch(grid)

    assert "node 102 is left out: no introduction" in caplog.text
    assert Run.read(tmp_path / "run").summary["client_updates"] == 6


def _failing_for(node):
    from edgefed.federation.introduction import read_introduction

    def read(reply):
        if reply.metadata.src_node_id == node:
            raise KeyError("version")
        return read_introduction(reply)

    return read


def test_a_fleet_is_of_devices_only_where_nodes_say_so():
    assert not Fleet(None, None, settings()).of_devices


class Killed(BaseException):
    """A kill: nothing in the project catches it."""


def killed_at(monkeypatch, name, number):
    """Kill whoever writes a file of this name for the numberth time, before it is there."""
    from edgefed.runs import files

    written, real = [], files.write_atomically

    def write(path, content, *, durable=True):
        written.append(path.name)
        if written.count(name) == number:
            raise Killed
        real(path, content, durable=durable)

    monkeypatch.setattr(files, "write_atomically", write)


@pytest.mark.parametrize("number", [1, 2], ids=["as it began", "after the model, before the manifest"])
def test_a_server_that_was_killed_before_its_manifest_was_there_goes_on(tmp_path, monkeypatch, number):
    files, folder = carried(settings(), tmp_path / "shards"), tmp_path / "run"
    with monkeypatch.context() as patch:
        killed_at(patch, "manifest.json", number)
        with pytest.raises(Killed):
            launch(fleet_of(files, folder))
    (folder / ".manifest.json.77.0123abcd").write_text("{")
    assert (folder / "model.npz").exists() == (number == 2)

    launch(fleet_of(files, folder))

    simulated, _ = trained(settings(), "sequential")
    assert apart(Run.read(folder), simulated) <= 1e-6
    with pytest.raises(SettingsError, match="exists already"):
        launch(fleet_of(files, folder))


def test_a_server_that_starts_again_with_a_device_away_scales_as_before(tmp_path):
    """The scaler is that of the devices that the run began with, whoever is there when its server starts again."""
    files, folder = carried(settings(), tmp_path / "shards"), tmp_path / "run"
    whole = fleet_of(files, tmp_path / "whole")
    launch(whole)
    first = fleet_of(files, folder)
    first.connected = lambda: [] if sum(kind == "train" for _, kind in first.asked) >= 6 else list(first.node_configs)
    with pytest.raises(FederationError, match="no device with rows is connected"):
        launch(first)

    second = fleet_of(files, folder)
    second.connected = lambda: [100, 101]
    launch(second)

    prediction = Run.read(tmp_path / "whole").manifest["prediction"]
    assert Run.read(folder).manifest["prediction"] == prediction
    alone = fleet_of(files, tmp_path / "alone")
    alone.connected = second.connected
    launch(alone)
    assert Run.read(tmp_path / "alone").manifest["prediction"] != prediction
    assert Run.read(folder).rounds[-1]["clients"] == 2


def said_by(monkeypatch, node, change):
    """Have a node's answers to introductions and queries changed: ``change(message type, reply)``."""
    answer = DeviceGrid._answer

    def changed(self, message):
        reply = answer(self, message)
        if message.metadata.dst_node_id == node:
            change(message.metadata.message_type, reply)
        return reply

    monkeypatch.setattr(DeviceGrid, "_answer", changed)


NONSENSE = {
    "two numbers": ("metrics", "partition-id", [1, 2], "partition-id=\\[1, 2\\], expected a whole number"),
    "a broken one": ("metrics", "partition-id", 1.5, "partition-id=1.5, expected a whole number"),
    "a name of numbers": ("config", "name", [1, 2], "name is no text"),
    "columns as text": ("config", "features", "abc", "features is no list of names"),
    "neither true nor false": ("config", "own-file", "yes", "own-file is neither"),
}


@pytest.mark.parametrize(("record", "key", "value", "says"), NONSENSE.values(), ids=NONSENSE)
def test_an_introduction_of_the_wrong_types_keeps_only_its_sender_out(
    tmp_path, caplog, monkeypatch, record, key, value, says
):
    def change(kind, reply):
        if kind == "query.introduce":
            reply.content[record][key] = value

    files = carried(settings(), tmp_path / "shards")
    said_by(monkeypatch, 102, change)
    launch(fleet_of(files, tmp_path / "run"))

    assert re.search(f"node 102 is left out: no introduction \\({says}", caplog.text)
    assert Run.read(tmp_path / "run").summary["client_updates"] == 6


def test_a_name_with_line_breaks_stays_within_its_line_of_the_log(tmp_path, caplog, monkeypatch):
    def change(kind, reply):
        if kind == "query.introduce":
            reply.content["config"]["name"] = "x\nWARNING: all is well"
            reply.content["config"]["version"] = "0.0.9"

    files = carried(settings(), tmp_path / "shards")
    said_by(monkeypatch, 102, change)
    launch(fleet_of(files, tmp_path / "run"))

    (line,) = [line for line in caplog.messages if "is left out" in line]
    assert line.startswith("device x\\nWARNING: all is well is left out")


@pytest.mark.parametrize("late", [False, True], ids=["from the start", "late"])
@pytest.mark.parametrize("claimed", [0, 999])
def test_a_device_answers_for_the_client_that_it_introduced_itself_as(tmp_path, monkeypatch, late, claimed):
    def change(kind, reply):
        if kind == "query":
            reply.content["metrics"]["partition-id"] = claimed

    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run")
    said_by(monkeypatch, 102, change)
    if late:
        grid.connected = lambda: [100, 101, 102] if any(kind == "train" for _, kind in grid.asked) else [100, 101]
    launch(grid)

    run = Run.read(tmp_path / "run")
    assert run.summary["client_updates"] == 6
    lines = (tmp_path / "run" / "clients.csv").read_text().splitlines()[1:]
    assert {line.split(",")[1] for line in lines if line.endswith("ok")} == {"0", "1"}
