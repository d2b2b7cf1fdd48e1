"""Devices whose files have text columns: the weights of the simulation, and no value of a cell in any reply."""

import csv
import json

import numpy as np
import pytest
from devices import DeviceGrid, carried, fleet_of, launch
from federations import ENGINES, apart, queried, trained
from flwr.app import Message

import edgefed
from edgefed.config import FederationConfig, SettingsError, read_settings
from edgefed.data.device_file import device_shards, read_device_file
from edgefed.data.shards import federate
from edgefed.errors import FederationError
from edgefed.federation.disclosure import OTHER
from edgefed.federation.explanation import collect
from edgefed.federation.introduction import _own_file
from edgefed.runs import Run, read_arrays

COLORS, CITIES = ("blue", "none", "re|d"), ("Bern, CH", 'the "old" town', "Genève")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Return the settings of a simulation on a file with two text columns and a number between them."""
    monkeypatch.setattr("edgefed.federation.fleet.LOOK_EVERY", 0.001)
    rng = np.random.default_rng(7)
    rows = [[rng.choice(COLORS), f"{rng.normal():.3f}", rng.choice((*CITIES, ""))] for _ in range(150)]
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["color", "length", "city", "y"], *([*row, "uvw"[COLORS.index(row[0]) - (row[1] > "1")]] for row in rows)]
        )
    return FederationConfig(
        dataset="csv",
        data_path=str(tmp_path / "rows.csv"),
        categories=r"color=blue|none|re\|d,city",
        missing="mean",
        num_clients=3,
        num_server_rounds=3,
        alpha=1.0,
        local_epochs=2,
        wait_for_clients=0.005,
    )


def test_shards_hold_the_text_and_read_back_to_the_same_bits(config, tmp_path):
    files = carried(config, tmp_path / "shards")
    settled, data = federate(config)
    assert settled.categories == r'color=blue|none|re\|d,city=Bern\, CH|Genève|the "old" town'
    settings = FederationConfig.from_mapping(read_settings(files.settings))
    assert settings.categories == settled.categories
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        original = sorted(row["color"] + "/" + row["city"] for row in csv.DictReader(file))
    carried_rows = []
    for path in (*files.clients, files.test, files.test.with_name("validation.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            carried_rows += [row["color"] + "/" + row["city"] for row in reader]
            assert reader.fieldnames == ["color", "length", "city", "y"]
    assert sorted(carried_rows) == original
    for client, path in enumerate(files.clients):
        found, expected = device_shards(read_device_file(path, settings), settings, client), data.shards.one(client)
        assert found.features[found.train.rows(0)].tobytes() == expected.features[expected.train.rows(0)].tobytes()


class Overheard(DeviceGrid):
    """A grid that keeps all that devices send."""

    def _answer(self, message: Message) -> Message:
        reply = super()._answer(message)
        self.heard.append(reply)
        return reply


PROTECTED = {
    "in the clear": {},
    "under masks": {"privacy": "secagg", "partition": "iid"},
    "under noise": {"privacy": "dp-fixed", "standardize": "none", "missing": "refuse", "drop_columns": "city"},
}


@pytest.mark.parametrize("changes", PROTECTED.values(), ids=PROTECTED)
def test_devices_end_where_the_simulation_ends_and_never_tell_a_value(config, tmp_path, monkeypatch, changes):
    monkeypatch.setattr("edgefed.federation.clipping.secrets.randbits", lambda bits: 0)  # the simulation's noise
    if "drop_columns" in changes:  # the column of which cells are empty: differential privacy has no means of cells
        changes = changes | {"categories": config.categories.removesuffix(",city")}
    config = config.replace(**changes)
    files = carried(config, tmp_path / "shards")
    plain = fleet_of(files, tmp_path / "run")
    grid = Overheard(plain.run_config, plain.node_configs)
    grid.heard = []

    launch(grid)

    deployed, (simulated, _) = Run.read(tmp_path / "run"), trained(config, "sequential")
    assert apart(deployed, simulated) <= 1e-6
    assert deployed.manifest["features"] == simulated.manifest["features"]
    kept = [name for name in ("color", "length", "city") if name != config.drop_columns]
    assert deployed.config.feature_columns.split(",") == kept
    assert deployed.summary["test"]["recall"] == pytest.approx(simulated.summary["test"]["recall"])
    assert deployed.summary["bytes"]["up"] == simulated.summary["bytes"]["up"]
    assert len(grid.heard) > 9
    for reply in grid.heard:
        for record in reply.content.config_records.values():
            said = json.dumps({key: str(value) for key, value in record.items()}, ensure_ascii=False)
            assert not any(value in said for value in (*COLORS, *CITIES, "town"))


def test_a_device_of_another_value_is_named_without_it(config, tmp_path):
    files = carried(config, tmp_path / "shards")
    text = files.clients[1].read_text(encoding="utf-8")
    files.clients[1].write_text(text.replace("blue", "ultramarine", 1), encoding="utf-8")
    with pytest.raises(FederationError) as caught:
        launch(fleet_of(files, tmp_path / "run"))
    assert str(caught.value) == "device device-1: column 'color': a value that is none of its categories"


def test_a_value_of_the_servers_own_rows_that_is_not_listed(config, tmp_path):
    files = carried(config, tmp_path / "shards")
    files.test.write_text(files.test.read_text(encoding="utf-8").replace("blue", "teal", 1), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"test\.csv: row \d+, column 'color': 'teal' is none of its categories"):
        launch(fleet_of(files, tmp_path / "run"))


def test_a_device_does_not_go_along_with_a_name_alone(config, tmp_path):
    """An app that Flower starts checks nothing before its devices are asked."""
    files = carried(config, tmp_path / "shards")
    said = _own_file({"partition-id": 0, "data-path": str(files.clients[0])}, {"categories": "color,city=A|B"})
    assert list(said) == ["problem"]
    assert "list the values of 'color', as color=A|B|C: a device does not tell them" in said["problem"]


# ---- what the model uses
def test_every_engine_and_every_device_says_the_same_of_columns(config, tmp_path, monkeypatch):
    monkeypatch.setattr("edgefed.federation.explanation.MOST_REPEATS", 4)
    config = config.replace(client_test_fraction=0.25)
    files = carried(config, tmp_path / "shards")
    launch(fleet_of(files, tmp_path / "run", explain="yes"))
    deployed = Run.read(tmp_path / "run")
    said = read_arrays(tmp_path / "run" / "explanation" / "collected.npz")
    ledger = {(row["message"], row["field"]) for row in deployed.manifest["ledger"]}
    assert {("query.explain", "column-loss-increase"), ("query.explain", "column-accuracy-drop")} <= ledger
    assert not any(field == OTHER for _, field in ledger)
    assert sum(row["bytes"] or 0 for row in deployed.manifest["ledger"]) == deployed.summary["bytes"]["up"]

    simulated, _ = trained(config)
    for engine in ENGINES:
        (found,) = edgefed.explain(simulated, engine=engine, progress=False).collected
        assert found["column-loss-increase"].shape == (3, 3, 2)
        assert found["column-accuracy-drop"].shape == (3, 2)
        for key in ("column-loss-increase", "column-accuracy-drop", "loss-increase"):
            np.testing.assert_allclose(said[key], found[key], atol=1e-5)


def test_a_column_is_ranked_whole_beside_its_values(config):
    run, _ = trained(config.replace(client_test_fraction=0.25, num_server_rounds=20))
    explained = edgefed.explain(run, progress=False)
    (found,) = explained.collected
    rows = explained.result["columns"]
    assert [row["mean"] for row in rows] == sorted((row["mean"] for row in rows), reverse=True)
    by_name = {row["column"]: row for row in rows}
    assert by_name["color"]["features"] == ["color=blue", "color=none", "color=re|d"]
    total = found["rows"].sum()
    for place, name in enumerate(("color", "city")):
        assert by_name[name]["mean"] == pytest.approx(found["column-loss-increase"][..., place].sum() / total)
        drop = found["rows"].sum(1) @ found["column-accuracy-drop"][:, place] / total
        assert by_name[name]["accuracy"]["mean"] == pytest.approx(drop)
    features = {row["feature"]: row for row in explained.result["importance"]}
    for key in ("mean", "low", "high", "accuracy"):  # a number is its own column
        assert by_name["length"][key] == features["length"][key]
    # Labels follow from the colour: each colour alone leaves the others to stand in.
    assert rows[0]["column"] == "color"
    assert by_name["color"]["mean"] > 1.5 * max(features[f"color={value}"]["mean"] for value in COLORS)


def test_an_answer_without_the_columns_is_left_out(config):
    federation, trainer = queried(config)
    said = collect(federation, trainer.exchange)
    assert said["client"].tolist() == [0, 1, 2]

    class Forgetful:
        def exchange(self, items):
            (replies,) = trainer.exchange(items)
            replies = list(replies)
            metrics = replies[1].content.metric_records["metrics"]
            metrics.pop("column-accuracy-drop", None)
            return [replies]

    assert collect(federation, Forgetful().exchange)["client"].tolist() == [0, 2]
