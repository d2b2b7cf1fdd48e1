"""A simulation's settings on devices: what the file of a comparison's best remedy means there."""

import numpy as np
import pytest
from devices import DeviceGrid, launch, node_configs
from federations import apart

from edgefed.cli import _exit_code
from edgefed.config import FederationConfig, SettingsError, read_settings
from edgefed.data.device_file import write_shards
from edgefed.data.shards import federate
from edgefed.deploy.carried import of_simulation, settings_carried
from edgefed.deploy.launch import settings_for
from edgefed.deploy.provision import provision
from edgefed.runs import Run

LINE = (
    "{toml} is of a simulation on clinics.csv: each device trains on its own file, with the same 2 columns, label "
    "column 'diagnosis' and classes benign,ill; without effect there: num-clients=3, client-column=clinic, "
    "partition=natural, long-tail=2"
)


@pytest.fixture
def best(tmp_path):
    """Settings as a comparison writes them, of a file with an id, a category, clients, and the label in the middle."""
    rng = np.random.default_rng(3)
    rows = [
        f"p{row},{rng.normal(row % 2):.3f},{('ill', 'benign')[row % 2]},{('blue', 'red')[row % 3 > 0]},{row % 5 % 3}"
        for row in range(90)
    ]
    path = tmp_path / "clinics.csv"
    path.write_text("id,size,diagnosis,color,clinic\n" + "\n".join(rows) + "\n")
    config = FederationConfig(
        dataset="csv",
        data_path=str(path),
        label_column="diagnosis",
        client_column="clinic",
        partition="natural",
        drop_columns="id",
        categories="color",
        num_server_rounds=2,
        long_tail=2.0,
        wait_for_clients=0.005,
        imbalance="post-hoc",
    )
    settled, data = federate(config)
    (tmp_path / "shards").mkdir()
    files = write_shards(settled, data, tmp_path / "shards")
    toml = tmp_path / "best.toml"
    toml.write_text(settled.replace(client_test_fraction=-1).to_toml())
    return toml, files


def test_a_comparisons_best_trains_devices_as_the_settings_of_its_shards_do(best, tmp_path):
    """The same weights to the bit; and devices whose files have further columns learn from the same ones."""
    toml, files = best
    given = read_settings(toml)
    assert [of_simulation(found) for found in (given, read_settings(files.settings), {})] == [True, False, False]
    settings, said = settings_carried(toml, given, {})
    assert said == LINE.format(toml=toml)
    assert "num-clients" not in settings  # the deployment's
    runs = []
    for name, asked in (("first", settings), ("second", read_settings(files.settings) | {"test-path": ""})):
        config = FederationConfig.from_mapping(
            {**asked, "num-clients": 3, "run-folder": str(tmp_path / name)},
        )
        launch(DeviceGrid(config.to_mapping(), node_configs(files.clients)))
        runs.append(Run.read(tmp_path / name))
    assert apart(*runs) == 0
    assert runs[0].manifest["features"] == ["size", "color=blue", "color=red"]
    own = [tmp_path / f"own-{clinic}.csv" for clinic in range(3)]
    header, *rows = (tmp_path / "clinics.csv").read_text().splitlines()
    for clinic, path in enumerate(own):
        path.write_text("\n".join([header, *(row for row in rows if row.endswith(f",{clinic}"))]) + "\n")
    nodes = node_configs(own)
    for node in nodes.values():
        node["label-column"] = "diagnosis"  # launch-device --label
    config = FederationConfig.from_mapping({**settings, "num-clients": 3, "run-folder": str(tmp_path / "own")})
    launch(DeviceGrid(config.to_mapping(), nodes))
    assert Run.read(tmp_path / "own").manifest["features"] == runs[0].manifest["features"]


def test_what_is_said_beside_the_file_holds(best, tmp_path):
    toml, files = best
    beside = {"num-clients": 2, "test-path": str(files.test), "categories": "color=red|blue", "learning-rate": 0.3}
    settings, said = settings_carried(toml, read_settings(toml), beside)
    assert {key: settings[key] for key in beside} == beside
    assert "num-clients" not in said
    # The deployment's number of devices, where nobody says another.
    lab = provision(tmp_path / "lab", ["127.0.0.1"], 5, port=9)
    assert settings_for(lab, settings_carried(toml, read_settings(toml), {})[0]).num_clients == 5
    assert settings_for(lab, settings).num_clients == 2


def test_the_edge_that_was_modelled_stays_in_the_simulation_unless_it_is_asked_for(tmp_path):
    """By it, a round would leave out devices that are there; a choice by clients' losses is good on any device."""
    edge = {"devices": "jetson-orin-nano", "device-spread": 0.5, "availability": "when.json", "round-deadline": 3}
    edge |= {"drop-out": 0.5, "stragglers": 0.5, "selection": "oort", "min-replies": 8}
    lab = provision(tmp_path / "lab", ["127.0.0.1"], 3, port=9)
    given = FederationConfig.from_mapping(edge).to_mapping()
    settings, said = settings_carried(tmp_path / "a.toml", given, {}, lab.clients)
    usual = FederationConfig().to_mapping()
    assert {key: settings[key] for key in edge} == {key: usual[key] for key in edge}
    assert said.endswith("num-clients=10, " + ", ".join(f"{key}={value}" for key, value in edge.items()))
    assert settings_for(lab, settings).min_replies == 0
    settings, said = settings_carried(tmp_path / "a.toml", given, {"drop-out": 0.25}, 8)
    assert (settings["drop-out"], settings["stragglers"], settings["min-replies"]) == (0.25, 0, 8)
    assert "drop-out" not in said
    assert "min-replies" not in said
    settings, _ = settings_carried(tmp_path / "a.toml", given | {"selection": "power-of-choice"}, {})
    assert settings["selection"] == "power-of-choice"


def test_a_label_column_beside_the_file_is_what_devices_call_it(best, tmp_path):
    toml, _ = best
    beside = {"label-column": "outcome"}
    settings, said = settings_carried(toml, read_settings(toml), beside)
    assert (settings["label-column"], settings["feature-columns"]) == ("outcome", "size,color")
    assert "label column 'outcome' and classes benign,ill" in said
    iris, _ = settings_carried(tmp_path / "a.toml", FederationConfig().to_mapping(), beside)
    assert (iris["label-column"], iris["classes"]) == ("outcome", "setosa,versicolor,virginica")
    given = read_settings(toml) | {"label-column": "outcom"}
    with pytest.raises(SettingsError, match="label-column=outcom") as caught:  # the file is there
        settings_carried(toml, given, {})
    assert "data-path" not in str(caught.value)


def test_a_bundled_set_and_a_file_that_is_gone(best, tmp_path):
    config = FederationConfig(alpha=0.1)
    settings, said = settings_carried(tmp_path / "a.toml", config.to_mapping(), {})
    assert settings["feature-columns"].startswith("sepal length (cm),")
    assert (settings["label-column"], settings["classes"]) == ("label", "setosa,versicolor,virginica")
    assert said.endswith("without effect there: num-clients=10, alpha=0.1")
    toml, _ = best
    (tmp_path / "clinics.csv").unlink()
    with pytest.raises(SettingsError, match=r"best.toml names the rows .*; -s data-path=FILE.csv says where it is now"):
        settings_carried(toml, read_settings(toml), {})


def test_the_command_says_what_it_makes_of_the_file(best, tmp_path, monkeypatch, capsys):
    toml, _ = best
    provision(tmp_path / "lab", ["127.0.0.1"], 1, port=9)
    monkeypatch.setattr("sys.argv", ["edgefed", "launch", str(tmp_path / "lab"), str(toml), "-s", "test-path=gone.csv"])
    assert _exit_code() == 2
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == f"note: {LINE.format(toml=toml)}"
    monkeypatch.setattr("sys.argv", ["edgefed", "launch", str(tmp_path / "lab"), str(toml), "-s", "dataset=iris"])
    assert _exit_code() == 2
    assert "dataset=iris: devices train on their own files; leave it out" in capsys.readouterr().err
