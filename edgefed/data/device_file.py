"""One client's rows as a file: what a device reads, and what a simulation writes to be carried to devices."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefed.categories import categories_text, indicators, parsed_categories
from edgefed.data.csv_file import Table, read_csv
from edgefed.data.partition import Partition
from edgefed.data.shards import Shards, hold_out
from edgefed.errors import SettingsError, read_utf8, shown
from edgefed.schema import listed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.data.datasets import Dataset
    from edgefed.data.shards import FederatedData

DEVICE_TEST_FRACTION = 0.2
"""Share of its rows that a device never trains on, where nobody says otherwise."""

MOST_HELD_OUT = 0.5
"""Largest such share that a device goes along with: sums over a row or two that are left would be those rows."""


def read_device_file(path: str | Path, config: FederationConfig, *, ask_label: bool = False) -> Table:
    """Read one device's rows: a part of the data, so one class will do, and so will no row.

    Parameters
    ----------
    path : path
    config : FederationConfig
    ask_label : bool
        As for :func:`~edgefed.data.csv_file.read_csv`.

    Raises
    ------
    SettingsError
        One line, as :func:`~edgefed.data.csv_file.read_csv`.
    """
    return read_csv(
        path,
        label=config.label_column,
        client=config.client_column,
        features=listed(config.feature_columns),
        drop=listed(config.drop_columns),
        categories=parsed_categories(config.categories),
        classes=listed(config.classes),
        allow_missing=config.missing == "mean",
        partial=True,
        ask_label=ask_label,
    )


def server_test_rows(config: FederationConfig) -> Table | None:
    """Return the rows that the server of a run on devices tests on; None where rows that devices hold out stand in.

    Raises
    ------
    SettingsError
        One line: a ``test-path`` whose rows do not go with the settings, or nothing to test on.
    """
    if config.test_path:
        return read_device_file(config.test_path, config)
    if config.differentially_private:
        raise SettingsError(f"nothing to test on: privacy={config.privacy} has devices test nothing, give test-path")
    if config.client_test_fraction == 0:
        raise SettingsError("nothing to test on: give test-path, or a client-test-fraction of more than 0")
    return None


def last_column(path: Path) -> str:
    """Return the name of a file's last column; empty text where it cannot be told."""
    try:
        header = next(csv.reader(io.StringIO(read_utf8(path, "CSV text"), newline="")), [])
    except (SettingsError, csv.Error):
        return ""
    return header[-1].strip() if header else ""


def settled(config: FederationConfig) -> FederationConfig:
    """Return a run's settings with the ``client-test-fraction`` that a device takes where it is unset."""
    if config.client_test_fraction >= 0:
        return config
    return config.replace(client_test_fraction=0.0 if config.differentially_private else DEVICE_TEST_FRACTION)


def device_shards(table: Table, config: FederationConfig, partition_id: int) -> Shards:
    """Return a device's rows as shards of one client; classes by ``config.classes`` where it names them.

    Which rows it never trains on follows from the seed and its partition id, as in a simulation.

    Raises
    ------
    SettingsError
        Where the settings would leave the device less than half of its rows to train on.
    """
    if config.client_test_fraction > MOST_HELD_OUT:
        line = f"client-test-fraction={config.client_test_fraction:g}: a device holds out {MOST_HELD_OUT:g} at most"
        raise SettingsError(line, line)
    config = settled(config)
    ids = np.array([partition_id])
    everything = Partition(np.array([0, len(table.labels)]), np.arange(len(table.labels)))
    train, held_out = hold_out(everything, table.labels, ids, config)
    return Shards(table.features, table.labels, train, held_out, ids, len(table.class_names))


@dataclass(frozen=True)
class ShardFiles:
    """What :func:`write_shards` wrote: a file a client, the server's test and validation rows, settings to launch with.

    There is no validation file where ``validation-fraction`` leaves it no rows.
    """

    clients: tuple[Path, ...]
    test: Path
    validation: Path | None
    settings: Path


def write_shards(config: FederationConfig, data: FederatedData, folder: Path) -> ShardFiles:
    """Write each client's rows, the server's test and validation rows and ``settings.toml`` into a folder.

    Numbers are written so that they read back to the same float32 bits, categories as the text that they were. A
    client's rows stand in their own order, so that devices draw the same batches as a simulation of the same seed.

    Raises
    ------
    SettingsError
        For names that a comma-separated setting cannot hold, or a folder that cannot be written to.
    """
    dataset = data.dataset
    settled_there = carried(config, dataset)
    columns, label = dataset.columns, settled_there.label_column
    classes = np.array(dataset.class_names)
    of = indicators(dataset.categories)
    sources = [of.get(name, (name, None)) for name in dataset.feature_names]

    def write(name: str, rows: NDArray[np.int64]) -> Path:
        lines = ([*_cells(sources, dataset.features[row]), classes[dataset.labels[row]]] for row in rows)
        return _write_csv(folder / name, [*columns, label], lines)

    digits = len(str(len(data.shards) - 1))
    shards = data.shards
    try:
        clients = tuple(
            write(f"client-{client:0{digits}}.csv", np.sort(_rows_of(shards, client))) for client in range(len(shards))
        )
        test = write("test.csv", data.split.test)
        validation = write("validation.csv", data.split.validation) if len(data.split.validation) else None
        settings = folder / "settings.toml"
        settings.write_text(settled_there.to_toml(), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{folder}: cannot be written to ({error.strerror})") from None
    return ShardFiles(clients, test, validation, settings)


def _rows_of(shards: Shards, client: int) -> NDArray[np.int64]:
    return np.concatenate([shards.train.rows(client), shards.held_out.rows(client)])


def carried(config: FederationConfig, dataset: Dataset) -> FederationConfig:
    """Return the settings under which devices that hold a simulation's shards do what the simulation does.

    Raises
    ------
    SettingsError
        For names that a comma-separated setting cannot hold.
    """
    for what, names in (("class", dataset.class_names), ("column", dataset.columns)):
        for name in names:
            if "," in name or name != name.strip():
                raise SettingsError(f"the {what} '{shown(name)}' holds a comma or outer spaces: rename it first")
    label = dataset.label_name or "label"
    while label in dataset.columns:
        label += "_"
    return config.replace(
        dataset="devices",
        data_path="",
        test_path="test.csv",
        label_column=label,
        client_column="",
        feature_columns="",
        drop_columns="",
        categories=categories_text(dataset.categories),
        classes=",".join(dataset.class_names),
        # Done already: the rows that a tail took are in test.csv, and what a client holds out follows from the seed.
        long_tail=1.0,
        long_tail_order="rotate",
        partition="iid",
        client_test_fraction=max(config.client_test_fraction, 0.0),
        run_folder="",
    )


def _cells(sources: Iterable[tuple[str, str | None]], features: NDArray[np.float32]) -> list[str]:
    """Return a row's cells, a column each; a feature comes from a column, as an indicator of one of its values."""
    cells: dict[str, str] = {}
    for (column, category), value in zip(sources, features, strict=True):
        if category is None:
            cells[column] = "" if math.isnan(value) else str(value)  # the shortest text of the same float32
        elif value == 1:
            cells[column] = category
        else:
            cells.setdefault(column, "")
    return list(cells.values())


def _write_csv(path: Path, header: list[str], lines: Iterable[list[str]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path
