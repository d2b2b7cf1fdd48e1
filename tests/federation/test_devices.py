"""Devices with files of their own: the same weights as the simulation, and what keeps a device out."""

import numpy as np
import pytest
from devices import WRONG, carried, fleet_of, launch, settings, spoiled
from federations import apart, trained

from edgefed.config import SettingsError
from edgefed.errors import FederationError
from edgefed.federation.introduction import _own_file
from edgefed.report import plot_run, write_report
from edgefed.report.confusion import run_confusion
from edgefed.report.costs import run_costs
from edgefed.runs import Run
from edgefed.terminal import show_run


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("edgefed.federation.fleet.LOOK_EVERY", 0.001)


CASES = {
    "plain": {},
    "a long tail, classes missing on devices, an empty shard": {"long_tail": 10.0, "alpha": 0.05, "num_clients": 6},
    "resampling, local scaling": {"imbalance": "smote", "standardize": "local"},
    "class counts, prediction shift, held-out rows": {"imbalance": "post-hoc", "client_test_fraction": 0.25},
    "a part of the devices a round": {"fraction_train": 0.5, "num_clients": 5},
    "differential privacy": {"privacy": "dp-fixed", "standardize": "none", "imbalance": "post-hoc"},
    "wine": {"dataset": "wine", "imbalance": "balanced-softmax", "dtype": "float64"},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_devices_with_the_shards_of_a_simulation_end_where_it_ends(tmp_path, changes, monkeypatch):
    monkeypatch.setattr("edgefed.federation.clipping.secrets.randbits", lambda bits: 0)  # the simulation's seed
    config = settings(**changes)
    files = carried(config, tmp_path / "shards")

    launch(fleet_of(files, tmp_path / "run"))

    deployed, (simulated, _) = Run.read(tmp_path / "run"), trained(config, "sequential")
    assert apart(deployed, simulated) <= (1e-12 if config.dtype == "float64" else 1e-6)
    assert deployed.manifest["features"] == simulated.manifest["features"]
    assert deployed.manifest["classes"] == simulated.manifest["classes"]
    assert deployed.summary["client_updates"] == simulated.summary["client_updates"]
    assert deployed.summary["test"]["recall"] == pytest.approx(simulated.summary["test"]["recall"])
    assert [d["rows"] for d in deployed.manifest["devices"]] == [
        sum(row) for row in simulated.manifest["shards"]["class_counts"]
    ]
    for told in (run.summary.get("privacy", {}) for run in (deployed, simulated)):
        assert told.get("epsilon") == simulated.summary.get("privacy", {}).get("epsilon")
    ledger = [row for row in deployed.manifest["ledger"] if row["bytes"] is not None]
    assert sum(row["bytes"] for row in ledger) == deployed.summary["bytes"]["up"]
    assert [d["name"] for d in deployed.manifest["devices"]][:2] == ["device-0", "device-1"]
    assert deployed.config.dataset == "devices"


def test_noise_on_devices_follows_from_no_number_that_they_are_told(tmp_path):
    config = settings(privacy="dp-fixed", standardize="none", num_server_rounds=2)
    files = carried(config, tmp_path / "shards")
    runs = []
    for name in ("first", "second"):
        launch(fleet_of(files, tmp_path / name))
        runs.append(Run.read(tmp_path / name))
    assert apart(*runs) > 0.01  # noise on each weight has SD 0.1 a round
    assert apart(runs[0], trained(config, "sequential")[0]) > 0.01
    for run in runs:
        told = run.summary["privacy"]
        assert "keeps to itself" in " ".join(told["assumes"])
        assert "seed, 0 unless set" not in told["says"]
        ledger = {(row["message"], row["field"]): row for row in run.manifest["ledger"]}
        assert ledger["train", "arrays"]["caveat"] == ""
        assert "evaluate" not in {message for message, _ in ledger}


def test_devices_under_differential_privacy_test_nothing(tmp_path):
    config = settings(privacy="dp-fixed", standardize="none")
    grid = fleet_of(carried(config, tmp_path / "shards"), tmp_path / "run", **{"test-path": ""})
    with pytest.raises(SettingsError, match="privacy=dp-fixed has devices test nothing, give test-path"):
        launch(grid)


@pytest.mark.parametrize("compression", ["int8", "top-k"])
def test_devices_compress_by_the_settings_that_they_train_by(tmp_path, compression):
    """The run config of a Flower app names its default dataset; that rows are devices' own follows from the node."""
    config = settings(compression=compression, num_server_rounds=1)
    files = carried(config, tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run")
    grid.run_config["dataset"] = "iris"

    launch(grid)

    deployed, (simulated, _) = Run.read(tmp_path / "run"), trained(config, "sequential")
    assert deployed.summary["client_updates"] == simulated.summary["client_updates"] == 3
    assert apart(deployed, simulated) <= 1e-6


def test_without_a_test_file_the_devices_held_out_rows_together_are_the_test(tmp_path, capsys):
    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run", **{"test-path": "", "client-test-fraction": -1.0})

    launch(grid)

    run = Run.read(tmp_path / "run")
    row = run.rounds[-1]
    confusion = np.array(row["clients_test"]["confusion"])
    held = sum(device["held-out"] for device in run.manifest["devices"])
    assert held == confusion.sum() > 10  # a fifth of each device's rows, by default
    assert row["test"]["accuracy"] == pytest.approx(np.trace(confusion) / held)
    assert run.summary["test"]["recall"] == pytest.approx((np.diag(confusion) / confusion.sum(1)).tolist())
    assert run.summary["test"]["brier"] is None
    assert 0 < run.summary["test"]["log_loss"] < 3
    assert run.manifest["data_sha256"] == ""
    page = " ".join(write_report(run.folder).read_text(encoding="utf-8").split())
    assert "Rows, SHA-256" not in page
    # No test file's: all that is shown says whose rows they are.
    assert f"</strong> on the {held} rows that the devices held out;" in page
    assert "Rows held out by the devices, after the last round: each line is a true class" in page
    assert "Training loss (cross-entropy) is the mean over clients.</figcaption>" in page
    assert not [word for word in ("test rows<", "Test rows", ">Brier score", "alidation loss") if word in page]
    below = " ".join(run_confusion(run, "").get_supxlabel().split())
    assert below.startswith("Rows held out by the devices, after the last round. Each cell")
    show_run(run)
    out, err = capsys.readouterr()
    heads = [line.split()[0] for line in out.splitlines()[1:]]
    assert heads == ["held-out", "balanced", "accuracy", "macro", "worst", "g", "log", *["recall"] * 3]
    assert f"measured on the {held} rows that the devices held out: no test-path was given" in err


def test_what_is_drawn_of_a_run_on_devices_is_drawn_whole_and_nothing_modelled(tmp_path):
    """The server knows nobody's classes, and devices took the time that they took."""
    launch(fleet_of(carried(settings(), tmp_path / "shards"), tmp_path / "run"))
    run = Run.read(tmp_path / "run")

    names = {path.name for path in plot_run(run, tmp_path / "plots") if path.suffix == ".png"}

    assert names == {"learning-curves.png", "confusion.png", "accuracy-by-cost.png"}
    (axes,) = run_costs(run, "").axes
    assert axes.get_xlabel().startswith("moved, up and down")
    assert "Modelled" not in write_report(run.folder).read_text(encoding="utf-8")


def test_classes_and_columns_are_agreed_on_by_name(tmp_path):
    """Without ``classes``: the sorted union; a device whose columns stand in another order is read by name."""
    config = settings()
    files = carried(config, tmp_path / "shards")
    lines = [line.split(",") for line in files.clients[1].read_text().splitlines()]
    files.clients[1].write_text("\n".join(",".join([*reversed(cells[:-1]), cells[-1]]) for cells in lines) + "\n")

    launch(fleet_of(files, tmp_path / "run", classes=""))

    simulated, _ = trained(config, "sequential")
    assert apart(Run.read(tmp_path / "run"), simulated) <= 1e-6


@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG)
def test_a_file_that_does_not_fit_is_refused_by_the_devices_name(tmp_path, change, says):
    files = carried(settings(), tmp_path / "shards")
    spoiled(files, 2, change)

    with pytest.raises(FederationError, match=says) as raised:
        launch(fleet_of(files, tmp_path / "run"))
    assert not any(private in str(raised.value) for private in (".csv", str(tmp_path), "tulip", "abc"))
    assert not (tmp_path / "run").exists()


def test_the_label_column_is_the_devices_to_say(tmp_path):
    """Every different label is told: a run that asks for another column would read that column."""
    files = carried(settings(), tmp_path / "shards")
    for asked, own, says in (
        ("petal width (cm)", "label", r"label-column=petal width \(cm\): this device's own is 'label'"),
        ("label", "", "label-column=label: this device's own is ''"),
    ):
        without_test = {"test-path": "", "client-test-fraction": -1.0}
        grid = fleet_of(files, tmp_path / "run", **{"label-column": asked, "classes": "", **without_test})
        for node in grid.node_configs.values():
            node["label-column"] = own
        with pytest.raises(FederationError, match=f"device device-0: {says}"):
            launch(grid)
    grid = fleet_of(files, tmp_path / "run", **{"label-column": ""})
    for node in grid.node_configs.values():
        node["label-column"] = "label"
    launch(grid)
    assert Run.read(tmp_path / "run").summary["client_updates"] == 9


def test_labels_that_name_rows_do_not_leave_a_device(tmp_path):
    files = carried(settings(), tmp_path / "shards")
    lines = files.clients[1].read_text().splitlines()
    named = [f"{line},patient-{number}" for number, line in enumerate(lines[1:])]
    files.clients[1].write_text("\n".join([f"{lines[0]},patient", *named]) + "\n")
    said = _own_file(
        {"partition-id": 1, "data-path": str(files.clients[1])}, {"label-column": "patient", "drop-columns": "label"}
    )
    assert list(said) == ["problem"]
    assert f"column 'patient': most of its {len(named)} labels are on one row only" in said["problem"]


def test_a_device_without_a_file_beside_devices_with_one_is_refused(tmp_path):
    files = carried(settings(), tmp_path / "shards")
    grid = fleet_of(files, tmp_path / "run")
    del grid.node_configs[101]["data-path"]

    with pytest.raises(FederationError, match=r"client 1 has no file of its own \(data-path in its node config\)"):
        launch(grid)
