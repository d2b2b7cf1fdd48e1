"""A simulation's shards as files: the same bits when read back."""

import numpy as np
import pytest

from edgefed.cli import _exit_code
from edgefed.config import FederationConfig, read_settings
from edgefed.data.csv_file import read_csv
from edgefed.data.datasets import Dataset
from edgefed.data.device_file import device_shards, read_device_file, write_shards
from edgefed.data.shards import federate
from edgefed.errors import SettingsError


def awkward(rows=60):
    """Return features of all magnitudes, some cells empty, and labels that need quotes."""
    rng = np.random.default_rng(8)
    features = (rng.normal(size=(rows, 3)) * 10.0 ** rng.integers(-30, 30, (rows, 3))).astype(np.float32)
    features[rng.random(features.shape) < 0.2] = np.nan
    features[0] = [np.float32(0.1), np.float32(16777217), np.finfo(np.float32).tiny]
    return Dataset(features, rng.integers(0, 3, rows), ("a", "label", 'say "x"'), ("10", "2", 'the "third"'))


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_files_read_back_to_the_same_bits_and_the_same_rows_held_out(tmp_path, share):
    config = FederationConfig(num_clients=4, alpha=0.5, client_test_fraction=share, missing="mean")
    config, data = federate(config, awkward())

    files = write_shards(config, data, tmp_path)

    carried = FederationConfig.from_mapping(read_settings(files.settings))
    assert (carried.dataset, carried.label_column, carried.test_path) == ("devices", "label_", "test.csv")
    for client, path in enumerate(files.clients):
        found, expected = device_shards(read_device_file(path, carried), carried, client), data.shards.one(client)
        for mine, theirs in ((found.train, expected.train), (found.held_out, expected.held_out)):
            assert found.features[mine.rows(0)].tobytes() == expected.features[theirs.rows(0)].tobytes()
            assert found.labels[mine.rows(0)].tolist() == expected.labels[theirs.rows(0)].tolist()
        assert found.ids.tolist() == [client]
    test = read_device_file(files.test, carried)
    assert test.features.tobytes() == data.dataset.features[data.split.test].tobytes()
    assert test.labels.tolist() == data.dataset.labels[data.split.test].tolist()


def test_a_device_holds_a_fifth_of_its_rows_out_where_nobody_says_otherwise(tmp_path):
    config = FederationConfig(dataset="devices", classes="a,b")
    path = tmp_path / "rows.csv"
    path.write_text("x,y\n" + "1,a\n2,b\n" * 50)

    shards = device_shards(read_device_file(path, config), config, 0)

    assert (shards.train.sizes.tolist(), shards.held_out.sizes.tolist()) == ([80], [20])


def test_a_device_trains_on_half_of_its_rows_at_least(tmp_path):
    # One row left to train on would be told to the server as the mean of each feature.
    config = FederationConfig(dataset="devices", classes="a,b", client_test_fraction=0.99)
    path = tmp_path / "rows.csv"
    path.write_text("x,y\n" + "1,a\n2,b\n" * 50)
    table = read_device_file(path, config)

    with pytest.raises(SettingsError, match=r"client-test-fraction=0\.99: a device holds out 0\.5 at most") as refusal:
        device_shards(table, config, 0)

    assert refusal.value.told == str(refusal.value)
    assert device_shards(table, config.replace(client_test_fraction=0.5), 0).train.sizes.tolist() == [50]


@pytest.mark.parametrize("first", ["71.5,182,Anna Maier", "id,182,Anna Maier"])
def test_a_device_takes_no_row_for_a_header_line_and_tells_no_cell_of_it(tmp_path, first):
    path = tmp_path / "rows.csv"
    path.write_text(f"{first}\n80,175,Bob Roth\n")

    with pytest.raises(SettingsError, match="looks like a cell: add the header line") as refusal:
        read_device_file(path, FederationConfig(dataset="devices"))

    assert refusal.value.told == "row 1: a column's name is a number, expected a header line of names"


def test_one_class_or_no_row_will_do_for_a_device_but_not_for_a_whole_dataset(tmp_path):
    config = FederationConfig(dataset="devices")
    one, none = tmp_path / "one.csv", tmp_path / "none.csv"
    one.write_text("x,y\n1,a\n2,a\n")
    none.write_text("x,y\n")

    assert read_device_file(one, config).class_names == ("a",)
    empty = read_device_file(none, config)
    assert (empty.features.shape, empty.class_names) == ((0, 1), ())
    for path in (one, none):
        with pytest.raises(SettingsError, match=r"one class only|no rows"):
            read_csv(path)


def test_names_that_a_list_cannot_hold_are_refused(tmp_path):
    features, labels = np.ones((30, 1), np.float32), np.arange(30) % 2
    for columns, classes in ((("a,b",), ("x", "y")), (("a",), ("x, y", "z"))):
        config, data = federate(FederationConfig(num_clients=2), Dataset(features, labels, columns, classes))
        with pytest.raises(SettingsError, match="holds a comma or outer spaces: rename it first"):
            write_shards(config, data, tmp_path)


def test_the_command_writes_into_a_new_folder_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["edgefed", "shards", "-s", "num-clients=12", "--out", str(tmp_path / "shards")])
    assert _exit_code() == 0
    printed = capsys.readouterr().out.split()
    assert printed[:2] == [str(tmp_path / "shards" / f"client-{client}.csv") for client in ("00", "01")]
    assert sorted(path.name for path in (tmp_path / "shards").iterdir())[-3:] == [
        "settings.toml",
        "test.csv",
        "validation.csv",
    ]
    assert sorted(printed) == sorted(str(path) for path in (tmp_path / "shards").iterdir())
    assert _exit_code() == 2
    assert "exists already" in capsys.readouterr().err

    without = ["-s", "validation-fraction=0", "-s", "num-clients=2", "--out", str(tmp_path / "two")]
    monkeypatch.setattr("sys.argv", ["edgefed", "shards", *without])
    assert _exit_code() == 0
    names = ["client-0.csv", "client-1.csv", "test.csv", "settings.toml"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "two" / name) for name in names]


def test_a_simulation_of_devices_is_refused_in_one_line():
    with pytest.raises(SettingsError, match=r"dataset=devices: the rows lie on the devices"):
        federate(FederationConfig(dataset="devices"))
    with pytest.raises(
        SettingsError, match=r"test-path=t.csv contradicts dataset=iris: it is a setting of dataset=dev"
    ):
        FederationConfig(test_path="t.csv")
