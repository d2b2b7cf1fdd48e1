"""A device's own terms: nothing that they do not allow leaves it, whatever a run or its server asks."""

import json
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
from devices import DeviceGrid, carried, launch, node_configs
from federations import apart
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from edgefed.config import FederationConfig, read_settings
from edgefed.engines.grid import _claim_identity
from edgefed.errors import FederationError
from edgefed.federation import client_app
from edgefed.federation.components import model_of
from edgefed.federation.disclosure import BEST, CENTRAL, EXACT, FIELDS, MASKED, NOISED, status_of
from edgefed.federation.flat_record import to_record
from edgefed.federation.terms import OF_ROWS, PROTECTS, Terms, TermsError
from edgefed.runs import Run

NOTHING_BUT_SUMS = """
[settings]
privacy = "secagg"
explain = "no"

[leaves]
exact = ["query/num-examples", "query/num-held-out"]
masked = ["train/masked"]
"""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("edgefed.federation.fleet.LOOK_EVERY", 0.001)


def settings(**changes):
    few = {"num_clients": 3, "num_server_rounds": 2, "alpha": 1.0, "local_epochs": 1, "wait_for_clients": 0.005}
    return FederationConfig(**(few | changes))


class Devices:
    """Three devices with a simulation's shards, a folder each, and terms where a test gives them some."""

    def __init__(self, folder, **changes):
        self.folder = folder
        self.files = carried(settings(**changes), folder / "shards")

    def terms(self, device, text):
        home = self.folder / f"device-{device}"
        home.mkdir(exist_ok=True)
        (home / "terms.toml").write_text(text)
        return home / "terms.toml"

    def run(self, name="run", **changes):
        given = {"test-path": str(self.files.test), "run-folder": str(self.folder / name)}
        config = FederationConfig.from_mapping(read_settings(self.files.settings) | given | changes)
        nodes = node_configs(self.files.clients)
        for node in nodes.values():
            path = self.folder / node["device-name"] / "terms.toml"
            if path.exists():
                node["terms-path"] = str(path)
        self.grid = DeviceGrid(config.to_mapping(), nodes)
        launch(self.grid)
        return Run.read(self.folder / name)

    def answers(self, device):
        return json.loads((self.folder / f"device-{device}" / "answers.json").read_text())["answers"]


def verdicts(run, client):
    lines = [line.split(",", 5) for line in (run.folder / "clients.csv").read_text().splitlines()[1:]]
    return [line[5].strip('"') for line in lines if int(line[1]) == client]


# ---------------------------------------------------------------------------------------------- runs
@pytest.mark.parametrize(
    ("changes", "terms"),
    [
        ({}, "[leaves]\nexact = ['query', 'train']\n[settings]\nprivacy = ['none', 'secagg']\nlocal-epochs = [1, 10]"),
        ({"privacy": "secagg", "standardize": "none"}, NOTHING_BUT_SUMS),
        (
            {"client_test_fraction": 0.2, "imbalance": "class-weights-balanced-noisy", "explain": "yes"},
            "min-rows = 1\n[settings]\nclient-test-fraction = 0.2\n[leaves]\nnoised = ['query/class-counts']\n"
            "exact = ['query/num-examples', 'query/num-held-out', 'query/feature-count', 'query/feature-mean', "
            "'query/feature-m2', 'train', 'evaluate', 'query.class_moments', 'query.explain']",
        ),
    ],
    ids=["plain", "secagg", "noisy counts, evaluated, explained"],
)
def test_a_run_that_the_terms_agree_to_is_the_run_without_them(tmp_path, changes, terms):
    devices = Devices(tmp_path, **changes)
    before = devices.run("before")
    for device in range(3):
        devices.terms(device, terms)
    under = devices.run("under")
    assert apart(before, under) == 0
    assert under.manifest["ledger"] == before.manifest["ledger"]
    assert "left-out" not in under.manifest
    assert devices.answers(0)["query"] == 1
    assert devices.answers(0)["train"] == 2
    assert not any("secagg" in message for message in devices.answers(0))  # keys and shares say nothing of rows


DECLINED = {
    "privacy": (
        "[settings]\nprivacy = ['secagg', 'dp-fixed']",
        {},
        "its terms have privacy=secagg or dp-fixed, the run has none",
    ),
    "a range": ("[settings]\nlocal-epochs = [2, 10]", {}, "its terms have local-epochs=2 to 10, the run has 1"),
    "explain": ("[settings]\nexplain = 'no'", {"explain": "yes"}, "its terms have explain=no, the run has yes"),
    "a seed that follows another": (
        "[settings]\nsplit-seed = 0",
        {"seed": 7},
        "its terms have split-seed=0, the run has 7",
    ),
    "an unset share": (
        "[settings]\nclient-test-fraction = 0",
        {"client-test-fraction": -1.0},
        "its terms have client-test-fraction=0, the run has 0.2",
    ),
    "a pull that the strategy has": (
        "[settings]\nproximal-mu = 0",
        {"strategy": "fedprox"},
        "its terms have proximal-mu=0, the run has 0.1",
    ),
    "a delta that follows": (
        "[settings]\nprivacy-delta = 0.01",
        {},
        "its terms have privacy-delta=0.01, the run has 0.03333333333333333",
    ),
    "labels": ("[settings]\nclasses = 'a,b'", {"classes": ""}, "classes: the run's is none that its terms have"),
    "a field": (
        "[leaves]\nexact = ['query/num-examples', 'query/num-held-out', 'train']",
        {},
        "its terms do not let query/feature-count leave (how many of its rows have each feature), the run asks for it "
        "exact",
    ),
    "a field without protection": (
        "[leaves]\nexact = ['query']\nmasked = ['train']",
        {},
        "its terms do not let train/arrays leave but masked (its trained weights, or the compressed update in their "
        "place), the run asks for it exact",
    ),
    "few rows": ("min-rows = 500", {}, "its terms have min-rows=500, and what the run asks is of fewer rows"),
    "few rows to test on": (
        "min-rows = 20",
        {"client-test-fraction": 0.1},
        "its terms have min-rows=20, and what the run asks is of fewer rows",
    ),
    "no answers": (
        "[answers]\ntrain = 0",
        {},
        "its terms allow 0 answers to train in its life, and it has given them",
    ),
    "terms that cannot be read": ("[setting", {}, "its terms cannot be read; its own log says why"),
}


@pytest.mark.parametrize(("terms", "changes", "says"), DECLINED.values(), ids=DECLINED)
def test_a_run_goes_on_without_a_device_whose_terms_it_does_not_keep(tmp_path, caplog, terms, changes, says):
    devices = Devices(tmp_path)
    devices.terms(1, terms)

    run = devices.run(**changes)

    assert f"device device-1 is left out: {says}" in caplog.text
    assert [device["name"] for device in run.manifest["devices"]] == ["device-0", "device-2"]
    assert run.manifest["left-out"] == [{"partition-id": 1, "name": "device-1", "why": says}]
    assert run.summary["client_updates"] == 4
    asked = [kind for node, kind in devices.grid.asked if node == 101]
    assert asked == ["query.introduce"]  # and nothing of its file was told
    assert not (tmp_path / "device-1" / "answers.json").exists()
    message = Message(RecordDict({"config": ConfigRecord({"version": ""})}), 101, "query.introduce")
    said = devices.grid._answer(message).content["config"]
    assert said["declines"] == says
    assert not {"features", "classes", "label"} & set(said)


def test_a_device_whose_owner_changes_its_terms_in_a_run_is_let_in(tmp_path, monkeypatch, caplog):
    """It is asked again by the clock, though it never went away, and its refusals cost it no answer."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("edgefed.federation.fleet.time", SimpleNamespace(monotonic=lambda: now.seconds))
    devices = Devices(tmp_path)
    devices.terms(1, "[settings]\nprivacy = 'secagg'")
    answer = DeviceGrid._answer

    def at_each_training(self, message):
        if message.metadata.message_type == "train" and message.metadata.dst_node_id == 100:
            now.seconds += 40.0
            if self.asked.count((100, "train")) == 2:  # in round 3, after 80 s
                devices.terms(1, "[settings]\nprivacy = 'none'")
        return answer(self, message)

    monkeypatch.setattr(DeviceGrid, "_answer", at_each_training)
    run = devices.run(**{"num-server-rounds": 5})

    asked = [kind for node, kind in devices.grid.asked if node == 101]
    assert asked == ["query.introduce"] * 3 + ["query", "train"]  # at 0 s, at 80 s and at 160 s
    assert verdicts(run, 1) == ["ok"]
    assert caplog.text.count("device device-1 is left out") == 1
    assert "left-out" not in run.manifest
    assert [device["name"] for device in run.manifest["devices"]] == ["device-0", "device-1", "device-2"]
    assert devices.answers(1) == {"query": 1, "train": 1}


def test_a_start_does_not_wait_for_a_device_that_declines(tmp_path, monkeypatch):
    def waited(seconds):
        raise AssertionError("the start waits")

    monkeypatch.setattr("edgefed.federation.fleet.time", SimpleNamespace(monotonic=time.monotonic, sleep=waited))
    devices = Devices(tmp_path)
    devices.terms(1, "[settings]\nprivacy = 'secagg'")
    run = devices.run(**{"wait-for-clients": 1e6})
    assert run.summary["client_updates"] == 4


def test_a_run_that_no_device_agrees_to_ends_with_a_line(tmp_path):
    devices = Devices(tmp_path)
    for device in range(3):
        devices.terms(device, "[settings]\nprivacy = 'secagg'")
    says = "no device takes part: device device-0: its terms have privacy=secagg, the run has none; and so do 2 others"
    with pytest.raises(FederationError, match=says):
        devices.run(**{"wait-for-clients": 1e6})


# ---------------------------------------------------------------------------------------------- a life of answers
def test_answers_are_counted_over_a_devices_life(tmp_path, caplog):
    devices = Devices(tmp_path)
    devices.terms(0, "[answers]\nquery = 3\ntrain = 5")
    assert verdicts(devices.run("first"), 0) == ["ok", "ok"]
    assert verdicts(devices.run("second"), 0) == ["ok", "ok"]
    third = devices.run("third")
    assert verdicts(third, 0)[0] == "ok"
    assert "its terms allow 5 answers to train in its life, and it has given them" in verdicts(third, 0)[1]
    assert devices.answers(0) == {"query": 3, "train": 5}
    assert third.summary["client_updates"] == 5
    fourth = devices.run("fourth")
    assert fourth.summary["client_updates"] == 4
    assert "device device-0 is left out: its terms allow 3 answers to query in its life" in caplog.text


@pytest.mark.parametrize("content", ["{", '{"answers": {"train": "few"}}', '{"answers": 7}'])
def test_where_answers_cannot_be_counted_none_is_given(tmp_path, content):
    devices = Devices(tmp_path)
    path = devices.terms(1, "[answers]\ntrain = 5")
    (path.parent / "answers.json").write_text(content)
    run = devices.run()
    (row,) = run.manifest["left-out"]
    assert row["why"] == "how many answers it has given cannot be told; its own log says why"
    assert run.summary["client_updates"] == 4
    assert (path.parent / "answers.json").read_text() == content


def test_an_answer_that_is_not_on_the_disk_does_not_leave(tmp_path, monkeypatch):
    device = OneDevice(tmp_path, "")

    def full(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr("edgefed.federation.terms.write_json", full)
    with pytest.raises(OSError, match="no space left"):
        device.asked("train")


# ---------------------------------------------------------------------------------------------- beyond the settings
WITH_RUN = {"standardize": "none", "client-test-fraction": 0.0, "explain": "no"}


class OneDevice:
    """A device that is asked by hand: by a server that does not keep to what it had the device agree to."""

    def __init__(self, folder, terms, **run):
        _claim_identity()
        self.devices = Devices(folder)
        path = self.devices.terms(0, terms)
        given = {"test-path": str(self.devices.files.test)} | WITH_RUN | run
        self.config = FederationConfig.from_mapping(read_settings(self.devices.files.settings) | given)
        node = node_configs(self.devices.files.clients)[100] | {"terms-path": str(path)}
        self.context = Context(1, 100, node, RecordDict(), self.config.to_mapping())

    def asked(self, kind, **config):
        model = model_of(self.config, 4, 3)
        guidance = {"feature-mean": [0.0] * 4, "feature-scale": [1.0] * 4, "server-round": 1}
        content = RecordDict({"config": ConfigRecord(guidance | config)})
        content["arrays"] = to_record(model, np.zeros(model.size, np.float32))
        return client_app.app(Message(content, 100, kind), self.context)


QUESTION = {"held_out": False, "repeats": 1, "attributed": 2, "background": 2, "edges": [0.0] * 8}
BEYOND = {
    "means": ("query", {"moments": True, "class-counts": False}, "query/feature-count"),
    "class counts": ("query", {"moments": False, "class-counts": True}, "query/class-counts"),
    "a test": ("evaluate", {}, "evaluate/confusion"),
    "moments by class": ("query.class_moments", {}, "query.class_moments/count"),
    "an explanation": ("query.explain", QUESTION, "query.explain/accuracy-drop"),
}


@pytest.mark.parametrize(("kind", "asks", "field"), BEYOND.values(), ids=BEYOND)
def test_a_device_under_terms_sends_only_what_the_runs_settings_call_for(tmp_path, kind, asks, field):
    """No term names these fields: the settings that it agreed to do not ask for them, and an honest server neither."""
    device = OneDevice(tmp_path, "", **({"client-test-fraction": 0.0}))
    with pytest.raises(TermsError, match=f"{re.escape(field)}: .* what the run's settings call for") as raised:
        device.asked(kind, **asks)
    assert raised.value.told == str(raised.value)
    assert device.asked("query", moments=False, **{"class-counts": False}).has_content()
    assert device.asked("train").has_content()
    assert device.devices.answers(0) == {"query": 1, "train": 1}
    del device.context.node_config["terms-path"]
    assert device.asked(kind, **asks).has_content()  # without terms it obeys


def test_a_server_that_has_not_asked_who_a_device_is_gets_no_more(tmp_path):
    device = OneDevice(tmp_path, "[settings]\nprivacy = 'secagg'")
    for kind, asks in (("query", {"moments": False, "class-counts": False}), ("train", {})):
        with pytest.raises(TermsError, match="its terms have privacy=secagg, the run has none"):
            device.asked(kind, **asks)
    device.devices.terms(0, "min-rows = 500")
    with pytest.raises(TermsError, match="min-rows=500"):
        device.asked("train")


def test_settings_that_come_with_a_message_are_looked_at_too(tmp_path):
    """A server tells devices columns and classes with each message; they replace the run's."""
    device = OneDevice(tmp_path, "[settings]\nclasses = 'setosa,versicolor,virginica'")
    assert device.asked("train").has_content()
    with pytest.raises(TermsError, match="classes: the run's is none that its terms have"):
        device.asked("train", classes="setosa,virginica,versicolor")


@pytest.mark.parametrize("kind", ["query.default", "train.default"])
def test_a_message_that_the_ledger_does_not_name_is_not_answered(tmp_path, kind):
    """Flower knows a handler by two names: ``query`` is ``query.default`` as well."""
    with pytest.raises(TermsError, match=f"{kind}: a device under terms answers what the ledger names"):
        OneDevice(tmp_path, "").asked(kind, moments=False, **{"class-counts": False})


def test_sums_by_class_are_of_enough_rows_each(tmp_path):
    asks = {"explain": "yes"}
    devices = OneDevice(tmp_path, "min-rows = 2", **asks)
    counts = devices.asked("query.class_moments").content["metrics"]["count"]
    fewest = int(min(count for count in counts if count))
    devices.devices.terms(0, f"min-rows = {fewest}")
    assert devices.asked("query.class_moments").has_content()
    everything = QUESTION | {"attributed": 1000}
    assert devices.asked("query.explain", **everything).has_content()
    devices.devices.terms(0, f"min-rows = {fewest + 1}")
    for kind, more in (("query.class_moments", {}), ("query.explain", everything)):
        with pytest.raises(TermsError, match=f"min-rows={fewest + 1}, and what the run asks is of fewer rows"):
            devices.asked(kind, **more)


# ---------------------------------------------------------------------------------------------- whatever writes a reply
STOWAWAYS = {
    "a metric": lambda content: content["metrics"].update({"age-of-the-owner": 77}),
    "a record": lambda content: content.update({"notes": ConfigRecord({"row": "5.1,3.5,1.4"})}),
    "a record of known fields": lambda content: content.update({"5.1,3.5,1.4": MetricRecord({"num-examples": 3})}),
    "an array": lambda content: content.update({"rows": ArrayRecord({"x": Array(np.ones((3, 4)))})}),
    "a field of another message": lambda content: content["metrics"].update({"confusion": [1, 2]}),
    "one named as the envelope": lambda content: content["metrics"].update({"envelope": 1.0}),
}


@pytest.mark.parametrize("put", STOWAWAYS.values(), ids=STOWAWAYS)
@pytest.mark.parametrize("terms", ["", "[leaves]\nexact = ['query', 'train', 'evaluate']"])
def test_a_field_that_no_row_of_the_ledger_names_stays(tmp_path, monkeypatch, put, terms):
    """Whatever writes into a reply, a later version's handler or another mod, the terms come after it."""
    device, reply = OneDevice(tmp_path, terms), client_app._reply

    def with_more(*arguments):
        message = reply(*arguments)
        put(message.content)
        return message

    monkeypatch.setattr(client_app, "_reply", with_more)
    for kind, asks in (("query", {"moments": False, "class-counts": False}), ("train", {})):
        with pytest.raises(TermsError, match="and this is none of it"):
            device.asked(kind, **asks)
    assert not (tmp_path / "device-0" / "answers.json").exists()


def test_terms_are_read_anew_for_each_message(tmp_path):
    device = OneDevice(tmp_path, "")
    assert device.asked("train").has_content()
    device.devices.terms(0, "[leaves]\nmasked = ['train/masked']\nexact = ['query']")
    with pytest.raises(TermsError, match="train/arrays leave"):
        device.asked("train")
    device.devices.terms(0, "[leaves")
    with pytest.raises(TermsError, match="its terms cannot be read"):
        device.asked("train")


# ---------------------------------------------------------------------------------------------- protection
PROTECTED = [
    # what the ledger says of the field under these settings, and the statuses that it may be listed under
    ("query", "class-counts", {"imbalance": "post-hoc"}, {EXACT}),
    ("query", "class-counts", {"imbalance": "class-weights-balanced-noisy"}, {EXACT, NOISED, CENTRAL}),
    ("train", "arrays", {}, {EXACT}),
    ("train", "arrays", {"privacy": "dp-fixed", "standardize": "none"}, {EXACT, CENTRAL}),  # the server sees them whole
    ("train", "masked", {"privacy": "secagg"}, {EXACT, NOISED, CENTRAL, MASKED}),
]


@pytest.mark.parametrize(("message", "field", "changes", "enough"), PROTECTED)
@pytest.mark.parametrize("status", [EXACT, NOISED, CENTRAL, MASKED])
def test_a_field_leaves_as_protected_as_its_term_or_better(tmp_path, message, field, changes, enough, status):
    terms, config = Terms(tmp_path, {f"{message}/{field}": status}, {}, {}, 0), settings(**changes)
    if status in enough:
        terms.let_leave(message, [field], config)
        return
    with pytest.raises(TermsError, match=f"do not let {message}/{field} leave but {status}"):
        terms.let_leave(message, [field], config)


def test_best_is_the_best_that_any_settings_give_a_field():
    runs = [
        settings(**changes)
        for changes in (
            {},
            {"privacy": "secagg", "standardize": "none"},
            {"privacy": "dp-fixed", "standardize": "none"},
            {"privacy": "dp-adaptive", "standardize": "none", "noise_multiplier": 0.1},
            {"imbalance": "class-weights-balanced-noisy"},
        )
    ]
    for message in OF_ROWS:
        for field in FIELDS[message]:
            best = max((status_of(config, message, field) for config in runs), key=PROTECTS.__getitem__)
            assert BEST.get((message, field), EXACT) == best
